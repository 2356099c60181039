"""Keeps the workers of a study going until the study has all its trials."""

import dataclasses
import math
import subprocess
import time
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.config import AdaptationConfig
from study.execution.claim import find_due
from study.execution.endings import GaveUp, give_up_if_hopeless, reason_to_end
from study.execution.progress import Progress
from study.execution.report_time import expected_report_seconds
from study.execution.worker_process import Spawn, Worker, reason_of
from study.exit_code import ExitCode
from study.options import StudyOptions
from study.reporting.partial_report import PartialReport
from study.storage.backend import trials_of
from study.storage.leases import LeaseMonitor, requeue_expired
from study.storage.slots import (
    ENDED,
    RACE_ENDED,
    fill_slots,
    is_of_search,
    on_first_rung,
    withdraw_waiting,
)
from study.trials import counted_trials
from study.tuning.plan import SearchPlan
from study.tuning.promotion import find_promotions

CHECK_LEASES_EVERY = 5.0
"""Seconds between two checks of the leases."""
STEP_EVERY = 0.3
"""Seconds between two steps of the supervisor."""
SEARCH_UNTIL = 0.65
"""The share of --timeout after which no configuration is tried or promoted, where a race follows."""
RACE_UNTIL = 0.9
"""The share of --timeout after which only what is handed over is trained."""


def supervise(
    study: optuna.Study,
    options: StudyOptions,
    base: AdaptationConfig,
    progress: Progress,
    spawn: Spawn,
    plan: SearchPlan | None = None,
) -> str:
    """Runs workers until the study has done all that is due in it; returns why it ended.

    That is to try its configurations, to promote the best, to race among finalists, and to train what is handed over.

    It waits for trials that run on other machines, as long as their workers give signs of life.

    Args:
        study: The study, whose slots are filled.
        options: Number of trials and workers, search space, time limit.
        base: The hyperparameters that the space leaves alone.
        progress: What the user sees.
        spawn: Starts a worker, given the options, the study's name and the end on the monotonic clock.
        plan: The course of the study's search; None for one budget and nothing after it.

    Raises:
        GaveUp: Workers end, or trials fail, one after the other.
    """
    # What the user sees counts the trials that ended before, and measures hypervolume from the user's reference.
    plan = plan or SearchPlan(rungs=options.rung_count)
    supervisor = _Supervisor(study, options, base, progress, spawn, plan)
    progress.reference = options.reference
    progress.begin(
        options.wanted, supervisor.earlier, plan, options.timeout, afterwards=expected_report_seconds(options.out)
    )

    # Step by step until the study ends. However it ends, no worker outlives this call.
    try:
        with progress:
            while True:
                outcome = supervisor.step()
                if outcome:
                    return outcome
                time.sleep(STEP_EVERY)
    finally:
        _stop(study, supervisor.workers)


