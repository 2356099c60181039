"""The test whether a study's trials are of its search space as the space is now.

Optuna refuses one hyperparameter with two distributions, trial by trial. Here all trials of a study are asked at once,
and before anything is trained: each trial's choices are given to the space again, and what the space asks for is
compared with what it asked for then.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from fer.config import AdaptationConfig
from search_spaces import SPACES
from study.storage.optuna_private import enqueued_parameters

Value = TypeVar("Value", bound=CategoricalChoiceType)


def fits(trial: FrozenTrial, space: str, base: AdaptationConfig) -> bool:
    """Returns whether all that a trial chose is still asked for by its space, with the same values to choose from.

    Args:
        trial: In any state; a waiting one has the choices that it was enqueued with.
        space: Name of the search space.
        base: The hyperparameters that the space leaves alone; its depth is that of the study's network.
    """
    choices = enqueued_parameters(trial) | trial.params
    if not choices:
        return True  # the baseline, or a trial that is left to the sampler

    replay = _Replay(choices)
    SPACES[space].suggest(replay, base)
    if not choices.keys() <= replay.asked.keys():
        return False
    same_values = all(replay.asked[name] == distribution for name, distribution in trial.distributions.items())
    all_allowed = all(_allows(replay.asked[name], value) for name, value in choices.items())
    return same_values and all_allowed


class _Replay:
    """Takes a trial's place in a space and gives its choices again; what is missing gets the first value there is."""

    def __init__(self, choices: dict[str, Any]) -> None:
        self.choices = choices
        self.asked: dict[str, BaseDistribution] = {}
        self.user_attrs: dict[str, Any] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Answers for a number."""
        return self._answer(name, FloatDistribution(low, high, log=log), low)

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Answers for a whole number."""
        return self._answer(name, IntDistribution(low, high, log=log), low)

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        """Answers for a choice."""
        return self._answer(name, CategoricalDistribution(choices), choices[0])

    def _answer(self, name: str, distribution: BaseDistribution, otherwise: Value) -> Value:
        self.asked[name] = distribution
        if name in self.choices and _allows(distribution, self.choices[name]):
            return self.choices[name]
        return otherwise


def _allows(distribution: BaseDistribution, value: object) -> bool:
    """Returns whether a hyperparameter may have a value."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return isinstance(value, int | float) and distribution.low <= value <= distribution.high
