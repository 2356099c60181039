"""What counts as a difference while a search chooses: whole points of accuracy, and the baseline is one of the trials.

Source accuracy is measured on thousands of images, target accuracy of one fold on dozens. A network that hardly differs
from the baseline keeps a tenth of a point more of the source than the next of its kind, so that no other dominates it,
although it is of no use. On JAFFE 89 of 200 configurations and 55 of 88 promotions were such networks.
So objectives are compared in whole points from the baseline's, and networks that are better in neither stand behind
all others.

Example:
    The baseline has 65.7 and 49.3 %. A network with 65.6 and 49.3 % is no better in whole points, and stands behind one
    with 60.1 and 52.0 %.
"""

from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial

from study.storage.slots import place_of
from study.trials import objective_vectors
from study.tuning.fold_effects import comparable_vectors, target_effects
from study.tuning.plan import SearchPlan

POINT = 0.01
"""The smallest difference of accuracies that counts."""
BEHIND = 1.0
"""What is taken off both accuracies of a network that is no better than the baseline: more than others differ by."""


def vectors_in_whole_points(trials: Sequence[FrozenTrial], plan: SearchPlan) -> dict[int, list[list[float]]]:
    """Returns source and target accuracy of each finished trial's networks as a search compares them.

    Whether a network is better than the baseline is told by the images that both answered, those of the trial's own
    fold. What is compared with other trials is without what the fold adds (`study.tuning.fold_effects`).

    Args:
        trials: Finished trials of any rungs.
        plan: Has the baseline's accuracies. Where it has none, in a study that stored no answers, nothing is rounded.

    Returns:
        By the trial's number.
    """
    if plan.images is None:
        return comparable_vectors(trials, plan)
    effects = target_effects(trials, plan)
    compared = {}
    for trial in trials:
        effect = effects[trial.number]
        of_baseline = plan.baseline_at(place_of(trial).fold) - effect
        of_networks = [[source, target - effect] for source, target in objective_vectors(trial)]
        compared[trial.number] = [in_whole_points(vector, plan, of_baseline) for vector in of_networks]
    return compared


def in_whole_points(vector: Sequence[float], plan: SearchPlan, target_of_baseline: float) -> list[float]:
    """Returns accuracies in whole points from the baseline's, behind all others where neither is better.

    Args:
        vector: Source and target accuracy, the latter without what the fold adds.
        plan: Has the baseline's accuracies.
        target_of_baseline: The baseline's target accuracy on the same images, without the same.
    """
    own = (plan.baseline_source, target_of_baseline)
    of_all = (plan.baseline_source, plan.baseline_target)
    is_better = any(round((accuracy - base) / POINT) > 0 for accuracy, base in zip(vector, own, strict=True))
    shift = 0.0 if is_better else BEHIND
    return [
        base + POINT * round((accuracy - base) / POINT) - shift for accuracy, base in zip(vector, of_all, strict=True)
    ]


def gains_in_whole_points(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns gains over the baseline in whole points, behind all others where neither is positive.

    The baseline's own gains, which are exactly 0 in both, stay.

    Args:
        source: Gains of any shape, as shares.
        target: Gains of the same shape.
    """
    source_points, target_points = np.rint(source / POINT), np.rint(target / POINT)
    is_baseline = (source == 0) & (target == 0)
    is_behind = (source_points <= 0) & (target_points <= 0) & ~is_baseline
    shift = np.where(is_behind, BEHIND / POINT, 0.0)
    return source_points - shift, target_points - shift
