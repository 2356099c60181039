"""Finds or trains the baseline in a process of its own, for `study.run`; not a command for people.

Reads the study's record so far from standard input and prints JSON lines: {"epoch", "of", "loss"} while it
trains, at last {"baseline": {...}}, {"error": [rule, value, fix]} or {"stuck": "..."}. The parent stays free of torch
that way, and the process has the environment that fast training needs.
"""

import json
import os
import sys
from typing import Any

from fer.errors import InputError
from study.cli import describe_failure, leave
from study.exit_code import ExitCode
from study.machine import exit_with_parent, keep_private
from study.record import StudyRecord


def send(message: dict[str, Any]) -> None:
    """Prints one JSON line for the parent."""
    print(json.dumps(message), flush=True)


def send_epoch(epoch: int, epochs: float, loss: float) -> None:
    """Tells the parent that an epoch has ended.

    Args:
        epoch: Its number, from 1.
        epochs: The number of epochs of the training.
        loss: The epoch's mean loss.
    """
    send({"epoch": epoch, "of": epochs, "loss": loss})


def answer_parent() -> int:
    """Finds or trains the baseline of the record on standard input, and tells the parent; returns the exit code."""
    try:
        # Torch takes seconds to import, during which a parent that ends already ends this process. An error of the
        # import is the parent's to tell, too.
        from study.execution.study_baseline import prepare_baseline  # noqa: PLC0415

        record = StudyRecord.from_json(json.load(sys.stdin.buffer))
        send({"baseline": prepare_baseline(record, send_epoch)})
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
    keep_private()
    leave(answer_parent())
