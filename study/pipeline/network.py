"""Finds what a study's network is, in a process of its own that has torch, before minutes of reading and training."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fer.architecture import VGG13, Architecture
from fer.errors import InputError
from fer.expressions import SEVEN, ExpressionSet
from study.machine import exit_text, worker_environment
from study.options import StudyOptions, baselines_folder, blocks_folder, make_cache_folder
from study.presets import PRESETS
from study.record import WeightsRecord

CHANNELS = 1
"""Of the images that networks are given: grey."""


@dataclass(frozen=True)
class StudyNetwork:
    """The network that a study adapts.

    Attributes:
        architecture: What it is without its weights.
        weights: Which file of the user's own its weights come from.
        notes: What the user should read of that file.
    """

    architecture: Architecture = VGG13
    weights: WeightsRecord = field(default_factory=WeightsRecord)
    notes: tuple[str, ...] = ()


def find_network(options: StudyOptions, expressions: ExpressionSet = SEVEN) -> StudyNetwork:
    """Returns the network that a study adapts, with the user's own weights where there are any.

    Args:
        options: What the user asked for; its preset is known.
        expressions: What its logits stand for.

    Raises:
        InputError: There is no such network, it takes no images of the study's size, it cannot be divided, or the
            user's file does not hold its weights.
        RuntimeError: It could not be found out.
    """
    width = PRESETS[options.preset].width
    given = _given_file(options)
    if options.network == VGG13.name and given is None:
        return StudyNetwork(replace(VGG13, width=width, classes=len(expressions)))

    make_cache_folder(options.out)
    answer = _ask(
        {
            "name": options.network,
            "channels": CHANNELS,
            "size": VGG13.size,
            "classes": len(expressions),
            "width": width if options.network == VGG13.name else 1.0,
        },
        {
            "blocks": str(blocks_folder(options.out)),
            "baselines": str(baselines_folder(options.out)),
            "expressions": expressions.to_json(),
            "given": given,
        },
    )
    architecture = Architecture.from_json(answer["network"])
    if given is None:
        return StudyNetwork(architecture)
    weights = WeightsRecord.from_json(answer["weights"])
    return StudyNetwork(architecture, weights, tuple(answer["notes"]))


def _given_file(options: StudyOptions) -> dict[str, Any] | None:
    """Returns the user's own file of weights as the process that has torch is told of it; None where there is none."""
    path = options.baseline or options.pretrained
    if path is None:
        return None
    classes = [name.strip() for name in options.classes.split(",")] if options.classes else []
    return {"path": path, "kind": "baseline" if options.baseline else "features", "classes": classes}


def _ask(request: Mapping[str, Any], places: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the process that has torch answers.

    Args:
        request: Of the network.
        places: What else it is told, see `study.execution.network_process`.

    Raises:
        InputError: The user can mend what it found.
        RuntimeError: It could not find the network.
    """
    answer = subprocess.run(
        [sys.executable, "-m", "study.execution.network_process"],
        input=json.dumps({"request": request, **places}).encode(),
        stdout=subprocess.PIPE,
        env=worker_environment(),
        check=False,
    )
    for line in answer.stdout.splitlines():
        if not line.startswith(b"{"):  # of a library, or of the user's own code
            continue
        message = json.loads(line)
        if "error" in message:
            raise InputError(*message["error"])
        if "stuck" in message:
            raise RuntimeError(f"the network cannot be had: {message['stuck']}")
        if "network" in message:
            return message
    raise RuntimeError(f"the network's process {exit_text(answer.returncode)}")
