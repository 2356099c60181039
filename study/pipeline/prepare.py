"""Prepares a study: options settled, data read, baseline found or trained, record made."""

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fer.datasets import Dataset, same_files
from fer.errors import InputError
from fer.files import holding_lock
from study.execution.autotune import candidates, find_or_measure
from study.execution.progress import Progress
from study.inputs import budget_epochs, dataset_record, note_copies, prepare_dataset
from study.machine import (
    cores,
    exit_text,
    hardware,
    required_device,
    usual_workers,
    versions,
    worker_environment,
)
from study.options import StudyOptions, cache_folder
from study.reading import encodable
from study.redaction import hide_secrets

if TYPE_CHECKING:
    import optuna


# Options.


def resolve_auto(options: StudyOptions) -> StudyOptions:
    """Returns the options with a device and a preset in place of "auto".

    Raises:
        InputError: This machine lacks the device.
    """
    device = required_device(options.device)
    preset = options.preset
    if preset == "auto":
        preset = "laptop" if device == "cpu" else "paper"
    return dataclasses.replace(options, device=device, preset=preset)


# Data.


def read_data(options: StudyOptions, progress: Progress) -> tuple[Dataset, Dataset]:
    """Reads source and target; says loudly where synthetic faces take their place.

    Returns:
        Source and target.

    Raises:
        InputError: A dataset cannot be used, or the two cannot be used together.
    """
    asked = dataclasses.asdict(options)
    source = prepare_dataset(options.source, asked, options.data_kind)
    target = prepare_dataset(options.target, asked, options.data_kind)
    check_folds(target, options)
    check_domains_differ(source, target, options)

    for dataset in (source, target):
        _show_dataset(dataset, progress)
    source = note_copies(source, target, progress.warn)
    if source.kind != target.kind:
        progress.warn("one dataset is real and the other a stand-in: fit to try the tool, not to learn about faces")
    return source, target


def _show_dataset(dataset: Dataset, progress: Progress) -> None:
    """Prints what a dataset holds, and a warning where it is synthetic."""
    sizes = " / ".join(f"{len(dataset.open(split)):,}" for split in ("train", "validation"))
    progress.say(f"  {dataset.name}: {dataset.kind}, {sizes} training / validation images, hash {dataset.digest}")
    if dataset.kind == "synthetic":
        progress.warn(
            f"no copy of {dataset.name} was found: DRAWN STAND-IN FACES take its place, and its numbers say "
            f"nothing about {dataset.name} (put yours under --data DIR/{dataset.name})"
        )


def any_synthetic(source: Dataset, target: Dataset) -> bool:
    """Whether any face of the study is synthetic."""
    return "synthetic" in (source.kind, target.kind)


def check_folds(target: Dataset, options: StudyOptions) -> None:
    """Raises InputError where a fold of the target would be empty, in training or in validation."""
    for number in range(options.folds):
        fold = target.divided(number, options.folds, options.seed)
        sizes = {split: len(fold.open(split)) for split in ("train", "validation")}
        if not all(sizes.values()):
            raise InputError(
                "--folds leaves every fold images for training and for validation",
                f"{sizes['train']} and {sizes['validation']} of {target.name} in fold {number + 1} of {options.folds}",
                "Ask for fewer folds, or leave --folds out.",
            )


def check_domains_differ(source: Dataset, target: Dataset, options: StudyOptions) -> None:
    """Raises InputError where source and target are one dataset, by its name, its folder or its content."""
    if source.name == target.name or same_files(source, target):
        raise InputError(
            "--target and --source are two datasets",
            f"{options.source} and {options.target}, which are one",
            "Choose another target.",
        )


# The study.


@contextlib.contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Holds the study's folder, so that two parents on one machine cannot run one study."""
    refusal = InputError(
        "a study has one parent",
        f"{folder}, which another study.run holds",
        "Wait for it, or help it with python -m study.worker.",
    )
    with holding_lock(folder / ".lock", refusal):
        yield


def make_record(name: str, options: StudyOptions, source: Dataset, target: Dataset) -> dict[str, Any]:
    """Returns the record of a new study, which study.json holds, without its baseline."""
    asked = dataclasses.asdict(options) | {"trials": options.wanted}
    with_passwords = ("storage", "tracking_uri", "ray")
    return {
        "name": name,
        "id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        # Names of files may hold bytes that are no UTF-8, which no report or database takes.
        "source": encodable(dataset_record(source)),
        "target": encodable(dataset_record(target)),
        "synthetic": any_synthetic(source, target),
        "options": asked | {option: hide_secrets(asked[option]) for option in with_passwords},
        "budget_epochs": budget_epochs(asked, len(source.open("train")), len(target.open("train"))),
        "network": {"name": "VGG-13, 48×48 grey (arXiv 1905.12082)"},
        "versions": versions(),
        "hardware": hardware(),
    }


# The baseline.


