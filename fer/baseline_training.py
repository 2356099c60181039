"""Trains a baseline until its accuracy on validation images stops growing; or, by the same recipe, a fused network.

A fused network is trained from scratch on the source's and the target's images together, so it never forgets.

The rate is annealed over the most passes, and the baseline is the exponential moving average of the weights. While the
rate is still high the average does what annealing would do (docs/experiments.md; Morales-Brotons et al. 2024, arXiv
2411.18704), so a training may end after any pass: when accuracy grows no more, or when its time is used.
"""

import datetime
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fer.adaptation.evaluation import predict
from fer.config import AdaptationConfig, ViewRecipe
from fer.datasets import Split
from fer.features.schedule import Schedule, draw_schedule
from fer.features.sources import ImageSource
from fer.model.vgg import build
from fer.runtime import Runtime
from fer.seeding import seed_from
from fer.training.checkpoint import Checkpoints
from fer.training.cuda_graphs import capturing_graphs
from fer.training.loop import LabelledSource, TrainingHooks, TrainingJob, fit

Ending = Literal["plateau", "passes", "time"]
"""Why a training ended: the accuracy grew no more, the most passes were taken, or the time was used."""


Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


@dataclass(frozen=True)
class BaselineConfig:
    """How the baseline is trained.

    Attributes:
        width: Width of the network, see `fer.model.vgg.build`.
        seed: Seed of weights, order, views and dropout.
        epochs: The most passes over the source's training set.
        processes: Number of processes among which each batch is divided, each with batch-norm statistics of its own
            part. Two by default whatever the machine has, because the result depends on it.
        minutes: The most time. No pass begins that would end later, but one pass is always made.
        patience: Passes without growth after which the training ends.
        averaged: Number of passes over which weights are averaged.
        lr: Peak learning rate.
        batch_size: Samples per step, over all processes.
    """

    width: float = 0.25
    seed: int = 0
    epochs: int = 28
    processes: int = 2
    minutes: float = 15.0
    patience: int = 5
    averaged: float = 1.0
    lr: float = 0.002
    batch_size: int = 64

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
    """

    train: Split
    validation: Split
    name: str
    config: BaselineConfig
    runtime: Runtime
    checkpoints: Path | None = None
    fused: FusedImages | None = None

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


def train_baseline(job: BaselineJob, on_pass: OnPass = lambda report: None) -> tuple[nn.Sequential, Course]:
    """Trains a new network; the job's processes share the work.

    Args:
        job: What is trained.
        on_pass: Called after each pass.

    Returns:
        The averaged network after the last pass, and the course of its training.
    """
    count = job.config.processes
    if count == 1:
        return _train_part(job, Rank(0, 1), on_pass)

    with tempfile.TemporaryDirectory() as rendezvous:
        store = f"file://{rendezvous}/store"
        others = torch.multiprocessing.start_processes(
            _train_other, (job, store), nprocs=count - 1, join=False, start_method="spawn"
        )
        try:
            trained = _train_part(job, Rank(0, count, store), on_pass)
            others.join()
        finally:
            for process in others.processes:
                process.kill()
        return trained


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


def _train_other(number: int, job: BaselineJob, store: str) -> None:
    """Trains the part of a process that was started for it, the number-th from 0."""
    torch.set_num_threads(1)
    _train_part(job, Rank(number + 1, job.config.processes, store), lambda report: None)


def _train_part(job: BaselineJob, rank: Rank, on_pass: OnPass) -> tuple[nn.Sequential, Course]:
    """Trains on this process's part of every batch; network and course are the same in all processes."""
    started = time.monotonic()
    config = job.config
    training = job.training
    runtime = job.runtime
    is_shared = rank.count > 1
    if is_shared:
        timeout = datetime.timedelta(minutes=5)
        torch.distributed.init_process_group(
            "gloo", rank.store, rank=rank.index, world_size=rank.count, timeout=timeout
        )

    # The network, its average, and the samples that this process draws.
    seed = seed_from(config.seed, "baseline")
    network = build(config.width, seed).to(runtime.device).to(memory_format=torch.channels_last)
    steps_averaged = max(1, round(config.averaged * job.samples_per_pass / config.batch_size))
    average = _make_average(network, steps_averaged)
    schedule = part_of_schedule(job, rank, seed)
    sources = _open_sources(job, schedule)
    torch.manual_seed(seed_from(seed, "dropout", rank.index))

    # The training.
    watch = _Watch(job, rank, average, on_pass, started)
    with capturing_graphs(runtime, network, True) as graphs:
        hooks = TrainingHooks(
            on_epoch=watch.end_pass,
            on_step=lambda: average.update_parameters(network),
            reduce_gradients=_average_gradients if is_shared else None,
            checkpoints=watch.checkpoints(),
            graphs=graphs,
        )
        fit(TrainingJob(network, 0, sources, schedule, training, runtime), hooks)
    if is_shared:
        torch.distributed.destroy_process_group()
    return watch.network.eval().requires_grad_(False), watch.course


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


def _open_sources(job: BaselineJob, schedule: Schedule) -> dict[str, LabelledSource]:
    """Returns where the samples of a schedule come from, by their place in the schedule."""
    splits = {"target": (job.train, job.name)}
    if job.fused is not None:
        splits["source"] = (job.fused.train, job.fused.name)

    sources: dict[str, LabelledSource] = {}
    for place, (split, name) in splits.items():
        pixels = ImageSource(split, job.training.views, seed_from(name, "train"), job.runtime)
        images, views = (np.concatenate(drawn) for drawn in zip(*schedule.samples(place), strict=True))
        pixels.prepare(images, views)
        sources[place] = pixels, np.asarray(split.labels)
    return sources


