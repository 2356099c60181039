"""Which samples an adaptation draws at each step, and at which learning rate; all of it fixed beforehand by a seed."""

import math
from dataclasses import dataclass, replace

import numpy as np

from fer.config import AdaptationConfig
from fer.seeding import generator, seed_from

_WARM_UP = 0.05  # share of the steps
_CHOICES = 200  # of people, among which one that shows the most expressions is sought

Steps = list[tuple[np.ndarray, np.ndarray]]
"""Images (n,) and views (n,) of every step."""


@dataclass(frozen=True)
class Schedule:
    """Every sample an adaptation will draw, step by step.

    Attributes:
        target: Target samples, image and view numbers, each a list of arrays, one per step.
        source: Source samples, likewise.
        boundaries: The step after which each epoch ends; the last is the number of steps.
    """

    target: Steps
    source: Steps
    boundaries: list[int]

    def samples(self, domain: str) -> Steps:
        """Returns the samples of "source" or "target" at every step."""
        return self.target if domain == "target" else self.source


def draw_schedule(
    config: AdaptationConfig, target: np.ndarray, source: np.ndarray, target_size: int, seed: int
) -> Schedule:
    """Draws the samples of every step.

    Args:
        config: Gives batch size, budget, fusion ratio and views.
        target: Numbers of the target images that may be used.
        source: Numbers of the source images that may be used.
        target_size: Number of all target training images; the budget counts passes over them.
        seed: Of order and views.

    Returns:
        A schedule in which the source's share is exact to one sample at every step, and each image is drawn again
        only after all others of its domain were.
    """
    # How many steps there are, and which of them ends each epoch.
    per_epoch = target_size / config.batch_size
    steps = max(1, round(config.epochs * per_epoch))
    epochs = max(1, round(config.epochs))
    boundaries = [max(1, round(steps * (epoch + 1) / epochs)) for epoch in range(epochs)]

    # How many samples of each domain each step draws. The target's total after each step is rounded down, and the small
    # number keeps products such as 0.3 * 10 from falling below the integer they stand for.
    target_share = 1 - config.source_share(len(source), len(target))
    target_total = np.floor(np.arange(steps + 1) * config.batch_size * target_share + 1e-9).astype(int)
    target_counts = np.diff(target_total)
    source_counts = config.batch_size - target_counts

    return Schedule(
        _draw_samples(target, target_counts, config.views.count, seed_from(seed, "target draws")),
        _draw_samples(source, source_counts, config.source_views, seed_from(seed, "source draws")),
        boundaries,
    )


def with_equal_epochs(schedule: Schedule, epochs: int) -> Schedule:
    """Returns a schedule of the same steps with this number of epochs, all of equal length."""
    steps = schedule.boundaries[-1]
    boundaries = [max(1, math.ceil(steps * epoch / epochs)) for epoch in range(1, epochs + 1)]
    return replace(schedule, boundaries=boundaries)


def _draw_samples(pool: np.ndarray, counts: np.ndarray, views: int, seed: int) -> Steps:
    """Draws the samples of each step, in passes over the pool, each in a random order.

    With equal seeds, a short draw is the beginning of a long one, so that trials of different budgets share features.

    Args:
        pool: Image numbers (n,).
        counts: Number of samples of each step (steps,).
        views: Number of views per image.
        seed: Of order and views.

    Returns:
        Images and views of each step.
    """
    total = int(counts.sum())
    passes = math.ceil(total / len(pool)) if len(pool) else 0
    images = [np.empty(0, int)]
    view_numbers = [np.empty(0, int)]
    for number in range(passes):
        rng = generator(seed, number)
        images.append(rng.permutation(pool))
        view_numbers.append(rng.integers(views, size=len(pool)))

    ends = np.cumsum(counts)[:-1]
    images_of_step = np.split(np.concatenate(images)[:total], ends)
    views_of_step = np.split(np.concatenate(view_numbers)[:total], ends)
    return list(zip(images_of_step, views_of_step, strict=True))


def choose_target_images(
    labels: np.ndarray, amount: float, seed: int, subjects: np.ndarray | None = None
) -> np.ndarray:
    """Returns the numbers of the training images that a share of the data keeps, ascending.

    Where subjects are known, a share of the subjects is kept, with all their images: frames of a sequence and images of
    a subject are near-copies, so half of these images would be hardly less data. The number of subjects is rounded up,
    so at least one stays. Where subjects are unknown, a share of the images is kept, the same for each expression.

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
        chosen = _choose_subjects(labels, subjects, amount, seed)
        return np.flatnonzero(np.isin(subjects, chosen))

    # It takes two seconds to import, and only a share of images without subjects needs it.
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    counts = np.bincount(labels)
    stratify = labels if counts[counts > 0].min() >= 2 else None
    seed_of_split = seed_from(seed, "amount") % 2**32
    images, _ = train_test_split(everything, train_size=amount, stratify=stratify, random_state=seed_of_split)
    return np.sort(images)


def _choose_subjects(labels: np.ndarray, subjects: np.ndarray, amount: float, seed: int) -> np.ndarray:
    """Returns the numbers of a share of the subjects: of many random choices, one that shows the most expressions.

    Args:
        labels: int64 (n,).
        subjects: int64 (n,), one number from 0 on per person.
        amount: The share, rounded up to a subject.
        seed: Of the choice.
    """
    # Which subject shows which expression, (subjects, expressions).
    numbers, rows = np.unique(subjects, return_inverse=True)
    shows = np.zeros((len(numbers), labels.max() + 1), bool)
    shows[rows, labels] = True

    # The beginnings of random orders of the subjects are the choices, (choices, count).
    count = math.ceil(amount * len(numbers) - 1e-9)
    rng = generator(seed, "amount of people")
    orders = rng.permuted(np.tile(np.arange(len(numbers)), (_CHOICES, 1)), axis=1)
    choices = orders[:, :count]

    expressions_shown = shows[choices].any(axis=1).sum(axis=1)
    best = expressions_shown.argmax()
    return numbers[choices[best]]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Returns the learning rate at a step: a short linear warm-up, then a cosine to zero.

    Args:
        step: From 0 on.
        steps: Number of all steps.
        peak: The largest rate, reached at the end of the warm-up.
    """
    warm_up_steps = max(1, round(_WARM_UP * steps))
    if step < warm_up_steps:
        return peak * (step + 1) / warm_up_steps
    progress = (step - warm_up_steps) / max(1, steps - warm_up_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))
