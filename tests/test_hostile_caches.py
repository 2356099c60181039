"""Cached baselines, importances and features that are damaged or disappear: made again, never trusted."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from optuna.trial import FrozenTrial
from safetensors.torch import load_file, save_file

from conftest import TINY, TINY_NETWORK, TINY_WIDTH
from fer import baseline, tensor_files
from fer.adaptation.methods import named
from fer.adaptation.procedure import adapt
from fer.adaptation.task import open_source
from fer.baseline_job import BaselineConfig, Course
from fer.config import ViewRecipe
from fer.model import weights
from fer.runtime import Runtime
from fer.tensor_files import damage_of
from fer.training import penalties
from hostile import flipped
from made_networks import LONGEST_LINE, Tensors, safetensors
from made_study import made_info, made_trial
from recorder import Recorder
from study import report
from study.fronts import front_table
from study.tracking import models
from study.trials import pd, trials_table

CONFIG = BaselineConfig(network=TINY_NETWORK, epochs=1, processes=1)
COURSE = Course([0.5], 1.0, "passes")


def without_checksum(path: Path) -> None:
    metadata = {name: text for name, text in tensor_files.read_header(path).metadata.items() if name != "checksum"}
    save_file(load_file(path), path, metadata)


def in_the_middle(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(flipped(content, len(content) // 2))


HARMS: dict[str, Callable[[Path], object]] = {
    "one bit": in_the_middle,
    "first bit of the last number": lambda path: path.write_bytes(flipped(path.read_bytes(), -4)),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_text("hello"),
    "header is a list": lambda path: path.write_bytes(safetensors([])),
    "no checksum": without_checksum,
    "no tensors": lambda path: save_file({}, path),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "link to nothing": lambda path: (path.unlink(), path.symlink_to("nothing")),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_cached_baseline_is_trained_again_with_a_warning(harm, source, network, tmp_path, monkeypatch):
    train = Recorder(lambda *_: (network, COURSE))
    monkeypatch.setattr(baseline, "train_baseline", train)
    warned = []

    def obtain() -> Path:
        return baseline.find_or_train(source, CONFIG, Runtime(), tmp_path, on_damage=warned.append)

    path = obtain()
    whole = weights.load_network(path, Runtime(), needs_checksum=True).digest

    HARMS[harm](path)

    assert obtain() == path and train.count == 2
    assert obtain() == path and train.count == 2
    assert weights.load_network(path, Runtime(), needs_checksum=True).digest == whole
    if harm == "link to nothing":  # is as no file
        assert not warned
    else:
        (line,) = warned
        assert line.startswith("the cached baseline is damaged")


@pytest.mark.parametrize("harm", [name for name in HARMS if name != "no tensors"])
def test_damaged_cached_importances_are_computed_again(harm, tmp_path):
    compute = Recorder(lambda: {"a": torch.arange(100.0), "b": torch.ones(3, 3)})
    path = tmp_path / "importance" / "i.safetensors"
    for _ in range(2):
        penalties.cached_importance(path, compute)
    assert compute.count == 1

    HARMS[harm](path)
    for _ in range(2):
        found = penalties.cached_importance(path, compute)
        assert torch.equal(found["a"], torch.arange(100.0))
    assert compute.count == 2


def trials_of_front() -> list[FrozenTrial]:
    values = [(0.6, 0.3), (0.55, 0.5), (0.3, 0.55)]
    return [made_trial(number, values=pair) for number, pair in enumerate(values)]


@pytest.fixture
def front(tmp_path: Path, network: torch.nn.Sequential) -> pd.DataFrame:
    """A study's front of three networks, whose files are in models/."""
    table = front_table(trials_table(trials_of_front()))
    for model in table["model"]:
        weights.save_network(network, tmp_path / model, {"width": str(TINY_WIDTH)})
    return table


@pytest.mark.parametrize(
    "harm", [name for name in HARMS if name not in ("no checksum", "link to nothing", "no tensors")]
)
def test_a_damaged_network_of_a_front_is_told(harm, front, tmp_path):
    assert not models.damaged_networks(front, tmp_path)

    victim = front["model"][1]
    HARMS[harm](tmp_path / victim)
    damaged = models.damaged_networks(front, tmp_path)
    assert list(damaged) == [victim]

    line = models.damage_warning(damaged)
    assert victim in line and line.isprintable() and len(line) < LONGEST_LINE


def test_a_network_that_is_on_another_machine_is_not_damaged(front, tmp_path):
    (tmp_path / front["model"][0]).unlink()
    assert not models.damaged_networks(front, tmp_path)


def test_the_report_warns_of_damaged_networks(front, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "open_study", lambda *_: (made_info(), trials_of_front()))
    monkeypatch.setattr("study.reporting.export.export", lambda *_: [])
    command = [tmp_path.name, "--out", str(tmp_path.parent)]
    assert report.main(command) == 0 and not capsys.readouterr().err

    in_the_middle(tmp_path / front["model"][2])
    assert report.main(command) == 0

    said = capsys.readouterr().err
    assert said.startswith("warning: networks of the front are damaged") and front["model"][2] in said


