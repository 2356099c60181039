"""Keeps the workers of a study going until it has its trials."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from optuna.trial import TrialState

from fer.adaptation import AdaptationConfig
from study.config import CROWDED, STUCK, WRONG_USE, StudyOptions
from study.front import CHANCE, counted
from study.leases import Watch, reap
from study.machine import worker_environment
from study.progress import Progress
from study.slots import diverged, top_up, withdraw
from study.stopping import trials_since_growth
from study.storage import trials_of

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

MOST_CRASHES_IN_A_ROW = 5
MOST_FAILURES_IN_A_ROW = 20
LOOK_AFTER_LEASES_EVERY = 5.0
LOOK_EVERY = 0.3


class GaveUp(RuntimeError):
    """The study cannot go on by itself; the message is the reason."""


class Worker(Protocol):
    """What is asked of a worker, a process here or a task elsewhere; as of `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Returns its exit code, None while it works."""

    def terminate(self) -> None:
        """Asks it to end."""

    def kill(self) -> None:
        """Ends it."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end; raises subprocess.TimeoutExpired."""


Spawn = Callable[[StudyOptions, str, float], Worker]


def supervise(
    study: "optuna.Study",
    options: StudyOptions,
    base: AdaptationConfig,
    progress: Progress,
    spawn: Spawn | None = None,
) -> str:
    """Runs workers until the study has `options.wanted` trials; returns why it ended.

    Trials that workers elsewhere are at are waited for, as long as these give signs of life.

    Args:
        study: Whose slots are filled.
        options: Number of trials and workers, search space, time limit.
        base: The knobs that the space leaves alone.
        progress: Where it shows.
        spawn: Starts a worker, given the options, the study's name and the end on the monotonic clock.

    Raises:
        GaveUp: Workers end, or trials fail, one after the other.
    """
    progress.reference = options.reference
    until = time.monotonic() + options.timeout if options.timeout else float("inf")
    workers: list[Worker] = []
    stayed: list[Worker] = []
    # In the order in which they were seen to have ended: clocks of several machines are never compared.
    ends = counted(trials_of(study))
    earlier = {trial.number for trial in ends}
    progress.begin(options.wanted, len(earlier))
    crashes, finished, watch, looked = 0, 0, Watch(), 0.0
    ended = ""
    try:
        with progress:
            while True:
                crashed = [worker for worker in workers if worker.poll() not in (None, 0, CROWDED)]
                if any(worker.poll() in (STUCK, WRONG_USE) for worker in crashed):
                    raise GaveUp("a worker cannot go on, nor could the next; its message is above")
                # A worker that was there before the last halving may still be on its way out for the same want.
                crowded = any(worker.poll() == CROWDED and worker not in stayed for worker in workers)
                workers = [worker for worker in workers if worker.poll() is None]
                if crowded and int(options.workers) > 1:
                    options, workers = with_fewer(study, options, workers, progress)
                    stayed = list(workers)
                if crashed or time.monotonic() - looked > LOOK_AFTER_LEASES_EVERY:
                    looked = time.monotonic()
                    # A worker that died at a trial is that trial's affair, which fails when it happens again.
                    crashes += max(0, len(crashed) - reap(study, watch))
                    if not ended:
                        top_up(study, options.wanted, options.space, base)
                trials = trials_of(study)
                done = counted(trials)
                progress.update(done)
                ends = in_order(ends, done)
                here = [trial for trial in ends if trial.number not in earlier]
                crashes = crashes if len(here) == finished else 0
                finished = len(here)
                give_up_if_hopeless(crashes, here, int(options.workers))
                if not ended and (ended := out_of_patience(ends, options)):
                    study.set_user_attr("ended", ended)
                    withdraw(study)
                    continue
                states = [trial.state for trial in trials]
                waiting, running = states.count(TrialState.WAITING), states.count(TrialState.RUNNING)
                if time.monotonic() < until:
                    for _ in range(min(int(options.workers) - len(workers), waiting)):
                        workers.append((spawn or spawn_worker)(options, study.study_name, until))
                if len(done) >= options.wanted and not workers:
                    return "done"
                if ended and not workers and not running:
                    return ended
                if time.monotonic() >= until and not workers and not running:
                    return f"stopped by --timeout {options.timeout:g}"
                time.sleep(LOOK_EVERY)
    finally:
        _stop(study, workers)


def with_fewer(
    study: "optuna.Study", options: StudyOptions, workers: list[Worker], progress: Progress
) -> tuple[StudyOptions, list[Worker]]:
    """Halves the number of workers, because the device they share had too little memory; no trial is lost by it."""
    few = int(options.workers) // 2
    progress.warn(f"the device's memory does not suffice for {options.workers} workers; it goes on with {few}")
    _stop(study, workers[few:])
    return dataclasses.replace(options, workers=str(few)), workers[:few]


def in_order(before: "list[FrozenTrial]", done: "list[FrozenTrial]") -> "list[FrozenTrial]":
    """Returns ended trials, those that were seen before first."""
    known = {trial.number for trial in before}
    return [*before, *(trial for trial in done if trial.number not in known)]


def out_of_patience(done: "list[FrozenTrial]", options: StudyOptions) -> str:
    """Returns why --patience ends a study with these trials, in the order of their ends, or nothing when it does not.

    One that has all its trials has ended anyway.
    """
    if not options.patience or not options.patience < len(done) < options.wanted:
        return ""
    since = trials_since_growth(done, options.reference or (CHANCE, CHANCE))
    if since < options.patience:
        return ""
    return f"ended by --patience {options.patience}: hypervolume has not grown for {since} finished trials"


def give_up_if_hopeless(crashes: int, here: list[Any], workers: int) -> None:
    """Raises GaveUp when workers keep ending before their first trial, or when every trial fails.

    Args:
        crashes: Workers in a row that ended so.
        here: The ended trials of this call of the command, in the order of their ends.
        workers: How many there are.
    """
    if crashes >= max(MOST_CRASHES_IN_A_ROW, 2 * workers):  # all of them twice, or a machine that went away
        raise GaveUp(f"{crashes} workers in a row ended before their first trial; their messages are above")
    latest = here[-MOST_FAILURES_IN_A_ROW:]
    broken = len(latest) == MOST_FAILURES_IN_A_ROW and all(trial.state == TrialState.FAIL for trial in latest)
    # A sampler may propose diverging rates for long, as random draws do in a narrow space: nothing is broken then.
    if broken and not all(diverged(trial) for trial in latest):
        raise GaveUp(f"the last {len(latest)} trials failed, at last because: {latest[-1].user_attrs.get('reason')}")


def spawn_worker(options: StudyOptions, name: str, until: float) -> Worker:
    """Starts one worker process."""
    command = [sys.executable, "-m", "study.worker", "--study", name, "--out", options.out]
    command += ["--parent", str(os.getpid()), "--until", str(until)]
    command += ["--data", options.data] if options.data else []
    command += ["--threads", str(options.threads)]
    command += ["--beside"] if int(options.workers) > 1 else []
    return worker_process(command, options.storage)


def worker_process(command: list[str], storage: str | None) -> subprocess.Popen:
    """Starts a command with a worker's environment; the storage's URL, which may hold a password, is part of that."""
    environment = worker_environment() | ({"STUDY_STORAGE": storage} if storage else {})
    # In a session of its own: Ctrl-C reaches the parent alone, which then ends its workers in order.
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _stop(study: "optuna.Study", workers: list[Worker]) -> None:
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
