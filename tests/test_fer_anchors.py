"""Anchors: a penalty and its gradient are their closed forms, and a stronger one stays nearer to the baseline."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TINY
from fer.adaptation.methods import named
from fer.adaptation.procedure import adapt
from fer.model.vgg import build
from fer.told_progress import Announcement, listening
from fer.training import penalties
from made_networks import distance

SMALL = replace(TINY, replay_size="all", epochs=2)


def tiny_parameters(seed: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    shapes = {"a": (3, 4), "b": (5,)}
    return {name: torch.randn(shape, generator=rng, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.mark.parametrize("weighted", [False, True])
def test_the_weight_penalty_and_its_gradient_are_their_closed_forms(weighted):
    theta, start, omega = (tiny_parameters(seed) for seed in (1, 2, 3))
    omega = {name: tensor.square() for name, tensor in omega.items()}
    parameters = {name: tensor.clone().requires_grad_(True) for name, tensor in theta.items()}

    penalty = penalties.weight_penalty(parameters, start, omega if weighted else None)
    penalty.backward()

    factor = omega
    if not weighted:
        factor = {name: torch.ones_like(tensor) for name, tensor in omega.items()}
    expected = 0.0
    for name in theta:
        distance = (theta[name] - start[name]).numpy()
        expected += 0.5 * np.sum(factor[name].numpy() * distance**2)
    assert float(penalty.detach()) == pytest.approx(expected, rel=1e-6)
    for name, parameter in parameters.items():
        assert torch.allclose(parameter.grad, factor[name] * (theta[name] - start[name]))
    assert float(penalties.weight_penalty(start, start, omega)) == 0.0


def test_output_distances_are_their_closed_forms_and_zero_at_the_baseline():
    rng = np.random.default_rng(1)
    z, z0 = rng.normal(size=(2, 6, 7))
    t = 2.0

    def softened(logits: np.ndarray) -> np.ndarray:
        return np.exp(logits / t) / np.exp(logits / t).sum(1, keepdims=True)

    p = softened(z)
    p0 = softened(z0)
    kl = np.mean(np.sum(p0 * np.log(p0 / p), 1))
    logits = torch.from_numpy(z)
    baseline_logits = torch.from_numpy(z0)

    logit_distance = penalties.logit_distance(logits, baseline_logits, t)
    feature_distance = penalties.feature_distance(logits, baseline_logits)
    replay_distance = penalties.replay_distance(logits, baseline_logits)

    assert float(logit_distance) == pytest.approx(t**2 * kl, rel=1e-6)
    assert float(feature_distance) == pytest.approx(0.5 * np.mean(np.sum((z - z0) ** 2, 1)))
    assert float(replay_distance) == pytest.approx(np.mean((z - z0) ** 2))

    for distance_of in (
        lambda a, b: penalties.logit_distance(a, b, t),
        penalties.feature_distance,
        penalties.replay_distance,
    ):
        assert float(distance_of(logits, logits)) == pytest.approx(0.0, abs=1e-12)
        assert float(distance_of(logits, baseline_logits)) > 0


@pytest.mark.parametrize("kind", ["fisher", "mas"])
def test_importance_is_the_mean_of_each_samples_gradient_and_changes_nothing(baseline, kind):
    before = {name: tensor.clone() for name, tensor in baseline.network.state_dict().items()}
    inputs = torch.randn(5, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(5)

    importance = penalties.importance(baseline.network, kind, inputs, labels)

    assert all(torch.equal(tensor, before[name]) for name, tensor in baseline.network.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in baseline.network.parameters())

    # The definition, sample by sample.
    network = build(baseline.width)
    network.load_state_dict(before)
    network.eval()
    sums = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for index in range(5):
        logits = network(inputs[index : index + 1])[0]
        network.zero_grad()
        log_probability = torch.log_softmax(logits, 0)[labels[index]]
        output = log_probability if kind == "fisher" else (logits**2).sum()
        output.backward()
        for name, p in network.named_parameters():
            sums[name] += p.grad**2 if kind == "fisher" else p.grad.abs()

    mean = sum(total.sum() for total in sums.values()) / sum(total.numel() for total in sums.values())
    for name, total in sums.items():
        expected = (total / mean).clamp(max=penalties.LARGEST_IMPORTANCE)
        assert torch.allclose(importance[name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("least_spent", "least_told", "is_told"), [(0.0, 0.0, True), (0.0, 1e6, False), (1e6, 0.0, False)]
)
def test_importances_that_take_long_are_announced_once(setting, monkeypatch, least_spent, least_told, is_told):
    monkeypatch.setattr(Announcement, "LEAST_SPENT", least_spent)
    monkeypatch.setattr(Announcement, "LEAST_TOLD", least_told)
    told = []

    with listening(told.append):
        for _ in range(2):
            adapt(setting, named("EWC", SMALL), 5)

    assert len(told) == is_told
    for text in told:
        assert text.startswith("the Fisher information of ") and text.endswith("takes about 1 min")


def test_importances_are_computed_once_per_baseline(setting, monkeypatch):
    config = named("EWC", SMALL)
    first = adapt(setting, config, 5)
    monkeypatch.setattr(penalties, "importance", lambda *_: pytest.fail("computed again"))

    assert adapt(setting, config, 5).curve == first.curve


@pytest.mark.parametrize("anchor", ["weights", "fisher", "mas"])
def test_a_stronger_anchor_stays_nearer_to_the_baseline(setting, anchor):
    config = replace(SMALL, epochs=8, anchor=anchor)

    weak = adapt(setting, replace(config, anchor_weight=1e-6), 5)
    strong = adapt(setting, replace(config, anchor_weight=1.0), 5)

    assert distance(strong.network, setting.baseline) < 0.8 * distance(weak.network, setting.baseline)


@pytest.mark.parametrize("anchor, ratio", [("logits", 0.0), ("features", 0.0), ("replay", 0.5)])
def test_an_anchor_on_outputs_keeps_them_nearer(setting, anchor, ratio):
    config = replace(SMALL, epochs=8, fusion_ratio=ratio, anchor=anchor)
    split = setting.dataset("source" if anchor == "replay" else "target").open("train")
    images = torch.from_numpy(np.array(split.images)).float().unsqueeze(1).sub(128).div(64)
    cut = 12 if anchor == "features" else 13

    free = adapt(setting, replace(config, anchor_weight=0.0), 5)
    anchored = adapt(setting, replace(config, anchor_weight=3.0), 5)

    def distance_of_outputs(network: torch.nn.Sequential) -> float:
        with torch.no_grad():
            difference = network[:cut](images) - setting.baseline.network[:cut](images)
        return float(difference.square().mean())

    assert distance_of_outputs(anchored.network) < 0.8 * distance_of_outputs(free.network)
