"""Early stopping for two objectives: asynchronous successive halving by non-domination rank and crowding.

At a rung, a share of the budget, a trial writes the vectors (source, target) of its networks once, that of its own
network and those of networks interpolated between the baseline and it, because any of them may reach the front. It is
compared with all trials that were at that rung before it. The vectors of all trials together are sorted by
non-domination rank, and within a rank by crowding distance, widest first (Deb et al. 2002, NSGA-II). A trial stands
where its best vector stands; it stops when it is not among the best 1/ETA trials. A trial with a vector that no other
trial's dominates never stops. Interpolated networks are evaluated only for a trial that would stop without them, so the
others are compared by too few vectors rather than too many, and fewer trials stop than might. This is the stopping
variant of ASHA (Li et al. 2020, arXiv 1810.05934) with the ordering of MO-ASHA (Schmucker et al. 2021, arXiv
2106.12639); the order of positions is used here, not the order of indices.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from study.pareto import crowding_distances, hypervolume, non_dominated, non_domination_ranks
from study.reading import INTERPOLATED_RUNG, RUNG, readable_attributes
from study.trial_attributes import TrialAttributes
from study.trials import objective_vectors

Vector = Sequence[float]
"""Source and target accuracy of a network, both maximised."""

ETA = 3
"""The best 1/ETA of the trials at a rung go on.

Replayed over twelve real searches, with evaluations on 300 images, 3 saves 26 % of their seconds for 1.5 % of their
hypervolume, 2 saves 16 % for 1.0 %. That was without interpolated networks.
"""
WARM_UP = 0.4
"""Before this share of the budget nothing stops.