class _Supervisor:
    """The workers of a study, and what became of them and of the trials; a call of `step` does what is due.

    Args:
        study: The study.
        options: Its options; `workers` becomes less where the workers' device has too little memory.
        base: The hyperparameters that the space leaves alone.
        progress: What the user sees.
        spawn: Starts a worker.
        plan: The course of the study's search.

    Attributes:
        until: When to start no more workers, on the monotonic clock.
        workers: The workers that had not ended at the last step.
        spared: The workers that the last halving of their number left.
        crashes_in_a_row: Workers that crashed since a trial ended last.
        crash_reasons: Why workers crashed, the latest last.
        ended_trials: The trials that count, in the order in which they were seen to have ended.
        earlier: Numbers of the trials that had ended before this call of the command.
        ended_here: The other ended trials.
        left: How many trials wait, or are to be enqueued.
        due: How many trainings are due that nobody has enqueued, as many as there may be workers at most.
        due_after: What it was counted from: how many trials there were, how many had ended, and what was over.
        end_reason: Why the search ends before its last trial; empty where it does not.
        race_is_over: Whether the time of the race is up.
        report: The page that shows how far the study is.
    """

    def __init__(
        self,
        study: optuna.Study,
        options: StudyOptions,
        base: AdaptationConfig,
        progress: Progress,
        spawn: Spawn,
        plan: SearchPlan,
    ) -> None:
        self.study = study
        self.options = options
        self.base = base
        self.progress = progress
        self.spawn = spawn
        self.plan = plan
        self.started = time.monotonic()
        self.until = self.started + options.timeout if options.timeout else math.inf

        self.workers: list[Worker] = []
        self.spared: list[Worker] = []
        self.crashes_in_a_row = 0
        self.crash_reasons: list[str] = []

        folder = Path(options.out) / study.study_name
        self.report = PartialReport(folder, options.wanted, progress.warn)
        self.leases = LeaseMonitor()
        self.leases_checked = 0.0

        # Not in the order of their clocks: those of several machines are never compared.
        self.ended_trials = counted_trials(trials_of(study))
        self.earlier = {trial.number for trial in self.ended_trials}
        self.ended_here: list[FrozenTrial] = []
        self.left = 0
        self.due = 0
        self.due_after = (0, 0, False, False)
        self.end_reason = ""
        self.race_is_over = False

    def step(self) -> str:
        """Does once what is due; returns why the study ended, nothing while it goes on."""
        # Workers and trials that have ended.
        crashed = self.remove_ended_workers()
        self.check_leases(crashed)
        trials = trials_of(self.study)
        self.note_progress(trials)
        self.report.update(lambda: self.study.user_attrs.get("study") or {}, trials)

        # Whether to go on.
        give_up_if_hopeless(self.crashes_in_a_row, self.ended_here, int(self.options.workers), self.crash_reasons)
        if self.decide_about_end(trials):
            trials = trials_of(self.study)

        # Workers for the trials that wait, and for what is due besides.
        states = [trial.state for trial in trials]
        waiting = states.count(TrialState.WAITING)
        running = states.count(TrialState.RUNNING)
        self.left = waiting
        if len(self.workers) < int(self.options.workers):
            self.left += self.count_due(trials)
        self.start_workers(self.left, running)
        return self.find_outcome(running)

    def remove_ended_workers(self) -> int:
        """Takes ended workers from the list; returns how many of them crashed.

        Raises:
            GaveUp: A worker ended for a reason that would end the next as well.
        """
        # Poll each worker once, so that one that ends meanwhile is seen at the next step.
        codes = [worker.poll() for worker in self.workers]
        ended = [(worker, code) for worker, code in zip(self.workers, codes, strict=True) if code is not None]

        # Tell each reason once.
        crashed = [(worker, code) for worker, code in ended if code not in (ExitCode.DONE, ExitCode.DEVICE_CROWDED)]
        for worker, code in crashed:
            reason = reason_of(worker)
            if code in (ExitCode.STUCK, ExitCode.WRONG_USE):
                raise GaveUp(f"a worker cannot go on, nor could the next: {reason}")
            if reason not in self.crash_reasons:
                self.progress.warn(f"a worker ended early: {reason}")
            self.crash_reasons.append(reason)

        # Only now: where the study gives up, the trials of all these workers go back to it, and none is blamed.
        self.workers = [worker for worker, code in zip(self.workers, codes, strict=True) if code is None]

        # A worker that was there before the last halving may still be on its way out for the same want of memory.
        crowded = any(code == ExitCode.DEVICE_CROWDED and worker not in self.spared for worker, code in ended)
        if crowded and int(self.options.workers) > 1:
            self.options, self.workers = with_fewer(self.study, self.options, self.workers, self.progress)
            self.spared = list(self.workers)
        return len(crashed)

    def check_leases(self, crashed: int) -> None:
        """Gives trials back whose workers are gone, and fills slots that nobody holds; now and then, or after a crash.

        Args:
            crashed: How many workers crashed since the last step.
        """
        is_due = time.monotonic() - self.leases_checked > CHECK_LEASES_EVERY
        if not crashed and not is_due:
            return

        # Whoever started this has filled the slots, unless the study has ended, which the first step will find.
        is_first = not self.leases_checked
        self.leases_checked = time.monotonic()
        # A worker that died at a trial counts against the trial, which fails when it happens again.
        given_back = requeue_expired(self.study, self.leases)
        self.crashes_in_a_row += max(0, crashed - given_back)
        if not self.end_reason and not is_first:
            fill_slots(self.study, self.options.wanted, self.options.space, self.base, (), self.plan.first_fold)

    def note_progress(self, trials: list[FrozenTrial]) -> None:
        """Shows which trials have ended; a trial that ended since the last step proves that workers can work."""
        self.ended_trials = order_by_end(self.ended_trials, counted_trials(trials))
        self.progress.update(self.ended_trials, trials, bool(self.end_reason), self.race_is_over)

        ended_here = [trial for trial in self.ended_trials if trial.number not in self.earlier]
        if len(ended_here) != len(self.ended_here):
            self.crashes_in_a_row = 0
        self.ended_here = ended_here

    def decide_about_end(self, trials: list[FrozenTrial]) -> bool:
        """Ends the search, or the race, where --patience or --timeout does now; returns whether the search ends.

        Trials that wait are withdrawn then. A search that has done all it was to do is not ended: it has.

        Args:
            trials: All trials of the study.
        """
        spent = (time.monotonic() - self.started) / self.options.timeout if self.options.timeout else 0.0
        if not self.race_is_over and spent > RACE_UNTIL:
            self.race_is_over = True
            self.study.set_user_attr(RACE_ENDED, f"ended by --timeout {self.options.timeout:g}")
        if self.end_reason:
            return False

        self.end_reason = reason_to_end(self.ended_trials, self.options, self.plan)
        search_until = SEARCH_UNTIL if self.plan.race_share else RACE_UNTIL
        if spent > search_until and self.is_searching(trials):
            self.end_reason = f"stopped by --timeout {self.options.timeout:g}"
        if not self.end_reason:
            return False

        self.study.set_user_attr(ENDED, self.end_reason)
        withdraw_waiting(self.study)
        return True

    def is_searching(self, trials: list[FrozenTrial]) -> bool:
        """Returns whether a configuration is still to be tried or promoted.

        Args:
            trials: All trials of the study.
        """
        if len(on_first_rung(self.ended_trials)) < self.options.wanted:
            return True
        is_open = any(is_of_search(trial) and not trial.state.is_finished() for trial in trials)
        return is_open or bool(find_promotions(trials, self.plan))

    def count_due(self, trials: list[FrozenTrial]) -> int:
        """Returns how many trainings are due; counts anew only where a trial or a part of the course came or ended.

        It costs much.
        """
        ended = sum(trial.state.is_finished() for trial in trials)
        counted_from = len(trials), ended, bool(self.end_reason), self.race_is_over
        if counted_from != self.due_after:
            self.due = len(find_due(self.study, trials, self.plan, int(self.options.workers)))
            self.due_after = counted_from
        return self.due

    def start_workers(self, waiting: int, running: int) -> None:
        """Starts workers for the trials that wait, until the time is up.

        Args:
            waiting: Trials that wait, or are to be enqueued.
            running: Trials that run, on this machine or others.
        """
        if time.monotonic() >= self.until:
            return
        count = workers_to_start(int(self.options.workers), len(self.workers), waiting, running)
        for _ in range(count):
            self.workers.append(self.spawn(self.options, self.study.study_name, self.until))

    def find_outcome(self, running: int) -> str:
        """Returns why the study ended, nothing while it goes on.

        Args:
            running: Trials that run, on this machine or others.
        """
        if self.workers or running:
            return ""
        if not self.left:
            if self.end_reason:
                return self.end_reason
            if len(on_first_rung(self.ended_trials)) >= self.options.wanted:
                return "done"
        if time.monotonic() >= self.until:
            return f"stopped by --timeout {self.options.timeout:g}, before the last trainings that were due"
        return ""


