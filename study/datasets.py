"""`python -m study.datasets`: what was found, counts, hazards, skipped files, and a contact sheet of the faces."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer.errors import printable
from fer.files import replacing
from study.arguments import Parser, check_dataset_name, check_path, integer
from study.cli import leave, run_command
from study.exit_code import ExitCode
from study.option_parsers import build_data_parent
from study.options import cache_folder

if TYPE_CHECKING:
    from rich.console import Console

    from fer.datasets import Dataset, DatasetReport

FACES_PER_EXPRESSION = 12
NAMES_SHOWN = 3


def parser() -> argparse.ArgumentParser:
    """Returns the command line's parser; imports nothing heavy."""
    parsed = Parser(
        prog="python -m study.datasets",
        description="Lists the datasets that are found; with names, reads them, shows what is in them and what is "
        "wrong with them, and draws a contact sheet of their training faces.",
        parents=[build_data_parent()],
    )
    parsed.add_argument("names", nargs="*", metavar="NAME", help="a dataset; none: list all")
    parsed.add_argument("--out", metavar="DIR", default="runs", help="for prepared data and contact sheets (runs)")
    parsed.add_argument("--seed", type=integer, default=0, metavar="N", help="of the splits and the stand-in (0)")
    return parsed


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(list_or_show, arguments)


def list_or_show(arguments: list[str] | None) -> int:
    """Lists the datasets, or shows those that are named."""
    options = parser().parse_args(arguments)
    check_path("--out", options.out)
    check_path("--data", options.data)
    for name in options.names:
        check_dataset_name("NAME", name)
    from rich.console import Console

    console = Console(highlight=False)
    if not options.names:
        show_survey(Path(options.data) if options.data else None, console)
    for name in options.names:
        show(name, options, console)
    return ExitCode.DONE


def show_survey(data_dir: Path | None, console: "Console") -> None:
    """Prints all known names, and where a copy of each was found."""
    from rich.markup import escape
    from rich.table import Table

    from fer.datasets import survey
    from fer.datasets.layouts import LAYOUTS

    title = f"datasets in {printable(data_dir)}" if data_dir else "datasets (no --data and no FER_DATA)"
    table = Table(title=escape(title))
    for heading in ("name", "dataset", "found", "terms"):
        table.add_column(heading)
    for name, path in survey(data_dir).items():
        layout = LAYOUTS.get(name)
        place = escape(printable(path)) if path else "– drawn stand-in"
        title, terms = (layout.title, layout.terms) if layout else ("your own", "–")
        table.add_row(escape(printable(name)), title, place, terms)
    console.print(table)


def show(name: str, options: argparse.Namespace, console: "Console") -> None:
    """Reads one dataset, prints what is in it and draws its contact sheet."""
    from rich.markup import escape

    from fer.datasets import load

    dataset = load(
        name,
        data_dir=Path(options.data) if options.data else None,
        kind=options.data_kind,
        cache_dir=cache_folder(options.out) / "datasets",
        equalise=options.equalise,
        keep_duplicates=options.keep_duplicates,
        seed=options.seed,
    )
    report = dataset.parse_report()
    if dataset.kind == "synthetic":
        console.print(
            f"[bold yellow]{dataset.name}: no real copy is used: these are DRAWN STAND-IN FACES, which say nothing "
            f"about {dataset.name}[/]"
        )
    print_counts(dataset, console)
    print_hazards(report, console)
    print_skipped(report, console)
    for notice in report.notices:
        console.print(f"notice: {escape(notice)}")
    place = Path(options.out) / "datasets" / f"{dataset.name}-{dataset.digest}.png"
    draw_sheet(dataset, place)
    console.print(f"contact sheet: {escape(printable(place))}", soft_wrap=True)


def title_of(dataset: "Dataset") -> str:
    """Returns the dataset's name, with whether it is real or synthetic."""
    return f"{dataset.name} (synthetic stand-in)" if dataset.kind == "synthetic" else f"{dataset.name} (real copy)"


