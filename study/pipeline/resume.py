"""Finds a study that was begun before, and goes on with it."""

import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from fer.tensor_files import damage_of
from study.execution.progress import Progress
from study.options import (
    RESUMABLE_OPTIONS,
    StudyOptions,
    current_sampler,
    identity_options,
)
from study.record import DOMAINS

if TYPE_CHECKING:
    import optuna

    from study.tracking.follower import Follower
from study.pipeline.prepare import find_or_train_baseline

# Packages whose version numbers and suggestions depend on; others change no result.
DECISIVE = ("torch", "numpy", "optuna", "opencv-python-headless")


def begin_or_resume(
    record: dict[str, Any], options: StudyOptions, progress: Progress, follower: "Follower"
) -> "optuna.Study":
    """Returns the study, with its baseline in place; `record` becomes its whole record."""
    from study.inputs import base_config
    from study.search.initial_trials import initial_trials
    from study.storage.backend import open_storage

    # Before minutes of training: wrong guesses, or a server that is not there, end it here.
    initial_trials(dataclasses.asdict(options), base_config(record))
    storage = open_storage(options.storage, Path(options.out) / record["name"])
    if options.tracking_uri is not None:
        follower.check()
    known = find_record(record, options, storage)
    if known is None:
        record["baseline"] = find_or_train_baseline(record, progress)
        record["network"] |= {key: record["baseline"][key] for key in ("width", "parameters")}
    else:
        progress.say(f"resuming {record['name']}, started {known['created']}")
        if damage_of(known["baseline"]["file"]) is not None:
            same = find_or_train_baseline(record, progress)["digest"] == known["baseline"]["digest"]
            if not same:
                raise InputError(
                    "a study goes on with its own baseline",
                    f"{known['baseline']['file']}, which is gone or damaged, and trained again it came out different",
                    "Put the file back, or start a new study with --study NAME.",
                )
        now = {name: record["options"][name] for name in RESUMABLE_OPTIONS}
        changes = list_drift(known, record)
        if changes:
            progress.warn(f"goes on although this changed: {'; '.join(changes)}")
        today = {name: record[name] for name in ("source", "target", "versions")}
        record.update(known | today | {"options": known["options"] | now})
        record["changes"] = [*known.get("changes", []), *changes]
    return create_study(record["name"], storage)


def find_record(
    record: dict[str, Any], options: StudyOptions, storage: "optuna.storages.BaseStorage"
) -> dict[str, Any] | None:
    """Returns the record of the study of this name to resume it, or None when it is new.

    Raises:
        InputError: It was started with other options, in an earlier form of its search space, or with other data or
            versions and --force was not given.
    """
    import optuna

    from study.reading_record import required_record
    from study.search.compatibility import fits
    from study.storage.backend import trials_of

    try:
        study = optuna.load_study(study_name=record["name"], storage=storage)
    except KeyError:
        return None
    known = study.user_attrs.get("study")
    if known is None:
        return None
    required_record(known, record["name"])
    known["options"]["sampler"] = current_sampler(known["options"].get("sampler", StudyOptions.sampler))
    now = identity_options(options)
    # An option that is younger than the study has had its default there.
    before = {name: known["options"].get(name, getattr(StudyOptions, name, None)) for name in now}
    changed = [f"{name} {before[name]} → {now[name]}" for name in now if before[name] != now[name]]
    if changed:
        raise InputError(
            f"study {record['name']} can only go on as it was started",
            "; ".join(changed),
            "Use the same options, or give the new study a name with --study NAME.",
        )
    older = [trial.number for trial in trials_of(study) if not fits(trial, options.space)]
    if older:
        raise InputError(
            f"the search space {options.space} has changed since study {record['name']} began, so its trials cannot be "
            "compared with new ones",
            f"trial {older[0]}, which chose what is no longer asked for, and {len(older) - 1} more",
            "Start a new study with --study NAME, or go on with the version of this program that began it.",
        )
    drifted = list_drift(known, record)
    if drifted and not options.force:
        raise InputError(
            f"the trials of {record['name']} are comparable while data and versions stay the same",
            "; ".join(drifted),
            "Restore them, go on nevertheless with --force, or start a new study with --study NAME.",
        )
    return known


def list_drift(known: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns what has changed around a study since its last run, of all that its numbers depend on."""
    before = {side: known[side]["digest"] for side in DOMAINS}
    after = {side: now[side]["digest"] for side in DOMAINS}
    before |= {name: known["versions"].get(name) for name in DECISIVE}
    after |= {name: now["versions"].get(name) for name in DECISIVE}
    return [f"{name} {before[name]} → {after[name]}" for name in after if before[name] != after[name]]


def create_study(name: str, storage: "optuna.storages.BaseStorage") -> "optuna.Study":
    """Creates the study in its storage, or finds it there."""
    import optuna

    study = optuna.create_study(
        study_name=name, storage=storage, directions=["maximize", "maximize"], load_if_exists=True
    )
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        study.set_metric_names(["source_val", "target_val"])
    return study


def write_record(study: "optuna.Study", record: dict[str, Any]) -> None:
    """Writes the study's record into its storage; only its one parent may.

    Raises:
        InputError: Another parent began the study while this one trained the baseline.
    """
    begun = study.user_attrs.get("study", record)
    if begun["id"] != record["id"]:
        raise InputError(
            "a study begins once",
            f"{record['name']}, which another study.run began at {begun['created']}",
            "Give the same command again: it goes on with that study.",
        )
    study.set_user_attr("study", record)
