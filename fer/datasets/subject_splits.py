"""Splits of people: parts that share no subject, near the wanted sizes."""

from collections.abc import Sequence

import numpy as np

from fer.expressions import EXPRESSIONS
from fer.seeding import generator

_MOST_CELLS = 4_000_000  # people times assignments: memory
_FEWEST_CANDIDATES = 50
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
    which the expressions are furthest from their proportions among all images.

    Args:
        labels: int64 (n,).
        subjects: int64 (n,), at least one more than there are parts.
        wanted: Sizes of parts 1, 2, …
        seed: Of the orders and of the draw.

    Returns:
        int64 (n,); 0 for what is left.
    """
    people, number = np.unique(subjects, return_inverse=True)
    table = np.zeros((len(people), len(EXPRESSIONS)))  # each person's images per expression
    np.add.at(table, (number, labels), 1)
    rng = generator("split by subject", seed)
    tries = int(np.clip(_MOST_CELLS // len(people), _FEWEST_CANDIDATES, _CANDIDATES))
    order = rng.permuted(np.tile(np.arange(len(people)), (tries, 1)), axis=1)
    placed = _fill_parts(order, table.sum(1), wanted)
    chosen = placed[rng.choice(_good(placed, table, wanted))]
    return chosen[number].astype(np.int64)


def _fill_parts(order: np.ndarray, images: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Fills the parts one after the other, in several orders of the people.

    Args:
        order: int64 (tries, people), a permutation of the people per row.
        images: float64 (people,), each person's number of images.
        wanted: Sizes of parts 1, 2, …

    Returns:
        int64 (tries, people), each person's part; 0 for what is left.
    """
    tries, people = order.shape
    sums = np.cumsum(images[order], axis=1)
    position = np.arange(people)
    part = np.zeros_like(order)
    start = np.zeros(tries, dtype=np.int64)
    base = np.zeros(tries)  # images in the parts before
    for index, size in enumerate(wanted):
        # One person at least for this part, and one for each part still to come.
        last = people - (len(wanted) - index)
        allowed = (position >= start[:, None]) & (position < last)
        distance = np.where(allowed, np.abs(sums - base[:, None] - size), np.inf)
        end = distance.argmin(1)
        part[(position >= start[:, None]) & (position <= end[:, None])] = index + 1
        start = end + 1
        base = sums[np.arange(tries), end]

    # From positions in the orders to people.
    placed = np.empty_like(part)
    np.put_along_axis(placed, order, part, axis=1)
    return placed


def _good(placed: np.ndarray, table: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Returns the numbers of the assignments that are good, see `split_by_subject`.

    Args:
        placed: int64 (tries, people), each person's part.
        table: float64 (people, 7), each person's images per expression.
        wanted: Sizes of parts 1, 2, …
    """
    shares = table.sum(0) / table.sum()
    lacking = np.zeros(len(placed))  # expressions that parts lack
    distance = np.zeros(len(placed))  # of the sizes from the wanted ones, in images
    unlike = np.zeros(len(placed))  # difference of the expressions' shares from those of all images
    for part, size in enumerate([None, *wanted]):
        counts = (placed == part).astype(float) @ table
        sizes = counts.sum(1)
        lacking += ((counts == 0) & (shares > 0)).sum(1)
        unlike += np.abs(counts / np.maximum(sizes, 1)[:, None] - shares).sum(1)
        if size is not None:
            distance += np.abs(sizes - size)
    good = np.flatnonzero(lacking == lacking.min())
    slack = max(1.0, SLACK * table.sum() / len(table))
    good = good[distance[good] <= distance[good].min() + slack]
    return good[unlike[good] <= np.quantile(unlike[good], _BALANCED)]
