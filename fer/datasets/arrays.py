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
class Dataset:
    """A prepared dataset: a folder of arrays that are opened, memory-mapped, one split at a time.

    Attributes:
        name: The layout's name, e.g. "fer2013", or the user's own.
        kind: "real" or "synthetic" (the drawn stand-in).
        digest: Hash of the files, options and seed that the arrays depend on; 16 hex digits.
        folder: Where the arrays lie.
        report: What the reader found, JSON-able: sizes per split, counts per expression and split,
            subjects, hazards, skipped files with reasons, options.
        division: Number of the fold that is validation, number of folds and seed, where training and validation images
            are divided anew; None is the division on disk. The test split is the same in all.
    """

    name: str
    kind: str
    digest: str
    folder: Path
    report: Mapping[str, Any] = field(repr=False, hash=False, compare=False)
    division: tuple[int, int, int] | None = None

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
        return replace(self, digest=digest, division=(number, count, seed))

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
        keep = bool((self.report.get("options") or {}).get("keep_duplicates"))
        return _divided(self.folder, self.division, keep)[split]

    def open_test(self) -> Split:
        """Opens the test split; called by confirmation alone, which records it."""
        return self._read("test")

    def _read(self, split: str) -> Split:
        return _read(self.folder, split)


def _read(folder: Path, split: str) -> Split:
    return Split(*(np.load(folder / f"{split}.{part}.npy", mmap_mode="r") for part in _PARTS))


@functools.lru_cache(maxsize=4)
def _divided(folder: Path, division: tuple[int, int, int], keep_duplicates: bool) -> dict[str, Split]:
    """Divides training and validation images anew; training images with a copy in validation are left out."""
    from fer.datasets import splits

    number, count, seed = division
    pools = [_read(folder, split) for split in ("train", "validation")]
    images, labels, subjects = (np.concatenate([getattr(pool, part) for pool in pools]) for part in _PARTS)
    groups = splits.pixel_groups(images)
    held_out = splits.folds(labels, subjects if subjects.min() >= 0 else None, groups, count, seed) == number
    training = ~held_out
    if not keep_duplicates:
        training &= ~np.isin(groups, groups[held_out])
    rows = {"train": training, "validation": held_out}
    return {split: Split(images[chosen], labels[chosen], subjects[chosen]) for split, chosen in rows.items()}
