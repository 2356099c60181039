"""Splits without leaks: by subject where subjects are known, else with equal pixels on one side; and the hazards."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fer.datasets import copies
from fer.datasets.arrays import SPLITS
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from fer.seeding import generator

SHARES = (0.8, 0.1, 0.1)
_CANDIDATES = 4000  # seeded assignments of subjects, among whose good ones one is drawn
# How far the sizes of a good assignment may be from the best one's, in an average person's images. Over 150 seeds, with
# an eighth, 2 of JAFFE's 10 people were nearly never tested and 3 never validated; with a quarter, each was tested by
# 29 to 72 seeds and validated by 1 to 24.
SLACK = 1 / 4
_BALANCED = 0.9  # of the assignments of good sizes, those whose expressions are nearest to their proportions
TRAIN, VALIDATION, TEST = range(3)


def pixel_groups(images: np.ndarray) -> np.ndarray:
    """Numbers images so that exactly equal ones share a number: uint8 (n, 48, 48) to int64 (n,)."""
    hashes = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images]
    return np.unique(np.frombuffer(b"".join(hashes), dtype=np.uint64), return_inverse=True)[1].astype(np.int64)


def copy_groups(images: np.ndarray, kind: str) -> np.ndarray:
    """Numbers images so that copies share a number.

    Args:
        images: uint8 (n, 48, 48).
        kind: Of "real" images near-copies count as well, see `fer.datasets.copies`. Drawn faces are alike by nature;
            of these only equal ones are copies.

    Returns:
        int64 (n,).
    """
    groups = pixel_groups(images)
    return copies.merge_near(groups, images) if kind == "real" else groups


def wanted_sizes(total: int, sizes: Sequence[int] | None) -> tuple[int, int, int]:
    """Returns the sizes to aim at: the paper's, in proportion where the total differs, else 80/10/10 %."""
    shares = np.asarray(sizes or SHARES, dtype=float)
    validation, test = (round(total * share) for share in shares[1:] / shares.sum())
    return total - validation - test, validation, test


def assign_splits(
    labels: np.ndarray,
    subjects: np.ndarray | None,
    groups: np.ndarray,
    own: Sequence[str | None],
    wanted: tuple[int, int, int],
    seed: int,
) -> tuple[np.ndarray, str]:
    """Assigns every image to a split.

    Args:
        labels: int64 (n,).
        subjects: int64 (n,), or None where unknown.
        groups: int64 (n,), equal for equal pixels.
        own: The dataset's own split words, None where it has none.
        wanted: Sizes to aim at.
        seed: From the dataset's name and the user's seed.

    Returns:
        int64 (n,) of 0, 1, 2 for `SPLITS`, or -1 for images outside the dataset's own splits; and the rule in words.

    Raises:
        InputError: The dataset's own splits lack training images or share a subject; too few subjects.
    """
    if subjects is not None and len(np.unique(subjects)) < len(SPLITS):
        count = len(np.unique(subjects))
        rule = "a subject is in one split only, so three splits need three subjects"
        raise InputError(rule, f"{count} subject{'s' * (count != 1)}", "Add people, or leave the subjects out.")
    words = set(own) - {None}
    official = np.array([SPLITS.index(word) if word else -1 for word in own], dtype=np.int64)
    if len(words) < 2:
        parts, rule = _divide(labels, subjects, groups, wanted[1:], seed)
        return parts, f"seeded, {rule}"
    if "train" not in words:
        raise InputError(
            "a dataset's own splits have training images", " and ".join(sorted(map(str, words))), "Add some."
        )
    if subjects is not None:
        _check_subjects(official, subjects)
    missing = [split for split in (VALIDATION, TEST) if SPLITS[split] not in words]
    if not missing:
        return official, "the dataset's own three splits"
    train = np.flatnonzero(official == TRAIN)
    people = subjects[train] if subjects is not None else None
    parts, rule = _divide(labels[train], people, groups[train], [wanted[missing[0]]], seed)
    official[train[parts == 1]] = missing[0]
    return official, f"the dataset's own, with {SPLITS[missing[0]]} taken out of its training images: seeded, {rule}"


def _check_subjects(official: np.ndarray, subjects: np.ndarray) -> None:
    pairs = np.unique(np.stack([subjects, official])[:, official >= 0], axis=1)
    counts = np.unique(pairs[0], return_counts=True)[1]
    if (counts > 1).any():
        rule = "a subject is in one split only"
        raise InputError(rule, f"{(counts > 1).sum()} subjects in several", "Correct the splits, or leave them out.")


