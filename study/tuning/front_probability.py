"""How probably each network is on the front, and the front and hypervolume of expected beside observed accuracies."""

from dataclasses import dataclass

import numpy as np

from study.pareto import hypervolume, non_dominated
from study.tuning.expected_accuracy import ExpectedAccuracies
from study.tuning.whole_points import POINT, gains_in_whole_points


@dataclass(frozen=True)
class ExpectedFront:
    """The front of expected accuracies, and how sure it is. The baseline competes as well.

    Attributes:
        probabilities: (networks,) that each is on the front.
        baseline_probability: That the baseline is.
        useful: (networks,) how probably each is on the front where differences of less than a point are none, and is
            better than the baseline in whole points; what a race decides about, see `study.tuning.whole_points`.
        baseline_useful: How probably the baseline is on that front.
        on_front: (networks,) whether each is on the front of expected accuracies.
        baseline_on_front: Whether the baseline is.
        hypervolume: Of the front of expected accuracies.
        observed_hypervolume: Of the front of observed accuracies; what it has more is optimism.
    """

    probabilities: np.ndarray
    baseline_probability: float
    useful: np.ndarray
    baseline_useful: float
    on_front: np.ndarray
    baseline_on_front: bool
    hypervolume: float
    observed_hypervolume: float

    @property
    def optimism(self) -> float:
        """How much larger the observed hypervolume is than the expected one."""
        return self.observed_hypervolume - self.hypervolume


def find_expected_front(expected: ExpectedAccuracies, reference: tuple[float, float]) -> ExpectedFront:
    """Returns the front of expected accuracies with each network's probability of being on it.

    Args:
        expected: The accuracies.
        reference: Source and target accuracy from which hypervolumes are measured.
    """
    baseline = np.array([expected.baseline])
    points = np.vstack([baseline, expected.points])
    observed = np.vstack([baseline, expected.observed])
    on_front = non_dominated(points)
    source_gains = _with_baseline(expected.source.gains)
    target_gains = _with_baseline(expected.target.gains)
    probabilities = front_probabilities(source_gains, target_gains)
    useful = front_probabilities(*gains_in_whole_points(source_gains, target_gains), equals_lead=True)
    useful[1:] *= is_expected_better(source_gains, target_gains)[1:]
    return ExpectedFront(
        probabilities=probabilities[1:],
        baseline_probability=float(probabilities[0]),
        useful=useful[1:],
        baseline_useful=float(useful[0]),
        on_front=on_front[1:],
        baseline_on_front=bool(on_front[0]),
        hypervolume=hypervolume(points, reference),
        observed_hypervolume=hypervolume(observed, reference),
    )


def is_expected_better(source_gains: np.ndarray, target_gains: np.ndarray) -> np.ndarray:
    """Returns whether each network's mean gain is positive in whole points on either domain, (networks,).

    What is not is no use to anyone, although single draws of its gains may round to a point.

    Args:
        source_gains: (draws, networks), as shares.
        target_gains: Likewise.
    """
    gains = np.stack([source_gains.mean(0), target_gains.mean(0)])
    is_better: np.ndarray = np.rint(gains / POINT) > 0
    return np.any(is_better, axis=0)


def front_probabilities(first: np.ndarray, second: np.ndarray, equals_lead: bool = False) -> np.ndarray:
    """Returns the share of draws in which each point is non-dominated, (points,).

    Args:
        first: (draws, points) the first objective, maximised.
        second: (draws, points) the second objective, maximised.
        equals_lead: Whether all of several equal points are non-dominated where one is; else the first of them alone.
    """
    # Best first objective first, of equal ones the best second: a point is dominated if its second objective does not
    # exceed the best of those before it.
    order = np.lexsort((-second, -first), axis=1)
    sorted_second = np.take_along_axis(second, order, 1)
    best = np.maximum.accumulate(sorted_second, axis=1)
    leads = np.ones_like(sorted_second, bool)
    leads[:, 1:] = sorted_second[:, 1:] > best[:, :-1]

    # Equal points stand beside each other, and the first tells for all.
    if equals_lead:
        sorted_first = np.take_along_axis(first, order, 1)
        is_new = np.ones_like(leads)
        is_new[:, 1:] = (np.diff(sorted_first, axis=1) != 0) | (np.diff(sorted_second, axis=1) != 0)
        places = np.where(is_new, np.arange(leads.shape[1]), 0)
        leads = np.take_along_axis(leads, np.maximum.accumulate(places, axis=1), 1)

    is_on_front = np.empty_like(leads)
    np.put_along_axis(is_on_front, order, leads, 1)
    return is_on_front.mean(0)


def _with_baseline(gains: np.ndarray) -> np.ndarray:
    """Returns gains (draws, 1 + networks) with the baseline's, which is 0, before them."""
    return np.concatenate([np.zeros((len(gains), 1)), gains], 1)
