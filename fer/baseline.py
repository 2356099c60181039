"""The source-trained baseline: trained once per source and configuration, kept as safetensors, then reused."""

import datetime
import json
import math
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed
import torch.multiprocessing
from filelock import FileLock
from torch import nn

from fer.adaptation import AdaptationConfig, ViewRecipe, knobs
from fer.checkpoint import Checkpoints
from fer.datasets import Dataset, Split
from fer.engine import Baseline
from fer.errors import LONGEST_VALUE, InputError, printable, shorten
from fer.files import UnsuitableFile
from fer.graphs import graphed
from fer.network import blueprint, build
from fer.prefix import Pixels
from fer.runtime import Runtime, digest_of
from fer.schedule import Schedule, draw_schedule
from fer.seeding import seed_from
from fer.tensor_files import DamagedTensorFile, TensorHeader, read_header
from fer.tensors import load_tensors, save_tensors
from fer.training import fit

MOST_WIDTH = 4
VERSION = "4"
"""Changes when training changes, so that a baseline of older code is not taken for one of today's."""
_FIRST = "conv1_1.conv.weight"
_FLOATS = ("F64", "F32", "F16", "BF16")
_FIX = "Give a safetensors file of fer.network.build(width).state_dict()."


@dataclass(frozen=True)
class BaselineConfig:
    """How the baseline is trained.

    Attributes:
        width: Of the network, see `fer.network.build`.
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


def digest(source: Dataset, config: BaselineConfig, runtime: Runtime) -> str:
    """Returns the hash, 16 hex digits, of all that a baseline depends on."""
    key = seed_from(
        VERSION, source.digest, config.width, config.seed, config.processes,
        json.dumps(knobs(config.training), sort_keys=True), runtime.device.split(":")[0],
        runtime.precision,
    )  # fmt: skip
    return f"{key:016x}"


def obtain(
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
    path = folder / f"{source.name}-{digest(source, config, runtime)}.safetensors"
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
        network = train(source.open("train"), source.digest, config, runtime, on_epoch, kept)
        seconds = time.perf_counter() - started
        header = {"config": knobs(config.training), "seed": config.seed, "seconds": seconds, "source": source.digest}
        save(network, path, {"width": str(config.width), "baseline": json.dumps(header)})
        shutil.rmtree(kept, ignore_errors=True)
    return path


def train(
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
        on_epoch: As of `obtain`.
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
    pixels = Pixels(split, training.views, seed_from(name, "train"), runtime)
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
    with graphed(runtime, network, not training.sam) as graphs:
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


def save(network: nn.Sequential, path: Path, header: dict[str, str]) -> None:
    """Writes a network as safetensors, atomically and with a checksum; the header needs its "width"."""
    save_tensors(path, network.state_dict(), header)


def load(path: Path, runtime: Runtime, needs_checksum: bool = False) -> Baseline:
    """Loads a network that `save` wrote, or a user's own of the same layers.

    Args:
        path: A safetensors file with the state of `fer.network.build`, of any width.
        runtime: Where it goes.
        needs_checksum: Whether a file without checksum is refused, as one with a wrong one always is.

    Raises:
        InputError: The file is not there, is damaged, or holds another network; or its weights are not finite numbers,
            or a variance is negative.
    """
    try:
        header, tensors = load_tensors(path, _check_layers, needs_checksum)
    except FileNotFoundError:
        raise InputError("a network file must exist", path, _FIX) from None
    except UnsuitableFile as error:
        raise InputError("a network file is a regular file", _located(path, str(error)), _FIX) from None
    except _OtherNetwork as error:
        raise InputError("a network file holds the layers of fer.network", _located(path, str(error)), _FIX) from None
    except (DamagedTensorFile, OSError, ValueError) as error:  # a path may hold what no path can
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError("a network file must be whole safetensors", _located(path, reason), _FIX) from None

    width = _width_of(header)
    network = blueprint(width)
    expected = network.state_dict()
    state = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    _check_values(state, path)
    network.load_state_dict(state, assign=True)
    network = network.to(runtime.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Baseline(network, width, digest_of(network.state_dict()))


class _OtherNetwork(DamagedTensorFile):
    """A sound file that holds other tensors than a network of its width."""


def _width_of(header: TensorHeader) -> float:
    """Returns the width that a file names, or that its first layer has.

    Raises:
        _OtherNetwork: It is none.
    """
    first = header.places.get(_FIRST)
    if first is None or not first.shape:
        raise _OtherNetwork(f"no layers conv1_1 … fc3, but {_few(header.places)}")
    text = header.metadata.get("width", str(first.shape[0] / 64))
    try:
        width = float(text)
    except ValueError:
        width = math.nan
    if not 0 < width <= MOST_WIDTH:  # before memory for it is asked for
        raise _OtherNetwork(f"width {shorten(printable(text), 20)}, of at most {MOST_WIDTH}")
    return width


def _check_layers(header: TensorHeader) -> None:
    """Compares the tensors of a file with those of the network of its width.

    Raises:
        _OtherNetwork: They differ; the message names the first few and counts the others.
    """
    expected = blueprint(_width_of(header)).state_dict()
    found = header.places
    shared = [name for name in found if name in expected]
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another shape": [name for name in shared if found[name].shape != tuple(expected[name].shape)],
        "of another type": [
            name for name in shared if (found[name].dtype in _FLOATS) != expected[name].is_floating_point()
        ],
    }
    told = [f"{problem}: {_few(names)}" for problem, names in problems.items() if names]
    if told:
        raise _OtherNetwork("; ".join(told))


def _check_values(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuses weights with which no network computes; others may still overflow, which only its answers tell."""
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    wild = [name for name, tensor in floats.items() if not bool(tensor.isfinite().all())]
    if wild:
        raise InputError("a network's weights are finite numbers", _located(path, _few(wild)), _FIX)
    negative = [name for name, tensor in floats.items() if name.endswith("running_var") and bool((tensor < 0).any())]
    if negative:
        raise InputError("a network's variances are not negative", _located(path, _few(negative)), _FIX)


def _few(names: Iterable[str], most: int = 2) -> str:
    """Returns the first of some names, and how many more there are."""
    every = list(names)
    told = ", ".join(shorten(printable(name), 40) for name in every[:most])
    return f"{told} and {len(every) - most} more" if len(every) > most else told


def _located(path: Path, reason: str) -> str:
    """Returns path and reason for an error, which has room for the reason and so much of the path."""
    reason = shorten(printable(reason), LONGEST_VALUE - 60)
    return f"{shorten(printable(path), LONGEST_VALUE - len(reason) - 3)} ({reason})"


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
        load(path, Runtime(), needs_checksum=True)
    except InputError as error:
        return f"{error.rule}; got {error.value}"
    return None
