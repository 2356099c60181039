"""Early stopping: never a non-dominated trial, whatever the order of arrival; the right share of the others."""

from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search_simulator import Course, Plan, simulate
from benchmarks.search_table import SHARES
from conftest import TINY
from made_study import DONE, FAILED, STOPPED, made_trial
from study.front import CONSTRAINT
from study.search import claim
from study.slots import discard, top_up
from study.stopping import WARM_UP, crowding_of, position, ranks_of, rung_name, should_stop, trials_since_growth
from study.storage import open_storage, trials_of
from study.trial import Bench, at_rung, run_trial

VECTORS = st.lists(st.tuples(*[st.integers(0, 6).map(lambda n: n / 6)] * 2), min_size=1, max_size=25)


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


@settings(deadline=None)
@given(VECTORS)
def test_ranks_by_their_definition(vectors):
    points, left, rank = np.array(vectors), set(vectors), 0
    expected = {}
    while left:
        front = {v for v in left if not any(dominates(o, v) for o in left)}
        expected |= dict.fromkeys(front, rank)
        left, rank = left - front, rank + 1
    assert list(ranks_of(points)) == [expected[v] for v in vectors]


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


def test_crowding_by_hand():
    points = np.array([(0.0, 1.0), (0.2, 0.8), (0.9, 0.1), (1.0, 0.0)])
    assert list(crowding_of(points)) == [np.inf, 0.9 + 0.9, 0.8 + 0.8, np.inf]
    assert position(points, 0) == 0 and position(points, 2) == 3


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_at_a_rung_a_trial_stops_for_those_that_were_there_and_count(tmp_path, storage):
    url = {"journal": None, "sqlite": f"sqlite:///{tmp_path}/study.db"}[storage]
    study = optuna.create_study(storage=open_storage(url, tmp_path), directions=["maximize"] * 2)

    def stops(
        source: float, target: float, share: float = 0.5, early_stop: bool = True, **attrs: bool
    ) -> tuple[optuna.Trial, bool]:
        bench = SimpleNamespace(early_stop=early_stop, floor=0.0)
        trial = study.ask()
        for name, value in attrs.items():
            trial.set_user_attr(name, value)
        return trial, at_rung(trial, bench, share, {"source_val": source, "target_val": target, "loss": 1.0})

    assert not stops(0.9, 0.9)[1]  # the first
    discard(study, study.trials[0], "its worker died", optuna.trial.TrialState.RUNNING)
    diverged, _ = stops(0.8, 0.8)
    study.tell(diverged, state=optuna.trial.TrialState.FAIL)
    assert not stops(0.2, 0.2)[1]  # beside none that counts
    assert not stops(0.7, 0.3)[1] and not stops(0.3, 0.7)[1]  # neither dominates the other
    assert all(stops(both, both)[1] for both in (0.1, 0.15, 0.12))
    assert not stops(0.6, 0.2)[1] and stops(0.5, 0.15)[1]  # dominated both, but only one is in the better third
    assert not stops(0.1, 0.1, keep=True)[1] and not stops(0.1, 0.1, share=WARM_UP / 2)[1]
    assert not stops(0.1, 0.1, early_stop=False)[1]
    assert not stops(0.71, 0.1)[1]
    assert study.trials[-1].user_attrs == {rung_name(0.5): [0.71, 0.1]}


def test_what_forgets_too_much_stops_nothing_that_does_not(tmp_path):
    study = optuna.create_study(storage=open_storage(None, tmp_path), directions=["maximize"] * 2)

    def stops(source: float, target: float, floor: float) -> bool:
        bench = SimpleNamespace(early_stop=True, floor=floor)
        return at_rung(study.ask(), bench, 0.5, {"source_val": source, "target_val": target})

    for target in np.linspace(0.5, 0.9, 12):  # a front of trials that forget more the more they learn
        stops(0.95 - target, float(target), 0.0)
    for kept in [(0.6, 0.4), (0.54, 0.2), (0.55, 0.15), (0.56, 0.1), (0.57, 0.05)]:
        stops(*kept, 0.53)
    assert not stops(0.58, 0.39, 0.53)  # second of six that keep enough
    assert stops(0.58, 0.39, 0.0)  # and of no rank beside a whole front of others
    assert stops(0.44, 0.44, 0.53)  # below the floor all count


def test_samplers_hear_whether_a_trial_s_best_kept_network_keeps_enough(setting, tmp_path):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    study.enqueue_trial({"strategy": "RE", "lr": 0.05})
    bench = Bench(setting, "card", TINY, 0, tmp_path, ways=((0.5, 0.0),), floor=0.01)
    run_trial(claim(study, "random", 0), bench)
    (trial,) = trials_of(study)
    sources = [trial.user_attrs["measures"][name] for name in ("source_val", "source_val/0.50")]
    assert sources[0] != sources[1] and trial.constraints == {CONSTRAINT: pytest.approx(0.01 - max(sources))}


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


@pytest.mark.parametrize("early_stop", [True, False])
def test_half_of_the_budget_is_looked_at_only_where_trials_may_stop(setting, tmp_path, early_stop):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    top_up(study, 2, "card", TINY)  # the second trains
    bench = Bench(setting, "card", TINY, 0, tmp_path, early_stop)
    for _ in range(2):
        run_trial(claim(study, "random", 0), bench)
    curve = trials_of(study)[1].user_attrs["curve"]
    assert (rung_name(0.5) in trials_of(study)[1].user_attrs) == early_stop
    assert ([row["epoch"] for row in curve if "source_val" in row] == [4]) == (not early_stop)
