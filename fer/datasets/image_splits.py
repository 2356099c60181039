"""Splits of images whose subjects are unknown: every expression in proportion, copies in one part."""

from collections.abc import Sequence

import numpy as np

from fer.expressions import EXPRESSIONS
from fer.seeding import generator


def split_by_image(labels: np.ndarray, groups: np.ndarray, wanted: Sequence[int], seed: int) -> np.ndarray:
    """Cuts parts with every expression in proportion and equal pixels in one part.

    Args:
        labels: int64 (n,).
        groups: int64 (n,), equal for images that must stay together.
        wanted: Sizes of parts 1, 2, …; reached exactly where groups allow.

    Returns:
        int64 (n,); 0 for what is left.
    """
    ends = np.cumsum(np.bincount(groups))[:-1]
    by_number = np.split(np.argsort(groups, kind="stable"), ends)
    members = [rows for rows in by_number if len(rows)]

    # A queue of groups per expression, in a random order.
    label_of_group = np.array([labels[rows[0]] for rows in members])
    rng = generator("split by image", seed)
    queues = []
    for label in range(len(EXPRESSIONS)):
        queues.append(list(rng.permutation(np.flatnonzero(label_of_group == label))))
    images = [sum(len(members[group]) for group in queue) for queue in queues]
    available = np.array(images, dtype=float)

    part = np.zeros(len(labels), dtype=np.int64)
    for index, size in enumerate(wanted):
        parts_to_come = len(wanted) - index  # the rest, part 0, among them
        quotas = _share_out(available, size)
        for label, queue in enumerate(queues):
            # One image at least, and one left for each later part and the rest.
            if len(queue) > parts_to_come:
                quotas[label] = max(1, quotas[label])
            taken = _take_groups(queue, members, quotas[label], parts_to_come)
            for group in taken:
                part[members[group]] = index + 1
            queues[label] = [group for group in queue if group not in taken]
    return part


def _share_out(available: np.ndarray, size: int) -> np.ndarray:
    """Shares a size out in proportion, exactly (largest remainders)."""
    exact = available * size / max(1, available.sum())
    quotas = np.floor(exact).astype(int)
    by_remainder = np.argsort(quotas - exact, kind="stable")
    for label in by_remainder[: size - quotas.sum()]:
        quotas[label] += 1
    return quotas


def _take_groups(queue: Sequence[int], members: Sequence[np.ndarray], quota: int, fewest_left: int) -> set[int]:
    """Returns the groups of a queue that fit into a part.

    Args:
        queue: Groups in the order in which they are tried.
        members: Each group's images.
        quota: Images that the part may get.
        fewest_left: Groups that stay in the queue at least.
    """
    taken: set[int] = set()
    for group in queue:
        fits = len(members[group]) <= quota
        if fits and len(queue) - len(taken) > fewest_left:
            taken.add(group)
            quota -= len(members[group])
    return taken
