"""The source-trained baseline: trained once per source and configuration, kept as safetensors, then reused."""

import datetime
import json
import math
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from filelock import FileLock
from torch import nn

from fer.config import AdaptationConfig, ViewRecipe, to_flat
from fer.datasets import Dataset, Split
from fer.errors import InputError
from fer.features.schedule import Schedule, draw_schedule
from fer.features.sources import ImageSource
from fer.model.vgg import build
from fer.model.weights import load_network, save_network
from fer.runtime import Runtime
from fer.seeding import seed_from
from fer.tensor_files import read_header
from fer.training.checkpoint import Checkpoints
from fer.training.cuda_graphs import capturing_graphs
from fer.training.loop import TrainingHooks, TrainingJob, fit

VERSION = "4"
"""Changes when training changes, so that a baseline of older code is not taken for one of today's."""


@dataclass(frozen=True)
class BaselineConfig:
    """How the baseline is trained.

    Attributes:
        width: Width of the network, see `fer.model.vgg.build`.
        seed: Seed of weights, order, views and dropout.
        epochs: Passes over the source's training set.
        processes: Number of processes among which each batch is divided, each with batch-norm statistics of its own
            part. Two by default whatever the machine has, because the result depends on it.
        lr: Peak learning rate.
        batch_size: Samples per step, over all processes.
        sam: Radius of sharpness-aware minimisation; it doubles the cost of a step (arXiv 2010.01412).
    """

    width: float = 0.25
    seed: int = 0
    epochs: float = 8
    processes: int = 2
    lr: float = 0.002
    batch_size: int = 64
    sam: float = 0.0

    @property
    def training(self) -> AdaptationConfig:
        """The hyperparameters of the training loop; views are not limited to a feature cache.

        AdamW, because a short training with SGD spends its first epochs on a plateau (docs/experiments.md).
        """
        return AdaptationConfig(
            init="scratch",
            optimiser="adamw",
            lr=self.lr,
            weight_decay=0.01,
            batch_size=self.batch_size,
            epochs=self.epochs,
            sam=self.sam,
            views=ViewRecipe(count=1 << 20),
        )


def baseline_digest(source: Dataset, config: BaselineConfig, runtime: Runtime) -> str:
    """Returns the hash, 16 hex digits, of all that a baseline depends on."""
    key = seed_from(
        VERSION, source.digest, config.width, config.seed, config.processes,
        json.dumps(to_flat(config.training), sort_keys=True), runtime.device.split(":")[0],
        runtime.precision,
    )  # fmt: skip
    return f"{key:016x}"


def find_or_train(
    source: Dataset,
    config: BaselineConfig,
    runtime: Runtime,
    folder: Path,
    on_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    on_damage: Callable[[str], None] = warnings.warn,
) -> Path:
    """Finds the baseline by its hash, or trains it; one that does not match its checksum is trained again.

    Args:
        source: The dataset whose training split the baseline learns.
        config: Hyperparameters of the training.
        runtime: Device and precision.
        folder: Folder of all baselines.
        on_epoch: Called after each epoch of a training with its number from 1 and its mean loss.
        on_damage: Called with a warning where the cached file is damaged.

    Returns:
        The safetensors file; its header holds the configuration and the seconds that the training took.
    """
    path = folder / f"{source.name}-{baseline_digest(source, config, runtime)}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            reason = _damage_of(path)
            if reason is None:
                return path
            on_damage(f"the cached baseline is damaged and is trained again ({reason})")
            path.unlink()
        started = time.perf_counter()
        checkpoints = folder / "checkpoints" / path.stem
        network = train_baseline(source.open("train"), source.digest, config, runtime, on_epoch, checkpoints)
        seconds = time.perf_counter() - started
        header = {"config": to_flat(config.training), "seed": config.seed, "seconds": seconds, "source": source.digest}
        save_network(network, path, {"width": str(config.width), "baseline": json.dumps(header)})
        shutil.rmtree(checkpoints, ignore_errors=True)
    return path


def train_baseline(
    split: Split,
    name: str,
    config: BaselineConfig,
    runtime: Runtime,
    on_epoch: Callable[[int, float], None],
    checkpoints: Path | None = None,
) -> nn.Sequential:
    """Trains a new network on a split and returns it; `config.processes` processes share the work.

    Args:
        split: The images and labels to learn.
        name: Name of the split, which seeds its views.
        config: Hyperparameters of the training.
        runtime: Device and precision.
        on_epoch: See `find_or_train`.
        checkpoints: Folder of the checkpoints from which a training resumes after a crash; None keeps none.
    """
    job = _BaselineJob(split, name, config, runtime, checkpoints)
    if config.processes == 1:
        return _train_part(job, _Rank(0, 1, ""), on_epoch)

    with tempfile.TemporaryDirectory() as rendezvous:
        store = f"file://{rendezvous}/store"
        others = torch.multiprocessing.start_processes(
            _train_other, (job, store), nprocs=config.processes - 1, join=False, start_method="spawn"
        )
        try:
            network = _train_part(job, _Rank(0, config.processes, store), on_epoch)
            others.join()
        finally:
            for process in others.processes:
                process.kill()
        return network