def find_or_train_baseline(record: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Returns what the study's record keeps of the baseline, found by its hash or trained now.

    Raises:
        InputError: The baseline that the user gave cannot be used, or the data is not the study's.
        RuntimeError: It could not be trained.
    """
    progress.say("baseline: looking for it by its hash, else training it once for all studies")
    with _start_baseline_process(record) as process:
        assert process.stdout is not None
        try:
            baseline = _read_baseline(process.stdout, progress)
        except BaseException:
            process.terminate()
            raise
    if baseline is None:
        raise RuntimeError(f"the baseline's process {exit_text(process.returncode)}")
    return baseline


def _start_baseline_process(record: dict[str, Any]) -> "subprocess.Popen[bytes]":
    """Starts the process that imports torch and has the environment for training."""
    with tempfile.TemporaryFile() as file:
        # By a file, because a record may be longer than a command line takes.
        file.write(json.dumps(record).encode())
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, "-m", "study.execution.baseline_process"],
            stdin=file,
            stdout=subprocess.PIPE,
            env=worker_environment(),
            start_new_session=True,
        )


def _read_baseline(lines: IO[bytes], progress: Progress) -> dict[str, Any] | None:
    """Shows the epochs that the baseline's process reports; returns its baseline, None where it ended without one."""
    started = time.monotonic()
    for line in lines:
        if not line.startswith(b"{"):  # of a library
            continue
        message = json.loads(line)
        if "baseline" in message:
            return message["baseline"]
        if "error" in message:
            raise InputError(*message["error"])
        if "stuck" in message:
            raise RuntimeError(f"the baseline cannot be had: {message['stuck']}")
        if "epoch" in message:
            seconds = time.monotonic() - started
            progress.say(
                f"  baseline epoch {message['epoch']}/{message['of']}: loss {message['loss']:.3f}, {seconds:.0f} s"
            )
    return None


# Workers.


def settle_workers(
    study: "optuna.Study", record: dict[str, Any], options: StudyOptions, progress: Progress
) -> StudyOptions:
    """Returns the options with a number of workers, and of threads of each, in place of "auto".

    A GPU has four workers at most, which share it. On a CPU both are measured, once for a machine, and the record keeps
    the measurement.
    """
    # The cluster or the user says.
    if options.ray:
        return options
    if options.workers != "auto":
        workers = min(int(options.workers), options.wanted)
        return dataclasses.replace(options, workers=str(workers))

    # No measurement. With `tiny` it would take longer than the study.
    device = record["baseline"]["device"]
    only_one_choice = options.threads > 1 or len(candidates(cores())) == 1
    if device != "cpu" or options.preset == "tiny" or only_one_choice:
        # No more threads than cores, nor workers than trials.
        most = min(cores() // options.threads, options.wanted)
        workers = max(1, min(usual_workers(device), most))
        return dataclasses.replace(options, workers=str(workers))

    # Measurement.
    measured = find_or_measure(cache_folder(options.out), record["network"]["width"], record["baseline"]["precision"])
    record["calibration"] = measured
    study.set_user_attr("study", record)
    if any(measured["images_per_second"].values()):
        show_calibration(measured["images_per_second"], progress)
    workers = min(measured["workers"], options.wanted)
    return dataclasses.replace(options, workers=str(workers), threads=measured["threads"])


def show_calibration(rates: dict[str, float], progress: Progress) -> None:
    """Prints how fast each number of workers and threads trained.

    Args:
        rates: Images per second by "WORKERSxTHREADS".
        progress: Prints it.
    """
    parts = []
    for pair, rate in rates.items():
        workers, threads = pair.split("x")
        parts.append(f"{workers} workers of {threads} thread(s) {rate:.0f}")
    progress.say(f"  calibration, images per second of training: {', '.join(parts)}")


def show_study(record: dict[str, Any], options: StudyOptions, progress: Progress) -> None:
    """Prints what the study works with: network, baseline, budget, places."""
    baseline = record["baseline"]
    progress.say(
        f"  network: {baseline['parameters'] / 1e6:.2f} M parameters (preset {options.preset}), "
        f"{baseline['device']} {baseline['precision']}"
    )

    seconds = f", trained in {baseline['seconds']:.0f} s" if baseline.get("seconds") else ""
    progress.say(
        f"  baseline: validation accuracy {baseline['source_val']:.1%} on {record['source']['name']}, "
        f"{baseline['target_val']:.1%} on {record['target']['name']}{seconds}"
    )

    passes = record["budget_epochs"]
    folds = f", in each of {options.folds} folds" if options.folds else ""
    progress.say(f"  budget of every trial: {passes:g} passes over {record['target']['name']}'s training images{folds}")

    journal = Path(options.out) / record["name"] / "journal.log"
    storage = hide_secrets(options.storage) if options.storage else journal
    progress.say(
        f"  storage: {storage}; workers: {options.workers} of {options.threads} thread(s); study: {record['name']}"
    )
