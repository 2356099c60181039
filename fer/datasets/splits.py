"""Splits and folds without leaks: by subject where subjects are known, otherwise by image with copies together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.datasets.arrays import SPLITS, TEST, TRAIN, VALIDATION
from fer.datasets.image_splits import split_by_image
from fer.datasets.subject_splits import split_by_subject
from fer.errors import InputError

SHARES = (0.8, 0.1, 0.1)
_BY_SUBJECT = "by subject"
_BY_IMAGE = "by image (subjects unknown), every expression in proportion"


def wanted_sizes(total: int, sizes: Sequence[int] | None) -> tuple[int, int, int]:
    """Returns the sizes of the three splits to aim at.

    Args:
        total: Number of all images.
        sizes: The paper's sizes, which are scaled to the total; None: 80, 10 and 10 %.
    """
    shares = np.asarray(sizes or SHARES, dtype=float)
    validation, test = (round(total * share) for share in shares[1:] / shares.sum())
    return total - validation - test, validation, test


@dataclass(frozen=True)
class SplitAssignment:
    """Which split every image is in, and how that was decided.

    Attributes:
        split_index: int64 (n,) of 0, 1, 2 for `SPLITS`, or -1 for images outside the dataset's own splits.
        rule: The rule in words.
        seeded: All splits were drawn; none is the dataset's own.
    """

    split_index: np.ndarray
    rule: str
    seeded: bool = False


def assign_splits(
    labels: np.ndarray,
    subjects: np.ndarray | None,
    groups: np.ndarray,
    split_words: Sequence[str | None],
    wanted: tuple[int, int, int],
    seed: int,
) -> SplitAssignment:
    """Assigns every image to a split: the dataset's own where it has them, otherwise a drawn one.

    Args:
        labels: int64 (n,).
        subjects: int64 (n,), or None where unknown.
        groups: int64 (n,), equal for copies.
        split_words: Each image's split as the dataset has it; None where it does not say.
        wanted: Sizes to aim at.
        seed: From the dataset's name and the user's seed.

    Raises:
        InputError: The dataset's own splits lack training images or share a subject; too few subjects.
    """
    if subjects is not None:
        _check_number_of_subjects(subjects)
    draw_rule = f"seeded, {_BY_IMAGE if subjects is None else _BY_SUBJECT}"

    # The dataset has no splits of its own.
    words = {word for word in split_words if word is not None}
    if len(words) < 2:
        split_index = _divide(labels, subjects, groups, wanted[1:], seed)
        return SplitAssignment(split_index, draw_rule, seeded=True)

    # It has some or all of the three.
    if "train" not in words:
        raise InputError("a dataset's own splits have training images", " and ".join(sorted(words)), "Add some.")
    split_index = np.array([SPLITS.index(word) if word else -1 for word in split_words], dtype=np.int64)
    if subjects is not None:
        _check_subjects(split_index, subjects)
    missing = [index for index in (VALIDATION, TEST) if SPLITS[index] not in words]
    if not missing:
        return SplitAssignment(split_index, "the dataset's own three splits")

    # One is missing, and is taken out of the training images.
    (missing_split,) = missing
    train = np.flatnonzero(split_index == TRAIN)
    train_subjects = subjects[train] if subjects is not None else None
    part = _divide(labels[train], train_subjects, groups[train], [wanted[missing_split]], seed)
    split_index[train[part == 1]] = missing_split
    rule = f"the dataset's own, with {SPLITS[missing_split]} taken out of its training images: {draw_rule}"
    return SplitAssignment(split_index, rule)


def _check_number_of_subjects(subjects: np.ndarray) -> None:
    """Refuses fewer subjects than splits."""
    count = len(np.unique(subjects))
    if count < len(SPLITS):
        rule = "a subject is in one split only, so three splits need three subjects"
        noun = "subject" if count == 1 else "subjects"
        raise InputError(rule, f"{count} {noun}", "Add people, or leave the subjects out.")


def _check_subjects(split_index: np.ndarray, subjects: np.ndarray) -> None:
    """Refuses splits of the dataset's own that share a subject."""
    pairs = np.unique(np.stack([subjects, split_index])[:, split_index >= 0], axis=1)
    splits_per_subject = np.unique(pairs[0], return_counts=True)[1]
    shared = int((splits_per_subject > 1).sum())
    if shared:
        rule = "a subject is in one split only"
        raise InputError(rule, f"{shared} subjects in several", "Correct the splits, or leave them out.")


def _divide(
    labels: np.ndarray, subjects: np.ndarray | None, groups: np.ndarray, wanted: Sequence[int], seed: int
) -> np.ndarray:
    """Cuts parts 1, 2, … of the wanted sizes out of the images; what is left is part 0.

    Returns:
        int64 (n,), each image's part.
    """
    if subjects is not None:
        return split_by_subject(labels, subjects, wanted, seed)
    return split_by_image(labels, groups, wanted, seed)


def assign_folds(
    labels: np.ndarray, subjects: np.ndarray | None, groups: np.ndarray, count: int, seed: int
) -> np.ndarray:
    """Numbers images by folds of about equal size that share no subject, or, where these are unknown, no pixels.

    Args:
        labels: int64 (n,).
        subjects: int64 (n,), or None where unknown.
        groups: int64 (n,), equal for equal pixels.
        count: Number of folds, at least 2.
        seed: Of the folds.

    Returns:
        int64 (n,), 0…count - 1.

    Raises:
        InputError: There are fewer subjects, or different images, than folds.
    """
    units = len(np.unique(groups if subjects is None else subjects))
    if not 2 <= count <= units:
        noun = "different images" if subjects is None else "subjects"
        rule = f"folds are two at least and no more than there are {noun}"
        raise InputError(rule, f"{count} of {units}", "Change the number.")
    wanted = [round(len(labels) / count)] * (count - 1)
    return _divide(labels, subjects, groups, wanted, seed)
