"""The adaptation of a baseline: what it draws, where its features come from, what it is scored.

An adaptation freezes layers, draws its whole schedule of samples beforehand from a seed, makes sure that the frozen
features of exactly these samples are in the bank, and then trains the remaining layers on them.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import nn

from fer.adaptation.evaluation import _cut, _Validation, baseline_logits, validation_labels
from fer.adaptation.task import DOMAINS, AdaptationTask, open_source
from fer.config import ALL, HEAD, WEIGHT_ANCHORS, AdaptationConfig, ViewRecipe, flatten
from fer.errors import InputError
from fer.evaluation.metrics import confusion_matrices, evaluate, forgetting
from fer.features import cache
from fer.features.cache import frozen_features
from fer.features.schedule import Schedule, choose_target_images, divide_into_parts, draw_schedule
from fer.features.sources import FeatureSource, ImageSource
from fer.layers import LAYERS
from fer.model import interpolation
from fer.model.vgg import build, channels_last, clone
from fer.seeding import generator, seed_from
from fer.training import checkpoint, penalties
from fer.training.checkpoint import Checkpoints
from fer.training.cuda_graphs import capturing_graphs
from fer.training.loop import Diverged, Penalty, fit

RUNGS = (0.5, 1.0)
_NORM_BATCH, _NORM_SAMPLES = 128, 256  # more samples move accuracies by less than one image in a hundred
# What a network half-way has above the mean of both ends: mean and two standard deviations over 65 trials of a study
# with 625 and 741 validation images. Where there are few, luck is wider: twice the deviation of the difference of two
# accuracies between which a tenth of n images change sides.
MIDPOINT_BONUS = {"source": 0.035, "target": 0.06}
_CHANGE_SIDES = 0.1


@dataclass(frozen=True)
class Prospect:
    """A network on the way from the baseline to what an adaptation is at a rung, which need not be made.

    Attributes:
        hoped: Source and target accuracy that would be unusually good for it.
        score: Makes and scores it, on the rung's images; returns source and target accuracy.
    """

    hoped: list[float]
    score: Callable[[], list[float]]

    @classmethod
    def known(cls, accuracies: list[float]) -> "Prospect":
        """Returns the prospect of a network that is scored already."""
        return cls(accuracies, lambda: accuracies)


OnRung = Callable[[float, dict[str, float], Iterator[Prospect]], bool]
"""From the share of the budget that is spent, a row of the curve and the networks on the way from the baseline to
whether the adaptation stops."""


@dataclass(frozen=True)
class Interpolated:
    """A network between the baseline and the adapted one, see `fer.model.interpolation`."""

    alpha: float
    slope: float
    network: nn.Sequential
    measures: dict[str, float]
    logits: dict[str, np.ndarray]


@dataclass(frozen=True)
class Adapted:
    """What an adaptation leaves behind.

    Attributes:
        network: The adapted network, in evaluation mode.
        curve: A row per epoch with loss and epoch, in passes over the target; at rungs also source_val and target_val.
        measures: On the validation splits, see `fer.evaluation.metrics.evaluate`.
        stopped: Whether the caller stopped it early.
        between: The networks on the way to it from the baseline that were asked for.
        confusion: For "source" and "target" how many validation images of which expression were taken for which.
        logits: For "source" and "target", float32 (n, 7), on the validation images.
    """

    network: nn.Sequential
    curve: list[dict[str, float]]
    measures: dict[str, float]
    stopped: bool
    interpolated: list[Interpolated] = field(default_factory=list)
    confusion: dict[str, list[list[int]]] = field(default_factory=dict)
    logits: dict[str, np.ndarray] = field(default_factory=dict, repr=False)


def adapt(
    setting: AdaptationTask,
    config: AdaptationConfig,
    seed: int,
    on_rung: OnRung | None = None,
    ways: Sequence[tuple[float, float]] = (),
    rungs: Sequence[float] = RUNGS,
    parts: int | None = None,
    leads: Callable[[list[dict[str, float]]], bool] | None = None,
) -> Adapted:
    """Adapts the baseline to the target.

    Args:
        setting: Baseline, datasets, runtime, cache.
        config: The knobs.
        seed: Of order, views, dropout and new weights; with the rest equal, equal seeds give equal results.
        on_rung: Called at each rung before the end; True stops. Several members have no rungs.
        ways: Pairs of alpha and slope, see `fer.model.interpolation.interpolation_shares`: the networks on the way
            from the baseline
            that are scored as well, once it ran to its end, and at a rung as far as `on_rung` asks for them. A network
            from scratch is on no such way.
        rungs: Shares of the budget after which it is measured, each at the next end of an epoch.
        parts: How many epochs of equal length the budget has, instead of whole passes over the target.
        leads: Says of the measures of several networks whether one is among the best known. Of `ways` the first is
            scored then if the adapted network leads or it may be hoped that this one does, the others if one of these
            two leads; without, all are.

    Raises:
        Diverged: The loss was not finite, or the network's answers are not.
    """
    if config.init == "scratch":
        ways = ()
    work = _Adaptation(setting, config, seed, rungs, parts, ways)
    try:
        members = range(config.members) if config.trains else ()
        networks = [work.train(member, on_rung) for member in members] or [work.start(seed)]
        network = work.result(networks)
        if not work.curve or "source_val" not in work.curve[-1]:
            spent = work.curve[-1]["epoch"] if work.curve else 0.0
            work.curve.append({"epoch": spent} | work.score(network))
        elif not work.measures:  # it went on from its last epoch's checkpoint, which has the row, but not the rest
            work.score(network)
        measures, confused, logits = work.measures, work.confusion, work.logits
        course = [row["source_val"] for row in work.curve if "source_val" in row]
        measures["forgetting"] = forgetting([measures["source_val"] - measures["backward_transfer"], *course])
        between: list[Interpolated] = []
        for alpha, slope in ways if config.trains and not work.stopped else ():
            if leads is not None and len(between) < 2:
                first = between[0].measures if between else work.optimistic_estimate(measures, alpha, slope)
                if not leads([measures, first]):
                    break
            between.append(work.between(network, alpha, slope))
    except Diverged:
        work.forget()
        raise
    work.forget()
    curve = [_without_ways(row) for row in work.curve]
    return Adapted(network, curve, measures, work.stopped, between, confused, logits)


class _Adaptation:
    """One adaptation at work: where its features come from, what it draws, what it was scored last."""

    def __init__(
        self,
        setting: AdaptationTask,
        config: AdaptationConfig,
        seed: int,
        rungs: Sequence[float],
        parts: int | None,
        ways: Sequence[tuple[float, float]] = (),
    ) -> None:
        self.setting, self.config, self.seed, self.rungs, self.parts = setting, config, seed, rungs, parts
        self.ways = ways
        self.cut = _cut(setting, config)
        self.validation = _Validation(setting, self.cut)
        self.splits = {domain: setting.dataset(domain).open("train") for domain in DOMAINS}
        self.curve: list[dict[str, float]] = []
        self.measures: dict[str, float] = {}
        self.confusion: dict[str, list[list[int]]] = {}
        self.logits: dict[str, np.ndarray] = {}
        self.stopped = False
        self.begun: list[Checkpoints] = []

    @cached_property
    def labels(self) -> dict[str, np.ndarray]:
        """The labels of both validation splits."""
        return validation_labels(self.setting)

    @cached_property
    def baseline_logits(self) -> dict[str, np.ndarray]:
        """The baseline's logits on both validation splits, which every score is compared with."""
        return baseline_logits(self.setting)

    @cached_property
    def drawn(self) -> tuple[Schedule, dict[str, tuple[FeatureSource, np.ndarray]]]:
        """What the adaptation's own seed draws, the first member's schedule, and where its samples come from."""
        schedule = self.schedule(self.seed)
        return schedule, self.feeds(schedule, self.cut)

    @cached_property
    def norm_inputs(self) -> list[torch.Tensor]:
        """Batches of what the adaptation draws, from which batch-norm statistics are estimated."""
        schedule, feeds = self.drawn
        return list(_inputs(feeds, schedule))

    def start(self, seed: int) -> nn.Sequential:
        """Returns the network to start from."""
        if self.config.init == "scratch":
            network = build(self.setting.baseline.width, seed_from(seed, "weights"))
        else:
            network = clone(self.setting.baseline.network)
        network = network.to(self.setting.runtime.device).to(memory_format=torch.channels_last)
        return network.eval().requires_grad_(False)

    def train(self, member: int, on_rung: OnRung | None) -> nn.Sequential:
        """Trains one member with its share of the budget."""
        seed = seed_from(self.seed, "member", member) if member else self.seed
        network = self.start(seed)
        if member:
            schedule = self.schedule(seed)
            feeds = self.feeds(schedule, self.cut)
        else:
            schedule, feeds = self.drawn
        done, epochs = len(self.curve), len(schedule.boundaries)
        passes = self.config.epochs / self.config.members / epochs
        rungs = {math.ceil(rung * epochs) for rung in self.rungs} if self.config.members == 1 else set()

        def on_epoch(epoch: int, loss: float) -> bool:
            row: dict[str, float] = {"epoch": (done + epoch) * passes, "loss": loss}
            self.curve.append(row)
            if epoch not in rungs:
                return False
            adapted = self.result([network])
            row |= self.score(adapted, None if epoch == epochs else self.setting.rung_images)
            if on_rung and epoch < epochs:
                self.stopped = on_rung(epoch / epochs, row, self.prospects(adapted, row))
            return self.stopped

        def restore(rows: list[dict[str, float]]) -> None:
            self.curve[done:] = rows
            for epoch, row in enumerate(rows, 1):
                if on_rung and "source_val" in row and epoch < epochs:
                    on_rung(epoch / epochs, row, self.known_prospects(row))  # told again; it went on then

        torch.manual_seed(seed_from(seed, "dropout"))
        penalty = self.penalty(network, schedule)
        kept = self.checkpoints(seed)
        if kept is not None:
            kept.notes, kept.restore = lambda: self.curve[done:], restore
            self.begun.append(kept)
        runtime = self.setting.runtime
        with capturing_graphs(runtime, network, penalty is None and not self.config.sam) as graphs:
            fit(
                network, self.cut, feeds, schedule, self.config, runtime, on_epoch, penalty=penalty, checkpoints=kept,
                graphs=graphs,
            )  # fmt: skip
        return network.eval().requires_grad_(False)

    def checkpoints(self, seed: int) -> Checkpoints | None:
        """Returns where the training of one member goes on from after a crash, when there is a cache."""
        setting = self.setting
        if setting.cache is None:
            return None
        key = seed_from(
            cache.VERSION, torch.__version__, setting.baseline.digest, setting.source.digest, setting.target.digest,
            json.dumps(flatten(self.config), sort_keys=True), seed, self.cut, setting.runtime.device,
            setting.runtime.precision, str((tuple(self.rungs), self.parts, setting.rung_images, tuple(self.ways))),
        )  # fmt: skip
        return Checkpoints(setting.cache / "checkpoints", f"{key:016x}", checkpoint.EVERY_SECONDS)

    def forget(self) -> None:
        """Deletes the checkpoints: nobody will go on from them."""
        for kept in self.begun:
            kept.clear()
        self.begun.clear()  # they refer to this adaptation, whose maps of features would wait for the collector

    def schedule(self, seed: int) -> Schedule:
        """Draws what one member trains on; which images are there at all depends on the adaptation's seed alone."""
        config = replace(self.config, epochs=self.config.epochs / self.config.members)
        images = self.splits["target"]
        target = choose_target_images(np.asarray(images.labels), config.amount, self.seed, np.asarray(images.subjects))
        source = np.arange(len(self.splits["source"]))
        if config.replay_size != ALL:
            labels = np.asarray(self.splits["source"].labels)
            source = penalties.choose_balanced(labels, config.replay_size, generator(self.seed, "replay"))
        if not len(target) + len(source):
            raise InputError("an adaptation needs at least one training image", 0, "Check the target's training split.")
        drawn = draw_schedule(config, target, source, len(self.splits["target"]), seed)
        parts = self.parts or (2 if len(drawn.boundaries) == 1 else None)  # a short budget has a half as well
        return drawn if parts is None else divide_into_parts(drawn, parts)

    def feeds(self, schedule: Schedule, cut: int) -> dict[str, tuple[FeatureSource, np.ndarray]]:
        """Opens where the schedule's samples come from at a cut, with all of them prepared."""
        views = {"target": self.config.views.count, "source": self.config.source_views}
        feeds = {}
        for domain, split in self.splits.items():
            steps = schedule.samples(domain)
            images = np.concatenate([image for image, _ in steps])
            if len(images):
                feed = open_source(self.setting, domain, split, "train", cut, self.config.views, views[domain])
                feed.prepare(images, np.concatenate([view for _, view in steps]))
                feeds[domain] = feed, np.asarray(split.labels)
        return feeds

    def penalty(self, network: nn.Sequential, schedule: Schedule) -> Penalty | None:
        """Returns what the anchor adds to the loss of a step."""
        config, weight = self.config, self.config.anchor_weight
        if config.anchor == "none" or weight == 0:
            return None
        if config.anchor in WEIGHT_ANCHORS:
            own = {LAYERS[layer] for layer in config.trained}
            ours = {name: p for name, p in network.named_parameters() if name.split(".")[0] in own}
            start = {name: p.detach().clone() for name, p in ours.items()}
            importance = None if config.anchor == "weights" else self.importance(config.anchor)
            return lambda step, features, logits: weight * penalties.weight_penalty(ours, start, importance)
        domain = "source" if config.anchor == "replay" else "target"
        reference = self.reference(domain, schedule, HEAD if config.anchor == "features" else len(LAYERS))

        def output_penalty(step: int, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            # A batch holds its target samples first.
            targets = len(schedule.target[step][0])
            rows = slice(targets, None) if domain == "source" else slice(targets)
            if not len(logits[rows]):
                return logits.new_zeros(())
            wanted = reference(step)
            if config.anchor == "features":
                return weight * penalties.feature_distance(features[rows], wanted)
            if config.anchor == "logits":
                return weight * penalties.logit_distance(logits[rows], wanted, config.temperature)
            return weight * penalties.replay_distance(logits[rows], wanted)

        return output_penalty

    def reference(self, domain: str, schedule: Schedule, cut: int) -> Callable[[int], torch.Tensor]:
        """Returns what gives the baseline's outputs at a cut for a step's samples, kept in a bank like any features."""
        feeds = self.feeds(schedule, cut)
        if domain not in feeds:  # nothing is drawn of it, so nothing is asked for
            return lambda step: torch.empty(0)
        feed, _ = feeds[domain]
        inputs_of = feed.batches_for(schedule.samples(domain))

        def outputs(step: int) -> torch.Tensor:
            inputs = channels_last(inputs_of(step))
            return frozen_features(self.setting.baseline.network, feed.cut, cut, inputs, self.setting.runtime).float()

        return outputs

    def importance(self, kind: str) -> dict[str, torch.Tensor]:
        """Returns each parameter's importance to the baseline, computed once per baseline when there is a cache."""
        setting, split = self.setting, self.splits["source"]
        labels = np.asarray(split.labels)
        chosen = penalties.choose_balanced(
            labels, penalties.IMPORTANCE_SAMPLES, generator(setting.source.digest, "importance")
        )

        def compute() -> dict[str, torch.Tensor]:
            pixels = ImageSource(split, ViewRecipe(), 0, setting.runtime).batch(chosen, np.zeros(len(chosen), int))
            truth = torch.from_numpy(labels[chosen]).to(setting.runtime.device)
            return penalties.importance(setting.baseline.network, kind, pixels, truth)

        if setting.cache is None:
            return compute()
        key = f"{setting.baseline.digest}-{setting.source.digest}-{penalties.IMPORTANCE_SAMPLES}"
        name = f"{key}-{penalties.LARGEST_IMPORTANCE:g}-{kind}.safetensors"
        found = penalties.cached_importance(setting.cache / "importance" / name, compute)
        return {name: tensor.to(setting.runtime.device) for name, tensor in found.items()}

    def result(self, networks: list[nn.Sequential]) -> nn.Sequential:
        """Returns the network that the configuration makes of what was trained."""
        config = self.config
        network = networks[0] if len(networks) == 1 else interpolation.average(networks)
        if config.interpolates:
            return self.mixed(network, config.alpha, config.alpha_slope)
        if len(networks) > 1 or config.bn == "recompute":
            network = clone(network)
            self.estimate_norms(network)
        return network

    def mixed(self, network: nn.Sequential, alpha: float, slope: float) -> nn.Sequential:
        """Returns a network on the way from the baseline to the adapted one."""
        shares = interpolation.interpolation_shares(alpha, slope)
        found = interpolation.interpolate(self.setting.baseline.network, network, shares)
        if not set(shares) <= {0.0, 1.0}:  # the ends stay what they are, bit for bit
            self.estimate_norms(found)
        return found

    def between(self, network: nn.Sequential, alpha: float, slope: float) -> Interpolated:
        """Scores a network on the way from the baseline to the adapted one."""
        mixed = self.mixed(network, alpha, slope)
        self.score(mixed)
        return Interpolated(alpha, slope, mixed, self.measures, self.logits)

    def prospects(self, network: nn.Sequential, row: dict[str, float]) -> Iterator[Prospect]:
        """Yields the networks on the way to what there is at a rung.

        What is scored of them is written into the curve's row, from which a resumed training tells it again.
        """
        for alpha, slope in self.ways:
            hoped = self.optimistic_estimate(row, alpha, slope, self.setting.rung_images)
            score = partial(self.score_way, network, row, alpha, slope)
            yield Prospect([hoped[f"{domain}_val"] for domain in _TOLD], score)

    def score_way(self, network: nn.Sequential, row: dict[str, float], alpha: float, slope: float) -> list[float]:
        """Makes a network on the way and returns both accuracies on the rung's images, also in the curve's row."""
        found = self.evaluate(self.mixed(network, alpha, slope), self.setting.rung_images)
        accuracies = [found.measures[f"{domain}_val"] for domain in _TOLD]
        row |= dict(zip(_columns(alpha, slope), accuracies, strict=True))
        return accuracies

    def known_prospects(self, row: dict[str, float]) -> Iterator[Prospect]:
        """Yields the networks on the way that were scored before the training was cut off, out of the curve's row."""
        for alpha, slope in self.ways:
            columns = _columns(alpha, slope)
            if all(name in row for name in columns):
                yield Prospect.known([row[name] for name in columns])

    def optimistic_estimate(
        self, measures: Mapping[str, float], alpha: float, slope: float, most: int | None = None
    ) -> dict[str, float]:
        """Returns the accuracies of a network on the way that would be unusually good, without making it.

        Args:
            measures: Of the adapted network.
            alpha: See `fer.model.interpolation.interpolation_shares`.
            slope: The same.
            most: How many images of each split are looked at, at most.
        """
        share, found = alpha + slope / 2, {}
        for domain, images in self.validation.images(most).items():
            right = self.baseline_logits[domain].argmax(1) == self.labels[domain]
            start, luck = float(right.mean()), 2 * math.sqrt(_CHANGE_SIDES / len(images))
            found[f"{domain}_val"] = (
                start + share * (measures[f"{domain}_val"] - start) + max(MIDPOINT_BONUS[domain], luck)
            )
        return found

    def estimate_norms(self, network: nn.Sequential) -> None:
        """Estimates the batch-norm statistics of the trained layers anew, on what the adaptation draws."""
        interpolation.estimate_batch_norm(
            network, self.cut, self.config.trained, self.norm_inputs, self.setting.runtime
        )

    def score(self, network: nn.Sequential, most: int | None = None) -> dict[str, float]:
        """Measures a network as `evaluate` does and keeps what was found; returns both accuracies."""
        found = self.evaluate(network, most)
        self.measures, self.confusion, self.logits = found.measures, found.confusion, found.logits
        return {name: self.measures[name] for name in ("source_val", "target_val")}

    def evaluate(self, network: nn.Sequential, most: int | None = None) -> "_Evaluation":
        """Measures a network on both validation splits.

        Args:
            network: The network.
            most: How many images of each split at most, the same for all networks; None for all. Accuracies are then
                estimates: the baseline's on all, and what the network is better by on these.

        Raises:
            Diverged: Its last steps left weights that give no numbers, though their losses were finite.
        """
        images = self.validation.images(most)
        logits = self.validation.logits(network, images)
        if not all(np.isfinite(found).all() for found in logits.values()):
            raise Diverged(f"the network's answers are no numbers any more at learning rate {self.config.lr:.2g}")
        labels = {domain: self.labels[domain][chosen] for domain, chosen in images.items()}
        before = {domain: self.baseline_logits[domain][chosen] for domain, chosen in images.items()}
        measures = evaluate(labels, before, logits)
        for domain, chosen in images.items():
            if len(chosen) < len(self.labels[domain]):
                right = self.baseline_logits[domain].argmax(1) == self.labels[domain]
                estimate = measures[f"{domain}_val"] + right.mean() - right[chosen].mean()
                measures[f"{domain}_val"] = float(np.clip(estimate, 0, 1))
        return _Evaluation(measures, confusion_matrices(labels, logits), logits)


@dataclass(frozen=True)
class _Evaluation:
    """What a network is on validation images; the attributes are those of `Adapted`."""

    measures: dict[str, float]
    confusion: dict[str, list[list[int]]]
    logits: dict[str, np.ndarray]


_TOLD = ("source", "target")
"""The order in which callers are told both accuracies."""
_WAY = "/"
"""What stands in a row's name before the place of a network on the way."""


def _without_ways(row: dict[str, float]) -> dict[str, float]:
    """Returns a row of the curve without what `_columns` names, which only a resumed training needs."""
    return {name: value for name, value in row.items() if _WAY not in name}


def _columns(alpha: float, slope: float) -> list[str]:
    """Returns how a curve's row names both accuracies of a network on the way."""
    return [f"{domain}_val{_WAY}{alpha:g}+{slope:g}" for domain in _TOLD]


def _inputs(feeds: Mapping[str, tuple[FeatureSource, np.ndarray]], schedule: Schedule) -> Iterator[torch.Tensor]:
    """Yields the first samples that a schedule draws, in batches that hold both domains as it mixes them."""
    steps = schedule.boundaries[-1]
    per_step = len(schedule.target[0][0]) + len(schedule.source[0][0])
    together = max(1, _NORM_BATCH // per_step)
    for first in range(0, min(steps, max(1, _NORM_SAMPLES // per_step)), together):
        parts = []
        for domain, (feed, _) in feeds.items():
            chosen = schedule.samples(domain)[first : first + together]
            images = np.concatenate([images for images, _ in chosen])
            if len(images):
                parts.append(feed.batch(images, np.concatenate([views for _, views in chosen])))
        yield torch.cat(parts)
