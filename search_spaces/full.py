"""Every knob, conditional: what one choice leaves without effect is not asked for.

Ranges span what the methods' papers use; rates, decays and weights are searched on log scales. `sam` and `members` are
left at the base: they change what a trial costs.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fer.adaptation import ALL, NATURAL, PRESETS, AdaptationConfig

if TYPE_CHECKING:
    from optuna import Trial

# Each default of `AdaptationConfig` lies inside the range beside it, or is the "off" that is offered first.
LEARNING_RATE = {"sgd": (1e-4, 1e-1), "adamw": (1e-5, 1e-2)}
WEIGHT_DECAY = (1e-5, 1e-2)
LAYER_DECAY = (0.3, 1.0)
FUSION_RATIO = (0.05, 0.95)
# Importances have a mean of 1 and reach 100: above 1 a rate of 0.01 would diverge.
ANCHOR_WEIGHT = {
    "weights": (1e-3, 1e1), "fisher": (1e-3, 1.0), "mas": (1e-3, 1.0), "features": (1e-3, 1e1), "logits": (1e-1, 1e1),
    "replay": (1e-2, 1e1),
}  # fmt: skip
DEEPEST = 12
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
    if knobs["frozen_layers"] < 10:  # the layers above have no batch-norm
        knobs["bn"] = trial.suggest_categorical("bn", ["train", "frozen", "recompute"])
    if trial.suggest_categorical("fusion", [False, True]):
        natural = trial.suggest_categorical("fusion_kind", [NATURAL, "ratio"]) == NATURAL
        knobs["fusion_ratio"] = NATURAL if natural else trial.suggest_float("fusion_ratio", *FUSION_RATIO)
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
    if knobs["anchor"] not in ("features", "logits", "replay"):
        knobs["mixup"] = _or_off(trial, "mixup", 0.1, 0.5)
    config = replace(base, **knobs)
    return label(config), config


def _or_off(trial: "Trial", name: str, low: float, high: float) -> float:
    """Asks whether a knob is on, and only then for its value."""
    return trial.suggest_float(name, low, high) if trial.suggest_categorical(f"{name}_on", [False, True]) else 0.0


def label(config: AdaptationConfig) -> str:
    """Returns a short name of what a configuration is a kind of: fine-tuning or fusion, and what holds it."""
    kind = "FU" if config.fusion_ratio != 0 else "FT"
    return kind + (f"+{LABELS[config.anchor]}" if config.anchor != "none" else "")


def slot(base: AdaptationConfig, index: int) -> dict[str, Any]:
    """Returns every named method first, to its end, then free trials."""
    if index >= len(PRESETS):
        return {"params": {}}
    return {"params": {}, "user_attrs": {"named": list(PRESETS)[index], "keep": True}}
