"""Adaptations of any network: cached as uncached, frozen bit for bit, every method; files that say what they hold."""

import importlib.util
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from conftest import TINY, losses
from fer import baseline
from fer.adaptation.cross_validation import adapt_on_folds
from fer.adaptation.methods import METHODS, STRATEGIES, named
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask, open_source
from fer.architecture import VGG13
from fer.baseline import FusedNetworks
from fer.baseline_job import BaselineConfig
from fer.baseline_training import _make_average
from fer.cache_places import BLOCKS
from fer.config import AdaptationConfig, ViewRecipe, from_flat, to_flat
from fer.datasets import Dataset
from fer.errors import InputError
from fer.evaluation.similarity import layer_similarities
from fer.features.cache import frozen_features
from fer.features.feature_file import FeatureFile
from fer.model import weights
from fer.model.blocks import find_blocks
from fer.model.chains import NetworkRequest, build_chain, find_architecture, request
from fer.model.equality import NORMS
from fer.model.inputs import to_tensor
from fer.model.interpolation import interpolation_shares
from fer.model.layout import channels_last, is_image
from fer.model.onednn import fuse_batch_norm, is_known
from fer.model.vgg import build
from fer.model.weights import Baseline, baseline_of
from fer.predict import load_network, predict_images
from fer.runtime import Runtime
from made_networks import is_one_line
from recorder import Recorder

OWN = "own_network:small"
FAST = [OWN, "shufflenet_v2_x0_5"]
SLOW = [
    "squeezenet1_1", "resnet18", "mobilenet_v3_small", "mobilenet_v2", "mnasnet0_5", "efficientnet_b0",
    "regnet_y_400mf", "googlenet", "small_families:densenet", "small_families:vgg", "small_families:convnext",
    "small_families:swin", "small_families:vit",
    "timm:resnet18", "timm:efficientnet_b0", "timm:convnext_atto", "timm:vit_tiny_patch16_224", "timm:repvgg_a0",
]  # fmt: skip
GENTLE = replace(TINY, lr=1e-3, epochs=2)
POINTS = EvaluationPlan(interpolation_points=((0.5, 0.0), (0.0, 1.0)))


def make_baseline(name: str, folder: Path) -> Baseline:
    """Returns a network with random weights and statistics of its own."""
    if name.startswith("timm:") and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    architecture = find_architecture(request(NetworkRequest(name, VGG13.size, VGG13.classes)), folder)
    chain = build_chain(architecture, 3, folder)
    torch.manual_seed(3)
    with torch.no_grad():
        for _ in range(3):
            chain.network.train()(torch.randn(8, *architecture.images.shape))
    chain.network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return baseline_of(chain, architecture)


Make = Callable[..., AdaptationTask]


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


@pytest.fixture
def make_task(source: Dataset, target: Dataset, blocks: Path, tmp_path: Path) -> Make:
    def make(name: str, cached: bool = True) -> AdaptationTask:
        baseline = make_baseline(name, blocks)
        return AdaptationTask(baseline, source, target, Runtime(), tmp_path / "cache" if cached else None)

    return make


def base_of(task: AdaptationTask, config: AdaptationConfig = GENTLE) -> AdaptationConfig:
    return replace(config, depth=task.baseline.architecture.depth)


# Caches and frozen blocks.


