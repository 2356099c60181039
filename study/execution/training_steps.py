"""The training steps whose speed `study.execution.autotune` measures. Imports torch."""

import torch

from fer.model.vgg import SIZE, build, count_classes
from fer.runtime import Runtime

BATCH = 32
"""Images per step."""


class TrainingSteps:
    """Trains all layers of a network on one batch of random images.

    Args:
        width: Width of the network, see `fer.model.vgg.build`.
        precision: "fp32" or "bf16".
        seed: Seed of the network's weights.
    """

    def __init__(self, width: float, precision: str, seed: int) -> None:
        self.runtime = Runtime("cpu", "bf16" if precision == "bf16" else "fp32")
        self.network = build(width, seed=seed).to(memory_format=torch.channels_last).train()
        self.images = torch.randn(BATCH, 1, SIZE, SIZE).to(memory_format=torch.channels_last)
        self.labels = torch.arange(BATCH) % count_classes(self.network)

    def use_threads(self, count: int) -> None:
        """Lets the steps that follow be computed by so many threads."""
        torch.set_num_threads(count)

    def step(self) -> None:
        """Computes the gradients of one batch."""
        self.network.zero_grad()
        with self.runtime.autocast():
            logits = self.network(self.images)
        torch.nn.functional.cross_entropy(logits.float(), self.labels).backward()
