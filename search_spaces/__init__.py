"""Search spaces: what a trial may choose, turned into an adaptation.

Each space is a module with `suggest(trial, base) -> (strategy, AdaptationConfig)`, which asks the trial for its
hyperparameters, and `initial_trial(base, index) -> dict`, the arguments of `optuna.Study.enqueue_trial` for the
index-th trial of a study: named strategies first, then trials that are left to the sampler. A space whose strategies
are not those of `fer.adaptation` has a `named` of its own.
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


def choose(space: str, trial: "Trial", base: AdaptationConfig) -> tuple[str, AdaptationConfig]:
    """Returns the strategy's name and the adaptation that the trial chooses.

    A trial that was enqueued with the attribute "named" is that strategy. Where it is a point of the space, as told by
    the space's `method_as_parameters`, the trial has its parameters as well; the baseline (BL) is none:
    there is nothing in it to search.
    """
    if "named" in trial.user_attrs:
        strategy = trial.user_attrs["named"]
        if hasattr(SPACES[space], "method_as_parameters") and SPACES[space].method_as_parameters(strategy, base):
            return strategy, SPACES[space].suggest(trial, base)[1]
        return strategy, named_in(space, strategy, base)
    return SPACES[space].suggest(trial, base)


def named_in(space: str, strategy: str, base: AdaptationConfig) -> AdaptationConfig:
    """Returns what a named strategy is in a space; the paper's own fusion is FU in the paper's space alone."""
    named = getattr(SPACES[space], "named", methods.named)
    return named(strategy, base)