TOLD = {
    "nothing": "{}",
    "no JSON": "hello",
    "list": "[]",
    "null": "null",
    "depth": "[" * 10**5,
    "no course": '{"seconds": 1, "ended_by": "passes"}',
    "empty course": '{"course": [], "seconds": 1, "ended_by": "passes"}',
    "course of texts": '{"course": ["many"], "seconds": 1, "ended_by": "passes"}',
    "course of truths": '{"course": [true], "seconds": 1, "ended_by": "passes"}',
    "no seconds": '{"course": [0.5], "seconds": NaN, "ended_by": "passes"}',
    "infinity": '{"course": [Infinity], "seconds": 1, "ended_by": "passes"}',
    "lists": '{"course": [[0.5]], "seconds": {}, "ended_by": []}',
    "another ending": '{"course": [0.5], "seconds": 1, "ended_by": "\\u001b[2J"}',
}


@pytest.mark.parametrize("case", TOLD)
def test_what_a_users_network_tells_of_its_training_is_a_course_or_nothing(case, network, tmp_path):
    path = tmp_path / "n.safetensors"
    save_file(network.state_dict(), path, {"baseline": TOLD[case]})
    assert baseline.course_of(path) is None


def test_what_the_own_baseline_tells_of_its_training_is_read(source, network, tmp_path, monkeypatch):
    course = Course([0.25, 0.5], 7.0, "passes")
    monkeypatch.setattr(baseline, "train_baseline", lambda *_: (network, course))
    assert baseline.course_of(baseline.find_or_train(source, CONFIG, Runtime(), tmp_path)) == course


# Features and other caches that disappear while they are used.


@pytest.fixture
def feed(setting):
    split = setting.open_split("target", "train")
    return lambda: open_source(setting, split, 10, ViewRecipe(), 1)


IMAGES, VIEWS = np.arange(14), np.zeros(14, int)


def delete(cache: Path) -> None:
    shutil.rmtree(cache / "features")


def delete_and_make_again(cache: Path) -> None:
    (bank,) = (cache / "features").iterdir()
    shutil.rmtree(bank)
    bank.mkdir()


def replace_by_empty_files(cache: Path) -> None:
    for path in (cache / "features").rglob("*.*"):
        path.unlink()
        path.touch()


LOSSES = {"deleted": delete, "made again": delete_and_make_again, "emptied": replace_by_empty_files}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_features_that_are_lost_are_computed_again_or_still_there(loss, moment, feed, setting):
    undisturbed = feed()
    undisturbed.prepare(IMAGES, VIEWS)
    wanted = undisturbed.batch(IMAGES, VIEWS)
    delete(setting.cache)

    disturbed = feed()
    if moment == "before":
        LOSSES[loss](setting.cache)
    disturbed.prepare(IMAGES[:7], VIEWS[:7])
    if moment == "between":
        LOSSES[loss](setting.cache)
    disturbed.prepare(IMAGES, VIEWS)
    if moment == "after":
        LOSSES[loss](setting.cache)
    assert torch.equal(disturbed.batch(IMAGES, VIEWS), wanted)

    later = feed()
    later.prepare(IMAGES, VIEWS)
    assert torch.equal(later.batch(IMAGES, VIEWS), wanted)
    assert torch.equal(disturbed.batch(IMAGES, VIEWS), wanted)


@pytest.mark.parametrize("lost", ["features", "importance", "."])
@pytest.mark.parametrize("strategy", ["FC+CL", *(pytest.param(name, marks=pytest.mark.slow) for name in ("FC", "FU"))])
def test_a_trial_whose_cache_is_deleted_while_it_trains_ends_as_if_it_were_not(
    strategy, lost, make_setting, monkeypatch
):
    monkeypatch.setattr(penalties, "IMPORTANCE_SAMPLES", 7)
    setting = make_setting()
    config = replace(named(strategy, TINY), epochs=2, anchor="fisher", anchor_weight=0.1)
    wanted = adapt(make_setting(cached=False), config, seed=5)

    def delete_at_half(share: float, row: dict[str, float], _: object) -> bool:
        shutil.rmtree(setting.cache / lost)
        return False

    found = adapt(setting, config, seed=5, on_rung=delete_at_half)
    np.testing.assert_allclose([row["loss"] for row in found.curve], [row["loss"] for row in wanted.curve], rtol=1e-5)

    again = adapt(setting, config, seed=5)
    assert again.curve == found.curve and again.measures == found.measures


def test_importances_whose_folder_is_deleted_while_they_are_computed_are_kept_all_the_same(tmp_path):
    path = tmp_path / "importance" / "i.safetensors"

    def compute() -> Tensors:
        shutil.rmtree(path.parent)
        return {"a": torch.ones(3)}

    assert torch.equal(penalties.cached_importance(path, compute)["a"], torch.ones(3))
    assert damage_of(path) is None


def test_a_baseline_whose_folder_is_deleted_while_it_trains_is_kept_all_the_same(
    source, network, tmp_path, monkeypatch
):
    folder = tmp_path / "baselines"

    def train(*_: object) -> tuple[torch.nn.Sequential, Course]:
        shutil.rmtree(folder)
        return network, COURSE

    monkeypatch.setattr(baseline, "train_baseline", train)

    assert damage_of(baseline.find_or_train(source, CONFIG, Runtime(), folder)) is None
