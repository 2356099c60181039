"""The baseline: trained once, found again, refused when it is not one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY_NETWORK, TINY_WIDTH
from fer.adaptation.evaluation import predict
from fer.architecture import VGG13
from fer.baseline import baseline_digest, course_of, find_or_train
from fer.baseline_job import BaselineConfig, BaselineJob, Course, OnPass
from fer.baseline_training import train_baseline
from fer.config import ViewRecipe
from fer.datasets import Dataset
from fer.errors import InputError
from fer.features.sources import ImageSource
from fer.model.vgg import build
from fer.model.weights import load_network, save_network
from fer.runtime import Runtime, digest_of
from recorder import Recorder

CONFIG = BaselineConfig(network=TINY_NETWORK, epochs=2, processes=1, batch_size=20)
MOMENT = 1e-6
"""Minutes in which only the first pass begins."""


def train(source: Dataset, on_pass: OnPass = lambda report: None, **changes: Any) -> tuple[torch.nn.Sequential, Course]:
    """Trains a baseline that is kept nowhere."""
    job = BaselineJob(source.open("train"), source.open("validation"), "x", replace(CONFIG, **changes), Runtime())
    return train_baseline(job, on_pass)


def digest_in(path: Path) -> str:
    return load_network(path, Runtime()).digest


# A cached baseline.


def test_it_is_trained_once_and_then_found(source, tmp_path):
    on_pass = Recorder()
    path = find_or_train(source, CONFIG, Runtime(), tmp_path, on_pass)
    written = path.stat().st_mtime_ns

    assert find_or_train(source, CONFIG, Runtime(), tmp_path, lambda *_: pytest.fail("trained again")) == path
    assert [report.number for (report,) in on_pass.calls] == [1, 2] and path.stat().st_mtime_ns == written


def test_a_damaged_file_is_trained_anew(source, tmp_path):
    path = find_or_train(source, CONFIG, Runtime(), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    assert find_or_train(source, CONFIG, Runtime(), tmp_path).read_bytes()[-1000:] == whole[-1000:]


CHANGES = [
    {"network": replace(VGG13, width=0.1)}, {"epochs": 3}, {"seed": 1}, {"processes": 2}, {"lr": 0.1},
    {"batch_size": 10}, {"patience": 1},
    {"averaged": 2.0},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_the_hash_depends_on_every_choice_but_the_time(source, change):
    assert baseline_digest(source, CONFIG, Runtime()) != baseline_digest(source, replace(CONFIG, **change), Runtime())
    longer = replace(CONFIG, minutes=20)
    assert baseline_digest(source, CONFIG, Runtime()) == baseline_digest(source, longer, Runtime())


# When a training ends.


@pytest.mark.parametrize("lr", [1e-12, 0.002])
@pytest.mark.parametrize("patience", [1, 3])
def test_it_ends_with_the_first_pass_that_had_no_growth_in_as_many_passes_as_its_patience(source, lr, patience):
    _, course = train(source, lr=lr, patience=patience, epochs=40)

    def is_exhausted(passes: int) -> bool:
        before, since = course.accuracies[: passes - patience], course.accuracies[passes - patience : passes]
        return max(since) <= max(before)

    ends = [passes for passes in range(patience + 1, len(course.accuracies) + 1) if is_exhausted(passes)]
    assert ends == ([len(course.accuracies)] if course.ended_by == "plateau" else [])
    assert course.ended_by == "plateau" or len(course.accuracies) == 40


def test_a_training_that_cannot_learn_ends_by_its_patience(source):
    _, course = train(source, lr=1e-12, patience=2, epochs=40)
    assert course.ended_by == "plateau" and len(course.accuracies) < 40


def test_it_makes_at_most_so_many_passes(source):
    on_pass = Recorder()
    _, course = train(source, on_pass, patience=100, epochs=3)

    assert (len(course.accuracies), course.ended_by) == (3, "passes")
    assert [(report.number, report.most) for (report,) in on_pass.calls] == [(1, 3), (2, 3), (3, 3)]


def test_no_pass_begins_that_would_end_after_the_time(source):
    on_pass = Recorder()
    seconds = 0.5
    _, course = train(source, on_pass, patience=1000, epochs=1000, minutes=seconds / 60)

    reports = [report for (report,) in on_pass.calls]
    next_ends = [report.seconds * (1 + 1 / report.number) for report in reports]
    assert course.ended_by == "time" and course.seconds == reports[-1].seconds
    assert max([0.0, *next_ends[:-1]]) <= seconds < next_ends[-1]
    assert all(report.seconds_left <= seconds for report in reports) and reports[-1].seconds_left == 0


def test_one_pass_is_made_whatever_the_time(source):
    _, course = train(source, minutes=MOMENT)
    assert (len(course.accuracies), course.ended_by) == (1, "time")


# Which network comes out.


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_equal_seeds_give_equal_networks_and_other_seeds_others(source, processes):
    one, again, other = (train(source, processes=processes, seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert digest_of(one) == digest_of(again) != digest_of(other)


def test_a_network_that_its_time_ended_is_no_finished_one_and_goes_on_to_it(source, tmp_path):
    long = replace(CONFIG, epochs=5, patience=100)
    undisturbed = find_or_train(source, long, Runtime(), tmp_path / "whole")

    short = replace(long, minutes=MOMENT)
    first = find_or_train(source, short, Runtime(), tmp_path / "torn")
    assert course_of(first).ended_by == "time"
    assert find_or_train(source, short, Runtime(), tmp_path / "torn", lambda _: pytest.fail("trained again")) == first

    finished = find_or_train(source, long, Runtime(), tmp_path / "torn")

    assert finished.name == undisturbed.name != first.name
    assert digest_in(finished) == digest_in(undisturbed) != digest_in(first)
    assert course_of(finished).accuracies == course_of(undisturbed).accuracies
    assert find_or_train(source, short, Runtime(), tmp_path / "torn") == finished
    assert not list((tmp_path / "torn" / "checkpoints").glob("*"))


def test_the_file_tells_the_course_of_the_training(source, tmp_path):
    on_pass = Recorder()
    path = find_or_train(source, CONFIG, Runtime(), tmp_path, on_pass)

    course = course_of(path)
    first, last = (report for (report,) in on_pass.calls)
    assert course == Course([first.accuracy, last.accuracy], last.seconds, "passes")
    assert course.last_gain == last.accuracy - first.accuracy


def test_the_accuracy_of_the_last_pass_is_that_of_the_network(source):
    network, course = train(source, epochs=3)
    validation = source.open("validation")
    pixels = ImageSource(validation, ViewRecipe(), 0, Runtime())

    logits = predict(network, 0, pixels, np.arange(len(validation)), Runtime())

    assert course.accuracies[-1] == pytest.approx(np.mean(logits.argmax(1) == validation.labels))


def test_two_processes_share_the_work(source):
    on_pass = Recorder()
    train(source, on_pass, processes=2, epochs=8, lr=0.005, patience=100)

    losses = [report.loss for (report,) in on_pass.calls]
    assert len(losses) == 8 and losses[-1] < 0.8 * losses[0]


# Files of networks.


def test_saved_and_loaded_networks_are_the_same(tmp_path):
    network = build(TINY_WIDTH, seed=9)
    save_network(network, tmp_path / "n.safetensors", {"width": str(TINY_WIDTH)})
    assert load_network(tmp_path / "n.safetensors", Runtime()).digest == digest_of(network.state_dict())


def not_a_number(network: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        network[0].conv.weight.fill_(float("nan"))
    return network


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda path: None, "must exist"),
        (lambda path: path.write_bytes(b""), "whole safetensors"),
        (lambda path: path.write_bytes(b"\x80\x04 pickle"), "whole safetensors"),
        (lambda path: save_network(torch.nn.Sequential(torch.nn.Linear(2, 2)), path, {}), "layers conv1_1"),
        (lambda path: save_network(build(TINY_WIDTH)[:12], path, {}), "layers of its network"),
        (lambda path: save_network(not_a_number(build(TINY_WIDTH)), path, {}), "finite"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path, make, rule):
    path = tmp_path / "mine.safetensors"
    make(path)
    with pytest.raises(InputError, match=rule):
        load_network(path, Runtime())
