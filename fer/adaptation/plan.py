"""What an adaptation is asked to evaluate, and what it hands back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

RUNGS = (0.5, 1.0)
"""Shares of the budget after which an adaptation is evaluated, unless its caller wants others."""

InterpolationPoint = tuple[float, float]
"""Alpha and slope, see `fer.model.interpolation.interpolation_shares`."""


@dataclass(frozen=True)
class EvaluationPlan:
    """When and what an adaptation evaluates besides its end.

    Attributes:
        rungs: Shares of the budget after which the network is evaluated, each at the next end of an epoch.
        interpolation_points: The networks between the baseline and the adapted one that are evaluated as well: after
            the whole budget, and at a rung as far as `on_rung` asks for them. A network that did not start from the
            baseline has none.
        equal_epochs: How many epochs of equal length the budget has; None: an epoch is a pass over the target.
        would_join_front: Returns whether any of several networks, by their measures, would enter the front. The first
            interpolation point is evaluated if the adapted network would, or an optimistic estimate of the point; the
            others if one of these two networks would. Without it, all points are evaluated.
    """

    rungs: Sequence[float] = RUNGS
    interpolation_points: Sequence[InterpolationPoint] = ()
    equal_epochs: int | None = None
    would_join_front: Callable[[list[dict[str, float]]], bool] | None = None


@dataclass(frozen=True)
class Prospect:
    """An interpolated network at a rung, which is made only if it is asked for.

    Attributes:
        optimistic_estimate: Source and target accuracy that would be unusually good for the network.
        score: Makes and evaluates the network on the rung's images; returns source and target accuracy.
    """

    optimistic_estimate: list[float]
    score: Callable[[], list[float]]

    @classmethod
    def of_evaluated(cls, accuracies: list[float]) -> "Prospect":
        """Returns the prospect of a network that has been evaluated already."""
        return cls(accuracies, lambda: accuracies)


OnRung = Callable[[float, dict[str, float], Iterator[Prospect]], bool]
"""From the spent share of the budget, the rung's row of the curve and the interpolated networks to whether the
adaptation stops."""


@dataclass(frozen=True)
class Interpolated:
    """A network between the baseline and the adapted one.

    Attributes:
        alpha: See `fer.model.interpolation.interpolation_shares`.
        slope: See `fer.model.interpolation.interpolation_shares`.
        network: The network, in evaluation mode.
        measures: On the validation splits, see `fer.evaluation.metrics.evaluate`.
        logits: For "source" and "target", float32 (n, classes), on the validation images.
    """

    alpha: float
    slope: float
    network: nn.Sequential
    measures: dict[str, float]
    logits: dict[str, np.ndarray]


@dataclass(frozen=True)
class Adapted:
    """What an adaptation leaves behind.

    Attributes:
        network: The adapted network, in evaluation mode.
        curve: A row per epoch with loss and epoch, in passes over the target; at rungs also source_val and target_val.
        measures: On the validation splits, see `fer.evaluation.metrics.evaluate`.
        stopped: Whether the caller stopped it early.
        interpolated: The evaluated networks between the baseline and the adapted one.
        confusion: For "source" and "target" how many validation images of which expression were taken for which.
        logits: For "source" and "target", float32 (n, classes), on the validation images.
    """

    network: nn.Sequential
    curve: list[dict[str, float]]
    measures: dict[str, float]
    stopped: bool
    interpolated: list[Interpolated] = field(default_factory=list)
    confusion: dict[str, list[list[int]]] = field(default_factory=dict)
    logits: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
