"""What spoils comparisons: copies, near-copies, conflicting labels and constant images."""

from dataclasses import dataclass, field

import numpy as np

from fer.datasets.arrays import SPLITS, TEST, TRAIN, VALIDATION, Images, blocks_of
from fer.datasets.duplicates import pixel_groups


@dataclass(frozen=True)
class Hazards:
    """Counts of what spoils comparisons, before anything was dropped.

    Attributes:
        images: All images.
        unique: Different images.
        duplicate_groups: Groups of equal images.
        conflicting_groups: Groups of equal images with different labels.
        near_copy_groups: Groups of near-copies that are not all equal.
        validation_in_train: Validation images with an equal one in training.
        test_in_train: Test images with an equal one in training.
        validation_in_test: Validation images with an equal one in test.
        train_in_held_out: Training images with an equal one in validation or test.
        train_near_held_out: Training images with no more than a near-copy in validation or test.
        validation_near_test: Validation images with no more than a near-copy in test.
        constant: Images of one grey level.
        dropped_from_train: Training images that were dropped, because a later split holds a copy.
        dropped_from_validation: Validation images that were dropped for the same reason.
        rows_of_validation_in_test: Rows of the validation split of which the test split holds a copy; empty where such
            images are dropped.
    """

    images: int = 0
    unique: int = 0
    duplicate_groups: int = 0
    conflicting_groups: int = 0
    near_copy_groups: int = 0
    validation_in_train: int = 0
    test_in_train: int = 0
    validation_in_test: int = 0
    train_in_held_out: int = 0
    train_near_held_out: int = 0
    validation_near_test: int = 0
    constant: int = 0
    dropped_from_train: int = 0
    dropped_from_validation: int = 0
    rows_of_validation_in_test: list[int] = field(default_factory=list)


def find_leaked(split_index: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Returns which images a later split holds a copy of.

    Args:
        split_index: int64 (n,), index into `SPLITS`.
        groups: int64 (n,), equal for copies, see `fer.datasets.duplicates.copy_groups`.

    Returns:
        bool (n,): training images with a copy in validation or test, and validation images with a copy in test.
    """
    in_split = _members_in_splits(groups, split_index)
    train = (split_index == TRAIN) & (in_split[VALIDATION] | in_split[TEST])
    validation = (split_index == VALIDATION) & in_split[TEST]
    return train | validation


def count_hazards(images: Images, labels: np.ndarray, split_index: np.ndarray, groups: np.ndarray) -> Hazards:
    """Counts what spoils comparisons; what is dropped is not counted here.

    Args:
        images: uint8 (n, size, size) or (n, 3, size, size).
        labels: int64 (n,).
        split_index: int64 (n,), index into `SPLITS`.
        groups: int64 (n,), equal for copies, see `fer.datasets.duplicates.copy_groups`.
    """
    # Groups of equal images, their labels, and the near-copies that join them.
    pixels = pixel_groups(images)
    sizes = np.bincount(pixels)
    labels_of_group = np.unique(np.stack([pixels, labels]), axis=1)[0]
    joined = np.unique(np.stack([groups, pixels]), axis=1)[0]

    # Copies across splits.
    equal_in = _members_in_splits(pixels, split_index)
    train = split_index == TRAIN
    validation = split_index == VALIDATION
    test = split_index == TEST
    leaked = find_leaked(split_index, groups)
    equal_train = train & (equal_in[VALIDATION] | equal_in[TEST])

    return Hazards(
        images=len(images),
        unique=len(sizes),
        duplicate_groups=_count(sizes > 1),
        conflicting_groups=_count(np.bincount(labels_of_group) > 1),
        near_copy_groups=_count(np.bincount(joined) > 1),
        validation_in_train=_count(validation & equal_in[TRAIN]),
        test_in_train=_count(test & equal_in[TRAIN]),
        validation_in_test=_count(validation & equal_in[TEST]),
        train_in_held_out=_count(equal_train),
        train_near_held_out=_count(train & leaked & ~equal_train),
        validation_near_test=_count(validation & leaked & ~equal_in[TEST]),
        constant=_count_constant(images),
    )


def _members_in_splits(groups: np.ndarray, split_index: np.ndarray) -> list[np.ndarray]:
    """Returns for each split bool (n,): which images have a member of their group in it."""
    return [np.isin(groups, groups[split_index == index]) for index in range(len(SPLITS))]


def _count(is_counted: np.ndarray) -> int:
    return int(is_counted.sum())


def _count_constant(images: Images) -> int:
    """Returns how many images have one level everywhere, in each channel."""
    return sum(_count((block == block[..., :1, :1]).reshape(len(block), -1).all(1)) for _, block in blocks_of(images))