def print_counts(dataset: "Dataset", console: "Console") -> None:
    """Prints images per expression and split, subjects, and how the splits were made."""
    from rich.markup import escape
    from rich.table import Table

    from fer.expressions import EXPRESSIONS

    report = dataset.parse_report()
    table = Table(title=f"{title_of(dataset)}, hash {dataset.digest}")
    table.add_column("expression")
    splits = list(report.sizes)
    for heading in (*splits, "all"):
        table.add_column(heading, justify="right")
    for expression in EXPRESSIONS:
        counts = [report.counts[split][expression] for split in splits]
        table.add_row(expression, *(f"{count:,}" for count in (*counts, sum(counts))))
    table.add_section()
    sizes = [report.sizes[split] for split in splits]
    table.add_row("all", *(f"{size:,}" for size in (*sizes, sum(sizes))))
    if report.aimed:
        aimed = [report.aimed[split] for split in splits]
        table.add_row("aimed at", *(f"{size:,}" for size in (*aimed, sum(aimed))))
    people = [report.subjects[split] for split in splits]
    are_known = sum(people) > 0
    table.add_row("subjects", *(f"{count:,}" if are_known else "unknown" for count in (*people, sum(people))))
    console.print(table)
    console.print(f"splits: {escape(report.rule)}")
    faces = report.faces
    if faces.detected or faces.centre_cropped:
        console.print(f"faces: {faces.detected:,} detected, {faces.centre_cropped:,} centre-cropped")


def print_hazards(report: "DatasetReport", console: "Console") -> None:
    """Prints the counts of what spoils comparisons."""
    hazards = report.hazards
    treatment = "kept" if report.options.keep_duplicates else "dropped"
    console.print(
        f"hazards: {hazards.unique:,} unique of {hazards.images:,} images; {hazards.duplicate_groups:,} groups of "
        f"duplicates, {hazards.conflicting_groups:,} with conflicting labels; {hazards.near_copy_groups:,} groups "
        f"with near-copies; {hazards.constant:,} constant images"
    )
    console.print(
        f"training images with a copy in validation or test: {hazards.train_in_held_out:,} exact, "
        f"{hazards.train_near_held_out:,} near; validation images with one in test: "
        f"{hazards.validation_in_test:,} exact, {hazards.validation_near_test:,} near ({treatment})"
    )


def print_skipped(report: "DatasetReport", console: "Console") -> None:
    """Prints which files were left out and why."""
    from rich.markup import escape
    from rich.table import Table

    if not report.skipped:
        console.print("skipped: nothing")
        return
    table = Table(title="skipped")
    table.add_column("reason")
    table.add_column("files", justify="right")
    table.add_column("such as")
    commonest_first = sorted(report.skipped.items(), key=lambda item: -item[1].count)
    for reason, files in commonest_first:
        names = ", ".join(files.names[:NAMES_SHOWN])
        if files.count > NAMES_SHOWN:
            names += " …"
        table.add_row(escape(reason), f"{files.count:,}", escape(names))
    console.print(table)


def draw_sheet(dataset: "Dataset", place: Path) -> None:
    """Draws a row of training faces per expression.

    Args:
        dataset: The test split stays closed.
        place: The PNG file.
    """
    import numpy as np
    from matplotlib.figure import Figure

    from fer.expressions import EXPRESSIONS
    from fer.seeding import generator

    # The sheet: a row per expression, whose images are drawn by chance, white where there are fewer.
    train = dataset.open("train")
    rng = generator("contact sheet", dataset.digest)
    size = train.images.shape[1]
    sheet = np.full((len(EXPRESSIONS) * size, FACES_PER_EXPRESSION * size), 255, np.uint8)
    for label in range(len(EXPRESSIONS)):
        images = rng.permutation(np.flatnonzero(train.labels == label))
        top = label * size
        for column, image in enumerate(images[:FACES_PER_EXPRESSION]):
            left = column * size
            sheet[top : top + size, left : left + size] = train.images[image]

    # The figure around it.
    figure = Figure(figsize=(FACES_PER_EXPRESSION * 0.8 + 1, len(EXPRESSIONS) * 0.8 + 0.6), dpi=120, layout="tight")
    axes = figure.add_subplot()
    axes.imshow(sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(f"{title_of(dataset)}, {len(train):,} training images")
    axes.set_xticks([])
    axes.set_yticks([size * (row + 0.5) for row in range(len(EXPRESSIONS))], EXPRESSIONS)
    axes.spines[:].set_visible(False)
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place) as partial:
        figure.savefig(partial, format="png")


if __name__ == "__main__":
    leave(main())
