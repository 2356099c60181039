"""Loads a dataset by name: the user's copy or synthetic faces, prepared once and kept under the hash of the content."""

import functools
import hashlib
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock  # comes with torch

from fer.datasets import synthetic
from fer.datasets.archives import open_copy
from fer.datasets.copy_files import reason_of, stat_lines
from fer.datasets.dataset import Dataset
from fer.datasets.duplicates import near_pairs
from fer.datasets.layouts import Layout
from fer.datasets.lookup import find_layout, locate
from fer.datasets.prepared import (
    PreparedImages,
    check_expressions,
    check_images,
    divide_faces,
    draw_images,
    finish_images,
)
from fer.datasets.report import ReaderOptions
from fer.datasets.scratch import clear_leftovers
from fer.datasets.store import folder_of, open_prepared, write_prepared
from fer.errors import InputError, printable
from fer.files import read_regular, write_atomically

VERSION = "3"  # of the reader: part of every digest, raised whenever the same files would give other arrays
KINDS = ("auto", "real", "synthetic")
DEFAULT_OPTIONS = ReaderOptions()
_MOST_KEY = 100  # bytes of a file that holds a digest


def load(
    name: str,
    *,
    data_dir: Path | None,
    kind: str = "auto",
    cache_dir: Path,
    options: ReaderOptions = DEFAULT_OPTIONS,
    scale: float = 1.0,
) -> Dataset:
    """Loads a dataset: prepared by the first call, opened in a fraction of a second by the next.

    Args:
        name: A known dataset in any usual spelling, or a folder or archive of `data_dir`.
        data_dir: Holds one folder or archive per dataset.
        kind: "real": the user's copy; "synthetic": synthetic faces; "auto": the copy where there is one.
        cache_dir: Where prepared datasets are kept, one folder each, shared by all processes.
        options: What the arrays depend on besides the files: the seed of the splits and of synthetic faces, among
            others.
        scale: Factor on the number of synthetic images.

    Raises:
        InputError: Unknown name; data missing, unreadable or against a rule of its layout.
    """
    if kind not in KINDS:
        raise InputError(f"a data kind is one of {', '.join(KINDS)}", kind, "Choose one of them.")

    # The user's copy, if there is one and it is wanted.
    path = locate(name, data_dir, kind)
    layout = find_layout(name, path)

    # Open what was prepared before, or prepare it.
    _make_folder(cache_dir)
    clear_leftovers(cache_dir)
    if path is not None:
        dataset = _load_copy(layout, path, options, cache_dir)
    else:
        dataset = _load_synthetic(layout, options, scale, cache_dir)

    # Where its files are damaged later, the dataset is loaded once more, of the kind that it has now.
    restore = functools.partial(
        load, name, data_dir=data_dir, kind=dataset.kind, cache_dir=cache_dir, options=options, scale=scale
    )
    return replace(dataset, restore=restore)


def same_files(first: Dataset, second: Dataset) -> bool:
    """Returns whether two datasets have the same images.

    They have where both were prepared from one folder or archive or from equal copies of it, or were drawn alike.
    """
    if first.digest == second.digest:
        return True
    report = first.parse_report()
    second_report = second.parse_report()
    same_content = report.content is not None and report.content == second_report.content
    same_place = report.place is not None and report.place == second_report.place
    return same_content or same_place


def near_copies(dataset: Dataset, other_dataset: Dataset) -> dict[str, int]:
    """Counts images of a dataset that another dataset's held-out images show as well.

    No test image is read: the signatures were taken when the datasets were prepared.

    Args:
        dataset: Whose training and validation images are counted.
        other_dataset: Whose validation and test images they are compared with.

    Returns:
        For "train" and "validation", the number of copies and near-copies, see `fer.datasets.duplicates`. Synthetic
        faces have no signatures, and are copies of nothing.
    """
    if "synthetic" in (dataset.kind, other_dataset.kind):
        return {"train": 0, "validation": 0}
    signatures = dataset.signatures()
    other_signatures = other_dataset.signatures()
    held_out = np.concatenate([other_signatures["validation"], other_signatures["test"]])
    counts = {}
    for split in ("train", "validation"):
        pairs = near_pairs(signatures[split], held_out)
        counts[split] = len(np.unique(pairs[:, 0]))
    return counts


