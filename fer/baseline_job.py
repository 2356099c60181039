"""What the training of a baseline or of a fused network is: its recipe, images, samples and course.

A fused network learns the target's images beside the source's, by the baseline's recipe.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from fer.architecture import VGG13, Architecture
from fer.config import AdaptationConfig, ViewRecipe
from fer.datasets import Split
from fer.features.schedule import Schedule, draw_schedule
from fer.runtime import Runtime

Ending = Literal["plateau", "passes", "time"]
"""Why a training ended: the accuracy grew no more, the most passes were taken, or the time was used."""


@dataclass(frozen=True)
class Pretrained:
    """Features that were learned elsewhere.

    Attributes:
        path: A file that `fer.model.own_weights.import_weights` wrote.
        name: Of the user's file.
        checksum: Hash of the user's file.
    """

    path: Path
    name: str
    checksum: str


PRETRAINED_LR = 0.0005
"""Peak learning rate from pretrained features, a quarter of that from new weights: their first steps would otherwise
undo what they are taken for, while the new head still learns fast enough."""
PRETRAINED_PASSES = 0.5
"""The most passes from pretrained features, as a share of those from new weights; the rate is annealed over them."""

_NARROW = replace(VGG13, width=0.25)


@dataclass(frozen=True)
class BaselineConfig:
    """How the baseline is trained.

    Attributes:
        seed: Seed of weights, order, views and dropout.
        epochs: The most passes over the source's training set.
        processes: Number of processes among which each batch is divided, each with batch-norm statistics of its own
            part. Two by default whatever the machine has, because the result depends on it.
        minutes: The most time. No pass begins that would end later, but one pass is always made.
        patience: Passes without growth after which the training ends.
        averaged: Number of passes over which weights are averaged.
        lr: Peak learning rate.
        batch_size: Samples per step, over all processes.
        network: What is trained.
        pretrained: The features that the training begins with, in a file that `fer.model.own_weights.import_weights`
            wrote; None for new weights.
    """

    seed: int = 0
    epochs: int = 28
    processes: int = 2
    minutes: float = 15.0
    patience: int = 5
    averaged: float = 1.0
    lr: float = 0.002
    batch_size: int = 64
    network: Architecture = _NARROW
    pretrained: Pretrained | None = None

    @property
    def training(self) -> AdaptationConfig:
        """The hyperparameters of the training loop; views are not limited to a feature cache."""
        return AdaptationConfig(
            init="scratch",
            optimiser="adamw",
            lr=self.lr,
            weight_decay=0.01,
            batch_size=self.batch_size,
            epochs=self.epochs,
            views=ViewRecipe(count=1 << 20),
            depth=self.network.depth,
        )


@dataclass(frozen=True)
class PassReport:
    """How far a training is after a pass.

    Attributes:
        number: Of the pass, from 1.
        most: The most passes.
        loss: Mean training loss of the pass.
        accuracy: Of the averaged network on validation images, 0 to 1.
        seconds: The training's time so far, that before a crash included.
        seconds_left: The most time left, by the passes and the time that are left.
    """

    number: int
    most: int
    loss: float
    accuracy: float
    seconds: float
    seconds_left: float


OnPass = Callable[[PassReport], None]


@dataclass
class Course:
    """The course of a training.

    Attributes:
        accuracies: Of the averaged network on validation images after each pass, 0 to 1.
        seconds: The training's time.
        ended_by: Why it ended; None while it goes on.
    """

    accuracies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    ended_by: Ending | None = None

    @property
    def last_gain(self) -> float | None:
        """By how much the last pass raised the accuracy; None after a single pass."""
        if len(self.accuracies) < 2:
            return None
        return self.accuracies[-1] - self.accuracies[-2]


@dataclass(frozen=True)
class FusedImages:
    """The target's images that a fused network learns beside the source's.

    Attributes:
        train: Images and labels.
        name: Name of the dataset, which seeds its views.
        share: Their share of all samples that are drawn, 0 to 1; "natural" is their share of both training sets.
    """

    train: Split
    name: str
    share: float | Literal["natural"]


@dataclass(frozen=True)
class BaselineJob:
    """What a baseline learns, how, and where.

    Attributes:
        train: Images and labels to learn.
        validation: Images and labels by which the training ends.
        name: Name of the dataset, which seeds its views.
        config: Hyperparameters of the training.
        runtime: Device and precision.
        checkpoints: Folder of the checkpoints from which the training goes on; None keeps none.
        fused: The target's images of a fused network; None for a baseline.
        blocks: A folder for what was found of blocks, see `fer.model.blocks.find_blocks`.
    """

    train: Split
    validation: Split
    name: str
    config: BaselineConfig
    runtime: Runtime
    checkpoints: Path | None = None
    fused: FusedImages | None = None
    blocks: Path | None = None

    @property
    def training(self) -> AdaptationConfig:
        """The hyperparameters of the training loop.

        The source's images take the target's place in it, and the images that are fused with them the source's.
        """
        training = self.config.training
        if self.fused is None:
            return training
        return replace(training, fusion_ratio=self.fused.share, source_views=training.views.count)

    @property
    def samples_per_pass(self) -> int:
        """How many samples a pass draws: on average each image of the source once, and the target's beside them."""
        if self.fused is None:
            return len(self.train)
        target_share = self.training.source_share(len(self.fused.train), len(self.train))
        return round(len(self.train) / (1 - target_share))


# Which samples are drawn, and by which process.


@dataclass(frozen=True)
class Rank:
    """The place of one process among those that train together.

    Attributes:
        index: Number of the process, from 0.
        count: Number of processes.
        store: Address at which the processes meet; empty for one process.
    """

    index: int
    count: int
    store: str = ""


def part_of_schedule(job: BaselineJob, rank: Rank, seed: int) -> Schedule:
    """Draws the samples of every step, and returns those that fall to one process.

    Args:
        job: What is trained.
        rank: The place of the process.
        seed: Of order and views.

    Returns:
        The samples of the source in the place of the target's, and those of a fused target in the place of the
        source's.
    """
    source_images = np.arange(len(job.train))
    target_images = np.arange(len(job.fused.train) if job.fused is not None else 0)
    schedule = draw_schedule(job.training, source_images, target_images, job.samples_per_pass, seed)

    # The processes take the target's samples in turn, so that each gets its share of a small target. At every step the
    # source's samples go on where the target's end, so that no process has more than one sample more than another.
    source_part = []
    target_part = []
    target_samples = 0
    for (images, views), (fused_images, fused_views) in zip(schedule.target, schedule.source, strict=True):
        of_process = slice((rank.index - target_samples) % rank.count, None, rank.count)
        target_part.append((fused_images[of_process], fused_views[of_process]))

        target_samples += len(fused_images)
        of_process = slice((rank.index - target_samples) % rank.count, None, rank.count)
        source_part.append((images[of_process], views[of_process]))
    return Schedule(source_part, target_part, schedule.boundaries)
