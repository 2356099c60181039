"""Splits and folds without leaks: by subject where subjects are known, otherwise by image with copies together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer.datasets.arrays import SPLITS, TEST, TRAIN, VALIDATION
from fer.datasets.image_splits import split_by_image
from fer.datasets.subject_splits import split_by_subject
from fer.errors import InputError

SHARES = (0.8, 0.1, 0.1)
FOLD_RULE = 2
"""Number of the rule by which `assign_folds` divides: a study goes on with the folds that it began with."""

_BY_SUBJECT = "by subject"
_BY_IMAGE = "by image (subjects unknown), copies in one split, expressions in proportion as far as copies allow"


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


@dataclass(frozen=True)
class HeldOutPart:
    """One of several parts of all people, which is the test set.

    Attributes:
        number: From 1 on.
        count: Of all parts, 2 at least.
        seed: Of the parts and of the division of those outside this one.
    """

    number: int
    count: int
    seed: int


def hold_out_part(
    assigned: SplitAssignment,
    labels: np.ndarray,
    subjects: np.ndarray | None,
    groups: np.ndarray,
    part: HeldOutPart,
) -> SplitAssignment:
    """Makes one of several parts of all people the test set, and divides the others into training and validation.

    The parts are those of `assign_folds`, so that over all parts every image is in the test set once. Of the images
    outside a part validation has the share that it has without parts.

    Args:
        assigned: The usual splits; images that are in none of them stay outside.
        labels: int64 (n,).
        subjects: int64 (n,), or None where unknown: then images are divided, copies together.
        groups: int64 (n,), equal for copies.
        part: The part that becomes the test set.

    Raises:
        InputError: There are fewer people than parts, or fewer than two outside one of the parts.
    """
    # The images of the dataset, and whose they are.
    inside = np.flatnonzero(assigned.split_index >= 0)
    inside_subjects = None if subjects is None else subjects[inside]
    units = groups[inside] if inside_subjects is None else inside_subjects

    # The parts; each of them must leave someone to train with and someone to validate with.
    noun = "different images" if subjects is None else "people"
    count = len(np.unique(units))
    if count < part.count:
        rule = f"each part of --outer has {noun} of its own"
        raise InputError(rule, f"{part.count} parts of {count} {noun}", f"Ask for --outer {count} or fewer.")
    part_of_image = assign_folds(labels[inside], inside_subjects, groups[inside], part.count, part.seed)
    for number in range(part.count):
        left = len(np.unique(units[part_of_image != number]))
        if left < 2:
            rule = f"outside each part of --outer there are {noun} for training and others for validation"
            raise InputError(
                rule, f"{left} outside one of {part.count} parts of {count}", f"Add {noun}, or leave it out."
            )

    # The people of one part are the test set; those of the others are divided.
    is_outside = part_of_image != part.number - 1
    rest = inside[is_outside]
    rest_subjects = None if subjects is None else subjects[rest]
    usual = np.bincount(assigned.split_index[inside], minlength=len(SPLITS))
    share = usual[VALIDATION] / (usual[TRAIN] + usual[VALIDATION])
    wanted = max(1, round(len(rest) * share))
    is_validation = _divide(labels[rest], rest_subjects, groups[rest], [wanted], part.seed) == 1

    split_index = np.full_like(assigned.split_index, -1)
    split_index[inside] = TEST
    split_index[rest] = np.where(is_validation, VALIDATION, TRAIN)
    how = _BY_IMAGE if subjects is None else _BY_SUBJECT
    rule = f"part {part.number} of {part.count} is the test set; parts and the rest seeded, {how}"
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
    labels: np.ndarray,
    subjects: np.ndarray | None,
    groups: np.ndarray,
    wanted: Sequence[int],
    seed: int,
    even: bool = False,
) -> np.ndarray:
    """Cuts parts 1, 2, … of the wanted sizes out of the images; what is left is part 0.

    By subject, `even` lets a part make up for those before it; by image, sizes are reached wherever groups allow.

    Returns:
        int64 (n,), each image's part.
    """
    if subjects is not None:
        return split_by_subject(labels, subjects, wanted, seed, even)
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
    return _divide(labels, subjects, groups, wanted, seed, even=True)
