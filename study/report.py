"""`python -m study.report`: writes everything a study exports, anew from its storage."""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.machine import keep_private

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import rich.table

PAPER = Path(__file__).with_name("paper.csv")
OURS = "this study (validation)"
PUBLISHED = "published (test, arXiv 1905.12082)"
PAPER_STRATEGIES, PAPER_AMOUNTS = ("FC", "FC+CL", "RE", "FU"), (0.5, 1.0)


def export(study_info: dict, trials: Iterable[Any], folder: Path) -> list[Path]:
    """Writes a study's tables, pictures and report; each file appears whole or not at all.

    Args:
        study_info: The study's record, `user_attrs["study"]`; whatever is missing in it is left out.
        trials: All Optuna trials of the study.
        folder: `runs/<study>`, made if missing.

    Returns:
        The files written. Pictures of an earlier export that can no longer be drawn are removed.
    """
    import pandas as pd

    from study import front as fronts
    from study.describe import confirmed_points, hide_secrets
    from study.page import page
    from study.plots import NAMES, pictures

    info, trials = hide_secrets(study_info), list(trials)
    table = fronts.table(trials)
    files, notes = pictures(info, table, trials)
    files["trials.csv"] = _csv(table)
    files["study.json"] = (json.dumps(info, indent=1, ensure_ascii=False, default=str) + "\n").encode()
    paper = study_paper_table(info, table)
    if paper is not None:
        files["paper_table.csv"] = _csv(paper)
    files["front.csv"] = _csv(confirmed_front(fronts.front(table), info))
    if confirmed_points(info):
        files["confirm.csv"] = _csv(pd.DataFrame(confirmed_points(info)))
    vectors = {name: files[f"{name}.svg"].decode() for name in NAMES if f"{name}.svg" in files}
    files["report.html"] = page(info, table, vectors, notes, paper).encode()
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (folder / f"{name}.{kind}" for name in NAMES for kind in ("png", "svg", "pdf", "html")):
        if stale.name not in files:
            stale.unlink(missing_ok=True)
    return [write_atomically(folder / name, content) for name, content in files.items()]


def confirmed_front(front: "pd.DataFrame", info: dict) -> "pd.DataFrame":
    """Returns a front with the test accuracies that a confirmation found, their intervals beside them."""
    import pandas as pd

    from study.describe import confirmed_points

    points = confirmed_points(info)
    if not points:
        return front
    names = [f"{domain}_{name}" for domain in ("source", "target") for name in ("test", "lower", "upper")]
    found = pd.DataFrame([point for point in points if point["front"]])[["model", *names]]
    return front.merge(found, on="model", how="left")


def write_atomically(path: Path, content: bytes) -> Path:
    """Writes a file so that a reader, or a crash, never meets half of it; returns its path."""
    # The process's number keeps two exports of one study apart.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _csv(table: "pd.DataFrame") -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def study_paper_table(info: dict, table: "pd.DataFrame") -> "pd.DataFrame | None":
    """Returns the paper's table of a study in the paper's space, None of any other study."""
    from study.describe import is_synthetic, section

    if section(info, "options").get("space") != "paper":
        return None
    source, target = (str(section(info, side).get("name", side)) for side in ("source", "target"))
    # Beside invented data, or another source, published figures would look comparable without being so.
    return paper_table(table, target, source, published=not is_synthetic(info) and source == "fer2013")


