"""What an adaptation draws, and where the features of the drawn samples come from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from fer.adaptation.task import DOMAINS, AdaptationTask, DomainSplit, open_source
from fer.config import ALL, AdaptationConfig
from fer.datasets import Split
from fer.errors import InputError
from fer.features.schedule import Schedule, Steps, choose_target_images, draw_schedule, with_equal_epochs
from fer.seeding import generator
from fer.training import penalties
from fer.training.loop import LabelledSource

# Samples from which batch-norm statistics are estimated, at most, and samples of a batch of them. More of them move
# accuracies by less than one image in a hundred.
_NORM_SAMPLES = 256
_NORM_BATCH = 128

LabelledSources = dict[str, LabelledSource]
"""Where the samples of each domain come from that is drawn from."""


@dataclass
class Draws:
    """The training samples of one adaptation: which are drawn, and where their features come from.

    Attributes:
        task: Baseline, datasets, runtime, cache.
        config: Hyperparameters of the adaptation.
        seed: Seed of the adaptation, which alone decides which images may be drawn.
        cut: The cut at which the features are taken.
        equal_epochs: How many epochs of equal length the budget has; None: an epoch is a pass over the target.
    """

    task: AdaptationTask
    config: AdaptationConfig
    seed: int
    cut: int
    equal_epochs: int | None = None

    @cached_property
    def splits(self) -> dict[str, Split]:
        """The training splits of both domains."""
        return {domain: self.task.dataset(domain).open("train") for domain in DOMAINS}

    @cached_property
    def of_first_member(self) -> tuple[Schedule, LabelledSources]:
        """The schedule that the adaptation's own seed draws, and where its samples come from."""
        schedule = self.draw(self.seed)
        return schedule, self.open_sources(schedule, self.cut)

    @cached_property
    def norm_inputs(self) -> list[torch.Tensor]:
        """Batches of drawn samples, from which batch-norm statistics are estimated."""
        schedule, sources = self.of_first_member
        return list(_first_batches(sources, schedule))

    def draw(self, seed: int) -> Schedule:
        """Draws the samples of one member with the member's seed."""
        config = replace(self.config, epochs=self.config.epochs / self.config.members)
        target = self._target_images()
        source = self._source_images()
        if not len(target) + len(source):
            raise InputError("an adaptation needs at least one training image", 0, "Check the target's training split.")

        schedule = draw_schedule(config, target, source, len(self.splits["target"]), seed)
        equal_epochs = self.equal_epochs
        if equal_epochs is None and len(schedule.boundaries) == 1:
            equal_epochs = 2  # a short budget has a half as well
        if not equal_epochs:
            return schedule
        return with_equal_epochs(schedule, equal_epochs)

    def _target_images(self) -> np.ndarray:
        """Returns the numbers of the target's training images that may be drawn."""
        split = self.splits["target"]
        labels = np.asarray(split.labels)
        subjects = np.asarray(split.subjects)
        return choose_target_images(labels, self.config.amount, self.seed, subjects)

    def _source_images(self) -> np.ndarray:
        """Returns the numbers of the source's training images that may be drawn."""
        split = self.splits["source"]
        if self.config.replay_size == ALL:
            return np.arange(len(split))
        rng = generator(self.seed, "replay")
        return penalties.choose_balanced(np.asarray(split.labels), self.config.replay_size, rng)

    def open_sources(self, schedule: Schedule, cut: int) -> LabelledSources:
        """Opens where the schedule's samples come from at a cut, with the features of all of them prepared."""
        views_per_image = {"target": self.config.views.count, "source": self.config.source_views}
        sources = {}
        for domain, split in self.splits.items():
            images, views = _join(schedule.samples(domain))
            if len(images):
                training = DomainSplit(domain, "train", split)
                source = open_source(self.task, training, cut, self.config.views, views_per_image[domain])
                source.prepare(images, views)
                sources[domain] = source, np.asarray(split.labels)
        return sources


def _join(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Returns images (n,) and views (n,) of all steps together."""
    images = np.concatenate([images for images, _ in steps])
    views = np.concatenate([views for _, views in steps])
    return images, views


def _first_batches(sources: LabelledSources, schedule: Schedule) -> Iterator[torch.Tensor]:
    """Yields the features of the first samples of a schedule, for the estimation of batch-norm statistics.

    A batch joins the samples of several steps, so that it mixes the domains as the schedule does.

    Args:
        sources: Where the features of each domain come from.
        schedule: The samples.
    """
    # How many steps suffice, and how many of them a batch joins.
    first_target_images, _ = schedule.target[0]
    first_source_images, _ = schedule.source[0]
    samples_per_step = len(first_target_images) + len(first_source_images)
    steps = min(schedule.boundaries[-1], max(1, _NORM_SAMPLES // samples_per_step))
    steps_per_batch = max(1, _NORM_BATCH // samples_per_step)

    for first_step in range(0, steps, steps_per_batch):
        features_of_domains = []
        for domain, (source, _) in sources.items():
            steps_of_batch = schedule.samples(domain)[first_step : first_step + steps_per_batch]
            images, views = _join(steps_of_batch)
            if len(images):
                features_of_domains.append(source.batch(images, views))
        yield torch.cat(features_of_domains)
