"""What a study should try first: the initial trials that its user asks for, and the front of an earlier study.

Such a trial has the attribute "prior", which says where it comes from and keeps it from being enqueued twice.
"""

import contextlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FixedTrial

from fer.adaptation.methods import LIBRARY, ON_REQUEST
from fer.architecture import Depth
from fer.config import AdaptationConfig
from fer.errors import InputError, did_you_mean
from search_spaces import SPACES
from search_spaces.initial_trials import InitialTrial
from study.fronts import front_table
from study.record import StudyRecord
from study.storage.backend import load_study, trials_of
from study.storage.journal import JOURNAL
from study.study_path import find_study_folder
from study.trial_attributes import TrialAttributes
from study.tuning.compatibility import fits
from study.tuning.expected_table import expected_table

_ALIASES = {
    "sgd_lr": "lr",
    "adamw_lr": "lr",
    "fusion_frozen_layers": "frozen_layers",
    "anchor_without_replay": "anchor",
}
"""What users call a hyperparameter whose name in the space depends on another choice."""

_MEANT = {
    "learning_rate": "lr",
    "rate": "lr",
    "frozen": "frozen_layers",
    "ratio": "fusion_ratio",
    "method": "strategy",
}
"""What users may call a hyperparameter in --try, and what the spaces call it."""

_DEPENDENT_NAMES: Mapping[str, tuple[str, ...]] = {
    "strategy": ("fusion",),
    "fusion": ("fusion_ratio", "replay_size"),
}
"""How the names of the hyperparameters begin that exist only where a choice is on.

Of a choice that is not listed here and is called NAME_on, they begin with NAME.
"""

_ON = (True, "FU")
"""The choices that switch something on."""

_DECIDED_BY: Mapping[str, tuple[str, ...]] = {
    "lr": ("optimiser",),
    "bn": ("frozen_layers",),
    "anchor": ("fusion",),
    "anchor_without_replay": ("fusion",),
    "mixup": ("fusion", "anchor", "anchor_without_replay"),
    "mixup_on": ("fusion", "anchor", "anchor_without_replay"),
}
"""Which choices decide whether, or under which name, a hyperparameter is asked for: left open, the sampler could decide
against it."""

_WEIGHT_DECIDED_BY = ("fusion", "anchor", "anchor_without_replay")
"""Which choices decide whether a hyperparameter that is called CHOICE_weight is asked for."""


def initial_trials(options: dict[str, Any], base: AdaptationConfig) -> list[InitialTrial]:
    """Returns the initial trials that a study's options ask for: --try first, then the earlier study's front.

    Args:
        options: The study's options, by their names.
        base: The hyperparameters that the space leaves alone.

    Raises:
        InputError: An initial trial is not in the space, or the earlier study is not there or of another space.
    """
    initial = [parse_initial_trial(text, options["space"], base) for text in options.get("tries") or ()]
    if options.get("warm_start"):
        earlier = _load_earlier(options["warm_start"], Path(options["out"]), options["storage"])
        initial += front_as_initial_trials(earlier, options["space"], base)
    return initial


def check_initial_trials(options: dict[str, Any], depth: Depth) -> None:
    """Raises InputError where an initial trial that a study's options ask for cannot be had; reads no data for that.

    Args:
        options: The study's options, by their names.
        depth: Of the study's network.
    """
    # How many passes a budget is depends on the data; whether a trial is in the space does not.
    base = AdaptationConfig(lr=options["lr"], amount=options["amount"], depth=depth)
    initial_trials(options, base)


def _load_earlier(study: str, out: Path, storage: str | None) -> optuna.Study:
    """Returns the study that --warm-start names.

    Args:
        study: Its name, or the path of its folder.
        out: Where the folder of a study is that is called by its name.
        storage: Of the study that begins, and of the earlier one, unless its folder holds its trials.
    """
    folder = find_study_folder(study)
    if folder is None:
        return load_study(study, out, storage)
    has_journal = (folder / JOURNAL).exists()
    return load_study(folder.name, folder.parent, None if has_journal else storage)


