"""The sampler tpe: Optuna's own on few trials, shown the best and some of the others of many."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from study import tpe
from study.stopping import ranks_of

FLOAT = optuna.distributions.FloatDistribution(0.0, 1.0)


def study_of(trials: int) -> optuna.Study:
    """Makes a study of trials of one knob, four fifths of them finished with values of no connection to it."""
    rng = np.random.default_rng(0)
    study = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed=0))
    for x in rng.random(trials):
        values = rng.random(2).tolist()
        state = TrialState.PRUNED if rng.random() < 0.2 else TrialState.COMPLETE
        ended = {"values": values} if state == TrialState.COMPLETE else {}
        study.add_trial(create_trial(state=state, params={"x": x}, distributions={"x": FLOAT}, **ended))
    return study


def draws(study: optuna.Study, sampler: optuna.samplers.BaseSampler, trials: int = 3) -> list[float]:
    study.sampler = sampler
    return [study.ask().suggest_float("x", 0, 1) for _ in range(trials)]


@pytest.mark.parametrize("trials", [3, 40, tpe.SHOWN - 3])
def test_few_trials_are_all_shown_to_optunas_sampler(trials):
    plain = optuna.samplers.TPESampler(seed=4, multivariate=False, constant_liar=True)
    assert draws(study_of(trials), tpe.BoundedTPE(4)) == draws(study_of(trials), plain)


def test_of_many_trials_the_best_are_shown_and_all_that_run():
    study = study_of(600)
    running = [study.ask().number for _ in range(5)]
    trials = study.get_trials()
    shown = tpe.some_of(trials, np.random.default_rng(1))
    assert [trial.number for trial in shown] == sorted({trial.number for trial in shown})
    assert [trial.number for trial in shown if trial.state == TrialState.RUNNING] == running
    assert len(shown) == tpe.SHOWN + 5
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    front = [
        trial
        for trial, rank in zip(complete, ranks_of(np.array([t.values for t in complete])), strict=True)
        if rank == 0
    ]
    assert {trial.number for trial in front} <= {trial.number for trial in shown}
    assert {TrialState.PRUNED, TrialState.COMPLETE} <= {trial.state for trial in shown}


def test_of_many_trials_it_draws_near_the_best():
    study = optuna.create_study(directions=["maximize"] * 2)
    for x in np.random.default_rng(2).random(1000):
        values = [-abs(x - 0.3), -abs(x - 0.4)]  # between 0.3 and 0.4 none dominates another
        study.add_trial(create_trial(params={"x": x}, distributions={"x": FLOAT}, values=values))
    study.sampler, found = tpe.BoundedTPE(0), []
    for _ in range(40):
        trial = study.ask()
        found.append(trial.suggest_float("x", 0, 1))
        study.tell(trial, state=TrialState.FAIL)  # what runs would keep the next one away from it
    assert np.mean([0.25 < x < 0.45 for x in found]) > 0.9


def test_what_breaks_a_constraint_is_worse_than_all_that_keep_it():
    study = study_of(0)
    for violation, value in ((0.2, 0.9), (-1.0, 0.1), (0.1, 0.8)):
        trial = study.ask()
        trial.set_constraint("retention", violation)
        study.tell(trial, [value, value])
    merits = [tpe.merits(trial)[0] for trial in study.get_trials()]
    assert sorted(range(3), key=merits.__getitem__, reverse=True) == [1, 2, 0]


@pytest.mark.parametrize("count", [0, 1, 7, 200])
@pytest.mark.parametrize("wanted", [1, 5, 50])
def test_the_best_are_whole_fronts_but_for_the_last(count, wanted):
    points = np.random.default_rng(count).integers(0, 12, (count, 2)).astype(float)
    chosen = tpe.best(points, wanted)
    assert len(set(chosen.tolist())) == len(chosen) == min(wanted, count)
    ranks, left_out = ranks_of(points), np.setdiff1d(np.arange(count), chosen)
    assert not len(left_out) or ranks[chosen].max() <= ranks[left_out].min()
