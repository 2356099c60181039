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
