"""Search spaces: what a trial may choose, turned into an adaptation.

Each space is a module with two functions:

- `suggest(trial, base) -> (strategy, AdaptationConfig)` asks the trial for its hyperparameters;
- `initial_trial(base, index) -> InitialTrial` says what the index-th trial of a study is to be: named strategies first,
  then trials that are left to the sampler.

A space whose strategies are not those of `fer.adaptation` has a function `named` of its own. A space in which named
methods may be points has `method_as_parameters`.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING

from fer.adaptation import methods
from fer.config import AdaptationConfig
from search_spaces import card, full, paper

if TYPE_CHECKING:
    from optuna import Trial

SPACES: Mapping[str, ModuleType] = {"card": card, "full": full, "paper": paper}


def suggest_adaptation(space: str, trial: "Trial", base: AdaptationConfig) -> tuple[str, AdaptationConfig]:
    """Asks a trial for its hyperparameters; returns the strategy's name and the adaptation.

    A trial that was enqueued with the attribute "named" is that strategy. Where the strategy is a point of the space
    (`method_as_parameters`), the trial is asked for its parameters as well, so that samplers learn from them. The
    baseline (BL) is never a point: there is nothing in it to search.

    Args:
        space: Name of the search space.
        trial: The trial that is asked.
        base: The hyperparameters that the space leaves alone.
    """
    module = SPACES[space]

    # A trial that is left to the sampler.
    if "named" not in trial.user_attrs:
        return module.suggest(trial, base)

    # A named strategy, which may be a point of the space.
    strategy = trial.user_attrs["named"]
    if hasattr(module, "method_as_parameters") and module.method_as_parameters(strategy, base):
        _, config = module.suggest(trial, base)
        return strategy, config
    return strategy, named_in(space, strategy, base)


def named_in(space: str, strategy: str, base: AdaptationConfig) -> AdaptationConfig:
    """Returns what a named strategy is in a space; the paper's own fusion is FU in the paper's space alone.

    Raises:
        InputError: There is no such strategy.
    """
    named = getattr(SPACES[space], "named", methods.named)
    return named(strategy, base)
