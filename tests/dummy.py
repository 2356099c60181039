"""Studies whose trials are a fraction of a second of nothing, through the real parent and worker loops.

`python dummy.py worker …` and `python dummy.py parent …` are the processes that survival tests kill.
"""

import argparse
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import optuna

sys.path.insert(0, str(Path(__file__).parent.parent))

from fer.adaptation import AdaptationConfig
from study.config import StudyOptions
from study.machine import keep_private, leave_with_parent
from study.progress import Progress
from study.slots import top_up
from study.storage import load_study, open_storage, trials_of
from study.supervise import Worker, supervise, worker_process
from study.worker import run_all

NAME = "dummy"
OPTIONS = {"sampler": "random", "seed": 0}


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
    return worker_process([*command, "--out", options.out], options.storage)


def run_worker(args: argparse.Namespace) -> None:
    study = load_study(NAME, Path(args.out), os.environ.get("STUDY_STORAGE"))
    run_all(study, OPTIONS, partial(run_dummy, seconds=args.seconds))


def run_parent(args: argparse.Namespace) -> None:
    storage = open_storage(os.environ.get("STUDY_STORAGE"), Path(args.out) / NAME)
    study = optuna.create_study(study_name=NAME, storage=storage, directions=["maximize"] * 2, load_if_exists=True)
    options = StudyOptions(
        target="x", trials=args.trials, workers=str(args.workers), out=args.out, quiet=True,
        storage=os.environ.get("STUDY_STORAGE"),
    )  # fmt: skip
    top_up(study, args.trials, "card", AdaptationConfig())
    supervise(study, options, AdaptationConfig(), Progress(quiet=True), partial(spawn_dummy, args.seconds))


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("worker", "parent"))
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parent", type=int)
    args = parser.parse_args()
    keep_private()
    if args.parent:
        leave_with_parent(args.parent)
    {"worker": run_worker, "parent": run_parent}[args.role](args)
