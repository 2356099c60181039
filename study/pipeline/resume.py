"""Finds a study that was begun before, and goes on with it."""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from fer.architecture import TIMM, Architecture, check_unchanged, is_own_code
from fer.config import AdaptationConfig
from fer.datasets.splits import FOLD_RULE
from fer.errors import InputError
from fer.tensor_files import damage_of
from study.execution.progress import Progress
from study.inputs import base_config
from study.options import RESUMABLE_OPTIONS, StudyOptions, identity_options
from study.pipeline.baseline import find_or_train_baseline
from study.reading_record import required_record
from study.record import DOMAINS, StudyRecord
from study.search_options import ONE_FOLD
from study.storage.backend import open_storage, trials_of
from study.tracking.follower import Follower
from study.tuning.compatibility import fits
from study.tuning.initial_trials import initial_trials
from study.tuning.samplers import current_sampler

DECISIVE = ("torch", "numpy", "optuna", "opencv-python-headless")
"""Packages whose version numbers and suggestions depend on; others change no result."""


def begin_or_resume(
    new: StudyRecord, options: StudyOptions, progress: Progress, follower: Follower
) -> tuple[optuna.Study, StudyRecord]:
    """Returns the study of this name, begun now or before, and its record with its baseline.

    Args:
        new: The record that the study would have if it began now, without a baseline.
        options: What the user asked for.
        progress: Prints how far it is.
        follower: Connects to MLflow.

    Raises:
        InputError: The study cannot go on with these options and data; or a guess, or the server that the user named,
            cannot be used.
    """
    # Wrong guesses, or a server that is not there, are refused before minutes of training. What the guesses become is
    # not used here: the search reads them again.
    initial_trials(dataclasses.asdict(options), base_config(new))
    storage = open_storage(options.storage, Path(options.out) / new.name)
    if options.tracking_uri is not None:
        follower.check()

    # A new study gets a baseline; an earlier one has it.
    earlier = find_record(new, options, storage)
    if earlier is None:
        record = _begin(new, progress)
    else:
        progress.say(f"resuming {new.name}, started {earlier.created}")
        _restore_baseline(earlier, new, progress)
        record = _resume(earlier, new, options, progress)
    return create_study(new.name, storage), record


def _begin(new: StudyRecord, progress: Progress) -> StudyRecord:
    """Returns a new study's record with its baseline."""
    baseline = find_or_train_baseline(new, progress)
    network = new.network | {"width": baseline.width, "parameters": baseline.parameters}
    return dataclasses.replace(new, baseline=baseline, network=network)


def _restore_baseline(earlier: StudyRecord, new: StudyRecord, progress: Progress) -> None:
    """Trains an earlier study's baseline again where its file is gone or damaged.

    Raises:
        InputError: It came out different.
    """
    file = earlier.baseline.file
    if damage_of(file) is None:
        return
    trained_again = find_or_train_baseline(new, progress)
    if trained_again.digest != earlier.baseline.digest:
        raise InputError(
            "a study goes on with its own baseline",
            f"{file}, which is gone or damaged, and trained again it came out different",
            "Put the file back, or start a new study with --study NAME.",
        )


def _resume(earlier: StudyRecord, new: StudyRecord, options: StudyOptions, progress: Progress) -> StudyRecord:
    """Returns an earlier study's record with the data, versions and resumable options of today."""
    changes = list_drift(earlier, new)
    if changes:
        progress.warn(f"goes on although this changed: {'; '.join(changes)}")

    # An entry that is younger than the study comes from the new record.
    merged = StudyRecord.from_json(new.to_json() | earlier.to_json())
    return dataclasses.replace(
        merged,
        source=new.source,
        target=new.target,
        versions=new.versions,
        options=earlier.options | resumed_options(earlier, new, options),
        changes=[*earlier.changes, *changes],
    )


def resumed_options(earlier: StudyRecord, new: StudyRecord, options: StudyOptions) -> dict[str, Any]:
    """Returns the resumable options of today; those of its course stay as they were, unless asked.

    A study that a version without rungs began has one rung, and one from before the race has none.

    Args:
        earlier: The study's record so far.
        new: The record that the study would have if it began now.
        options: What the user asked for.
    """
    resumed = {name: new.options[name] for name in RESUMABLE_OPTIONS}
    for name, before in (("rungs", 1), ("race", 0.0)):
        if getattr(options, name) is None:
            resumed[name] = earlier.options.get(name, before)
    return resumed


def find_record(new: StudyRecord, options: StudyOptions, storage: optuna.storages.BaseStorage) -> StudyRecord | None:
    """Returns the record of the study of this name to resume it, or None when it is new.

    Raises:
        InputError: It was started with other options, with a network whose code has changed, in an earlier form of its
            search space, or with other data or versions and --force was not given.
    """
    try:
        study = optuna.load_study(study_name=new.name, storage=storage)
    except KeyError:
        return None
    stored = study.user_attrs.get("study")
    if stored is None:
        return None
    # Its record; an earlier version may have called the sampler by another name.
    earlier = StudyRecord.from_json(required_record(stored, new.name))
    sampler = current_sampler(earlier.options.get("sampler", StudyOptions.sampler))
    earlier = dataclasses.replace(earlier, options=earlier.options | {"sampler": sampler})
    if not earlier.baseline.answers:
        raise InputError(
            "a study goes on with the version that began it, or with one that judges networks alike",
            f"{new.name}, whose trials kept no answers per image",
            "Start a new one with --study NAME; with --warm-start it tries the front of this one first.",
        )

    # What must be the same, and what --force lets change.
    _check_same_options(earlier, options)
    _check_same_folds(earlier)
    _check_same_expressions(earlier, new)
    _check_same_weights(earlier, new)
    check_unchanged(earlier.architecture, new.architecture)
    _check_same_space(study, options, base_config(earlier))
    drifted = list_drift(earlier, new)
    if drifted and not options.force:
        raise InputError(
            f"the trials of {new.name} are comparable while data and versions stay the same",
            "; ".join(drifted),
            "Restore them, go on nevertheless with --force, or start a new study with --study NAME.",
        )
    return earlier


