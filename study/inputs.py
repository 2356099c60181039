"""From a study's record to what its processes compute with: datasets, baseline, runtime."""

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fer.cache_places import MOST_FEATURES_GIB
from fer.config import AdaptationConfig
from fer.datasets import Dataset, DatasetReport, ReaderOptions, load, near_copies
from fer.datasets.loading import folder_of
from fer.errors import InputError
from fer.expressions import SEVEN, ExpressionSet
from study.options import cache_folder, images_of, is_on_every_fold, make_cache_folder
from study.presets import PRESETS
from study.record import DatasetRecord, StudyRecord, number

MEMORY_SHARE, DISK_SHARE = 0.5, 0.25
"""Of the machine's memory, and of what is free of the disk, that the features of one study take at most."""
FEATURE_ROOM = "features_gib"
"""The entry of a study's record that says how many GiB its features may take."""


@dataclass(frozen=True)
class OuterPart:
    """One of the parts into which nested cross-validation divides the target's people.

    Attributes:
        number: From 1 on.
        count: Of all parts.
    """

    number: int
    count: int


def prepare_dataset(
    name: str,
    options: Mapping[str, Any],
    kind: str,
    part: OuterPart | None = None,
    expressions: ExpressionSet = SEVEN,
) -> Dataset:
    """Reads a dataset, or finds what was read before.

    Args:
        name: Of the dataset.
        options: Of the study, by name.
        kind: "auto", "real" or "synthetic".
        part: The people who are its test set; None for the usual test set.
        expressions: What its labels stand for.
    """
    number, count = (0, 0) if part is None else (part.number, part.count)
    return load(
        name,
        data_dir=Path(options["data"]) if options["data"] else None,
        kind=kind,
        cache_dir=make_cache_folder(options["out"]) / "datasets",
        options=ReaderOptions(
            options["equalise"],
            options["keep_duplicates"],
            options["seed"],
            number,
            count,
            *images_of(options),
            expressions,
        ),
        scale=PRESETS[options["preset"]].synthetic_scale,
    )


def dataset_record(dataset: Dataset) -> DatasetRecord:
    """Returns what a study's record keeps of a dataset."""
    return DatasetRecord(dataset.name, dataset.kind, dataset.digest, dict(dataset.report))


def reopen_dataset(record: DatasetRecord, options: Mapping[str, Any]) -> Dataset:
    """Opens the very dataset that a study's record names; prepares it again where it is gone or damaged, now or later.

    Raises:
        InputError: It is not among the prepared ones, and what --data holds is another.
    """
    folder = folder_of(record.name, record.digest, cache_folder(options["out"]) / "datasets")
    restore = partial(_prepare_again, record, options)
    if not folder.is_dir():
        restore()
    return Dataset(record.name, record.kind, record.digest, folder, record.report, restore=restore)


def part_of(record: DatasetRecord) -> OuterPart | None:
    """Returns the part of all people that is a dataset's test set, None where that is the usual one."""
    reader_options = DatasetReport.from_json(record.report).options
    if not reader_options.parts:
        return None
    return OuterPart(reader_options.part, reader_options.parts)


def _prepare_again(record: DatasetRecord, options: Mapping[str, Any]) -> Dataset:
    of_reader = record.report.get("options") or {}
    seed = of_reader.get("seed", options["seed"])
    expressions = ReaderOptions.from_json(of_reader).expressions
    dataset = prepare_dataset(record.name, {**options, "seed": seed}, record.kind, part_of(record), expressions)
    if dataset.digest != record.digest:
        raise InputError(
            "a study's workers need the data it was started with",
            f"{dataset.name} with hash {dataset.digest} instead of {record.digest}",
            "Point --data at the same copy; after an update that reads copies otherwise, start a new study with "
            "--study NAME.",
        )
    return dataset


def note_copies(source: Dataset, target: Dataset, labels: Sequence[str], warn: Callable[[str], None]) -> Dataset:
    """Warns of the images of either dataset that are copies of the other's held-out images.

    The copies stay: which images a dataset has depends on nothing but itself, and its hash with them.

    Args:
        source: The dataset that the baseline is trained on.
        target: The one it is adapted to.
        labels: How the two are called.
        warn: Tells the user a sentence.

    Returns:
        The source, with the sentences among its report's notices, so that the study's record has them.
    """
    source_label, target_label = labels
    notices = [
        _describe_copies(source, target, source_label, target_label),
        _describe_copies(target, source, target_label, source_label),
    ]
    notices = [notice for notice in notices if notice]
    for notice in notices:
        warn(notice)
    earlier = source.report.get("notices") or []
    return replace(source, report={**source.report, "notices": [*earlier, *notices]})


