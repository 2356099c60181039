"""The paper's own grid, exactly: BL, and FC, FC+CL, RE, FU at 50 % and 100 % of the target's training set.

FU is the paper's here: a network trained from scratch on both datasets as they are, at their natural ratio, by the
baseline's recipe and for as many passes over the source (`fer.baseline.FusedNetworks`). FC, FC+CL and RE start from the
baseline, and are trained until they learn no more (`study.inputs.CONVERGED_PASSES`). FU-baseline, a fusion at the
natural ratio that starts from the baseline, is a point of the space beside the grid, and is reached by
`--try strategy=FU-baseline,amount=1.0`. It has the budget of the others, of which a small target gets next to nothing:
give `--epochs` as many passes over the target as are one pass over both training sets.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from fer.adaptation import methods
from fer.adaptation.methods import STRATEGIES
from fer.config import NATURAL, AdaptationConfig
from search_spaces.initial_trials import InitialTrial

if TYPE_CHECKING:
    from optuna import Trial

FROM_BASELINE = "FU-baseline"
FUSIONS: Mapping[str, Mapping[str, Any]] = {
    "FU": {"init": "fused", "fused_share": NATURAL, "fusion_ratio": NATURAL, "lr": 0.0},
    FROM_BASELINE: {"fusion_ratio": NATURAL},
}
"""What this space's fusions set, where the other spaces' FU draws half of each batch from the source."""

ADAPTING = [strategy for strategy in STRATEGIES if strategy != "BL"]
"""The paper's strategies that train something; the baseline is the same whatever the amount."""
AMOUNTS = (0.5, 1.0)
"""Shares of the target's training set."""
POINTS = 1 + len(ADAPTING) * len(AMOUNTS)
"""Number of the grid's points, the baseline among them."""


def suggest(trial: "Trial", base: AdaptationConfig) -> tuple[str, AdaptationConfig]:
    """Asks the trial for strategy and amount; the learning rate is the base's.

    Args:
        trial: The trial that is asked.
        base: The hyperparameters that the space leaves alone.

    Returns:
        The strategy's name, and the adaptation.
    """
    strategy = trial.suggest_categorical("strategy", [*ADAPTING, FROM_BASELINE])
    amount = trial.suggest_categorical("amount", AMOUNTS)
    return strategy, named(strategy, replace(base, amount=amount))


def named(strategy: str, base: AdaptationConfig) -> AdaptationConfig:
    """Returns the configuration of a named strategy; a fusion is the paper's own.

    Raises:
        InputError: There is no such strategy.
    """
    if strategy in FUSIONS:
        return replace(base, **FUSIONS[strategy])
    return methods.named(strategy, base)


def initial_trial(base: AdaptationConfig, index: int) -> InitialTrial:
    """Returns what the index-th trial of a study is to be: the nine points of the grid in turn, all trained to the end.

    Further rounds over the grid repeat its points with other seeds.
    """
    replicate, point = divmod(index, POINTS)
    attributes: dict[str, Any] = {"keep": True, "replicate": replicate}
    if point == 0:
        return InitialTrial(user_attrs={"named": "BL"} | attributes)

    strategy, amount = list(product(ADAPTING, AMOUNTS))[point - 1]
    return InitialTrial({"strategy": strategy, "amount": amount}, attributes)
