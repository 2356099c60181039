"""Which knob matters for which objective: PED-ANOVA over the finished trials."""

import warnings
from typing import Any

import numpy as np
import pandas as pd

from study.trials import counted_trials


def compute_importances(trials: list[Any]) -> tuple[pd.DataFrame | None, str]:
    """Returns PED-ANOVA importances (knob, source, target; each sums to 1) and a note on what is missing.

    The importance of a knob for reaching the best tenth of the finished trials, at least five of them.
    """
    import optuna

    done = [t for t in counted_trials(trials) if t.state.name == "COMPLETE"]
    if len(done) < 20:
        return None, f"importance needs 20 finished trials; there are {len(done)}"
    if not any(not d.single() for t in done for d in t.distributions.values()):
        return None, "importance needs a knob that varies; none does"
    study = _copied(done)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, 5 / len(done)))
    columns: dict[str, dict[str, float]] = {}
    notes = []
    for axis, side in enumerate(("source", "target")):
        if np.ptp([t.values[axis] for t in done]) == 0:
            notes.append(f"the {side} objective is the same in all finished trials")
            continue
        raw = _importance_of(study, evaluator, axis)
        total = sum(raw.values())
        if total > 0:
            columns[side] = {name: value / total for name, value in raw.items()}
        else:
            notes.append(f"no knob separates the best {side} accuracies from the rest")
    if not columns:
        return None, "importance cannot be told: " + "; ".join(notes)
    result = pd.DataFrame(columns).fillna(0.0).rename_axis("knob")
    result = result.assign(mean=result.mean(axis=1)).sort_values("mean", ascending=False, kind="stable")
    return result.drop(columns="mean").reset_index(), "; ".join(notes)


def _importance_of(study: Any, evaluator: Any, axis: int) -> dict[str, float]:
    import optuna

    def loss(trial: Any) -> float:
        return -trial.values[axis]  # the evaluator takes lower for better, whatever the study's directions say

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study, evaluator=evaluator, target=loss, normalize=False)


def _copied(trials: list[Any]) -> Any:
    """Returns an in-memory study of these trials only: the evaluator reads a study, lost trials included."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(directions=["maximize", "maximize"])
        study.add_trials(trials)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return study