def check_caching(make_task: Make, name: str, bn: Literal["train", "frozen"], lr: float = GENTLE.lr) -> None:
    """Compares cached with uncached adaptation at three cuts."""
    tasks = [make_task(name, cached) for cached in (True, False)]
    depth = tasks[0].baseline.architecture.depth
    for frozen in sorted({max(1, depth.blocks // 4), depth.blocks // 2, depth.head}):
        config = replace(base_of(tasks[0]), frozen_layers=frozen, fusion_ratio=0.5, bn=bn, lr=lr)
        cached, uncached = (adapt(task, config, seed=5) for task in tasks)

        np.testing.assert_allclose(losses(cached), losses(uncached), atol=1e-5)
        for domain in ("source", "target"):
            np.testing.assert_allclose(cached.logits[domain], uncached.logits[domain], atol=1e-5, rtol=1e-5)
    assert list((tasks[0].cache / "features").rglob("cut*.features"))  # type: ignore[operator]


@pytest.mark.parametrize("bn", ["train", "frozen"])
@pytest.mark.parametrize("name", FAST)
def test_cached_training_equals_uncached_training_of_a_small_network(name, bn, make_task):
    check_caching(make_task, name, bn)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_cached_training_equals_uncached_training_of_a_family(name, make_task):
    # Batch statistics of untrained networks multiply the rounding of kernels by thousands, where variances are small.
    # Large steps do so too.
    check_caching(make_task, name, "frozen", lr=1e-4)


class Tokens(nn.Module):
    """Patches of an image as tokens, with their positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 12, stride=12)
        self.positions = nn.Parameter(torch.randn(1, 16, 16))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.patches(images).flatten(2).transpose(1, 2) + self.positions


class Mixed(nn.Module):
    """A block of a transformer without its attention: what it computes is added to what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.linear = nn.Linear(16, 16)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.linear(self.norm(tokens))


def transformer(num_classes: int) -> nn.Module:
    """A network with a stream of residuals and no batch-norm."""
    return nn.Sequential(Tokens(), Mixed(), Mixed(), nn.Flatten(), nn.Linear(256, num_classes))


@pytest.mark.parametrize(
    ("name", "kept"), [("test_fer_chain_adaptation:transformer", torch.float32), (OWN, torch.bfloat16)], ids=str
)
def test_in_bf16_features_of_a_network_without_batch_norm_are_kept_as_they_are_computed(name, kept, make_task):
    task = replace(make_task(name), runtime=Runtime("cpu", "bf16"))
    network = task.baseline.network
    split = task.open_split("target", "train")
    images = np.arange(4)
    views = np.zeros(4, int)

    source = open_source(task, split, 2, ViewRecipe(), 1)
    source.prepare(images, views)
    found = source.batch(images, views)

    # The cache computes full batches.
    full = np.resize(images, 128)
    pixels = channels_last(open_source(task, split, 0, ViewRecipe(), 1).batch(full, np.zeros(128, int)))
    computed = frozen_features(network, 0, 2, pixels, task.runtime)[:4]
    assert found.dtype == kept
    assert torch.equal(found, computed.to(kept))
    assert not torch.equal(computed.bfloat16().float(), computed.float()) or kept == torch.bfloat16
    assert task.baseline.chain.has_batch_norm == (kept == torch.bfloat16)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_without_batch_norm_is_trained_on_the_features_that_are_kept(precision, make_task):
    task = replace(make_task("test_fer_chain_adaptation:transformer"), runtime=Runtime("cpu", precision))
    uncached = replace(task, cache=None)
    config = replace(base_of(task), frozen_layers=2, fusion_ratio=0.5)

    results = [losses(adapt(each, config, seed=5)) for each in (task, uncached)]

    np.testing.assert_allclose(results[0], results[1], atol=1e-5 if precision == "fp32" else 5e-3)


def test_an_anchor_writes_no_features_that_a_study_has_no_room_for(make_task):
    task = make_task(OWN)
    config = named("LF", base_of(task))
    wanted = adapt(task, config, seed=5)
    written = set((task.cache / "features").rglob("cut*.features"))

    small = replace(task, feature_room=0, cache=task.cache.parent / "small")
    found = adapt(small, config, seed=5)

    np.testing.assert_allclose(losses(found), losses(wanted), atol=1e-5)
    depth = task.baseline.architecture.depth
    assert f"cut{depth.last:02d}.features" in {path.name for path in written}
    assert {path.name for path in small.cache.rglob("cut*.features")} == {f"cut{depth.blocks:02d}.features"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_changes_the_blocks_that_it_trains_and_nothing_else(strategy, make_task):
    task = make_task(OWN)
    config = named(strategy, base_of(task))
    architecture = task.baseline.architecture

    adapted = adapt(task, config, seed=5)

    before, after = task.baseline.network.state_dict(), adapted.network.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(architecture.blocks[config.frozen_layers :])
    expected = {"BL": len(architecture.blocks), "FC": architecture.head, "FC+CL": architecture.head - 1}
    assert config.frozen_layers == expected.get(strategy, 0)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_adapts_a_network_of_the_users_own(name, make_task):
    task = make_task(OWN)
    adapted = adapt(task, named(name, base_of(task)), seed=5, plan=POINTS)

    assert np.isfinite(adapted.logits["target"]).all()
    adapts = named(name, base_of(task)).trains
    assert len(adapted.interpolated) == (len(POINTS.interpolation_points) if adapts else 0)


def test_estimated_statistics_are_those_of_every_kind_of_batch_norm(make_task):
    task = make_task(OWN)
    config = replace(base_of(task), lr=0.0, bn="recompute")

    adapted = adapt(task, config, seed=5)

    pairs = zip(task.baseline.network.modules(), adapted.network.modules(), strict=True)
    norms = [(before, after) for before, after in pairs if isinstance(before, NORMS)]
    assert {type(before) for before, _ in norms} == {nn.BatchNorm1d, nn.BatchNorm2d}
    assert all(not torch.equal(before.running_mean, after.running_mean) for before, after in norms)


def test_similarity_is_measured_of_every_block(make_task):
    task = make_task(OWN)
    images = task.source.open("validation").images
    image_format = task.baseline.architecture.images
    found = layer_similarities(task.baseline.network, task.baseline.network, images, image_format)

    assert tuple(found) == task.baseline.architecture.blocks
    assert list(found.values()) == pytest.approx([1.0] * len(found))


# Positions.


@pytest.mark.parametrize("blocks", [2, 3, 5, 10, 13, 39])
@pytest.mark.parametrize("name", METHODS)
def test_methods_fit_networks_of_every_depth(name, blocks):
    base = AdaptationConfig(depth=replace(VGG13.depth, blocks=blocks, head=blocks - 1, normed=0))
    config = named(name, base)

    assert set(config.trained) <= set(range(blocks))
    assert config.trains == (name not in ("BL", "AdaBN"))
    assert from_flat(to_flat(config)) == config


@pytest.mark.parametrize("blocks", [5, 10, 13, 39])
def test_the_first_block_has_the_same_share_of_the_last_ones_rate_whatever_the_depth(blocks):
    base = AdaptationConfig(depth=replace(VGG13.depth, blocks=blocks, head=blocks - 1))
    decay = named("LLRD", base).layer_decay

    assert decay ** (blocks - 1) == pytest.approx(named("LLRD", AdaptationConfig()).layer_decay ** 12)


@pytest.mark.parametrize("settings", [{"frozen_layers": 6}, {"frozen_from": 3, "frozen_layers": 3}])
def test_more_frozen_layers_than_a_network_has_blocks_are_refused(settings):
    with pytest.raises(InputError) as found:
        AdaptationConfig(depth=replace(VGG13.depth, blocks=5, head=4), **settings)
    assert is_one_line(found.value)


def test_coefficients_reach_both_ends_of_any_depth():
    assert interpolation_shares(5, 0.2, 0.8) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


# Layouts.


def test_only_images_are_laid_out_channels_last():
    image = torch.zeros(2, 8, 6, 6)
    assert channels_last(image).is_contiguous(memory_format=torch.channels_last)

    for others in (torch.zeros(2, 6, 6, 8), torch.zeros(2, 9, 16), torch.zeros(2, 5)):
        assert channels_last(others) is others
    assert not is_image((6, 6, 8))


@pytest.mark.parametrize("shape", [(8, 6, 6), (6, 6, 8), (6, 6, 6), (8, 1, 1), (1, 1, 8), (9, 16), (5,)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_of_any_shape_are_read_as_they_were_written(shape, precision, tmp_path):
    runtime = Runtime("cpu", precision)
    features = torch.randn(4, *shape).to(runtime.dtype)
    file = FeatureFile(tmp_path, 3, shape, 6, runtime)

    file.write(np.array([5, 0, 2]), features)

    found = file.read(np.array([0, 2, 5]))
    assert torch.equal(found, features[[1, 2, 0]])
    if is_image(shape):
        assert found.is_contiguous(memory_format=torch.channels_last)


class Renamed(nn.Sequential):
    """A convolution layer by its names and parts, which computes something else."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs) + 1


def test_only_the_papers_layers_are_fused(make_task):
    assert is_known(build(1 / 16))
    modules = dict(build(1 / 16)[0].named_children())
    strided = nn.Conv2d(1, 4, 3, padding=1, bias=False, stride=2)
    reordered = {name: modules[name] for name in ("norm", "conv", "relu")}
    for changed in (reordered, modules | {"conv": strided}, modules | {"relu": nn.GELU()}):
        assert not is_known(nn.Sequential(nn.Sequential(OrderedDict(changed))))
    assert not is_known(nn.Sequential(Renamed(OrderedDict(modules))))

    network = make_task(OWN).baseline.network
    images = torch.randn(4, 3, 48, 48)
    fused = fuse_batch_norm(network, torch.bfloat16)
    assert torch.equal(fused(images), network(images))


# Files.


def test_a_network_is_read_as_its_file_says(make_task, blocks, tmp_path):
    task = make_task("shufflenet_v2_x0_5")
    path = tmp_path / "n.safetensors"
    weights.save_blocks(task.baseline, task.baseline.network, path, {"strategy": "BL"})

    found = weights.load_network(path, Runtime(), blocks=blocks)

    assert found.digest == task.baseline.digest
    assert found.architecture == task.baseline.architecture
    faces = task.source.open("validation").images
    inputs = to_tensor(torch.from_numpy(np.array(faces)), task.baseline.architecture.images)
    wanted = task.baseline.network(inputs).softmax(1)
    np.testing.assert_allclose(predict_images(load_network(path), faces), wanted.numpy(), atol=1e-5)


def test_a_file_does_not_choose_which_code_runs(make_task, tmp_path):
    task = make_task(OWN)
    path = tmp_path / "n.safetensors"
    weights.save_blocks(task.baseline, task.baseline.network, path, {})

    for other in ("", "other:function", "own_network"):
        with pytest.raises(InputError, match="names a function") as found:
            load_network(path, other)
        assert is_one_line(found.value)
    assert predict_images(load_network(path, OWN), np.zeros((2, 48, 48), np.uint8)).shape == (2, 7)


WRONG = {
    "another network": ({"network": "resnet18"}, "holds the"),
    "no such network": ({"network": "resnet19"}, "Did you mean resnet18"),
    "no network's name": ({"network": "\x1b[2J"}, "a network is"),
    "other classes": ({"classes": "8"}, "of another shape"),
    "no classes": ({"classes": "0"}, "classes 0"),
    "classes in words": ({"classes": "seven"}, "classes seven"),
    "classes of another script": ({"classes": "٧"}, "classes"),
    "many classes": ({"classes": "9" * 5000}, "classes 9"),
    "no size": ({"size": "-1"}, "size -1"),
    "a huge size": ({"size": "9999"}, "16 to 1024"),
    "four channels": ({"channels": "4"}, "channels 4"),
    "a mean in words": ({"mean": "grey"}, "mean grey"),
    "two means": ({"mean": "0.5,0.5"}, "mean 0.5,0.5"),
    "no deviation": ({"std": "0"}, "std 0"),
    "a deviation that is no number": ({"std": "nan"}, "std nan"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_whose_header_fits_no_network_is_refused_in_one_line(case, make_task, tmp_path):
    changes, reason = WRONG[case]
    task = make_task("shufflenet_v2_x0_5")
    path = tmp_path / "n.safetensors"
    weights.save_blocks(task.baseline, task.baseline.network, path, changes)

    with pytest.raises(InputError, match=reason) as found:
        weights.load_network(path, Runtime())
    assert is_one_line(found.value)


def test_a_network_whose_code_changed_is_not_taken_for_the_one_of_the_study(make_task):
    architecture = make_task(OWN).baseline.architecture
    with pytest.raises(InputError, match="stays what it was") as found:
        build_chain(replace(architecture, structure="another"), 0)
    assert is_one_line(found.value)


def test_positions_that_are_whole_numbers_stay_as_they_are_in_an_average():
    class Counted(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(2, 2), nn.BatchNorm1d(2))
            self.register_buffer("positions", torch.arange(1000))

    network = Counted().train()
    average = _make_average(network, 50)
    for _ in range(40):
        network(torch.randn(4, 2))
        average.update_parameters(network)

    assert torch.equal(average.module.positions, torch.arange(1000))
    assert not torch.equal(average.module[1].running_mean, torch.zeros(2))
    assert average.module[1].num_batches_tracked > 0


class Viewing(nn.Module):
    """A block that takes its maps for contiguous."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.linear = nn.Linear(4 * 8 * 8, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.conv(images)
        return self.linear(maps.view(len(maps), -1)) + maps.mean([1, 2, 3])[:, None]


def test_a_network_that_needs_contiguous_images_is_told_how_to_mend_it():
    network = nn.Sequential(Viewing(), nn.ReLU(), nn.Linear(8, 7))
    with pytest.raises(InputError, match="channels last") as found:
        find_blocks(network, (3, 8, 8))
    assert is_one_line(found.value) and "flatten" in str(found.value)


# Whole trainings.


def recipe_of(task: AdaptationTask) -> BaselineConfig:
    return BaselineConfig(epochs=1, processes=1, batch_size=20, network=task.baseline.architecture)


def test_a_baseline_of_the_users_own_network_is_trained_once_and_found_again(make_task, source, tmp_path):
    recipe = recipe_of(make_task(OWN))
    passes = Recorder()

    path = baseline.find_or_train(source, recipe, Runtime(), tmp_path, on_pass=passes)
    assert baseline.find_or_train(source, recipe, Runtime(), tmp_path, on_pass=passes) == path
    assert len(passes.calls) == 1

    found = weights.load_network(path, Runtime(), needs_checksum=True, blocks=tmp_path / BLOCKS, own=OWN)
    assert found.architecture == recipe.network
    others = {
        baseline.baseline_digest(source, replace(recipe, network=network), Runtime())
        for network in (VGG13, recipe.network, replace(recipe.network, structure="another"))
    }
    assert len(others) == 3


def test_a_fused_start_and_averages_over_folds_are_of_the_users_own_network(make_task, tmp_path):
    task = make_task(OWN)
    fused = FusedNetworks(recipe_of(task), tmp_path / "baselines")
    started = adapt(replace(task, find_fused=fused.find_or_train), named("FU-first", base_of(task)), seed=5)
    assert tuple(name for name, _ in started.network.named_children()) == task.baseline.architecture.blocks

    tasks = [replace(task, target=task.target.divided(fold, 2, 0)) for fold in (0, 1)]
    averaged = adapt_on_folds(tasks, named("RE", base_of(task)), seed=5, plan=POINTS)
    assert len(averaged.interpolated) == len(POINTS.interpolation_points)
    assert np.isfinite(averaged.logits["target"]).all()


def test_a_training_from_scratch_has_weights_of_its_seed(make_task):
    task = make_task(OWN)
    config = replace(base_of(task), init="scratch", epochs=0.5)
    first, again, other = (adapt(task, config, seed).logits["target"] for seed in (5, 5, 6))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
