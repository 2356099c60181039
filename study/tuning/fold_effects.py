"""Target accuracies of trials that validate on different folds, made comparable.

One fold's people are easier than another's, for the baseline and for every network, and easier to learn. What the
baseline shows on a fold is known and subtracted. What networks of one rung gain on a fold more than on others is
estimated by their mean and subtracted too, as far as there are enough of them to tell it from luck.
"""

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from study.storage.slots import is_of_search, place_of
from study.trials import objective_vectors
from study.tuning.plan import SearchPlan

_PSEUDO_TRIALS = 4.0
"""How many trials without an effect each fold's mean is drawn to."""


def comparable_vectors(trials: Sequence[FrozenTrial], plan: SearchPlan) -> dict[int, list[list[float]]]:
    """Returns source and target accuracy of each finished trial's networks, by the trial's number.

    The target's are what the networks would show on all folds if every fold favoured every network alike.

    Args:
        trials: Finished trials of any rungs.
        plan: Has the baseline's accuracy on each fold.
    """
    effects = target_effects(trials, plan)
    return {
        trial.number: [[source, target - effects[trial.number]] for source, target in objective_vectors(trial)]
        for trial in trials
    }


def target_effects(trials: Sequence[FrozenTrial], plan: SearchPlan) -> dict[int, float]:
    """Returns what its fold adds to the target accuracy of each trial, by the trial's number.

    Args:
        trials: Trials of any rungs and states; those of the search that finished tell what folds add.
        plan: Has the baseline's accuracy on each fold.
    """
    if plan.folds == 1:
        return {trial.number: 0.0 for trial in trials}
    telling = [trial for trial in trials if _tells_of_fold(trial, plan)]
    effects: dict[int, np.ndarray] = {}
    of_trials = {}
    for trial in trials:
        place = place_of(trial)
        if place.rung not in effects:
            of_rung = [trial for trial in telling if place_of(trial).rung == place.rung]
            effects[place.rung] = _effects_of_folds(of_rung, plan)
        of_trials[trial.number] = float(effects[place.rung][place.fold]) if 0 <= place.fold < plan.folds else 0.0
    return of_trials


def _tells_of_fold(trial: FrozenTrial, plan: SearchPlan) -> bool:
    """Returns whether a trial of the search finished that validates on a single fold."""
    is_on_one = 0 <= place_of(trial).fold < plan.folds
    return is_on_one and trial.state == TrialState.COMPLETE and is_of_search(trial)


def _effects_of_folds(trials: Sequence[FrozenTrial], plan: SearchPlan) -> np.ndarray:
    """Returns what each fold adds to target accuracies on one rung, (folds,).

    Args:
        trials: Finished trials of the rung, each on a single fold, whose adapted networks tell.
        plan: Has the baseline's accuracy on each fold.
    """
    of_baseline = np.asarray(plan.baseline_of_folds)
    folds = np.array([place_of(trial).fold for trial in trials], int)
    gains = np.array([trial.values[1] for trial in trials]) - of_baseline[folds]

    # Each fold's mean gain against that of all trials.
    counts = np.bincount(folds, minlength=plan.folds)
    overall = gains.mean() if len(gains) else 0.0
    excess = np.bincount(folds, gains - overall, plan.folds)
    return of_baseline - plan.baseline_target + excess / (counts + _PSEUDO_TRIALS)
