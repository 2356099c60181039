"""JSON lines by which a process that has torch answers its parent, which has not.

The process prints messages, at last its answer, {"error": [rule, value, fix]} or {"stuck": "..."}.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fer.errors import InputError
from study.cli import describe_failure
from study.exit_code import ExitCode

# The process's side.


def send(message: Mapping[str, Any]) -> None:
    """Prints one JSON line for the parent."""
    print(json.dumps(message), flush=True)


def answer_parent(find_answer: Callable[[], Mapping[str, Any]]) -> int:
    """Tells the parent an answer, or why there is none; returns the exit code.

    Args:
        find_answer: Returns the answer. It imports torch itself, which takes seconds: meanwhile a parent that ends
            already ends its process, and an error of the import is told, too.
    """
    try:
        send(find_answer())
        return ExitCode.DONE
    except InputError as error:
        send({"error": [error.rule, str(error.value), error.fix]})
        return ExitCode.WRONG_USE
    except Exception as error:  # whatever it is, the parent has it on one line
        if sys.flags.dev_mode:
            raise
        send({"stuck": describe_failure(error)})
        return ExitCode.STUCK


# The parent's side.


def messages_in(lines: Iterable[str | bytes]) -> Iterator[dict[str, Any]]:
    """Yields the messages among the lines that a process prints; the others are of a library or of a user's code."""
    for line in lines:
        with contextlib.suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict):
                yield message


def raise_told_error(message: Mapping[str, Any], wanted: str) -> None:
    """Raises the error that a message tells; does nothing where it tells none.

    Args:
        message: Of a process that ends in `answer_parent`.
        wanted: What the process was to find: "the baseline".

    Raises:
        InputError: The user can mend it.
        RuntimeError: It is the machine's.
    """
    if "error" in message:
        raise InputError(*message["error"])
    if "stuck" in message:
        raise RuntimeError(f"{wanted} cannot be had: {message['stuck']}")