def front_as_initial_trials(study: optuna.Study, space: str, base: AdaptationConfig) -> list[InitialTrial]:
    """Returns the trials on a study's front, best source accuracy first.

    Args:
        study: The earlier study.
        space: Of the study that begins.
        base: The hyperparameters that the space leaves alone.

    Raises:
        InputError: It was searched in another space, with a network of another depth or in an earlier form of this
            space, or has no finished trial.
    """
    record = StudyRecord.from_json(study.user_attrs.get("study"))
    earlier_space = record.options.get("space")
    if earlier_space != space:
        raise InputError(
            "--warm-start needs a study of the same space",
            f"{study.study_name}, of {earlier_space}",
            f"Use --space {earlier_space}.",
        )

    if record.architecture.depth != base.depth:
        raise InputError(
            "--warm-start needs a study whose network has as many blocks",
            f"{study.study_name}, of {record.architecture.name}",
            f"Use --network {record.architecture.name}, or leave it out.",
        )

    # A front may hold several networks of one trial, and a configuration on several rungs.
    trials = trials_of(study)
    front = front_table(expected_table(record, trials))
    of_configuration: dict[str, int] = {}
    for number in front["trial"].tolist()[::-1]:
        configuration = repr(sorted(trials[number].params.items()))
        of_configuration.setdefault(configuration, number)
    numbers = list(of_configuration.values())
    if not numbers:
        raise InputError(
            "--warm-start needs a study with finished trials", study.study_name, "Let it finish some, or leave it out."
        )

    outdated = [number for number in numbers if not fits(trials[number], space, base)]
    if outdated:
        raise InputError(
            "--warm-start needs a study of the same space",
            f"{study.study_name}, trial {outdated[0]}, from before the space {space} changed",
            "Leave it out, or give the trial's choices with --try.",
        )

    initial = []
    for number in numbers:
        attributes = TrialAttributes.of(trials[number]).subset(("named", "keep"))
        attributes["prior"] = f"{study.study_name}, trial {number}"
        initial.append(InitialTrial(dict(trials[number].params), attributes))
    return initial


def parse_initial_trial(text: str, space: str, base: AdaptationConfig) -> InitialTrial:
    """Turns "strategy=FU,lr=1e-3" into an initial trial; what it leaves open is left to the sampler.

    Where the space itself does not ask for a strategy, "strategy" is a named method, which the other pairs change.

    Args:
        text: The value of --try.
        space: The name of the search space.
        base: The hyperparameters that the space leaves alone.

    Raises:
        InputError: Not pairs, a hyperparameter that the space does not ask for, or a value out of its range.
    """
    given = _parse_pairs(text)
    attributes: dict[str, Any] = {"prior": f"--try {text}", "keep": True}

    # A named method gives the values of all that the other pairs leave open.
    method: dict[str, Any] = {}
    has_methods = hasattr(SPACES[space], "method_as_parameters")
    if "strategy" in given and (has_methods or given["strategy"] in ON_REQUEST):
        name = given.pop("strategy")
        method = _parameters_of(name, space, base, changed=given, text=text)
        if not given:
            return InitialTrial(method, attributes | {"named": name})

    # The space asks for its hyperparameters as it asks any trial.
    trial = _GivenTrial(given, method)
    SPACES[space].suggest(trial, base)

    unused = [name for name in given if name not in trial.used]
    if unused:
        raise InputError(
            f"--try names hyperparameters of the space {space}; with these it asks for {', '.join(trial.params)}",
            ", ".join(unused),
            f"{_meant_by(unused[0], trial.params)}Correct the name, or switch on what it belongs to.",
        )
    return InitialTrial(trial.fixed | trial.decisions(), attributes)


