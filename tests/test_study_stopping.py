"""Early stopping: never a non-dominated trial, whatever the order of arrival; the right share of the others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search_simulator import Course, Plan, simulate
from benchmarks.search_table import SHARES
from made_study import DONE, FAILED, STOPPED, made_trial
from study.pareto import crowding_distances, non_domination_ranks
from study.search.early_stopping import (
    should_stop,
    should_stop_trial,
    trial_position,
    trials_since_growth,
    would_stop,
)

VECTORS = st.lists(st.tuples(*[st.integers(0, 6).map(lambda n: n / 6)] * 2), min_size=1, max_size=25)


def rank_position(points, index):
    return trial_position(points, np.arange(len(points)), index)


def dominates(one, other):
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


@settings(deadline=None)
@given(VECTORS, st.randoms())
def test_no_non_dominated_trial_is_ever_stopped(vectors, random):
    random.shuffle(vectors)  # any order of arrival
    for index, mine in enumerate(vectors):
        before = [v for v in vectors[:index] if random.random() < 0.9]  # and any delay in seeing the others
        if should_stop(mine, before):
            assert any(dominates(other, mine) for other in before)


SETS = st.lists(st.lists(st.tuples(*[st.integers(0, 6).map(lambda n: n / 6)] * 2), min_size=1, max_size=4), min_size=1)


@settings(deadline=None)
@given(SETS, st.randoms())
def test_no_trial_with_a_network_that_no_other_trial_dominates_is_ever_stopped(trials, random):
    random.shuffle(trials)
    for index, mine in enumerate(trials):
        before = [vectors for vectors in trials[:index] if random.random() < 0.9]
        if should_stop_trial(mine, before):
            assert all(any(dominates(other, own) for vectors in before for other in vectors) for own in mine)


@settings(deadline=None)
@given(SETS, st.randoms())
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
    points = np.array(vectors)
    stands = rank_position(points, 0)

    dominated = any(dominates(other, mine) for other in others)

    assert should_stop_trial([mine], [[v] for v in others]) == (
        len(vectors) >= 3 and dominated and stands >= len(vectors) / 3
    )


@settings(deadline=None)
@given(SETS)
def test_a_trial_stands_where_its_best_network_stands(trials):
    # Definition: a vector comes before another by rank, and within a rank by crowding; a trial by its first vector.
    mine, *others = trials
    points = np.array([vector for vectors in trials for vector in vectors])
    ranks = non_domination_ranks(points)
    crowding = np.zeros(len(points))
    for rank in set(ranks):
        crowding[ranks == rank] = crowding_distances(points[ranks == rank])
    keys = iter(zip(ranks, -crowding, strict=True))
    best = [min(next(keys) for _ in vectors) for vectors in trials]
    before = sum(key < best[0] for key in best[1:])

    dominated = all(any(dominates(other, own) for vectors in others for other in vectors) for own in mine)

    assert should_stop_trial(mine, others) == (len(trials) >= 3 and dominated and before >= len(trials) / 3)


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
@given(SETS, st.integers(0, 7).map(lambda n: n / 6))
def test_what_forgets_too_much_counts_for_a_trial_alone_that_has_nothing_else(trials, floor):
    mine, *others = trials
    enough = [[vector for vector in vectors if vector[0] >= floor] for vectors in trials]
    if enough[0]:
        assert would_stop(mine, others, floor) == should_stop_trial(enough[0], [kept for kept in enough[1:] if kept])
    else:
        assert would_stop(mine, others, floor) == should_stop_trial(mine, others)


@settings(deadline=None)
@given(VECTORS)
def test_ranks_follow_their_definition(vectors):
    points, left, rank = np.array(vectors), set(vectors), 0
    expected = {}
    while left:
        front = {v for v in left if not any(dominates(o, v) for o in left)}
        expected |= dict.fromkeys(front, rank)
        left, rank = left - front, rank + 1

    assert list(non_domination_ranks(points)) == [expected[v] for v in vectors]


@settings(deadline=None)
@given(VECTORS)
def test_the_order_of_the_others_does_not_matter(vectors):
    assert should_stop(vectors[0], vectors[1:]) == should_stop(vectors[0], vectors[:0:-1])


@pytest.mark.parametrize("eta", [2, 3, 5])
def test_one_of_eta_goes_on_along_a_chain(eta):
    chain = [(n / 30, n / 30) for n in range(30)]
    stopped = [should_stop(mine, [v for v in chain if v != mine], eta) for mine in chain]

    assert stopped == [True] * (30 - 30 // eta) + [False] * (30 // eta)
    assert not should_stop(chain[0], chain[1 : eta - 1], eta)


def test_crowding_distances_are_what_counting_by_hand_gives():
    points = np.array([(0.0, 1.0), (0.2, 0.8), (0.9, 0.1), (1.0, 0.0)])
    assert list(crowding_distances(points)) == [np.inf, 0.9 + 0.9, 0.8 + 0.8, np.inf]
    assert rank_position(points, 0) == 0 and rank_position(points, 2) == 3


def test_the_priority_is_the_position_and_not_the_index_of_a_sorted_list():
    best, worst = (0.9, 0.9), (0.1, 0.1)
    assert not should_stop(best, [worst, worst, worst])
    assert should_stop(worst, [best, best, best])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sets(st.sampled_from(SHARES[:-1])), st.integers(2, 4))
def test_with_any_rungs_and_workers_what_stops_was_dominated_at_its_rung(seed, workers, rungs, eta):
    rng = np.random.default_rng(seed)
    count, steps = int(rng.integers(1, 25)), len(SHARES)
    # Few values, so that equals are common; some steps take no time.
    courses = [
        Course(rng.integers(0, 7, (steps, 2)) / 6, np.cumsum(rng.integers(0, 9, steps)).astype(float))
        for _ in range(count)
    ]
    stopped = []

    def rule(trial, share, mine, before):
        stops = should_stop(mine, before, eta)
        if stops:
            stopped.append(mine)
            assert any(dominates(other, mine) for other in before)
        return stops

    told = []
    found = simulate(
        lambda number, seed: courses[number],
        lambda index: (index, index),
        lambda index, vector, state, seconds: told.append((index, state)),
        Plan(count, 0, workers, rule, sorted(rungs)),
    )  # fmt: skip
    assert sorted(index for index, _ in told) == list(range(count))  # every trial ends once
    assert [state for _, state in told].count("stopped") == len(stopped)

    clocks = [clock for clock, *_ in found.ends]
    assert clocks == sorted(clocks)


def test_patience_counts_from_the_last_growth_of_the_hypervolume():
    better, worse = (0.6, 0.6), (0.5, 0.5)
    trials = [made_trial(0, DONE, worse), made_trial(1, DONE, better), made_trial(2, DONE, worse)]

    trials += [made_trial(3, STOPPED), made_trial(4, FAILED)]

    assert trials_since_growth(trials, (0.1, 0.1)) == 1  # what was stopped or failed is not finished
    assert trials_since_growth(trials[::-1], (0.1, 0.1)) == 1
    assert trials_since_growth([trials[number] for number in (1, 0, 2)], (0.1, 0.1)) == 2  # the order is the caller's
    assert trials_since_growth([*trials, made_trial(5, DONE, (0.3, 0.7))], (0.1, 0.1)) == 0
    assert trials_since_growth([*trials, made_trial(5, DONE, (0.3, 0.7))], (0.4, 0.1)) == 2  # outside the reference
