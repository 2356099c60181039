"""Calibration: the fastest pair of workers and threads, measured once, kept, and never in the way of a study."""

import json
from dataclasses import replace

import pytest

from fer.architecture import VGG13, Architecture
from fer.model import blocks
from recorder import Recorder
from study.execution import autotune
from study.execution.autotune import candidates, choose_fastest, find_or_measure, measure_in_processes
from study.execution.training_steps import TrainingSteps
from study.machine import cores


def of_width(width: float) -> Architecture:
    return replace(VGG13, width=width)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 16, 64])
def test_no_pair_asks_for_more_than_the_machine_has(count):
    pairs = candidates(count)
    assert pairs[0] == (count, 1) and len(set(pairs)) == len(pairs)
    assert all(workers >= 1 and workers * threads <= count for workers, threads in pairs)


def test_the_usual_pair_stays_unless_another_is_faster_by_more_than_noise():
    assert choose_fastest({"8x1": 100.0, "4x1": 105.0, "4x2": 60.0})["workers"] == 8

    found = choose_fastest({"8x1": 100.0, "4x1": 70.0, "4x2": 130.0})
    assert (found["workers"], found["threads"]) == (4, 2)
    assert choose_fastest({"2x1": 0.0})["workers"] == 2


def test_a_pair_is_measured_once_and_again_where_what_was_kept_is_damaged(tmp_path, monkeypatch):
    measure = Recorder(lambda *_: {f"{cores()}x1": 50.0})
    monkeypatch.setattr(autotune, "measure_in_processes", measure)

    first = find_or_measure(tmp_path, of_width(0.25), "fp32")
    assert find_or_measure(tmp_path, of_width(0.25), "fp32") == first
    assert measure.calls == [(of_width(0.25), "fp32")]
    # Another network or precision is another question.
    assert (
        find_or_measure(tmp_path, of_width(0.5), "fp32") == find_or_measure(tmp_path, of_width(0.25), "bf16") == first
    )
    assert measure.calls == [(of_width(0.25), "fp32"), (of_width(0.5), "fp32"), (of_width(0.25), "bf16")]

    for path in tmp_path.glob("calibration-*.json"):
        path.write_text("{")
    assert find_or_measure(tmp_path, of_width(0.25), "fp32") == first
    assert measure.calls[3:] == [(of_width(0.25), "fp32")]
    assert first in [json.loads(path.read_text()) for path in tmp_path.glob("*") if path.read_text() != "{"]


def test_a_calibration_that_fails_leaves_the_usual_pair_and_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(autotune.sys, "executable", "/bin/false")
    assert measure_in_processes(of_width(0.25), "fp32") == {f"{cores()}x1": 0.0}

    found = find_or_measure(tmp_path, of_width(0.25), "fp32")
    assert (found["workers"], found["threads"]) == (cores(), 1) and list(tmp_path.iterdir()) == []


def test_a_network_is_measured_without_the_minutes_that_its_division_may_take(monkeypatch):
    monkeypatch.setattr(blocks, "_prove", lambda *_: pytest.fail("divided"))
    network = replace(VGG13, name="own_network:small", channels=3, blocks=("stem", "head"), head=1)

    training = TrainingSteps(network, "fp32", seed=0)

    assert training.images.shape[1:] == network.images.shape


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_pair_is_really_measured(precision):
    rates = autotune.main(of_width(1 / 16), 4, precision)
    assert set(rates) == {"4x1", "2x1", "2x2"}
    assert all(rate > 0 for rate in rates.values())
