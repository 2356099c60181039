"""Every hyperparameter, conditional: what one choice leaves without effect is not asked for.

Ranges span what the methods' papers use; rates, decays, weights and the fusion ratio are searched on log scales. `sam`
and `members` are left at the base: they change what a trial costs. As in `card`, the natural fusion ratio is no choice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from fer.adaptation.methods import METHODS, STRATEGIES, named, strategies_of
from fer.architecture import Depth
from fer.config import ALL, OUTPUT_ANCHORS, AdaptationConfig
from search_spaces.initial_trials import InitialTrial

if TYPE_CHECKING:
    from optuna import Trial

ChoiceValue: TypeAlias = str | float | None
"""What Optuna takes for the value of a categorical hyperparameter."""


@dataclass(frozen=True)
class Choice:
    """A hyperparameter with a few values.

    Attributes:
        field: The field of `AdaptationConfig`.
        choices: The values, the default first.
        name: The parameter's name in a trial; empty where it is the field's.
    """

    field: str
    choices: tuple[ChoiceValue, ...]
    name: str = ""

    def suggest(self, trial: "Trial") -> ChoiceValue:
        """Asks the trial for the value."""
        return trial.suggest_categorical(self.name or self.field, self.choices)

    def as_parameters(self, value: ChoiceValue) -> dict[str, Any]:
        """Returns the parameters of a trial that has the value."""
        return {self.name or self.field: value}


@dataclass(frozen=True)
class Hyperparameter:
    """A hyperparameter with a range.

    Attributes:
        field: The field of `AdaptationConfig`.
        range: Lowest and highest value; where both are integers, the trial is asked for an integer.
        log: Whether it is searched on a log scale.
        name: The parameter's name in a trial; empty where it is the field's.
        off: The name of the parameter that switches it on; empty where it is always on. Off, its value is 0.
    """

    field: str
    range: tuple[float, float]
    log: bool = False
    name: str = ""
    off: str = ""

    def suggest(self, trial: "Trial") -> float:
        """Asks the trial whether the hyperparameter is on, if it may be off, and then for its value."""
        if self.off and not trial.suggest_categorical(self.off, [False, True]):
            return 0.0
        low, high = self.range
        name = self.name or self.field
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(name, low, high, log=self.log)
        return trial.suggest_float(name, low, high, log=self.log)

    def as_parameters(self, value: float) -> dict[str, Any]:
        """Returns the parameters of a trial that has the value."""
        if self.off and value == 0:
            return {self.off: False}
        switch = {self.off: True} if self.off else {}
        return switch | {self.name or self.field: value}


# Each default of `AdaptationConfig` lies inside the range, or is the "off" that is offered first.
OPTIMISER = Choice("optimiser", ("sgd", "adamw"))
LEARNING_RATE = {
    "sgd": Hyperparameter("lr", (1e-4, 1e-1), log=True, name="sgd_lr"),
    "adamw": Hyperparameter("lr", (1e-5, 1e-2), log=True, name="adamw_lr"),
}
WEIGHT_DECAY = Hyperparameter("weight_decay", (1e-5, 1e-2), log=True)
ALWAYS = (
    Hyperparameter("layer_decay", (0.3, 1.0)),
    Hyperparameter("label_smoothing", (0.0, 0.2)),
    Hyperparameter("head_first", (0.05, 0.3), off="head_first_on"),
    Hyperparameter("averaging", (0.02, 0.5), off="averaging_on"),
)
"""What every configuration is asked for, besides optimiser, learning rate, weight decay and frozen blocks."""
BATCH_NORM = Choice("bn", ("train", "frozen", "recompute"))
FUSION_RATIO = Hyperparameter("fusion_ratio", (0.01, 0.95), log=True, off="fusion")
"""One source sample in a hundred can prevent forgetting (arXiv 2502.06042)."""
REPLAY_SIZE = Choice("replay_size", (70, 700, ALL))
ANCHOR_WEIGHT = {
    "weights": Hyperparameter("anchor_weight", (1e-3, 1e1), log=True, name="weights_weight"),
    # Importances have a mean of 1 and reach 100: above 1 a rate of 0.01 would diverge.
    "fisher": Hyperparameter("anchor_weight", (1e-3, 1.0), log=True, name="fisher_weight"),
    "mas": Hyperparameter("anchor_weight", (1e-3, 1.0), log=True, name="mas_weight"),
    "features": Hyperparameter("anchor_weight", (1e-3, 1e1), log=True, name="features_weight"),
    "logits": Hyperparameter("anchor_weight", (1e-1, 1e1), log=True, name="logits_weight"),
    "replay": Hyperparameter("anchor_weight", (1e-2, 1e1), log=True, name="replay_weight"),
}
# Two questions, because a categorical's choices must not depend on other hyperparameters.
ANCHOR = Choice("anchor", ("none", *ANCHOR_WEIGHT))
ANCHOR_WITHOUT_REPLAY = Choice(
    "anchor", ("none", *(anchor for anchor in ANCHOR_WEIGHT if anchor != "replay")), name="anchor_without_replay"
)
MIXUP = Hyperparameter("mixup", (0.1, 0.5), off="mixup_on")

FIRST = 8
"""How many named methods come first: the paper's five and three with decaying rates."""
FREE = 2
"""How many free trials come before each of the other named methods."""
LABELS: Mapping[str, str] = {
    "weights": "L2-SP",
    "fisher": "EWC",
    "mas": "MAS",
    "features": "LF",
    "logits": "LwF",
    "replay": "DER++",
}
"""How the kind of a configuration with an anchor is named: after the method that is known by the anchor."""
OUTSIDE = ("init", "frozen_from", "sam", "members", "alpha", "alpha_slope")
"""Fields that the space leaves at the base."""


