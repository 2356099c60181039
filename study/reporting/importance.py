"""Which hyperparameter matters for which objective: PED-ANOVA over the finished trials."""

import warnings

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from study.record import DOMAINS
from study.trials import counted_trials

MIN_TRIALS = 20
"""Finished trials below which nothing is said."""
BEST_SHARE = 0.1
MIN_BEST_TRIALS = 5
"""How many count as the best where the best tenth are fewer."""


def compute_importances(trials: list[FrozenTrial]) -> tuple[pd.DataFrame | None, str]:
    """Returns how important each hyperparameter is for reaching the best tenth of the finished trials.

    PED-ANOVA (arXiv 2304.10255); of few trials the best five count as the best.

    Args:
        trials: All Optuna trials of the study.

    Returns:
        A table (hyperparameter, source, target; each objective's column sums to 1, the most important first), None
        where nothing can be said, and a note on what is missing.
    """
    finished = [trial for trial in counted_trials(trials) if trial.state.name == "COMPLETE"]
    if len(finished) < MIN_TRIALS:
        return None, f"importance needs {MIN_TRIALS} finished trials; there are {len(finished)}"
    distributions = [distribution for trial in finished for distribution in trial.distributions.values()]
    if all(distribution.single() for distribution in distributions):
        return None, "importance needs a hyperparameter that varies; none does"

    # Each objective alone, its importances as shares of their sum.
    study = _copy_study(finished)
    quantile = max(BEST_SHARE, MIN_BEST_TRIALS / len(finished))
    columns: dict[str, dict[str, float]] = {}
    notes = []
    for axis, domain in enumerate(DOMAINS):
        if np.ptp([trial.values[axis] for trial in finished]) == 0:
            notes.append(f"the {domain} objective is the same in all finished trials")
            continue
        importances = _importances_for(study, quantile, axis)
        total = sum(importances.values())
        if total > 0:
            columns[domain] = {name: importance / total for name, importance in importances.items()}
        else:
            notes.append(f"no hyperparameter separates the best {domain} accuracies from the rest")

    # Both objectives side by side, by their mean.
    note = "; ".join(notes)
    if not columns:
        return None, f"importance is unknown: {note}"
    ranking = pd.DataFrame(columns).fillna(0.0).rename_axis("hyperparameter")
    order = ranking.mean(axis=1).sort_values(ascending=False, kind="stable").index
    return ranking.loc[order].reset_index(), note


def _importances_for(study: optuna.Study, quantile: float, axis: int) -> dict[str, float]:
    """Returns the importance of each hyperparameter for one objective, by its place in a trial's values.

    Args:
        study: Holds the finished trials alone.
        quantile: The share of trials that count as the best.
        axis: The objective's place.
    """
    # Optuna loads this part of itself, and scikit-learn with it, when it is first named: a second in every process.
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)

    def loss(trial: FrozenTrial) -> float:
        # The evaluator takes lower for better, whatever the study's directions are.
        return -trial.values[axis]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(study, evaluator=evaluator, target=loss, normalize=False)


def _copy_study(trials: list[FrozenTrial]) -> optuna.Study:
    """Returns an in-memory study of these trials alone: the evaluator reads a study, discarded trials included."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(directions=["maximize", "maximize"])
        study.add_trials(trials)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return study
