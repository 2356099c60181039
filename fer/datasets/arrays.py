"""What a prepared dataset is: three splits of grey 48×48 faces, memory-mapped and shared by all workers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fer.errors import InputError

SPLITS = ("train", "validation", "test")
SIZE = 48


@dataclass(frozen=True)
class Split:
    """One split of a dataset, as read-only arrays.

    Attributes:
        images: uint8, shape (n, 48, 48).
        labels: int64, shape (n,), indices into `fer.expressions.EXPRESSIONS`.
        subjects: int64, shape (n,), one number per person within the dataset; -1 where unknown.
    """

    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset: a folder of arrays that are opened, memory-mapped, one split at a time.

    Attributes:
        name: The layout's name, e.g. "fer2013", or the user's own.
        kind: "real" or "synthetic" (the drawn stand-in).
        digest: Hash of the files, options and seed that the arrays depend on; 16 hex digits.
        folder: Where the arrays lie.
        report: What the reader found, JSON-able: sizes per split, counts per expression and split,
            subjects, hazards, skipped files with reasons, options.
    """

    name: str
    kind: str
    digest: str
    folder: Path
    report: Mapping[str, Any] = field(repr=False, hash=False, compare=False)

    def open(self, split: str) -> Split:
        """Opens the "train" or the "validation" split."""
        if split not in ("train", "validation"):
            raise InputError("only train and validation are open; a test set is read by confirmation alone", split,
                             "Use study.confirm.")  # fmt: skip
        return self._read(split)

    def open_test(self) -> Split:
        """Opens the test split; called by confirmation alone, which records it."""
        return self._read("test")

    def _read(self, split: str) -> Split:
        arrays = {}
        for part in ("images", "labels", "subjects"):
            arrays[part] = np.load(self.folder / f"{split}.{part}.npy", mmap_mode="r")
        return Split(**arrays)
