"""What a study should try first: the user's guesses, and the front of an earlier study.

A prior is the slot of a trial (`search_spaces`) with the attribute "prior", which says where it comes from and keeps it
from being enqueued twice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from fer.adaptation import PRESETS, AdaptationConfig
from fer.errors import InputError
from search_spaces import SPACES
from study.describe import section

if TYPE_CHECKING:
    import optuna

Slot = dict[str, Any]


def priors_of(options: dict[str, Any], base: AdaptationConfig) -> list[Slot]:
    """Returns the slots that a study's options ask for: guesses first, then the earlier study's front.

    Raises:
        InputError: A guess is not in the space, or the earlier study is not there or of another space.
    """
    found = [guess(text, options["space"], base) for text in options.get("tries") or ()]
    if options.get("warm_start"):
        from study.storage import load_study

        earlier = load_study(options["warm_start"], Path(options["out"]), options["storage"])
        found += front_of(earlier, options["space"])
    return found


def front_of(study: "optuna.Study", space: str) -> list[Slot]:
    """Returns the trials on a study's front, best source accuracy first.

    Raises:
        InputError: It was searched in another space, or has no finished trial.
    """
    from study.front import front, table
    from study.storage import trials_of

    theirs = section(section(study.user_attrs, "study"), "options").get("space")
    if theirs != space:
        raise InputError(
            "--warm-start needs a study of the same space", f"{study.study_name}, of {theirs}", f"Use --space {theirs}."
        )
    trials = trials_of(study)
    numbers = dict.fromkeys(front(table(trials))["trial"].tolist()[::-1])
    if not numbers:
        raise InputError(
            "--warm-start needs a study with finished trials", study.study_name, "Let it finish some, or leave it out."
        )
    slots = []
    for number in numbers:
        own = trials[number].user_attrs
        attributes = {name: own[name] for name in ("named", "keep") if name in own}
        attributes["prior"] = f"{study.study_name}, trial {number}"
        slots.append({"params": dict(trials[number].params), "user_attrs": attributes})
    return slots


def guess(text: str, space: str, base: AdaptationConfig) -> Slot:
    """Turns "strategy=FU,lr=1e-3" into a slot; what it leaves open is left to the sampler.

    Where the space itself does not ask for a strategy, "strategy" is a named method, which the other pairs change.

    Raises:
        InputError: Not pairs, a knob that the space does not ask for, or a value out of its range.
    """
    given: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (equals and name and value) or name in given:
            raise InputError("--try is KNOB=VALUE,KNOB=VALUE, each knob once", pair, "Try strategy=FU,lr=1e-3.")
        given[name] = value
    if not given:
        raise InputError("--try is KNOB=VALUE,KNOB=VALUE, each knob once", text, "Try strategy=FU,lr=1e-3.")
    attributes: dict[str, Any] = {"prior": f"--try {text}", "keep": True}
    point = getattr(SPACES[space], "point", None)
    params: dict[str, Any] = {}
    if point is not None and "strategy" in given:
        name = given.pop("strategy")
        if name not in PRESETS:
            raise InputError("--try: strategy is one of " + ", ".join(PRESETS), name, "Choose one of them.")
        known = point(name, base)
        if known is None and given:
            raise InputError(
                f"--try: {name} is no point of the space {space}, so no knob of it can be changed",
                text, f"Give strategy={name} alone.",
            )  # fmt: skip
        params = known or {}
        if not given:
            return {"params": params, "user_attrs": attributes | {"named": name}}
    asking = _Asking(given, params, space)
    SPACES[space].suggest(asking, base)
    asking.check_all_used()
    return {"params": asking.chosen, "user_attrs": attributes}


class _Asking:
    """Takes a trial's place in a space: learns what the space asks for and checks what the user gave.

    What is left open takes the value of `params`, or else that under which the given knobs mean something.
    """

    user_attrs: Mapping[str, Any] = {}

    def __init__(self, given: dict[str, str], params: dict[str, Any], space: str) -> None:
        self.given, self.params, self.space = given, params, space
        self.asked: list[str] = []
        self.used: set[str] = set()
        self.answered: dict[str, Any] = {}
        self.chosen: dict[str, Any] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Answers for a number."""
        return self._choose(name, FloatDistribution(low, high, log=log), low)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Answers for a whole number."""
        return self._choose(name, IntDistribution(low, high, log=log), low)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Answers for a choice."""
        implied = self._implied(name, choices) if name not in self.given else None
        if implied is not None and _ALIASES.get(name, name) not in self.given:
            self.asked.append(name)
            self.chosen[name] = self.answered[name] = implied
            return implied
        return self._choose(name, CategoricalDistribution(choices), choices[0])

    def _implied(self, name: str, choices: Sequence[Any]) -> Any:
        """Returns the choice that a given knob belongs to, or None."""
        for choice in choices:
            if f"{choice}_lr" in self.given or f"{choice}_weight" in self.given:
                return choice
        if name == "fusion" and (self.given.get("anchor") == "replay" or "replay_weight" in self.given):
            return True  # there is nothing to replay without
        own = {"strategy": ("fusion",), "fusion": ("fusion_ratio", "fusion_kind", "replay_size")}
        own |= {"fusion_kind": ("fusion_ratio",)}
        if any(key.startswith(own.get(name, (name.removesuffix("_on"),))) for key in self.given if key != name):
            return next((choice for choice in choices if choice in (True, "ratio", "FU")), None)
        return None

    def _choose(self, name: str, distribution: BaseDistribution, otherwise: Any) -> Any:
        self.asked.append(name)
        key = name if name in self.given else _ALIASES.get(name, name)
        if key in self.given:
            self.used.add(key)
            self.chosen[name] = _value(name, self.given[key], distribution)
        elif name in self.params:
            self.chosen[name] = self.params[name]
        self.answered[name] = self.chosen.get(name, otherwise)
        return self.answered[name]

    def check_all_used(self) -> None:
        """Raises InputError for a given knob that the space did not ask for; fixes what decides over the others."""
        left = [name for name in self.given if name not in self.used]
        if left:
            raise InputError(
                f"--try names knobs of the space {self.space}; with these it asks for {', '.join(self.asked)}",
                ", ".join(left), "Correct the name, or switch on what it belongs to.",
            )  # fmt: skip
        for name in self.used:
            for decider in _DECIDED_BY.get(name, _DECIDED_BY["_weight"] if name.endswith("_weight") else ()):
                if decider in self.answered:
                    self.chosen[decider] = self.answered[decider]


