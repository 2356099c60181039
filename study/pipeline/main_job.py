"""The main job: prepare, search, finish."""

import contextlib
import dataclasses
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fer.config import AdaptationConfig
from study.arguments import check_study_name
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE
from study.execution.claim import find_due
from study.execution.endings import reason_to_end
from study.execution.progress import Progress
from study.execution.ray_workers import RayWorkers
from study.execution.supervisor import supervise
from study.execution.worker_process import spawn_worker
from study.inputs import base_config, trim_features
from study.options import StudyOptions, study_name
from study.pipeline.finish import confirm_once, finish_study, print_summary, register_networks
from study.pipeline.prepare import (
    any_synthetic,
    check_before_reading,
    exclusive_folder,
    make_record,
    read_data,
    resolve_auto,
)
from study.pipeline.resume import begin_or_resume, write_record
from study.pipeline.running_study import RunningStudy
from study.pipeline.workers import settle_workers, show_study
from study.record import StudyRecord, section
from study.reporting.commands import place_words
from study.reporting.dates import describe_opening
from study.reporting.export import is_exported, require_folders
from study.storage.backend import trials_of
from study.storage.leases import exclusive_parent, requeue_expired
from study.storage.records import confirmation_of
from study.storage.slots import ENDED, RACE_ENDED, fill_slots, has_waiting_trial, withdraw_waiting
from study.tracking.follower import Follower
from study.trials import count_rungs, counted_trials
from study.tuning.initial_trials import initial_trials
from study.tuning.plan import SearchPlan


def run_main_job(options: StudyOptions) -> Path:
    """Does the work of `python -m study.run`, from the data to the report.

    Args:
        options: What the user asked for.

    Returns:
        The study's folder.
    """
    options = resolve_auto(options)
    network = check_before_reading(options)
    progress = Progress()
    progress.say(f"{options.source} → {options.target}: {options.wanted} configurations, space {options.space}")
    for note in network.notes:
        progress.say(f"  {note}")
    with following(options) as follower:
        free_room(options, progress)
        source, target = read_data(options, progress)
        name = study_name(options, source.name, target.name, any_synthetic(source, target))
        return run_study(make_record(name, options, source, target, network), options, progress, follower).folder


@contextlib.contextmanager
def following(options: StudyOptions) -> Iterator[Follower]:
    """Connects to MLflow, which takes seconds, so it begins now; a server that the user named must answer."""
    follower = Follower(options.tracking_uri, required=options.tracking_uri is not None)
    try:
        yield follower
    finally:
        follower.wait()  # a database whose making is cut off stays unusable


def free_room(options: StudyOptions, progress: Progress) -> None:
    """Makes room on the disk."""
    freed = trim_features(options.out)
    if freed:
        progress.say(f"  {freed:.1f} GiB of features that no study used for long were deleted")


def run_study(new_record: StudyRecord, options: StudyOptions, progress: Progress, follower: Follower) -> RunningStudy:
    """Prepares a study, searches, and adds what the user wants at its end; MLflow follows.

    Args:
        new_record: The record that the study would have if it began now, without a baseline.
        options: What the user asked for.
        progress: Prints how far it is.
        follower: Connects to MLflow.

    Returns:
        The study at its end.
    """
    name = new_record.name
    check_study_name(name)
    folder = Path(options.out) / name

    # One parent leads a study, on this machine and in a shared storage.
    with exclusive_folder(folder):
        require_folders(folder)

        # The study, with its baseline.
        study, record = begin_or_resume(new_record, options, progress, follower)
        options = dataclasses.replace(options, rungs=count_rungs(record))
        running = RunningStudy(study, record, options, progress, follower)
        progress.know(record, place_words(name, dataclasses.asdict(options)))

        with _exclusive_in_storage(running):
            # Its record and its workers, before the first trial.
            write_record(study, record)
            running = settle_workers(running)
            show_study(running)

            # The search.
            search_and_export(running)

            # What is done once, at the end.
            if options.confirm:
                confirm_once(running)
            if options.register:
                register_networks(running)
    return running


def _exclusive_in_storage(running: RunningStudy) -> contextlib.AbstractContextManager[None]:
    """Holds a study in a shared storage; the one in its folder's journal is held with the folder."""
    if running.options.storage is None:
        return contextlib.nullcontext()
    return exclusive_parent(running.study, running.progress.say)


def search_and_export(running: RunningStudy) -> None:
    """Runs workers until the study has its trials, with MLflow following, then exports; skips what was done before."""
    study = running.study
    options = running.options
    base = base_config(running.record)

    # Slots for the trials that are still to be finished.
    requeue_expired(study)
    plan = SearchPlan.of(running.record)
    withdraw_waiting(study, above_rung=options.rung_count)  # where --rungs became less
    priors = initial_trials(dataclasses.asdict(options), base)
    end_reason = reason_to_end(counted_trials(trials_of(study)), options, plan)
    unfinished = 0
    study.set_user_attr(RACE_ENDED, None)
    study.set_user_attr(ENDED, end_reason or None)  # a study that a shorter patience or time limit ended goes on
    if not end_reason:
        unfinished = fill_slots(study, options.wanted, options.space, base, priors, plan.first_fold)

    # A study with all its trials and exports needs no more than a summary; after another --keep new exports as well.
    due = find_due(study, trials_of(study), plan)
    has_all_trials = not (unfinished or due or has_waiting_trial(study))
    if has_all_trials:
        end_reason = end_reason or "nothing to do: all trials are there"
    if has_all_trials and is_exported(running.record.to_json(), trials_of(study), running.folder):
        print_summary(running, end_reason)
        return

    # Search, with MLflow following.
    if not has_all_trials:
        warn_if_opened(running)
    running.follower.check()
    running.follower.follow(study, running.record.to_json())
    is_complete = False
    try:
        if not has_all_trials:
            end_reason = _search(running, base, plan)
        is_complete = True
    finally:
        # Also after Ctrl-C or a failure, then without the networks in MLflow, which take longest.
        finish_study(running, networks=is_complete)
        if not is_complete:
            running.progress.say(f"report of what is there: {running.report}")
    print_summary(running, end_reason)


def warn_if_opened(running: RunningStudy) -> None:
    """Warns where a search goes on after the study's test images were opened."""
    confirmation = section(confirmation_of(running.study), CONFIRMATION_ATTRIBUTE)
    if confirmation.get("opened"):
        running.progress.warn(
            f"this study's test images were opened {describe_opening(confirmation['opened'])}, and its search goes on: "
            "networks found from now on are not tested, unless study.confirm --again opens the test images once more, "
            "which the report will say"
        )


def _search(running: RunningStudy, base: AdaptationConfig, plan: SearchPlan) -> str:
    """Runs workers, on this machine or on a Ray cluster, until the study ends; returns why it ended."""
    study = running.study
    options = running.options

    # Workers are processes of this machine.
    if not options.ray:
        spawn = partial(spawn_worker, threads=running.threads)
        return supervise(study, options, base, running.progress, spawn, plan)

    # Workers are tasks on a Ray cluster, which says how many there are.
    workers = RayWorkers(options, running.record)
    try:
        options = dataclasses.replace(options, workers=str(workers.workers))
        return supervise(study, options, base, running.progress, workers.spawn, plan)
    finally:
        workers.close()
