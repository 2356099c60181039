"""The commands that follow a study, complete, so that they can be copied."""

from pathlib import Path

from study.cli import command_line
from study.options import StudyOptions

EXAMPLE_IMAGE = "FACE.png"
"""Stands in a command for the user's image."""


def place_words(name: str, options: StudyOptions, *more: str) -> list[str]:
    """Returns the words by which a command finds a study: its name, and the places that it does not look at by itself.

    Args:
        name: The study's name.
        options: What the study was started with.
        more: Names of further options that the command has: "data", "tracking_uri".
    """
    words = [name]
    if options.out != StudyOptions.out:
        words += ["--out", options.out]
    if options.storage:
        words += ["--storage", options.storage]
    if "data" in more and options.data:
        words += ["--data", options.data]
    if "tracking_uri" in more and options.tracking_uri:
        words += ["--tracking-uri", options.tracking_uri]
    return words


def list_next_commands(
    name: str, options: StudyOptions, model: str | None, is_confirmed: bool
) -> list[tuple[str, str]]:
    """Returns the commands that follow a study, each with what it is for; passwords are hidden.

    Args:
        name: The study's name.
        options: What the study was started with.
        model: The recommended network's file, relative to the study's folder; None where none is recommended.
        is_confirmed: Whether the study was confirmed.
    """
    commands = []
    if model is not None:
        words = [str(Path(options.out) / name / model), EXAMPLE_IMAGE]
        if options.equalise:
            words.append("--equalise")
        commands.append(("recognise expressions with the recommended network", command_line("study.predict", words)))
    if not is_confirmed:
        words = place_words(name, options, "data")
        commands.append(("test the front on images that nothing was chosen by", command_line("study.confirm", words)))
    commands.append(("write the report again", command_line("study.report", place_words(name, options))))
    return commands
