"""What every strategy owes: frozen is frozen, caching is exact, penalties are their closed forms, ends are exact."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from conftest import TINY
from fer.adaptation.anchors import open_baseline_outputs
from fer.adaptation.draws import Draws
from fer.adaptation.evaluation import baseline_logits, feature_cut, validation_labels
from fer.adaptation.methods import METHODS, named
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.config import OUTPUT_ANCHORS, AdaptationConfig, canonical, from_flat, to_flat
from fer.datasets import Dataset, Split
from fer.errors import InputError
from fer.model import interpolation
from fer.runtime import Runtime
from fer.training import penalties
from made_networks import distance

NAMES = list(METHODS)
SMALL = replace(TINY, replay_size="all", epochs=2)


def preset(name: str) -> AdaptationConfig:
    config = named(name, SMALL)
    if config.replay_size == "all":
        return config
    return replace(config, replay_size=21)


def equal_layers(first: torch.nn.Sequential, second: torch.nn.Sequential) -> set[str]:
    """Returns the layers in which two networks are bit-identical."""
    tensors = second.state_dict()
    different = set()
    for name, tensor in first.state_dict().items():
        if not torch.equal(tensor, tensors[name]):
            layer, _, _ = name.partition(".")
            different.add(layer)
    return set(VGG13.blocks) - different


@pytest.fixture(scope="module")
def adapted(source, target, baseline, tmp_path_factory):
    """Every preset adapted with and without a cache."""
    cached = AdaptationTask(baseline, source, target, Runtime(), tmp_path_factory.mktemp("cache"))
    uncached = replace(cached, cache=None)
    results = {}
    for name in NAMES:
        config = preset(name)
        results[name] = [adapt(cached, config, 5), adapt(uncached, config, 5)]
    return results


@pytest.mark.parametrize("name", NAMES)
def test_frozen_layers_are_bit_identical_and_the_others_change(adapted, baseline, name):
    result, _ = adapted[name]
    config = preset(name)
    frozen = {VGG13.blocks[layer] for layer in range(len(VGG13.blocks)) if layer not in config.trained}

    untouched = equal_layers(result.network, baseline.network)

    assert untouched >= frozen

    if config.trains:
        assert untouched == frozen


@pytest.mark.parametrize("name", NAMES)
def test_training_is_the_same_with_and_without_the_cache(adapted, name):
    cached, uncached = adapted[name]
    losses = [row["loss"] for row in cached.curve if "loss" in row]
    uncached_losses = [row["loss"] for row in uncached.curve if "loss" in row]

    # The baseline's outputs are computed in other batches for a cache: their last bits differ (below), and training
    # magnifies that in networks as small as these.
    near = 1e-2 if preset(name).anchor in OUTPUT_ANCHORS else 1e-5

    np.testing.assert_allclose(losses, uncached_losses, atol=near)

    if near == 1e-5:
        assert cached.measures == pytest.approx(uncached.measures, abs=1e-5)


@pytest.mark.parametrize("domain", ["source", "target"])
@pytest.mark.parametrize("cut", [VGG13.depth.last, len(VGG13.blocks)])
def test_baseline_outputs_are_the_same_with_and_without_the_cache(source, target, baseline, tmp_path, domain, cut):
    cached = AdaptationTask(baseline, source, target, Runtime(), tmp_path)
    uncached = replace(cached, cache=None)
    config = preset("DER++")

    def outputs_of(task: AdaptationTask) -> torch.Tensor:
        draws = Draws(task, config, 5, feature_cut(task, config))
        schedule = draws.draw(5)
        outputs_of_step = open_baseline_outputs(draws, domain, schedule, cut)
        return torch.cat([outputs_of_step(step) for step in range(schedule.boundaries[-1])])

    outputs = outputs_of(cached)

    assert len(outputs) > 20
    assert outputs.std() > 0.01
    assert torch.allclose(outputs, outputs_of(uncached), atol=1e-5)


@pytest.mark.parametrize("name", ["EWC", "DER++", "SFA", "soup"])
def test_equal_seeds_give_equal_networks(adapted, setting, name):
    first, _ = adapted[name]

    again = adapt(setting, preset(name), 5)

    assert first.curve == again.curve
    assert equal_layers(first.network, again.network) == set(VGG13.blocks)


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_documented_recordable_and_canonical(name):
    assert "arXiv" in METHODS[name].reference

    config = preset(name)
    assert from_flat(to_flat(config)) == config
    assert canonical(canonical(config)) == canonical(config)


@pytest.mark.parametrize("name", [name for name in NAMES if not preset(name).fusion_ratio])
def test_without_fusion_no_source_image_is_touched(setting, monkeypatch, name):
    config = preset(name)
    if config.anchor in ("fisher", "mas"):
        pytest.skip("importances are measured on the source by definition")
    split = setting.source.open("train")
    watched = Split(np.asarray(split.images).view(Watched), split.labels, split.subjects)
    monkeypatch.setattr(Watched, "keys", [])
    original = type(setting.source).open

    def open_watched(self: Dataset, name: str) -> Split:
        if (self.name, name) == ("source", "train"):
            return watched
        return original(self, name)

    monkeypatch.setattr(type(setting.source), "open", open_watched)

    adapt(setting, config, 5)

    assert not Watched.keys


class Watched(np.ndarray):
    """An array that notes the keys by which it is read."""

    keys: ClassVar[list[Any]] = []

    def __getitem__(self, key):
        Watched.keys.append(key)
        return super().__getitem__(key)


def test_both_ends_of_the_way_are_exact(setting, baseline):
    plan = EvaluationPlan(interpolation_points=((0.0, 0.0), (0.5, 0.0), (1.0, 0.0)))

    result = adapt(setting, replace(SMALL, fusion_ratio=0.5), 5, plan=plan)

    start, middle, end = result.interpolated
    assert equal_layers(start.network, baseline.network) == set(VGG13.blocks)
    assert equal_layers(end.network, result.network) == set(VGG13.blocks)
    assert end.measures.items() <= result.measures.items()
    assert start.measures["retention"] == 1.0
    assert equal_layers(middle.network, baseline.network) == set()
    assert equal_layers(middle.network, result.network) == set()
    assert adapt(setting, replace(SMALL, alpha=0.0), 5).measures["retention"] == 1.0


def test_what_comes_out_half_way_is_the_point_half_way(setting):
    plan = EvaluationPlan(interpolation_points=((0.5, 0.0),))

    result = adapt(setting, SMALL, 5, plan=plan)
    half = adapt(setting, replace(SMALL, alpha=0.5), 5)

    middle = result.interpolated[0]
    assert equal_layers(middle.network, half.network) == set(VGG13.blocks)
    assert middle.measures.items() <= half.measures.items()


@pytest.mark.parametrize("answers", [[False], [True, False], [True, True]])
def test_ways_are_scored_where_the_end_or_the_first_leads_or_may_be_hoped_to(setting, answers):
    points = ((0.5, 0.0), (0.75, 0.0), (0.0, 1.0))
    evaluated = [0, 1, 3][sum(answers)]
    questions = []

    def objectives(measures):
        return [measures["source_val"], measures["target_val"]]

    def would_join_front(measures_of_networks):
        questions.append([objectives(measures) for measures in measures_of_networks])
        return answers[len(questions) - 1]

    plan = EvaluationPlan(interpolation_points=points, would_join_front=would_join_front)
    result = adapt(setting, SMALL, 5, plan=plan)

    assert [(network.alpha, network.slope) for network in result.interpolated] == list(points[:evaluated])

    # The first question is about the end, and about the first point's optimistic estimate.
    end = objectives(result.measures)
    estimate = []
    for domain, bonus in (("source", 0.035), ("target", 0.06)):
        labels = validation_labels(setting)[domain]
        baseline_accuracy = float(np.mean(baseline_logits(setting)[domain].argmax(1) == labels))
        noise = 2 * (0.1 / len(labels)) ** 0.5
        middle = (baseline_accuracy + result.measures[f"{domain}_val"]) / 2
        estimate.append(middle + max(bonus, noise))
    assert questions[0] == [end, pytest.approx(estimate)]

    # The second, if there is one, is about the end and the first point itself.
    assert questions[1:] == [[end, objectives(network.measures)] for network in result.interpolated[:1]]


def test_coefficients_grow_with_depth_by_the_slope():
    shares = interpolation.interpolation_shares(len(VGG13.blocks), 0.2, 0.8)
    assert np.allclose([shares[0], shares[-1]], [0.2, 1.0])
    assert np.allclose(np.diff(shares), 0.8 / 12)


def test_estimated_statistics_are_those_of_the_data(baseline):
    network = interpolation.interpolate(baseline.network, baseline.network, [1.0] * 13)
    batches = [torch.randn(64, 1, 48, 48, generator=torch.Generator().manual_seed(s)) for s in range(3)]

    interpolation.estimate_batch_norm(network, 0, [0], batches, Runtime())

    with torch.no_grad():
        outputs = [network.conv1_1.conv(batch) for batch in batches]
    mean = torch.stack([output.mean((0, 2, 3)) for output in outputs]).mean(0)
    norm = network.conv1_1.norm
    assert torch.allclose(norm.running_mean, mean, atol=1e-5)
    assert equal_layers(network, baseline.network) == set(VGG13.blocks[1:])
    assert not norm.training
    assert norm.momentum == 0.1


def test_averaging_with_the_start_moves_less(setting):
    free = adapt(setting, replace(SMALL, epochs=8, averaging=0.0), 5)
    pulled = adapt(setting, replace(SMALL, epochs=8, averaging=0.5), 5)

    assert distance(pulled.network, setting.baseline) < 0.8 * distance(free.network, setting.baseline)


def test_averaging_goes_on_while_the_head_is_trained_alone(setting):
    both = adapt(setting, replace(SMALL, epochs=4, averaging=0.5, head_first=0.5), 5)
    alone = adapt(setting, replace(SMALL, epochs=4, head_first=0.5), 5)

    assert 0 < distance(both.network, setting.baseline) < distance(alone.network, setting.baseline)


def test_the_head_alone_moves_first(setting):
    config = replace(SMALL, head_first=0.9, epochs=2)

    only_head = adapt(setting, replace(config, epochs=1, head_first=0.99), 5)

    assert equal_layers(only_head.network, setting.baseline.network) >= set(VGG13.blocks[:10])


def test_sharpness_aware_steps_of_no_radius_are_plain_ones_up_to_dropout(setting):
    plain = adapt(setting, replace(SMALL, sam=0.0), 5)
    barely = adapt(setting, replace(SMALL, sam=1e-9), 5)
    wide = adapt(setting, replace(SMALL, sam=0.5), 5)

    plain_distance = distance(plain.network, setting.baseline)
    assert distance(barely.network, setting.baseline) == pytest.approx(plain_distance, rel=0.3)
    assert equal_layers(plain.network, wide.network) == set()


def test_replay_is_balanced_over_the_expressions():
    labels = np.repeat(np.arange(7), [50, 3, 20, 40, 30, 10, 60])

    chosen = penalties.choose_balanced(labels, 35, np.random.default_rng(1))
    everything = penalties.choose_balanced(labels, 9999, np.random.default_rng(1))

    # All three images of the rare expression, and equally many of each of the others.
    counts = np.bincount(labels[chosen])
    assert len(chosen) == 35
    assert counts[1] == 3
    assert counts.max() - counts[counts > 3].min() <= 1
    assert np.array_equal(everything, np.arange(213))


@pytest.mark.parametrize(
    "knob",
    [
        {"frozen_from": 3, "frozen_layers": 12}, {"head_first": 1.0}, {"layer_decay": 0.0}, {"replay_size": -1},
        {"anchor": "love"}, {"anchor_weight": -1.0}, {"temperature": 0.0}, {"bn": "off"}, {"averaging": 1.0},
        {"sam": -1.0}, {"mixup": -0.1}, {"members": 0}, {"alpha": 1.5}, {"alpha": 0.5, "alpha_slope": 0.6},
    ],
)  # fmt: skip
def test_a_knob_out_of_range_is_named(knob):
    with pytest.raises(InputError, match="|".join(knob)):
        AdaptationConfig(**knob)


@pytest.mark.parametrize("knob", [{"mixup": 0.2, "anchor": "logits"}, {"init": "scratch", "alpha": 0.5}])
def test_knobs_that_contradict_each_other_are_refused(knob):
    with pytest.raises(InputError):
        AdaptationConfig(**knob)
