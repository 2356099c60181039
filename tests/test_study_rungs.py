"""Rungs of a study's trials: what they write, whom they are compared with, and when they stop."""

from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from conftest import TINY
from fer.adaptation.plan import Prospect
from made_study import made_trial
from study.execution.claim import claim_trial
from study.execution.trial import report_rung, run_trial
from study.execution.trial_context import TrialContext
from study.storage.backend import open_storage, trials_of
from study.storage.slots import discard_trial, fill_slots
from study.trials import RETENTION_CONSTRAINT, rung_shares, trials_table
from study.tuning.early_stopping import (
    WARM_UP,
    interpolated_rung_name,
    rung_name,
    vectors_at_rung,
)
from study.tuning.plan import SearchPlan


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_at_a_rung_a_trial_stops_for_those_that_were_there_and_count(tmp_path, storage):
    url = {"journal": None, "sqlite": f"sqlite:///{tmp_path}/study.db"}[storage]
    study = optuna.create_study(storage=open_storage(url, tmp_path), directions=["maximize"] * 2)

    def stops(source: float, target: float, share: float = 0.5, early_stop: bool = True, **attrs: bool) -> bool:
        context = SimpleNamespace(early_stop=early_stop, plan=SearchPlan())
        trial = study.ask()
        for name, value in attrs.items():
            trial.set_user_attr(name, value)
        return report_rung(trial, context, share, {"source_val": source, "target_val": target, "loss": 1.0})

    assert not stops(0.9, 0.9)  # the first

    discard_trial(study, study.trials[0], "its worker died", optuna.trial.TrialState.RUNNING)
    stops(0.8, 0.8)
    study.tell(study.trials[-1].number, state=optuna.trial.TrialState.FAIL)
    assert not stops(0.2, 0.2)  # beside none that counts

    assert not stops(0.7, 0.3)
    assert not stops(0.3, 0.7)  # neither dominates the other
    assert all(stops(both, both) for both in (0.1, 0.15, 0.12))
    assert not stops(0.6, 0.2)
    assert stops(0.5, 0.15)  # dominated both, but only the former is in the better third

    assert not stops(0.1, 0.1, keep=True)
    assert not stops(0.1, 0.1, share=WARM_UP / 2)
    assert not stops(0.1, 0.1, early_stop=False)
    assert not stops(0.71, 0.1)
    assert study.trials[-1].user_attrs == {rung_name(0.5): [0.71, 0.1]}


