"""Writes everything a study exports, again from its storage."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from fer.errors import InputError
from fer.files import write_atomically
from study.reading_record import readable_record
from study.redaction import hide_secrets
from study.reporting.figure_style import ALL_NAMES, FORMATS
from study.storage.records import RECORDED_AT_END
from study.trials import counted_trials

END_OF_REPORT = b"</html>\n"
"""What a complete report.html ends with."""
FOLDERS = ("models", "confirm")
"""Where a study keeps networks and answers on test images."""


def export(stored_record: Mapping[str, Any], trials: Iterable[FrozenTrial], folder: Path) -> list[Path]:
    """Writes a study's tables, figures and report; each file appears complete or not at all.

    Args:
        stored_record: The study's record, `user_attrs["study"]`; whatever is missing in it is left out.
        trials: All Optuna trials of the study.
        folder: `runs/<study>`, made if missing.

    Returns:
        The files written. Figures of an earlier export that can no longer be drawn are removed.
    """
    # matplotlib and plotly take a second to load, which a study shall not wait for before it begins.
    from study.reporting.exported_files import render_files  # noqa: PLC0415

    files = render_files(stored_record, trials, folder)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale_figures(folder, files)
    return [write_atomically(folder / name, content) for name, content in files.items()]


def _remove_stale_figures(folder: Path, files: Mapping[str, bytes]) -> None:
    """Removes figures of an earlier export that are not among these files."""
    for name in ALL_NAMES:
        for kind in FORMATS:
            file_name = f"{name}.{kind}"
            if file_name not in files:
                (folder / file_name).unlink(missing_ok=True)


def require_folders(folder: Path) -> None:
    """Refuses a study's folder in which something else stands where networks or answers are kept.

    Raises:
        InputError: models or confirm is there and is no folder.
    """
    for name in FOLDERS:
        path = folder / name
        if os.path.lexists(path) and not path.is_dir():
            raise InputError(f"a study keeps its files in a folder {name}", f"{path}, which is none", "Move it away.")


def is_exported(stored_record: Mapping[str, Any], trials: Iterable[FrozenTrial], folder: Path) -> bool:
    """Returns whether a study's folder holds complete exports of this record and these trials.

    Else they are to be written again: after further trials, and after an option changed, as `--keep`, by which another
    network is recommended.

    Args:
        stored_record: The study's record; what it recorded at its end, as a confirmation, is no part of the comparison.
        trials: All Optuna trials of the study.
        folder: `runs/<study>`.
    """
    try:
        rows = pd.read_csv(folder / "trials.csv", usecols=["number"], encoding="utf-8")
        report_is_complete = _ends_with(folder / "report.html", END_OF_REPORT)
        exported_record = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # missing, empty, no text, no table
        return False
    numbers = [trial.number for trial in counted_trials(trials)]
    has_trials = report_is_complete and rows["number"].tolist() == numbers
    if not has_trials or not isinstance(exported_record, dict):
        return False
    record = hide_secrets(readable_record(stored_record).value)
    return _as_compared(exported_record) == _as_compared(record)


def _as_compared(record: Mapping[str, Any]) -> str:
    """Returns a record as text, without what is recorded at a study's end and what an export adds."""
    compared = {name: value for name, value in record.items() if name not in (*RECORDED_AT_END, "notice")}
    return json.dumps(compared, sort_keys=True, default=str)


def _ends_with(path: Path, end: bytes) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(-min(len(end), size), os.SEEK_END)
        return file.read() == end
