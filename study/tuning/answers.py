"""The answers of a search's networks on the folds that they were evaluated on, beside the baseline's."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fer.evaluation.intervals import one_per_image


@dataclass(frozen=True)
class TargetImages:
    """The target's training and validation images.

    Attributes:
        labels: (n,) index of each image's expression.
        subjects: (n,) whose image each is; -1 where nobody knows, which makes the image a person of its own.
        folds: (n,) the fold in which each image validates, from 0 on; -1 for an image that never validates.
        baseline_right: (n,) whether the baseline is right.
    """

    labels: np.ndarray
    subjects: np.ndarray
    folds: np.ndarray
    baseline_right: np.ndarray

    @cached_property
    def people(self) -> np.ndarray:
        """(n,) the subjects, an image of an unknown one as a subject of its own."""
        return one_per_image(np.asarray(self.subjects))

    def images_of(self, fold: int) -> np.ndarray:
        """Returns the indices of a fold's images, in their order."""
        return np.flatnonzero(self.folds == fold)


@dataclass(frozen=True)
class SourceImages:
    """The source's validation images, the same for all folds.

    Attributes:
        labels: (m,) index of each image's expression.
        baseline_right: (m,) whether the baseline is right.
    """

    labels: np.ndarray
    baseline_right: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """The answers of one training of a network.

    Attributes:
        network: Its index.
        fold: The fold that was left out of its training and is evaluated.
        seed: Tells repeated trainings on one fold apart; networks of one trial with equal fold and seed come from one
            training.
        target_right: (images of the fold,) whether it is right, in the order of the target's images.
        source_right: (m,) whether it is right on the source.
        repeats_source: Whether these answers on the source stand in another evaluation as well: after a training on
            every fold, which has an evaluation for each, the average of all networks answers the source once.
    """

    network: int
    fold: int
    seed: int
    target_right: np.ndarray
    source_right: np.ndarray
    repeats_source: bool = False


@dataclass(frozen=True)
class Comparison:
    """All that is known of the networks that compete.

    Attributes:
        target: The target's images.
        source: The source's images.
        trials: (networks,) int from 0 on, the trial of each network; networks of one trial are alike and err alike.
        kinds: (networks,) int from 0 on, networks that are expected to be equally good before they are seen; for
            instance one kind for each pair of rung and interpolation point.
        evaluations: The answers so far, each on a fold that has images; those of one trial, fold and seed come from one
            training.
    """

    target: TargetImages
    source: SourceImages
    trials: np.ndarray
    kinds: np.ndarray
    evaluations: Sequence[Evaluation]

    @property
    def source_evaluations(self) -> list[Evaluation]:
        """The evaluations that answer the source, each answer once."""
        return [evaluation for evaluation in self.evaluations if not evaluation.repeats_source]

    @property
    def networks(self) -> int:
        """The number of networks, evaluated or not."""
        return len(self.trials)
