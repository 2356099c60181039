"""Finds or trains the baseline in a process of its own, for `study.run`; not a command for people.

Reads the study's record so far from standard input and prints JSON lines: {"samples": [done, most]} and
{"pass": {...}} while it trains, at last {"baseline": {...}}, {"error": [rule, value, fix]} or {"stuck": "..."}. The
parent stays free of torch that way, and the process has the environment that fast training needs.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.cli import describe_failure, leave
from study.exit_code import ExitCode
from study.machine import exit_with_parent
from study.record import StudyRecord

if TYPE_CHECKING:  # torch is not imported yet
    from fer.baseline_job import PassReport


TELL_EVERY = 0.5
"""Seconds between two messages about the samples of a training."""


def send(message: dict[str, Any]) -> None:
    """Prints one JSON line for the parent."""
    print(json.dumps(message), flush=True)


def send_pass(report: "PassReport") -> None:
    """Tells the parent that a pass has ended."""
    send({"pass": asdict(report)})


class SampleTeller:
    """Tells the parent how many samples are drawn, now and then: a GPU takes hundreds of steps in a second."""

    def __init__(self) -> None:
        self.told = 0.0

    def tell(self, done: int, most: int) -> None:
        """Tells how many samples are drawn, and how many there are at most."""
        if time.monotonic() - self.told >= TELL_EVERY:
            self.told = time.monotonic()
            send({"samples": [done, most]})


def answer_parent() -> int:
    """Finds or trains the baseline of the record on standard input, and tells the parent; returns the exit code."""
    try:
        # Torch takes seconds to import, during which a parent that ends already ends this process. An error of the
        # import is the parent's to tell, too.
        from study.execution.study_baseline import prepare_baseline  # noqa: PLC0415

        record = StudyRecord.from_json(json.load(sys.stdin.buffer))
        send({"baseline": prepare_baseline(record, send_pass, SampleTeller().tell)})
        return ExitCode.DONE
    except InputError as error:
        send({"error": [error.rule, str(error.value), error.fix]})
        return ExitCode.WRONG_USE
    except Exception as error:  # whatever it is, the parent has it on one line
        if sys.flags.dev_mode:
            raise
        send({"stuck": describe_failure(error)})
        return ExitCode.STUCK


if __name__ == "__main__":
    exit_with_parent(os.getppid())
    leave(answer_parent())