def _make_folder(cache_dir: Path) -> None:
    """Makes the folder of prepared datasets.

    Raises:
        InputError: It cannot be made.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = "prepared data needs a folder to write to"
        raise InputError(rule, f"{cache_dir} ({reason_of(error)})", "Give another with --out.") from error


def _load_synthetic(layout: Layout, options: ReaderOptions, scale: float, cache_dir: Path) -> Dataset:
    """Opens the synthetic dataset, or draws it."""
    digest = _digest("stand-in", VERSION, synthetic.VERSION, layout.name, scale, options.digest_text())
    ready = open_prepared(layout.name, "synthetic", digest, cache_dir)
    if ready is not None:
        return ready
    with _lock(layout, cache_dir):
        # Another process may have drawn it meanwhile.
        ready = open_prepared(layout.name, "synthetic", digest, cache_dir)
        if ready is not None:
            return ready
        started = time.monotonic()
        drawn_as = layout.part_of or layout.name
        content = _digest("drawn", synthetic.VERSION, drawn_as, options.seed, scale)
        synthetic_images = draw_images(drawn_as, content, options, scale)
        prepared = check_expressions(layout.title, finish_images(synthetic_images))
        _write(layout, digest, prepared, started, cache_dir)
    return _open_written(layout, "synthetic", digest, cache_dir)


def _load_copy(layout: Layout, path: Path, options: ReaderOptions, cache_dir: Path) -> Dataset:
    """Opens what was prepared from the user's copy, or prepares it.

    Two keys: names, sizes and times of the files lead quickly to the digest; the digest depends on their content, so
    that a copy on another machine, or packed in an archive, has the same.
    """
    files = stat_lines(path)
    key = cache_dir / ".keys" / _digest("key", VERSION, layout.name, options.digest_text(), path.resolve(), *files)
    ready = _open_by_key(key, layout, cache_dir)
    if ready is not None:
        return ready
    with _lock(layout, cache_dir):
        # Another process may have prepared it meanwhile.
        ready = _open_by_key(key, layout, cache_dir)
        if ready is not None:
            return ready
        digest = _prepare_copy(layout, path, options, cache_dir)
        key.parent.mkdir(exist_ok=True)
        write_atomically(key, digest.encode())
    return _open_written(layout, "real", digest, cache_dir)


def _prepare_copy(layout: Layout, path: Path, options: ReaderOptions, cache_dir: Path) -> str:
    """Reads the copy and writes its arrays, unless one of the same content was prepared; returns the digest."""
    # OpenCV and Pillow, which a process that only opens prepared datasets does without.
    from fer.datasets.reader import read_copy  # noqa: PLC0415

    # Read the files. What cannot be decoded is left out here, and its names go by reason into the report.
    started = time.monotonic()
    with open_copy(path, cache_dir, options.expressions) as copy:
        faces = read_copy(layout, copy, options, cache_dir)

    # Write the arrays, unless files of the same content were prepared before.
    digest = _digest("real", VERSION, layout.name, options.digest_text(), faces.content)
    if open_prepared(layout.name, "real", digest, cache_dir) is None:
        divided = divide_faces(layout, faces, options)
        prepared = check_images(layout, finish_images(divided))
        place = _digest("place", os.path.realpath(path))
        report = replace(prepared.report, copy=printable(path), place=place)
        _write(layout, digest, replace(prepared, report=report), started, cache_dir)
    return digest


def _write(layout: Layout, digest: str, prepared: PreparedImages, started: float, cache_dir: Path) -> None:
    """Writes a prepared dataset, its report completed.

    Args:
        layout: The dataset's layout.
        digest: The dataset's hash.
        prepared: The arrays, and the report so far.
        started: When preparing began, by the monotonic clock.
        cache_dir: Where prepared datasets are kept.
    """
    seconds = round(time.monotonic() - started, 2)
    report = replace(prepared.report, name=layout.name, digest=digest, reader=VERSION, seconds=seconds)
    write_prepared(prepared, report, folder_of(layout.name, digest, cache_dir))


def _open_by_key(key: Path, layout: Layout, cache_dir: Path) -> Dataset | None:
    """Returns the prepared dataset whose digest a file holds; None where either is missing or damaged."""
    try:
        digest = read_regular(key, _MOST_KEY).decode()
    except (FileNotFoundError, ValueError):
        return None
    if not re.fullmatch("[0-9a-f]{16}", digest):
        return None
    return open_prepared(layout.name, "real", digest, cache_dir)


def _open_written(layout: Layout, kind: str, digest: str, cache_dir: Path) -> Dataset:
    """Returns the dataset that this process or another has just prepared."""
    dataset = open_prepared(layout.name, kind, digest, cache_dir)
    assert dataset is not None, "the folder was written under the lock"
    return dataset


def _lock(layout: Layout, cache_dir: Path) -> FileLock:
    """Returns the lock of the process that prepares the dataset."""
    return FileLock(cache_dir / f".{layout.name}.lock")


def _digest(*values: object) -> str:
    """Returns a hash of the values' texts, 16 hex digits."""
    text = "\x1f".join(map(str, values))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