@dataclass(frozen=True)
class _BaselineJob:
    """One training of a baseline, the same in all of its processes; the attributes are those of `train_baseline`."""

    split: Split
    name: str
    config: BaselineConfig
    runtime: Runtime
    checkpoints: Path | None


@dataclass(frozen=True)
class _Rank:
    """The place of one process among those that train together.

    Attributes:
        index: Number of the process, from 0.
        count: Number of processes.
        store: Address at which the processes meet; empty for one process.
    """

    index: int
    count: int
    store: str


def _train_other(number: int, job: _BaselineJob, store: str) -> None:
    """Trains the part of a process that was started for it, the number-th from 0."""
    torch.set_num_threads(1)
    _train_part(job, _Rank(number + 1, job.config.processes, store), lambda epoch, loss: None)


def _train_part(job: _BaselineJob, rank: _Rank, on_epoch: Callable[[int, float], None]) -> nn.Sequential:
    """Trains on this process's part of every batch and returns the network, which is the same in all processes."""
    training = job.config.training
    runtime = job.runtime
    if rank.count > 1:
        timeout = datetime.timedelta(minutes=5)
        torch.distributed.init_process_group(
            "gloo", rank.store, rank=rank.index, world_size=rank.count, timeout=timeout
        )

    # The network and the samples that this process draws.
    seed = seed_from(job.config.seed, "baseline")
    network = build(job.config.width, seed).to(runtime.device).to(memory_format=torch.channels_last)
    schedule = _part_of_schedule(job, rank, seed)
    pixels = ImageSource(job.split, training.views, seed_from(job.name, "train"), runtime)
    torch.manual_seed(seed_from(seed, "dropout", rank.index))
    pixels.prepare(*(np.concatenate(drawn) for drawn in zip(*schedule.target, strict=True)))

    # The training.
    sources = {"target": (pixels, np.asarray(job.split.labels))}
    with capturing_graphs(runtime, network, not training.sam) as graphs:
        hooks = TrainingHooks(
            on_epoch=_never_stopping(on_epoch),
            reduce_gradients=_average if rank.count > 1 else None,
            checkpoints=_checkpoints_of(job, rank),
            graphs=graphs,
        )
        fit(TrainingJob(network, 0, sources, schedule, training, runtime), hooks)
    if rank.count > 1:
        torch.distributed.destroy_process_group()
    return network.eval().requires_grad_(False)


def _part_of_schedule(job: _BaselineJob, rank: _Rank, seed: int) -> Schedule:
    """Returns the samples of every step that fall to one process."""
    images = len(job.split)
    schedule = draw_schedule(job.config.training, np.arange(images), np.empty(0, int), images, seed)
    part = [(images[rank.index :: rank.count], views[rank.index :: rank.count]) for images, views in schedule.target]
    return Schedule(part, schedule.source, schedule.boundaries)


def _checkpoints_of(job: _BaselineJob, rank: _Rank) -> Checkpoints | None:
    if job.checkpoints is None:
        return None
    # Every epoch is saved: whether a minute has passed is not the same in every process.
    agree = _minimum if rank.count > 1 else int
    return Checkpoints(job.checkpoints, f"part{rank.index}of{rank.count}", every=0, agree=agree)


def _never_stopping(on_epoch: Callable[[int, float], None]) -> Callable[[int, float], bool]:
    """Returns a callback of the training loop that reports an epoch and lets the training go on."""

    def report(epoch: int, loss: float) -> bool:
        on_epoch(epoch, loss)
        return False

    return report


def _average(parameters: list[nn.Parameter]) -> None:
    """Replaces the gradients by their mean over the processes."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _minimum(number: int) -> int:
    """Returns the minimum of a number over the processes."""
    minimum = torch.tensor(number)
    torch.distributed.all_reduce(minimum, torch.distributed.ReduceOp.MIN)
    return int(minimum)


def training_of(path: Path) -> tuple[float | None, float | None]:
    """Returns the epochs and the seconds that a network's file states of its training; None for what it does not."""
    try:
        header = json.loads(read_header(path).metadata.get("baseline", "{}"))
        epochs, seconds = header["config"]["epochs"], header["seconds"]
    except (ValueError, RecursionError, KeyError, TypeError):  # the header of a user's own file may hold anything
        return None, None
    return _finite_or_none(epochs), _finite_or_none(seconds)


def _finite_or_none(value: object) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _damage_of(path: Path) -> str | None:
    """Returns why a cached network cannot be used, or None."""
    try:
        load_network(path, Runtime(), needs_checksum=True)
    except InputError as error:
        return f"{error.rule}; got {error.value}"
    return None
