"""Prepares a study: options settled, data read, folder held, record made."""

import contextlib
import dataclasses
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from fer.cache_places import MOST_FEATURES_GIB
from fer.datasets import Dataset, Split, locate, same_files
from fer.datasets.data_folder import normalise
from fer.datasets.splits import FOLD_RULE
from fer.errors import InputError
from fer.expressions import read_expressions
from fer.files import holding_lock
from study.cli import command_line
from study.execution.phase import Phase, counting
from study.execution.progress import Progress
from study.inputs import (
    FEATURE_ROOM,
    OuterPart,
    budget_epochs,
    dataset_record,
    find_feature_room,
    note_copies,
    prepare_dataset,
)
from study.machine import hardware, required_device, versions
from study.options import StudyOptions, images_of
from study.pipeline.network import StudyNetwork, find_network
from study.record import DatasetRecord, Hardware, StudyRecord
from study.redaction import hide_secrets
from study.reporting.commands import place_words
from study.reporting.wording import describe_unmet_labels, name_as_printed
from study.search_options import DEFAULT_RACE, DEFAULT_RUNGS, ONE_FOLD
from study.stored_values import encodable
from study.tuning.initial_trials import check_initial_trials

SOURCE_SEED = 0
"""By which a source is divided that comes without splits: the same in all studies, since whatever baseline is given to
a study was trained on its training images."""
FOLDS = 5
"""Of a target, unless it is large or shows fewer people."""
LARGE_TARGET = 3000
"""Training and validation images from which a target has FOLDS_OF_LARGE folds."""
FOLDS_OF_LARGE = 3

# Options.


def resolve_auto(options: StudyOptions) -> StudyOptions:
    """Returns the options with a device and a preset in place of "auto".

    Size and colour of images that are the network's usual ones are left out, so that it is one study whether they were
    given or not.

    Raises:
        InputError: This machine lacks the device.
    """
    device = required_device(options.device)
    preset = options.preset
    if preset == "auto":
        preset = "laptop" if device == "cpu" else "paper"
    size, colour = images_of({"network": options.network})
    return dataclasses.replace(
        options,
        device=device,
        preset=preset,
        image_size=None if options.image_size == size else options.image_size,
        colour=None if options.colour == colour else options.colour,
    )


def check_before_reading(options: StudyOptions) -> StudyNetwork:
    """Raises InputError for datasets' names, expressions, a network or initial trials that cannot be.

    That is before minutes of reading.

    Args:
        options: What the user asked for.

    Returns:
        The network.
    """
    network = find_network(options, read_expressions(options.expressions))
    check_initial_trials(dataclasses.asdict(options), network.architecture.depth)
    data_dir = Path(options.data) if options.data else None
    for name in (options.source, options.target):
        locate(name, data_dir, options.data_kind)
    return network


def course_of_new_study(options: StudyOptions, target: Dataset) -> dict[str, Any]:
    """Returns the options of a new study's course, with what follows from its target where the user says nothing."""
    # Preset tiny is to be quick, and the paper's grid is trained as it is.
    is_plain = options.preset == "tiny" or options.space == "paper"
    course: dict[str, Any] = {
        "rungs": 1 if is_plain else DEFAULT_RUNGS,
        "race": 0.0 if is_plain else DEFAULT_RACE,
        "folds": 1 if is_plain else usual_folds(target, options.seed),
        "folds_per_trial": ONE_FOLD,
    }
    asked = {name: getattr(options, name) for name in course if getattr(options, name) is not None}
    return course | asked


def usual_folds(target: Dataset, seed: int) -> int:
    """Returns how many folds a target has unless the user says otherwise.

    Many images tell enough with fewer folds, of which each takes less from training. One person makes no folds, and
    neither do so few images that a fold would be empty.

    Args:
        target: Its training and validation images are divided.
        seed: Of the folds.
    """
    pool = target.pool()
    most = FOLDS_OF_LARGE if len(pool) > LARGE_TARGET else FOLDS
    possible = (folds for folds in range(min(most, _count_people(pool)), 1, -1) if is_divisible(target, folds, seed))
    return next(possible, 1)


