"""The paper's own grid, exactly: BL, and FC, FC+CL, RE, FU at 50 % and 100 % of the target's training set."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fer.adaptation import STRATEGIES, AdaptationConfig, named

if TYPE_CHECKING:
    from optuna import Trial

ADAPTING = [strategy for strategy in STRATEGIES if strategy != "BL"]
AMOUNTS = (0.5, 1.0)
POINTS = 1 + len(ADAPTING) * len(AMOUNTS)


def suggest(trial: "Trial", base: AdaptationConfig) -> tuple[str, AdaptationConfig]:
    """Asks the trial for strategy and amount; the learning rate is the base's."""
    strategy = trial.suggest_categorical("strategy", ADAPTING)
    amount = trial.suggest_categorical("amount", AMOUNTS)
    return strategy, named(strategy, replace(base, amount=amount))


def slot(base: AdaptationConfig, index: int) -> dict[str, Any]:
    """Returns the nine points of the grid in turn; further rounds have other seeds. All run to their end."""
    grid: list[dict[str, Any]] = [{"params": {"strategy": s, "amount": a}} for s in ADAPTING for a in AMOUNTS]
    point = {"params": {}, "user_attrs": {"named": "BL"}} if index % POINTS == 0 else grid[index % POINTS - 1]
    attributes = {"keep": True, "replicate": index // POINTS}
    return {"params": point["params"], "user_attrs": point.get("user_attrs", {}) | attributes}
