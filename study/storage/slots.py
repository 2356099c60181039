"""The slots that make a study's total exact.

A study of N trials holds N slots. The parent enqueues a waiting trial for each before workers start; a worker claims
one by an atomic change of state (`study.execution.claim`) and never makes a trial of its own, so no number of workers
can overshoot. A trial whose worker died is marked lost, which takes it out of every count, and a clean copy of it is
enqueued for the same slot.

A slot is one configuration. It has a trial on each rung that the configuration came to: the parent enqueues that of the
first rung, and whoever claims a trial first enqueues what is due: promotions, then trainings of the race, then those of
the networks that are handed over (`study.tuning.next_training`). Slot, rung, fold and repeat together are a place.

No storage can make "look what is missing and enqueue it" one step, so two processes may fill one slot twice. It does
not matter: of the trials of a place that are not lost, the one with the lowest number holds it, and whoever claims
another gives it up at once. When the later one is claimed the earlier is there to be seen, so a place counts once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count, islice
from typing import NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.config import AdaptationConfig
from search_spaces import SPACES
from search_spaces.initial_trials import InitialTrial
from study.storage.backend import one_change_at_a_time, trials_of
from study.storage.optuna_private import enqueued_parameters, storage_number, storage_of
from study.stored_values import is_count, is_fold, is_rung
from study.trial_attributes import SLOT_ATTRIBUTES, TrialAttributes
from study.trials import counted_trials

RETRIES = 3
"""How often a worker may die at a trial until the trial fails."""
WORKER_DIED = "worker died"
"""Why a trial is lost whose worker died at it."""
DIVERGED = "Diverged: "
"""How the reason of a trial begins that failed with `fer.training.loop.Diverged`."""

ENDED = "ended"
"""The study's attribute that says why its search ended before its last trial."""
RACE_ENDED = "race ended"
"""The study's attribute that says why its race ended before it had decided."""
DELETED = "deleted networks"
"""The study's attribute that lists networks that were handed over and then deleted, because the front had gone past
them: of each the number of the trial that made it, alpha and slope."""

HANDED_OVER = -1
"""Stands in a place for a fold, where a network is trained on all of the target's images, to be handed over."""
EVERY_FOLD = -2
"""Stands in a place for a fold, where a configuration is trained once on each of them, and judged by all together."""


PARTS = "models/parts"
"""Where the networks lie, relative to the study's folder, that may become part of one that is handed over."""


class Place(NamedTuple):
    """What one training of a study is.

    Attributes:
        slot: The number of its configuration, from 0.
        rung: The rung whose budget it has, from 1.
        fold: The fold of the target that it validates on, from 0; EVERY_FOLD where it is trained on each of them,
            HANDED_OVER where no fold is held out.
        repeat: How many trainings of the configuration came before on the same rung and fold.
    """

    slot: int
    rung: int = 1
    fold: int = 0
    repeat: int = 0


def is_lost(trial: FrozenTrial) -> bool:
    """Returns whether a trial was replaced by a copy or withdrawn, and so counts for nothing."""
    return bool(TrialAttributes.of(trial).lost)


def slot_of(trial: FrozenTrial | optuna.Trial) -> int:
    """Returns the number of a trial's slot; a trial that says none, or nothing readable, has its own."""
    slot = TrialAttributes.of(trial).slot
    if slot is None or not is_count(slot):
        return trial.number
    return slot


def rung_of(trial: FrozenTrial | optuna.Trial) -> int:
    """Returns the rung whose budget a trial has, from 1; the first for a trial that says none, or nothing readable."""
    rung = TrialAttributes.of(trial).rung
    if rung is None or not is_rung(rung):
        return 1
    return rung


def place_of(trial: FrozenTrial | optuna.Trial) -> Place:
    """Returns a trial's place; one that says no fold or repeat, or nothing readable, has the first."""
    attributes = TrialAttributes.of(trial)
    fold = attributes.fold if is_fold(attributes.fold) else 0
    repeat = attributes.repeat if is_count(attributes.repeat) else 0
    return Place(slot_of(trial), rung_of(trial), fold, repeat)


def is_of_search(trial: FrozenTrial | optuna.Trial) -> bool:
    """Returns whether a trial is the first training of a configuration on a rung, neither a race's nor handed over."""
    attributes = TrialAttributes.of(trial)
    return attributes.race is None and attributes.handed_over is None


