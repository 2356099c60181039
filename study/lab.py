"""From a study's record to what its processes compute with: datasets, baseline, runtime."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fer.adaptation import AdaptationConfig
from fer.datasets import Dataset, load, prepared
from fer.errors import InputError
from study.config import PRESETS, cache_folder


def prepare(name: str, options: Mapping[str, Any], kind: str) -> Dataset:
    """Reads a dataset, or finds what was read before."""
    return load(
        name,
        data_dir=Path(options["data"]) if options["data"] else None,
        kind=kind,
        cache_dir=cache_folder(options["out"]) / "datasets",
        equalise=options["equalise"],
        keep_duplicates=options["keep_duplicates"],
        seed=options["seed"],
        scale=PRESETS[options["preset"]].stand_in,
    )


def reference(dataset: Dataset) -> dict[str, Any]:
    """Returns what a study's record keeps of a dataset."""
    return {"name": dataset.name, "kind": dataset.kind, "digest": dataset.digest, "report": dict(dataset.report)}


def reopen(record: Mapping[str, Any], options: Mapping[str, Any]) -> Dataset:
    """Opens the very dataset that a study's record names.

    Raises:
        InputError: It is not among the prepared ones, and what --data holds is another.
    """
    folder = cache_folder(options["out"]) / "datasets"
    ready = prepared(record["name"], record["kind"], record["digest"], folder)
    if ready is not None:
        return ready

    # What is missing or damaged is prepared again.
    dataset = prepare(record["name"], options, record["kind"])
    if dataset.digest != record["digest"]:
        raise InputError(
            "a study's workers need the data it was started with",
            f"{dataset.name} with hash {dataset.digest} instead of {record['digest']}",
            "Point --data at the same copy, or start a new study with --study NAME.",
        )
    return dataset


def trim_features(out: str | Path, most: float, spare: float = 3600.0) -> float:
    """Deletes the banks of features that were not used for the longest, until the rest fits.

    Args:
        out: The output folder, whose cache it is.
        most: GiB on the disk that may stay.
        spare: A bank that was opened in the last `spare` seconds stays: a study may be at work with it.

    Returns:
        GiB that were freed.
    """
    banks = [folder for folder in (cache_folder(out) / "features").glob("*") if folder.is_dir()]
    sizes = {bank: sum(512 * file.stat().st_blocks for file in bank.iterdir()) for bank in banks}
    excess, freed = sum(sizes.values()) - most * 2**30, 0
    for bank in sorted(banks, key=lambda bank: bank.stat().st_mtime):
        if freed >= excess or time.time() - bank.stat().st_mtime < spare:
            break
        shutil.rmtree(bank, ignore_errors=True)
        freed += sizes[bank]
    return freed / 2**30


def budget(options: Mapping[str, Any], source_images: int, target_images: int) -> float:
    """Returns the budget of every adaptation of a study, in passes over the target's training set.

    In the paper's space it is at least one pass over both training sets together, for every strategy alike: with less,
    a fusion at the natural ratio would hardly see the target.
    """
    if options["epochs"]:
        return float(options["epochs"])
    epochs = float(max(2, round(PRESETS[options["preset"]].images / target_images)))
    if options["space"] == "paper":
        epochs = max(epochs, (source_images + target_images) / target_images)
    return epochs


def base_config(record: Mapping[str, Any]) -> AdaptationConfig:
    """Returns the knobs that the study's search space starts from."""
    options = record["options"]
    return AdaptationConfig(lr=options["lr"], amount=options["amount"], epochs=record["budget_epochs"])