def _meant_by(name: str, asked: Collection[str]) -> str:
    """Returns the question whether a name in --try was meant for a hyperparameter; empty where none is like it.

    Args:
        name: As the user wrote it.
        asked: The hyperparameters that the space asks for.
    """
    usual = _MEANT.get(name.lower().replace("-", "_"))
    if usual is not None:
        return f"Did you mean {usual}? "
    return did_you_mean(name, asked)


def _parse_pairs(text: str) -> dict[str, str]:
    """Returns the pairs of "NAME=VALUE,NAME=VALUE" as text."""
    rule = "--try is NAME=VALUE,NAME=VALUE, each hyperparameter once"
    fix = "Try strategy=FU,lr=1e-3."
    given: dict[str, str] = {}
    for part in text.split(","):
        pair = part.strip()
        if not pair:
            continue
        name, equals, value = (word.strip() for word in pair.partition("="))
        if not (equals and name and value) or name in given:
            raise InputError(rule, pair, fix)
        given[name] = value
    if not given:
        raise InputError(rule, text, fix)
    return given


def _parameters_of(
    name: str, space: str, base: AdaptationConfig, changed: Mapping[str, str], text: str
) -> dict[str, Any]:
    """Returns the parameters that a named method has in a space; empty where it is no point of the space.

    Args:
        name: The named method.
        space: The name of the search space.
        base: The hyperparameters that the space leaves alone.
        changed: What the user wants to change of the method.
        text: The value of --try.

    Raises:
        InputError: There is no such method, or it is no point of the space and cannot be changed.
    """
    if name not in LIBRARY:
        raise _strategy_error(LIBRARY, name)
    parameters = None if name in ON_REQUEST else SPACES[space].method_as_parameters(name, base)
    if parameters is None and changed:
        raise InputError(
            f"--try: {name} is no point of the space {space}, so no hyperparameter of it can be changed",
            text,
            f"Give strategy={name} alone.",
        )
    return parameters or {}


