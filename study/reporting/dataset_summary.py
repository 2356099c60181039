"""What `study.datasets` prints: the datasets that were found; of one its counts, hazards and skipped files."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fer.datasets import Dataset, DatasetReport, survey
from fer.datasets.layouts import LAYOUTS
from fer.errors import printable
from fer.image_format import RGB
from study.reporting.wording import OTHER_SPELLINGS, name_as_printed

NAMES_SHOWN = 3
"""Skipped files that are named for each reason."""


# All datasets.


def show_survey(data_dir: Path | None, console: Console) -> None:
    """Prints all known names, and where a copy of each was found.

    Args:
        data_dir: Where the user's copies are; None where the user names no place.
        console: Prints it.
    """
    title = f"datasets in {printable(data_dir)}" if data_dir else "datasets (no --data and no FER_DATA)"
    table = Table(title=escape(title))
    for heading in ("name", "dataset", "found", "terms"):
        table.add_column(heading)

    for name, path in survey(data_dir).items():
        layout = LAYOUTS.get(name)
        place = escape(printable(path)) if path else "– drawn stand-in"
        if layout is None:
            table.add_row(escape(printable(name)), "your own", place, "–")
        else:
            spellings = " or ".join([name, *OTHER_SPELLINGS.get(name, ())])
            table.add_row(spellings, layout.title, place, layout.terms)
    console.print(table)


# One dataset.


def show_dataset(dataset: Dataset, asked: str, console: Console) -> None:
    """Prints what is in a dataset and what is wrong with it.

    Args:
        dataset: The test split stays closed.
        asked: What the user calls it.
        console: Prints it.
    """
    report = dataset.parse_report()
    label = escape(name_as_printed(dataset.name, dataset.report, asked))
    if dataset.kind == "synthetic":
        console.print(
            f"[bold yellow]{label}: no real copy is used: these are DRAWN STAND-IN FACES, which say nothing about "
            f"{label}[/]"
        )

    _print_counts(dataset, asked, console)
    _print_hazards(report, console)
    _print_skipped(report, console)
    for notice in report.list_notices():
        console.print(f"notice: {escape(notice)}")


def title_of(dataset: Dataset, asked: str = "") -> str:
    """Returns the dataset's printed name, with whether it is real or synthetic.

    Args:
        dataset: The dataset.
        asked: What the user calls it.
    """
    label = name_as_printed(dataset.name, dataset.report, asked)
    return f"{label} (synthetic stand-in)" if dataset.kind == "synthetic" else f"{label} (real copy)"


def _print_counts(dataset: Dataset, asked: str, console: Console) -> None:
    """Prints images per expression and split, subjects, and how the splits were made."""
    report = dataset.parse_report()
    splits = list(report.sizes)
    table = Table(title=escape(f"{title_of(dataset, asked)}, hash {dataset.digest}"))
    table.add_column("expression")
    for heading in (*splits, "all"):
        table.add_column(heading, justify="right")

    # A row per expression.
    for expression in report.options.expressions.names:
        counts = [report.counts[split][expression] for split in splits]
        table.add_row(expression, *_with_total(counts))
    table.add_section()

    # All expressions together.
    table.add_row("all", *_with_total([report.sizes[split] for split in splits]))
    if report.aimed:
        table.add_row("wanted", *_with_total([report.aimed[split] for split in splits]))
    people = [report.subjects[split] for split in splits]
    if any(people):
        table.add_row("subjects", *_with_total(people))
    else:
        table.add_row("subjects", *("unknown" for _ in (*splits, "all")))
    console.print(table)

    # What the images are, and how splits and faces were made.
    size = report.options.size
    console.print(f"images: {size}×{size}, {'in colour' if report.colour == RGB else 'grey'}")
    console.print(f"splits: {escape(report.rule)}")
    faces = report.faces
    if faces.detected or faces.centre_cropped:
        console.print(f"faces: {faces.detected:,} detected, in {faces.centre_cropped:,} portraits none")


def _with_total(counts: list[int]) -> list[str]:
    """Returns counts and their sum as text."""
    return [f"{count:,}" for count in (*counts, sum(counts))]


def _print_hazards(report: DatasetReport, console: Console) -> None:
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


def _print_skipped(report: DatasetReport, console: Console) -> None:
    """Prints which files were left out and why."""
    if not report.skipped:
        console.print("skipped: nothing")
        return
    table = Table(title="skipped")
    table.add_column("reason")
    table.add_column("files", justify="right")
    table.add_column("such as")
    for reason, files in report.skipped_commonest_first:
        names = ", ".join(files.names[:NAMES_SHOWN])
        if files.count > NAMES_SHOWN:
            names += " …"
        table.add_row(escape(reason), f"{files.count:,}", escape(names))
    console.print(table)