def test_networks_on_the_way_are_made_while_the_trial_would_stop_and_may_hope(tmp_path):
    study = optuna.create_study(storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    context = SimpleNamespace(early_stop=True, plan=SearchPlan())
    made = []

    def prospect(hoped: float, *accuracies: float) -> Prospect:
        def score() -> list[float]:
            made.append(accuracies)
            return list(accuracies)

        return Prospect([hoped, hoped], score)

    def at(own: float, *prospects: Prospect, share: float = 0.5, **attrs: bool) -> tuple[bool, dict]:
        made.clear()
        trial = study.ask()
        for name, value in attrs.items():
            trial.set_user_attr(name, value)
        row = {"source_val": own, "target_val": own}
        return report_rung(trial, context, share, row, iter(prospects)), study.trials[-1].user_attrs

    for own in (0.6, 0.7, 0.8):
        stopped, attrs = at(own, prospect(1, own, own), keep=True)
        assert not stopped and not made and interpolated_rung_name(0.5) not in attrs

    worse, better = prospect(1, 0.1, 0.1), prospect(1, 0.9, 0.1)
    stopped, attrs = at(0.2, worse, better, worse)
    assert not stopped and made == [(0.1, 0.1), (0.9, 0.1)]
    assert attrs[interpolated_rung_name(0.5)] == [[0.1, 0.1], [0.9, 0.1]]
    assert attrs[rung_name(0.5)] == [0.2, 0.2]  # the trial's own, as its readers know it

    stopped, attrs = at(0.2, worse, worse, worse)
    assert stopped and len(made) == 3 and attrs[interpolated_rung_name(0.5)] == [[0.1, 0.1]] * 3

    stopped, attrs = at(0.2, prospect(0.3, 0.9, 0.9), worse)
    assert stopped and made == [(0.1, 0.1)]  # the first had no hope

    stopped, attrs = at(0.2)
    assert stopped and interpolated_rung_name(0.5) not in attrs

    stopped, attrs = at(0.2, better, share=WARM_UP / 2)
    assert not stopped and not made
    assert vectors_at_rung(study.trials, 0.5, without=0)[:3] == [
        [[0.7, 0.7]],
        [[0.8, 0.8]],
        [[0.2, 0.2], [0.1, 0.1], [0.9, 0.1]],
    ]


def test_readers_of_rungs_see_the_trial_s_own_vector_alone():
    attrs = {rung_name(0.5): [0.6, 0.5], interpolated_rung_name(0.5): [[0.7, 0.4], [0.65, 0.45]]}
    found = trials_table([made_trial(0, **attrs)])
    assert rung_shares(found) == ["0.500"] and found["source_val@0.500"].tolist() == [0.6]


@pytest.mark.parametrize("odd", [None, 5, "x", [], [0.5], [0.5, 0.5, 0.5], ["a", "b"], [True, False], {}, [[0.5, 0.5]]])
def test_an_odd_vector_at_a_rung_counts_for_nothing(odd):
    own, interpolated = rung_name(0.5), interpolated_rung_name(0.5)
    odd_list = "ab" if odd == [[0.5, 0.5]] else [odd]
    trials = [made_trial(0, **{own: odd}), made_trial(1, **{own: [0.6, 0.5], interpolated: odd_list})]

    assert vectors_at_rung(trials, 0.5, without=9) == [[[0.6, 0.5]]]


def test_what_forgets_too_much_stops_nothing_that_does_not(tmp_path):
    study = optuna.create_study(storage=open_storage(None, tmp_path), directions=["maximize"] * 2)

    def stops(source: float, target: float, floor: float) -> bool:
        context = SimpleNamespace(early_stop=True, plan=SearchPlan(min_source=floor))
        return report_rung(study.ask(), context, 0.5, {"source_val": source, "target_val": target})

    for target in np.linspace(0.5, 0.9, 12):  # a front of trials that forget more the more they learn
        stops(0.95 - target, float(target), 0.0)
    for enough in [(0.6, 0.4), (0.54, 0.2), (0.55, 0.15), (0.56, 0.1), (0.57, 0.05)]:
        stops(*enough, 0.53)

    assert not stops(0.58, 0.39, 0.53)  # second of six that keep enough
    assert stops(0.58, 0.39, 0.0)  # and of no rank beside a whole front of others
    assert stops(0.44, 0.44, 0.53)  # below the floor all count


def test_samplers_hear_whether_a_trial_s_best_kept_network_keeps_enough(setting, tmp_path):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    study.enqueue_trial({"strategy": "RE", "lr": 0.05})
    context = TrialContext(
        setting, "card", TINY, 0, tmp_path, interpolation_points=((0.5, 0.0),), plan=SearchPlan(min_source=0.01)
    )

    run_trial(claim_trial(study, "random", 0), context)

    (trial,) = trials_of(study)
    end, half_way = (trial.user_attrs["measures"][name] for name in ("source_val", "source_val/0.50"))
    assert end != half_way
    assert trial.constraints == {RETENTION_CONSTRAINT: pytest.approx(0.01 - max(end, half_way))}


@pytest.mark.parametrize("early_stop", [True, False])
def test_half_of_the_budget_is_looked_at_only_where_trials_may_stop(setting, tmp_path, early_stop):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    fill_slots(study, 2, "card", TINY)  # the second trains
    context = TrialContext(setting, "card", TINY, 0, tmp_path, early_stop)

    for _ in range(2):
        run_trial(claim_trial(study, "random", 0), context)

    _, trained = trials_of(study)
    scored_at = [row["epoch"] for row in trained.user_attrs["curve"] if "source_val" in row]
    assert (rung_name(0.5) in trained.user_attrs) == early_stop
    assert (scored_at == [4]) == (not early_stop)
