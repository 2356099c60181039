"""A study that is called by a path instead of its name. Light to import: `--help` must answer at once."""

import os
from pathlib import Path

from fer.errors import InputError, shorten
from study.arguments import LONGEST_SHOWN, check_study_name, is_text

MARKS = ("journal.log", "study.json")
"""Files of which a study's folder has one at least: its trials, unless another storage has them, and its record."""
DEEPEST = 2
"""Folders between a study's folder and the deepest of its files, models/trial-0001.safetensors."""


def find_study_folder(text: str) -> Path | None:
    """Returns the folder of the study that a path leads to: the path itself, or a folder around it.

    >>> find_study_folder("runs/fer2013-tfeid-card-laptop/report.html")
    PosixPath('runs/fer2013-tfeid-card-laptop')

    Args:
        text: What a command was given as a study: a name, or a path as a shell completes it.

    Returns:
        The folder; None where text is a name, or a path that leads to no study.
    """
    is_path = os.sep in text or text == os.curdir
    if not is_path or not is_text(text):
        return None

    # Without "..", so that the folders around it are those that it stands in.
    path = Path(os.path.normpath(text))
    around = [path, *path.parents][: DEEPEST + 1]
    try:
        if not path.exists():
            return None
        found = next((folder for folder in around if _holds_study(folder)), None)
    except OSError:  # a name that is too long, a folder that may not be entered
        return None
    return Path.cwd() if found == Path() else found


def _holds_study(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in MARKS)


def check_warm_start(study: str) -> None:
    """Raises InputError unless --warm-start is a study's name or leads to a study's folder."""
    folder = find_study_folder(study)
    if folder is None and os.sep in study:
        raise InputError(
            "--warm-start is the name of a study under --out, or the path of a study's folder",
            f"{shorten(study, LONGEST_SHOWN)!r}, where no study is",
            "Correct the path.",
        )
    check_study_name(study if folder is None else folder.name)