class _GivenTrial(FixedTrial):
    """Takes a trial's place in a space: answers with what the user gave, which `FixedTrial` checks.

    What is left open has the value that the named method has, or else the one under which the given values mean
    something, or else the lowest number or the first choice.

    Args:
        given: Hyperparameters as the user wrote them.
        method: Parameters of a named method.

    Attributes:
        used: The given names that the space asked for.
        fixed: The parameters that the sampler has no say in.
    """

    def __init__(self, given: Mapping[str, str], method: Mapping[str, Any]) -> None:
        self.answers: dict[str, Any] = {}
        super().__init__(self.answers)
        self.given = given
        self.method = method
        self.used: set[str] = set()
        self.fixed: dict[str, Any] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """Answers for a number."""
        with self._answered(name, FloatDistribution(low, high, log=log, step=step), otherwise=low):
            return super().suggest_float(name, low, high, step=step, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Answers for a whole number."""
        with self._answered(name, IntDistribution(low, high, log=log, step=step), otherwise=low):
            return super().suggest_int(name, low, high, step=step, log=log)

    def suggest_categorical(  # type: ignore[override]  # one signature for all types of choices
        self, name: str, choices: Sequence[CategoricalChoiceType]
    ) -> CategoricalChoiceType:
        """Answers for a choice."""
        with self._answered(name, CategoricalDistribution(choices), otherwise=choices[0]):
            return super().suggest_categorical(name, choices)

    @contextlib.contextmanager
    def _answered(self, name: str, distribution: BaseDistribution, otherwise: CategoricalChoiceType) -> Iterator[None]:
        """Sets the answer that `FixedTrial` then gives; refuses a given value that `FixedTrial` does not take."""
        key = self._key_of(name)
        if key in self.given:
            self.used.add(key)

        fixed = self._fixed_value(name, key, distribution)
        if fixed is not None:
            self.fixed[name] = fixed
        self.answers[name] = self.fixed.get(name, otherwise)

        try:
            with warnings.catch_warnings(action="error", category=UserWarning):  # which a value out of range gets
                yield
        except (ValueError, UserWarning):
            raise _range_error(name, self.given.get(key, self.answers[name]), distribution) from None

    def _key_of(self, name: str) -> str:
        """Returns the name under which the user gives a hyperparameter: its own, or what users call it."""
        if name in self.given:
            return name
        return _ALIASES.get(name, name)

    def _fixed_value(self, name: str, key: str, distribution: BaseDistribution) -> CategoricalChoiceType:
        """Returns the value that the sampler has no say in: as given, as implied, or the method's; None if none is."""
        if key in self.given:
            return _parse_value(self.given[key], distribution)
        implied = _implied_choice(name, distribution, self.given)
        if implied is not None:
            return implied
        return self.method.get(name)

    def decisions(self) -> dict[str, Any]:
        """Returns the answers that decide whether, and under which name, the given hyperparameters are asked for."""
        decisions = {}
        for name in self.used:
            otherwise = _WEIGHT_DECIDED_BY if name.endswith("_weight") else ()
            for decider in _DECIDED_BY.get(name, otherwise):
                if decider in self.answers:
                    decisions[decider] = self.answers[decider]
        return decisions


def _implied_choice(name: str, distribution: BaseDistribution, given: Mapping[str, str]) -> CategoricalChoiceType:
    """Returns the choice under which the given hyperparameters mean something, None where any choice would do.

    Args:
        name: The hyperparameter that the space asks for.
        distribution: Its choices.
        given: The hyperparameters as the user wrote them.
    """
    if not isinstance(distribution, CategoricalDistribution):
        return None

    # A hyperparameter that has the choice in its name: adamw_lr, replay_weight.
    for choice in distribution.choices:
        if f"{choice}_lr" in given or f"{choice}_weight" in given:
            return choice

    # Without fusion there is nothing to replay.
    replays = given.get("anchor") == "replay" or "replay_weight" in given
    if name == "fusion" and replays and True in distribution.choices:
        return True

    # A hyperparameter that exists only where the choice is on.
    beginnings = _DEPENDENT_NAMES.get(name, (name.removesuffix("_on"),))
    needed = any(key.startswith(beginnings) for key in given if key != name)
    if not needed:
        return None
    return next((choice for choice in distribution.choices if choice in _ON), None)


def _parse_value(text: str, distribution: BaseDistribution) -> CategoricalChoiceType:
    """Returns the value that a text stands for: a choice in any case of letters, or a number.

    A text that stands for no value is returned as it is; `FixedTrial` then refuses it.
    """
    if isinstance(distribution, CategoricalDistribution):
        choice_of_name = {str(choice).lower(): choice for choice in distribution.choices}
        return choice_of_name.get(text.lower(), text)

    number_type = int if isinstance(distribution, IntDistribution) else float
    try:
        return number_type(text)
    except ValueError:
        return text


def _range_error(name: str, value: object, distribution: BaseDistribution) -> InputError:
    """Returns the error that says which values a hyperparameter may have."""
    if name == "strategy" and isinstance(distribution, CategoricalDistribution):
        return _strategy_error([str(choice) for choice in distribution.choices], str(value))
    if isinstance(distribution, CategoricalDistribution):
        choices = ", ".join(str(choice) for choice in distribution.choices)
        return InputError(f"--try: {name} is one of {choices}", value, "Choose one of them.")
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    kind = "a whole number" if isinstance(distribution, IntDistribution) else "a number"
    rule = f"--try: {name} is {kind} from {distribution.low:g} to {distribution.high:g}"
    return InputError(rule, value, "Give a number in this range.")


def _strategy_error(choices: Collection[str], value: str) -> InputError:
    """Returns the error about a strategy that a space does not have.

    Args:
        choices: Those that it has.
        value: As the user wrote it.
    """
    known = {method.lower(): method for method in LIBRARY}.get(value.lower())
    if known is not None and known not in choices:
        fix = f"--space full has {known}; study.run --list-strategies tells what each method is."
    else:
        fix = f"{did_you_mean(value, choices)}study.run --list-strategies tells what each is."
    return InputError("--try: strategy is one of " + ", ".join(choices), value, fix)
