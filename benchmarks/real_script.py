"""The hand-written script of `benchmarks.real`: Optuna's TPE, each trial trained long, evaluated once.

Two processes share one storage. Each trial is trained as `benchmarks.idiomatic` does, in the studies' precision, with
hyperparameters from the studies' default space and no strategies of its own to begin with. A trial that no earlier one
equals or betters on validation images has its network kept. Each process has a clock of its time on processors, which
counts from its first trial and stands still between sessions: neither start-up nor other work count against the script.

`python -m benchmarks.real_script FOLDER --worker N --until SECONDS` is one of the processes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from safetensors.torch import load_file

from benchmarks.idiomatic import Faces, fit, load_model, score, transforms
from benchmarks.processes import plain
from benchmarks.real_contenders import Job, make_outcome
from benchmarks.real_data import accuracies_on_test, open_task
from benchmarks.real_outcomes import Outcome, write_json
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig, to_flat
from fer.model import weights
from fer.seeding import seed_from
from search_spaces import card
from study.machine import exit_with_parent
from study.pareto import hypervolume, non_dominated
from study.record import DOMAINS

WORKERS = 2

SESSIONS = 10
"""In how many equal parts the script's time is divided; after each its front is tested, and it may end."""

LOADER_WORKERS = 0
EVALUATION_BATCH = 64
"""With these two the script was fastest on two cores, see the records of `benchmarks.throughput`."""


# The parent.


def measure_script(job: Job) -> Outcome:
    """Runs the script, or goes on with it, until its time is over or its front is as good as the study's on test."""
    assert job.after is not None and job.limit is not None, "the script is compared with a study"
    task = open_task(job.places, job.target, job.division)
    log = job.open_log()
    folder = job.places.out / job.run_name
    prepare_folder(folder, job, task)
    course: list[list[float]] = []

    for session in range(1, SESSIONS + 1):
        run_session(folder, job.limit / WORKERS * session / SESSIONS)
        trials = ended_trials(folder)
        course, networks = course_on_test(folder, trials, task)
        clocks = [clock_of(trials, worker) for worker in range(WORKERS)]
        log.seconds = max(clocks)
        log.processor_seconds = sum(clocks)
        log.save()
        print(f"{job.run_name}: {len(trials)} trials, {log.seconds:.0f} s, {course[-1:]}", flush=True)
        if any(volume >= job.after.hypervolume for _, volume in course):
            break

    log.complete()
    return make_outcome(job, task, log, networks, trials=len(trials), course=course)


def prepare_folder(folder: Path, job: Job, task: AdaptationTask) -> None:
    """Writes what the processes read, and makes the storage; what is there stays."""
    if (folder / "job.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    optuna.create_study(
        study_name="script", directions=["maximize"] * 2, storage=open_storage(folder), load_if_exists=True
    )
    content = {
        "source": str(task.source.folder.resolve()),
        "target": str(task.target.folder.resolve()),
        "baseline": str(job.places.baseline.resolve()),
        "width": task.baseline.width,
        "precision": task.runtime.precision,
        "epochs": job.contender.budget * job.base_budget(task),
        "seed": seed_from("script", job.target, job.division),
    }
    write_json(folder / "job.json", content)


def open_storage(folder: Path) -> JournalStorage:
    """Opens the storage that the processes share."""
    return JournalStorage(JournalFileBackend(str(folder / "journal.log")))


def run_session(folder: Path, until: float) -> None:
    """Lets the processes run until their clocks show some seconds; those that have got there end at once."""
    processes = []
    for worker in range(WORKERS):
        words = ["-m", "benchmarks.real_script", str(folder.resolve()), "--worker", str(worker), "--until", str(until)]
        processes.append(subprocess.Popen([sys.executable, *words], **plain()))
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit("the script failed; its messages are above")


def ended_trials(folder: Path) -> list[FrozenTrial]:
    """Returns the script's trials in the order in which they ended."""
    study = optuna.load_study(study_name="script", storage=open_storage(folder))
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(trials, key=lambda trial: (trial.datetime_complete, trial.number))


