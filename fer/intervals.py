"""How sure a number is: intervals over subjects and seeds, tests of differences, correction for many of them."""

from collections.abc import Sequence

import numpy as np
from scipy import stats


def wilson(right: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Returns Wilson's score interval of a share of right answers (Wilson 1927), for a single network.

    Args:
        right: How many of `count` independent images were right.
        count: At least 1.
        level: Of confidence.
    """
    found = stats.binomtest(right, count).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def mcnemar(right_before: np.ndarray, right_after: np.ndarray) -> float:
    """Returns the p-value of the exact two-sided McNemar test of two networks on the same images (n,), bool."""
    gained = int(np.sum(~right_before & right_after))
    lost = int(np.sum(right_before & ~right_after))
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values that are corrected for being many, in the order given (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = np.empty(len(p_values)), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted.tolist()


def over_subjects(
    right: np.ndarray, subjects: np.ndarray, rng: np.random.Generator, level: float = 0.95, repeats: int = 2000
) -> tuple[float, float]:
    """Returns the interval of the mean of `right` for other subjects and other seeds.

    Subjects are drawn with replacement (bootstrap), all images of one together, with their answers averaged over
    seeds; the variance of these draws, and what seeds alone add to it (two-way clustering, Cameron, Gelbach and Miller
    2011), gives the standard error. The interval takes Student's t with Satterthwaite's degrees of freedom, because
    percentiles of draws from few subjects are too narrow (Hesterberg 2015, arXiv 1411.5279).

    Args:
        right: (seeds, n) whether each seed's network was right on each image; any numbers will do.
        subjects: (n,) whose image each is; where nobody knows, each image may be a subject of its own.
        rng: Draws the repeats.
        level: Of confidence.
        repeats: Bootstrap samples.
    """
    right = np.atleast_2d(np.asarray(right, float))
    mean = float(right.mean())
    names, index = np.unique(subjects, return_inverse=True)
    sizes = np.bincount(index, minlength=len(names)).astype(float)
    cells = np.stack([np.bincount(index, row, len(names)) for row in right])  # sums, (seeds, subjects)
    of_seeds, alone = _variances(cells, sizes)
    if len(names) == 1:
        half = stats.t.ppf((1 + level) / 2, max(1, len(right) - 1)) * np.sqrt(of_seeds)
        return float(mean - half), float(mean + half)
    units = len(names)
    drawn = rng.multinomial(units, np.full(units, 1 / units), repeats)
    variance = float((drawn @ cells.mean(0) / (drawn @ sizes)).var()) * units / (units - 1)
    if variance + alone == 0:
        return mean, mean
    freedom = (variance + alone) ** 2 / (variance**2 / (units - 1) + alone**2 / max(1, len(right) - 1))
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance + alone)
    return float(mean - half), float(mean + half)


def _variances(cells: np.ndarray, sizes: np.ndarray) -> tuple[float, float]:
    """Returns the variance of the mean that seeds show, and that part of it which is theirs alone."""
    seeds, people = cells.shape
    if seeds == 1:
        return 0.0, 0.0
    of_seed = cells.sum(1) / sizes.sum()
    shown = float(of_seed.var(ddof=1)) / seeds
    # What is left of each cell after its seed's and its subject's own level.
    left = cells - sizes * (of_seed[:, None] - of_seed.mean()) - cells.mean(0)
    shared = float(np.square(left).sum()) / (sizes.sum() ** 2 * seeds * (seeds - 1))
    return shown, max(0.0, shown - shared * people / max(1, people - 1))
