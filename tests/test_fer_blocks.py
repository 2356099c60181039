"""Images in the layout of oneDNN: the same networks, trainings and scores as without, where it is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from conftest import TINY
from fer.adaptation.methods import named
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.config import AdaptationConfig
from fer.model.onednn import fuse_batch_norm, to_onednn_layout
from fer.model.vgg import build, clone, cut_shapes
from fer.model.weights import paper_baseline
from fer.runtime import Runtime, _cpu_has_bf16
from fer.training import loop
from fer.training.loop import Diverged
from recorder import Recorder

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch is without oneDNN")

CUTS = [0, 1, 2, 5, 9, 10, 11]


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    """One with batch-norm statistics of its own and channels in whole blocks but for the first layer."""
    built = build(1 / 8, seed=1)
    built[0] = build(1 / 4, seed=1)[0]
    built[1] = build(1 / 4, seed=2)[1]
    built[2].conv = nn.Conv2d(16, built[2].conv.out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        built.train()(torch.randn(16, 1, 48, 48, generator=torch.Generator().manual_seed(1)))
    return built.eval().to(memory_format=torch.channels_last)


def inputs_at(network: nn.Sequential, cut: int) -> torch.Tensor:
    drawn = torch.randn(8, *cut_shapes(network)[cut], generator=torch.Generator().manual_seed(cut))
    return drawn.relu() if cut else drawn


@pytest.mark.parametrize("cut", CUTS)
def test_a_network_with_fused_batch_norm_answers_the_same(network, cut):
    rest = network[cut:]
    inputs = inputs_at(network, cut)

    with torch.no_grad():
        wanted = rest(inputs)
        fused = fuse_batch_norm(rest)(inputs)
        fused_in_layout = fuse_batch_norm(rest, torch.float32)(inputs)

    torch.testing.assert_close(fused, wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(fused_in_layout, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("where", ["conv1_1.conv.weight", "conv3_2.norm.running_var", "conv4_3.norm.bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_what_is_not_finite_stays_so_where_batch_norm_is_fused(network, where, value):
    inputs = inputs_at(network, 0)
    broken = clone(network)
    broken.state_dict()[where].fill_(value)

    with torch.no_grad():
        wanted = fuse_batch_norm(broken)(inputs)
        in_layout = fuse_batch_norm(broken, torch.float32)(inputs)

    torch.testing.assert_close(in_layout, wanted, rtol=1e-4, atol=1e-5, equal_nan=True)


def learnt(layers: nn.Sequential, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns outputs, gradients and statistics after one step of training."""
    torch.manual_seed(3)  # dropout
    inputs = inputs.clone().requires_grad_()
    outputs = layers(inputs)
    (outputs * torch.linspace(-1, 1, outputs.numel()).reshape(outputs.shape).to(outputs.dtype)).sum().backward()

    results = {"outputs": outputs.detach(), "inputs": inputs.grad}
    for name, tensor in (*layers.named_parameters(), *layers.named_buffers()):
        results[name.replace("conv.conv", "conv")] = tensor if tensor.grad is None else tensor.grad
    return results


@pytest.mark.parametrize("cut", CUTS)
def test_a_network_learns_the_same_and_keeps_its_parameters(network, cut):
    inputs = inputs_at(network, cut)
    layers = clone(network[cut:]).train()
    in_layout = to_onednn_layout(layers, torch.float32)

    exact = learnt(clone(network[cut:]).train().double(), inputs.double())
    wanted = learnt(clone(network[cut:]).train(), inputs)
    found = learnt(in_layout, inputs)

    assert wanted.keys() == found.keys() == exact.keys()
    for name, value in exact.items():
        length = float(value.double().norm()) + 1e-9
        error_of_wanted = float((wanted[name].double() - value).norm()) / length
        error = float((found[name].double() - value).norm()) / length
        # A rounding may change which side of a ReLU, or which pixel of a pool, is taken, and gradients with it.
        bound = 1e-4 if "running" in name else max(10 * error_of_wanted, 0.1 if cut < 5 else 5e-3)
        assert error < bound, (name, error, error_of_wanted)
    assert [id(p) for p in in_layout.parameters()] == [id(p) for p in layers.parameters()]
    assert int(dict(layers.named_buffers()).get("conv1_1.norm.num_batches_tracked", 1)) == 1 + (cut == 0)


