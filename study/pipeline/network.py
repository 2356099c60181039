"""Finds what a study's network is, in a process of its own that has torch, before minutes of reading and training."""

import json
import subprocess
import sys
from dataclasses import replace

from fer.architecture import VGG13, Architecture
from fer.errors import InputError
from study.machine import exit_text, worker_environment
from study.options import StudyOptions, blocks_folder, make_cache_folder
from study.presets import PRESETS

CHANNELS = 1
"""Of the images that networks are given: grey."""


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
        return replace(VGG13, width=PRESETS[options.preset].width, classes=classes)

    make_cache_folder(options.out)
    request = {
        "name": options.network,
        "channels": CHANNELS,
        "size": VGG13.size,
        "classes": classes,
        "blocks": str(blocks_folder(options.out)),
    }
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
