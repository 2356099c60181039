"""The training steps whose speed `study.execution.autotune` measures. Imports torch."""

import torch

from fer.architecture import Architecture
from fer.model.networks import build_network
from fer.runtime import Runtime

BATCH = 32
"""Images per step."""


class TrainingSteps:
    """Trains all blocks of a network on one batch of random images.

    Args:
        network: What trains.
        precision: "fp32" or "bf16".
        seed: Seed of the network's weights.
    """

    def __init__(self, network: Architecture, precision: str, seed: int) -> None:
        self.runtime = Runtime("cpu", "bf16" if precision == "bf16" else "fp32")
        # The network as it is: to divide it into blocks may take longer than the measurement.
        built = build_network(network.name, network.classes, network.size, seed, network.width, network.channels)
        self.network = built.to(memory_format=torch.channels_last).train()
        self.images = torch.randn(BATCH, network.channels, network.size, network.size).to(
            memory_format=torch.channels_last
        )
        self.labels = torch.arange(BATCH) % network.classes

    def use_threads(self, count: int) -> None:
        """Lets the steps that follow be computed by so many threads."""
        torch.set_num_threads(count)

    def step(self) -> None:
        """Computes the gradients of one batch."""
        self.network.zero_grad()
        with self.runtime.autocast():
            logits = self.network(self.images)
        torch.nn.functional.cross_entropy(logits.float(), self.labels).backward()
