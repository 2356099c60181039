"""Whether networks of a running trial would join the front of the finished trials."""

from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from study.pareto import non_dominated
from study.storage.backend import trials_of
from study.storage.slots import is_of_search
from study.trials import OBJECTIVES, counted_trials
from study.tuning.fold_effects import comparable_vectors, target_effects
from study.tuning.plan import SearchPlan


def would_join_front(trial: optuna.Trial, plan: SearchPlan, measures: Sequence[dict[str, float]]) -> bool:
    """Returns whether any of these networks would join the front of the finished trials.

    Args:
        trial: The running trial.
        plan: Of the study; has the source accuracy below which no network joins the front.
        measures: The metrics of each of its networks, with both objectives.
    """
    sufficient = [values for values in measures if values[OBJECTIVES[0]] >= plan.min_source]
    return bool(sufficient) and any(mark_non_dominated(trial, plan, sufficient))


def mark_non_dominated(trial: optuna.Trial, plan: SearchPlan, measures: Sequence[dict[str, float]]) -> list[bool]:
    """Marks those of a running trial's networks that no network of a finished trial dominates, nor one of its own.

    Args:
        trial: The running trial.
        plan: Of the study; accuracies are compared without what folds add to them.
        measures: The metrics of each of its networks, with both objectives.

    Returns:
        For each network whether none dominates it.
    """
    trials = trials_of(trial.study)
    effect = target_effects(trials, plan)[trial.number]
    finished = [ended for ended in counted_trials(trials) if ended.state == TrialState.COMPLETE and is_of_search(ended)]

    # The trial's own networks come first: of equal points the first is not dominated.
    source, target = OBJECTIVES
    points = [[values[source], values[target] - effect] for values in measures]
    for vectors in comparable_vectors(finished, plan).values():
        points += vectors
    return non_dominated(points)[: len(measures)].tolist()
