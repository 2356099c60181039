"""Every knob, conditional: what one choice leaves without effect is not asked for.

Ranges span what the methods' papers use; rates, decays, weights and the fusion ratio are searched on log scales. `sam`
and `members` are left at the base: they change what a trial costs. As in `card`, the natural fusion ratio is no choice.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fer.adaptation.methods import PRESETS, STRATEGIES, named
from fer.config import ALL, OUTPUT_ANCHORS, AdaptationConfig

if TYPE_CHECKING:
    from optuna import Trial

# Each default of `AdaptationConfig` lies inside the range beside it, or is the "off" that is offered first.
LEARNING_RATE = {"sgd": (1e-4, 1e-1), "adamw": (1e-5, 1e-2)}
WEIGHT_DECAY = (1e-5, 1e-2)
LAYER_DECAY = (0.3, 1.0)
FUSION_RATIO = (0.01, 0.95)  # one source sample in a hundred can prevent forgetting (arXiv 2502.06042)
# Importances have a mean of 1 and reach 100: above 1 a rate of 0.01 would diverge.
ANCHOR_WEIGHT = {
    "weights": (1e-3, 1e1), "fisher": (1e-3, 1.0), "mas": (1e-3, 1.0), "features": (1e-3, 1e1), "logits": (1e-1, 1e1),
    "replay": (1e-2, 1e1),
}  # fmt: skip
DEEPEST = 12
FIRST, FREE = 8, 2
"""How many named methods come first (the paper's five and three with decaying rates), and free trials before each
of the others."""
NORMED = 10
LABELS = {"weights": "L2-SP", "fisher": "EWC", "mas": "MAS", "features": "LF", "logits": "LwF", "replay": "DER++"}


def suggest(trial: "Trial", base: AdaptationConfig) -> tuple[str, AdaptationConfig]:
    """Asks the trial for its knobs."""
    optimiser = trial.suggest_categorical("optimiser", ["sgd", "adamw"])
    knobs: dict[str, Any] = {
        "optimiser": optimiser,
        "lr": trial.suggest_float(f"{optimiser}_lr", *LEARNING_RATE[optimiser], log=True),
        "weight_decay": trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True),
        "frozen_layers": trial.suggest_int("frozen_layers", 0, DEEPEST),
        "layer_decay": trial.suggest_float("layer_decay", *LAYER_DECAY),
        "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
        "head_first": _or_off(trial, "head_first", 0.05, 0.3),
        "averaging": _or_off(trial, "averaging", 0.02, 0.5),
    }
    if knobs["frozen_layers"] < NORMED:  # the layers above have no batch-norm
        knobs["bn"] = trial.suggest_categorical("bn", ["train", "frozen", "recompute"])
    if trial.suggest_categorical("fusion", [False, True]):
        knobs["fusion_ratio"] = trial.suggest_float("fusion_ratio", *FUSION_RATIO, log=True)
        knobs["replay_size"] = trial.suggest_categorical("replay_size", [70, 700, ALL])
    held = [name for name in ANCHOR_WEIGHT if name != "replay" or "fusion_ratio" in knobs]
    # Two questions, because a categorical's choices must not depend on other knobs.
    knobs["anchor"] = trial.suggest_categorical(
        "anchor" if "replay" in held else "anchor_without_replay", ["none", *held]
    )
    if knobs["anchor"] != "none":
        knobs["anchor_weight"] = trial.suggest_float(
            f"{knobs['anchor']}_weight", *ANCHOR_WEIGHT[knobs["anchor"]], log=True
        )
    if knobs["anchor"] not in OUTPUT_ANCHORS:
        knobs["mixup"] = _or_off(trial, "mixup", 0.1, 0.5)
    config = replace(base, **knobs)
    return describe_kind(config), config


def _or_off(trial: "Trial", name: str, low: float, high: float) -> float:
    """Asks whether a knob is on, and only then for its value."""
    return trial.suggest_float(name, low, high) if trial.suggest_categorical(f"{name}_on", [False, True]) else 0.0


def describe_kind(config: AdaptationConfig) -> str:
    """Returns a short name of what a configuration is a kind of: fine-tuning or fusion, and what holds it."""
    kind = "FU" if config.fusion_ratio != 0 else "FT"
    return kind + (f"+{LABELS[config.anchor]}" if config.anchor != "none" else "")


def method_as_parameters(name: str, base: AdaptationConfig) -> dict[str, Any] | None:
    """Returns the knobs that a named method is in this space, or None when it is no point of it."""
    config = named(name, base)
    left_alone = ("init", "frozen_from", "sam", "members", "alpha", "alpha_slope")
    moved = [knob for knob in left_alone if getattr(config, knob) != getattr(base, knob)]
    if moved or not config.trains or config.frozen_layers > DEEPEST:
        return None
    together = ("optimiser", "weight_decay", "frozen_layers", "layer_decay", "label_smoothing")
    params = {knob: getattr(config, knob) for knob in together} | {f"{config.optimiser}_lr": config.lr}
    switched = ["head_first", "averaging"] + ["mixup"] * (config.anchor not in OUTPUT_ANCHORS)
    for knob in switched:
        value = getattr(config, knob)
        params |= {f"{knob}_on": True, knob: value} if value else {f"{knob}_on": False}
    if config.frozen_layers < NORMED:
        params["bn"] = config.bn
    params["fusion"] = config.fusion_ratio != 0
    if params["fusion"]:
        params["fusion_ratio"] = config.fusion_ratio
        params["replay_size"] = config.replay_size
    params["anchor" if params["fusion"] else "anchor_without_replay"] = config.anchor
    if config.anchor != "none":
        params[f"{config.anchor}_weight"] = config.anchor_weight
    return params


def initial_trial(base: AdaptationConfig, index: int) -> dict[str, Any]:
    """Returns the first named methods, then each other one after FREE free trials, so that searching begins before all
    is tried that may be no good here.

    The paper's go to their end. A method that is a point of the space has its knobs, so that samplers learn from it.
    """
    if index >= FIRST:
        group, place = divmod(index - FIRST, FREE + 1)
        index = FIRST + group if place == FREE else len(PRESETS)
    if index >= len(PRESETS):
        return {"params": {}}
    name = list(PRESETS)[index]
    keep = {"keep": True} if name in STRATEGIES else {}
    return {"params": method_as_parameters(name, base) or {}, "user_attrs": {"named": name} | keep}
