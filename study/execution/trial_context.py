"""What a worker opens once and needs for every trial of its study."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fer.adaptation.cross_validation import divide_into_folds
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig


@dataclass(frozen=True)
class TrialContext:
    """What a worker needs for any trial of its study.

    Attributes:
        task: Baseline, datasets, runtime and cache of every adaptation.
        space: Name of the search space.
        base: The hyperparameters that the space leaves alone.
        seed: Seed of the study.
        folder: Folder of the study, whose models/ takes the networks on the front.
        early_stop: Whether dominated trials stop at rungs; if not, none is evaluated before its end.
        interpolation_points: Alphas and slopes of the interpolated networks that are evaluated where they may be hoped
            to join the front (`fer.adaptation.procedure.adapt`); over folds all are.
        upload: Called with each network's file, where it does not stay on this machine.
        min_source_accuracy: The source accuracy below which no network is an answer.
        folds: Trainings per trial, each with another part of the target in validation; 0 is a single training.
        shares_device: Whether workers share the device; then a want of its memory is not the trial's fault.
    """

    task: AdaptationTask
    space: str
    base: AdaptationConfig
    seed: int
    folder: Path
    early_stop: bool = False
    interpolation_points: tuple[tuple[float, float], ...] = ()
    upload: Callable[[Path], None] | None = None
    min_source_accuracy: float = 0.0
    folds: int = 0
    shares_device: bool = False

    @property
    def tasks(self) -> list[AdaptationTask]:
        """The adaptation task of each fold; a single one without folds."""
        return divide_into_folds(self.task, self.folds, self.seed)
