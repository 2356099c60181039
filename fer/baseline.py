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

from fer.config import AdaptationConfig, ViewRecipe, flatten
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
from fer.training.loop import fit

VERSION = "4"
"""Changes when training changes, so that a baseline of older code is not taken for one of today's."""


@dataclass(frozen=True)
class BaselineConfig:
    """How the baseline is trained.

    Attributes:
        width: Of the network, see `fer.model.vgg.build`.
        seed: Of weights, order, views and dropout.
        epochs: Passes over the source's training set.
        processes: Among which each batch is divided, every one with batch-norm statistics of its own part. Two by
            default whatever the machine has, because the result depends on it.
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
        """The knobs of the training loop; the views are not limited to a bank.

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
        json.dumps(flatten(config.training), sort_keys=True), runtime.device.split(":")[0],
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
        source: Whose training split it learns.
        config: How.
        runtime: Device and precision.
        folder: Where baselines are kept.
        on_epoch: Called after each epoch of a training with its number from 1 and its mean loss.
        on_damage: Is told that the file that was found is damaged.

    Returns:
        The safetensors file; its header holds the configuration and the seconds it took.
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
        kept = folder / "checkpoints" / path.stem
        network = train_baseline(source.open("train"), source.digest, config, runtime, on_epoch, kept)
        seconds = time.perf_counter() - started
        header = {"config": flatten(config.training), "seed": config.seed, "seconds": seconds, "source": source.digest}
        save_network(network, path, {"width": str(config.width), "baseline": json.dumps(header)})
        shutil.rmtree(kept, ignore_errors=True)
    return path


def train_baseline(
    split: Split,
    name: str,
    config: BaselineConfig,
    runtime: Runtime,
    on_epoch: Callable[[int, float], None],
    kept: Path | None = None,
) -> nn.Sequential:
    """Trains a new network on a split and returns it; `config.processes` processes share the work.

    Args:
        split: What it learns.
        name: Of the split, for the seeds of its views.
        config: How.
        runtime: Device and precision.
        on_epoch: As of `find_or_train`.
        kept: Folder of the checkpoints that it goes on from after a crash.
    """
    count = config.processes
    if count == 1:
        return _train_part(0, 1, "", split, name, config, runtime, on_epoch, kept)
    with tempfile.TemporaryDirectory() as rendezvous:
        store = f"file://{rendezvous}/store"
        others = torch.multiprocessing.start_processes(
            _train_other,
            (count, store, split, name, config, runtime, kept),
            nprocs=count - 1,
            join=False,
            start_method="spawn",
        )
        try:
            network = _train_part(0, count, store, split, name, config, runtime, on_epoch, kept)
            others.join()
        finally:
            for process in others.processes:
                process.kill()
        return network


def _train_other(
    index: int,
    count: int,
    store: str,
    split: Split,
    name: str,
    config: BaselineConfig,
    runtime: Runtime,
    kept: Path | None,
) -> None:
    torch.set_num_threads(1)
    _train_part(index + 1, count, store, split, name, config, runtime, lambda epoch, loss: None, kept)


def _train_part(
    rank: int,
    count: int,
    store: str,
    split: Split,
    name: str,
    config: BaselineConfig,
    runtime: Runtime,
    on_epoch: Callable[[int, float], None],
    kept: Path | None,
) -> nn.Sequential:
    training, seed = config.training, seed_from(config.seed, "baseline")
    if count > 1:
        timeout = datetime.timedelta(minutes=5)
        torch.distributed.init_process_group("gloo", store, rank=rank, world_size=count, timeout=timeout)
    network = build(config.width, seed).to(runtime.device).to(memory_format=torch.channels_last)
    schedule = draw_schedule(training, np.arange(len(split)), np.empty(0, int), len(split), seed)
    mine = [(images[rank::count], views[rank::count]) for images, views in schedule.target]
    part = Schedule(mine, schedule.source, schedule.boundaries)
    pixels = ImageSource(split, training.views, seed_from(name, "train"), runtime)
    torch.manual_seed(seed_from(seed, "dropout", rank))

    def report(epoch: int, loss: float) -> bool:
        on_epoch(epoch, loss)
        return False

    pixels.prepare(*(np.concatenate(drawn) for drawn in zip(*mine, strict=True)))
    feeds = {"target": (pixels, np.asarray(split.labels))}
    # Every epoch is kept: whether a minute has passed is not the same in every process.
    agree = _least if count > 1 else int
    checkpoints = None if kept is None else Checkpoints(kept, f"part{rank}of{count}", every=0, agree=agree)
    share = _average if count > 1 else None
    with capturing_graphs(runtime, network, not training.sam) as graphs:
        fit(network, 0, feeds, part, training, runtime, report, share=share, checkpoints=checkpoints, graphs=graphs)
    if count > 1:
        torch.distributed.destroy_process_group()
    return network.eval().requires_grad_(False)


def _average(parameters: list[nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _least(number: int) -> int:
    """Returns the least of a number over the processes."""
    found = torch.tensor(number)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MIN)
    return int(found)


def training_of(path: Path) -> tuple[float | None, float | None]:
    """Returns the epochs and the seconds that a network's file tells of its training; None what it does not."""
    try:
        found = json.loads(read_header(path).metadata.get("baseline", "{}"))
        told = (found["config"]["epochs"], found["seconds"])
    except (ValueError, RecursionError, KeyError, TypeError):  # a user's own file says what it likes
        return None, None
    epochs, seconds = (value if isinstance(value, int | float) and math.isfinite(value) else None for value in told)
    return epochs, seconds


def _damage_of(path: Path) -> str | None:
    """Returns why a cached network cannot be used, or None."""
    try:
        load_network(path, Runtime(), needs_checksum=True)
    except InputError as error:
        return f"{error.rule}; got {error.value}"
    return None
