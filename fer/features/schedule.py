"""Which samples an adaptation draws at each step, and at which learning rate; all of it fixed beforehand by a seed."""

import math
from dataclasses import dataclass, replace

import numpy as np

from fer.config import AdaptationConfig
from fer.seeding import generator, seed_from

_WARM_UP = 0.05
_CHOICES = 200  # of people, among which one is looked for that shows every expression


@dataclass(frozen=True)
class Schedule:
    """Every sample an adaptation will draw, step by step.

    Attributes:
        target: Target samples, image and view numbers, each a list of arrays, one per step.
        source: Source samples, likewise.
        boundaries: The step after which each epoch ends; the last is the number of steps.
    """

    target: list[tuple[np.ndarray, np.ndarray]]
    source: list[tuple[np.ndarray, np.ndarray]]
    boundaries: list[int]

    def samples(self, domain: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the steps of one domain."""
        return self.target if domain == "target" else self.source


def draw_schedule(config: AdaptationConfig, target: np.ndarray, source: np.ndarray, whole: int, seed: int) -> Schedule:
    """Draws the samples of every step.

    Args:
        config: Gives batch size, budget, fusion ratio and views.
        target: Numbers of the target images that may be used.
        source: Numbers of the source images that may be used.
        whole: Size of the whole target training set, which the budget counts in.
        seed: Of order and views.

    Returns:
        A schedule in which the source's share is exact to one sample at every step, and each image is drawn again
        only after all others of its domain were.
    """
    per_epoch = whole / config.batch_size
    steps = max(1, round(config.epochs * per_epoch))
    epochs = max(1, round(config.epochs))
    boundaries = [max(1, round(steps * (epoch + 1) / epochs)) for epoch in range(epochs)]
    share = config.source_share(len(source), len(target))
    until = np.floor(np.arange(steps + 1) * config.batch_size * (1 - share) + 1e-9).astype(int)
    from_target = np.diff(until)
    return Schedule(
        _draws(target, from_target, config.views.count, seed_from(seed, "target draws")),
        _draws(source, config.batch_size - from_target, config.source_views, seed_from(seed, "source draws")),
        boundaries,
    )


def divide_into_parts(schedule: Schedule, parts: int) -> Schedule:
    """Returns a schedule whose epochs are equal parts of the same steps."""
    steps = schedule.boundaries[-1]
    return replace(schedule, boundaries=[max(1, math.ceil(steps * part / parts)) for part in range(1, parts + 1)])


def _draws(pool: np.ndarray, counts: np.ndarray, views: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draws what each step takes; few samples of one seed are the first of many, so that features are shared."""
    total = int(counts.sum())
    passes = range(math.ceil(total / len(pool)) if len(pool) else 0)
    rngs = [generator(seed, number) for number in passes]
    images = np.concatenate([rng.permutation(pool) for rng in rngs] or [np.empty(0, int)])[:total]
    seen = np.concatenate([rng.integers(views, size=len(pool)) for rng in rngs] or [np.empty(0, int)])[:total]
    ends = np.cumsum(counts)[:-1]
    return list(zip(np.split(images, ends), np.split(seen, ends), strict=True))


def choose_target_images(
    labels: np.ndarray, amount: float, seed: int, subjects: np.ndarray | None = None
) -> np.ndarray:
    """Returns the numbers of the training images that a share of the data keeps.

    Where people are known, a share of the people is kept, with all their images: frames of one sequence, and pictures
    of one person, are near-copies, so half of these images would be hardly less data. The number of people is rounded
    up, so that of one person all images stay. Of many seeded choices the first is taken that lacks the fewest of the
    expressions. Where people are unknown, the share is one of the images, in each expression alike.

    Args:
        labels: int64 (n,).
        amount: The share, above 0 and up to 1.
        seed: Of the choice.
        subjects: int64 (n,), one number per person, -1 where unknown; None: all unknown.
    """
    everything = np.arange(len(labels))
    if amount == 1.0:
        return everything
    if subjects is not None and subjects.min() >= 0:
        return np.flatnonzero(np.isin(subjects, _choose_people(labels, subjects, amount, seed)))
    from sklearn.model_selection import train_test_split  # two seconds that only the half amounts need

    counts = np.bincount(labels)
    stratify = labels if counts[counts > 0].min() >= 2 else None
    kept, _ = train_test_split(
        everything, train_size=amount, stratify=stratify, random_state=seed_from(seed, "amount") % 2**32
    )
    return np.sort(kept)


def _choose_people(labels: np.ndarray, subjects: np.ndarray, amount: float, seed: int) -> np.ndarray:
    """Returns the numbers of the people that are kept, see `choose_target_images`."""
    people, rows = np.unique(subjects, return_inverse=True)
    shown = np.zeros((len(people), labels.max() + 1), bool)
    shown[rows, labels] = True
    count = math.ceil(amount * len(people) - 1e-9)
    rng = generator(seed, "amount of people")
    orders = rng.permuted(np.tile(np.arange(len(people)), (_CHOICES, 1)), axis=1)
    covered = shown[orders[:, :count]].any(axis=1).sum(axis=1)
    return people[orders[covered.argmax(), :count]]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Returns the rate at a step: a short linear warm-up, then a cosine to zero."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