def paper_table(table: "pd.DataFrame", target: str, source: str = "fer2013", published: bool = False) -> "pd.DataFrame":
    """Returns accuracies in per cent laid out as the paper's table.

    Columns: figures (whose), domain, dataset, BL, FC_50, FC_100, FC+CL_50, …, FU_100. Repeated trials of one
    point are averaged; a point without a finished trial is missing.

    Args:
        table: Of `front.table`.
        target: The target's name, which finds the published rows.
        source: The source's name.
        published: Adds the paper's test figures, where it has this target.
    """
    import pandas as pd

    from study.front import finished

    done = finished(table)
    amount = pd.to_numeric(done["amount"]) if "amount" in done else pd.Series(1.0, index=done.index)
    rows = []
    for domain, name in (("source", source), ("target", target)):
        accuracy = 100 * done[f"{domain}_val"]
        row: dict[str, Any] = {"figures": OURS, "domain": domain, "dataset": name}
        row["BL"] = accuracy[done["strategy"] == "BL"].mean()
        for strategy in PAPER_STRATEGIES:
            for share in PAPER_AMOUNTS:
                row[f"{strategy}_{share:.0%}".rstrip("%")] = accuracy[
                    (done["strategy"] == strategy) & (amount == share)
                ].mean()
        rows.append(row)
    result = pd.DataFrame(rows)
    if published:
        paper = pd.read_csv(PAPER)
        paper = paper[paper["target"] == target].drop(columns="target")
        domains = paper["dataset"].map(lambda name: "target" if name == target else "source")
        paper = paper.assign(figures=PUBLISHED, domain=domains)[list(result.columns)]
        result = pd.concat([result, paper], ignore_index=True) if len(paper) else result
    return result.round(2)


def paper_rich(paper: "pd.DataFrame", title: str = "") -> "rich.table.Table":
    """Returns `paper_table` for the terminal, a row for each strategy and amount, in per cent."""
    import rich.table
    from rich.markup import escape

    shown = rich.table.Table(title=escape(title) or None, title_justify="left")
    shown.add_column("strategy")
    for row in paper.itertuples(index=False):
        shown.add_column(f"{escape(str(row.dataset))}, {escape(str(row.figures))}", justify="right")
    for column in paper.columns[3:]:
        name, _, amount = column.partition("_")
        cells = ("–" if value != value else f"{value:.2f}" for value in paper[column])
        shown.add_row(f"{name} {amount} %" if amount else name, *cells)
    return shown


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.report`."""
    parser = argparse.ArgumentParser(
        prog="python -m study.report", description="Exports a study's tables, pictures and report anew."
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study")
    parser.add_argument("--out", default="runs", metavar="DIR", help="where its folder is (default: %(default)s)")
    parser.add_argument("--storage", metavar="URL", help="its Optuna storage (default: the journal in its folder)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    keep_private()
    args = build_parser().parse_args(arguments)
    import rich

    from study.front import table

    try:
        info, trials = open_study(args.study, Path(args.out), args.storage)
        folder = Path(args.out) / args.study
        written = export(info, trials, folder)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: the report could not be written: {error}", file=sys.stderr)
        return 1
    paper = paper_for_terminal(info, table(trials))
    if paper is not None:
        rich.print(paper)
    print(f"{len(written)} files in {folder}; open {folder / 'report.html'}")
    return 0


def open_study(name: str, out: Path, storage: str | None) -> tuple[dict, list[Any]]:
    """Returns a study's record and its trials.

    Raises:
        InputError: There is no such study.
    """
    from study.storage import load_study

    study = load_study(name, out, storage)
    info = study.user_attrs.get("study")
    return (info if isinstance(info, dict) else {}) | {"name": name} | confirmation_of(study), study.trials


def confirmation_of(study: "optuna.Study") -> dict[str, Any]:
    """Returns what was recorded of a study at its end: its confirmation, and why it ended early."""
    return {name: value for name, value in study.user_attrs.items() if name in ("confirmation", "ended") and value}


def paper_for_terminal(info: dict, table: "pd.DataFrame") -> "rich.table.Table | None":
    """Returns the paper's table of a study in the paper's space with its title, None of any other study."""
    from study.describe import SYNTHETIC, is_synthetic

    paper = study_paper_table(info, table)
    if paper is None:
        return None
    mark = f"{SYNTHETIC}: " if is_synthetic(info) else ""
    return paper_rich(paper, f"{mark}accuracy in per cent, by strategy and share of the target's training set")


if __name__ == "__main__":
    sys.exit(main())
