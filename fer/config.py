"""The hyperparameters of an adaptation as one frozen dataclass.

Hyperparameters are orthogonal, so that methods combine. A method that needs several networks or a whole curve (model
soups, interpolation) is a hyperparameter as well: what counts is the one network that comes out.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from fer.architecture import Depth
from fer.errors import InputError

NATURAL: Literal["natural"] = "natural"
ALL: Literal["all"] = "all"
TENTH = 0.1
"""A fused network that draws a tenth of its samples from the target learns the target in few passes over the source,
where the natural ratio of a small target needs many."""

Anchor = Literal["none", "weights", "fisher", "mas", "features", "logits", "replay"]
WEIGHT_ANCHORS = ("weights", "fisher", "mas")
OUTPUT_ANCHORS = ("features", "logits", "replay")


@dataclass(frozen=True)
class ViewRecipe:
    """How strongly views differ from their image.

    Attributes:
        count: V, the number of views per image, the image itself included.
        flip: Chance of a horizontal flip.
        shift: Largest shift, pixels of 48: of a larger image the same share.
        rotation: Largest rotation, degrees.
        scale: Largest relative change of size.
        erase: Chance that a square is erased.
    """

    count: int = 8
    flip: float = 0.5
    shift: float = 3.0
    rotation: float = 10.0
    scale: float = 0.1
    erase: float = 0.25


@dataclass(frozen=True)
class AdaptationConfig:
    """How one network is adapted; every field is a hyperparameter, and every default switches it off.

    Attributes:
        init: "baseline" starts from the source-trained network, "scratch" from new weights, and "fused" from a network
            that was trained from scratch on both datasets by the baseline's recipe (`fer.baseline.FusedNetworks`);
            with a learning rate of 0, that network is the result; else an adaptation goes on from it.
        frozen_layers: Number of blocks that stay fixed, parameters and batch-norm statistics alike, from `frozen_from`
            on; vgg13 has thirteen, each a layer.
        frozen_from: First frozen block. 0 freezes leading blocks, whose features can be cached; otherwise the blocks
            below are trained through the frozen ones (surgical fine-tuning).
        head_first: Share of the budget that trains the last block alone, before the others join.
        optimiser: "sgd" with Nesterov momentum, or "adamw" (Loshchilov and Hutter 2019, arXiv 1711.05101).
        lr: Peak learning rate, warmed up and then annealed along a cosine.
        layer_decay: Factor on the rate from each block to the one below it (discriminative rates).
        fusion_ratio: Source share of each batch, 0…0.95, or "natural": the source's share of both training sets.
        replay_size: Number of source images that fusion may draw from, chosen per expression by the seed, or "all".
        amount: Share of the target's training set that is used: of its subjects or, where these are unknown, of the
            images of each expression. The paper's are 0.5 and 1.0.
        anchor: What is held near the baseline, see `fer.training.penalties`: the weights alike, or by their
            importance (fisher, mas); the penultimate features or the logits on target images; the logits on replayed
            source images.
        anchor_weight: Factor on the anchor's penalty.
        temperature: Of both distributions that the logits anchor compares.
        bn: "train" updates the trained blocks' batch-norm statistics; "frozen" keeps the baseline's; "recompute"
            estimates them again, once after the training, on what was drawn.
        averaging: β: after each tenth of the budget, the weights move back to the baseline by this share.
        sam: ρ, the radius of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412).
        mixup: α of the Beta distribution that mixes pairs of samples where the trained blocks begin.
        label_smoothing: Of the cross-entropy.
        members: Trainings, each with an equal share of the budget, whose weights are averaged (model soup).
        alpha: How far the result goes from the baseline (0) to the adapted network (1) in weight space.
        alpha_slope: What the last block's alpha has more than the first's, linear in depth.
        weight_decay: On every trained parameter; an L2 penalty with sgd, decoupled with adamw.
        momentum: Of SGD.
        batch_size: Samples per step, source and target together.
        epochs: Budget in samples, counted in passes over the whole target training set. It does not depend on
            the strategy or on `amount`: every adaptation draws the same number of samples.
        fused_share: The target's share of the samples that a fused network was trained on, above 0 and up to 0.95, or
            "natural": the target's share of both training sets.
        source_views: Views per source image; the source has many images, so few views serve.
        views: The augmentation, and the number of views per target image.
        depth: The blocks that the others count. It follows from the network and is no hyperparameter.
    """

    init: Literal["baseline", "scratch", "fused"] = "baseline"
    frozen_layers: int = 0
    frozen_from: int = 0
    head_first: float = 0.0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    layer_decay: float = 1.0
    fusion_ratio: float | Literal["natural"] = 0.0
    replay_size: int | Literal["all"] = ALL
    amount: float = 1.0
    anchor: Anchor = "none"
    anchor_weight: float = 0.0
    temperature: float = 2.0
    bn: Literal["train", "frozen", "recompute"] = "train"
    averaging: float = 0.0
    sam: float = 0.0
    mixup: float = 0.0
    label_smoothing: float = 0.0
    members: int = 1
    alpha: float = 1.0
    alpha_slope: float = 0.0
    weight_decay: float = 5e-4
    momentum: float = 0.9
    batch_size: int = 32
    epochs: float = 8.0
    fused_share: float | Literal["natural"] = TENTH
    source_views: int = 2
    views: ViewRecipe = field(default_factory=ViewRecipe)
    depth: Depth = field(default_factory=Depth)

    def __post_init__(self) -> None:
        for name, is_valid in _range_checks(self).items():
            if not is_valid:
                raise InputError(f"{name} is out of range", getattr(self, name), f"See {type(self).__name__}.")
        self._check_mixup()
        self._check_start()

    def _check_mixup(self) -> None:
        """Refuses mixup beside an anchor on outputs."""
        if self.mixup and self.anchor in OUTPUT_ANCHORS:
            raise InputError(
                "mixup makes samples that the baseline's outputs are not known of, so it excludes anchors on outputs",
                f"mixup {self.mixup} and anchor {self.anchor}",
                "Choose one of them.",
            )

    def _check_start(self) -> None:
        """Refuses what needs the baseline, or trained weights, where the network starts without."""
        rules = {
            "baseline": ("", ()),
            "scratch": (
                "a network from scratch has no blocks worth freezing and no baseline to stay near",
                ("anchor_weight", "averaging", "alpha_slope", "frozen_layers", "alpha"),
            ),
            "fused": ("a fused network has no baseline to stay near", ("anchor_weight", "alpha_slope", "alpha")),
        }
        rule, excluded = rules[self.init]
        for name in excluded:
            value = getattr(self, name)
            if value != getattr(AdaptationConfig, name):
                raise InputError(rule, f"{name} = {value}", "Leave it at its default.")

    @property
    def leading(self) -> int:
        """Number of leading blocks that are frozen, and so can be cached."""
        return self.frozen_layers if self.frozen_from == 0 else 0

    @property
    def trained(self) -> list[int]:
        """The blocks that are not frozen."""
        frozen = range(self.frozen_from, self.frozen_from + self.frozen_layers)
        return [block for block in range(self.depth.blocks) if block not in frozen]

    @property
    def trains(self) -> bool:
        """Whether anything is trained at all; the baseline itself (BL) is not, nor is AdaBN."""
        return bool(self.trained) and self.lr > 0

    @property
    def interpolates(self) -> bool:
        """Whether the result lies between the baseline and the adapted network."""
        return self.alpha != 1 or self.alpha_slope != 0

    def source_share(self, source_images: int, target_images: int) -> float:
        """Returns the source's share of each batch for these sizes of the two training sets."""
        if source_images == 0:
            return 0.0
        if self.fusion_ratio == NATURAL:
            return source_images / (source_images + target_images)
        return float(self.fusion_ratio)

    def target_passes(self, source_images: int, target_images: int, fused_passes: float = 1.0) -> float:
        """Returns how often each target image that may be drawn is drawn on average, in the start's training as well.

        Args:
            source_images: Size of the source's training set.
            target_images: Size of the whole target's training set, of which `amount` may be drawn.
            fused_passes: How many passes over the source the training of a fused network makes, at least.
        """
        passes = 0.0
        if self.init == "fused":
            passes += fused_passes * self._target_passes_per_source_pass(source_images, target_images)
        if self.trains:
            target_share = 1 - self.source_share(source_images, round(self.amount * target_images))
            passes += self.epochs * target_share / self.amount
        return passes

    def _target_passes_per_source_pass(self, source_images: int, target_images: int) -> float:
        """Returns how often a fused network's training draws each target image in a pass over the source."""
        if self.fused_share == NATURAL:
            return 1.0
        share = float(self.fused_share)
        return share / (1 - share) * source_images / (self.amount * target_images)


