"""What must hold on a GPU: the same training as on a CPU, cached or not. `python -m pytest -m gpu`."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TINY
from fer.adaptation.methods import named
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.model.weights import paper_baseline
from fer.runtime import Runtime
from fer.training import checkpoint, cuda_graphs
from fer.training.checkpoint import Checkpoints

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
NAMES = ["FC", "FC+CL", "RE", "FU"]


def losses(baseline, source, target, runtime, cache, name, **changed):
    moved = paper_baseline(baseline.network.to(runtime.device), baseline.width)
    try:
        config = named(name, replace(TINY, epochs=2.0, **changed))
        return [row["loss"] for row in adapt(AdaptationTask(moved, source, target, runtime, cache), config, 5).curve]
    finally:
        baseline.network.to("cpu")


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_trains_as_a_cpu_does_up_to_dropout(baseline, source, target, tmp_path, name):
    devices = [Runtime("cpu"), Runtime("cuda"), Runtime("cuda", "bf16")]
    found = [losses(baseline, source, target, device, tmp_path / str(i), name) for i, device in enumerate(devices)]

    np.testing.assert_allclose(found[1], found[0], rtol=0.2)
    np.testing.assert_allclose(found[2], found[1], rtol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu_the_cache_changes_nothing(baseline, source, target, tmp_path, name):
    cached, plain = (losses(baseline, source, target, Runtime("cuda"), cache, name) for cache in (tmp_path, None))
    np.testing.assert_allclose(cached, plain, rtol=1e-3)


def test_no_training_step_waits_for_the_gpu(baseline, source, target, tmp_path, recwarn):
    runtime, waits = Runtime("cuda"), []
    for batch in (16, 8):  # twice the steps in as many epochs
        for measured in (False, True):  # features, graphs and libraries are there the second time
            torch.cuda.set_sync_debug_mode("warn" if measured else "default")
            recwarn.clear()
            try:
                losses(baseline, source, target, runtime, tmp_path, "RE", batch_size=batch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        waits.append(sum("synchronizing" in str(one.message) for one in recwarn))
    assert waits[0] == waits[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_steps_are_captured_and_change_nothing(  # noqa: PLR0913  # a fixture for each thing that a device may do
    baseline, source, target, tmp_path, monkeypatch, recwarn, name, precision
):
    runtime = Runtime("cuda", precision)
    cuda_graphs._OF_DEVICE.clear()
    found = [losses(baseline, source, target, runtime, tmp_path, name) for _ in range(2)]
    captured = list(cuda_graphs.graphs_of(runtime).graphs.values())
    assert captured and all(captured), [str(one.message) for one in recwarn]

    monkeypatch.setenv("FER_CUDA_GRAPHS", "0")
    wanted = losses(baseline, source, target, runtime, tmp_path, name)
    np.testing.assert_allclose(found, [wanted, wanted], rtol=0.02)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_a_training_that_died_on_a_gpu_goes_on_there(baseline, source, target, tmp_path, monkeypatch, optimiser):
    monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.0)
    offer = Checkpoints.offer

    def die(self, *state):
        offer(self, *state)
        raise KeyboardInterrupt

    config = replace(named("RE", TINY), epochs=4.0, optimiser=optimiser, lr=0.002)
    moved = paper_baseline(copy.deepcopy(baseline.network).to("cuda"), baseline.width)
    setting = AdaptationTask(moved, source, target, Runtime("cuda"), tmp_path)
    whole = adapt(setting, config, 5)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "offer", die)
        adapt(setting, config, 5)

    resumed = adapt(setting, config, 5)

    np.testing.assert_allclose([r["loss"] for r in resumed.curve], [r["loss"] for r in whole.curve], rtol=0.05)
