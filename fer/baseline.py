"""The source-trained baseline: trained once per source and configuration, kept as safetensors, then reused.

Beside the baselines lie the fused networks, which the same recipe trains on the source and a target together.
"""

import json
import math
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from filelock import FileLock
from torch import nn

from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.baseline_job import BaselineConfig, BaselineJob, Course, Ending, FusedImages, OnPass
from fer.baseline_training import train_baseline
from fer.cache_places import BLOCKS
from fer.config import AdaptationConfig, to_flat
from fer.datasets import Dataset, Split
from fer.errors import InputError
from fer.features.schedule import choose_target_images
from fer.model.chains import build_chain
from fer.model.own_weights import origin_entry
from fer.model.states import save_chain
from fer.model.weights import architecture_header, colour_entry, expressions_entry, faces_entry, load_network
from fer.runtime import Runtime
from fer.seeding import seed_from
from fer.tensor_files import read_header

VERSION = "5"
"""Changes when training changes, so that a baseline of older code is not taken for one of today's."""


@dataclass(frozen=True)
class Fusion:
    """The target's part in the training of a fused network.

    Attributes:
        target: The dataset whose training images are learned beside the source's. Its digest names its division.
        share: The target's share of all samples that are drawn, 0 to 1; "natural" is its share of both training sets.
        amount: Share of the target's training images that are drawn from, see `fer.config.AdaptationConfig`.
    """

    target: Dataset
    share: float | Literal["natural"]
    amount: float = 1.0

    def images(self, seed: int) -> FusedImages:
        """Returns the images that are drawn from; the seed chooses them where `amount` leaves some out."""
        train = self.target.open("train")
        chosen = choose_target_images(np.asarray(train.labels), self.amount, seed, np.asarray(train.subjects))
        images = Split(train.images[chosen], train.labels[chosen], train.subjects[chosen])
        return FusedImages(images, self.target.digest, self.share)


def baseline_digest(source: Dataset, config: BaselineConfig, runtime: Runtime, fusion: Fusion | None = None) -> str:
    """Returns the hash, 16 hex digits, of all that a baseline or a fused network depends on, if its time suffices."""
    fused = [] if fusion is None else [fusion.target.digest, fusion.share, fusion.amount]
    network = config.network
    another: list[str | int] = [] if network.is_paper else [network.name, repr(network.images), network.structure]
    if network.classes != VGG13.classes:
        another.append(network.classes)
    if config.pretrained is not None:
        another += ["pretrained", config.pretrained.checksum]
    key = seed_from(
        VERSION, source.digest, network.width, config.seed, config.processes, config.patience, config.averaged,
        json.dumps(to_flat(config.training), sort_keys=True), runtime.device.split(":")[0],
        runtime.precision, *fused, *another,
    )  # fmt: skip
    return f"{key:016x}"


def baseline_files(
    source: Dataset, config: BaselineConfig, runtime: Runtime, fusion: Fusion | None = None
) -> tuple[str, str]:
    """Returns the names of a network's file: of a finished training, and of one that its time ended.

    What a training reaches in a given time depends on the machine. So a baseline that its time ended has a name of its
    own, which says the time, and is never taken for a finished one or for one of another time.
    """
    datasets = source.name if fusion is None else f"{source.name}+{fusion.target.name}"
    name = f"{datasets}-{baseline_digest(source, config, runtime, fusion)}"
    return f"{name}.safetensors", f"{name}-{config.minutes:g}min.safetensors"


def find_or_train(
    source: Dataset,
    config: BaselineConfig,
    runtime: Runtime,
    folder: Path,
    on_pass: OnPass = lambda report: None,
    on_damage: Callable[[str], None] = warnings.warn,
) -> Path:
    """Finds the baseline by its hash, or trains it; one that does not match its checksum is trained again.

    A training that its time ended goes on from there when it is asked for with more time.

    Args:
        source: The dataset whose training images the baseline learns, and whose validation images end its training.
        config: Hyperparameters of the training.
        runtime: Device and precision.
        folder: Folder of all baselines; what was found of networks' blocks lies in it as well.
        on_pass: Called after each pass of a training.
        on_damage: Called with a warning where the cached file is damaged.

    Returns:
        The safetensors file; its header holds the configuration and the course of its training.
    """
    return _find_or_train(_Training(source, config, runtime), folder, on_pass, on_damage)


