"""Finds a network's blocks and reads the user's own weights, in a process of its own; not a command for people.

Reads JSON from standard input: "request" has name, channels, size and classes of the network; "blocks" and "baselines"
are the folders where it is kept what was found; "given" is the user's own file of weights, or null, and "expressions"
are what the logits stand for. Prints a JSON line: {"network": {...}, "weights": {...}, "notes": [...]},
{"error": [rule, value, fix]} or {"stuck": "..."}.
"""

import json
import os
import sys
from typing import Any

from fer.errors import InputError
from study.cli import describe_failure, leave
from study.exit_code import ExitCode
from study.machine import exit_with_parent


def answer_parent() -> int:
    """Finds the blocks of the network on standard input, and tells the parent; returns the exit code."""
    try:
        # Torch takes seconds to import, during which a parent that ends already ends this process.
        from study.execution.network_answer import answer  # noqa: PLC0415

        _send(answer(json.load(sys.stdin.buffer)))
        return ExitCode.DONE
    except InputError as error:
        _send({"error": [error.rule, str(error.value), error.fix]})
        return ExitCode.WRONG_USE
    except Exception as error:  # whatever it is, the parent has it on one line
        if sys.flags.dev_mode:
            raise
        _send({"stuck": describe_failure(error)})
        return ExitCode.STUCK


def _send(message: dict[str, Any]) -> None:
    """Prints one JSON line for the parent."""
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    exit_with_parent(os.getppid())
    leave(answer_parent())
