"""Finds what a study's network is, in a process of its own that has torch, before minutes of reading and training."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fer.architecture import VGG13, Architecture
from fer.errors import InputError
from fer.expressions import SEVEN, ExpressionSet
from fer.image_format import RGB
from study.execution.parent_messages import messages_in, raise_told_error
from study.machine import exit_text, worker_environment
from study.options import StudyOptions, baselines_folder, blocks_folder, images_of, make_cache_folder
from study.presets import PRESETS
from study.record import WeightsRecord


@dataclass(frozen=True)
class StudyNetwork:
    """The network that a study adapts.

    Attributes:
        architecture: What it is without its weights.
        weights: Which file of the user's own its weights come from.
        notes: What the user should read of that file.
    """

    architecture: Architecture
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
    is_paper = options.network == VGG13.name
    width = PRESETS[options.preset].width if is_paper else 1.0
    given = _given_file(options)
    if is_paper and given is None:
        return StudyNetwork(replace(VGG13, width=width, classes=len(expressions)))

    make_cache_folder(options.out)
    size, colour = images_of(asdict(options))
    answer = _ask(
        {
            "name": options.network,
            "size": size,
            "classes": len(expressions),
            "width": width,
            "mean": options.mean or (),
            "std": options.std or (),
        },
        {
            "blocks": str(blocks_folder(options.out)),
            "baselines": str(baselines_folder(options.out)),
            "expressions": expressions.to_json(),
            "given": given,
        },
    )
    network = Architecture.from_json(answer["network"])
    if colour == RGB and network.channels == 1:
        raise InputError(
            "images in colour need a network that takes three channels",
            f"{network.name}, which takes one",
            "Give --colour grey.",
        )
    if given is None:
        return StudyNetwork(network)
    return StudyNetwork(network, WeightsRecord.from_json(answer["weights"]), tuple(answer["notes"]))


def _given_file(options: StudyOptions) -> dict[str, Any] | None:
    """Returns the user's own file of weights as the process that has torch is told of it; None where there is none."""
    path = options.baseline or options.pretrained
    if path is None:
        return None
    classes = [name.strip() for name in options.classes.split(",")] if options.classes else []
    return {
        "path": path,
        "kind": "baseline" if options.baseline else "features",
        "classes": classes,
        "colour": images_of(asdict(options))[1],
    }


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
    for message in messages_in(answer.stdout.splitlines()):
        raise_told_error(message, "the network")
        if "network" in message:
            return message
    raise RuntimeError(f"the network's process {exit_text(answer.returncode)}")
