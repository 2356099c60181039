"""Whether the worker of a running trial is still at work, and what becomes of the trial if not."""

import contextlib
import os
import socket
import time
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from study.slots import give_back
from study.storage import storage_of, trials_of

UNSIGNED_SECONDS = 10.0
SILENT_SECONDS = 300.0


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
