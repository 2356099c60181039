"""A prepared dataset: arrays on disk, opened one split at a time, and its divisions into folds."""

import functools
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fer.datasets.arrays import SPLITS, Split, join_images, select_images
from fer.datasets.duplicates import copy_groups
from fer.datasets.report import DatasetReport, ReaderOptions
from fer.datasets.splits import assign_folds
from fer.errors import InputError
from fer.expressions import ExpressionSet
from fer.files import open_regular, read_regular
from fer.seeding import seed_from

SUMS = "checksums.json"
SIGNATURES = "signatures.npy"
_ARRAYS = ("images", "labels", "subjects")
_MOST_BYTES = 2**40  # of a prepared file, which was written by this program: any size but no pipe
_MOST_SUMS = 2**20  # bytes of the file of checksums


class DamagedDataset(InputError):
    """A prepared dataset's file that is missing or is no longer what was written."""

    def __init__(self, path: Path, what: str) -> None:
        rule = "prepared data is read as it was written"
        super().__init__(rule, f"{path}, which {what}", f"Delete {path.parent}; it is prepared again.")


@dataclass(frozen=True)
class Division:
    """How training and validation images are divided again.

    Attributes:
        number: Of the fold that is validation, 0…count - 1; the others are training. None where all images are
            training, and validation is as on disk.
        count: Folds, by subject where subjects are known; 1 where all images are training.
        seed: Of the folds.
        stored_digest: The digest of the dataset on disk, whose images all divisions share.
    """

    number: int | None
    count: int
    seed: int
    stored_digest: str


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset: a folder of arrays that are opened, memory-mapped, one split at a time.

    A file's checksum is verified before a process first uses the file, and again once the file was replaced. Folders
    that `load` did not write, as tests do, may come without checksums; their files are taken as they are.

    Attributes:
        name: The layout's name, e.g. "fer2013", or the user's own.
        kind: "real" or "synthetic" (drawn faces).
        digest: Hash of the files, options and seed that the arrays depend on; 16 hex digits.
        folder: Where the arrays lie.
        report: What the reader found, JSON-able: sizes per split, counts per expression and split,
            subjects, hazards, skipped files with reasons, options.
        division: How training and validation images are divided again; None is the division on disk. The test split is
            the same in all.
        restore: Prepares the dataset once more where files are missing or damaged, and returns it; None: they are an
            error.
    """

    name: str
    kind: str
    digest: str
    folder: Path
    report: Mapping[str, Any] = field(repr=False, hash=False, compare=False)
    division: Division | None = None
    restore: "Callable[[], Dataset] | None" = field(default=None, repr=False, hash=False, compare=False)

    @property
    def stored_digest(self) -> str:
        """The digest of the dataset on disk, however its images are divided."""
        return self.digest if self.division is None else self.division.stored_digest

    @property
    def expressions(self) -> ExpressionSet:
        """What its labels are indices of."""
        return ReaderOptions.from_json(self.report.get("options")).expressions

    def parse_report(self) -> DatasetReport:
        """Returns the report as a `DatasetReport`."""
        return DatasetReport.from_json(self.report)

    def divided(self, number: int, count: int, seed: int) -> "Dataset":
        """Returns this dataset with its training and validation images divided again, without opening its test split.

        Args:
            number: Of the fold that becomes validation, 0…count - 1; the others become training.
            count: Folds, by subject where subjects are known.
            seed: Of the folds.

        Raises:
            InputError: There are fewer subjects or images than folds, found out when a split is opened.
        """
        digest = f"{seed_from(self.digest, 'division', number, count, seed):016x}"
        return replace(self, digest=digest, division=Division(number, count, seed, self.digest))

    def united(self) -> "Dataset":
        """Returns this dataset with its validation images among the training images.

        Its validation split stays as on disk: accuracies on it are those of images that were trained on.
        """
        digest = f"{seed_from(self.digest, 'united'):016x}"
        return replace(self, digest=digest, division=Division(None, 1, 0, self.digest))

    def divisions(self) -> int:
        """Returns the number of folds of training and validation images of which each is as large as validation is."""
        train = self._read("train")
        validation = self._read("validation")
        subjects = np.concatenate([train.subjects, validation.subjects])
        units = len(np.unique(subjects)) if subjects.min() >= 0 else len(subjects)
        folds = round(len(subjects) / max(1, len(validation)))
        return int(np.clip(folds, 2, max(2, units)))

    def open(self, split: str) -> Split:
        """Opens the "train" or the "validation" split.

        Raises:
            InputError: It is another split; or its files are missing or damaged and cannot be prepared again.
        """
        if split not in ("train", "validation"):
            rule = "only train and validation are open; a test set is read by confirmation alone"
            raise InputError(rule, split, "Use study.confirm.")
        if self.division is None:
            return self._read(split)
        pool = self.pool()
        rows = self.rows(split)
        assert rows is not None, "a division has rows of its own"
        return Split(select_images(pool.images, rows), pool.labels[rows], pool.subjects[rows])

    def fold_of_images(self, count: int, seed: int) -> np.ndarray:
        """Returns the number of the fold that each image of the pool is in, int64 (n,).

        Args:
            count: Folds, by subject where subjects are known.
            seed: Of the folds.

        Raises:
            InputError: There are fewer subjects or images than folds.
        """
        self._pool()
        return _folds(self.folder, self.kind, count, seed)

    def pool(self) -> Split:
        """Returns the training and validation images together, which all divisions share."""
        return self._pool()[0]

    def rows(self, split: str) -> np.ndarray | None:
        """Returns which images of the pool are a split's; None where it is as on disk, as the test split always is."""
        if self.division is None or split == "test":
            return None
        _, groups = self._pool()
        division = self.division
        if division.number is None:
            held_out = np.zeros(len(groups), bool)
        else:
            held_out = _folds(self.folder, self.kind, division.count, division.seed) == division.number
        if split == "validation":
            on_disk = np.arange(len(self._read("train")), len(groups))
            return on_disk if division.number is None else np.flatnonzero(held_out)

        # Training is without copies of what is in validation or in test, unless copies are kept.
        report = self.parse_report()
        if report.options.keep_duplicates:
            return np.flatnonzero(~held_out)
        training = ~np.isin(groups, groups[held_out])
        in_test = np.array(report.hazards.rows_of_validation_in_test, int)  # of the validation split on disk
        training[len(self._read("train")) + in_test] = False
        return np.flatnonzero(training)

    def open_test(self) -> Split:
        """Opens the test split; called by confirmation alone, which records it."""
        return self._read("test")

    def signatures(self) -> dict[str, np.ndarray]:
        """Returns every split's signatures, float32 (n, 256), see `fer.datasets.duplicates`.

        They were taken when the dataset was prepared, so no test image is opened.
        """
        self.ensure([SIGNATURES])
        stacked = np.load(self.folder / SIGNATURES).astype(np.float32)
        sizes = self.parse_report().sizes
        ends = np.cumsum([sizes[split] for split in SPLITS])[:-1]
        return dict(zip(SPLITS, np.split(stacked, ends), strict=True))

    def ensure(self, names: Sequence[str]) -> None:
        """Makes sure that these files are there and as they were written, if need be by preparing them again.

        Raises:
            InputError: They cannot be prepared again, or come out different.
        """
        try:
            for name in names:
                _verify(self.folder / name)
        except DamagedDataset:
            if self.restore is None:
                raise
            restored = self.restore()
            if restored.digest != self.stored_digest:
                raise InputError(
                    "data that is prepared again comes from the copy that it came from before",
                    f"{self.name} with hash {restored.digest} instead of {self.stored_digest}",
                    "Point --data at the same copy; after an update that reads copies otherwise, start a new study.",
                ) from None
            for name in names:
                _verify(self.folder / name)

    def _read(self, split: str) -> Split:
        """Returns a split's arrays, whose files are verified."""
        self.ensure(file_names(split))
        return _read(self.folder, split)

    def _pool(self) -> tuple[Split, np.ndarray]:
        """Returns training and validation images together, and a number that copies share, int64 (n,)."""
        self.ensure([*file_names("train"), *file_names("validation")])
        return _pool(self.folder, self.kind)


