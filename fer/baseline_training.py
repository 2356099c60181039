"""Trains a baseline until its accuracy on validation images stops growing; or, by the same recipe, a fused network.

A fused network is trained from scratch on the source's and the target's images together.

The rate is annealed over the most passes, and the baseline is the exponential moving average of the weights. While the
rate is still high the average does what annealing would do (docs/experiments.md; Morales-Brotons et al. 2024, arXiv
2411.18704), so a training may end after any pass: when accuracy grows no more, or when its time is used.
"""

import datetime
import tempfile
import time

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fer.adaptation.evaluation import predict
from fer.baseline_job import BaselineJob, Course, Ending, OnPass, PassReport, Rank, part_of_schedule
from fer.features.schedule import Schedule
from fer.features.sources import ImageSource
from fer.model.chains import build_chain
from fer.model.own_weights import load_features
from fer.seeding import seed_from
from fer.told_progress import tell_progress
from fer.training.checkpoint import Checkpoints
from fer.training.cuda_graphs import capturing_graphs
from fer.training.loop import LabelledSource, TrainingHooks, TrainingJob, fit

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


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
    chain = build_chain(config.network, seed, job.blocks)
    if config.pretrained is not None:
        load_features(chain.module, config.pretrained.path)
    network = chain.network
    network.to(runtime.device).to(memory_format=torch.channels_last)
    steps_averaged = max(1, round(config.averaged * job.samples_per_pass / config.batch_size))
    average = _make_average(network, steps_averaged)
    schedule = part_of_schedule(job, rank, seed)
    sources = _open_sources(job, schedule)
    torch.manual_seed(seed_from(seed, "dropout", rank.index))

    # The training.
    watch = _Watch(job, rank, average, on_pass, started)

    def end_step() -> None:
        average.update_parameters(network)
        watch.count_step()

    with capturing_graphs(runtime, network, True) as graphs:
        hooks = TrainingHooks(
            on_epoch=watch.end_pass,
            on_step=end_step,
            reduce_gradients=_average_gradients if is_shared else None,
            checkpoints=watch.checkpoints(),
            graphs=graphs,
        )
        fit(TrainingJob(network, 0, sources, schedule, training, runtime, config.network.classes), hooks)
    if is_shared:
        torch.distributed.destroy_process_group()
    return watch.network.eval().requires_grad_(False), watch.course


def _open_sources(job: BaselineJob, schedule: Schedule) -> dict[str, LabelledSource]:
    """Returns where the samples of a schedule come from, by their place in the schedule."""
    splits = {"target": (job.train, job.name)}
    if job.fused is not None:
        splits["source"] = (job.fused.train, job.fused.name)

    sources: dict[str, LabelledSource] = {}
    for place, (split, name) in splits.items():
        pixels = ImageSource(
            split, job.training.views, seed_from(name, "train"), job.runtime, job.config.network.images
        )
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
        if constants:
            pairs = [pair for pair in zip(averages, values, strict=True) if pair[0].data_ptr() not in constants]
            if not pairs:
                return
            averages, values = ([*tensors] for tensors in zip(*pairs, strict=True))

        # The counter of the module lies on the CPU; to read that of the device would wait for it at every step.
        steps_taken = int(average.n_averaged)
        share = 1 / min(length, 1 + steps_taken / 4)
        get_ema_multi_avg_fn(1 - share)(averages, values, steps)

    average = AveragedModel(network, multi_avg_fn=move, use_buffers=True)
    # Whole numbers that are no counters, such as the positions of Swin, never change; their mean would be rounded.
    constants = {
        buffer.data_ptr()
        for name, buffer in average.module.named_buffers()
        if not buffer.is_floating_point() and not name.endswith("num_batches_tracked")
    }
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
        self.drawn = 0

        # The validation images that fall to this process.
        self.images = np.arange(len(job.validation))[rank.index :: rank.count]
        self.labels = np.asarray(job.validation.labels)[self.images]
        self.pixels = ImageSource(job.validation, job.config.training.views, 0, job.runtime, job.config.network.images)

    def count_step(self) -> None:
        """Counts a step, and tells how many samples are drawn, of the most."""
        most = self.job.config.epochs * self.job.samples_per_pass
        self.drawn = min(most, self.drawn + self.job.config.batch_size)
        tell_progress(self.drawn, most)

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
        self.drawn = len(self.course.accuracies) * self.job.samples_per_pass
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