def frozen_layers(depth: Depth) -> Hyperparameter:
    """Returns the number of frozen blocks, all but the last at most."""
    return Hyperparameter("frozen_layers", (0, depth.last))


def hyperparameters(values: Mapping[str, Any], depth: Depth) -> Iterator[Choice | Hyperparameter]:
    """Yields the hyperparameters that a configuration has in this space, in the order in which a trial is asked.

    Args:
        values: The configuration's values by field; at each step, only those of earlier hyperparameters are read, so
            the caller may fill in one value after the other.
        depth: Of the network.
    """
    yield OPTIMISER
    yield LEARNING_RATE[values["optimiser"]]
    yield WEIGHT_DECAY
    yield frozen_layers(depth)
    yield from ALWAYS
    if values["frozen_layers"] < depth.normed:  # the blocks above have no batch-norm
        yield BATCH_NORM
    yield FUSION_RATIO
    has_fusion = values["fusion_ratio"] != 0
    if has_fusion:
        yield REPLAY_SIZE
    yield ANCHOR if has_fusion else ANCHOR_WITHOUT_REPLAY
    if values["anchor"] != "none":
        yield ANCHOR_WEIGHT[values["anchor"]]
    if values["anchor"] not in OUTPUT_ANCHORS:
        yield MIXUP


def suggest(trial: "Trial", base: AdaptationConfig) -> tuple[str, AdaptationConfig]:
    """Asks the trial for its hyperparameters.

    Args:
        trial: The trial that is asked.
        base: The hyperparameters that the space leaves alone.

    Returns:
        The configuration's kind, see `describe_kind`, and the adaptation.
    """
    values: dict[str, Any] = {}
    for hyperparameter in hyperparameters(values, base.depth):
        values[hyperparameter.field] = hyperparameter.suggest(trial)
    config = replace(base, **values)
    return describe_kind(config), config


def describe_kind(config: AdaptationConfig) -> str:
    """Returns a short name of a configuration's kind: fine-tuning or fusion, and the anchor."""
    kind = "FU" if config.fusion_ratio != 0 else "FT"
    if config.anchor == "none":
        return kind
    return f"{kind}+{LABELS[config.anchor]}"


def method_as_parameters(name: str, base: AdaptationConfig) -> dict[str, Any] | None:
    """Returns a named method's parameters in this space, or None where the method is no point of the space.

    Raises:
        InputError: There is no such method.
    """
    config = named(name, base)
    leaves_space = any(getattr(config, field) != getattr(base, field) for field in OUTSIDE)
    if leaves_space or not config.trains or config.frozen_layers > base.depth.last:
        return None
    parameters: dict[str, Any] = {}
    for hyperparameter in hyperparameters(vars(config), base.depth):
        parameters |= hyperparameter.as_parameters(getattr(config, hyperparameter.field))
    return parameters


def initial_trial(base: AdaptationConfig, index: int) -> InitialTrial:
    """Returns what the index-th trial of a study is to be.

    First come FIRST named methods, then the others, FREE free trials before each: the search begins before every method
    is tried, some of which may be of no use here. The paper's strategies are trained to their end. A method that is a
    point of the space has its parameters, so that samplers learn from it. One that is an earlier method in this network
    is left to the sampler.
    """
    name = _method_at(index)
    if name is None or _adds_nothing(name, base):
        return InitialTrial()
    attributes: dict[str, Any] = {"named": name}
    if name in STRATEGIES:
        attributes["keep"] = True
    return InitialTrial(method_as_parameters(name, base) or {}, attributes)


def _adds_nothing(name: str, base: AdaptationConfig) -> bool:
    """Returns whether a method is another one by another name in this network.

    FC+CL is RE where the head follows the first block, LP is FC where the head is a single block, and AdaBN is the
    baseline where no block has a batch-norm.
    """
    if name in STRATEGIES:  # each of which the paper's comparison asks for
        return name not in strategies_of(base.depth)
    config = named(name, base)
    if not config.trains and base.depth.normed == 0:
        return True
    names = list(METHODS)
    earlier = names[: names.index(name)]
    return config in [named(other, base) for other in earlier]


def _method_at(index: int) -> str | None:
    """Returns the named method that the index-th trial is; None where it is left to the sampler."""
    names = list(METHODS)
    if index < FIRST:
        return names[index]

    # Then come groups of FREE free trials and one named method.
    group, place = divmod(index - FIRST, FREE + 1)
    is_free = place < FREE
    method = FIRST + group
    if is_free or method >= len(names):
        return None
    return names[method]
