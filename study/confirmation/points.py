"""A confirmed network and its answers on the test images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class ConfirmedPoint:
    """A network that was trained with several seeds, and how it answered on the test images.

    Attributes:
        name: That the report shows: "trial 12", or a named strategy.
        strategy: Of its configuration.
        right: For each domain which images each training classified correctly, bool (seeds, n).
        logits: For each domain its answers (seeds, n, classes), NaN where a training diverged.
        named: The named strategy that it is; "" where it is none.
        alpha: The share of the adapted weights in the first block, 0 to 1.
        slope: By how much the last block's share is larger.
        model: The file of the search's network, relative to the study's folder; "" for a named strategy.
        front: Whether it is on the study's front.
        validation: The search's validation accuracy by domain, 0 to 1; empty for a named strategy.
        averaged: How many trainings the search's file averages; None where it is no average, and where there is none.
        divisions: How many divisions of the target its trainings saw; None where that is not known.
        target_passes: How often a fusion drew each target image; 0 where that is not known.
        cka: The similarity of each block to the baseline's (blocks,), of one training.
        probe: The accuracy of a linear probe on the source, 0 to 1, of one training.
    """

    name: str
    strategy: str
    right: Mapping[str, np.ndarray]
    logits: Mapping[str, np.ndarray] = field(default_factory=dict)
    named: str = ""
    alpha: float = 1.0
    slope: float = 0.0
    model: str = ""
    front: bool = False
    validation: Mapping[str, float] = field(default_factory=dict)
    averaged: int | None = None
    divisions: int | None = None
    target_passes: float = 0.0
    cka: np.ndarray | None = None
    probe: float | None = None

    @property
    def reference_name(self) -> str:
        """The named strategy on all of the target's training set that it is; the paper's table names the share."""
        return self.named.removesuffix(" 100 %")

    @property
    def label(self) -> str:
        """What distinguishes it from the other points of a front."""
        return self.model or self.name

    @property
    def seeds(self) -> int:
        """How many trainings it had."""
        return len(self.right["target"])
