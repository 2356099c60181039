"""What a study's record says about the course of its search: rungs, folds, the race, what is recommended."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fer.adaptation.methods import STRATEGIES, strategies_of
from fer.expressions import SEVEN, ExpressionSet
from study.options import is_on_every_fold
from study.record import StudyRecord
from study.storage.slots import EVERY_FOLD
from study.stored_values import is_share
from study.trials import count_rungs, hypervolume_reference
from study.tuning.stored_answers import ValidationImages

KEEP = 0.95
"""The share of the baseline's source accuracy that the recommended network keeps, unless the user says otherwise."""


@dataclass(frozen=True)
class SearchPlan:
    """The course of a study's search.

    Attributes:
        rungs: The number of budgets.
        race_share: What the race may cost, as a share of what the search cost; 0 for no race.
        keep: Share of the baseline's source accuracy that a recommended network keeps; not less than every network
            must keep to be an answer.
        min_source: Source accuracy below which no network is an answer.
        min_retention: The same as a share of the baseline's.
        reference: Source and target accuracy from which hypervolumes are measured.
        images: The images that networks are judged by; None in a study from before answers were stored.
        expressions: What the images' labels are indices of.
        every_fold: Whether each configuration is trained on every fold and judged by all their answers; where not, by
            one fold, in turn.
        strategies: The paper's strategies with which the search begins.
    """

    rungs: int = 1
    race_share: float = 0.0
    keep: float = KEEP
    min_source: float = 0.0
    reference: tuple[float, float] = (SEVEN.chance, SEVEN.chance)
    images: ValidationImages | None = None
    every_fold: bool = False
    expressions: ExpressionSet = SEVEN
    strategies: tuple[str, ...] = tuple(STRATEGIES)
    min_retention: float = 0.0

    @classmethod
    def of(cls, record: StudyRecord) -> "SearchPlan":
        """Returns the plan of a study."""
        min_retention = record.options.get("min_retention")
        source_accuracy = record.baseline.source_val
        race_share = record.options.get("race")
        images = ValidationImages.from_json(record.baseline.answers)
        least = min_retention if is_share(min_retention) else 0.0
        keep = record.options.get("keep")
        keep = keep if is_share(keep) else KEEP
        return cls(
            rungs=count_rungs(record),
            race_share=race_share if isinstance(race_share, int | float) else 0.0,
            keep=max(keep, least),
            min_source=least * source_accuracy if source_accuracy else 0.0,
            reference=hypervolume_reference(record),
            images=images,
            every_fold=images is not None and is_on_every_fold(record.options),
            expressions=record.expressions,
            strategies=strategies_of(record.architecture.depth),
            min_retention=least,
        )

    @property
    def folds(self) -> int:
        """The number of the target's folds; one where the target's own validation split is the only one."""
        return self.images.folds if self.images else 1

    def first_fold(self, slot: int, rung: int = 1) -> int:
        """Returns the fold of a configuration's first training on a rung: where folds take turns, each rung's is the
        next one."""
        if self.every_fold:
            return EVERY_FOLD
        return (slot + rung - 1) % self.folds

    def folds_at(self, fold: int) -> range:
        """Returns the folds on which a training at a place validates, given the place's fold."""
        if fold == EVERY_FOLD:
            return range(self.folds)
        return range(fold, fold + 1) if fold >= 0 else range(0)

    def baseline_at(self, fold: int) -> float:
        """Returns the baseline's target accuracy on the images by which a training at a place is judged."""
        return self.baseline_of_folds[fold] if 0 <= fold < self.folds else self.baseline_target

    @property
    def baseline_of_folds(self) -> Sequence[float]:
        """The baseline's accuracy on each fold of the target."""
        return self.images.baseline_of_folds if self.images else (0.0,)

    @cached_property
    def baseline_source(self) -> float:
        """The baseline's accuracy on the source's validation images."""
        return float(np.mean(self.images.source.baseline_right)) if self.images else 0.0

    @cached_property
    def baseline_target(self) -> float:
        """The baseline's accuracy on the target's images of all folds."""
        return float(np.mean(self.images.target.baseline_right)) if self.images else 0.0
