"""Keeps the workers of a study going until it has its trials."""

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from study.config import StudyOptions
from study.front import counted
from study.leases import reap
from study.machine import worker_environment
from study.progress import Progress
from study.storage import trials_of

if TYPE_CHECKING:
    import optuna

MOST_CRASHES_IN_A_ROW = 3
MOST_FAILURES_IN_A_ROW = 20
REAP_EVERY = 5.0
LOOK_EVERY = 0.3


class GaveUp(RuntimeError):
    """The study cannot go on by itself; the message is the reason."""


def supervise(study: "optuna.Study", options: StudyOptions, progress: Progress) -> str:
    """Runs workers until the study has `options.wanted` trials; returns why it ended.

    Trials that workers elsewhere are at are waited for, as long as these give signs of life.

    Raises:
        GaveUp: Workers end, or trials fail, one after the other.
    """
    until = time.time() + options.timeout if options.timeout else float("inf")
    workers: list[subprocess.Popen] = []
    earlier = {trial.number for trial in counted(trials_of(study))}
    progress.begin(options.wanted, len(earlier))
    crashes, reaped = 0, time.monotonic()
    try:
        with progress:
            while True:
                trials = trials_of(study)
                done = counted(trials)
                progress.update(done)
                here = [trial for trial in done if trial.number not in earlier]
                crashed = [worker for worker in workers if worker.poll()]
                workers = [worker for worker in workers if worker.poll() is None]
                crashes = crashes + len(crashed) if crashed or not here else 0
                _give_up_if_hopeless(crashes, here)
                if crashed or time.monotonic() - reaped > REAP_EVERY:
                    reaped = time.monotonic()
                    reap(study)
                states = [trial.state for trial in trials]
                waiting, running = states.count(TrialState.WAITING), states.count(TrialState.RUNNING)
                if time.time() < until:
                    for _ in range(min(int(options.workers) - len(workers), waiting)):
                        workers.append(spawn_worker(options, study.study_name, until))
                if len(done) >= options.wanted and not workers:
                    return "done"
                if time.time() >= until and not workers and not running:
                    return f"stopped by --timeout {options.timeout:g}"
                if not (workers or waiting or running):
                    raise GaveUp(f"{len(done)} of {options.wanted} trials are there and none is left to claim")
                time.sleep(LOOK_EVERY)
    finally:
        _stop(study, workers)


def _give_up_if_hopeless(crashes: int, here: list) -> None:
    if crashes >= MOST_CRASHES_IN_A_ROW:
        raise GaveUp(f"{crashes} workers in a row ended without finishing a trial; their messages are above")
    latest = here[-MOST_FAILURES_IN_A_ROW:]
    if len(latest) == MOST_FAILURES_IN_A_ROW and all(trial.state == TrialState.FAIL for trial in latest):
        raise GaveUp(f"the last {len(latest)} trials failed, at last because: {latest[-1].user_attrs.get('reason')}")


def spawn_worker(options: StudyOptions, name: str, until: float) -> subprocess.Popen:
    """Starts one worker process of one thread."""
    command = [sys.executable, "-m", "study.worker", "--study", name, "--out", options.out]
    command += ["--parent", str(os.getpid()), "--until", str(until)]
    command += ["--data", options.data] if options.data else []
    environment = worker_environment() | ({"STUDY_STORAGE": options.storage} if options.storage else {})
    # In a session of its own: Ctrl-C reaches the parent alone, which then ends its workers in order.
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _stop(study: "optuna.Study", workers: list[subprocess.Popen]) -> None:
    """Ends workers and gives their unfinished trials back."""
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(5)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    if workers:
        reap(study, blame=False)
