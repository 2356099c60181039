"""Promotion: which configurations are trained again with a larger budget.

A study trains every configuration with a small budget, that of the first rung. The best 1/ETA of a rung's
configurations are trained again on the next rung, which has four times the budget (`study.presets.FACTOR`). This is
asynchronous successive halving (ASHA; Li et al. 2020, arXiv 1810.05934): no worker waits for the others. Whenever ETA
more configurations have ended on a rung, the best of it that was not promoted yet is: at any time a rung has at most
1/ETA as many configurations as the one below, although early ones may have fallen behind. Configurations are ordered
by the non-domination rank of their networks and then by crowding distance (MO-ASHA; Schmucker et al. 2021, arXiv
2106.12639), so they are promoted along the whole front. By one number, the target accuracy for instance, those would be
promoted that forget most; and a small budget flatters what hardly learns, because it hardly forgets.

Where folds of the target take turns, each rung validates on another one, and accuracies are compared without what the
folds add to them (`study.tuning.fold_effects`). Where one fold has too few images or people to tell anything, each rung
trains on all of them. Accuracies are compared in whole points from the baseline's (`study.tuning.whole_points`).

Named strategies are promoted before all others once a rung has places enough for them. One fold of a small target
decides little, and what it puts last may be what is known to work.

Each rung trains from the baseline again, with the learning rate annealed over its own budget. What comes of a rung is
thereby one training that a confirmation can repeat, and a finished network that competes for the front.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from study.storage.slots import Place, is_of_search, place_owners, rung_of, slot_of
from study.trial_attributes import TrialAttributes
from study.tuning.early_stopping import trial_positions
from study.tuning.plan import SearchPlan
from study.tuning.whole_points import vectors_in_whole_points

ETA = 3
"""The best 1/ETA of the configurations on a rung are promoted."""


PLACES_PER_NAMED = 2
"""A rung with at least so many places for each named strategy takes these first."""


@dataclass(frozen=True)
class Promotion:
    """A configuration that is to be trained on the next rung.

    Attributes:
        trial: The ended trial of the configuration on the rung below.
        place: That it is promoted to.
    """

    trial: FrozenTrial
    place: Place


def find_promotions(trials: Sequence[FrozenTrial], plan: SearchPlan) -> list[Promotion]:
    """Returns the promotions that are due: to the highest rung first, and there the best configuration first.

    Args:
        trials: All trials of a study.
        plan: Of the study.
    """
    owners = place_owners(trials).values()
    of_search = [trial for trial in owners if is_of_search(trial)]
    promotions = []
    for rung in range(plan.rungs, 1, -1):
        promoted = {slot_of(trial) for trial in of_search if rung_of(trial) == rung}
        below = [trial for trial in of_search if rung_of(trial) == rung - 1]
        ended = [trial for trial in below if trial.state.is_finished()]
        left = len(ended) // ETA - len(promoted)
        if left <= 0:
            continue

        ordered = order_by_networks(ended, plan)
        named = [trial for trial in ordered if _is_named(trial)]
        if len(ended) // ETA >= PLACES_PER_NAMED * len(named):
            ordered = [*named, *(trial for trial in ordered if trial not in named)]
        candidates = [trial for trial in ordered if slot_of(trial) not in promoted]
        for trial in candidates[:left]:
            slot = slot_of(trial)
            promotions.append(Promotion(trial, Place(slot, rung, plan.first_fold(slot, rung))))
    return promotions


def order_by_networks(trials: Sequence[FrozenTrial], plan: SearchPlan) -> list[FrozenTrial]:
    """Returns trials by non-domination rank and then crowding distance of their networks, the best first.

    Trials that a larger budget would not change are left out: the baseline's and others that train nothing, and those
    that repeat another trial, stopped or failed.

    Args:
        trials: Ended trials of one rung.
        plan: Of the study.
    """
    vectors = vectors_in_whole_points([trial for trial in trials if _gains_by_budget(trial)], plan)
    candidates = [trial for trial in trials if vectors.get(trial.number)]
    if not candidates:
        return []

    # A trial stands where the best of its networks stands.
    points = np.array([vector for trial in candidates for vector in vectors[trial.number]], dtype=float)
    owners = np.repeat(np.arange(len(candidates)), [len(vectors[trial.number]) for trial in candidates])
    positions = trial_positions(points, owners)

    # Of equals, the earlier trial comes first.
    order = np.lexsort((np.array([trial.number for trial in candidates]), positions))
    return [candidates[index] for index in order]


def _is_named(trial: FrozenTrial) -> bool:
    """Returns whether a trial is a named strategy, which a space names, or keeps from early stopping."""
    attributes = TrialAttributes.of(trial)
    return attributes.named is not None or bool(attributes.keep)


def _gains_by_budget(trial: FrozenTrial) -> bool:
    """Returns whether a trial finished with a result of its own that a larger budget would change."""
    attributes = TrialAttributes.of(trial)
    trains_nothing = attributes.strategy == "BL" or (attributes.config or {}).get("lr") == 0
    return trial.state == TrialState.COMPLETE and attributes.twin_of is None and not trains_nothing