# What users call a knob whose name in the space depends on another knob.
_ALIASES = {
    "sgd_lr": "lr", "adamw_lr": "lr", "fusion_frozen_layers": "frozen_layers", "anchor_without_replay": "anchor",
}  # fmt: skip
# Which choices decide whether, or under which name, a knob is asked for: left open, they could go against it.
_DECIDED_BY: Mapping[str, tuple[str, ...]] = {
    "lr": ("optimiser",), "bn": ("frozen_layers",),
    "anchor": ("fusion",), "anchor_without_replay": ("fusion",),
    "_weight": ("fusion", "anchor", "anchor_without_replay"),
    "mixup": ("fusion", "anchor", "anchor_without_replay"), "mixup_on": ("fusion", "anchor", "anchor_without_replay"),
}  # fmt: skip


def _value(name: str, text: str, distribution: BaseDistribution) -> Any:
    """Returns a given value in its knob's type, checked against its range."""
    if isinstance(distribution, CategoricalDistribution):
        for choice in distribution.choices:
            if str(choice).lower() == text.lower():
                return choice
        options = ", ".join(str(choice) for choice in distribution.choices)
        raise InputError(f"--try: {name} is one of {options}", text, "Choose one of them.")
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    whole = isinstance(distribution, IntDistribution)
    kind = "a whole number" if whole else "a number"
    rule = f"--try: {name} is {kind} from {distribution.low:g} to {distribution.high:g}"
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        raise InputError(rule, text, "Give a number in this range.") from None
    if not distribution.low <= value <= distribution.high:
        raise InputError(rule, text, "Give a number in this range.")
    return value