def course_on_test(
    folder: Path, trials: Sequence[FrozenTrial], task: AdaptationTask
) -> tuple[list[list[float]], dict[str, list[float]]]:
    """Tests the front as it was after each trial. Validation images choose it.

    Args:
        folder: Of the script, with the networks of every front.
        trials: Ended ones, in their order.
        task: Baseline and data.

    Returns:
        Seconds and hypervolume on test images where the front changed, the baseline counted; and source and target
        accuracy of each network of the last front on test images, by its name.
    """
    # What was tested in earlier sessions is known.
    file = folder / "tested.json"
    tested: dict[str, list[float]] = json.loads(file.read_text()) if file.exists() else {}
    of_baseline = accuracies_on_test(task, task.baseline)

    course: list[list[float]] = []
    names: list[str] = []
    for ended, front in changed_fronts([trial.values for trial in trials]):
        names = [network_name(trials[place].number) for place in front]
        for name in names:
            if name not in tested:
                tested[name] = accuracies_on_test(task, weights.load_network(folder / name, task.runtime))

        # The clocks of the processes differ by less than a trial; the course's goes forward.
        seconds = WORKERS * max(trial.user_attrs["seconds"] for trial in trials[:ended])
        accuracies = [tested[name] for name in names]
        course.append([seconds, round(hypervolume([*accuracies, of_baseline]), 4)])
    write_json(file, tested)
    return course, {name: tested[name] for name in names}


def changed_fronts(points: Sequence[Sequence[float]]) -> list[tuple[int, list[int]]]:
    """Returns each front of the first 1, 2, … points (n, 2) once: how many points there were, and the places on it."""
    fronts = []
    for count in range(1, len(points) + 1):
        front = np.flatnonzero(non_dominated(points[:count])).tolist()
        if front[-1:] == [count - 1]:  # the last point is on it; otherwise the front is as it was
            fronts.append((count, front))
    return fronts


def network_name(number: int) -> str:
    """Returns the file of a trial's network, relative to the script's folder."""
    return f"trial-{number:04d}.safetensors"


# A process.


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_script", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worker", type=int, required=True)
    parser.add_argument("--until", type=float, required=True, help="seconds on its clock")
    args = parser.parse_args()
    exit_with_parent(os.getppid())
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    before = clock_of(ended_trials(args.folder), args.worker)
    if before < args.until:
        run_trials(args.folder, args.worker, before, args.until)


def clock_of(trials: Sequence[FrozenTrial], worker: int) -> float:
    """Returns what a process's clock shows after its last ended trial; a trial that was cut off takes no time."""
    return max((trial.user_attrs["seconds"] for trial in trials if trial.user_attrs["worker"] == worker), default=0.0)


def run_trials(folder: Path, worker: int, before: float, until: float) -> None:
    """Runs trial after trial; the last one may end later.

    Args:
        folder: Of the script.
        worker: Number of this process.
        before: What its clock showed after the last session.
        until: When its clock shows this, no trial starts.
    """
    job = json.loads((folder / "job.json").read_text())
    base = AdaptationConfig(epochs=job["epochs"])
    data = load_faces(job, to_flat(base))
    state = load_file(job["baseline"])
    settings = argparse.Namespace(
        width=job["width"],
        device="cpu",
        precision=job["precision"],
        evaluate="once",
        loader_workers=LOADER_WORKERS,
        evaluation_batch=EVALUATION_BATCH,
    )

    # A sampler that goes on must not draw again what it drew before.
    ended = len(ended_trials(folder))
    sampler = TPESampler(seed=seed_from(job["seed"], worker, ended) % 2**32)
    study = optuna.load_study(study_name="script", storage=open_storage(folder), sampler=sampler)
    started = time.process_time()

    def clock() -> float:
        return before + time.process_time() - started

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        _, config = card.suggest(trial, base)
        torch.manual_seed(trial.number)
        model = fit(to_flat(config), data, load_model(state, settings), settings, lambda *_: None)
        accuracies = score(model, data, settings)

        earlier = [each.values for each in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]
        if non_dominated([*earlier, accuracies])[-1]:
            weights.save_network(model, folder / network_name(trial.number), {"width": str(job["width"])})
        trial.set_user_attr("worker", worker)
        trial.set_user_attr("seconds", round(clock(), 1))
        return accuracies

    while clock() < until:
        study.optimize(objective, n_trials=1)


def load_faces(job: dict[str, Any], config: dict[str, Any]) -> dict[str, Faces]:
    """Returns training and validation images of both domains, by domain and split."""
    training, plain_transform = transforms(config)
    faces = {}
    for domain in DOMAINS:
        for split, transform in (("train", training), ("validation", plain_transform)):
            images = np.load(Path(job[domain]) / f"{split}.images.npy")
            labels = np.load(Path(job[domain]) / f"{split}.labels.npy")
            faces[f"{domain}_{split}"] = Faces(images, labels, transform)
    return faces


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):  # the parent tells it
        main()
