"""Early stopping: never a non-dominated trial, whatever the order of arrival; the right share of the others."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from made_study import DONE, FAILED, STOPPED, made_trial
from study.pareto import crowding_distances, non_domination_ranks
from study.tuning.early_stopping import (
    should_stop,
    should_stop_trial,
    trial_position,
    trial_positions,
    trials_since_growth,
    would_stop,
)

# Vectors of two accuracies with few values each, so that equals are common.
ACCURACY = st.integers(0, 6).map(lambda n: n / 6)
VECTOR = st.tuples(ACCURACY, ACCURACY)
VECTORS = st.lists(VECTOR, min_size=1, max_size=25)
VECTORS_OF_TRIALS = st.lists(st.lists(VECTOR, min_size=1, max_size=4), min_size=1)


def rank_position(points, index):
    return trial_position(points, np.arange(len(points)), index)


def dominates(first, second):
    is_as_good = all(a >= b for a, b in zip(first, second, strict=True))
    return is_as_good and first != second


def is_dominated(vector, trials):
    """Returns whether a vector of any of these trials dominates a vector."""
    return any(dominates(other, vector) for vectors in trials for other in vectors)


@settings(deadline=None)
@given(VECTORS, st.randoms(), st.integers(2, 4))
def test_no_non_dominated_trial_is_ever_stopped(vectors, random, eta):
    random.shuffle(vectors)  # any order of arrival
    for index, mine in enumerate(vectors):
        before = [v for v in vectors[:index] if random.random() < 0.9]  # and any delay in seeing the others
        if should_stop(mine, before, eta):
            assert any(dominates(other, mine) for other in before)


@settings(deadline=None)
@given(VECTORS_OF_TRIALS, st.randoms())
def test_no_trial_with_a_network_that_no_other_trial_dominates_is_ever_stopped(trials, random):
    random.shuffle(trials)
    for index, mine in enumerate(trials):
        before = [vectors for vectors in trials[:index] if random.random() < 0.9]
        if should_stop_trial(mine, before):
            assert all(is_dominated(vector, before) for vector in mine)


@settings(deadline=None)
@given(VECTORS_OF_TRIALS, st.randoms())
def test_neither_the_order_of_trials_nor_that_of_their_networks_matters(trials, random):
    mine, *others = trials
    expected = should_stop_trial(mine, others)
    for vectors in trials:
        random.shuffle(vectors)

    random.shuffle(others)

    assert should_stop_trial(mine, others) == expected


@settings(deadline=None)
@given(VECTORS)
def test_trials_of_one_network_each_are_judged_as_vectors_are(vectors):
    mine, *others = vectors
    trials_of_others = [[vector] for vector in others]

    position = rank_position(np.array(vectors), 0)
    dominated = is_dominated(mine, trials_of_others)
    expected = len(vectors) >= 3 and dominated and position >= len(vectors) / 3

    assert should_stop_trial([mine], trials_of_others) == expected


@settings(deadline=None)
@given(VECTORS_OF_TRIALS)
@example([[(4 / 6, 4 / 6)], [(5 / 6, 5 / 6)], *[[(0.0, 0.0)]] * 5, [(0.5, 5 / 6)], [(4 / 6, 4 / 6)], [(5 / 6, 0.5)]])
def test_a_trial_stands_where_its_best_network_stands(trials):
    # Definition: a vector comes before another by rank, and within a rank by crowding; a trial by its first vector.
    # Equal vectors share one place, so crowding is that of different ones.
    mine, *others = trials
    points = np.array([vector for vectors in trials for vector in vectors])
    different, which = np.unique(points, axis=0, return_inverse=True)
    ranks = non_domination_ranks(different)
    crowding = np.zeros(len(different))
    for rank in set(ranks):
        crowding[ranks == rank] = crowding_distances(different[ranks == rank])

    # The best key of each trial; `keys` has one per vector, trial after trial.
    which = which.ravel()
    keys = iter(zip(ranks[which], -crowding[which], strict=True))
    best = []
    for vectors in trials:
        keys_of_trial = [next(keys) for _ in vectors]
        best.append(min(keys_of_trial))
    trials_before = sum(key < best[0] for key in best[1:])

    dominated = all(is_dominated(vector, others) for vector in mine)
    expected = len(trials) >= 3 and dominated and trials_before >= len(trials) / 3

    assert should_stop_trial(mine, others) == expected


def test_a_trial_whose_end_is_dominated_goes_on_for_a_network_on_the_way():
    others = [[(0.5 + n / 100, 0.5 + n / 100)] for n in range(9)]

    assert should_stop_trial([(0.3, 0.3)], others)
    assert not should_stop_trial([(0.3, 0.3), (0.9, 0.1)], others)
    assert should_stop_trial([(0.3, 0.3), (0.52, 0.1)], others)


def test_a_trial_with_many_networks_is_one_trial():
    crowd = [(0.8 + n / 100, 0.8 - n / 100) for n in range(4)]
    others = [crowd, [(0.1, 0.1)], [(0.1, 0.2)], [(0.2, 0.1)]]

    assert not should_stop_trial([(0.7, 0.7)], others)  # second of five trials, though fifth of eight networks


@settings(deadline=None)
@given(VECTORS_OF_TRIALS, st.integers(0, 7).map(lambda n: n / 6))
def test_what_forgets_too_much_counts_for_a_trial_alone_that_has_nothing_else(trials, floor):
    mine, *others = trials

    sufficient_of_trials = []
    for vectors in trials:
        sufficient_of_trials.append([vector for vector in vectors if vector[0] >= floor])
    sufficient, *sufficient_of_others = sufficient_of_trials

    if sufficient:
        trials_with_any = [vectors for vectors in sufficient_of_others if vectors]
        assert would_stop(mine, others, floor) == should_stop_trial(sufficient, trials_with_any)
    else:
        assert would_stop(mine, others, floor) == should_stop_trial(mine, others)


@settings(deadline=None)
@given(VECTORS)
def test_ranks_follow_their_definition(vectors):
    # Definition: rank 0 is the front of all vectors, rank 1 that of the rest, and so on.
    rank_of_vector = {}
    left = set(vectors)
    rank = 0
    while left:
        front = {vector for vector in left if not is_dominated(vector, [left])}
        for vector in front:
            rank_of_vector[vector] = rank
        left = left - front
        rank += 1

    ranks = non_domination_ranks(np.array(vectors))

    assert list(ranks) == [rank_of_vector[vector] for vector in vectors]


@settings(deadline=None)
@given(VECTORS)
def test_the_order_of_the_others_does_not_matter(vectors):
    assert should_stop(vectors[0], vectors[1:]) == should_stop(vectors[0], vectors[:0:-1])


@settings(deadline=None)
@given(VECTORS)
def test_equal_trials_share_a_position(vectors):
    positions = trial_positions(np.array(vectors), np.arange(len(vectors)))
    of_vector = dict(zip(vectors, positions, strict=True))
    assert positions.tolist() == [of_vector[vector] for vector in vectors]


@pytest.mark.parametrize("eta", [2, 3, 5])
def test_one_of_eta_goes_on_along_a_chain(eta):
    chain = [(n / 30, n / 30) for n in range(30)]

    stopped = []
    for mine in chain:
        others = [vector for vector in chain if vector != mine]
        stopped.append(should_stop(mine, others, eta))

    assert stopped == [True] * (30 - 30 // eta) + [False] * (30 // eta)
    assert not should_stop(chain[0], chain[1 : eta - 1], eta)


def test_crowding_distances_are_what_counting_by_hand_gives():
    points = np.array([(0.0, 1.0), (0.2, 0.8), (0.9, 0.1), (1.0, 0.0)])
    assert list(crowding_distances(points)) == [np.inf, 0.9 + 0.9, 0.8 + 0.8, np.inf]
    assert rank_position(points, 0) == 0
    assert rank_position(points, 2) == 3


def test_the_priority_is_the_position_and_not_the_index_of_a_sorted_list():
    best = (0.9, 0.9)
    worst = (0.1, 0.1)

    assert not should_stop(best, [worst, worst, worst])
    assert should_stop(worst, [best, best, best])


def test_patience_counts_from_the_last_growth_of_the_hypervolume():
    better = (0.6, 0.6)
    worse = (0.5, 0.5)
    trials = [
        made_trial(0, DONE, worse),
        made_trial(1, DONE, better),
        made_trial(2, DONE, worse),
        made_trial(3, STOPPED),
        made_trial(4, FAILED),
    ]

    assert trials_since_growth(trials, (0.1, 0.1)) == 1  # what was stopped or failed is not finished
    assert trials_since_growth(trials[::-1], (0.1, 0.1)) == 1
    assert trials_since_growth([trials[number] for number in (1, 0, 2)], (0.1, 0.1)) == 2  # the order is the caller's
    assert trials_since_growth([*trials, made_trial(5, DONE, (0.3, 0.7))], (0.1, 0.1)) == 0
    assert trials_since_growth([*trials, made_trial(5, DONE, (0.3, 0.7))], (0.4, 0.1)) == 2  # outside the reference
