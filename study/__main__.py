"""`python -m study` and the console script `memory-integrity`: a page of the commands, or one of them."""

import importlib
import sys
from typing import NoReturn

from fer.errors import closest, printable, shorten
from study.arguments import LONGEST_SHOWN
from study.cli import leave, run_command, tell_error
from study.exit_code import ExitCode
from study.program import DISTRIBUTION, is_console_script, program, version

COMMANDS = {
    "run": "search for the best adaptations, from the data to the report",
    "report": "write a study's tables, figures and report again, also while it runs",
    "confirm": "train the best networks again and evaluate the test images, once",
    "predict": "print the expressions that a network sees in images",
    "datasets": "list the datasets that are found, and what is in them",
    "worker": "join a running study, from this or another machine",
    "sync": "add to MLflow what it lacks of a study",
}
"""Each command with what it does, in the order in which a user meets them."""

PURPOSE = (
    "Finds the adaptation of a facial-expression network that learns a small dataset\n"
    "best while forgetting the large one least."
)


def start() -> int:
    """Does what the command line says; returns the exit code."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command not in COMMANDS:
        return run_command(_answer, sys.argv[1:])

    # The command finds its own words where it would without this page.
    del sys.argv[1]
    return int(importlib.import_module(f"study.{command}").main())


def run_script() -> NoReturn:
    """Is the console script."""
    leave(start())


def _answer(words: list[str] | None) -> int:
    """Prints the page or the version, or tells that there is no such command; returns the exit code."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(page())
        return ExitCode.DONE
    if words[0] == "--version":
        print(f"{DISTRIBUTION} {version()}")
        return ExitCode.DONE

    # An option without a command is most likely one of the main job's.
    meant = "run" if words[0].startswith("-") else closest(words[0], COMMANDS)
    shown = shorten(printable(words[0].partition("=")[0]), LONGEST_SHOWN)
    question = f" Did you mean {program(meant)}?" if meant is not None else ""
    tell_error(f"a command is one of {', '.join(COMMANDS)}; got {shown!r}.{question}")
    return ExitCode.WRONG_USE


def page() -> str:
    """Returns what the tool is, its commands, and examples."""
    called = DISTRIBUTION if is_console_script() else "python -m study"
    usage = f"usage: {called} COMMAND [options]"
    commands = [f"  {name:9} {does}" for name, does in COMMANDS.items()]
    examples = [
        f"  {program('run')} --target tfeid --preset tiny --trials 6  # a minute",
        f"  {program('run')} --target tfeid                           # the whole job",
    ]
    ending = "Every command explains itself with --help; --version prints the version."
    return "\n".join([PURPOSE, "", usage, "", "commands:", *commands, "", "examples:", *examples, "", ending])


if __name__ == "__main__":
    leave(start())
