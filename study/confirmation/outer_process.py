"""A process of `study.run --outer`: lets a search's recommended network answer; not a command for people.

Reads one JSON line, its assignment, from its standard input. When data, baseline and network are open, it prints
{"ready": true} and waits for a second line; only then does it read test images. It prints {"answers": {...}}, or
{"error": [...]} or {"stuck": "..."} where it cannot go on.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from study.confirmation.child_process import run_child
from study.confirmation.statistics import predicted_expressions
from study.execution.parent_messages import send
from study.record import StudyRecord


def answer(assignment: Mapping[str, Any]) -> None:
    """Lets the baseline and a network answer when the parent has recorded the evaluation of the test images.

    Args:
        assignment: "record" of the study; "out", "data" and "device", where this process works; "model", the network's
            file relative to the study's folder, None for the baseline alone.
    """
    # Torch comes now and not with the module: only here is its failure sent to the parent.
    from study.confirmation.retrain import answer_test_images  # noqa: PLC0415
    from study.execution.trial_context import open_trial_context  # noqa: PLC0415

    # Everything that can prove wrong before a test image is read.
    places = argparse.Namespace(out=assignment["out"], data=assignment["data"], device=assignment["device"])
    context = open_trial_context(StudyRecord.from_json(assignment["record"]), places)
    networks = {"baseline": context.task.baseline.network}
    if assignment["model"] is not None:
        networks["network"] = context.open_network(assignment["model"])

    send({"ready": True})
    if not sys.stdin.readline():  # the parent refused
        return

    answers = {}
    for name, network in networks.items():
        logits = answer_test_images(context, network)
        answers[name] = {domain: predicted_expressions(values).tolist() for domain, values in logits.items()}
    send({"answers": answers})


if __name__ == "__main__":
    run_child(answer)
