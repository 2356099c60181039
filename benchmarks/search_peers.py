"""Early stopping by other projects, for `benchmarks.search`: Syne Tune's MO-ASHA and OptunaHub's multi-metric pruner.

Their own code decides, at the rungs of the table, with hyperparameters drawn from this project's space. Nothing else
needs these projects: `pip install syne-tune optunahub`, and OPTUNAHUB_REGISTRY names the folder `package` of a checkout
of https://github.com/optuna/optunahub-registry, where the pruner's code is. Without them their contenders are left out.
"""

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.pruners import BasePruner

from benchmarks.search_simulator import Rule

Stopping = Callable[[optuna.Study], Rule]
"""From an Optuna study to the rule that stops its trials."""

EIGHTHS = 8
"""Units of time in a budget: the shares of the table are multiples of an eighth."""

METRICS = ("source", "target")


def missing(package: str | None) -> str | None:
    """Returns why a peer cannot take part; None where it can, and for contenders that need no package."""
    if package is None:
        return None
    if package == "optunahub" and not os.environ.get("OPTUNAHUB_REGISTRY"):
        return "OPTUNAHUB_REGISTRY names no checkout of its registry"
    return None if find_spec(package) else f"{package} is not installed"


def mo_asha(grace: int = 1, eta: float = 3) -> Stopping:
    """Returns Syne Tune's MO-ASHA; the defaults are its own.

    Args:
        grace: The first rung, in eighths of the budget.
        eta: The best 1/eta of the trials at a rung go on.
    """

    def stopping(study: optuna.Study) -> Rule:
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA  # noqa: PLC0415  optional

        scheduler = MOASHA(
            {}, list(METRICS), do_minimize=False, max_t=EIGHTHS, grace_period=grace, reduction_factor=eta
        )

        def rule(trial: optuna.Trial, share: float, mine: Sequence[float], before: Sequence[Sequence[float]]) -> bool:
            scheduled: Any = SimpleNamespace(trial_id=trial.number)
            if trial.number not in scheduler.trial_info:
                scheduler.on_trial_add(scheduled)
            result: dict[str, Any] = dict(zip(METRICS, mine, strict=True))
            result[scheduler.time_attr] = round(share * EIGHTHS)
            return scheduler.on_trial_result(scheduled, result) == "STOP"

        return rule

    return stopping


def multi_metric(make: Callable[[], BasePruner]) -> Stopping:
    """Returns OptunaHub's multi-metric pruner.

    Args:
        make: Makes the pruner of Optuna that is asked for each metric.
    """

    def stopping(study: optuna.Study) -> Rule:
        import optunahub  # noqa: PLC0415  optional

        folder = os.environ["OPTUNAHUB_REGISTRY"]
        module: Any = optunahub.load_local_module("pruners/multi_metric_pruner", registry_root=folder)
        directions = dict.fromkeys(METRICS, "maximize")
        study.pruner = module.MultiMetricPruner(make(), metric_directions=directions, joint=True)

        def rule(trial: optuna.Trial, share: float, mine: Sequence[float], before: Sequence[Sequence[float]]) -> bool:
            wrapped = module.MultiMetricPrunerTrial(trial)
            wrapped.report(dict(zip(METRICS, mine, strict=True)), round(share * EIGHTHS))
            return bool(wrapped.should_prune())

        return rule

    return stopping
