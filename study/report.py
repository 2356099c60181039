"""`python -m study.report`: writes everything a study exports, anew from its storage."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.files import write_atomically
from study.arguments import Parser
from study.cli import DONE, leave, run_command
from study.config import check_places, place_parent

if TYPE_CHECKING:
    import optuna
    import pandas as pd


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
    from study.tables import latex, markdown

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

    from study.front import table
    from study.paper import for_terminal

    info, trials = open_study(args.study, Path(args.out), args.storage)
    folder = Path(args.out) / args.study
    written = export(info, trials, folder)
    paper = for_terminal(info, table(trials))
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
