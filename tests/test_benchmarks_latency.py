"""The benchmark of claims: the studies that it times are what a search leaves before its race."""

from collections import Counter

import pytest

from benchmarks import search_latency
from benchmarks.checking import check_figures
from benchmarks.search_latency import FOLDS, POINTS, SOURCE_IMAGES, TARGET_IMAGES, make_ended_trials, make_plan
from study.storage.slots import is_of_search, rung_of
from study.trial_attributes import TrialAttributes
from study.tuning.competing_networks import find_competition


@pytest.fixture(scope="module")
def ended():
    return make_ended_trials(9)


def test_a_study_before_its_race_has_every_configuration_and_every_promotion(ended):
    assert Counter(map(rung_of, ended)) == {1: 9, 2: 3, 3: 1}
    assert all(trial.state.is_finished() and is_of_search(trial) for trial in ended)


def test_every_network_of_every_adaptation_competes_with_its_answers_on_all_source_images_and_on_one_fold(ended):
    adaptations = [trial for trial in ended if TrialAttributes.of(trial).strategy != "BL"]

    competition = find_competition(ended, make_plan())
    evaluations = competition.comparison.evaluations

    assert len(competition.networks) == len(evaluations) == len(POINTS) * len(adaptations)
    assert {len(each.source_right) for each in evaluations} == {SOURCE_IMAGES}
    assert {len(each.target_right) for each in evaluations} == {TARGET_IMAGES // FOLDS}


@pytest.mark.parametrize("stage", search_latency.STAGES)
def test_the_trials_that_are_timed_are_those_of_the_stage(stage, ended, monkeypatch):
    monkeypatch.setattr(search_latency, "make_ended_trials", lambda size: ended)
    monkeypatch.setattr(search_latency, "REPEATS", 2)

    medians = search_latency.time_trials(9, "journal", stage)

    assert medians["trials before"] == 13 and medians["trials timed"] == 2
    assert 0 < medians["claim"] <= medians["longest claim"]


def test_the_check_names_what_takes_too_long_and_what_was_not_measured(capsys):
    figures = dict.fromkeys(search_latency.TARGETS, 0.01)
    assert check_figures({"figures": figures}, search_latency.TARGETS) == 0

    slow, missing, *_ = figures
    assert check_figures({"figures": figures | {slow: 9.0, missing: None}}, search_latency.TARGETS) == 1
    printed = capsys.readouterr().out
    assert f"{slow} is 9.0" in printed and f"{missing} is None" in printed
