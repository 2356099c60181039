"""The commands and lines of Python that a report gives to copy, with the places that the study had."""

from dataclasses import dataclass
from pathlib import Path

from study.cli import command_line
from study.record import StudyRecord

FACE = "FACE.png"
"""What stands for the user's image in a command."""
_HIDDEN = "***"
"""What `study.redaction` writes in place of a password."""


@dataclass(frozen=True)
class Snippet:
    """Text to copy.

    Attributes:
        title: What it does.
        text: The command, or lines of Python.
        note: What must be changed in it before it works; empty where nothing must.
    """

    title: str
    text: str
    note: str = ""


def study_folder(record: StudyRecord) -> Path:
    """Returns the study's folder as its user named it, relative to where the study was run."""
    return Path(_option(record, "out") or "runs") / (record.name or "STUDY")


def network_path(record: StudyRecord, model: str) -> str:
    """Returns the path of a network by its file in the study's folder, relative to where the study was run."""
    return str(study_folder(record) / model)


def predict_command(record: StudyRecord, path: str) -> str:
    """Returns the command by which a network recognises expressions.

    Args:
        record: The study's record.
        path: Of the network, see `network_path`.
    """
    words = [path, FACE]
    if record.options.get("equalise") is True:
        words.append("--equalise")
    return command_line("study.predict", words)


def python_lines(record: StudyRecord, path: str) -> str:
    """Returns three lines of Python by which a network recognises expressions.

    Args:
        record: The study's record.
        path: Of the network, see `network_path`.
    """
    equalise = ", equalise=True" if record.options.get("equalise") is True else ""
    return (
        "from fer.predict import load_network, predict_image\n"
        f"network = load_network({path!r})\n"
        f"print(predict_image(network, {FACE!r}{equalise}))"
    )


def confirm_command(record: StudyRecord) -> str:
    """Returns the command that tests the study's networks on the test images."""
    return command_line("study.confirm", [record.name or "STUDY", *_places(record, "out", "storage", "data")])


def report_command(record: StudyRecord) -> str:
    """Returns the command that writes the study's report, also while the study runs."""
    return command_line("study.report", [record.name or "STUDY", *_places(record, "out", "storage")])


def sync_command(record: StudyRecord) -> str:
    """Returns the command that brings a study with its confirmation into MLflow; empty where it uses none."""
    if _option(record, "tracking_uri") == "none":
        return ""
    return command_line("study.sync", [record.name or "STUDY", *_places(record, "out", "storage", "tracking_uri")])


def as_snippet(title: str, text: str) -> Snippet:
    """Returns a snippet, which says where a password is missing in it."""
    note = f"Put the password in place of {_HIDDEN}." if _HIDDEN in text else ""
    return Snippet(title, text, note)


def _places(record: StudyRecord, *names: str) -> list[str]:
    """Returns the options of these names that the study had, as words of a command line."""
    words = []
    for name in names:
        value = _option(record, name)
        is_default = not value or (name == "out" and value == "runs")
        if not is_default:
            words += [f"--{name.replace('_', '-')}", value]
    return words


def _option(record: StudyRecord, name: str) -> str:
    """Returns an option's text, empty where the record has none."""
    value = record.options.get(name)
    return value if isinstance(value, str) else ""
