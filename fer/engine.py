"""The one training loop, and the adaptation of a baseline with it.

An adaptation freezes the leading layers, draws its whole schedule of samples beforehand from a seed, makes sure that
the frozen features of exactly these samples are in the bank, and then trains the remaining layers on them.
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer import prefix
from fer.adaptation import AdaptationConfig, ViewRecipe
from fer.datasets import Dataset, Split
from fer.errors import InputError
from fer.layers import LAYERS
from fer.metrics import measure
from fer.network import build, folded
from fer.prefix import Bank, Feed, Pixels, best_cut, channels_last, frozen_features
from fer.runtime import Runtime
from fer.schedule import Schedule, choose_amount, draw_schedule, learning_rate
from fer.seeding import seed_from

DOMAINS = ("target", "source")
RUNGS = (0.5, 1.0)
_EVALUATION_BATCH = 128


class Diverged(ArithmeticError):
    """The training loss stopped being a finite number."""


@dataclass(frozen=True)
class Baseline:
    """A network trained on the source, and the width it was built with."""

    network: nn.Sequential
    width: float
    digest: str


@dataclass(frozen=True)
class Setting:
    """What all adaptations of a study share.

    Attributes:
        baseline: Where every adaptation starts.
        source: The dataset whose memory is at stake.
        target: The dataset to adapt to.
        runtime: Device and precision.
        cache: Folder of the feature banks; None trains and evaluates from the pixels, with the same results.
    """

    baseline: Baseline
    source: Dataset
    target: Dataset
    runtime: Runtime
    cache: Path | None = None

    def dataset(self, domain: str) -> Dataset:
        """Returns the dataset of "source" or "target"."""
        return self.source if domain == "source" else self.target


@dataclass(frozen=True)
class Adapted:
    """What an adaptation leaves behind.

    Attributes:
        network: The adapted network, in evaluation mode.
        curve: A row per epoch with epoch and loss; at rungs also source_val and target_val.
        measures: On the validation splits, see `fer.metrics.measure`.
        stopped: Whether the caller stopped it early.
    """

    network: nn.Sequential
    curve: list[dict[str, float]]
    measures: dict[str, float]
    stopped: bool


def fit(
    network: nn.Sequential,
    frozen: int,
    cut: int,
    feeds: Mapping[str, tuple[Feed, np.ndarray]],
    schedule: Schedule,
    config: AdaptationConfig,
    runtime: Runtime,
    on_epoch: Callable[[int, float], bool],
    share: Callable[[list[nn.Parameter]], None] | None = None,
) -> bool:
    """Trains layers frozen… of the network in place; the project's only training loop.

    Args:
        network: All thirteen layers, on the runtime's device.
        frozen: Number of leading layers that stay as they are.
        cut: The cut at which the feeds deliver; the layers from there to `frozen` are computed, but frozen.
        feeds: For each domain its feed and the labels (n,) of its training split.
        schedule: What to draw.
        config: Learning rate, weight decay, momentum, label smoothing.
        runtime: Device and precision.
        on_epoch: Called after each epoch with its number from 1 and its mean loss; True stops.
        share: Called after each backward pass to average gradients with other processes.

    Returns:
        Whether `on_epoch` stopped it.

    Raises:
        Diverged: The loss of an epoch was not finite.
    """
    trained = network[frozen:]
    network.eval().requires_grad_(False)
    parameters = list(trained.requires_grad_(True).parameters())
    optimiser = make_optimiser(parameters, config)
    steps, epoch = schedule.boundaries[-1], 0
    total, since = torch.zeros((), device=runtime.device), 0
    trained.train()
    for step in range(steps):
        inputs, labels = _batch(feeds, schedule, step, runtime)
        inputs = frozen_features(network, cut, frozen, channels_last(inputs), runtime)
        with runtime.autocast():
            logits = trained(inputs)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=config.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if share is not None:
            share(parameters)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, config.lr)
        optimiser.step()
        total += loss.detach()
        since += 1
        while epoch < len(schedule.boundaries) and schedule.boundaries[epoch] == step + 1:
            epoch += 1
            if since:
                mean = float(total) / since
                total.zero_()
                since = 0
            if not math.isfinite(mean):
                raise Diverged(f"the loss became {mean} in epoch {epoch} at learning rate {config.lr:.2g}")
            if on_epoch(epoch, mean):
                return True
            trained.train()
    return False


def make_optimiser(parameters: list[nn.Parameter], config: AdaptationConfig) -> torch.optim.Optimizer:
    """Returns the optimiser that the configuration names."""
    if config.optimiser == "adamw":
        return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay, foreach=True)
    return torch.optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
        foreach=True,
    )


def _batch(
    feeds: Mapping[str, tuple[Feed, np.ndarray]], schedule: Schedule, step: int, runtime: Runtime
) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, labels = [], []
    for domain, (feed, truth) in feeds.items():
        images, views = schedule.samples(domain)[step]
        if len(images):
            inputs.append(feed.gather(images, views))
            labels.append(truth[images])
    return torch.cat(inputs), torch.from_numpy(np.concatenate(labels)).to(runtime.device)


def open_feed(setting: Setting, domain: str, split: Split, name: str, cut: int, recipe: ViewRecipe, views: int) -> Feed:
    """Returns where the features at `cut` of a split come from: its pixels, or the bank of this baseline."""
    dataset = setting.dataset(domain)
    pixels = Pixels(split, recipe, seed_from(dataset.digest, name), setting.runtime)
    if cut == 0 or setting.cache is None:
        return pixels
    drawn = asdict(recipe) if views > 1 else "plain"
    runtime = setting.runtime
    key = seed_from(
        prefix.VERSION, setting.baseline.digest, dataset.digest, name, drawn, runtime.precision, runtime.device[:4]
    )
    folder = setting.cache / "features" / f"{dataset.name}-{name}-views{views}-{key:016x}"
    return Bank(folder, setting.baseline.network, cut, pixels, views)


def predict(network: nn.Sequential, cut: int, feed: Feed, count: int, runtime: Runtime) -> np.ndarray:
    """Returns the logits (count, 7), float32, of a split whose features at `cut` the feed delivers."""
    first = np.zeros(count, int)
    feed.prepare(np.arange(count), first)
    rest, logits = folded(network[cut:]), []
    for start in range(0, count, _EVALUATION_BATCH):
        numbers = np.arange(start, min(start + _EVALUATION_BATCH, count))
        inputs = channels_last(feed.gather(numbers, first[: len(numbers)]))
        logits.append(frozen_features(rest, 0, len(rest), inputs, runtime).float().cpu())
    return torch.cat(logits).numpy()


@dataclass
class _Validation:
    """Both validation splits, seen from one cut."""

    setting: Setting
    cut: int
    splits: dict[str, Split] = field(init=False)
    feeds: dict[str, Feed] = field(init=False)

    def __post_init__(self) -> None:
        self.splits = {domain: self.setting.dataset(domain).open("validation") for domain in DOMAINS}
        self.feeds = {
            domain: open_feed(self.setting, domain, split, "validation", self.cut, ViewRecipe(), 1)
            for domain, split in self.splits.items()
        }

    def labels(self) -> dict[str, np.ndarray]:
        return {domain: np.asarray(split.labels) for domain, split in self.splits.items()}

    def logits(self, network: nn.Sequential) -> dict[str, np.ndarray]:
        return {
            domain: predict(network, self.cut, feed, len(self.splits[domain]), self.setting.runtime)
            for domain, feed in self.feeds.items()
        }


def baseline_logits(setting: Setting) -> dict[str, np.ndarray]:
    """Returns the baseline's logits on both validation splits, computed once per baseline when there is a cache."""
    cut = len(LAYERS) if setting.cache else 0
    return _Validation(setting, cut).logits(setting.baseline.network)