def _range_checks(config: AdaptationConfig) -> dict[str, bool]:
    """Returns for each field whether its value is in range."""
    depth = config.depth
    is_share = not isinstance(config.fusion_ratio, str) and 0 <= config.fusion_ratio <= 0.95
    is_fused_share = not isinstance(config.fused_share, str) and 0 < config.fused_share <= 0.95
    return {
        "init": config.init in ("baseline", "scratch", "fused"),
        "frozen_layers": 0 <= config.frozen_layers <= depth.blocks,
        "frozen_from": 0 <= config.frozen_from <= depth.blocks - config.frozen_layers,
        "head_first": 0 <= config.head_first < 1 and (not config.head_first or depth.last in config.trained),
        "optimiser": config.optimiser in ("sgd", "adamw"),
        "lr": 0 <= config.lr < float("inf"),
        "layer_decay": 0 < config.layer_decay <= 1,
        "fusion_ratio": config.fusion_ratio == NATURAL or is_share,
        "replay_size": config.replay_size == ALL or (isinstance(config.replay_size, int) and config.replay_size >= 0),
        "amount": 0 < config.amount <= 1,
        "anchor": config.anchor in ("none", *WEIGHT_ANCHORS, *OUTPUT_ANCHORS),
        "anchor_weight": 0 <= config.anchor_weight < float("inf"),
        "temperature": 0 < config.temperature < float("inf"),
        "bn": config.bn in ("train", "frozen", "recompute"),
        "averaging": 0 <= config.averaging < 1,
        "sam": 0 <= config.sam < float("inf"),
        "mixup": 0 <= config.mixup < float("inf"),
        "label_smoothing": 0 <= config.label_smoothing < 1,
        "members": config.members >= 1,
        "alpha": 0 <= config.alpha <= 1,
        "alpha_slope": 0 <= config.alpha + config.alpha_slope <= 1,
        "weight_decay": 0 <= config.weight_decay < float("inf"),
        "momentum": 0 <= config.momentum < 1,
        "batch_size": config.batch_size >= 1,
        "epochs": 0 < config.epochs < float("inf"),
        "fused_share": config.fused_share == NATURAL or is_fused_share,
        "source_views": 1 <= config.source_views <= config.views.count,
    }


