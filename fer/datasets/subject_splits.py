"""Splits of people: parts that share no subject, near the wanted sizes."""

from collections.abc import Sequence

import numpy as np

from fer.expressions import EXPRESSIONS
from fer.seeding import generator

_CANDIDATES = 4000  # seeded assignments of subjects, among whose good ones one is drawn


# How far the sizes of a good assignment may be from the best one's, in an average person's images. Over 150 seeds, with
# an eighth, 2 of JAFFE's 10 people were nearly never tested and 3 never validated; with a quarter, each was tested by
# 29 to 72 seeds and validated by 1 to 24.
SLACK = 1 / 4


_BALANCED = 0.9  # of the assignments of good sizes, those whose expressions are nearest to their proportions


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
