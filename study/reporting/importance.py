"""Which hyperparameter matters for which objective: PED-ANOVA over the finished trials."""

import copy
import warnings

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from study.record import DOMAINS
from study.storage.slots import on_first_rung
from study.trials import counted_trials
from study.tuning.fold_effects import target_effects
from study.tuning.plan import SearchPlan

MIN_TRIALS = 20
"""Finished trials below which nothing is said."""
BEST_SHARE = 0.1
MIN_BEST_TRIALS = 5
"""How many count as the best where the best tenth are fewer."""


def compute_importances(trials: list[FrozenTrial], plan: SearchPlan | None = None) -> tuple[pd.DataFrame | None, str]:
    """Returns how important each hyperparameter is for reaching the best tenth of the finished trials.

    PED-ANOVA (arXiv 2304.10255); of few trials the best five count as the best. Of a study with rungs the trials of the
    first one count, which every configuration has with an equal budget. What a trial's fold adds to its target accuracy
    is removed.

    Args:
        trials: All Optuna trials of the study.
        plan: Of the study; None for one whose trials all validate on the same images.

    Returns:
        A table (hyperparameter, source, target; each objective's column sums to 1, the most important first), None
        where nothing can be said, and a note on what is missing.
    """
    plan = plan or SearchPlan()
    finished = [trial for trial in on_first_rung(counted_trials(trials)) if trial.state.name == "COMPLETE"]
    if len(finished) < MIN_TRIALS:
        on_rung = " on the first rung" if plan.rungs > 1 else ""
        return None, f"importance needs {MIN_TRIALS} finished trials{on_rung}; there are {len(finished)}"
    distributions = [distribution for trial in finished for distribution in trial.distributions.values()]
    if all(distribution.single() for distribution in distributions):
        return None, "importance needs a hyperparameter that varies; none does"

    # Each objective alone, its importances as shares of their sum.
    effects = target_effects(finished, plan)
    study = _copy_study([_without_effect(trial, effects[trial.number]) for trial in finished])
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


def _without_effect(trial: FrozenTrial, effect: float) -> FrozenTrial:
    """Returns a trial without what its fold adds to its target accuracy."""
    source, target = trial.values
    comparable = copy.copy(trial)
    comparable.values = [source, target - effect]
    return comparable
