"""Divisions of people: parts that share no subject, near the wanted sizes."""

from collections.abc import Sequence

import numpy as np

from fer.seeding import generator

_CANDIDATES = 4000
"""Seeded assignments of the subjects to parts, among whose good ones one is drawn."""
_FEWEST_CANDIDATES = 50
_MOST_CELLS = 4_000_000
"""Subjects times candidates, which bounds the memory: with many subjects there are fewer candidates."""

SLACK = 1 / 4
"""How far the sizes of a good assignment may be from the best one's, in an average subject's images.

Over 150 seeds, with an eighth, 2 of JAFFE's 10 people were nearly never tested and 3 never validated; with a quarter,
each was tested by 29 to 72 seeds and validated by 1 to 24.
"""
_BALANCED = 0.9
"""The share of the assignments of good sizes whose expressions are near enough to their proportions."""


def split_by_subject(
    labels: np.ndarray, subjects: np.ndarray, wanted: Sequence[int], seed: int, even: bool = False
) -> np.ndarray:
    """Cuts parts that share no subject, near the wanted sizes; another seed gives other people.

    Many random orders of the subjects are tried, each of which fills the parts one after the other. Of the good
    assignments one is drawn. A good assignment

    - lacks no more expressions in its parts than any other does;
    - has sizes that, added up, are no more than a quarter of an average subject's images, or one image, further from
      the wanted ones than the best one's sizes are;
    - is not of the tenth of these in which the expressions are furthest from their proportions among all images.

    Args:
        labels: int64 (n,).
        subjects: int64 (n,), at least one more than there are parts.
        wanted: Sizes of parts 1, 2, …
        seed: Of the orders and of the draw.
        even: Whether a part makes up for what those before it have too much or too little, so that what is left is
            near its own size too.

    Returns:
        int64 (n,), each image's part; 0 for what is left.
    """
    # Each person's images per expression.
    people, person_of_image = np.unique(subjects, return_inverse=True)
    classes = int(labels.max(initial=0)) + 1
    images = np.zeros((len(people), classes))
    np.add.at(images, (person_of_image, labels), 1)

    # Random orders of the people, and the assignment that each gives.
    rng = generator("split by subject", seed)
    candidates = int(np.clip(_MOST_CELLS // len(people), _FEWEST_CANDIDATES, _CANDIDATES))
    orders = rng.permuted(np.tile(np.arange(len(people)), (candidates, 1)), axis=1)
    assignments = _fill_parts(orders, images.sum(1), wanted, even)

    # One of the good assignments.
    number = rng.choice(_select_good(assignments, images, wanted))
    part_of_person = assignments[number]
    return part_of_person[person_of_image].astype(np.int64)


def _fill_parts(orders: np.ndarray, images: np.ndarray, wanted: Sequence[int], even: bool) -> np.ndarray:
    """Fills the parts one after the other, in several orders of the people.

    Args:
        orders: int64 (candidates, people), a permutation of the people per row.
        images: float64 (people,), each person's number of images.
        wanted: Sizes of parts 1, 2, …
        even: Whether a part ends where all up to it have their sizes together, not where it has its own.

    Returns:
        int64 (candidates, people), each person's part; 0 for what is left.
    """
    candidates, people = orders.shape
    position = np.arange(people)  # in an order
    images_up_to = np.cumsum(images[orders], axis=1)

    # By position in the order: a part begins where the part before ends, and ends where its size is nearest.
    part_at_position = np.zeros_like(orders)
    first = np.zeros(candidates, dtype=np.int64)
    reckoned_from = np.zeros(candidates)
    for index, size in enumerate(wanted):
        # One person at least for this part, and one for each part to come.
        limit = people - (len(wanted) - index)
        may_end = (position >= first[:, None]) & (position < limit)
        distance = np.where(may_end, np.abs(images_up_to - reckoned_from[:, None] - size), np.inf)
        last = distance.argmin(1)
        part_at_position[(position >= first[:, None]) & (position <= last[:, None])] = index + 1
        first = last + 1
        reckoned_from = reckoned_from + size if even else images_up_to[np.arange(candidates), last]

    # By person.
    assignments = np.empty_like(part_at_position)
    np.put_along_axis(assignments, orders, part_at_position, axis=1)
    return assignments


def _select_good(assignments: np.ndarray, images: np.ndarray, wanted: Sequence[int]) -> np.ndarray:
    """Returns the indices of the good assignments by the three criteria of `split_by_subject`.

    Args:
        assignments: int64 (candidates, people), each person's part.
        images: float64 (people, classes), each person's images per expression.
        wanted: Sizes of parts 1, 2, …; part 0, which takes the other people, has no wanted size.

    Returns:
        int64 (good assignments,).
    """
    shares = images.sum(0) / images.sum()  # of each expression among all images, (classes,)

    # Three measures of each assignment (candidates,), added up over its parts.
    lacking = np.zeros(len(assignments))  # expressions that a part lacks
    distance = np.zeros(len(assignments))  # of the parts' sizes from the wanted ones, in images
    imbalance = np.zeros(len(assignments))  # difference of the expressions' shares in a part from `shares`
    for part in range(1 + len(wanted)):
        counts = (assignments == part).astype(float) @ images  # per expression, (candidates, classes)
        sizes = counts.sum(1)
        is_lacking = (counts == 0) & (shares > 0)
        lacking += is_lacking.sum(1)
        shares_in_part = counts / np.maximum(sizes, 1)[:, None]
        imbalance += np.abs(shares_in_part - shares).sum(1)
        if part > 0:
            distance += np.abs(sizes - wanted[part - 1])

    # The criteria one after the other: expressions, sizes, proportions.
    good = np.flatnonzero(lacking == lacking.min())

    images_per_person = images.sum() / len(images)
    slack = max(1.0, SLACK * images_per_person)
    good = good[distance[good] <= distance[good].min() + slack]

    largest_imbalance = np.quantile(imbalance[good], _BALANCED)
    return good[imbalance[good] <= largest_imbalance]