@dataclass(frozen=True)
class FusedNetworks:
    """Finds fused networks by their hash, or trains them: one per division of the target, share, amount and seed.

    A training is resumed and limited in time as a baseline's is; the files lie beside the baselines.

    Attributes:
        recipe: How the baseline is trained. Of it, network and seed are replaced by those of each network, and the
            training makes all passes of the recipe, unless its time ends: the source's accuracy alone, by which a
            baseline's training ends, does not say whether the target is learned.
        folder: Folder of all baselines.
        on_damage: Called with a warning where a cached file is damaged.
    """

    recipe: BaselineConfig
    folder: Path
    on_damage: Callable[[str], None] = warnings.warn

    def find_or_train(self, task: AdaptationTask, config: AdaptationConfig, seed: int) -> nn.Sequential:
        """Returns the network that an adaptation with `init="fused"` starts from.

        Args:
            task: Datasets and runtime; the baseline says which network is trained.
            config: Its `fused_share` and `amount` say what is drawn of the target.
            seed: Of weights, order, views, dropout, and of the target images that `amount` keeps.

        Raises:
            Diverged: The loss or a weight became NaN or infinite.
        """
        path = self._find_or_train_file(task, config, seed)
        name = task.baseline.architecture.name
        return load_network(path, task.runtime, blocks=self.folder / BLOCKS, own=name).network

    def _find_or_train_file(self, task: AdaptationTask, config: AdaptationConfig, seed: int) -> Path:
        """Returns the file of that network; its header holds the configuration and the course of its training."""
        network = task.baseline.architecture
        recipe = replace(self.recipe, network=network, seed=seed, patience=self.recipe.epochs)
        fusion = Fusion(task.target, config.fused_share, config.amount)
        training = _Training(task.source, recipe, task.runtime, fusion)
        return _find_or_train(training, self.folder, lambda report: None, self.on_damage)


@dataclass(frozen=True)
class _Training:
    """A training whose network is kept by its hash; without fusion, a baseline's."""

    source: Dataset
    config: BaselineConfig
    runtime: Runtime
    fusion: Fusion | None = None

    @property
    def what(self) -> str:
        """What comes out, as a warning calls it."""
        return "baseline" if self.fusion is None else "fused network"

    def job(self, checkpoints: Path, blocks: Path) -> BaselineJob:
        """Returns what is trained, with the images opened, given the folders of checkpoints and blocks."""
        train = self.source.open("train")
        validation = self.source.open("validation")
        fused = None if self.fusion is None else self.fusion.images(self.config.seed)
        return BaselineJob(train, validation, self.source.digest, self.config, self.runtime, checkpoints, fused, blocks)


def _find_or_train(training: _Training, folder: Path, on_pass: OnPass, on_damage: Callable[[str], None]) -> Path:
    """Finds a network by its hash, or trains it; see `find_or_train`."""
    config = training.config
    names = baseline_files(training.source, config, training.runtime, training.fusion)
    finished, timed = (folder / name for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    blocks = folder / BLOCKS
    with FileLock(finished.with_suffix(".lock")):
        for path in (finished, timed):
            if path.exists():
                reason = _damage_of(path, blocks, config.network.name)
                if reason is None:
                    return path
                on_damage(f"the cached {training.what} is damaged and is trained again ({reason})")
                path.unlink()

        checkpoints = folder / "checkpoints" / finished.stem
        job = training.job(checkpoints, blocks)
        network, course = train_baseline(job, on_pass)

        path = timed if course.ended_by == "time" else finished
        header = {
            "config": to_flat(job.training),
            "seed": config.seed,
            "source": training.source.digest,
            "minutes": config.minutes,
            "seconds": course.seconds,
            "course": course.accuracies,
            "ended_by": course.ended_by,
        }
        kinds = [training.source.kind]
        colours = [training.source.parse_report().colour]
        if training.fusion is not None:
            header["target"] = training.fusion.target.digest
            header["amount"] = training.fusion.amount
            kinds.append(training.fusion.target.kind)
            colours.append(training.fusion.target.parse_report().colour)
        about = architecture_header(config.network) | {"baseline": json.dumps(header)}
        about |= faces_entry(kinds) | expressions_entry(training.source.expressions)
        if config.pretrained is not None:
            about |= origin_entry(config.pretrained.name, config.pretrained.checksum)
        chain = build_chain(config.network, 0, blocks)
        save_chain(chain, network, path, about | colour_entry(colours))
        if path == finished:
            shutil.rmtree(checkpoints, ignore_errors=True)
    return path


def course_of(path: Path) -> Course | None:
    """Returns the course that a network's file states of its training; None where it states none or an odd one."""
    try:
        header = json.loads(read_header(path).metadata.get("baseline", "{}"))
        accuracies = [_finite(accuracy) for accuracy in header["course"]]
        ended_by = header["ended_by"]
        seconds = _finite(header["seconds"])
    except (ValueError, RecursionError, KeyError, TypeError):  # the header of a user's own file may hold anything
        return None
    if not accuracies or ended_by not in get_args(Ending):
        return None
    return Course(accuracies, seconds, ended_by)


def _finite(value: object) -> float:
    """Returns a finite number.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _damage_of(path: Path, blocks: Path, own: str) -> str | None:
    """Returns why a cached network cannot be used, or None."""
    try:
        load_network(path, Runtime(), needs_checksum=True, blocks=blocks, own=own)
    except InputError as error:
        return f"{error.rule}; got {error.value}"
    return None
