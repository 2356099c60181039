"""Studies whose trials are a fraction of a second of nothing, through the real parent and worker loops.

`python dummy.py worker …` and `python dummy.py parent …` are the processes that survival tests kill.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import optuna

from fer.config import AdaptationConfig
from study.execution.progress import Progress
from study.execution.supervisor import supervise
from study.execution.worker_loop import run_trials
from study.execution.worker_process import Worker, start_worker_process
from study.machine import exit_with_parent
from study.options import StudyOptions
from study.storage.backend import load_study, open_storage, trials_of
from study.storage.retry import SECONDS_TO_RETRY
from study.storage.slots import fill_slots
from study.trials import counted_trials

sys.path.insert(0, str(Path(__file__).parent.parent))

NAME = "dummy"
OPTIONS = {"sampler": "random", "seed": 0}
TRIALS, WORKERS = 200, 4


def run_dummy(trial: optuna.Trial, seconds: float) -> None:
    """A trial that suggests, writes its rung and ends, as a real one does."""
    x = trial.suggest_float("x", 0, 1)
    trial.set_user_attr("rung:0.500", [x, 1 - x])
    time.sleep(seconds)
    trial.set_user_attr("measures", {"source_val": x, "target_val": 1 - x})
    trial.set_user_attr("seconds", seconds)
    trial.study.tell(trial, [x, 1 - x])


def spawn_dummy(seconds: float, options: StudyOptions, name: str, until: float) -> Worker:
    command = [sys.executable, __file__, "worker", "--seconds", str(seconds), "--parent", str(os.getpid())]
    return start_worker_process([*command, "--out", options.out], options.storage)


def run_worker(args: argparse.Namespace) -> None:
    study = load_study(NAME, Path(args.out), os.environ.get("STUDY_STORAGE"), SECONDS_TO_RETRY)
    run_trials(study, OPTIONS, partial(run_dummy, seconds=args.seconds))


def make_study(out: Path, url: str | None, trials: int) -> optuna.Study:
    """Returns the study, made if need be, with its slots filled."""
    storage = open_storage(url, out / NAME)
    study = optuna.create_study(study_name=NAME, storage=storage, directions=["maximize"] * 2, load_if_exists=True)
    fill_slots(study, trials, "card", AdaptationConfig())
    return study


def run_parent(args: argparse.Namespace) -> None:
    study = make_study(Path(args.out), os.environ.get("STUDY_STORAGE"), args.trials)
    options = StudyOptions(
        target="x", trials=args.trials, workers=str(args.workers), out=args.out,
        storage=os.environ.get("STUDY_STORAGE"),
    )  # fmt: skip
    supervise(study, options, AdaptationConfig(), Progress(), partial(spawn_dummy, args.seconds))


def kill_one(study: optuna.Study, rng: random.Random) -> bool:
    """Kills a random worker that is at a trial, as the kernel would for want of memory."""
    running = [trial for trial in trials_of(study) if trial.state.name == "RUNNING"]
    pids = [trial.user_attrs["worker"]["pid"] for trial in running if "worker" in trial.user_attrs]
    for pid in rng.sample(pids, len(pids)):
        try:
            os.kill(pid, signal.SIGKILL)
            return True
        except ProcessLookupError:
            continue
    return False


def start_parent(
    out: Path, storage: str | None, trials: int = TRIALS, seconds: float = 0.6, workers: int = WORKERS
) -> subprocess.Popen:
    command = [sys.executable, __file__, "parent", "--out", str(out), "--trials", str(trials)]
    command += ["--workers", str(workers), "--seconds", str(seconds)]
    environment = os.environ | ({"STUDY_STORAGE": storage} if storage else {}) | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def load(out: Path, storage: str | None) -> optuna.Study:
    return load_study(NAME, out, storage)


def assert_exact(out: Path, storage: str | None, trials: int = TRIALS) -> list:
    study = load(out, storage)
    everything = trials_of(study)
    done = counted_trials(everything)
    assert sorted(trial.user_attrs["slot"] for trial in done) == list(range(trials))
    assert all(trial.state.is_finished() for trial in everything)
    finished = [trial for trial in everything if trial.state.name == "COMPLETE"]
    assert [trial.number for trial in finished] == [trial.number for trial in done if trial.state.name == "COMPLETE"]
    return everything


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def done_so_far(out: Path, storage: str | None, seen: dict = {}) -> int:  # noqa: B006 - one connection for all looks
    with contextlib.suppress(Exception):
        if (out, storage) not in seen:
            seen[out, storage] = load(out, storage)
        return len(counted_trials(trials_of(seen[out, storage])))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("worker", "parent"))
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parent", type=int)
    args = parser.parse_args()
    if args.parent:
        exit_with_parent(args.parent)
    {"worker": run_worker, "parent": run_parent}[args.role](args)