def adapt(
    setting: Setting,
    config: AdaptationConfig,
    seed: int,
    on_rung: Callable[[float, dict[str, float]], bool] | None = None,
) -> Adapted:
    """Adapts the baseline to the target.

    Args:
        setting: Baseline, datasets, runtime, cache.
        config: The knobs.
        seed: Of order, views, dropout and new weights; with the rest equal, equal seeds give equal results.
        on_rung: Called at each rung with the share of the budget spent and a row of the curve; True stops.

    Raises:
        Diverged: The loss was not finite.
    """
    runtime = setting.runtime
    network = _start(setting, config, seed)
    own_prefix = config.init == "baseline" and setting.cache is not None
    cut = best_cut(network, config.frozen_layers, runtime) if own_prefix else 0
    validation = _Validation(setting, cut)
    curve: list[dict[str, float]] = []
    last: dict[str, Any] = {}

    def score() -> dict[str, float]:
        last["measures"] = measure(validation.labels(), baseline_logits(setting), validation.logits(network))
        return {name: last["measures"][name] for name in ("source_val", "target_val")}

    def on_epoch(epoch: int, loss: float) -> bool:
        row: dict[str, float] = {"epoch": float(epoch), "loss": loss}
        curve.append(row)
        if epoch not in rungs:
            return False
        row |= score()
        return bool(on_rung and epoch < epochs and on_rung(epoch / epochs, row))

    stopped = False
    if config.trains:
        torch.manual_seed(seed_from(seed, "dropout"))
        feeds, schedule = _training(setting, config, cut, seed)
        epochs = len(schedule.boundaries)
        rungs = {math.ceil(rung * epochs) for rung in RUNGS}
        stopped = fit(network, config.frozen_layers, cut, feeds, schedule, config, runtime, on_epoch)
    else:
        curve.append({"epoch": 0.0} | score())
    network.eval().requires_grad_(False)
    return Adapted(network, curve, last["measures"], stopped)


def _start(setting: Setting, config: AdaptationConfig, seed: int) -> nn.Sequential:
    if config.init == "scratch":
        network = build(setting.baseline.width, seed_from(seed, "weights"))
    else:
        network = copy.deepcopy(setting.baseline.network)
    return network.to(setting.runtime.device).to(memory_format=torch.channels_last)


def _training(
    setting: Setting, config: AdaptationConfig, cut: int, seed: int
) -> tuple[dict[str, tuple[Feed, np.ndarray]], Schedule]:
    splits = {domain: setting.dataset(domain).open("train") for domain in DOMAINS}
    target = choose_amount(np.asarray(splits["target"].labels), config.amount, seed)
    source = np.arange(len(splits["source"]))
    schedule = draw_schedule(config, target, source, len(splits["target"]), seed)
    views = {"target": config.views.count, "source": config.source_views}
    feeds = {}
    for domain, split in splits.items():
        feed = open_feed(setting, domain, split, "train", cut, config.views, views[domain])
        steps = schedule.samples(domain)
        images = np.concatenate([image for image, _ in steps])
        if len(images):
            feed.prepare(images, np.concatenate([view for _, view in steps]))
            feeds[domain] = feed, np.asarray(split.labels)
    if not feeds:
        raise InputError("an adaptation needs at least one training image", 0, "Check the target's training split.")
    return feeds, schedule