def _describe_copies(dataset: Dataset, other: Dataset, label: str, other_label: str) -> str:
    """Returns how many images of a dataset are copies of another dataset's held-out images; empty where none is."""
    counts = near_copies(dataset, other)
    if not any(counts.values()):
        return ""
    return (
        f"{counts['train']:,} training and {counts['validation']:,} validation images of {label} are copies "
        f"or near-copies of validation or test images of {other_label}, which are then not new to the network"
    )


def trim_features(out: str | Path, most: float = MOST_FEATURES_GIB, spare: float = 3600.0) -> float:
    """Deletes the feature caches that were not used for the longest, until the rest fits.

    Args:
        out: The output folder, whose cache it is.
        most: GiB on the disk that may stay.
        spare: A cache that was used in the last `spare` seconds stays: a study may be at work with it.

    Returns:
        GiB that were freed.
    """
    caches = [folder for folder in (cache_folder(out) / "features").glob("*") if folder.is_dir()]
    sizes = {cache: _bytes_on_disk(cache) for cache in caches}
    excess = sum(sizes.values()) - most * 2**30
    freed = 0
    oldest_first = sorted(caches, key=lambda cache: cache.stat().st_mtime)
    for cache in oldest_first:
        unused_for = time.time() - cache.stat().st_mtime
        if freed >= excess or unused_for < spare:
            break
        shutil.rmtree(cache, ignore_errors=True)
        freed += sizes[cache]
    return freed / 2**30


def _bytes_on_disk(folder: Path) -> int:
    size = 0
    with contextlib.suppress(FileNotFoundError):  # another process may delete it
        for file in folder.iterdir():
            size += 512 * file.stat().st_blocks  # POSIX counts blocks of 512 bytes
    return size


def find_feature_room(out: str | Path) -> float:
    """Returns GiB that the features of one study may take, with two digits: a share of memory and disk.

    Features are quick as long as memory holds their files. The cuts that a network's features are kept at are chosen
    by it, except those of vgg13, see `fer.features.cuts`.

    Args:
        out: The output folder, whose cache they are written to.
    """
    import psutil  # noqa: PLC0415  not for --help, which imports this module

    features = cache_folder(out) / "features"
    kept = sum(_bytes_on_disk(folder) for folder in features.glob("*") if folder.is_dir())
    place = next(folder for folder in (Path(out).absolute(), *Path(out).absolute().parents) if folder.is_dir())
    of_disk = DISK_SHARE * (shutil.disk_usage(place).free + kept)
    of_memory = MEMORY_SHARE * psutil.virtual_memory().total
    return round(min(MOST_FEATURES_GIB, min(of_disk, of_memory) / 2**30), 2)


def feature_room_of(record: StudyRecord) -> float:
    """Returns the bytes that the features of a study may take; of an early study the most."""
    room = number(record.more.get(FEATURE_ROOM))
    return 2**30 * (MOST_FEATURES_GIB if room is None else room)


CONVERGED_PASSES = 64
"""Passes over the target's training set after which FC, FC+CL and RE learn no more from a converged baseline.

With annealed rates, FC and FC+CL reached what they can on validation images of JAFFE and CK+48 in 16 passes, and so did
RE on JAFFE; on CK+48 RE was best with 64 (docs/experiments.md).
"""


FEWEST_PASSES = 2
"""Of a budget over the target's training images."""
FEWEST_PASSES_OF_FOLDS = 3
"""The same where a trial is trained on every fold of a target, which then has few images."""


def budget_epochs(options: Mapping[str, Any], target_images: int) -> float:
    """Returns the budget of every adaptation of a study, in passes over the target's training set.

    In the paper's space the strategies are trained until they learn no more. The space's own FU, which is trained from
    scratch, has the budget of a baseline instead.

    Args:
        options: The study's options, by name.
        target_images: Number of the target's training images.
    """
    if options["epochs"]:
        return float(options["epochs"])
    # What is trained on every fold has the budget of one training divided among them.
    trainings, fewest = (options["folds"], FEWEST_PASSES_OF_FOLDS) if is_on_every_fold(options) else (1, FEWEST_PASSES)
    passes = round(PRESETS[options["preset"]].images / target_images / trainings)
    epochs = float(max(fewest, passes))
    if options["space"] == "paper":
        epochs = max(epochs, CONVERGED_PASSES)
    return epochs


def base_config(record: StudyRecord) -> AdaptationConfig:
    """Returns the hyperparameters that the study's search space starts from."""
    assert record.budget_epochs is not None, "a study's record has its budget"
    return AdaptationConfig(
        lr=record.options["lr"],
        amount=record.options["amount"],
        epochs=record.budget_epochs,
        depth=record.architecture.depth,
    )
