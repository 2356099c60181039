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


MOST_BASELINE_EPOCHS = 60
"""Passes over a small source, after which another pass shows the baseline little that it has not seen."""


@dataclass(frozen=True)
class Preset:
    """Sizes that go together.

    Attributes:
        width: Of the network; 1.0 is the paper's 19.18 M parameters.
        baseline_images: How many training images the baseline's training draws at most, see `baseline_epochs`.
        synthetic_baseline_epochs: The most passes of the baseline's training over synthetic faces, which serve to try
            the tool: accuracy would grow for many more.
        baseline_processes: Among which a CPU divides the baseline's training; starting a second takes seconds.
        images: Budget of an adaptation: how many training images it draws, rounded to whole passes over the target's
            training set, and two passes at least.
        synthetic_scale: Factor on the number of images of a synthetic dataset.
        purpose: One line for --help.
    """

    width: float
    baseline_images: int
    synthetic_baseline_epochs: int
    baseline_processes: int
    images: int
    synthetic_scale: float
    purpose: str

    def baseline_epochs(self, images: int, is_synthetic: bool) -> int:
        """Returns the most passes of the baseline's training.

        Args:
            images: Number of the source's training images.
            is_synthetic: Whether they are synthetic.
        """
        if is_synthetic:
            return self.synthetic_baseline_epochs
        return max(1, min(MOST_BASELINE_EPOCHS, round(self.baseline_images / images)))


PRESETS: Mapping[str, Preset] = {
    "paper": Preset(1.0, 1_700_000, 20, 2, 12_000, 1.0, "the paper's network, for a GPU"),
    "laptop": Preset(0.25, 800_000, 12, 2, 1_600, 1.0, "the same layers at a quarter of the width"),
    "tiny": Preset(1 / 16, 2_000, 4, 1, 480, 1.0, "a minute, to see it work; the numbers mean nothing"),
}
