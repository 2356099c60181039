"""Keeps the workers of a study going until it has its trials."""

import dataclasses
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from optuna.trial import TrialState

from fer.config import AdaptationConfig
from study.cli import ERROR, WRONG_USE, tell
from study.execution.progress import Progress
from study.machine import exit_text, worker_environment
from study.options import CROWDED, STUCK, StudyOptions
from study.search.early_stopping import trials_since_growth
from study.storage.backend import trials_of
from study.storage.leases import LeaseMonitor, requeue_expired
from study.storage.slots import fill_slots, has_diverged, withdraw_waiting
from study.trials import CHANCE, counted_trials

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

MOST_CRASHES_IN_A_ROW = 5
MOST_FAILURES_IN_A_ROW = 20
LOOK_AFTER_LEASES_EVERY = 5.0
LOOK_EVERY = 0.3
LONGEST_LAST_WORDS = 2.0
"""Seconds for which the rest of an ended worker's words is waited for; a process that it left may hold the pipe."""


class GaveUp(RuntimeError):
    """The study cannot go on by itself; the message is the reason."""


class Worker(Protocol):
    """What is asked of a worker, a process here or a task elsewhere; as of `subprocess.Popen`.

    One that tells why it ended has it as `reason`.
    """

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
    ends = counted_trials(trials_of(study))
    earlier = {trial.number for trial in ends}
    progress.begin(options.wanted, len(earlier))
    crashes, finished, watch, looked = 0, 0, LeaseMonitor(), 0.0
    ended = ""
    reasons: list[str] = []
    try:
        with progress:
            while True:
                crashed = [worker for worker in workers if worker.poll() not in (None, 0, CROWDED)]
                for worker in crashed:
                    reason = reason_of(worker)
                    if worker.poll() in (STUCK, WRONG_USE):
                        raise GaveUp(f"a worker cannot go on, nor could the next: {reason}")
                    if reason not in reasons:
                        progress.warn(f"a worker ended early: {reason}")
                    reasons.append(reason)
                # A worker that was there before the last halving may still be on its way out for the same want.
                crowded = any(worker.poll() == CROWDED and worker not in stayed for worker in workers)
                workers = [worker for worker in workers if worker.poll() is None]
                if crowded and int(options.workers) > 1:
                    options, workers = with_fewer(study, options, workers, progress)
                    stayed = list(workers)
                if crashed or time.monotonic() - looked > LOOK_AFTER_LEASES_EVERY:
                    looked = time.monotonic()
                    # A worker that died at a trial is that trial's affair, which fails when it happens again.
                    crashes += max(0, len(crashed) - requeue_expired(study, watch))
                    if not ended:
                        fill_slots(study, options.wanted, options.space, base)
                trials = trials_of(study)
                done = counted_trials(trials)
                progress.update(done)
                ends = order_by_end(ends, done)
                here = [trial for trial in ends if trial.number not in earlier]
                crashes = crashes if len(here) == finished else 0
                finished = len(here)
                give_up_if_hopeless(crashes, here, int(options.workers), reasons)
                if not ended and (ended := reason_to_end(ends, options)):
                    study.set_user_attr("ended", ended)
                    withdraw_waiting(study)
                    continue
                states = [trial.state for trial in trials]
                waiting, running = states.count(TrialState.WAITING), states.count(TrialState.RUNNING)
                if time.monotonic() < until:
                    for _ in range(workers_to_start(int(options.workers), len(workers), waiting, running)):
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


def workers_to_start(limit: int, workers: int, waiting: int, running: int) -> int:
    """Returns how many workers to start, so that there are never more than trials for them.

    Args:
        limit: How many there may be.
        workers: How many there are, those that have not begun a trial yet included.
        waiting: Trials that wait.
        running: Trials that are run, here or elsewhere.
    """
    about_to_claim = max(0, workers - running)
    return max(0, min(limit - workers, waiting - about_to_claim))


def reason_of(worker: Worker) -> str:
    """Returns why a worker ended, as it told or as its exit code says."""
    return getattr(worker, "reason", "") or f"its process {exit_text(worker.poll() or 0)}"


