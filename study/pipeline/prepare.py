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
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.arguments import check_device
from study.execution.progress import Progress
from study.machine import cores, exit_text, gpu_count, hardware, usual_workers, versions, worker_environment
from study.options import (
    StudyOptions,
    cache_folder,
)
from study.redaction import hide_secrets

if TYPE_CHECKING:
    import optuna

    from fer.datasets import Dataset


def resolve_auto(options: StudyOptions) -> StudyOptions:
    """Settles what "auto" means on this machine."""
    device = options.device if options.device != "auto" else ("cuda" if gpu_count() else "cpu")
    check_device(device, gpu_count())
    preset = options.preset if options.preset != "auto" else ("paper" if device != "cpu" else "laptop")
    return dataclasses.replace(options, device=device, preset=preset)


def read_data(options: StudyOptions, progress: Progress) -> tuple["Dataset", "Dataset"]:
    """Reads source and target; says loudly where a stand-in takes their place."""
    from study.inputs import note_copies, prepare_dataset

    asked = dataclasses.asdict(options)
    source = prepare_dataset(options.source, asked, options.data_kind)
    target = prepare_dataset(options.target, asked, options.data_kind)
    check_folds(target, options)
    check_two(source, target, options)
    for dataset in (source, target):
        sizes = " / ".join(f"{len(dataset.open(split)):,}" for split in ("train", "validation"))
        progress.say(f"  {dataset.name}: {dataset.kind}, {sizes} training / validation images, hash {dataset.digest}")
        if dataset.kind == "synthetic":
            progress.warn(
                f"no copy of {dataset.name} was found: DRAWN STAND-IN FACES take its place, and its numbers say "
                f"nothing about {dataset.name} (put yours under --data DIR/{dataset.name})"
            )
    source = note_copies(source, target, progress.warn)
    if source.kind != target.kind:
        progress.warn("one dataset is real and the other a stand-in: fit to try the tool, not to learn about faces")
    return source, target


def check_folds(target: "Dataset", options: StudyOptions) -> None:
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


def check_two(source: "Dataset", target: "Dataset", options: StudyOptions) -> None:
    """Raises InputError where source and target are one dataset, by its name, its folder or its content."""
    from fer.datasets import same_files

    if source.name == target.name or same_files(source, target):
        raise InputError(
            "--target and --source are two datasets",
            f"{options.source} and {options.target}, which are one",
            "Choose another target.",
        )


@contextlib.contextmanager
def exclusive_folder(folder: Path) -> Iterator[None]:
    """Holds the study's folder, so that two parents on one machine cannot run one study."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        with lock.acquire(blocking=False):
            yield
    except Timeout:
        raise InputError(
            "a study has one parent",
            f"{folder}, which another study.run holds",
            "Wait for it, or help it with python -m study.worker.",
        ) from None


def make_record(
    name: str, options: StudyOptions, source: "Dataset", target: "Dataset", synthetic: bool
) -> dict[str, Any]:
    """Returns the study's record, which study.json holds, all but its baseline."""
    from study.inputs import budget_epochs, dataset_record

    asked = dataclasses.asdict(options) | {"trials": options.wanted}
    return {
        "name": name,
        "id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": writable(dataset_record(source)),
        "target": writable(dataset_record(target)),
        "synthetic": synthetic,
        "options": asked | {name: hide_secrets(asked[name]) for name in ("storage", "tracking_uri", "ray")},
        "budget_epochs": budget_epochs(asked, len(source.open("train")), len(target.open("train"))),
        "network": {"name": "VGG-13, 48×48 grey (arXiv 1905.12082)"},
        "versions": versions(),
        "hardware": hardware(),
    }


def writable(value: Any) -> Any:
    """Returns text, dicts and lists with bytes that are no UTF-8 as escapes: no report or database takes them."""
    if isinstance(value, dict):
        return {writable(key): writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [writable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def find_or_train_baseline(record: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Finds or trains the baseline in a process that has the environment for it."""
    progress.say("baseline: looking for it by its hash, else training it once for all studies")
    started = time.monotonic()
    with tempfile.TemporaryFile() as sent:
        # By a file, because a record may be longer than a command line takes.
        sent.write(json.dumps(record).encode())
        sent.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "study.execution.baseline_process"],
            stdin=sent,
            stdout=subprocess.PIPE,
            env=worker_environment(),
            start_new_session=True,
        )
    with process:
        assert process.stdout is not None
        try:
            for text in process.stdout:
                if not text.startswith(b"{"):
                    continue
                line = json.loads(text)
                if "baseline" in line:
                    return line["baseline"]
                if "error" in line:
                    raise InputError(*line["error"])
                if "stuck" in line:
                    raise RuntimeError(f"the baseline cannot be had: {line['stuck']}")
                if "epoch" in line:
                    seconds = time.monotonic() - started
                    progress.say(
                        f"  baseline epoch {line['epoch']}/{line['of']}: loss {line['loss']:.3f}, {seconds:.0f} s"
                    )
        except BaseException:
            process.terminate()
            raise
    raise RuntimeError(f"the baseline's process {exit_text(process.returncode)}")


def settle_workers(
    study: "optuna.Study", record: dict[str, Any], options: StudyOptions, progress: Progress
) -> StudyOptions:
    """Settles how many workers there are, of how many threads, by measurement where the user left it open.

    A GPU has four at most, which share it. With `tiny`, measuring would take longer than the study.
    """
    if options.ray:  # how many a cluster has, it says later
        return options
    if options.workers != "auto":
        return dataclasses.replace(options, workers=str(min(int(options.workers), options.wanted)))
    from study.execution.autotune import candidates, find_or_measure

    device = record["baseline"]["device"]
    if device != "cpu" or options.preset == "tiny" or options.threads > 1 or len(candidates(cores())) == 1:
        few = min(cores() // options.threads, options.wanted)  # no more threads than cores, nor workers than trials
        return dataclasses.replace(options, workers=str(max(1, min(usual_workers(device), few))))
    found = record["calibration"] = find_or_measure(
        cache_folder(options.out), record["network"]["width"], record["baseline"]["precision"]
    )
    study.set_user_attr("study", record)
    if any(found["images_per_second"].values()):
        show_calibration(found["images_per_second"], progress)
    workers = min(found["workers"], options.wanted)
    return dataclasses.replace(options, workers=str(workers), threads=found["threads"])


def show_calibration(rates: dict[str, float], progress: Progress) -> None:
    """Tells what each number of workers and threads trained."""
    pairs = ((*pair.split("x"), rate) for pair, rate in rates.items())
    said = ", ".join(f"{n} workers of {threads} thread(s) {rate:.0f}" for n, threads, rate in pairs)
    progress.say(f"  calibration, images per second of training: {said}")


def show_study(record: dict[str, Any], options: StudyOptions, progress: Progress) -> None:
    """Tells what the study works with."""
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
    where = hide_secrets(options.storage) if options.storage else Path(options.out) / record["name"] / "journal.log"
    progress.say(
        f"  storage: {where}; workers: {options.workers} of {options.threads} thread(s); study: {record['name']}"
    )
