"""A process of `study.run --outer`: lets a search's recommended network answer; not a command for people.

Reads one JSON line, its assignment, from its standard input. When data, baseline and network are open, it prints
{"ready": true} and waits for a second line; only then does it read test images. It prints {"answers": {...}}, or
{"error": [...]} or {"stuck": "..."} where it cannot go on.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from fer.errors import InputError
from study.cli import leave
from study.confirmation.statistics import predicted_expressions
from study.confirmation.training_process import send
from study.exit_code import ExitCode
from study.machine import exit_with_parent, is_out_of_memory, keep_private
from study.record import StudyRecord
from study.redaction import one_line


def answer(assignment: Mapping[str, Any]) -> None:
    """Lets the baseline and a network answer when the parent has recorded the evaluation of the test images.

    Args:
        assignment: "record" of the study; "out", "data" and "device", where this process works; "model", the network's
            file relative to the study's folder, None for the baseline alone.
    """
    # Torch comes now and not with the module: only here is its failure sent to the parent.
    from fer.model.weights import load_network  # noqa: PLC0415
    from study.confirmation.retrain import answer_test_images  # noqa: PLC0415
    from study.execution.trial_context import open_trial_context  # noqa: PLC0415

    # Everything that can prove wrong before a test image is read.
    places = argparse.Namespace(out=assignment["out"], data=assignment["data"], device=assignment["device"])
    context = open_trial_context(StudyRecord.from_json(assignment["record"]), places)
    networks = {"baseline": context.task.baseline.network}
    if assignment["model"] is not None:
        saved = load_network(context.folder / assignment["model"], context.task.runtime)
        networks["network"] = saved.network

    send({"ready": True})
    if not sys.stdin.readline():  # the parent refused
        return

    answers = {}
    for name, network in networks.items():
        logits = answer_test_images(context, network)
        answers[name] = {domain: predicted_expressions(values).tolist() for domain, values in logits.items()}
    send({"answers": answers})


def run_process() -> int:
    """Does what standard input assigns; returns the exit code."""
    try:
        answer(json.loads(sys.stdin.readline()))
    except InputError as error:
        send({"error": [error.rule, str(error.value), error.fix]})
        return ExitCode.WRONG_USE
    except Exception as error:
        if not (isinstance(error, OSError) or is_out_of_memory(error)):
            raise
        send({"stuck": one_line(error)})
        return ExitCode.STUCK
    return ExitCode.DONE


if __name__ == "__main__":
    exit_with_parent(os.getppid())
    keep_private()
    leave(run_process())