def with_fewer(
    study: "optuna.Study", options: StudyOptions, workers: list[Worker], progress: Progress
) -> tuple[StudyOptions, list[Worker]]:
    """Halves the number of workers, because the device they share had too little memory; no trial is lost by it."""
    few = int(options.workers) // 2
    progress.warn(f"the device's memory does not suffice for {options.workers} workers; it goes on with {few}")
    _stop(study, workers[few:])
    return dataclasses.replace(options, workers=str(few)), workers[:few]


def order_by_end(before: "list[FrozenTrial]", done: "list[FrozenTrial]") -> "list[FrozenTrial]":
    """Returns ended trials, those that were seen before first."""
    known = {trial.number for trial in before}
    return [*before, *(trial for trial in done if trial.number not in known)]


def reason_to_end(done: "list[FrozenTrial]", options: StudyOptions) -> str:
    """Returns why --patience ends a study with these trials, in the order of their ends, or nothing when it does not.

    One that has all its trials has ended anyway.
    """
    if not options.patience or not options.patience < len(done) < options.wanted:
        return ""
    since = trials_since_growth(done, options.reference or (CHANCE, CHANCE))
    if since < options.patience:
        return ""
    return f"ended by --patience {options.patience}: hypervolume has not grown for {since} finished trials"


def give_up_if_hopeless(crashes: int, here: list[Any], workers: int, reasons: Sequence[str] = ()) -> None:
    """Raises GaveUp when workers keep ending before their first trial, or when every trial fails.

    Args:
        crashes: Workers in a row that ended so.
        here: The ended trials of this call of the command, in the order of their ends.
        workers: How many there are.
        reasons: Why workers ended, the latest last.
    """
    if crashes >= max(MOST_CRASHES_IN_A_ROW, 2 * workers):  # all of them twice, or a machine that went away
        latest_reason = reasons[-1] if reasons else "no reason given"
        raise GaveUp(f"{crashes} workers in a row ended before their first trial, at last because: {latest_reason}")
    latest = here[-MOST_FAILURES_IN_A_ROW:]
    broken = len(latest) == MOST_FAILURES_IN_A_ROW and all(trial.state == TrialState.FAIL for trial in latest)
    # A sampler may propose diverging rates for long, as random draws do in a narrow space: nothing is broken then.
    if broken and not all(has_diverged(trial) for trial in latest):
        raise GaveUp(f"the last {len(latest)} trials failed, at last because: {latest[-1].user_attrs.get('reason')}")


def spawn_worker(options: StudyOptions, name: str, until: float) -> Worker:
    """Starts one worker process."""
    command = [sys.executable, "-m", "study.worker", "--study", name, "--out", options.out]
    command += ["--parent", str(os.getpid()), "--threads", str(options.threads)]
    if math.isfinite(until):
        command += ["--until", str(until)]
    if options.data:
        command += ["--data", options.data]
    if int(options.workers) > 1:
        command += ["--beside"]
    return worker_process(command, options.storage)


def worker_process(command: list[str], storage: str | None) -> "WorkerProcess":
    """Starts a command with a worker's environment; the storage's URL, which may hold a password, is part of that."""
    environment = worker_environment() | ({"STUDY_STORAGE": storage} if storage else {})
    return WorkerProcess(command, environment)


class WorkerProcess(subprocess.Popen):
    """A worker on this machine. What it says is passed on, but for its error, which its parent tells once for all.

    Attributes:
        reason: The error with which it ended.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        # In a session of its own: Ctrl-C reaches the parent alone, which then ends its workers in order.
        super().__init__(command, env=environment, start_new_session=True, stderr=subprocess.PIPE)
        self.reason = ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def poll(self) -> int | None:
        """Returns its exit code once it has ended and all that it said was heard, None before."""
        code = super().poll()
        if code is not None:
            self._listener.join(LONGEST_LAST_WORDS)
        return code

    def _listen(self) -> None:
        assert self.stderr is not None
        for line in self.stderr:
            said = line.decode(errors="backslashreplace").rstrip("\n")
            if said.startswith(ERROR):
                self.reason = said.removeprefix(ERROR)
            else:
                tell(said)


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
        requeue_expired(study, blame=False)
