"""Writes everything a study exports, anew from its storage."""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from fer.files import write_atomically

if TYPE_CHECKING:
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

    from study.fronts import front_table
    from study.reading_record import readable_record
    from study.record import confirmed_points, hide_secrets
    from study.reporting.figure_style import CONFIRMED, NAMES
    from study.reporting.figures import draw_figures
    from study.reporting.html_report import render_html
    from study.reporting.markdown_report import list_tables, render_markdown
    from study.reporting.paper_table import as_table, study_paper_table, title_of
    from study.reporting.tables import to_latex, to_markdown
    from study.reporting.trial_details import collect_trial_details
    from study.stored_values import notice
    from study.trials import readable, trials_table

    # What is odd in the storage is left out here, once, and named.
    record, kept = readable_record(study_info), readable(trials)
    info: dict[str, Any] = hide_secrets(record.value)
    trials = list(kept.value)
    said = notice([*kept.odd, *(f"the study's {name}" for name in record.odd)])
    if said:
        info["notice"] = said
        print(f"warning: {said}", file=sys.stderr)

    table = trials_table(trials)
    files, notes = draw_figures(info, table, trials)
    files["trials.csv"] = _csv(table)
    files["study.json"] = (json.dumps(info, indent=1, ensure_ascii=False, default=str) + "\n").encode()
    paper = study_paper_table(info, table)
    if paper is not None:
        files["paper_table.csv"] = _csv(paper)
    files["front.csv"] = _csv(confirmed_front(front_table(table), info))
    if confirmed_points(info):
        files["confirm.csv"] = _csv(pd.DataFrame(confirmed_points(info)))
    vectors = {name.removesuffix(".svg"): files[name].decode() for name in files if name.endswith(".svg")}
    files["report.html"] = render_html(
        info, table, vectors, notes, paper, collect_trial_details(info, table, trials)
    ).encode()
    shown = list_tables(info, table, paper)
    files["report.md"] = render_markdown(info, table, shown).encode()
    if shown:
        files["tables.tex"] = "\n".join(to_latex(part) for part in shown).encode()
    if paper is not None:
        files |= {"paper_table.md": to_markdown(as_table(paper, title_of(info))).encode()}
        files |= {"paper_table.tex": to_latex(as_table(paper, title_of(info))).encode()}
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

    from study.trials import counted_trials

    numbers = [trial.number for trial in counted_trials(trials)]
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

    from study.record import confirmed_points

    points = confirmed_points(info)
    if not points:
        return front
    names = [f"{domain}_{name}" for domain in ("source", "target") for name in ("test", "lower", "upper")]
    tested = pd.DataFrame([point for point in points if point["front"]], columns=["model", *names])
    return front.merge(tested, on="model", how="left")


def _csv(table: "pd.DataFrame") -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()
