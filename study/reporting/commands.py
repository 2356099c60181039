"""The commands and lines of Python that report and terminal give to copy, with the places that the study had."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer.architecture import is_own_code
from study.cli import command_line
from study.options import StudyOptions
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
    return _predict_command(path, record.options.get("equalise") is True, record.architecture.name)


def _predict_command(path: str, equalise: bool, network: str) -> str:
    words = [path, FACE]
    if equalise:
        words.append("--equalise")
    if is_own_code(network):
        words += ["--network", network]
    return command_line("study.predict", words)


def python_lines(record: StudyRecord, path: str) -> str:
    """Returns three lines of Python by which a network recognises expressions.

    Args:
        record: The study's record.
        path: Of the network, see `network_path`.
    """
    equalise = ", equalise=True" if record.options.get("equalise") is True else ""
    name = record.architecture.name
    own = f", {name!r}" if is_own_code(name) else ""
    return (
        "from fer.predict import load_network, predict_image\n"
        f"network = load_network({path!r}{own})\n"
        f"print(predict_image(network, {FACE!r}{equalise}))"
    )


def confirm_again_command(record: StudyRecord) -> str:
    """Returns the command that tests networks which a search found after its confirmation."""
    return f"{confirm_command(record)} --again"


AGAIN_TITLE = (
    "test the networks found or trained further since; it opens the test images once more, which the report will say"
)
"""What comes next where a search went on after its confirmation."""


def confirm_command(record: StudyRecord) -> str:
    """Returns the command that tests the study's networks on the test images."""
    return command_line("study.confirm", place_words(record.name or "STUDY", record.options, "data"))


def report_command(record: StudyRecord) -> str:
    """Returns the command that writes the study's report, also while the study runs."""
    return command_line("study.report", place_words(record.name or "STUDY", record.options))


def sync_command(record: StudyRecord) -> str:
    """Returns the command that brings a study with its confirmation into MLflow; empty where it uses none."""
    if _option(record, "tracking_uri") == "none":
        return ""
    return command_line("study.sync", place_words(record.name or "STUDY", record.options, "tracking_uri"))


def list_next_commands(
    name: str,
    options: StudyOptions,
    model: str | None,
    is_confirmed: bool,
    baseline: str = "",
    has_untested: bool = False,
) -> list[tuple[str, str]]:
    """Returns the commands that follow a study, and files to look at, each with what it is for; passwords are hidden.

    Args:
        name: The study's name.
        options: What the study was started with.
        model: The recommended network's file, relative to the study's folder; None where none is recommended.
        is_confirmed: Whether the study was confirmed.
        baseline: The baseline's file, which is used where no network is recommended; empty where that is not known.
        has_untested: Whether the search went on after a confirmation, and found networks of the front.
    """
    places = dataclasses.asdict(options)
    folder = Path(options.out) / name
    commands = []
    if model is not None:
        predict = _predict_command(str(folder / model), options.equalise, options.network)
        commands.append(("recognise expressions with the recommended network", predict))
    else:
        if baseline:
            predict = _predict_command(baseline, options.equalise, options.network)
            commands.append(("recognise expressions with the baseline, as no network is recommended", predict))
        choose = "or choose a network of the front yourself, by what it is expected to keep and to gain, from"
        commands.append((choose, str(folder / "front.csv")))
    confirm = command_line("study.confirm", place_words(name, places, "data"))
    if not is_confirmed:
        commands.append(("test the front on images that nothing was chosen by", confirm))
    elif has_untested:
        commands.append((AGAIN_TITLE, f"{confirm} --again"))
    commands.append(("write the report again", command_line("study.report", place_words(name, places))))
    return commands


def as_snippet(title: str, text: str) -> Snippet:
    """Returns a snippet, which says where a password is missing in it."""
    note = f"Put the password in place of {_HIDDEN}." if _HIDDEN in text else ""
    return Snippet(title, text, note)


def place_words(name: str, options: Mapping[str, Any], *more: str) -> list[str]:
    """Returns the words by which a command finds a study: its name, and the places that it does not look at by itself.

    Args:
        name: The study's name.
        options: What the study was started with, by the options' names.
        more: Names of further options that the command has: "data", "tracking_uri".
    """
    words = [name]
    for option in ("out", "storage", *more):
        value = options.get(option)
        is_default = option == "out" and value == StudyOptions.out
        if isinstance(value, str) and value and not is_default:
            words += [f"--{option.replace('_', '-')}", value]
    return words


def _option(record: StudyRecord, name: str) -> str:
    """Returns an option's text, empty where the record has none."""
    value = record.options.get(name)
    return value if isinstance(value, str) else ""
