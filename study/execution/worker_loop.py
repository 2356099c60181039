"""Claims trials of a running study, one after the other, until none is left."""

import argparse
import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from study.execution.claim import claim_trial
from study.machine import DeviceCrowded
from study.options import INTERPOLATION_POINTS, cache_folder
from study.reading_record import required_record
from study.record import StudyRecord
from study.storage.backend import load_study
from study.storage.leases import holding_lease
from study.storage.retry import SECONDS_TO_RETRY
from study.storage.slots import give_trial_back, has_waiting_trial

if TYPE_CHECKING:
    from study.execution.trial_context import TrialContext


def run_worker(args: argparse.Namespace, send: Callable[[Path], None] | None = None) -> int:
    """Claims and runs trials until there is none or the time is up.

    Args:
        args: The worker's command line.
        send: Called with the file of each network on the front, where it does not stay on this machine.

    Returns:
        The number of trials that it ran.
    """
    # A parent has reached this storage a moment ago, so a server that does not answer will soon.
    started_by_parent = args.parent or send is not None
    study = load_study(args.study, Path(args.out), args.storage, SECONDS_TO_RETRY if started_by_parent else 0.0)
    if not has_waiting_trial(study):
        return 0

    # Only now, since importing torch takes seconds.
    from study.execution.trial import run_trial

    record = required_record(study.user_attrs.get("study"), args.study)
    context = dataclasses.replace(open_trial_context(record, args), upload=send)
    return run_trials(study, record["options"], lambda trial: run_trial(trial, context), args.until)


def run_trials(
    study: optuna.Study,
    options: Mapping[str, Any],
    run: Callable[[optuna.Trial], object],
    until: float = float("inf"),
) -> int:
    """Claims trials and runs them, one after the other, each under a lease; returns how many.

    Args:
        study: The study.
        options: The study's options, with sampler and seed.
        run: Runs a trial and tells its outcome.
        until: When to stop, on the monotonic clock; no trial is begun after it.
    """
    finished = 0
    while time.monotonic() < until:
        trial = claim_trial(study, options["sampler"], options["seed"])
        if trial is None:
            break
        try:
            with holding_lease(study, trial):
                run(trial)
        except (KeyboardInterrupt, OSError, DeviceCrowded):  # not the trial's fault
            give_trial_back(study, study.trials[trial.number], blame=False)
            raise
        finished += 1
    return finished


def open_trial_context(record: dict[str, Any], args: argparse.Namespace) -> "TrialContext":
    """Opens the data and the baseline that the study's record names."""
    # Importing torch takes seconds: whoever finds no trial to run does without.
    from fer.adaptation.task import AdaptationTask
    from fer.runtime import make_runtime
    from study.execution.baseline_process import reopen_baseline
    from study.execution.trial_context import TrialContext
    from study.inputs import base_config, reopen_dataset

    options = record["options"] | {"out": args.out, "data": args.data}
    baseline = record["baseline"]
    runtime = make_runtime(args.device or baseline["device"], baseline["precision"], getattr(args, "threads", 1))
    typed_record = StudyRecord.from_json(record)
    source = reopen_dataset(typed_record.source, options)
    target = reopen_dataset(typed_record.target, options)
    trained = reopen_baseline(record, options, source, runtime)
    rung_images = options.get("rung_images", 0) or None
    setting = AdaptationTask(trained, source, target, runtime, cache_folder(args.out), rung_images)

    return TrialContext(
        setting,
        options["space"],
        base_config(typed_record),
        options["seed"],
        Path(args.out) / record["name"],
        early_stop=options["early_stop"] == "on",
        interpolation_points=INTERPOLATION_POINTS if options["interpolate"] == "on" else (),
        shares_device=getattr(args, "beside", False),
        folds=options.get("folds", 0),
        min_source_accuracy=options.get("min_retention", 0.0) * baseline["source_val"],
    )
