"""Non-domination of points with two objectives that are both maximised: front, ranks, crowding, hypervolume."""

import bisect
from typing import Any

import numpy as np

from fer.expressions import CHANCE


def non_dominated(points: Any) -> np.ndarray:
    """Marks the points (n, 2) that no other point equals or betters in both maximised objectives.

    Of identical points the first stays; a point with a NaN never does.
    """
    points = np.asarray(points, dtype=float).reshape(-1, 2)
    mask = np.zeros(len(points), dtype=bool)
    valid = np.flatnonzero(~np.isnan(points).any(axis=1))
    # Best first objective first, then best second; the sort is stable, so the first of equals leads.
    order = valid[np.lexsort((-points[valid, 1], -points[valid, 0]))]
    best = None
    for index in order:
        if best is None or points[index, 1] > best:
            mask[index], best = True, points[index, 1]
    return mask


def hypervolume(points: Any, reference: tuple[float, float] = (CHANCE, CHANCE)) -> float:
    """Returns the area that points (n, 2) dominate above a reference, both objectives maximised.

    The default reference is chance on seven expressions. Points not better than it in both add nothing.
    """
    points = np.asarray(points, dtype=float).reshape(-1, 2)
    points = points[(points > np.asarray(reference)).all(axis=1)]
    points = points[non_dominated(points)]
    points = points[np.argsort(points[:, 0])]
    widths = np.diff(points[:, 0], prepend=reference[0])
    return float(np.sum(widths * (points[:, 1] - reference[1])))


def non_domination_ranks(points: np.ndarray) -> np.ndarray:
    """Returns each point's non-domination rank, 0 for the front; equal points share a rank."""
    unique, inverse = np.unique(points, axis=0, return_inverse=True)
    ranks = np.empty(len(unique), int)
    heights: list[float] = []  # of each rank so far the best second objective, negated: ascending
    for index in range(len(unique) - 1, -1, -1):  # best first objective first: only what came before dominates
        height = -float(unique[index, 1])
        rank = bisect.bisect_right(heights, height)
        heights[rank : rank + 1] = [height]
        ranks[index] = rank
    return ranks[inverse.ravel()]


def crowding_distances(points: np.ndarray) -> np.ndarray:
    """Returns each point's crowding distance within its rank; the ends are infinitely far from others."""
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if extent > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distance
