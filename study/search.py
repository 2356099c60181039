"""Storage, samplers, and the slots that make a study's total exact.

A study of N trials holds N slots: trials that the parent enqueues, waiting, before workers start. A worker claims one
by an atomic change of state and never makes a trial of its own, so no number of workers can overshoot, on any storage.
A trial whose worker died is marked lost, which takes it out of every count, and a clean copy is enqueued.
"""

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from fer.adaptation import AdaptationConfig
from fer.errors import InputError
from fer.seeding import seed_from
from search_spaces import SPACES
from study.describe import hide_secrets
from study.front import counted

optuna.logging.set_verbosity(optuna.logging.ERROR)

RETRIES = 3
UNSIGNED_SECONDS = 10.0
SILENT_SECONDS = 300.0
JOURNAL = "journal.log"


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """Opens a study's storage.

    Args:
        url: Any Optuna storage URL; None is the journal in the study's folder.
        folder: The study's folder.

    Raises:
        InputError: The storage cannot be reached.
    """
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        path = (folder / JOURNAL).resolve()
        _drop_torn_line(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_KernelLock(path)))  # type: ignore[arg-type]
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # each database driver has its own errors
        reason = (hide_secrets(str(error)).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            "--storage must be an Optuna storage that answers",
            f"{hide_secrets(url)} ({reason})",
            "Check that the server runs and the URL is right, or leave --storage out for a journal on this machine.",
        ) from None


class _KernelLock:
    """A lock that the kernel releases when its holder dies; Optuna's own would then stop every other process."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _drop_torn_line(path: Path) -> None:
    """Cuts a last line that a crash left half-written: what follows would be appended to it and lost with it."""
    if not path.exists():
        return
    with FileLock(f"{path}.lock"), path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def load_study(name: str, out: Path, storage: str | None) -> optuna.Study:
    """Loads an existing study.

    Raises:
        InputError: There is none of this name.
    """
    folder = out / name
    mend = "Start it with python -m study.run, or name the storage and --out it was started with."
    if storage is None and not (folder / JOURNAL).exists():
        known = sorted(path.parent.name for path in out.glob(f"*/{JOURNAL}"))
        raise InputError("a study must exist", f"{name!r} in {out}/, which has {', '.join(known) or 'none'}", mend)
    try:
        return optuna.load_study(study_name=name, storage=open_storage(storage, folder))
    except KeyError:
        raise InputError("a study must exist", f"{name!r} in {hide_secrets(storage or str(folder))}", mend) from None


def storage_of(study: optuna.Study) -> tuple[BaseStorage, int]:
    """Returns a study's storage and its number there."""
    return study._storage, study._study_id


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """Returns all trials of a study, those of other processes included, without copying them."""
    storage, study_id = storage_of(study)
    return storage.get_all_trials(study_id, deepcopy=False)


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


def claim(study: optuna.Study, sampler: str, seed: int) -> optuna.Trial | None:
    """Takes the next waiting trial for this process, or returns None when there is none left.

    The sampler is made anew for each trial, with a seed from the trial's number: a resumed study does not draw the
    same numbers again, and one worker alone always draws the same.
    """
    storage, study_id = storage_of(study)
    for waiting in storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,)):
        try:
            with _one_claim_at_a_time(storage):
                if not storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
                    continue
        except optuna.exceptions.UpdateFinishedTrialError:
            continue
        # A new study object sees the trials that other workers finished meanwhile.
        study = optuna.load_study(
            study_name=study.study_name, storage=storage, sampler=make_sampler(sampler, seed_from(seed, waiting.number))
        )
        trial = optuna.Trial(study, waiting._trial_id)
        trial.set_user_attr("worker", identity_of_process())
        return trial
    return None


def _one_claim_at_a_time(storage: BaseStorage) -> contextlib.AbstractContextManager:
    """Returns a lock for SQLite, which has no row locks, so that two workers there could change one state together."""
    url = str(getattr(getattr(storage, "_backend", storage), "url", ""))
    if url.startswith("sqlite:///"):
        return FileLock(url.removeprefix("sqlite:///").split("?")[0] + ".lock")
    return contextlib.nullcontext()


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Returns a sampler by the name it has on the command line."""
    seed %= 2**32
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=False, constant_liar=True)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    # A grid's points are all enqueued, so that its sampler is never asked.
    return optuna.samplers.RandomSampler(seed=seed)


def identity_of_process() -> dict[str, Any]:
    """Returns what tells this process from any other, on this machine and on others, also after its end."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": psutil.Process().create_time()}


def is_alive(trial: FrozenTrial) -> bool:
    """Whether a running trial's worker may still be at work.

    A worker on this machine is looked for by its process; one elsewhere is believed as long as it gives signs of life.
    """
    worker = trial.user_attrs.get("worker")
    if worker is None:  # claimed a moment ago, and not yet signed
        started = trial.datetime_start
        return started is not None and (type(started).now() - started).total_seconds() < UNSIGNED_SECONDS
    if worker.get("host") != socket.gethostname():
        return time.time() - trial.user_attrs.get("beat", worker["since"]) < SILENT_SECONDS
    try:
        process = psutil.Process(worker["pid"])
        return abs(process.create_time() - worker["since"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def beat(study: optuna.Study, trial: optuna.Trial) -> None:
    """Gives a sign of life for a running trial."""
    storage, _ = storage_of(study)
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_user_attr(trial._trial_id, "beat", time.time())


def reap(study: optuna.Study, blame: bool = True) -> int:
    """Replaces each running trial whose worker is dead by a clean copy, at most RETRIES times; returns how many.

    Args:
        study: Whose trials.
        blame: Whether the death counts against the trial; not when its worker was ended on purpose.
    """
    dead = [trial for trial in trials_of(study) if trial.state == TrialState.RUNNING and not is_alive(trial)]
    for trial in dead:
        give_back(study, trial, blame)
    return len(dead)


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
        with _one_claim_at_a_time(storage):
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
