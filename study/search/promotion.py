"""Promotion: which configurations are trained again with a larger budget.

A study trains every configuration with a small budget, that of the first rung. The best 1/ETA of a rung's
configurations are trained again on the next rung, which has four times the budget (`study.presets.FACTOR`). This is
asynchronous successive halving (ASHA; Li et al. 2020, arXiv 1810.05934): a configuration is promoted as soon as it is
among the best 1/ETA of those that have ended on its rung, so no worker waits for the others. Configurations are ordered
by the non-domination rank of their networks and then by crowding distance (MO-ASHA; Schmucker et al. 2021, arXiv
2106.12639), so they are promoted along the whole front. By one number, the target accuracy for instance, those would be
promoted that forget most; and a small budget flatters what hardly learns, because it hardly forgets.

Each rung trains from the baseline again, with the learning rate annealed over its own budget. What comes of a rung is
thereby one training that a confirmation can repeat, and a finished network that competes for the front.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from study.search.early_stopping import trial_positions
from study.storage.slots import place_owners, rung_of, slot_of
from study.trial_attributes import TrialAttributes
from study.trials import objective_vectors

ETA = 3
"""The best 1/ETA of the configurations on a rung are promoted."""


@dataclass(frozen=True)
class Promotion:
    """A configuration that is to be trained on the next rung.

    Attributes:
        trial: The ended trial of the configuration on the rung below.
        rung: The rung that it is promoted to, from 2.
    """

    trial: FrozenTrial
    rung: int


def find_promotions(trials: Sequence[FrozenTrial], rungs: int) -> list[Promotion]:
    """Returns the promotions that are due: to the highest rung first, and there the best configuration first.

    Args:
        trials: All trials of a study.
        rungs: How many rungs the study has.
    """
    owners = place_owners(trials)
    promotions = []
    for rung in range(rungs, 1, -1):
        below = [trial for trial in owners.values() if rung_of(trial) == rung - 1]
        ended = [trial for trial in below if trial.state.is_finished()]
        best = order_by_networks(ended)[: len(ended) // ETA]
        promotions += [Promotion(trial, rung) for trial in best if (slot_of(trial), rung) not in owners]
    return promotions


def order_by_networks(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns trials by non-domination rank and then crowding distance of their networks, the best first.

    Trials that a larger budget would not change are left out: the baseline's, and those that repeat another trial,
    stopped or failed.

    Args:
        trials: Ended trials of one rung.
    """
    vectors = {trial.number: objective_vectors(trial) for trial in trials if _gains_by_budget(trial)}
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


def _gains_by_budget(trial: FrozenTrial) -> bool:
    """Returns whether a trial finished with a result of its own that a larger budget would change."""
    attributes = TrialAttributes.of(trial)
    is_baseline = attributes.strategy == "BL"
    return trial.state == TrialState.COMPLETE and attributes.twin_of is None and not is_baseline