def canonical(config: AdaptationConfig) -> AdaptationConfig:
    """Resets the hyperparameters that change nothing, so that equal adaptations have equal configurations."""
    if config.init == "fused" and not config.trains and config.bn != "recompute":
        return AdaptationConfig(
            init="fused", fused_share=config.fused_share, amount=config.amount, lr=0.0, depth=config.depth
        )
    if not config.trained:
        return AdaptationConfig(
            frozen_layers=config.frozen_layers, lr=0.0, epochs=config.epochs, views=config.views, depth=config.depth
        )
    changes: dict[str, Any] = {}
    if config.anchor == "none" or config.anchor_weight == 0:
        changes |= {"anchor": "none", "anchor_weight": 0.0}
    if config.anchor != "logits":
        changes["temperature"] = AdaptationConfig.temperature
    if config.fusion_ratio == 0 or config.replay_size == 0:
        changes |= {"fusion_ratio": 0.0, "replay_size": ALL}
    if config.frozen_layers == 0:
        changes["frozen_from"] = 0
    return replace(config, **changes)


DEPTH_NAMES = {f.name: f"depth_{f.name}" for f in fields(Depth)}
"""What a flat dict calls each field of the depth."""


def to_flat(config: AdaptationConfig) -> dict[str, Any]:
    """Returns the hyperparameters as a flat, JSON-able dict, the form that records keep.

    `fused_share` is there for a fused start alone, and the depth for networks other than vgg13, so that records and
    hashes of all others stay what they were.
    """
    flat = asdict(config)
    depth = flat.pop("depth")
    if config.depth != Depth():
        flat.update({DEPTH_NAMES[name]: value for name, value in depth.items()})
    if config.init != "fused":
        del flat["fused_share"]
    flat.update({f"views_{name}": value for name, value in flat.pop("views").items()})
    return flat


def from_flat(flat: Mapping[str, Any]) -> AdaptationConfig:
    """Rebuilds the configuration of which `to_flat` made a flat dict."""
    recipe = {f.name: flat[f"views_{f.name}"] for f in fields(ViewRecipe)}
    optional = {"views", "fused_share", "depth"}
    values = {f.name: flat[f.name] for f in fields(AdaptationConfig) if f.name not in optional}
    if "fused_share" in flat:
        values["fused_share"] = flat["fused_share"]
    if any(name in flat for name in DEPTH_NAMES.values()):  # one that lacks a part of it is no configuration
        values["depth"] = Depth(**{field_name: flat[name] for field_name, name in DEPTH_NAMES.items()})
    return AdaptationConfig(**values, views=ViewRecipe(**recipe))


def fingerprint(config: AdaptationConfig) -> str:
    """Returns a text that two configurations share exactly when they describe the same adaptation."""
    return json.dumps(to_flat(canonical(config)), sort_keys=True)