def _count_people(images: Split) -> int:
    """Returns how many people images show; where nobody knows, each image counts as one."""
    has_people = images.subjects.min() >= 0
    return len(np.unique(images.subjects)) if has_people else len(images)


def is_divisible(target: Dataset, folds: int, seed: int) -> bool:
    """Returns whether each of some folds would have images for training and for validation."""
    try:
        return find_empty_fold(target, folds, seed) is None
    except InputError:  # fewer people, or images that are no copies, than folds
        return False


# Data.


def read_data(options: StudyOptions, progress: Progress, part: OuterPart | None = None) -> tuple[Dataset, Dataset]:
    """Reads source and target; says loudly where synthetic faces take their place.

    Args:
        options: What the user asked for.
        progress: Prints what was read.
        part: Of the target's people, who are its test set; None for the usual test set.

    Returns:
        Source and target.

    Raises:
        InputError: A dataset cannot be used, or the two cannot be used together.
    """
    # Read them, or find what was read before.
    asked = dataclasses.asdict(options)
    expressions = read_expressions(options.expressions)
    phase = Phase("data", counted=f"reading {options.source}", after_interrupt="a dataset that was read stays")
    with progress.phase(phase):
        phase.then = options.target
        with counting(phase, f"images of {options.source}", progress.tell_state):
            source = prepare_dataset(
                options.source, asked | {"seed": SOURCE_SEED}, options.data_kind, expressions=expressions
            )
        phase.then, phase.total, phase.counted = "", None, f"reading {options.target}"
        phase.expect(None)
        with counting(phase, f"images of {options.target}", progress.tell_state):
            target = prepare_dataset(options.target, asked, options.data_kind, part, expressions)

    # Whether they can be used together.
    if options.folds is not None:
        check_folds(target, options.folds, options.seed)
    check_domains_differ(source, target, options)

    # What the user should know of them; copies across the two are noted in the source's report as well.
    for dataset, name in ((source, options.source), (target, options.target)):
        _show_dataset(dataset, name, options, progress)
    labels = [name_as_printed(dataset.name, dataset.report) for dataset in (source, target)]
    reports = {label: dataset.parse_report() for label, dataset in zip(labels, (source, target), strict=True)}
    unmet = describe_unmet_labels(expressions, reports, options.expressions)
    if unmet:
        progress.warn(unmet)
    source = note_copies(source, target, labels, progress.warn)
    if source.kind != target.kind:
        progress.warn("one dataset is real and the other a stand-in: fit to try the tool, not to learn about faces")
    return source, target


def _show_dataset(dataset: Dataset, asked: str, options: StudyOptions, progress: Progress) -> None:
    """Prints what a dataset holds, which files were left out, and a warning where it is synthetic.

    Args:
        dataset: The dataset.
        asked: What the user calls it.
        options: What the user asked for.
        progress: Prints it.
    """
    label = name_as_printed(dataset.name, dataset.report, asked)
    own_name = "" if normalise(label) == normalise(dataset.name) else f" ({dataset.name} in names of studies)"
    sizes = " / ".join(f"{len(dataset.open(split)):,}" for split in ("train", "validation"))
    progress.say(f"  {label}{own_name}: {dataset.kind}, {sizes} training / validation images, hash {dataset.digest}")
    report = dataset.parse_report()
    for notice in (*report.list_notices(), report.describe_copies()):
        if notice:
            progress.say(f"  notice: {label}: {notice}")
    skipped = report.skipped_commonest_first
    if skipped:
        reasons = "; ".join(f"{files.count:,} {reason}" for reason, files in skipped)
        progress.say(f"  left out of {label}: {reasons} ({show_command(asked, options)} names them)")
    if dataset.kind == "synthetic":
        progress.warn(
            f"no copy of {label} was found: DRAWN STAND-IN FACES take its place, and its numbers say "
            f"nothing about {label} (put yours under --data DIR/{asked})"
        )


