"""A training that dies goes on from its last epoch, to the same network bit for bit."""

import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, TINY_NETWORK, TINY_WIDTH
from fer import baseline
from fer.adaptation.methods import named
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.baseline_job import BaselineConfig
from fer.config import AdaptationConfig
from fer.model import weights
from fer.model.vgg import build
from fer.runtime import Runtime
from fer.training import checkpoint
from fer.training.checkpoint import Checkpoints
from fer.training.loop import Diverged
from fer.training.optimisers import make_optimiser

SETTINGS = {
    "momentum": {},
    "AdamW": {"optimiser": "adamw", "lr": 0.002},
    "mixup": {"mixup": 0.4},
    "SAM": {"sam": 0.05},
    "head first": {"head_first": 0.6},
    "averaging, head first": {"averaging": 0.1, "head_first": 0.3},
    "two members": {"members": 2},
    "anchor": {"anchor": "weights", "anchor_weight": 0.1},
    "frozen": {"frozen_layers": 10},
}


class Killed(BaseException):
    """Ends a training as a signal would: nothing of it catches this."""


@pytest.fixture(autouse=True)
def at_every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)


def die_after(epochs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    offer, count = Checkpoints.offer, iter(range(1, 100))

    def offer_and_die(self, *state):
        offer(self, *state)
        if next(count) == epochs:
            raise Killed

    monkeypatch.setattr(Checkpoints, "offer", offer_and_die)


def adapt_and_die(setting: AdaptationTask, config: AdaptationConfig, after: int) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        die_after(after, patch)
        adapt(setting, config, seed=5)


def left(setting: AdaptationTask) -> list[Path]:
    assert setting.cache is not None
    return list((setting.cache / "checkpoints").glob("*"))


DEFAULT = ("AdamW", "two members")
ALL_SETTINGS = [name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]


@pytest.mark.parametrize("name", ALL_SETTINGS)
def test_a_training_that_died_ends_as_if_it_had_not(setting, name):
    config = replace(named("RE", TINY), epochs=6, **SETTINGS[name])
    undisturbed = adapt(setting, config, seed=5)

    adapt_and_die(setting, config, after=4)
    assert 1 <= len(left(setting)) <= 2 * config.members

    rungs: list[float] = []

    def note_rung(share: float, row: object, prospects: object) -> bool:
        rungs.append(share)
        return False

    resumed = adapt(setting, config, 5, note_rung)

    assert resumed.curve == undisturbed.curve and resumed.measures == undisturbed.measures
    resumed_tensors = resumed.network.state_dict()
    for tensor_name, tensor in undisturbed.network.state_dict().items():
        assert torch.equal(tensor, resumed_tensors[tensor_name]), tensor_name
    assert rungs == ([0.5] if config.members == 1 else [])  # told once more, since the copy of a trial knows of none
    assert not left(setting)


def test_a_training_that_died_tells_again_what_networks_on_the_way_were_at_its_rung(setting):
    config = replace(named("RE", TINY), epochs=6)
    plan = EvaluationPlan(interpolation_points=((0.5, 0.0), (0.0, 1.0)))
    told: list[list[list[float]]] = []

    def on_rung(share, row, prospects):
        told.append([prospect.score() for prospect in itertools.islice(prospects, 1)])
        return False

    undisturbed = adapt(setting, config, 5, on_rung, plan)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        die_after(4, patch)
        adapt(setting, config, 5, on_rung, plan)

    resumed = adapt(setting, config, 5, on_rung, plan)

    assert len(told) == 3 and told[0] == told[1] == told[2] and len(told[0]) == 1
    assert resumed.curve == undisturbed.curve and resumed.measures == undisturbed.measures


@pytest.mark.parametrize("name", DEFAULT)
def test_a_training_that_died_after_its_last_epoch_is_scored_all_the_same(setting, name):
    config = replace(named("RE", TINY), epochs=6, **SETTINGS[name])
    undisturbed = adapt(setting, config, seed=5)
    adapt_and_die(setting, config, after=6)

    resumed = adapt(setting, config, seed=5)

    assert resumed.curve == undisturbed.curve and resumed.measures == undisturbed.measures
    assert resumed.confusion == undisturbed.confusion and resumed.logits.keys() == undisturbed.logits.keys()
    assert not left(setting)


def test_it_does_not_begin_again(setting, monkeypatch):
    config = replace(named("RE", TINY), epochs=6)
    adapt_and_die(setting, config, after=5)
    begun: list[tuple[int, int]] = []
    resume = Checkpoints.resume

    def resume_and_note(self, *state):
        begun.append(resume(self, *state))
        return begun[-1]

    monkeypatch.setattr(Checkpoints, "resume", resume_and_note)
    adapt(setting, config, seed=5)

    assert begun == [(15, 5)]


def test_a_training_that_diverges_leaves_nothing(setting):
    with pytest.raises(Diverged):
        adapt(setting, replace(named("RE", TINY), lr=1e9), seed=5)
    assert not left(setting)


def test_a_short_training_leaves_none(setting, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 60.0)
    adapt_and_die(setting, named("RE", TINY), after=3)
    assert not left(setting)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """Checkpoints of epochs 1 and 2, whose networks differ in a bias."""
    checkpoints = Checkpoints(tmp_path, "k", every=0)
    network, optimiser = made()
    for epoch in (1, 2):
        mark(network).data.fill_(epoch)
        checkpoints.offer(10 * epoch, epoch, network, optimiser, np.random.default_rng(0))
    return checkpoints


def mark(network) -> torch.Tensor:
    return list(network.parameters())[-1]


def made():
    network = build(TINY_WIDTH, seed=1)
    return network, make_optimiser(network, AdaptationConfig())


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "text", "gone"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(checkpoints, harm):
    path = checkpoints._path(2)
    content = bytearray(path.read_bytes())
    if harm == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        content[middle] ^= 1
        path.write_bytes({"cut": content[:middle], "flip": content, "empty": b"", "text": b"hello"}[harm])

    network, optimiser = made()
    assert checkpoints.resume(network, optimiser, None) == (10, 1)
    assert float(mark(network).detach().flatten()[0]) == 1


def test_processes_go_on_from_the_epoch_that_all_have(checkpoints):
    checkpoints.agree = lambda epoch: min(epoch, 1)
    assert checkpoints.resume(*made(), None) == (10, 1)

    checkpoints.agree = lambda epoch: 0
    assert checkpoints.resume(*made(), None) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_baseline_whose_processes_are_killed_goes_on_to_the_same_weights(source, tmp_path, processes):
    config = BaselineConfig(network=TINY_NETWORK, epochs=30, processes=processes, batch_size=20, patience=100)
    undisturbed = weights.load_network(baseline.find_or_train(source, config, Runtime(), tmp_path / "whole"), Runtime())
    code = (
        "import sys; from pathlib import Path; from fer.baseline import find_or_train\n"
        "from fer.architecture import Architecture\n"
        "from fer.baseline_job import BaselineConfig\n"
        "from fer.datasets import Dataset; from fer.runtime import Runtime\n"
        "if __name__ == '__main__':\n"
        f"    source = Dataset('source', 'synthetic', {source.digest!r}, Path({str(source.folder)!r}), {{}})\n"
        f"    say = lambda report: print(report.number, flush=True)\n"
        f"    find_or_train(source, {config!r}, Runtime(), Path(sys.argv[1]), say)\n"
    )
    script = tmp_path / "train.py"
    script.write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen:
        command = [sys.executable, str(script), str(tmp_path / "torn")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)

    process = start()
    assert process.stdout is not None

    for line in process.stdout:
        if line.startswith("7\n"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    said, _ = start().communicate(timeout=200)
    assert 7 <= int(said.split()[0]) <= 9, said

    (path,) = (tmp_path / "torn").glob("*.safetensors")
    assert weights.load_network(path, Runtime()).digest == undisturbed.digest
    assert not list((tmp_path / "torn" / "checkpoints").glob("*/*"))