def workers_to_start(limit: int, workers: int, waiting: int, running: int) -> int:
    """Returns how many workers to start, so that there are never more than trials for them.

    Args:
        limit: How many there may be.
        workers: How many there are, those that have not begun a trial yet included.
        waiting: Trials that wait.
        running: Trials that run, on this machine or others.
    """
    about_to_claim = max(0, workers - running)
    return max(0, min(limit - workers, waiting - about_to_claim))


def with_fewer(
    study: optuna.Study, options: StudyOptions, workers: list[Worker], progress: Progress
) -> tuple[StudyOptions, list[Worker]]:
    """Halves the number of workers, because the device they share had too little memory; no trial is lost by it.

    Args:
        study: The study.
        options: Its options, with the number of workers so far.
        workers: The workers.
        progress: Tells the user.

    Returns:
        The options with the new number, and the workers that go on.
    """
    half = int(options.workers) // 2
    progress.warn(f"the device's memory does not suffice for {options.workers} workers; it goes on with {half}")
    _stop(study, workers[half:])
    return dataclasses.replace(options, workers=str(half)), workers[:half]


def order_by_end(before: list[FrozenTrial], ended: list[FrozenTrial]) -> list[FrozenTrial]:
    """Returns ended trials, those that were seen before first."""
    seen = {trial.number for trial in before}
    return [*before, *(trial for trial in ended if trial.number not in seen)]


def _stop(study: optuna.Study, workers: list[Worker]) -> None:
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
