"""Early stopping for two objectives: asynchronous successive halving by non-domination rank and crowding.

At a rung, a share of the budget, a trial writes its vector (source, target) once and is compared with all trials that
were at that rung before it. They are sorted by non-domination rank, and within a rank by crowding distance, widest
first (Deb et al. 2002, NSGA-II); the trial stops when it is not among the best 1/ETA. One that no other dominates
never stops. This is the stopping variant of ASHA (Li et al. 2020, arXiv 1810.05934) with the ordering of MO-ASHA
(Schmucker et al. 2021, arXiv 2106.12639); the order of positions is used here, not the order of indices.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from study.front import non_dominated

ETA = 2
WARM_UP = 0.4
"""Before this share of the budget nothing stops. Source accuracy starts high and decays, so early rungs flatter trials
that hardly learn: with a rung at a quarter and ETA 3, the front of a 200-trial study had shrunk to one point."""

Vector = Sequence[float]


def rung_name(share: float) -> str:
    """Returns the trial attribute that holds the vector at a rung."""
    return f"rung:{share:.3f}"


def vectors_at(trials: Iterable[Any], share: float, without: int) -> list[Vector]:
    """Returns what all trials but one wrote at a rung; what was lost counts for nothing."""
    name = rung_name(share)
    return [
        trial.user_attrs[name]
        for trial in trials
        if name in trial.user_attrs and trial.number != without and not trial.user_attrs.get("lost")
    ]


def should_stop(mine: Vector, others: Sequence[Vector], eta: int = ETA) -> bool:
    """Decides at a rung.

    Args:
        mine: The trial's (source, target), both maximised.
        others: Those of the trials that were here before, in any order.
        eta: The best 1/eta go on.

    Returns:
        Whether the trial stops; never for one that no other dominates, nor among fewer than eta.
    """
    points = np.array([mine, *others], dtype=float)
    if len(points) < eta or not _dominated(points[0], points[1:]):
        return False
    return position(points, 0) >= len(points) / eta


def _dominated(point: np.ndarray, others: np.ndarray) -> bool:
    return bool(((others >= point).all(1) & (others > point).any(1)).any())


def position(points: np.ndarray, index: int) -> int:
    """Returns how many points come before one, by rank and then by crowding distance; equals share the better place."""
    ranks = ranks_of(points)
    mine = ranks == ranks[index]
    crowding = crowding_of(points[mine])
    own = crowding[np.flatnonzero(mine).tolist().index(index)]
    return int((ranks < ranks[index]).sum() + (crowding > own).sum())


def ranks_of(points: np.ndarray) -> np.ndarray:
    """Returns each point's non-domination rank, 0 for the front; equal points share a rank."""
    unique, inverse = np.unique(points, axis=0, return_inverse=True)
    ranks = np.full(len(unique), -1)
    rank = 0
    while (left := np.flatnonzero(ranks < 0)).size:
        ranks[left[non_dominated(unique[left])]] = rank
        rank += 1
    return ranks[inverse.ravel()]


def crowding_of(points: np.ndarray) -> np.ndarray:
    """Returns each point's crowding distance within its rank; the ends are infinitely far from others."""
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if extent > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distance
