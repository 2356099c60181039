"""Early stopping: never a non-dominated trial, whatever the order of arrival; the right share of the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.stopping import crowding_of, position, ranks_of, should_stop

VECTORS = st.lists(st.tuples(*[st.integers(0, 6).map(lambda n: n / 6)] * 2), min_size=1, max_size=25)


def dominates(one, other):
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


@given(VECTORS, st.randoms())
def test_no_non_dominated_trial_is_ever_stopped(vectors, random):
    random.shuffle(vectors)  # any order of arrival
    for index, mine in enumerate(vectors):
        before = [v for v in vectors[:index] if random.random() < 0.9]  # and any delay in seeing the others
        if should_stop(mine, before):
            assert any(dominates(other, mine) for other in before)


@given(VECTORS)
def test_ranks_by_their_definition(vectors):
    points, left, rank = np.array(vectors), set(vectors), 0
    expected = {}
    while left:
        front = {v for v in left if not any(dominates(o, v) for o in left)}
        expected |= dict.fromkeys(front, rank)
        left, rank = left - front, rank + 1
    assert list(ranks_of(points)) == [expected[v] for v in vectors]


@given(VECTORS)
def test_the_order_of_the_others_does_not_matter(vectors):
    assert should_stop(vectors[0], vectors[1:]) == should_stop(vectors[0], vectors[:0:-1])


@pytest.mark.parametrize("eta", [2, 3, 5])
def test_one_of_eta_goes_on_along_a_chain(eta):
    chain = [(n / 30, n / 30) for n in range(30)]
    stopped = [should_stop(mine, [v for v in chain if v != mine], eta) for mine in chain]
    assert stopped == [True] * (30 - 30 // eta) + [False] * (30 // eta)
    assert not should_stop(chain[0], chain[1 : eta - 1], eta)


def test_crowding_by_hand():
    points = np.array([(0.0, 1.0), (0.2, 0.8), (0.9, 0.1), (1.0, 0.0)])
    assert list(crowding_of(points)) == [np.inf, 0.9 + 0.9, 0.8 + 0.8, np.inf]
    assert position(points, 0) == 0 and position(points, 2) == 3


def test_the_priority_is_the_position_and_not_the_index_of_a_sorted_list():
    best, worst = (0.9, 0.9), (0.1, 0.1)
    assert not should_stop(best, [worst, worst, worst])
    assert should_stop(worst, [best, best, best])
