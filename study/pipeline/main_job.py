"""The main job: prepare, search, finish."""

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.arguments import check_study_name
from study.cli import DONE
from study.execution.progress import Progress
from study.options import (
    StudyOptions,
    study_name,
)
from study.pipeline.finish import confirm_once, finish_study, logging_networks, print_summary
from study.pipeline.prepare import exclusive_folder, make_record, read_data, settle_workers, show_study
from study.pipeline.resume import begin_or_resume, write_record

if TYPE_CHECKING:
    import optuna

    from study.tracking.follower import Follower


def run_study(options: StudyOptions, progress: Progress) -> int:
    """Prepares, searches, exports."""
    from study.inputs import trim_features
    from study.reporting.export import require_folders
    from study.storage.leases import exclusive_parent
    from study.storage.records import confirmation_of
    from study.tracking.follower import Follower

    # Connecting takes seconds, so it begins now; a server that the user named must answer.
    follower = Follower(options.tracking_uri, required=options.tracking_uri is not None)
    try:
        freed = trim_features(options.out, options.cache_gib)
        if freed:
            progress.say(f"  {freed:.1f} GiB of features that no study used for long were deleted (--cache-gib)")
        source, target = read_data(options, progress)
        synthetic = "synthetic" in (source.kind, target.kind)
        name = study_name(options, source.name, target.name, synthetic)
        check_study_name(name)
        with exclusive_folder(Path(options.out) / name):
            require_folders(Path(options.out) / name)
            record = make_record(name, options, source, target, synthetic)
            study = begin_or_resume(record, options, progress, follower)
            with exclusive_parent(study, progress.say) if options.storage else contextlib.nullcontext():
                write_record(study, record)
                options = settle_workers(study, record, options, progress)
                show_study(record, options, progress)
                code = search_and_export(study, record, options, progress, follower)
                if options.confirm:
                    confirm_once(study, options, progress)
                    follower.finish(study, record | confirmation_of(study), Path(options.out) / name)
                if options.register:
                    with logging_networks(name, options, progress, ["--register", options.register]):
                        pass
                return code
    finally:
        follower.wait()  # a database whose making is cut off stays unusable


def search_and_export(
    study: "optuna.Study", record: dict[str, Any], options: StudyOptions, progress: Progress, follower: "Follower"
) -> int:
    """Runs the workers until the study has its trials, with MLflow following; then exports."""
    from study.execution.supervisor import reason_to_end, supervise
    from study.inputs import base_config
    from study.reporting.export import is_exported
    from study.search.initial_trials import initial_trials
    from study.storage.backend import trials_of
    from study.storage.leases import requeue_expired
    from study.storage.slots import fill_slots
    from study.trials import counted_trials

    folder = Path(options.out) / record["name"]
    base = base_config(record)
    requeue_expired(study)
    left, priors = 0, initial_trials(dataclasses.asdict(options), base)
    ended = reason_to_end(counted_trials(trials_of(study)), options)
    if not ended:
        study.set_user_attr("ended", None)  # what a shorter patience ended before goes on
        left = fill_slots(study, options.wanted, options.space, base, priors)
    if not left and is_exported(trials_of(study), folder):
        print_summary(study, record, options, progress, ended or "nothing to do: all trials are there")
        return DONE
    follower.check()
    follower.follow(study, record)
    fleet = reason = None
    try:
        if options.ray:
            from study.execution.ray_workers import RayWorkers

            fleet = RayWorkers(options, record)
            options = dataclasses.replace(options, workers=str(fleet.workers))
        reason = supervise(study, options, base, progress, fleet.spawn if fleet else None)
    finally:
        if fleet:
            fleet.close()
        finish_study(study, record, options, progress, follower, networks=reason is not None)
    print_summary(study, record, options, progress, reason)
    return DONE
