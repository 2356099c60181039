"""Finds or trains the baseline in a process of its own, for `study.run`; not a command for people.

Reads the study's record so far from standard input and prints JSON lines: {"samples": [done, most]} and
{"pass": {...}} while it trains, {"evaluated": [done, total]} while it is evaluated, at last {"baseline": {...}},
{"error": [rule, value, fix]} or {"stuck": "..."}. The parent stays free of torch that way, and the process has the
environment that fast training needs.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from study.cli import leave
from study.execution.parent_messages import answer_parent, send
from study.machine import exit_with_parent
from study.record import StudyRecord

if TYPE_CHECKING:  # torch is not imported yet
    from fer.baseline_job import PassReport


TELL_EVERY = 0.5
"""Seconds between two messages about the samples of a training."""


def send_pass(report: "PassReport") -> None:
    """Tells the parent that a pass has ended."""
    send({"pass": asdict(report)})


def send_evaluated(done: int, total: int) -> None:
    """Tells the parent on how many images the baseline is evaluated."""
    send({"evaluated": [done, total]})


class SampleTeller:
    """Tells the parent how many samples are drawn, now and then: a GPU takes hundreds of steps in a second."""

    def __init__(self) -> None:
        self.told = 0.0

    def tell(self, done: int, most: int) -> None:
        """Tells how many samples are drawn, and how many there are at most."""
        if time.monotonic() - self.told >= TELL_EVERY:
            self.told = time.monotonic()
            send({"samples": [done, most]})


def find_answer() -> dict[str, Any]:
    """Returns the baseline of the record on standard input, found or trained now; tells how far its training is."""
    from study.execution.study_baseline import prepare_baseline  # noqa: PLC0415  # torch

    record = StudyRecord.from_json(json.load(sys.stdin.buffer))
    return {"baseline": prepare_baseline(record, send_pass, SampleTeller().tell, send_evaluated)}


if __name__ == "__main__":
    exit_with_parent(os.getppid())
    leave(answer_parent(find_answer))
