"""The slots that make a study's total exact.

A study of N trials holds N slots: trials that the parent enqueues, waiting, before workers start. A worker claims one
by an atomic change of state (`study.search.claim`) and never makes a trial of its own, so no number of workers can
overshoot, on any storage. A trial whose worker died is marked lost, which takes it out of every count, and a clean
copy is enqueued.
"""

import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.adaptation import AdaptationConfig
from search_spaces import SPACES
from study.front import counted
from study.storage import one_change_at_a_time, storage_of, trials_of

RETRIES = 3


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial was replaced by a copy or withdrawn, and so counts for nothing."""
    return bool(trial.user_attrs.get("lost"))


def top_up(study: optuna.Study, total: int, space: str, base: AdaptationConfig) -> int:
    """Enqueues or withdraws waiting trials, so that finished, running and waiting ones make `total`.

    Returns:
        The number of trials that are still to be finished.
    """
    for index in range(len(_alive(study)), total):
        study.enqueue_trial(**SPACES[space].slot(base, index))
    # Looked at again: another parent on the same database may have enqueued the same.
    alive = _alive(study)
    free_first = sorted(
        (trial for trial in alive if trial.state == TrialState.WAITING),
        key=lambda trial: (bool(trial.user_attrs.get("keep")), -trial.number),
    )
    for trial in free_first[: max(0, len(alive) - total)]:
        discard(study, trial)
    return max(0, total - len(counted(trials_of(study))))


def _alive(study: optuna.Study) -> list[FrozenTrial]:
    return [trial for trial in trials_of(study) if not is_lost(trial)]


def is_waiting(study: optuna.Study) -> bool:
    """Whether a trial waits to be claimed."""
    return any(trial.state == TrialState.WAITING for trial in trials_of(study))


def give_back(study: optuna.Study, trial: FrozenTrial, blame: bool = True) -> None:
    """Marks a running trial as lost and enqueues a clean copy with the same knobs, or fails it after RETRIES times."""
    attempts = trial.user_attrs.get("attempts", 1)
    if blame and attempts >= RETRIES:
        fail(study, trial, f"its worker died {attempts} times")
    elif discard(study, trial, running=True):
        kept = {name: trial.user_attrs[name] for name in ("named", "keep", "replicate") if name in trial.user_attrs}
        knobs = trial.system_attrs.get("fixed_params", {}) | trial.params
        study.enqueue_trial(knobs, user_attrs=kept | {"attempts": attempts + blame, "copy_of": trial.number})


def discard(study: optuna.Study, trial: FrozenTrial, running: bool = False) -> bool:
    """Takes a waiting trial, or one whose worker is dead, out of every count; False when it was too late."""
    storage, _ = storage_of(study)
    expected = TrialState.RUNNING if running else TrialState.WAITING
    try:
        with one_change_at_a_time(storage):
            if storage.get_trial(trial._trial_id).state != expected:
                return False
            storage.set_trial_user_attr(trial._trial_id, "lost", True)
            return storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False


def fail(study: optuna.Study, trial: FrozenTrial, reason: str) -> None:
    """Marks an unfinished trial as failed, with the reason."""
    storage, _ = storage_of(study)
    try:
        storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return
