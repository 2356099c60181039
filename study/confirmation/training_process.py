"""A process of `study.confirm`: trains its part of the jobs and stores their answers; not a command for people.

Reads one JSON line, its assignment, from its standard input. When its first training has ended, and with that device,
memory, data and baseline have proved sufficient, it prints {"ready": true} and waits for a second line, the
confirmation; only then does it read test images. It prints {"begun": [job, seed]} before each training and {"trained":
[job, seed], "seconds": s} after it, without the time in which it waited;
and {"error": [...]} or {"stuck": "..."} where it cannot go on.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.confirmation.answers import write_answers
from study.confirmation.child_process import run_child
from study.confirmation.jobs import Confirmation, ConfirmationJob, Training
from study.execution.parent_messages import send
from study.record import StudyRecord


@dataclass(frozen=True)
class Assignment:
    """What a process of a confirmation is to train, as its parent sends it.

    Attributes:
        record: The study's.
        out: The output folder.
        data: Where the user's copies of the datasets are; None for the usual place.
        device: What to train on.
        folder: The study's.
        jobs: Of the confirmation.
        trainings: Those of this process, in their order.
    """

    record: StudyRecord
    out: str
    data: str | None
    device: str
    folder: str
    jobs: tuple[ConfirmationJob, ...]
    trainings: tuple[Training, ...] = ()

    @classmethod
    def from_json(cls, sent: Mapping[str, Any]) -> "Assignment":
        """Returns the assignment that a parent wrote."""
        record = StudyRecord.from_json(sent["record"])
        jobs = tuple(ConfirmationJob.from_json(job) for job in sent["jobs"])
        trainings = tuple((index, seed) for index, seed in sent["trainings"])
        return cls(**{**sent, "record": record, "jobs": jobs, "trainings": trainings})

    def to_json(self) -> dict[str, Any]:
        """Returns what the parent sends."""
        jobs = [job.to_json() for job in self.jobs]
        return {**vars(self), "record": self.record.to_json(), "jobs": jobs, "trainings": list(self.trainings)}


def train_part(assignment: Assignment) -> None:
    """Trains the assigned jobs; reads the test images when the parent has recorded their evaluation."""
    # Torch comes now and not with the module: only here is its failure sent to the parent, which imports this module
    # as well and does without torch.
    from study.confirmation.retrain import evaluate, retrain  # noqa: PLC0415
    from study.execution.trial_context import open_trial_context  # noqa: PLC0415

    places = argparse.Namespace(out=assignment.out, data=assignment.data, device=assignment.device)
    context = open_trial_context(assignment.record, places)
    confirmation: Confirmation | None = None
    for index, seed in assignment.trainings:
        send({"begun": [index, seed]})
        job = assignment.jobs[index]
        began = time.monotonic()
        adapted = retrain(context, job, seed)
        seconds = time.monotonic() - began

        # The first training has shown that this process can do its part.
        if confirmation is None:
            send({"ready": True})
            line = sys.stdin.readline()
            if not line:  # the parent refused
                return
            confirmation = Confirmation.from_json(json.loads(line))

        began = time.monotonic()
        answers = evaluate(context, job, seed, adapted)
        write_answers(Path(assignment.folder), confirmation, index, seed, answers)
        seconds += time.monotonic() - began
        send({"trained": [index, seed], "seconds": seconds})


if __name__ == "__main__":
    run_child(lambda sent: train_part(Assignment.from_json(sent)))
