"""The evolution sampler: knobs come from good parents, numbers stay in range, conditions need no care."""

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from made_study import DONE, made_trial
from study import evolution
from study.evolution import EvolutionSampler, best_first, mutated
from study.front import hypervolume
from study.search import Searched


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(0.0, 1.0, False), (1e-4, 1e-1, True), (0.3, 1.0, False)]))
def test_a_mutated_number_stays_in_its_range(seed, bounds):
    low, high, log = bounds
    rng = np.random.default_rng(seed)
    for value in (low, high):
        assert low <= mutated(value, FloatDistribution(low, high, log=log), rng) <= high
    found = mutated(3, IntDistribution(0, 12), rng)
    assert isinstance(found, int) and 0 <= found <= 12


def test_better_stands_before_worse_and_what_breaks_a_constraint_last():
    values = [(0.9, 0.9), (0.2, 0.2), (0.5, 0.5), (0.95, 0.95)]
    trials = [made_trial(number, DONE, vector) for number, vector in enumerate(values)]
    trials[3]._system_attrs["constraints:retention"] = 0.2
    assert list(best_first(trials, (0.1, 0.1), np.random.default_rng(0))) == [0, 2, 1, 3]


def test_every_point_of_the_front_comes_first_as_often_as_its_area_says_and_near_equals_follow():
    values = [(0.9, 0.2), (0.89, 0.19), (0.5, 0.6), (0.49, 0.59), (0.05, 0.95)]
    trials = [made_trial(number, DONE, vector) for number, vector in enumerate(values)]
    rng = np.random.default_rng(0)
    orders = [list(best_first(trials, (0.1, 0.1), rng))[:2] for _ in range(400)]
    assert {tuple(order) for order in orders} == {(0, 1), (2, 3)}  # what is below the reference leads nowhere
    assert np.mean([order == [2, 3] for order in orders]) == pytest.approx(0.2 / (0.2 + 0.08), abs=0.08)


def test_nothing_above_the_reference_still_leads_towards_it():
    values = [(0.3, 0.3), (0.2, 0.2), (0.4, 0.4), (0.1, 0.5)]
    trials = [made_trial(number, DONE, vector) for number, vector in enumerate(values)]
    assert best_first(trials, (0.9, 0.9), np.random.default_rng(0))[0] == 2


def test_among_equals_chance_decides_and_not_the_number():
    trials = [made_trial(number, DONE, (0.5, 0.5)) for number in range(4)]
    rng = np.random.default_rng(0)
    assert {int(best_first(trials, (0.1, 0.1), rng)[0]) for _ in range(100)} == {0, 1, 2, 3}


@pytest.mark.parametrize(("count", "expected"), [(12, 3), (100, 10)])
def test_parents_are_the_best_tenth_above_the_study_s_reference(monkeypatch, count, expected):
    monkeypatch.setattr(evolution, "FRESH", 0.0)
    study = optuna.create_study(directions=["maximize"] * 2)
    study.set_user_attr("study", {"options": {"reference": [0.5, 0.1]}})
    # More of the one is less of the other; only what is above 0.5 in the first gets above the reference.
    good = [(0.6, 0.2 + 0.01 * n) for n in range(expected)]
    bad = [(0.4, 0.9)] * (count - expected)
    study.add_trials([made_trial(number, DONE, vector) for number, vector in enumerate([*bad, *good])])
    seen = set()
    for seed in range(200):
        parents = EvolutionSampler(seed).choose_parents(study)
        assert len({parent.number for parent in parents}) == len(parents)
        seen |= {parent.number for parent in parents}
    assert seen == set(range(count - expected, count))


def test_of_near_equals_cheaper_ones_come_more_often_within_bounds_and_a_twin_never(monkeypatch):
    monkeypatch.setattr(evolution, "FRESH", 0.0)
    monkeypatch.setattr(evolution, "CROSSOVER", 0.0)
    study = optuna.create_study(directions=["maximize"] * 2)
    trials = [made_trial(number, DONE, (0.5, 0.5)) for number in range(4)]
    trials += [made_trial(number, DONE, (0.2, 0.2)) for number in range(4, 12)]
    for trial in trials:
        trial.user_attrs["seconds"] = {0: 100.0, 1: 0.001}.get(trial.number, 1.0)
    trials[3].user_attrs |= {"twin_of": 0, "seconds": 0.01}
    study.add_trials(trials)
    drawn = [EvolutionSampler(seed).choose_parents(study)[0].number for seed in range(700)]
    assert set(drawn) == {0, 1, 2}
    # Bounded by half and double the median, so 4 : 2 : 1.
    assert [drawn.count(number) for number in (1, 2, 0)] == pytest.approx([400, 200, 100], abs=45)


def searched(sampler: optuna.samplers.BaseSampler, trials: int) -> optuna.Study:
    """Searches a conditional space whose front runs along x, at one setting of everything else."""
    study = optuna.create_study(directions=["maximize"] * 2, sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        x, miss = trial.suggest_float("x", 0, 1), 0.0
        if trial.suggest_categorical("on", [False, True]):
            miss = abs(np.log10(trial.suggest_float("rate", 1e-4, 1, log=True)) + 2) / 4
            miss += abs(trial.suggest_int("depth", 0, 12) - 4) / 12
        else:
            miss = 0.8
        study.tell(trial, [x - miss, 1 - x**2 - miss])
    return study


def test_it_comes_nearer_to_the_front_than_random_draws():
    def volume(sampler):
        return hypervolume([trial.values for trial in searched(sampler, 100).trials], (0, 0))

    ours = [volume(EvolutionSampler(seed)) for seed in range(3)]
    random = [volume(optuna.samplers.RandomSampler(seed)) for seed in range(3)]
    assert np.mean(ours) > np.mean(random) + 0.02


@pytest.mark.parametrize("crossover", [0.0, 1.0])
def test_a_child_is_not_its_parent_and_all_but_one_knob_come_from_parents(monkeypatch, crossover):
    for name, value in {"MUTATIONS": 1.0, "FRESH": 0.0, "CROSSOVER": crossover}.items():
        monkeypatch.setattr(evolution, name, value)
    chosen, choose = {}, EvolutionSampler.choose_parents

    def note(self, study):
        return chosen.setdefault(len(study.trials) - 1, choose(self, study))

    monkeypatch.setattr(EvolutionSampler, "choose_parents", note)
    study = searched(EvolutionSampler(1), 80)
    bred = [(study.trials[number].params, parents) for number, parents in chosen.items() if parents]
    assert len(bred) == 80 - evolution.STARTUP
    same = sum(child in [parent.params for parent in parents] for child, parents in bred)
    assert same <= crossover * len(bred) / 10  # what changes in one parent's choice can be the other parent's
    for child, parents in bred:
        inherited = sum(any(child[name] == parent.params.get(name) for parent in parents) for name in child)
        drawn = sum(all(name not in parent.params for parent in parents) for name in child)
        assert inherited + drawn >= len(child) - 1


@pytest.mark.parametrize("state", ["PRUNED", "FAIL"])
def test_only_finished_trials_are_parents(state):
    study = optuna.create_study(directions=["maximize"] * 2)
    trials = [made_trial(n, optuna.trial.TrialState[state]) for n in range(30)]
    for trial in trials:
        trial.user_attrs["reason"] = "Diverged: nan"  # which samplers see as finished, at the worst there is
    study.add_trials(trials)
    for seen in (study, Searched(study.study_name, study._storage)):
        assert all(EvolutionSampler(seed).choose_parents(seen) == [] for seed in range(20))