def show_command(asked: str, options: StudyOptions) -> str:
    """Returns the command that shows a dataset as a study reads it.

    Args:
        asked: What the user calls the dataset.
        options: What the user asked for of the study.
    """
    words = place_words(asked, {"out": options.out, "data": options.data}, "data")
    if options.expressions != StudyOptions.expressions:
        words += ["--expressions", options.expressions]
    return command_line("study.datasets", words)


def any_synthetic(source: Dataset, target: Dataset) -> bool:
    """Returns whether any face of a study of these datasets is synthetic."""
    return "synthetic" in (source.kind, target.kind)


def check_folds(target: Dataset, folds: int, seed: int) -> None:
    """Raises InputError where a fold of the target would be empty, in training or in validation."""
    empty = None if folds == 1 else find_empty_fold(target, folds, seed)
    if empty is not None:
        number, training, validation = empty
        label = name_as_printed(target.name, target.report)
        raise InputError(
            "--folds leaves every fold images for training and for validation",
            f"{training} and {validation} of {label} in fold {number + 1} of {folds}",
            "Ask for fewer folds, or leave --folds out.",
        )


def find_empty_fold(target: Dataset, folds: int, seed: int) -> tuple[int, int, int] | None:
    """Returns the first fold without training or without validation images; None where all have both.

    Returns:
        Its number, and how many images it has for training and for validation.

    Raises:
        InputError: There are fewer people or images than folds.
    """
    for number in range(folds):
        fold = target.divided(number, folds, seed)
        training, validation = (len(fold.open(split)) for split in ("train", "validation"))
        if not training or not validation:
            return number, training, validation
    return None


def check_domains_differ(source: Dataset, target: Dataset, options: StudyOptions) -> None:
    """Raises InputError where source and target are one dataset, by its name, its folder or its content."""
    if source.name == target.name or same_files(source, target):
        raise InputError(
            "--target and --source are two datasets",
            f"{options.source} and {options.target}, which are one",
            "Choose another target.",
        )


# The study.


@contextlib.contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Holds the study's folder, so that two parents on one machine cannot run one study."""
    refusal = InputError(
        "a study has one parent",
        f"{folder}, which another study.run holds",
        "Wait for it, or help it with python -m study.worker.",
    )
    with holding_lock(folder / ".lock", refusal):
        yield


def make_record(
    name: str, options: StudyOptions, source: Dataset, target: Dataset, network: StudyNetwork
) -> StudyRecord:
    """Returns the record of a new study, which study.json holds, without its baseline.

    Args:
        name: Of the study.
        options: What the user asked for.
        source: The dataset that the baseline is trained on.
        target: The dataset that it is adapted to.
        network: What is adapted.
    """
    asked = dataclasses.asdict(options) | {"trials": options.wanted} | course_of_new_study(options, target)
    for with_password in ("storage", "tracking_uri", "ray"):
        asked[with_password] = hide_secrets(asked[with_password])
    return StudyRecord(
        name=name,
        id=uuid.uuid4().hex,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source=_encodable_record(source),
        target=_encodable_record(target),
        synthetic=any_synthetic(source, target),
        options=asked,
        budget_epochs=budget_epochs(asked, len(target.open("train"))),
        fold_rule=FOLD_RULE,
        network=network.architecture.to_json(),
        weights=network.weights,
        more={FEATURE_ROOM: MOST_FEATURES_GIB if network.architecture.is_paper else find_feature_room(options.out)},
        expressions=source.expressions,
        versions=versions(),
        hardware=Hardware.from_json(hardware()),
    )


def _encodable_record(dataset: Dataset) -> DatasetRecord:
    """Returns the record of a dataset; bytes in names of files that are no UTF-8, which no report takes, escaped."""
    return DatasetRecord.from_json(encodable(dataset_record(dataset).to_json()))
