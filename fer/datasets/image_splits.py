"""Divisions of images whose subjects are unknown: every expression in proportion, copies in one part."""

from collections.abc import Sequence

import numpy as np

from fer.seeding import generator


def split_by_image(labels: np.ndarray, groups: np.ndarray, wanted: Sequence[int], seed: int) -> np.ndarray:
    """Cuts parts that hold every expression in proportion, the images of a group in one part.

    Args:
        labels: int64 (n,).
        groups: int64 (n,), equal for images that must stay together.
        wanted: Sizes of parts 1, 2, …; reached exactly where groups allow.
        seed: Of the order in which groups are taken.

    Returns:
        int64 (n,), each image's part; 0 for what is left.
    """
    members = _members_of_groups(groups)

    # A queue of groups for each expression, in a random order; a group's expression is that of its first image.
    label_of_group = np.array([labels[images[0]] for images in members])
    rng = generator("split by image", seed)
    classes = int(labels.max(initial=0)) + 1
    queues = [rng.permutation(np.flatnonzero(label_of_group == label)).tolist() for label in range(classes)]
    counts = [sum(len(members[group]) for group in queue) for queue in queues]
    images_per_label = np.array(counts, dtype=float)

    part = np.zeros(len(labels), dtype=np.int64)
    for index, size in enumerate(wanted):
        parts_to_come = len(wanted) - index  # what is left, part 0, among them
        quotas = _share_out(images_per_label, size)
        for label, queue in enumerate(queues):
            # The part gets one image of each expression at least, and one is left for each part to come.
            if len(queue) > parts_to_come:
                quotas[label] = max(1, quotas[label])
            chosen = _choose_groups(queue, members, quotas[label], parts_to_come)
            for group in chosen:
                part[members[group]] = index + 1
            queues[label] = [group for group in queue if group not in chosen]
    return part


def _members_of_groups(groups: np.ndarray) -> list[np.ndarray]:
    """Returns the numbers of each group's images, the groups in the order of their numbers."""
    ends = np.cumsum(np.bincount(groups))[:-1]
    by_number = np.split(np.argsort(groups, kind="stable"), ends)
    return [images for images in by_number if len(images)]


def _share_out(images_per_label: np.ndarray, size: int) -> np.ndarray:
    """Shares a part's size out over the expressions, in proportion (largest remainders).

    Args:
        images_per_label: float64 (classes,), the number of images of each expression.
        size: The part's size.

    Returns:
        int (classes,), which add up to the size.
    """
    exact = images_per_label * size / max(1, images_per_label.sum())
    quotas = np.floor(exact).astype(int)
    by_remainder = np.argsort(quotas - exact, kind="stable")
    for label in by_remainder[: size - quotas.sum()]:
        quotas[label] += 1
    return quotas


def _choose_groups(queue: Sequence[int], members: Sequence[np.ndarray], quota: int, fewest_left: int) -> set[int]:
    """Returns the groups of a queue that go into a part.

    Args:
        queue: Groups in the order in which they are tried.
        members: Each group's images.
        quota: Number of images that the part may get.
        fewest_left: Number of groups that stay in the queue at least.
    """
    chosen: set[int] = set()
    for group in queue:
        fits = len(members[group]) <= quota
        may_go = len(queue) - len(chosen) > fewest_left
        if fits and may_go:
            chosen.add(group)
            quota -= len(members[group])
    return chosen