def _make_average(network: nn.Sequential, length: int) -> AveragedModel:
    """Returns the exponential moving average of a network's weights and batch-norm statistics.

    Args:
        network: In its initial state.
        length: Number of steps over which the average goes; at first over fewer, a quarter of those that were taken,
            so that the initial weights soon have no part in it.
    """

    def move(averages: Tensors, values: Tensors, steps: torch.Tensor | int) -> None:
        # The counter of the module lies on the CPU; to read that of the device would wait for it at every step.
        steps_taken = int(average.n_averaged)
        share = 1 / min(length, 1 + steps_taken / 4)
        get_ema_multi_avg_fn(1 - share)(averages, values, steps)

    average = AveragedModel(network, multi_avg_fn=move, use_buffers=True)
    return average


class _Watch:
    """Evaluates the averaged network after each pass, and ends the training.

    Args:
        job: What is trained.
        rank: The place of this process; the first one decides for all.
        average: The averaged network, as it trains.
        on_pass: Told of each pass.
        started: When the training began, by the monotonic clock.

    Attributes:
        course: What has happened so far.
        network: The averaged network.
    """

    def __init__(self, job: BaselineJob, rank: Rank, average: AveragedModel, on_pass: OnPass, started: float) -> None:
        self.job = job
        self.rank = rank
        assert isinstance(average.module, nn.Sequential)
        self.average = average
        self.network = average.module
        self.on_pass = on_pass
        self.course = Course()
        self.seconds_before = 0.0
        self.started = started

        # The validation images that fall to this process.
        self.images = np.arange(len(job.validation))[rank.index :: rank.count]
        self.labels = np.asarray(job.validation.labels)[self.images]
        self.pixels = ImageSource(job.validation, job.config.training.views, 0, job.runtime)

    def end_pass(self, number: int, loss: float) -> bool:
        """Notes a pass and returns whether the training ends with it.

        Args:
            number: Of the pass, from 1.
            loss: The pass's mean training loss.
        """
        config = self.job.config
        course = self.course
        course.accuracies.append(self._accuracy())
        course.seconds = _of_first_process(self.rank, self.seconds_before + time.monotonic() - self.started)

        # What is left, by the mean time of a pass.
        seconds_per_pass = course.seconds / number
        seconds_left = min((config.epochs - number) * seconds_per_pass, 60 * config.minutes - course.seconds)
        course.ended_by = self._ending(number, seconds_per_pass)
        if course.ended_by is not None:
            seconds_left = 0.0
        self.on_pass(PassReport(number, config.epochs, loss, course.accuracies[-1], course.seconds, seconds_left))
        return course.ended_by is not None

    def checkpoints(self) -> Checkpoints | None:
        """Returns where the training goes on after a crash, its course included; None without a folder."""
        if self.job.checkpoints is None:
            return None
        return Checkpoints(
            self.job.checkpoints,
            f"part{self.rank.index}of{self.rank.count}",
            every=0,  # every pass: whether a minute has passed is not the same in every process
            notes=lambda: {"accuracies": self.course.accuracies, "seconds": self.course.seconds},
            restore=self._restore,
            companion=self.average,
            agree=_minimum if self.rank.count > 1 else int,
        )

    def _restore(self, notes: dict) -> None:
        """Goes on with the course that a checkpoint noted."""
        self.course = Course(notes["accuracies"], notes["seconds"])
        self.seconds_before = notes["seconds"]
        self.started = time.monotonic()

    def _ending(self, number: int, seconds_per_pass: float) -> Ending | None:
        """Returns why the training ends after this pass; None if it goes on."""
        config = self.job.config
        accuracies = self.course.accuracies
        before, since = accuracies[: -config.patience], accuracies[-config.patience :]
        if before and max(since) <= max(before):
            return "plateau"
        if number >= config.epochs:
            return "passes"
        if self.course.seconds + seconds_per_pass > 60 * config.minutes:
            return "time"
        return None

    def _accuracy(self) -> float:
        """Returns the averaged network's accuracy on all validation images, 0 to 1."""
        network = self.network
        if self.rank.count > 1:
            _share_statistics(network)
        network.eval()
        logits = predict(network, 0, self.pixels, self.images, self.job.runtime)
        right = torch.tensor(int((logits.argmax(1) == self.labels).sum()))
        if self.rank.count > 1:
            torch.distributed.all_reduce(right)
        return int(right) / len(self.job.validation)


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replaces the gradients by their mean over the processes."""
    _average([parameter.grad for parameter in parameters if parameter.grad is not None])


def _share_statistics(network: nn.Module) -> None:
    """Replaces the batch-norm statistics by their mean over the processes."""
    _average([buffer for buffer in network.buffers() if buffer.is_floating_point()])


def _average(tensors: list[torch.Tensor]) -> None:
    """Replaces each tensor by its mean over the processes; as one vector, because each exchange takes time."""
    vector = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(vector)
    vector /= torch.distributed.get_world_size()
    for tensor, mean in zip(tensors, vector.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


def _minimum(number: int) -> int:
    """Returns the minimum of a number over the processes."""
    minimum = torch.tensor(number)
    torch.distributed.all_reduce(minimum, torch.distributed.ReduceOp.MIN)
    return int(minimum)


def _of_first_process(rank: Rank, number: float) -> float:
    """Returns the first process's number, in all processes."""
    if rank.count == 1:
        return number
    shared = torch.tensor(number, dtype=torch.float64)
    torch.distributed.broadcast(shared, src=0)
    return float(shared)
