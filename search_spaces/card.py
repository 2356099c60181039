"""The default space: strategy, number of frozen blocks, learning rate, fusion ratio.

FC, FC+CL and RE are the paper's and fix the frozen blocks; FT is fine-tuning above any cut, FU fusion above any cut.
The natural ratio is no choice here: with it a small target is hardly drawn at this budget. The paper's space has it.

Every cut may be chosen, however many blocks a network has: in simulated searches of 40 trials on smooth objectives (60
seeds, 2026-11-30, no committed command), 13 cuts in place of 39 raised the hypervolume by 0.7 % ± 0.6 %, too little for
a second way of counting. Trials with other cuts share features all the same, see `fer.features.cuts.choose_cuts`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fer.adaptation.methods import HALF, STRATEGIES, named, strategies_of
from fer.config import AdaptationConfig
from search_spaces.initial_trials import InitialTrial

if TYPE_CHECKING:
    from optuna import Trial

LEARNING_RATE = (1e-4, 1e-1)
FUSION_RATIO = (0.01, 0.95)
"""On a log scale: one source sample in a hundred can prevent forgetting (arXiv 2502.06042)."""


def suggest(trial: "Trial", base: AdaptationConfig) -> tuple[str, AdaptationConfig]:
    """Asks the trial for its strategy, and for the hyperparameters that the strategy leaves open.

    Args:
        trial: The trial that is asked.
        base: The hyperparameters that the space leaves alone.

    Returns:
        The strategy's name, and the adaptation.
    """
    strategy = trial.suggest_categorical("strategy", ["FC", "FC+CL", "RE", "FT", "FU"])
    deepest = base.depth.last  # all blocks but the last are frozen at most
    config = replace(base, lr=trial.suggest_float("lr", *LEARNING_RATE, log=True))
    if strategy == "FT":
        frozen_layers = trial.suggest_int("frozen_layers", 1, deepest)
        return strategy, replace(config, frozen_layers=frozen_layers)
    if strategy == "FU":
        frozen_layers = trial.suggest_int("fusion_frozen_layers", 0, deepest)
        ratio = trial.suggest_float("fusion_ratio", *FUSION_RATIO, log=True)
        return strategy, replace(config, frozen_layers=frozen_layers, fusion_ratio=ratio)
    return strategy, named(strategy, config)


def initial_trial(base: AdaptationConfig, index: int) -> InitialTrial:
    """Returns what the index-th trial of a study is to be: the paper's five strategies first, then free trials.

    The five have the base's learning rate and are trained to their end. One that equals another in this network is left
    to the sampler.
    """
    if index >= len(STRATEGIES):
        return InitialTrial()
    strategy = list(STRATEGIES)[index]
    if strategy not in strategies_of(base.depth):
        return InitialTrial()
    if strategy == "BL":
        return InitialTrial(user_attrs={"named": "BL", "keep": True})

    params: dict[str, Any] = {"strategy": strategy, "lr": base.lr}
    if strategy == "FU":
        params |= {"fusion_frozen_layers": 0, "fusion_ratio": HALF}
    return InitialTrial(params, {"keep": True})