@pytest.fixture
def wide(source, target, monkeypatch) -> AdaptationTask:
    """A setting whose network has channels in whole blocks, and which is told that fp32 gains by them."""
    network = build(1 / 4, seed=3)
    with torch.no_grad():
        network.train()(torch.randn(32, 1, 48, 48, generator=torch.Generator().manual_seed(1)))
    network.eval().requires_grad_(False)
    monkeypatch.setattr(loop, "_SMALL_BATCH", 1)
    return AdaptationTask(paper_baseline(network, 1 / 4), source, target, Runtime())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "name, settings",
    [
        *((name, {}) for name in ("RE", "FU", "LP-FT", "LLRD", "LF", "soup")),
        ("RE", {"sam": 0.05}),
        ("RE", {"mixup": 0.3}),
    ],
)
def test_an_adaptation_in_blocks_is_the_same_adaptation(wide, monkeypatch, name, settings, precision):
    if precision == "bf16" and not _cpu_has_bf16():
        pytest.skip("this processor has no bf16")
    wide = replace(wide, runtime=Runtime("cpu", precision))
    config = replace(named(name, replace(TINY, epochs=1, lr=0.001)), **settings)
    monkeypatch.setattr(Runtime, "onednn_dtype", None)
    wanted = adapt(wide, config, seed=5)
    to_onednn_layout = Recorder(loop.to_onednn_layout)
    monkeypatch.setattr(Runtime, "onednn_dtype", wide.runtime.dtype)
    monkeypatch.setattr(loop, "to_onednn_layout", to_onednn_layout)

    found = adapt(wide, config, seed=5)

    assert to_onednn_layout.count == config.members
    near_loss, near_logits = (1e-3, 0.02) if precision == "fp32" else (0.02, 0.1)
    for row, wanted_row in zip(found.curve, wanted.curve, strict=True):
        assert row.get("loss", 0) == pytest.approx(wanted_row.get("loss", 0), rel=near_loss)
    for domain, logits in wanted.logits.items():
        np.testing.assert_allclose(found.logits[domain], logits, atol=near_logits)


@pytest.mark.parametrize("settings", [{}, {"frozen_from": 10, "frozen_layers": 3}], ids=["all", "convolutions"])
@pytest.mark.parametrize("epochs", [0.01, 1])
def test_a_training_in_blocks_that_diverges_says_so(wide, monkeypatch, settings, epochs):
    monkeypatch.setattr(Runtime, "onednn_dtype", torch.float32)
    with pytest.raises(Diverged, match=r"learning rate 1e\+30"):
        adapt(wide, replace(TINY, lr=1e30, epochs=epochs, **settings), seed=5)


@pytest.mark.parametrize(
    "settings, width, taken",
    [
        ({}, 1 / 4, True),
        ({"frozen_layers": 2}, 1 / 4, True),
        ({"frozen_layers": 4}, 1 / 4, False),  # images are small from there on
        ({"frozen_layers": VGG13.head}, 1 / 4, False),
        ({"batch_size": 16}, 1 / 4, False),
        ({}, 1 / 8, False),  # blocks half empty
        ({"bn": "frozen"}, 1 / 4, False),  # no gradient through these batch-norms
        ({"frozen_from": 4, "frozen_layers": 9}, 1 / 4, False),
    ],
)
def test_blocks_are_for_what_is_quicker_so_and_possible(settings, width, taken):
    assert loop._suits_onednn_layout(build(width), AdaptationConfig(**settings)) == taken


@pytest.mark.parametrize(
    "device, precision, has, blocks",
    [
        ("cpu", "bf16", True, torch.bfloat16),
        ("cpu", "bf16", False, None),
        ("cpu", "fp32", True, None),
        ("cuda", "bf16", True, None),
    ],
)
def test_blocks_are_for_bf16_where_the_cpu_has_it(monkeypatch, device, precision, has, blocks):
    monkeypatch.setattr("fer.runtime.processor_has_bf16", lambda: has)

    assert Runtime(device, precision).onednn_dtype is blocks
