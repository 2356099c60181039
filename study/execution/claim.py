"""How a worker gets its next trial: it claims a waiting one, and a sampler suggests its hyperparameters."""

import optuna
from optuna.trial import TrialState

from fer.seeding import seed_from
from study.options import current_sampler
from study.search.samplers import SamplerView, make_sampler, take_trial, waiting_trials
from study.storage.backend import trials_of
from study.storage.optuna_private import open_trial, storage_of
from study.storage.slots import discard_trial, slot_of, slot_owners


def claim_trial(study: optuna.Study, sampler: str, seed: int) -> optuna.Trial | None:
    """Takes the next waiting trial for this process, or returns None when no trial is left.

    The sampler is made again for each trial, with a seed from the study's seed and the trial's number: a resumed study
    does not draw the same numbers again, and a single worker draws the same numbers in every run.

    Args:
        study: The study.
        sampler: The sampler's name, as on the command line or in the record of an older study.
        seed: The study's seed.

    Raises:
        InputError: The sampler is one that this version no longer has.
    """
    sampler = current_sampler(sampler)
    for waiting in waiting_trials(study):
        if not take_trial(study, waiting):
            continue

        # Two parents may have filled one slot; then the trial that was made first holds it.
        owner = slot_owners(trials_of(study)).get(slot_of(waiting))
        if owner is None or owner.number != waiting.number:
            discard_trial(study, waiting, "one too many", TrialState.RUNNING)
            continue

        storage, _ = storage_of(study)
        seeded = make_sampler(sampler, seed_from(seed, waiting.number))
        return open_trial(SamplerView(study.study_name, storage, seeded), waiting)
    return None
