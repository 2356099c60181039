"""What counts as a difference while a search chooses: whole points of accuracy, and the baseline is one of the trials.

Source accuracy is measured on thousands of images, target accuracy of one fold on dozens. A network that hardly differs
from the baseline keeps a tenth of a point more of the source than the next of its kind, so that no other dominates it,
although it is of no use. On JAFFE half of a search's configurations and most of its promotions went to such networks.
So objectives are compared in whole points from the baseline's, and networks that are better in neither stand behind
all others.

Example:
    The baseline has 65.7 and 49.3 %. A network with 65.6 and 49.3 % is no better in whole points, and stands behind one
    with 60.1 and 52.0 %.
"""

from collections.abc import Sequence

import numpy as np

from study.tuning.plan import SearchPlan

POINT = 0.01
"""The smallest difference of accuracies that counts."""
BEHIND = 1.0
"""What is taken off both accuracies of a network that is no better than the baseline: more than others differ by."""


def in_whole_points(vectors: Sequence[Sequence[float]], plan: SearchPlan) -> list[list[float]]:
    """Returns the vectors of a trial's networks as a search compares them.

    Args:
        vectors: Source and target accuracy of each network, without what the trial's fold adds.
        plan: Has the baseline's accuracies. Where it has none, in a study that stored no answers, nothing changes.
    """
    return [_in_whole_points(vector, plan) for vector in vectors]


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


def _in_whole_points(vector: Sequence[float], plan: SearchPlan) -> list[float]:
    """Returns a vector rounded to whole points from the baseline's; behind all others where neither is better."""
    if plan.images is None:
        return list(vector)
    baseline = (plan.baseline_source, plan.baseline_target)
    gains = [round((accuracy - of_baseline) / POINT) for accuracy, of_baseline in zip(vector, baseline, strict=True)]
    is_better = any(gain > 0 for gain in gains)
    return [
        of_baseline + POINT * gain - (0.0 if is_better else BEHIND)
        for of_baseline, gain in zip(baseline, gains, strict=True)
    ]
