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

from study.cli import leave
from study.execution.parent_messages import answer_parent
from study.machine import exit_with_parent


def find_answer() -> dict[str, Any]:
    """Returns the network of the request on standard input, with what is known of the user's own weights."""
    from study.execution.network_answer import answer  # noqa: PLC0415  # torch

    return answer(json.load(sys.stdin.buffer))


if __name__ == "__main__":
    exit_with_parent(os.getppid())
    leave(answer_parent(find_answer))
