"""`python -m study.report`: writes everything a study exports, anew from its storage."""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from fer.files import write_atomically
from study.arguments import Parser
from study.cli import DONE, leave, run_command
from study.config import check_places, place_parent

if TYPE_CHECKING:
    import optuna
    import pandas as pd

END_OF_REPORT = b"</html>\n"
"""What a whole report.html ends with."""


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
    from study.details import details
    from study.document import document, text_tables
    from study.page import page
    from study.paper import as_table, study_paper_table, title_of
    from study.plots import CONFIRMED, NAMES, pictures
    from study.reading import notice, readable_record
    from study.tables import latex, markdown

    # What is odd in the storage is left out here, once, and named.
    record, kept = readable_record(study_info), fronts.readable(trials)
    info: dict[str, Any] = hide_secrets(record.value)
    trials = list(kept.value)
    said = notice([*kept.odd, *(f"the study's {name}" for name in record.odd)])
    if said:
        info["notice"] = said
        print(f"warning: {said}", file=sys.stderr)

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
    vectors = {name.removesuffix(".svg"): files[name].decode() for name in files if name.endswith(".svg")}
    files["report.html"] = page(info, table, vectors, notes, paper, details(info, table, trials)).encode()
    shown = text_tables(info, table, paper)
    files["report.md"] = document(info, table, shown).encode()
    if shown:
        files["tables.tex"] = "\n".join(latex(part) for part in shown).encode()
    if paper is not None:
        files |= {"paper_table.md": markdown(as_table(paper, title_of(info))).encode()}
        files |= {"paper_table.tex": latex(as_table(paper, title_of(info))).encode()}
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (folder / f"{name}.{kind}" for name in (*NAMES, CONFIRMED) for kind in ("png", "svg", "pdf", "html")):
        if stale.name not in files:
            stale.unlink(missing_ok=True)
    return [write_atomically(folder / name, content) for name, content in files.items()]


def require_folders(folder: Path) -> None:
    """Refuses a study's folder in which something else stands where networks or answers are kept.

    Raises:
        InputError: models or confirm is there and is no folder.
    """
    for name in ("models", "confirm"):
        path = folder / name
        if os.path.lexists(path) and not path.is_dir():
            raise InputError(f"a study keeps its files in a folder {name}", f"{path}, which is none", "Move it away.")


def is_exported(trials: Iterable[Any], folder: Path) -> bool:
    """Returns whether a study's folder holds whole exports of these trials; else they are written again."""
    import pandas as pd

    from study.front import counted

    numbers = [trial.number for trial in counted(trials)]
    try:
        rows = pd.read_csv(folder / "trials.csv", usecols=["number"], encoding="utf-8")
        with (folder / "report.html").open("rb") as report:
            report.seek(-min(len(END_OF_REPORT), report.seek(0, os.SEEK_END)), os.SEEK_END)
            whole = report.read() == END_OF_REPORT
    except (OSError, ValueError):  # missing, empty, no text, no table
        return False
    return whole and rows["number"].tolist() == numbers


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


def _csv(table: "pd.DataFrame") -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.report`."""
    parser = Parser(
        prog="python -m study.report",
        description="Exports a study's tables, pictures and report anew.",
        parents=[place_parent()],
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(export_again, arguments)


def export_again(arguments: list[str] | None) -> int:
    """Writes a study's exports anew and prints the paper's table where there is one."""
    args = build_parser().parse_args(arguments)
    check_places(args)
    import rich

    from study.front import front, table
    from study.models import damage_warning, damaged_networks
    from study.paper import for_terminal

    info, trials = open_study(args.study, Path(args.out), args.storage)
    folder = Path(args.out) / args.study
    written = export(info, trials, folder)

    rows = table(trials)
    damaged = damaged_networks(front(rows), folder)
    if damaged:
        print(f"warning: {damage_warning(damaged)}", file=sys.stderr)
    paper = for_terminal(info, rows)
    if paper is not None:
        rich.print(paper)
    print(f"{len(written)} files in {folder}; open {folder / 'report.html'}")
    return DONE


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


if __name__ == "__main__":
    leave(main())