def place_owners(trials: Iterable[FrozenTrial]) -> dict[Place, FrozenTrial]:
    """Returns for each place the trial that holds it: of those that are not lost, the first that was made."""
    owners: dict[Place, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if not is_lost(trial):
            owners.setdefault(place_of(trial), trial)
    return owners


def on_first_rung(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Returns each configuration's first trial; those that have ended are as many as configurations were tried."""
    return [trial for trial in trials if rung_of(trial) == 1 and is_of_search(trial)]


def slot_owners(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Returns for each slot the trial that holds it on the first rung."""
    return {place.slot: owner for place, owner in place_owners(on_first_rung(trials)).items()}


def fill_slots(
    study: optuna.Study,
    total: int,
    space: str,
    base: AdaptationConfig,
    priors: Sequence[InitialTrial] = (),
    fold_of_slot: Callable[[int], int] = lambda slot: 0,
) -> int:
    """Fills slots or withdraws waiting trials, so that finished, running and waiting configurations make `total`.

    Doing it again, or two processes at once, changes nothing.

    Args:
        study: The study.
        total: How many configurations it is to have.
        space: Name of the search space.
        base: The hyperparameters that the space leaves alone.
        priors: The user's own initial trials (`study.tuning.initial_trials`). Each is enqueued once, before what the
            space itself has next, and takes the place of a free trial that waits.
        fold_of_slot: Returns the fold of a slot's first training (`study.tuning.plan.SearchPlan.first_fold`).

    Returns:
        The number of configurations that are still to end their first trial.
    """
    trials = on_first_rung(trials_of(study))
    owners = slot_owners(trials)
    prior_origins = _prior_origins(trials)
    new_priors = [prior for prior in priors if prior.prior not in prior_origins.values()]

    # Where there are more priors than empty slots, free trials that wait give up theirs.
    empty = max(0, total - len(owners))
    _withdraw_free(study, owners, most=len(new_priors) - empty)

    # Fill the empty slots, the lowest number first.
    for slot in _empty_slots(owners, total):
        last_trial = _last_trial_of(trials, slot)
        yields_to_prior = bool(new_priors) and (last_trial is None or is_free(last_trial))
        if yields_to_prior:
            prior = new_priors.pop(0)
            prior.enqueue(study, slot, fold_of_slot(slot))
            prior_origins[slot] = prior.prior
        elif last_trial is not None:
            _copy(study, last_trial)
        else:
            # The space counts its own trials alone, without the priors.
            priors_before = sum(prior_slot < slot for prior_slot in prior_origins)
            initial_trial = SPACES[space].initial_trial(base, slot - priors_before)
            initial_trial.enqueue(study, slot, fold_of_slot(slot))

    # Where more slots are held than wanted, withdraw waiting trials: free ones first, of these the latest first.
    surplus = max(0, len(owners) - total)
    waiting = _waiting_last_first(owners)
    free = [trial for trial in waiting if is_free(trial)]
    not_free = [trial for trial in waiting if not is_free(trial)]
    for trial in (free + not_free)[:surplus]:
        discard_trial(study, trial, "withdrawn")

    ended = on_first_rung(counted_trials(trials_of(study)))
    return max(0, total - len(ended))


def _empty_slots(owners: Mapping[int, FrozenTrial], total: int) -> list[int]:
    """Returns the lowest numbers of slots that nobody holds, as many as are missing from `total` held slots."""
    missing = max(0, total - len(owners))
    empty_slots = (slot for slot in count() if slot not in owners)
    return list(islice(empty_slots, missing))


def _last_trial_of(trials: Iterable[FrozenTrial], slot: int) -> FrozenTrial | None:
    """Returns the last of a slot's trials, lost ones included; None where the slot never had one."""
    last = None
    for trial in trials:
        if slot_of(trial) == slot:
            last = trial
    return last


def _prior_origins(trials: Iterable[FrozenTrial]) -> dict[int, str]:
    """Returns for each slot that had an initial trial of the user where this trial came from."""
    origins = {}
    for trial in trials:
        prior = TrialAttributes.of(trial).prior
        if prior is not None:
            origins[slot_of(trial)] = prior
    return origins


def _withdraw_free(study: optuna.Study, owners: dict[int, FrozenTrial], most: int) -> None:
    """Withdraws the latest free trials that wait, at most `most`, and takes them from the owners of slots."""
    free = [trial for trial in _waiting_last_first(owners) if is_free(trial)]
    for trial in free[: max(0, most)]:
        if discard_trial(study, trial, "withdrawn"):
            del owners[slot_of(trial)]


def is_free(trial: FrozenTrial) -> bool:
    """Returns whether all hyperparameters of a trial that waits, or was withdrawn, are left to the sampler."""
    parameters = enqueued_parameters(trial) or trial.params
    attributes = TrialAttributes.of(trial)
    return not parameters and not attributes.subset(("keep", "named", "prior"))


def _waiting_last_first(owners: Mapping[int, FrozenTrial]) -> list[FrozenTrial]:
    """Returns the waiting trials among the owners of slots, by number, the highest first."""
    waiting = [trial for trial in owners.values() if trial.state == TrialState.WAITING]
    return sorted(waiting, key=lambda trial: trial.number, reverse=True)


def has_waiting_trial(study: optuna.Study) -> bool:
    """Returns whether a trial waits to be claimed."""
    return any(trial.state == TrialState.WAITING for trial in trials_of(study))


def give_trial_back(study: optuna.Study, trial: FrozenTrial, blame: bool = True) -> None:
    """Marks a running trial as lost and enqueues a clean copy of it, or fails it after RETRIES deaths.

    A process that dies between the two leaves a slot that nobody holds, which `fill_slots` fills.

    Args:
        study: The trial's study.
        trial: The trial as it was seen last.
        blame: Whether the end of its worker counts against the trial.
    """
    if not blame:
        if discard_trial(study, trial, "interrupted", TrialState.RUNNING):
            _copy(study, trial)
        return

    deaths = 1 + _count_deaths(study, place_of(trial))
    if deaths >= RETRIES:
        fail_trial(study, trial, f"its worker died {deaths} times")
    elif discard_trial(study, trial, WORKER_DIED, TrialState.RUNNING):
        _copy(study, trial)


def _count_deaths(study: optuna.Study, place: Place) -> int:
    """Returns how many trials of a place were lost with their workers."""
    lost = [trial for trial in trials_of(study) if TrialAttributes.of(trial).lost == WORKER_DIED]
    return sum(place_of(trial) == place for trial in lost)


def enqueue_again(study: optuna.Study, trial: FrozenTrial, place: Place, **attributes: object) -> None:
    """Enqueues the configuration of an ended trial for another place.

    Args:
        study: The study.
        trial: The ended trial.
        place: Of the new trial.
        attributes: What else the new trial has: why it is enqueued.
    """
    _enqueue_again(study, trial, rung=place.rung, fold=place.fold, repeat=place.repeat, **attributes)


def _copy(study: optuna.Study, trial: FrozenTrial) -> None:
    """Enqueues a trial again for its place."""
    _enqueue_again(study, trial, copy_of=trial.number)


def _enqueue_again(study: optuna.Study, trial: FrozenTrial, **attributes: object) -> None:
    """Enqueues a trial with another's hyperparameters and slot, and nothing else of what that one left.

    Args:
        study: The study.
        trial: The other trial.
        attributes: What the new trial has besides, or in place of what it takes over.
    """
    taken_over = TrialAttributes.of(trial).subset(SLOT_ATTRIBUTES) | {"slot": slot_of(trial)}
    parameters = enqueued_parameters(trial) | trial.params
    study.enqueue_trial(parameters, user_attrs=taken_over | attributes)


def has_diverged(trial: FrozenTrial) -> bool:
    """Returns whether a trial failed because its loss or logits were not finite (`fer.training.loop.Diverged`)."""
    reason = TrialAttributes.of(trial).reason
    return str(reason or "").startswith(DIVERGED)


def discard_trial(
    study: optuna.Study, trial: FrozenTrial, reason: str, expected: TrialState = TrialState.WAITING
) -> bool:
    """Takes a trial that has not ended out of every count.

    Args:
        study: The trial's study.
        trial: The trial as it was seen last.
        reason: Why it is lost.
        expected: The state that the trial must still have.

    Returns:
        Whether this call did it; False where the trial's state has changed meanwhile.
    """
    storage, _ = storage_of(study)
    try:
        with one_change_at_a_time(storage):
            if storage.get_trial(storage_number(trial)).state != expected:
                return False
            storage.set_trial_user_attr(storage_number(trial), "lost", reason)
            return storage.set_trial_state_values(storage_number(trial), TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False


def withdraw_waiting(study: optuna.Study, above_rung: int = 0) -> None:
    """Takes trials that wait out of every count: no worker begins them.

    Args:
        study: The study.
        above_rung: The trials on rungs above this one are meant; above 0, all are.
    """
    for trial in trials_of(study):
        if trial.state == TrialState.WAITING and rung_of(trial) > above_rung:
            discard_trial(study, trial, "withdrawn")


def fail_trial(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """Marks an unfinished trial as failed, with the reason."""
    storage, _ = storage_of(study)
    try:
        storage.set_trial_user_attr(storage_number(trial), "reason", reason)
        storage.set_trial_state_values(storage_number(trial), TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return