def _check_same_options(earlier: StudyRecord, options: StudyOptions) -> None:
    """Raises InputError where options that make a study what it is have changed."""
    before = identity_options(StudyOptions.from_json(earlier.options))
    before["folds_per_trial"] = before.get("folds_per_trial") or ONE_FOLD  # earlier versions knew nothing else
    for name in ("folds", "folds_per_trial"):
        if getattr(options, name) is None:
            as_before: dict[str, Any] = {name: before.get(name)}
            options = dataclasses.replace(options, **as_before)
    changed = _list_changes(before, identity_options(options))
    if changed:
        raise InputError(
            f"study {earlier.name} can only go on as it was started",
            "; ".join(changed),
            "Use the same options, or give the new study a name with --study NAME.",
        )


def _check_same_folds(earlier: StudyRecord) -> None:
    """Raises InputError where the target's people would fall into other folds than those that judged its trials."""
    has_folds = (earlier.options.get("folds") or 1) > 1
    if has_folds and earlier.fold_rule != FOLD_RULE:
        raise InputError(
            f"study {earlier.name} can only go on with the folds that it was started with",
            "a version of this program that divides the target's people otherwise",
            "Start a new study with --study NAME; with --warm-start it tries the front of this one first.",
        )


def _check_same_expressions(earlier: StudyRecord, new: StudyRecord) -> None:
    """Raises InputError where --expressions now stands for others, or maps other labels to them."""
    before, now = earlier.expressions, new.expressions
    if before == now:
        return
    value = f"{now.describe()} in place of {before.describe()}"
    if before.names == now.names:
        value = f"the same, {now.describe()}, of other labels"
    raise InputError(
        f"study {earlier.name} can only go on with the expressions that it was started with",
        value,
        "Use the same --expressions, or give the new study a name with --study NAME.",
    )


def _check_same_weights(earlier: StudyRecord, new: StudyRecord) -> None:
    """Raises InputError where the baseline comes from another file of the user's now, or from other classes of it."""
    before, now = earlier.weights, new.weights
    if (before.kind, before.checksum, before.classes) == (now.kind, now.checksum, now.classes):
        return
    is_earlier_version = not before.name and earlier.options.get("baseline") is not None
    if is_earlier_version and earlier.options["baseline"] == new.options["baseline"]:
        return
    raise InputError(
        f"study {earlier.name} can only go on with the weights that it was started with",
        f"{now.describe_file()} in place of {before.describe_file()}",
        "Use the same file and --classes, or give the new study a name with --study NAME.",
    )


def _check_same_space(study: optuna.Study, options: StudyOptions, base: AdaptationConfig) -> None:
    """Raises InputError where a trial was suggested by an earlier form of the search space."""
    outdated = [trial.number for trial in trials_of(study) if not fits(trial, options.space, base)]
    if outdated:
        raise InputError(
            f"the search space {options.space} has changed since study {study.study_name} began, so its trials cannot "
            "be compared with new ones",
            f"trial {outdated[0]}, which chose what is no longer asked for, and {len(outdated) - 1} more",
            "Start a new study with --study NAME, or go on with the version of this program that began it.",
        )


def list_drift(earlier: StudyRecord, new: StudyRecord) -> list[str]:
    """Returns what has changed around a study since its last run, of all that its numbers depend on."""
    before = _surroundings(earlier)
    after = _surroundings(new)
    # An early record says nothing of timm.
    return _list_changes(before, {name: value for name, value in after.items() if name in before})


def _surroundings(record: StudyRecord) -> dict[str, Any]:
    """Returns what a study's numbers depend on beside its options: its data and the decisive packages."""
    digests = {domain: record.dataset(domain).digest for domain in DOMAINS}
    libraries = [name for name in _libraries_of(record.architecture) if name in record.versions]
    return digests | {package: record.versions.get(package) for package in (*DECISIVE, *libraries)}


def _libraries_of(network: Architecture) -> tuple[str, ...]:
    """Returns the packages besides torch that a network is, or may be, made of."""
    if network.is_paper:
        return ()
    if is_own_code(network.name):
        return "torchvision", "timm"
    return ("timm",) if network.name.startswith(TIMM) else ("torchvision",)


def _list_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Returns each entry that is another afterwards, with both values."""
    return [f"{name} {before[name]} → {after[name]}" for name in after if before[name] != after[name]]


def create_study(name: str, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """Returns the study, created in its storage where it is not there yet."""
    study = optuna.create_study(
        study_name=name, storage=storage, directions=["maximize", "maximize"], load_if_exists=True
    )
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        study.set_metric_names(["source_val", "target_val"])
    return study


def write_record(study: optuna.Study, record: StudyRecord) -> None:
    """Writes the study's record into its storage; only its one parent may.

    Raises:
        InputError: Another parent began the study while this one trained the baseline.
    """
    stored = study.user_attrs.get("study")
    begun = record if stored is None else StudyRecord.from_json(stored)
    if begun.id != record.id:
        raise InputError(
            "a study begins once",
            f"{record.name}, which another study.run began at {begun.created}",
            "Give the same command again: it goes on with that study.",
        )
    study.set_user_attr("study", record.to_json())