Source accuracy starts high and decays, so early rungs flatter trials
that hardly learn: ranks at a quarter correlate with those at the end at 0.46 and 0.58, at half at 0.63 and 0.75.
"""


def trials_since_growth(
    trials: Iterable[Any], reference: tuple[float, float], vectors: Mapping[int, Sequence[Vector]] | None = None
) -> int:
    """Returns how many finished trials have passed since one made the hypervolume grow.

    Args:
        trials: In the order of their ends.
        reference: Source and target accuracy from which the hypervolume is measured.
        vectors: Of each finished trial's networks, by its number; those that it stored where there are none.
    """
    front = np.empty((0, 2))
    volume = 0.0
    since = 0
    for trial in trials:
        if trial.state.name != "COMPLETE":
            continue
        since += 1

        of_trial = objective_vectors(trial) if vectors is None else vectors[trial.number]
        points = np.reshape(of_trial, (-1, 2))
        front = np.vstack([front, points])
        front = front[non_dominated(front)]

        larger = hypervolume(front, reference)
        if larger > volume + 1e-12:
            volume = larger
            since = 0
    return since


def rung_name(share: float) -> str:
    """Returns the trial attribute that holds the vector at a rung."""
    return f"{RUNG}{share:.3f}"


def interpolated_rung_name(share: float) -> str:
    """Returns the trial attribute that holds, at a rung, the vectors of interpolated networks."""
    return f"{INTERPOLATED_RUNG}{share:.3f}"


def vectors_at_rung(
    trials: Iterable[Any], share: float, without: int, effects: Mapping[int, float] | None = None
) -> list[Sequence[Vector]]:
    """Returns the vectors that each trial wrote at a rung, for trials that were there.

    Trials that were lost or failed later are left out, and so are attributes of a form that no trial writes.

    Args:
        trials: The study's trials.
        share: Share of the budget that is spent at the rung.
        without: Number of the trial that is left out.
        effects: By a trial's number, what its fold adds to its target accuracy, which is subtracted.

    Returns:
        A list per trial: the vector of its adapted network first, then those of its interpolated networks.
    """
    name = rung_name(share)
    interpolated_name = interpolated_rung_name(share)
    vectors_of_trials: list[Sequence[Vector]] = []
    for trial in trials:
        # Trials that count.
        if trial.number == without or trial.state.name == "FAIL":
            continue
        attributes = TrialAttributes.of(trial)
        if attributes.lost:
            continue

        # What they wrote, as far as it can be read.
        readable, _ = readable_attributes(attributes.subset((name, interpolated_name)))
        if name in readable:
            interpolated = readable.get(interpolated_name, [])
            effect = (effects or {}).get(trial.number, 0.0)
            vectors = [readable[name], *interpolated]
            vectors_of_trials.append([[source, target - effect] for source, target in vectors])
    return vectors_of_trials


def would_stop(vectors: Sequence[Vector], others: Iterable[Sequence[Vector]], min_source_accuracy: float) -> bool:
    """Decides at a rung as `should_stop_trial` does, among vectors with enough source accuracy.

    A network with too little source accuracy cannot be recommended, so it stops no trial that has a network with
    enough. Where no vector of the trial has enough, all vectors count, as if there were no minimum.

    Args:
        vectors: (source, target) of each of the trial's networks.
        others: The vectors of each trial that was at the rung before.
        min_source_accuracy: The source accuracy below which no network may be recommended.

    Returns:
        Whether the trial stops.
    """
    others = list(others)
    sufficient = _with_source_accuracy(min_source_accuracy, vectors)
    if sufficient:
        vectors = sufficient
        others = [left for of_other in others if (left := _with_source_accuracy(min_source_accuracy, of_other))]
    return should_stop_trial(vectors, others)


def _with_source_accuracy(least: float, vectors: Sequence[Vector]) -> list[Vector]:
    """Returns the vectors whose source accuracy is not below the least that is allowed."""
    return [vector for vector in vectors if vector[0] >= least]


def should_stop(mine: Vector, others: Sequence[Vector], eta: int = ETA) -> bool:
    """Decides at a rung between trials of one vector each; see `should_stop_trial`."""
    return should_stop_trial([mine], [[vector] for vector in others], eta)


def should_stop_trial(mine: Sequence[Vector], others: Sequence[Sequence[Vector]], eta: int = ETA) -> bool:
    """Decides at a rung.

    Args:
        mine: The (source, target) of each of the trial's networks, both maximised.
        others: The vectors of each trial that was at the rung before, in any order.
        eta: The best 1/eta go on.

    Returns:
        Whether the trial stops. It goes on if a vector of it is dominated by no other trial's, if there are fewer than
        eta trials, or if it is among the best 1/eta.
    """
    trials = [mine, *others]
    if len(trials) < eta:
        return False

    # A trial with a vector that no other trial's dominates goes on.
    points = np.array([vector for vectors in trials for vector in vectors], dtype=float)
    own_points = points[: len(mine)]
    other_points = points[len(mine) :]
    if not all(_is_dominated(point, other_points) for point in own_points):
        return False

    counts = [len(vectors) for vectors in trials]
    owners = np.repeat(np.arange(len(trials)), counts)
    return trial_position(points, owners, 0) >= len(trials) / eta


def _is_dominated(point: np.ndarray, others: np.ndarray) -> bool:
    """Returns whether one of other points (n, 2) dominates a point (2,)."""
    as_good = (others >= point).all(1)
    better = (others > point).any(1)
    return bool((as_good & better).any())


def trial_position(points: np.ndarray, owners: np.ndarray, trial: int) -> int:
    """Returns how many trials come before a trial; see `trial_positions`."""
    return int(trial_positions(points, owners)[trial])


def trial_positions(points: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Returns how many trials come before each trial (trials,), each by its best point; equals share the better place.

    Args:
        points: Of all trials, (n, 2), both maximised; sorted by rank and then by crowding distance.
        owners: The trial of each point (n,), trials numbered from 0; each has a point.
    """
    # Equal points share one distance: of several at an end of a rank only one would be infinitely far from others.
    unique, inverse = np.unique(points, axis=0, return_inverse=True)
    ranks = non_domination_ranks(unique)
    crowding = np.zeros(len(unique))
    for rank in np.unique(ranks):
        members = ranks == rank
        crowding[members] = crowding_distances(unique[members])
    ranks, crowding = ranks[inverse.ravel()], crowding[inverse.ravel()]

    # The first point of each trial in this order is its best.
    order = np.lexsort((-crowding, ranks))
    _, first = np.unique(owners[order], return_index=True)
    best = order[first]

    # For each trial, a column: the trials whose best point comes before its own.
    ranks, crowding = ranks[best], crowding[best]
    better_rank = ranks[:, None] < ranks[None, :]
    same_rank = ranks[:, None] == ranks[None, :]
    before = better_rank | (same_rank & (crowding[:, None] > crowding[None, :]))
    return before.sum(0)