def _divide(
    labels: np.ndarray, subjects: np.ndarray | None, groups: np.ndarray, wanted: Sequence[int], seed: int
) -> tuple[np.ndarray, str]:
    """Cuts parts 1, 2, … of the wanted sizes; the rest is part 0."""
    if subjects is not None:
        return split_by_subject(labels, subjects, wanted, seed), "by subject"
    return split_by_image(labels, groups, wanted, seed), "by image (subjects unknown), every expression in proportion"


def split_by_subject(labels: np.ndarray, subjects: np.ndarray, wanted: Sequence[int], seed: int) -> np.ndarray:
    """Cuts parts that share no subject, near the wanted sizes; another seed gives other people.

    Many seeded orders of the subjects are tried; each fills the parts one after the other. One of the good ones is
    drawn. Good ones lack the fewest expressions; their sizes are together no more than a quarter of an average person's
    images, or one image, further from the wanted ones than the best one's; and they are not of the tenth of these in
    which the expressions are furthest from their proportions in the whole.

    Args:
        labels: int64 (n,).
        subjects: int64 (n,), at least one more than there are parts.
        wanted: Sizes of parts 1, 2, …
        seed: Of the orders and of the draw.

    Returns:
        int64 (n,); 0 for what is left.
    """
    people, number = np.unique(subjects, return_inverse=True)
    table = np.zeros((len(people), len(EXPRESSIONS)))
    np.add.at(table, (number, labels), 1)
    tries = int(np.clip(4_000_000 // len(people), 50, _CANDIDATES))
    rng = generator("split by subject", seed)
    order = rng.permuted(np.tile(np.arange(len(people)), (tries, 1)), axis=1)
    sums = np.cumsum(table.sum(1)[order], axis=1)
    part = np.zeros_like(order)
    start, base = np.zeros(tries, dtype=np.int64), np.zeros(tries)
    position = np.arange(len(people))
    for index, size in enumerate(wanted):
        # One subject at least for this part, and one for each part still to come.
        allowed = (position >= start[:, None]) & (position < len(people) - (len(wanted) - index))
        distance = np.where(allowed, np.abs(sums - base[:, None] - size), np.inf)
        end = distance.argmin(1)
        part[(position >= start[:, None]) & (position <= end[:, None])] = index + 1
        start, base = end + 1, sums[np.arange(tries), end]
    placed = np.empty_like(part)
    np.put_along_axis(placed, order, part, axis=1)
    chosen = placed[rng.choice(_good(placed, table, wanted))]
    return chosen[number].astype(np.int64)


def _good(placed: np.ndarray, table: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Returns the numbers of the assignments that are good, see `split_by_subject`.

    Args:
        placed: int64 (tries, people), each person's part.
        table: float64 (people, 7), each person's images per expression.
        wanted: Sizes of parts 1, 2, …
    """
    overall = table.sum(0) / table.sum()
    lacking, distance, unlike = np.zeros((3, len(placed)))
    for part, size in enumerate([None, *wanted]):
        counts = (placed == part).astype(float) @ table
        sizes = counts.sum(1)
        lacking += ((counts == 0) & (overall > 0)).sum(1)
        unlike += np.abs(counts / np.maximum(sizes, 1)[:, None] - overall).sum(1)
        if size is not None:
            distance += np.abs(sizes - size)
    good = np.flatnonzero(lacking == lacking.min())
    slack = max(1.0, SLACK * table.sum() / len(table))
    good = good[distance[good] <= distance[good].min() + slack]
    return good[unlike[good] <= np.quantile(unlike[good], _BALANCED)]


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
        what = "different images" if subjects is None else "subjects"
        raise InputError(
            f"folds are two at least and no more than there are {what}",
            f"{count} of {units}",
            "Change the number.",
        )
    return _divide(labels, subjects, groups, [round(len(labels) / count)] * (count - 1), seed)[0]


def split_by_image(labels: np.ndarray, groups: np.ndarray, wanted: Sequence[int], seed: int) -> np.ndarray:
    """Cuts parts with every expression in proportion and equal pixels in one part.

    Args:
        labels: int64 (n,).
        groups: int64 (n,), equal for images that must stay together.
        wanted: Sizes of parts 1, 2, …; reached exactly where groups allow.

    Returns:
        int64 (n,); 0 for what is left.
    """
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    members = [member for member in members if len(member)]
    of_group = np.array([labels[member[0]] for member in members])
    rng = generator("split by image", seed)
    queues = [list(rng.permutation(np.flatnonzero(of_group == label))) for label in range(len(EXPRESSIONS))]
    available = np.array([sum(len(members[group]) for group in queue) for queue in queues], dtype=float)
    part = np.zeros(len(labels), dtype=np.int64)
    for index, size in enumerate(wanted):
        quotas = _quotas(available, size)
        for label, queue in enumerate(queues):
            if len(queue) > len(wanted) - index:  # one image at least, and one left for each later part and the rest
                quotas[label] = max(1, quotas[label])
            queues[label] = _fill(part, index + 1, queue, members, quotas[label], len(wanted) - index)
    return part


def _quotas(available: np.ndarray, size: int) -> np.ndarray:
    """Shares a size out in proportion, exactly (largest remainders)."""
    exact = available * size / max(1, available.sum())
    quotas = np.floor(exact).astype(int)
    for label in np.argsort(quotas - exact, kind="stable")[: size - quotas.sum()]:
        quotas[label] += 1
    return quotas


def _fill(
    part: np.ndarray, index: int, queue: list[int], members: list[np.ndarray], quota: int, keep: int
) -> list[int]:
    """Puts groups that fit into a part up to its quota; returns the groups left, `keep` of them at least."""
    left, taken = [], 0
    for group in queue:
        if len(members[group]) <= quota and len(queue) - taken > keep:
            part[members[group]] = index
            quota -= len(members[group])
            taken += 1
        else:
            left.append(group)
    return left


def find_hazards(
    images: np.ndarray, labels: np.ndarray, parts: np.ndarray, groups: np.ndarray
) -> tuple[dict[str, int], np.ndarray]:
    """Counts what spoils comparisons.

    Args:
        images: uint8 (n, 48, 48).
        labels: int64 (n,).
        parts: int64 (n,), index into `SPLITS`.
        groups: int64 (n,), equal for copies, see `copy_groups`.

    Returns:
        The counts, and bool (n,): training images with a copy in validation or test, and validation images with a copy
        in test.
    """
    pixels = pixel_groups(images)
    sizes = np.bincount(pixels)
    pairs = np.unique(np.stack([pixels, labels]), axis=1)[0]
    joined = np.unique(np.stack([groups, pixels]), axis=1)[0]
    equal, alike = _held(pixels, parts), _held(groups, parts)
    train, validation = parts == TRAIN, parts == VALIDATION
    equal_train = train & (equal[VALIDATION] | equal[TEST])
    leaked_train = train & (alike[VALIDATION] | alike[TEST])
    leaked_validation = validation & alike[TEST]
    return {
        "images": len(images),
        "unique": len(sizes),
        "duplicate_groups": int((sizes > 1).sum()),
        "conflicting_groups": int((np.bincount(pairs) > 1).sum()),
        "near_copy_groups": int((np.bincount(joined) > 1).sum()),
        "validation_in_train": int((validation & equal[TRAIN]).sum()),
        "test_in_train": int(((parts == TEST) & equal[TRAIN]).sum()),
        "validation_in_test": int((validation & equal[TEST]).sum()),
        "train_in_held_out": int(equal_train.sum()),
        "train_near_held_out": int((leaked_train & ~equal_train).sum()),
        "validation_near_test": int((leaked_validation & ~equal[TEST]).sum()),
        "constant": int((images.min((1, 2)) == images.max((1, 2))).sum()),
    }, leaked_train | leaked_validation


def _held(groups: np.ndarray, parts: np.ndarray) -> list[np.ndarray]:
    """Returns for each split bool (n,): which images have a member of their group in it."""
    return [np.isin(groups, groups[parts == part]) for part in range(len(SPLITS))]


def summarise_splits(parts: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> dict[str, Any]:
    """Returns sizes, counts per expression and number of subjects of each split."""
    counts = {
        split: dict(zip(EXPRESSIONS, np.bincount(labels[parts == index], minlength=7).tolist(), strict=True))
        for index, split in enumerate(SPLITS)
    }
    people = {split: len(np.unique(subjects[(parts == index) & (subjects >= 0)])) for index, split in enumerate(SPLITS)}
    sizes = {split: sum(count.values()) for split, count in counts.items()}
    return {"sizes": sizes, "counts": counts, "subjects": people}
