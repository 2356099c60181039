"""Claims trials of a running study, one after the other, until none is left.

While others run trials, more may become due by what comes of them: a worker that finds none waits and looks again.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.told_progress import listening
from study.execution.claim import claim_trial, enqueue_due
from study.machine import DeviceCrowded
from study.reading_record import required_record
from study.record import StudyRecord
from study.storage.backend import load_study, trials_of
from study.storage.leases import LeaseMonitor, holding_lease
from study.storage.retry import SECONDS_TO_RETRY
from study.storage.slots import give_trial_back, has_waiting_trial
from study.tuning.plan import SearchPlan

LOOK_AGAIN = 2.0
"""Seconds after which a worker that waits for others looks again."""


def run_worker(args: argparse.Namespace, upload: Callable[[Path], None] | None = None) -> int:
    """Claims and runs trials until there is none or the time is up.

    Args:
        args: The worker's command line.
        upload: Called with the file of each network on the front, where it does not stay on this machine.

    Returns:
        The number of trials that it ran.
    """
    # A parent that started this worker reached the storage a moment ago: a server that is silent will answer soon.
    # Workers on a Ray cluster, which upload networks, are started by a parent as well.
    started_by_parent = args.parent or upload is not None
    seconds_to_retry = SECONDS_TO_RETRY if started_by_parent else 0.0
    study = load_study(args.study, Path(args.out), args.storage, seconds_to_retry)
    record = StudyRecord.from_json(required_record(study.user_attrs.get("study"), args.study))
    plan = SearchPlan.of(record)
    enqueue_due(study, plan)
    while not has_waiting_trial(study):
        if not wait_for_others(study, args.until):
            return 0
        enqueue_due(study, plan)

    # Only now, since importing torch takes seconds: whoever finds no trial to run does without.
    from study.execution.trial import run_trial  # noqa: PLC0415
    from study.execution.trial_context import open_trial_context  # noqa: PLC0415

    # What all trials need is opened once; then the trials follow.
    context = dataclasses.replace(open_trial_context(record, args), upload=upload)
    with listening(lambda text: print(text, file=sys.stderr, flush=True)):
        return run_trials(study, record.options, lambda trial: run_trial(trial, context), args.until, plan)


def run_trials(
    study: optuna.Study,
    options: Mapping[str, Any],
    run: Callable[[optuna.Trial], object],
    until: float = float("inf"),
    plan: SearchPlan | None = None,
) -> int:
    """Claims trials and runs them, one after the other, each under a lease; returns how many.

    A trial that an error below ends goes back to the study: the error is not the trial's fault.

    Args:
        study: The study.
        options: The study's options, with sampler and seed.
        run: Runs a trial and tells its outcome.
        until: When to stop, on the monotonic clock; no trial is begun after it.
        plan: The course of the study's search.

    Raises:
        OSError: No other trial would fare better here, as on a full disk.
        DeviceCrowded: The device has too little memory for all workers that share it.
        KeyboardInterrupt: The worker was interrupted.
    """
    finished = 0
    while time.monotonic() < until:
        trial = claim_trial(study, options["sampler"], options["seed"], plan)
        if trial is None:
            if not wait_for_others(study, until):
                break
            continue
        try:
            with holding_lease(study, trial):
                run(trial)
        except (KeyboardInterrupt, OSError, DeviceCrowded):
            give_trial_back(study, study.trials[trial.number], blame=False)
            raise
        finished += 1
    return finished


def wait_for_others(study: optuna.Study, until: float) -> bool:
    """Waits until a trial of another process ends, or one waits to be claimed, since more may be due then.

    A trial whose worker died is waited for no longer: the study's parent, or the next one, gives it back.

    Args:
        study: The study.
        until: When to stop, on the monotonic clock.

    Returns:
        False where no trial runs, so that nothing can become due, or where the time is up.
    """
    leases = LeaseMonitor()
    trials = trials_of(study)
    ended = _count_ended(trials)
    while time.monotonic() < until:
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        if len(leases.expired(trials)) == len(running):
            return False
        time.sleep(LOOK_AGAIN)
        trials = trials_of(study)
        if _count_ended(trials) > ended or any(trial.state == TrialState.WAITING for trial in trials):
            return True
    return False


def _count_ended(trials: Sequence[FrozenTrial]) -> int:
    """Returns how many trials have ended, lost ones included."""
    return sum(trial.state.is_finished() for trial in trials)
