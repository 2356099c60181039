"""The paper's own grid, exactly: BL, and FC, FC+CL, RE, FU at 50 % and 100 % of the target's training set.

FU is the paper's here: it draws both datasets as they are, at their natural ratio. Whether the paper trained it from
the baseline or from scratch is not published. The grid's FU starts from the baseline. FU-scratch, the other reading, is
a point of the space beside the grid, with the same budget, and is reached by `--try strategy=FU-scratch,amount=1.0`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fer.adaptation import methods
from fer.adaptation.methods import STRATEGIES
from fer.config import NATURAL, AdaptationConfig

if TYPE_CHECKING:
    from optuna import Trial

FROM_SCRATCH = "FU-scratch"
FUSIONS: Mapping[str, Mapping[str, Any]] = {
    "FU": {"fusion_ratio": NATURAL},
    FROM_SCRATCH: {"fusion_ratio": NATURAL, "init": "scratch"},
}
"""What this space's fusions set, where the other spaces' FU draws half of each batch from the source."""

ADAPTING = [strategy for strategy in STRATEGIES if strategy != "BL"]
AMOUNTS = (0.5, 1.0)
POINTS = 1 + len(ADAPTING) * len(AMOUNTS)


def suggest(trial: "Trial", base: AdaptationConfig) -> tuple[str, AdaptationConfig]:
    """Asks the trial for strategy and amount; the learning rate is the base's."""
    strategy = trial.suggest_categorical("strategy", [*ADAPTING, FROM_SCRATCH])
    amount = trial.suggest_categorical("amount", AMOUNTS)
    return strategy, named(strategy, replace(base, amount=amount))


def named(strategy: str, base: AdaptationConfig) -> AdaptationConfig:
    """Returns `base` moved to the corner point of a strategy, whose fusion is the paper's own."""
    if strategy in FUSIONS:
        return replace(base, **FUSIONS[strategy])
    return methods.named(strategy, base)


def initial_trial(base: AdaptationConfig, index: int) -> dict[str, Any]:
    """Returns the nine points of the grid in turn; further rounds have other seeds. All run to their end."""
    grid: list[dict[str, Any]] = [{"params": {"strategy": s, "amount": a}} for s in ADAPTING for a in AMOUNTS]
    point = {"params": {}, "user_attrs": {"named": "BL"}} if index % POINTS == 0 else grid[index % POINTS - 1]
    attributes = {"keep": True, "replicate": index // POINTS}
    return {"params": point["params"], "user_attrs": point.get("user_attrs", {}) | attributes}
