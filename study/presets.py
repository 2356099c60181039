"""The presets of a study. Light to import: `--help` must answer at once."""

from collections.abc import Mapping
from dataclasses import dataclass

FACTOR = 4
"""How many times the budget of the rung below a rung has."""
MOST_RUNGS = 6
"""The sixth rung has a thousand times the budget of the first."""


def budget_factor(rung: int) -> int:
    """Returns how many times the budget of the first rung a rung has."""
    return FACTOR ** (rung - 1)


@dataclass(frozen=True)
class Preset:
    """Sizes that go together.

    Attributes:
        width: Of the network; 1.0 is the paper's 19.18 M parameters.
        baseline_epochs: Passes over the source's training set.
        baseline_processes: Among which a CPU divides the baseline's training; starting a second takes seconds.
        images: Budget of an adaptation: how many training images it draws, rounded to whole passes over the target's
            training set, and two passes at least.
        synthetic_scale: Factor on the number of images of a synthetic dataset.
        purpose: One line for --help.
    """

    width: float
    baseline_epochs: int
    baseline_processes: int
    images: int
    synthetic_scale: float
    purpose: str


PRESETS: Mapping[str, Preset] = {
    "paper": Preset(1.0, 60, 2, 12_000, 1.0, "the paper's network, for a GPU"),
    "laptop": Preset(0.25, 5, 2, 1_600, 1.0, "the same layers at a quarter of the width"),
    "tiny": Preset(1 / 16, 4, 1, 120, 0.1, "seconds instead of minutes, to see it work; the numbers mean nothing"),
}
