"""How a worker gets its next trial: it claims a waiting one, and a sampler suggests its hyperparameters.

What is due, a promotion for instance, is enqueued first (`study.tuning.next_training`).
"""

from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.seeding import seed_from
from study.storage.backend import one_change_at_a_time, trials_of
from study.storage.leases import identity_of_process
from study.storage.optuna_private import open_trial, storage_number, storage_of
from study.storage.slots import (
    DELETED,
    ENDED,
    RACE_ENDED,
    discard_trial,
    enqueue_again,
    place_of,
    place_owners,
    rung_of,
)
from study.trial_attributes import TrialAttributes
from study.tuning.next_training import DueTraining, find_due_trainings
from study.tuning.plan import SearchPlan
from study.tuning.samplers import SamplerView, current_sampler, make_sampler


def claim_trial(study: optuna.Study, sampler: str, seed: int, plan: SearchPlan | None = None) -> optuna.Trial | None:
    """Takes the next waiting trial for this process, or returns None when no trial is left.

    The sampler is made again for each trial, with a seed from the study's seed and the trial's number: a resumed study
    does not draw the same numbers again, and a single worker draws the same numbers in every run.

    Args:
        study: The study.
        sampler: The sampler's name, as on the command line or in the record of an older study.
        seed: The study's seed.
        plan: The course of the study's search; None for one budget and nothing after it.

    Raises:
        InputError: The sampler is one that this version no longer has.
    """
    sampler = current_sampler(sampler)
    plan = plan or SearchPlan()
    while True:
        enqueue_due(study, plan)
        has_given_up = False
        for waiting in waiting_trials(study):
            # Another process may be faster.
            if not take_trial(study, waiting):
                continue

            # Two processes may have filled one place; then the trial that was made first holds it.
            owner = place_owners(trials_of(study)).get(place_of(waiting))
            if owner is None or owner.number != waiting.number:
                discard_trial(study, waiting, "one too many", TrialState.RUNNING)
                has_given_up = True
                continue

            # Nothing is suggested yet: the search space will ask the trial, and the trial this sampler.
            storage, _ = storage_of(study)
            seeded = make_sampler(sampler, seed_from(seed, waiting.number))
            return open_trial(SamplerView(study.study_name, storage, seeded, plan), waiting)

        # Whoever asked for what another process had asked for asks again: by now it sees the other's, and what is due
        # besides. It would wait for the other's training otherwise.
        if not has_given_up:
            return None


def enqueue_due(study: optuna.Study, plan: SearchPlan) -> None:
    """Enqueues the trainings that are due next, where any are."""
    for due in find_due(study, trials_of(study), plan):
        enqueue_again(study, due.trial, due.place, **due.attributes)


def find_due(study: optuna.Study, trials: Sequence[FrozenTrial], plan: SearchPlan, most: int = 1) -> list[DueTraining]:
    """Returns the trainings that are due, the most important first.

    Workers and their parent both ask here: a parent that saw more due than its workers do would start workers for ever.

    Args:
        study: The study, whose attributes say whether its search or its race has ended.
        trials: All its trials.
        plan: The course of its search.
        most: How many are wanted at most, of those that are chosen one by one.
    """
    said = study.user_attrs
    return find_due_trainings(
        trials,
        plan,
        most,
        has_ended=bool(said.get(ENDED)),
        is_over=bool(said.get(RACE_ENDED)),
        deleted={(number, alpha, slope) for number, alpha, slope in said.get(DELETED) or []},
    )


def waiting_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the waiting trials in the order in which they are claimed.

    Promoted ones come first, those of the highest rung before the others; then initial trials of the user's.
    """
    storage, study_id = storage_of(study)
    waiting = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,))
    return sorted(waiting, key=lambda trial: (-rung_of(trial), TrialAttributes.of(trial).prior is None))


def take_trial(study: optuna.Study, waiting: FrozenTrial) -> bool:
    """Turns a waiting trial into a running one of this process; False where another process was faster."""
    storage, _ = storage_of(study)
    number = storage_number(waiting)
    try:
        with one_change_at_a_time(storage):
            if not storage.set_trial_state_values(number, TrialState.RUNNING):
                return False
        storage.set_trial_user_attr(number, "worker", identity_of_process())
    except optuna.exceptions.UpdateFinishedTrialError:  # another process finished it, or the parent withdrew it
        return False
    return True
