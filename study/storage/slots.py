"""The slots that make a study's total exact.

A study of N trials holds N slots. The parent enqueues a waiting trial for each before workers start; a worker claims
one by an atomic change of state (`study.search.claim`) and never makes a trial of its own, so no number of workers
can overshoot. A trial whose worker died is marked lost, which takes it out of every count, and a clean copy of it is
enqueued for the same slot.

No storage can make "look what is missing and enqueue it" one step, so two processes may fill one slot twice. It does
not matter: of the trials of a slot that are not lost, the one with the lowest number holds it, and whoever claims
another gives it up at once. When the later one is claimed the earlier is there to be seen, so a slot counts once.
"""

from collections.abc import Iterable, Sequence
from itertools import count, islice
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.config import AdaptationConfig
from search_spaces import SPACES
from study.storage.backend import one_change_at_a_time, trials_of
from study.storage.optuna_private import enqueued_parameters, storage_number, storage_of
from study.stored_values import is_count
from study.trials import counted_trials

RETRIES = 3
DIVERGED = "Diverged: "
"""How the reason of a trial begins that failed with `fer.training.Diverged`."""
SLOT_ATTRIBUTES = ("slot", "named", "keep", "replicate", "prior")
"""Attributes that a slot gives its trials; everything else is what became of one of them."""


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial was replaced by a copy or withdrawn, and so counts for nothing."""
    return bool(trial.user_attrs.get("lost"))


def slot_of(trial: FrozenTrial) -> int:
    """Returns the number of a trial's slot; one that says none, or nothing readable, has its own."""
    slot: int = trial.user_attrs.get("slot", trial.number)
    return slot if is_count(slot) else trial.number


def slot_owners(trials: Iterable[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Returns for each slot the trial that holds it: of those that are not lost, the first that was made."""
    held: dict[int, FrozenTrial] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        if not is_lost(trial):
            held.setdefault(slot_of(trial), trial)
    return held


def fill_slots(
    study: optuna.Study, total: int, space: str, base: AdaptationConfig, priors: Sequence[dict[str, Any]] = ()
) -> int:
    """Fills slots or withdraws waiting trials, so that finished, running and waiting ones make `total`.

    Doing it again, or two processes at once, changes nothing. Priors (`study.search.initial_trials`), each once, come
    before what the
    space itself has next, and take the place of free trials that wait.

    Returns:
        The number of trials that are still to be finished.
    """
    trials = trials_of(study)
    held = slot_owners(trials)
    taken = {slot_of(trial): trial.user_attrs["prior"] for trial in trials if "prior" in trial.user_attrs}
    new = [slot for slot in priors if slot["user_attrs"]["prior"] not in taken.values()]
    free = [trial for trial in _last_first(held.values()) if trial.state == TrialState.WAITING and is_free(trial)]
    for trial in free[: max(0, len(new) - max(0, total - len(held)))]:
        if discard_trial(study, trial, "withdrawn"):
            del held[slot_of(trial)]
    for index in islice((index for index in count() if index not in held), max(0, total - len(held))):
        earlier = [trial for trial in trials if slot_of(trial) == index]
        if earlier and not (new and is_free(earlier[-1])):
            _copy(study, earlier[-1])
        else:
            if new:
                taken[index] = new[0]["user_attrs"]["prior"]
                slot = new.pop(0)
            else:
                slot = SPACES[space].initial_trial(base, index - sum(before < index for before in taken))
            study.enqueue_trial(slot["params"], user_attrs=slot.get("user_attrs", {}) | {"slot": index})
    waiting = [trial for trial in held.values() if trial.state == TrialState.WAITING]
    for trial in sorted(_last_first(waiting), key=lambda trial: not is_free(trial))[: max(0, len(held) - total)]:
        discard_trial(study, trial, "withdrawn")
    return max(0, total - len(counted_trials(trials_of(study))))


def is_free(trial: FrozenTrial) -> bool:
    """Whether the knobs of a trial that waits, or was withdrawn, are all left to the sampler."""
    known = enqueued_parameters(trial) or trial.params
    return not known and not {"keep", "named", "prior"} & trial.user_attrs.keys()


def _last_first(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    return sorted(trials, key=lambda trial: -trial.number)


def has_waiting_trial(study: optuna.Study) -> bool:
    """Whether a trial waits to be claimed."""
    return any(trial.state == TrialState.WAITING for trial in trials_of(study))


def give_trial_back(study: optuna.Study, trial: FrozenTrial, blame: bool = True) -> None:
    """Marks a running trial as lost and enqueues a clean copy with the same knobs, or fails it after RETRIES times.

    A process that dies between the two leaves a slot that nobody holds, which `fill_slots` fills.

    Args:
        study: Whose trial.
        trial: As it was seen last.
        blame: Whether the end of its worker counts against the trial.
    """
    deaths = blame + sum(
        other.user_attrs.get("lost") == "worker died" and slot_of(other) == slot_of(trial) for other in trials_of(study)
    )
    if blame and deaths >= RETRIES:
        fail_trial(study, trial, f"its worker died {deaths} times")
    elif discard_trial(study, trial, "worker died" if blame else "interrupted", TrialState.RUNNING):
        _copy(study, trial)


def _copy(study: optuna.Study, trial: FrozenTrial) -> None:
    """Enqueues a trial for the same slot, with the same knobs and nothing else of what the earlier one left."""
    kept = {name: trial.user_attrs[name] for name in SLOT_ATTRIBUTES if name in trial.user_attrs} | {
        "slot": slot_of(trial)
    }
    knobs = enqueued_parameters(trial) | trial.params
    study.enqueue_trial(knobs, user_attrs=kept | {"copy_of": trial.number})


def has_diverged(trial: FrozenTrial) -> bool:
    """Whether a trial failed because its loss or its network's answers were no numbers (`fer.training.Diverged`)."""
    return str(trial.user_attrs.get("reason", "")).startswith(DIVERGED)


def discard_trial(
    study: optuna.Study, trial: FrozenTrial, reason: str, expected: TrialState = TrialState.WAITING
) -> bool:
    """Takes a trial that has not ended out of every count; False when it has changed its state meanwhile."""
    storage, _ = storage_of(study)
    try:
        with one_change_at_a_time(storage):
            if storage.get_trial(storage_number(trial)).state != expected:
                return False
            storage.set_trial_user_attr(storage_number(trial), "lost", reason)
            return storage.set_trial_state_values(storage_number(trial), TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False


def withdraw_waiting(study: optuna.Study) -> None:
    """Takes all trials that wait out of every count: no worker begins another."""
    for trial in trials_of(study):
        if trial.state == TrialState.WAITING:
            discard_trial(study, trial, "withdrawn")


def fail_trial(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """Marks an unfinished trial as failed, with the reason."""
    storage, _ = storage_of(study)
    try:
        storage.set_trial_user_attr(storage_number(trial), "reason", reason)
        storage.set_trial_state_values(storage_number(trial), TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return
