"""Finds what a study's network is, in a process of its own that has torch, before minutes of reading and training."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from fer.architecture import VGG13, Architecture
from fer.errors import InputError
from fer.image_format import RGB
from study.machine import exit_text, worker_environment
from study.options import StudyOptions, blocks_folder, images_of, make_cache_folder
from study.presets import PRESETS


def find_network(options: StudyOptions, classes: int = VGG13.classes) -> Architecture:
    """Returns the network that a study adapts.

    Args:
        options: What the user asked for; its preset is known.
        classes: Number of expressions.

    Raises:
        InputError: There is no such network, it takes no images of the study's size, or it cannot be divided.
        RuntimeError: It could not be found out.
    """
    if options.network == VGG13.name:
        return dataclasses.replace(VGG13, width=PRESETS[options.preset].width, classes=classes)

    make_cache_folder(options.out)
    size, colour = images_of(dataclasses.asdict(options))
    request = {
        "name": options.network,
        "size": size,
        "classes": classes,
        "mean": options.mean or (),
        "std": options.std or (),
        "blocks": str(blocks_folder(options.out)),
    }
    network = _ask(request)
    if colour == RGB and network.channels == 1:
        raise InputError(
            "images in colour need a network that takes three channels",
            f"{network.name}, which takes one",
            "Give --colour grey.",
        )
    return network


def _ask(request: Mapping[str, Any]) -> Architecture:
    """Returns the network that the process which has torch finds.

    Raises:
        InputError: There is no such network, it takes no images of this size, or it cannot be divided.
        RuntimeError: It could not be found out.
    """
    answer = subprocess.run(
        [sys.executable, "-m", "study.execution.network_process"],
        input=json.dumps(request).encode(),
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
            return Architecture.from_json(message["network"])
    raise RuntimeError(f"the network's process {exit_text(answer.returncode)}")
