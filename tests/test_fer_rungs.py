"""Rungs: where a trial is scored and may stop; networks between it and the baseline are scored as well."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import TINY, losses
from fer.adaptation import evaluation, scoring
from fer.adaptation.methods import named
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from recorder import Recorder

HALF_WAY = EvaluationPlan(interpolation_points=((0.5, 0.0),))
OBJECTIVES = ("source_val", "target_val")


def accuracies(measures):
    """Returns the two objectives of what a rung or a trial tells."""
    return [measures[name] for name in OBJECTIVES]


def shares(on_rung):
    """Returns the shares of the budget at which a recorder of rungs was called."""
    return [share for share, *_ in on_rung.calls]


def test_a_rung_may_stop_a_trial(setting):
    stop = Recorder(lambda share, row, networks: True)

    adapted = adapt(setting, TINY, seed=5, on_rung=stop)

    assert adapted.stopped and shares(stop) == [0.5]
    assert set(OBJECTIVES) <= set(stop.calls[0][1])
    assert len(losses(adapted)) == 2


def test_rungs_and_parts_of_a_budget_are_the_callers_and_change_no_training(setting):
    config = replace(TINY, epochs=2)
    plan = EvaluationPlan(rungs=(0.25, 0.5, 1.0), equal_epochs=4)
    on_rung = Recorder()

    finer = adapt(setting, config, 5, on_rung, plan)

    assert shares(on_rung) == [0.25, 0.5] and len(losses(finer)) == 4
    assert finer.measures == adapt(setting, config, 5).measures


@pytest.mark.parametrize("strategy", ["FC", "RE", "FU", "EWC"])
def test_networks_on_the_way_are_scored_at_a_rung_from_the_baseline_to_what_there_is(setting, strategy):
    plan = EvaluationPlan(interpolation_points=((0.0, 0.0), (0.5, 0.0), (1.0, 0.0)))
    told = []

    def stop(share, row, networks):
        told.append([accuracies(row), *(network.score() for network in networks)])
        return True

    stopped = adapt(setting, named(strategy, TINY), 5, stop, plan)
    start = adapt(setting, named("BL", TINY), 5).measures

    ((own, first, half, last),) = told
    assert first == accuracies(start) and last == own
    assert all(0 <= accuracy <= 1 for accuracy in half)
    # What is told of the trial is its own end's, and no other network's.
    assert stopped.stopped and accuracies(stopped.measures) == own
    assert set(stopped.curve[-1]) == {"epoch", "loss", "source_val", "target_val"}


@pytest.mark.parametrize("strategy", ["RE", "FU"])
def test_scoring_networks_on_the_way_at_a_rung_changes_no_training(setting, strategy):
    config = named(strategy, TINY)
    plan = EvaluationPlan(interpolation_points=((0.5, 0.0), (0.0, 1.0)))

    def score_and_go_on(share, row, networks):
        scores = [network.score() for network in networks]
        return not scores

    plain = adapt(setting, config, 5, plan=plan)
    scored = adapt(setting, config, 5, score_and_go_on, plan)

    assert losses(scored) == losses(plain) and scored.measures == plain.measures
    assert [network.measures for network in scored.interpolated] == [network.measures for network in plain.interpolated]


@pytest.mark.parametrize("wanted", [0, 1, 3])
def test_at_a_rung_as_many_networks_on_the_way_are_made_as_are_asked_for(setting, monkeypatch, wanted):
    interpolate = Recorder(scoring.Scorer.interpolate)
    monkeypatch.setattr(scoring.Scorer, "interpolate", interpolate)
    points = ((0.5, 0.0), (0.75, 0.0), (0.0, 1.0))

    def score_some_and_stop(share, row, networks):
        for network in list(networks)[:wanted]:
            network.score()
        return True

    adapt(setting, TINY, 5, score_some_and_stop, EvaluationPlan(interpolation_points=points))

    assert [point for _, *point in interpolate.calls] == [list(point) for point in points[:wanted]]


@pytest.mark.parametrize("images", [None, 5])
def test_what_may_be_hoped_of_a_network_on_the_way_lies_above_the_line_from_the_baseline(setting, images):
    plan = EvaluationPlan(interpolation_points=((0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (1.0, 0.0)))
    estimates = []

    def stop(share, row, networks):
        estimates.append(accuracies(row))
        estimates.extend(network.optimistic_estimate for network in networks)
        return True

    adapt(replace(setting, rung_images=images), TINY, 5, stop, plan)
    start = adapt(setting, named("BL", TINY), 5).measures

    own, first, half, sloped, last = map(np.array, estimates)
    bonus = first - accuracies(start)
    assert (bonus > 0).all() and last == pytest.approx(own + bonus)
    assert half == pytest.approx((first + last) / 2) and sloped == pytest.approx(half)
    if images:  # on fewer images noise is wider
        assert bonus == pytest.approx([2 * np.sqrt(0.1 / 5)] * 2)


def test_a_network_from_scratch_is_on_no_way_from_the_baseline(setting):
    config = replace(TINY, init="scratch", fusion_ratio="natural")
    told = []

    def go_on(share, row, networks):
        told.extend(networks)
        return False

    adapted = adapt(setting, config, 5, go_on, HALF_WAY)

    assert told == [] and adapted.interpolated == []


def test_a_rung_may_look_at_fewer_images_and_compares_them_with_the_baseline_on_the_same(setting, monkeypatch):
    predict = Recorder(evaluation.predict)
    monkeypatch.setattr(evaluation, "predict", predict)

    def rung_and_end(images, strategy="RE", lr=TINY.lr):
        config = replace(named(strategy, TINY), lr=lr)
        on_rung = Recorder()
        adapted = adapt(replace(setting, rung_images=images), config, 5, on_rung)
        _, row, _ = on_rung.calls[0]
        return row, adapted.measures

    every, end = rung_and_end(None)
    predict.calls.clear()
    few, same_end = rung_and_end(5)
    assert same_end == end
    images = [len(call[3]) for call in predict.calls]
    assert images.count(5) == 2 and min(images) == 5 < max(images)  # both splits at the rung, all of them else
    assert rung_and_end(10_000)[0] == every

    start = adapt(setting, named("BL", TINY), 5).measures
    for name in OBJECTIVES:
        # The baseline's on all, and a whole number of these five; never less than none or more than all.
        steps = (few[name] - start[name]) * 5
        assert steps == pytest.approx(round(steps)) or few[name] in (0.0, 1.0)

    still, _ = rung_and_end(3, "FC", lr=1e-12)  # what does not move is where the baseline is, whatever the few are
    assert np.subtract(accuracies(still), accuracies(start)) == pytest.approx(np.zeros(2))


def test_a_budget_of_less_than_two_passes_has_a_half_as_well(setting):
    on_rung = Recorder()

    adapted = adapt(setting, replace(TINY, epochs=0.5), 5, on_rung)

    assert shares(on_rung) == [0.5]
    assert [row["epoch"] for row in adapted.curve] == [0.25, 0.5]
