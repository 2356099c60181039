"""What a prepared dataset is: three splits of grey 48×48 faces, memory-mapped and shared by all workers."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer.errors import InputError
from fer.seeding import seed_from

SPLITS = ("train", "validation", "test")
SIZE = 48
_PARTS = ("images", "labels", "subjects")


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
class Division:
    """How training and validation images are divided anew.

    Attributes:
        number: Of the fold that is validation, 0…count - 1; the others are training.
        count: Folds, by subject where subjects are known.
        seed: Of the folds.
        whole: The digest of the dataset on disk, whose images all divisions share.
    """

    number: int
    count: int
    seed: int
    whole: str


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
        division: How training and validation images are divided anew; None is the division on disk. The test split is
            the same in all.
    """

    name: str
    kind: str
    digest: str
    folder: Path
    report: Mapping[str, Any] = field(repr=False, hash=False, compare=False)
    division: Division | None = None

    def divided(self, number: int, count: int, seed: int) -> "Dataset":
        """Returns this dataset with its training and validation images divided anew, without opening its test split.

        Args:
            number: Of the fold that becomes validation, 0…count - 1; the others become training.
            count: Folds, by subject where subjects are known.
            seed: Of the folds.

        Raises:
            InputError: There are fewer subjects or images than folds, found out when a split is opened.
        """
        digest = f"{seed_from(self.digest, 'division', number, count, seed):016x}"
        return replace(self, digest=digest, division=Division(number, count, seed, self.digest))

    def divisions(self) -> int:
        """Returns into how many folds validation images of the usual number divide training and validation."""
        train, validation = self._read("train"), self._read("validation")
        people = np.concatenate([train.subjects, validation.subjects])
        units = len(np.unique(people)) if people.min() >= 0 else len(people)
        return int(np.clip(round(len(people) / max(1, len(validation))), 2, max(2, units)))

    def open(self, split: str) -> Split:
        """Opens the "train" or the "validation" split."""
        if split not in ("train", "validation"):
            raise InputError("only train and validation are open; a test set is read by confirmation alone", split,
                             "Use study.confirm.")  # fmt: skip
        if self.division is None:
            return self._read(split)
        pool, rows = self.pool(), self.rows(split)
        return Split(*(getattr(pool, part)[rows] for part in _PARTS))

    def pool(self) -> Split:
        """Returns the training and validation images together, which all divisions share."""
        return _pool(self.folder)[0]

    def rows(self, split: str) -> np.ndarray | None:
        """Returns which images of the pool are a split's; None where it is as on disk, as the test split always is."""
        if self.division is None or split == "test":
            return None
        groups, division = _pool(self.folder)[1], self.division
        held_out = _folds(self.folder, division.count, division.seed) == division.number
        if split == "validation":
            return np.flatnonzero(held_out)
        if (self.report.get("options") or {}).get("keep_duplicates"):
            return np.flatnonzero(~held_out)
        training = ~np.isin(groups, groups[held_out])  # without copies of what is in validation, or in test
        known = (self.report.get("hazards") or {}).get("rows_of_validation_in_test") or []
        training[len(self._read("train")) + np.array(known, int)] = False
        return np.flatnonzero(training)

    def open_test(self) -> Split:
        """Opens the test split; called by confirmation alone, which records it."""
        return self._read("test")

    def _read(self, split: str) -> Split:
        return _read(self.folder, split)


def _read(folder: Path, split: str) -> Split:
    return Split(*(np.load(folder / f"{split}.{part}.npy", mmap_mode="r") for part in _PARTS))


@functools.lru_cache(maxsize=4)
def _pool(folder: Path) -> tuple[Split, np.ndarray]:
    """Returns training and validation images together, and which of them have equal pixels."""
    from fer.datasets import splits

    parts = [_read(folder, split) for split in ("train", "validation")]
    pool = Split(*(np.concatenate([getattr(split, part) for split in parts]) for part in _PARTS))
    return pool, splits.pixel_groups(pool.images)


@functools.lru_cache(maxsize=16)
def _folds(folder: Path, count: int, seed: int) -> np.ndarray:
    """Numbers the pool's images by folds."""
    from fer.datasets import splits

    pool, groups = _pool(folder)
    return splits.folds(pool.labels, pool.subjects if pool.subjects.min() >= 0 else None, groups, count, seed)
