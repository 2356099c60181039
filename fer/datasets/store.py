"""Prepared datasets on disk: a folder of arrays each, under the dataset's name and digest, with checksums."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fer.datasets.arrays import SPLITS, Images, blocks_of, select_images
from fer.datasets.dataset import SIGNATURES, SUMS, DamagedDataset, Dataset, file_names, read_sums, sum_of
from fer.datasets.prepared import PreparedImages
from fer.datasets.report import DatasetReport
from fer.datasets.scratch import scratch_folder
from fer.files import naming_place, read_regular
from fer.told_progress import step, tell_progress

REPORT = "report.json"
_LONGEST_FOLDER = 100  # bytes of a dataset's name in the name of its prepared folder
_MOST_REPORT = 64 * 2**20  # bytes


def folder_of(name: str, digest: str, cache_dir: Path) -> Path:
    """Returns the folder of a prepared dataset.

    Args:
        name: The dataset's name; of a long one, the folder has the beginning.
        digest: The dataset's hash.
        cache_dir: Where prepared datasets are kept.
    """
    short = name.encode()[:_LONGEST_FOLDER].decode(errors="ignore")
    return cache_dir / f"{short}-{digest}"


def open_prepared(name: str, kind: str, digest: str, cache_dir: Path) -> Dataset | None:
    """Opens a prepared dataset.

    Args:
        name: The layout's name, or the user's own.
        kind: "real" or "synthetic".
        digest: The dataset's hash.
        cache_dir: Where prepared datasets are kept.

    Returns:
        None where it is missing or damaged, and so has to be prepared again.
    """
    folder = folder_of(name, digest, cache_dir)
    try:
        sums = read_sums(folder)
        if not sums or sums != _compute_sums(folder):
            return None
        report: Mapping[str, Any] = json.loads(read_regular(folder / REPORT, _MOST_REPORT))
    except (OSError, DamagedDataset):
        return None
    return Dataset(name, kind, digest, folder, report)


def write_prepared(prepared: PreparedImages, report: DatasetReport, folder: Path) -> None:
    """Writes the arrays to a scratch folder and renames it, so that no reader meets half of them.

    Args:
        prepared: The arrays.
        report: The full report.
        folder: From `folder_of`.
    """
    arrays = (prepared.images, prepared.labels, prepared.subjects)
    with naming_place(folder), scratch_folder(folder.parent, "partial") as partial, step("written"):
        for index, split in enumerate(SPLITS):
            tell_progress(int((prepared.split_index < index).sum()), len(prepared.split_index))
            rows = prepared.split_index == index
            for name, array in zip(file_names(split), arrays, strict=True):
                _save(partial / name, select_images(array, rows))
        if prepared.signatures is not None:
            by_split = [prepared.signatures[prepared.split_index == index] for index in range(len(SPLITS))]
            np.save(partial / SIGNATURES, np.concatenate(by_split).astype(np.float16))
        (partial / REPORT).write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
        (partial / SUMS).write_text(json.dumps(_compute_sums(partial)), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # what is there was cut short or is damaged
        partial.rename(folder)


def _save(path: Path, array: Images) -> None:
    """Writes an array as `numpy.save` does; of images that are read when they are used, some at a time."""
    if isinstance(array, np.ndarray):
        np.save(path, array)
        return
    description = {"descr": "|u1", "fortran_order": False, "shape": array.shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, description)
        for _, block in blocks_of(array):
            file.write(block.tobytes())


def _compute_sums(folder: Path) -> dict[str, int]:
    """Returns the checksum of each of a prepared dataset's files."""
    return {path.name: sum_of(path) for path in sorted([*folder.glob("*.npy"), folder / REPORT])}
