"""Rungs: where a trial is scored and may stop; networks between it and the baseline are scored as well."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import TINY, losses
from fer.adaptation import evaluation, scoring
from fer.adaptation.methods import named
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt

HALF_WAY = EvaluationPlan(interpolation_points=((0.5, 0.0),))


def test_a_rung_may_stop_a_trial(setting):
    rungs = []

    def on_rung(share, row, ways):
        rungs.append((share, row["source_val"], row["target_val"]))
        return True

    adapted = adapt(setting, TINY, seed=5, on_rung=on_rung)

    assert adapted.stopped and [share for share, *_ in rungs] == [0.5]
    assert len(losses(adapted)) == 2


def test_rungs_and_parts_of_a_budget_are_the_callers_and_change_no_training(setting):
    shares = []
    config, plan = replace(TINY, epochs=2), EvaluationPlan(rungs=(0.25, 0.5, 1.0), parts=4)

    finer = adapt(setting, config, 5, lambda share, row, ways: bool(shares.append(share)), plan)

    assert shares == [0.25, 0.5] and len(losses(finer)) == 4
    assert finer.measures == adapt(setting, config, 5).measures


@pytest.mark.parametrize("strategy", ["FC", "RE", "FU", "EWC"])
def test_networks_on_the_way_are_scored_at_a_rung_from_the_baseline_to_what_there_is(setting, strategy):
    ways, config, told = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0)), named(strategy, TINY), []

    def on_rung(share, row, ways):
        told.append([[row["source_val"], row["target_val"]], *(prospect.score() for prospect in ways)])
        return True

    stopped = adapt(setting, config, 5, on_rung, EvaluationPlan(interpolation_points=ways))
    start = adapt(setting, named("BL", TINY), 5).measures
    ((own, first, half, last),) = told

    assert first == [start["source_val"], start["target_val"]] and last == own
    assert all(0 <= accuracy <= 1 for accuracy in half)
    # What is told of the trial is its own end's, and no other network's.
    assert stopped.stopped and [stopped.measures["source_val"], stopped.measures["target_val"]] == own
    assert set(stopped.curve[-1]) == {"epoch", "loss", "source_val", "target_val"}


@pytest.mark.parametrize("strategy", ["RE", "FU"])
def test_scoring_networks_on_the_way_at_a_rung_changes_no_training(setting, strategy):
    config, plan = named(strategy, TINY), EvaluationPlan(interpolation_points=((0.5, 0.0), (0.0, 1.0)))
    plain = adapt(setting, config, 5, plan=plan)
    looked = adapt(setting, config, 5, lambda share, row, found: not [prospect.score() for prospect in found], plan)

    assert losses(looked) == losses(plain) and looked.measures == plain.measures
    assert [step.measures for step in looked.interpolated] == [step.measures for step in plain.interpolated]


@pytest.mark.parametrize("wanted", [0, 1, 3])
def test_at_a_rung_as_many_networks_on_the_way_are_made_as_are_asked_for(setting, monkeypatch, wanted):
    made, mixed = [], scoring.Scorer.interpolate
    monkeypatch.setattr(
        scoring.Scorer, "interpolate", lambda self, *args: (made.append(args[1:]), mixed(self, *args))[1]
    )
    ways = ((0.5, 0.0), (0.75, 0.0), (0.0, 1.0))

    def on_rung(share, row, prospects):
        for prospect in list(prospects)[:wanted]:
            prospect.score()
        return True

    adapt(setting, TINY, 5, on_rung, EvaluationPlan(interpolation_points=ways))

    assert made == list(ways[:wanted])


@pytest.mark.parametrize("images", [None, 5])
def test_what_may_be_hoped_of_a_network_on_the_way_lies_above_the_line_from_the_baseline(setting, images):
    ways, hoped = ((0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (1.0, 0.0)), []

    def on_rung(share, row, prospects):
        hoped.extend([[row["source_val"], row["target_val"]], *(prospect.hoped for prospect in prospects)])
        return True

    adapt(replace(setting, rung_images=images), TINY, 5, on_rung, EvaluationPlan(interpolation_points=ways))
    start = adapt(setting, named("BL", TINY), 5).measures
    own, first, half, sloped, last = map(np.array, hoped)
    bonus = first - [start["source_val"], start["target_val"]]

    assert (bonus > 0).all() and last == pytest.approx(own + bonus)
    assert half == pytest.approx((first + last) / 2) and sloped == pytest.approx(half)

    if images:  # on fewer images luck is wider
        assert bonus == pytest.approx([2 * np.sqrt(0.1 / 5)] * 2)


def test_a_network_from_scratch_is_on_no_way_from_the_baseline(setting):
    told = []
    config = replace(TINY, init="scratch", fusion_ratio="natural")

    adapted = adapt(setting, config, 5, lambda share, row, ways: bool(told.extend(ways)), HALF_WAY)

    assert told == [] and adapted.interpolated == []


def test_a_rung_may_look_at_fewer_images_and_compares_them_with_the_baseline_on_the_same(setting, monkeypatch):
    looked, predict = [], evaluation.predict
    monkeypatch.setattr(evaluation, "predict", lambda *args: (looked.append(len(args[3])), predict(*args))[1])

    def rung_and_end(images, strategy="RE", lr=TINY.lr):
        rows = []
        config = replace(named(strategy, TINY), lr=lr)
        adapted = adapt(
            replace(setting, rung_images=images), config, 5, lambda share, row, ways: bool(rows.append(row))
        )
        return rows[0], adapted.measures

    every, end = rung_and_end(None)
    looked.clear()
    few, same_end = rung_and_end(5)
    assert same_end == end
    assert looked.count(5) == 2 and min(looked) == 5 < max(looked)  # both splits at the rung, all of them else
    assert rung_and_end(10_000)[0] == every

    start = adapt(setting, named("BL", TINY), 5).measures
    for domain in ("source_val", "target_val"):
        # The baseline's on all, and a whole number of these five; never less than none or more than all.
        steps = (few[domain] - start[domain]) * 5
        assert steps == pytest.approx(round(steps)) or few[domain] in (0.0, 1.0)
    still, _ = rung_and_end(3, "FC", lr=1e-12)  # what does not move is where the baseline is, whatever the few are
    assert [still[name] - start[name] for name in ("source_val", "target_val")] == pytest.approx([0, 0])


def test_a_budget_of_less_than_two_passes_has_a_half_as_well(setting):
    shares = []
    adapted = adapt(setting, replace(TINY, epochs=0.5), 5, lambda share, row, ways: bool(shares.append(share)))

    assert shares == [0.5]
    assert [row["epoch"] for row in adapted.curve] == [0.25, 0.5]
