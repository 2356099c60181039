"""The baseline: trained once, found again, refused when it is not one."""

from dataclasses import replace

import pytest
import torch

from conftest import TINY_WIDTH
from fer import baseline
from fer.baseline import BaselineConfig, baseline_digest, find_or_train
from fer.errors import InputError
from fer.model.vgg import build
from fer.model.weights import load_network, save_network
from fer.runtime import Runtime, digest_of
from recorder import Recorder

CONFIG = BaselineConfig(width=TINY_WIDTH, epochs=2, processes=1, batch_size=20)


def test_it_is_trained_once_and_then_found(source, tmp_path):
    on_epoch = Recorder()
    path = find_or_train(source, CONFIG, Runtime(), tmp_path, on_epoch)
    written = path.stat().st_mtime_ns

    assert find_or_train(source, CONFIG, Runtime(), tmp_path, lambda *_: pytest.fail("trained again")) == path
    assert [epoch for epoch, _ in on_epoch.calls] == [1, 2] and path.stat().st_mtime_ns == written


def test_a_damaged_file_is_trained_anew(source, tmp_path):
    path = find_or_train(source, CONFIG, Runtime(), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])

    assert find_or_train(source, CONFIG, Runtime(), tmp_path).read_bytes()[-1000:] == whole[-1000:]


@pytest.mark.parametrize("change", [{"width": 0.1}, {"epochs": 3}, {"seed": 1}, {"processes": 2}, {"lr": 0.1}])
def test_the_hash_depends_on_every_choice(source, change):
    assert baseline_digest(source, CONFIG, Runtime()) != baseline_digest(source, replace(CONFIG, **change), Runtime())


def test_two_processes_share_the_work(source):
    on_epoch = Recorder()
    config = replace(CONFIG, processes=2, epochs=8, lr=0.005)

    baseline.train_baseline(source.open("train"), "x", config, Runtime(), on_epoch)

    losses = [loss for _, loss in on_epoch.calls]
    assert len(losses) == 8 and losses[-1] < 0.8 * losses[0]


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
        (lambda path: save_network(build(TINY_WIDTH)[:12], path, {}), "layers of fer.model.vgg"),
        (lambda path: save_network(not_a_number(build(TINY_WIDTH)), path, {}), "finite"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path, make, rule):
    path = tmp_path / "mine.safetensors"
    make(path)
    with pytest.raises(InputError, match=rule):
        load_network(path, Runtime())
