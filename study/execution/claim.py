"""How a worker gets its next trial: it claims a waiting one, and a sampler suggests its hyperparameters.

A promotion that is due is enqueued first. Two workers may both enqueue it: then the one that is claimed second is given
up, as the second trial of any place is (`study.storage.slots`).
"""

import optuna
from optuna.trial import TrialState

from fer.seeding import seed_from
from study.options import current_sampler
from study.search.promotion import find_promotions
from study.search.samplers import SamplerView, make_sampler, take_trial, waiting_trials
from study.storage.backend import trials_of
from study.storage.optuna_private import open_trial, storage_of
from study.storage.slots import ENDED, discard_trial, enqueue_promoted, place_of, place_owners


def claim_trial(study: optuna.Study, sampler: str, seed: int, rungs: int = 1) -> optuna.Trial | None:
    """Takes the next waiting trial for this process, or returns None when no trial is left.

    The sampler is made again for each trial, with a seed from the study's seed and the trial's number: a resumed study
    does not draw the same numbers again, and a single worker draws the same numbers in every run.

    Args:
        study: The study.
        sampler: The sampler's name, as on the command line or in the record of an older study.
        seed: The study's seed.
        rungs: How many rungs the study has.

    Raises:
        InputError: The sampler is one that this version no longer has.
    """
    sampler = current_sampler(sampler)
    enqueue_promotion(study, rungs)
    for waiting in waiting_trials(study):
        if not take_trial(study, waiting):
            continue

        # Two processes may have filled one place; then the trial that was made first holds it.
        owner = place_owners(trials_of(study)).get(place_of(waiting))
        if owner is None or owner.number != waiting.number:
            discard_trial(study, waiting, "one too many", TrialState.RUNNING)
            continue

        storage, _ = storage_of(study)
        seeded = make_sampler(sampler, seed_from(seed, waiting.number))
        return open_trial(SamplerView(study.study_name, storage, seeded), waiting)
    return None


def enqueue_promotion(study: optuna.Study, rungs: int) -> None:
    """Enqueues the promotion that is due first, where one is; none once the study has ended by --patience."""
    if rungs == 1 or study.user_attrs.get(ENDED):
        return
    for promotion in find_promotions(trials_of(study), rungs)[:1]:
        enqueue_promoted(study, promotion.trial, promotion.rung)
