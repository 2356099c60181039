"""The source-trained baseline: trained once per source and configuration, kept as safetensors, then reused."""

import json
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from filelock import FileLock

from fer.baseline_training import BaselineConfig, BaselineJob, Course, Ending, OnPass, train_baseline
from fer.config import to_flat
from fer.datasets import Dataset
from fer.errors import InputError
from fer.model.weights import load_network, save_network
from fer.runtime import Runtime
from fer.seeding import seed_from
from fer.tensor_files import read_header

VERSION = "5"
"""Changes when training changes, so that a baseline of older code is not taken for one of today's."""


def baseline_digest(source: Dataset, config: BaselineConfig, runtime: Runtime) -> str:
    """Returns the hash, 16 hex digits, of all that a baseline depends on, if its time suffices."""
    key = seed_from(
        VERSION, source.digest, config.width, config.seed, config.processes, config.patience, config.averaged,
        json.dumps(to_flat(config.training), sort_keys=True), runtime.device.split(":")[0],
        runtime.precision,
    )  # fmt: skip
    return f"{key:016x}"


def baseline_files(source: Dataset, config: BaselineConfig, runtime: Runtime) -> tuple[str, str]:
    """Returns the names of a baseline's file: of a finished training, and of one that its time ended.

    What a training reaches in a given time depends on the machine. So a baseline that its time ended has a name of its
    own, which says the time, and is never taken for a finished one or for one of another time.
    """
    name = f"{source.name}-{baseline_digest(source, config, runtime)}"
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
        folder: Folder of all baselines.
        on_pass: Called after each pass of a training.
        on_damage: Called with a warning where the cached file is damaged.

    Returns:
        The safetensors file; its header holds the configuration and the course of its training.
    """
    finished, timed = (folder / name for name in baseline_files(source, config, runtime))
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(finished.with_suffix(".lock")):
        for path in (finished, timed):
            if path.exists():
                reason = _damage_of(path)
                if reason is None:
                    return path
                on_damage(f"the cached baseline is damaged and is trained again ({reason})")
                path.unlink()

        checkpoints = folder / "checkpoints" / finished.stem
        job = BaselineJob(source.open("train"), source.open("validation"), source.digest, config, runtime, checkpoints)
        network, course = train_baseline(job, on_pass)

        path = timed if course.ended_by == "time" else finished
        header = {
            "config": to_flat(config.training),
            "seed": config.seed,
            "source": source.digest,
            "minutes": config.minutes,
            "seconds": course.seconds,
            "course": course.accuracies,
            "ended_by": course.ended_by,
        }
        save_network(network, path, {"width": str(config.width), "baseline": json.dumps(header)})
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


def _damage_of(path: Path) -> str | None:
    """Returns why a cached network cannot be used, or None."""
    try:
        load_network(path, Runtime(), needs_checksum=True)
    except InputError as error:
        return f"{error.rule}; got {error.value}"
    return None
