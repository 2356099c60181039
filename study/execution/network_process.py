"""Finds the blocks of a network in a process of its own, for `study.run`; not a command for people.

Reads a JSON line from standard input: name, channels, size and classes of the network, and in "blocks" the folder where
it is kept what was found. Prints a JSON line: {"network": {...}}, {"error": [rule, value, fix]} or {"stuck": "..."}.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from fer.errors import InputError
from study.cli import describe_failure, leave
from study.exit_code import ExitCode
from study.machine import exit_with_parent


def answer_parent() -> int:
    """Finds the blocks of the network on standard input, and tells the parent; returns the exit code."""
    try:
        # Torch takes seconds to import, during which a parent that ends already ends this process.
        from fer.model.chains import find_architecture, request  # noqa: PLC0415

        asked = json.load(sys.stdin.buffer)
        blocks = Path(asked.pop("blocks"))
        _send({"network": find_architecture(request(**asked), blocks).to_json()})
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
