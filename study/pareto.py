"""Non-domination of points with two objectives that are both maximised: front, ranks, crowding, hypervolume."""

import bisect

import numpy as np
from numpy.typing import ArrayLike

from fer.expressions import SEVEN


def non_dominated(points: ArrayLike) -> np.ndarray:
    """Marks (n,) the points (n, 2) that no other point equals or betters in both maximised objectives.

    Of identical points the first stays; a point with a NaN never does.
    """
    coordinates = _as_pairs(points)
    is_leading = np.zeros(len(coordinates), dtype=bool)
    valid = np.flatnonzero(~np.isnan(coordinates).any(axis=1))

    # Best first objective first, then best second; the sort is stable, so the first of equals leads.
    order = valid[np.lexsort((-coordinates[valid, 1], -coordinates[valid, 0]))]
    best_second = None
    for index in order:
        second = coordinates[index, 1]
        if best_second is None or second > best_second:
            is_leading[index] = True
            best_second = second
    return is_leading


def _as_pairs(points: ArrayLike) -> np.ndarray:
    """Returns points as floats (n, 2); no points at all come in any shape."""
    return np.asarray(points, dtype=float).reshape(-1, 2)


def hypervolume(points: ArrayLike, reference: tuple[float, float] = (SEVEN.chance, SEVEN.chance)) -> float:
    """Returns the area that points (n, 2) dominate above a reference, both objectives maximised.

    The default reference is chance on seven expressions. Points not better than it in both add nothing.
    """
    coordinates = _as_pairs(points)
    is_better = (coordinates > np.asarray(reference)).all(axis=1)
    candidates = coordinates[is_better]
    front = candidates[non_dominated(candidates)]

    # Strips between the points, from left to right, each as high as the point on its right.
    front = front[np.argsort(front[:, 0])]
    widths = np.diff(front[:, 0], prepend=reference[0])
    heights = front[:, 1] - reference[1]
    return float(np.sum(widths * heights))


def non_domination_ranks(points: np.ndarray) -> np.ndarray:
    """Returns the non-domination rank (n,) of each point (n, 2), 0 for the front; equal points share a rank."""
    unique, inverse = np.unique(points, axis=0, return_inverse=True)
    ranks = np.empty(len(unique), int)

    # From the best first objective down, so that only what came before dominates. Of each rank so far, the best second
    # objective, negated: ascending, so that the first rank that does not dominate is found by bisection.
    negated_best: list[float] = []
    for index in range(len(unique) - 1, -1, -1):
        negated_second = -float(unique[index, 1])
        rank = bisect.bisect_right(negated_best, negated_second)
        negated_best[rank : rank + 1] = [negated_second]
        ranks[index] = rank
    return ranks[inverse.ravel()]


def crowding_distances(points: np.ndarray) -> np.ndarray:
    """Returns the crowding distance (n,) of each point (n, 2) within its rank (NSGA-II, Deb et al. 2002).

    That is the distance between a point's two neighbours, as a share of the extent, summed over both objectives. The
    ends are infinitely far from others.
    """
    distances = np.zeros(len(points))
    for values in points.T:
        order = np.argsort(values, kind="stable")
        first = order[0]
        last = order[-1]
        extent = values[last] - values[first]
        distances[[first, last]] = np.inf
        if extent > 0:
            distances[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / extent
    return distances
