"""The knobs of an adaptation as one frozen dataclass, and the paper's five strategies as corner points of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from fer.errors import InputError
from fer.layers import LAYERS

NATURAL: Literal["natural"] = "natural"


@dataclass(frozen=True)
class ViewRecipe:
    """How strongly views differ from their image.

    Attributes:
        count: V, the number of views per image, the image itself included.
        flip: Chance of a horizontal flip.
        shift: Largest shift, pixels.
        rotation: Largest rotation, degrees.
        scale: Largest relative change of size.
        erase: Chance that a rectangle is erased.
    """

    count: int = 8
    flip: float = 0.5
    shift: float = 3.0
    rotation: float = 10.0
    scale: float = 0.1
    erase: float = 0.25


@dataclass(frozen=True)
class AdaptationConfig:
    """How one network is adapted; every field is a knob.

    Attributes:
        init: "baseline" starts from the source-trained network, "scratch" from new weights.
        frozen_layers: Number of leading layers that stay fixed, parameters and batch-norm statistics alike (0…13).
        optimiser: "sgd" with Nesterov momentum, or "adamw" (Loshchilov and Hutter 2019, arXiv 1711.05101).
        lr: Peak learning rate, warmed up and then annealed along a cosine.
        fusion_ratio: Source share of each batch, 0…0.95, or "natural": the source's share of both training sets.
        amount: Share of the target's training set that is used, drawn per expression; the paper's 0.5 or 1.0.
        weight_decay: On every trained parameter; an L2 penalty with sgd, decoupled with adamw.
        momentum: Of SGD.
        batch_size: Samples per step, source and target together.
        epochs: Budget in samples, counted in passes over the whole target training set. It does not depend on
            the strategy or on `amount`: every adaptation draws the same number of samples.
        label_smoothing: Of the cross-entropy.
        source_views: Views per source image; the source has many images, so few views serve.
        views: The augmentation, and the number of views per target image.
    """

    init: Literal["baseline", "scratch"] = "baseline"
    frozen_layers: int = 0
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    fusion_ratio: float | Literal["natural"] = 0.0
    amount: float = 1.0
    weight_decay: float = 5e-4
    momentum: float = 0.9
    batch_size: int = 32
    epochs: float = 8.0
    label_smoothing: float = 0.0
    source_views: int = 2
    views: ViewRecipe = field(default_factory=ViewRecipe)

    def __post_init__(self) -> None:
        checks = {
            "init": self.init in ("baseline", "scratch"),
            "frozen_layers": 0 <= self.frozen_layers <= len(LAYERS),
            "optimiser": self.optimiser in ("sgd", "adamw"),
            "lr": 0 <= self.lr < float("inf"),
            "fusion_ratio": self.fusion_ratio == NATURAL
            or (not isinstance(self.fusion_ratio, str) and 0 <= self.fusion_ratio <= 0.95),
            "amount": 0 < self.amount <= 1,
            "weight_decay": 0 <= self.weight_decay < float("inf"),
            "momentum": 0 <= self.momentum < 1,
            "batch_size": self.batch_size >= 1,
            "epochs": 0 < self.epochs < float("inf"),
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "source_views": 1 <= self.source_views <= self.views.count,
        }
        for name, holds in checks.items():
            if not holds:
                raise InputError(f"{name} is out of range", getattr(self, name), f"See {type(self).__name__}.")
        if self.init == "scratch" and self.frozen_layers:
            raise InputError(
                "a network from scratch has no layers worth freezing",
                self.frozen_layers,
                "Set frozen_layers to 0.",
            )

    @property
    def trains(self) -> bool:
        """Whether anything is trained at all; the baseline itself (BL) is not."""
        return self.frozen_layers < len(LAYERS)

    def source_share(self, source_images: int, target_images: int) -> float:
        """Returns the source's share of each batch for these sizes of the two training sets."""
        if self.fusion_ratio == NATURAL:
            return source_images / (source_images + target_images)
        return float(self.fusion_ratio)


# The paper's strategies. Whether its RE and FU start from the baseline or from scratch is not published; here they
# start from the baseline, and init="scratch" expresses the other reading.
STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "BL": {"frozen_layers": len(LAYERS)},
    "FC": {"frozen_layers": 10},
    "FC+CL": {"frozen_layers": 9},
    "RE": {"frozen_layers": 0},
    "FU": {"frozen_layers": 0, "fusion_ratio": NATURAL},
}


def canonical(config: AdaptationConfig) -> AdaptationConfig:
    """Resets the knobs that change nothing, so that equal adaptations have equal configurations."""
    if not config.trains:
        return AdaptationConfig(frozen_layers=config.frozen_layers, lr=0.0, epochs=config.epochs, views=config.views)
    return config


def knobs(config: AdaptationConfig) -> dict[str, Any]:
    """Returns the knobs as a flat, JSON-able dict, the form that records keep."""
    flat = asdict(config)
    flat.update({f"views_{name}": value for name, value in flat.pop("views").items()})
    return flat


def from_knobs(flat: Mapping[str, Any]) -> AdaptationConfig:
    """Rebuilds the configuration that `knobs` flattened."""
    recipe = {f.name: flat[f"views_{f.name}"] for f in fields(ViewRecipe)}
    own = {f.name: flat[f.name] for f in fields(AdaptationConfig) if f.name != "views"}
    return AdaptationConfig(**own, views=ViewRecipe(**recipe))


def fingerprint(config: AdaptationConfig) -> str:
    """Returns a text that two configurations share exactly when they describe the same adaptation."""
    return json.dumps(knobs(canonical(config)), sort_keys=True)


def named(strategy: str, base: AdaptationConfig) -> AdaptationConfig:
    """Returns `base` moved to the corner point of a named strategy."""
    if strategy not in STRATEGIES:
        raise InputError("the strategy is one of " + ", ".join(STRATEGIES), strategy, "Choose one of them.")
    return replace(base, **STRATEGIES[strategy])