def file_names(split: str) -> list[str]:
    """Returns the names of a split's files in a prepared dataset's folder."""
    return [f"{split}.{array}.npy" for array in _ARRAYS]


_verified: dict[Path, tuple[int, int, int]] = {}
"""The files that this process has verified, each with the inode, size and time that it had."""


def _verify(path: Path) -> None:
    """Compares a file with its checksum, once per process and file.

    Raises:
        DamagedDataset: It is missing, or no longer what was written.
    """
    try:
        status = path.stat()
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        if _verified.get(path) == identity:
            return
        wanted = read_sums(path.parent).get(path.name)
        if wanted is not None and sum_of(path) != wanted:
            raise DamagedDataset(path, "differs from its checksum")
    except OSError as error:
        raise DamagedDataset(path, f"cannot be read ({error.strerror or error})") from None
    _verified[path] = identity


def read_sums(folder: Path) -> dict[str, int]:
    """Returns the checksums in a prepared dataset's folder by file name; none where it has none."""
    try:
        sums = json.loads(read_regular(folder / SUMS, _MOST_SUMS))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        raise DamagedDataset(folder / SUMS, "cannot be read") from None
    if not isinstance(sums, dict):
        raise DamagedDataset(folder / SUMS, "holds no checksums")
    return sums


def sum_of(path: Path) -> int:
    """Returns a file's CRC-32, read piece by piece.

    Raises:
        OSError: It is no regular file, or cannot be read.
    """
    total = 0
    with open_regular(path, _MOST_BYTES) as file:
        while piece := file.read(2**20):
            total = zlib.crc32(piece, total)
    return total


def _read(folder: Path, split: str) -> Split:
    """Returns a split's arrays, memory-mapped."""
    return Split(*(np.load(folder / name, mmap_mode="r") for name in file_names(split)))


@functools.lru_cache(maxsize=4)
def _pool(folder: Path, kind: str) -> tuple[Split, np.ndarray]:
    """Returns training and validation images together, and a number that copies share, int64 (n,)."""
    train = _read(folder, "train")
    validation = _read(folder, "validation")
    pool = Split(
        join_images([np.asarray(split.images) for split in (train, validation)]),
        np.concatenate([train.labels, validation.labels]),
        np.concatenate([train.subjects, validation.subjects]),
    )
    return pool, copy_groups(pool.images, kind)


@functools.lru_cache(maxsize=16)
def _folds(folder: Path, kind: str, count: int, seed: int) -> np.ndarray:
    """Returns the number of the fold that each of the pool's images is in, int64 (n,)."""
    pool, groups = _pool(folder, kind)
    subjects = pool.subjects if pool.subjects.min() >= 0 else None
    return assign_folds(pool.labels, subjects, groups, count, seed)
