"""What a command shows while it runs: a live display on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

from optuna.trial import FrozenTrial
from rich.console import Console, RenderableType

from fer.errors import printable
from study.cli import command_line
from study.command_lines import break_command
from study.execution.live_display import LiveDisplay
from study.execution.phase import Phase, clock, describe_head, describe_phase
from study.execution.search_state import (
    SEARCH,
    Baseline,
    Front,
    count_part,
    describe_baseline,
    describe_best,
    describe_course,
    describe_ends,
    describe_front,
    describe_rungs,
    describe_worker,
    measure_front,
    part_of,
)
from study.execution.time_left import Course, OpenTrial, seconds_of, work_left
from study.interrupts import Interruptions, uninterrupted
from study.record import StudyRecord
from study.reporting.wording import count_of
from study.tuning.plan import SearchPlan

PLAIN_EVERY = 15.0
"""Seconds between two plain lines, at first."""
PLAIN_LONGEST = 300.0
"""Seconds between two plain lines, at most: the log of a night should be read in a minute."""
PLAIN_SHARE = 0.05
"""Of a phase's time so far, after which the next plain line comes."""
MEASURING_SHARE = 0.2
"""Of the time, at most, that measuring the front and the time left may take."""
LONGEST_TELLING = 2.0
"""Seconds that an answer to Ctrl-C may take to be drawn; a terminal that takes longer has stopped its output."""
AFTER_SEARCH = "workers stop and the report is written"
"""What Ctrl-C does to a search."""
AFTER_ANYTHING = "it ends in order"
"""What Ctrl-C does where nothing takes long."""


class Progress:
    """Prints messages, and shows the phase that a command is at.

    Attributes:
        part: Which of several searches this is, before the name of each phase; empty for the only one.
        reference: Source and target accuracy from which the hypervolume is measured; None for the plan's.
        report_command: What shows the results that are there; empty while there are none.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, emoji=False)
        # Rich takes a pipe for a terminal where colours are forced; a display in place needs a real one.
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        self.is_live = is_terminal and self.console.is_terminal and not self.console.is_dumb_terminal
        self.live: LiveDisplay | None = None
        self.part = ""
        self.report_command = ""

        # What is shown at the moment, and what was said of it.
        self.phase_now: Phase | None = None
        self.printed = 0.0
        self.interrupts_before = 0
        self._drawing = threading.Lock()
        self._teller: threading.Thread | None = None
        Interruptions.announce = self.announce

        # The search, on the monotonic clock.
        self.reference: tuple[float, float] | None = None
        self.baseline = Baseline()
        self.total = 0
        self.plan = SearchPlan()
        self.before: set[int] = set()
        self.until: float | None = None
        self.afterwards = 0.0
        self.first_seen: dict[int, float] = {}
        self.work_began: float | None = None
        self.front = Front()
        self.course: Course | None = None
        self.shown_after = (-1, -1)
        self.measured_at = 0.0
        self.measuring_took = 0.0
        self._phases = contextlib.ExitStack()

    # Messages.

    def say(self, text: str) -> None:
        """Prints a line, in which nothing is left that a terminal obeys; a terminal breaks it between words."""
        self._print(printable(text))

    def warn(self, text: str) -> None:
        """Prints a line that should not be missed."""
        self._print(f"warning: {printable(text)}", style="bold yellow")

    def show(self, thing: RenderableType) -> None:
        """Prints anything that rich can draw."""
        with uninterrupted():
            self.console.print(thing)

    def show_command(self, line: str) -> None:
        """Prints a command so that it can be copied: on a terminal that it is too long for, with continuation lines."""
        width = self.console.width if self.console.is_terminal else sys.maxsize
        with uninterrupted():
            for part in break_command(printable(line), width):
                self.console.print(part, markup=False, soft_wrap=True)

    def _print(self, text: str, style: str | None = None) -> None:
        with uninterrupted():
            self.console.print(text, style=style, markup=False, soft_wrap=not self.console.is_terminal)

    # Phases.

    @contextlib.contextmanager
    def phase(self, phase: Phase) -> Iterator[Phase]:
        """Shows a phase while something is done, live on a terminal.

        Args:
            phase: What is done; the caller changes it as it goes on.
        """
        if self.part:
            phase.title = f"{self.part}, {phase.title}"
        self.printed = time.monotonic()
        self.interrupts_before = Interruptions.count
        self.phase_now = phase
        try:
            self._begin_phase(phase)
            yield phase
        finally:
            with uninterrupted():
                self._stop_display()
                self.phase_now = None
            if self._teller is not None:
                self._teller.join(LONGEST_TELLING)

    def tell_state(self) -> None:
        """Says where there is no display how far the phase is, now and then; the more rarely, the longer it takes."""
        phase = self.phase_now
        if self.is_live or phase is None or self._is_interrupted():
            return
        pause = min(PLAIN_LONGEST, max(PLAIN_EVERY, PLAIN_SHARE * phase.elapsed))
        if time.monotonic() - self.printed > pause:
            self.printed = time.monotonic()
            self.say(describe_phase(phase))

    def _begin_phase(self, phase: Phase) -> None:
        """Shows that a phase has begun: by the display, or by a line where there is none."""
        if not self.is_live:
            if not self._is_interrupted():
                self.say(describe_head(phase))
            return
        with uninterrupted(), self._drawing:
            if self.live is None and not self._is_interrupted():
                self.live = LiveDisplay(self.console, phase)
                self.live.start(refresh=True)

    def _is_interrupted(self) -> bool:
        """Returns whether Ctrl-C came since the phase began; what is written after it is shown as any phase is."""
        return Interruptions.count > self.interrupts_before

    def _stop_display(self) -> None:
        with self._drawing:
            live, self.live = self.live, None
            if live is not None:
                try:
                    live.stop()
                finally:
                    self.console.show_cursor(True)

    # Ctrl-C.

    def announce(self) -> None:
        """Says at once what Ctrl-C does; called by the handler of the signal, between any two steps of this thread."""
        text = self.describe_interrupt()
        if self.live is None:
            os.write(2, f"\n{text}\n".encode(errors="replace"))
            return

        # This thread may be in the middle of printing, so another takes the display away.
        def tell() -> None:
            self._stop_display()
            self._print(text)

        self._teller = threading.Thread(target=tell, daemon=True)
        self._teller.start()

    def describe_interrupt(self) -> str:
        """Returns what happens after Ctrl-C, and what goes on or can be looked at."""
        phase = self.phase_now
        happens = AFTER_ANYTHING if phase is None else phase.after_interrupt
        words = f"interrupted: {happens}; the same command goes on (Ctrl-C again ends at once)."
        return f"{words} What is there: {self.report_command}" if self.report_command else words

    # The search.

    def know(self, record: StudyRecord, report_command: list[str]) -> None:
        """Takes over what a study's record says of its baseline.

        Args:
            record: The study's record, with its baseline.
            report_command: The arguments of `study.report` for this study.
        """
        self.baseline = Baseline.of(record)
        self.report_command = command_line("study.report", report_command)

    def begin(
        self,
        total: int,
        before: set[int],
        plan: SearchPlan | None = None,
        timeout: float | None = None,
        afterwards: float = 0.0,
    ) -> None:
        """Starts the clock of a search.

        Args:
            total: How many configurations the study is to try.
            before: Numbers of the trials that have ended already.
            plan: The course of the study's search.
            timeout: Seconds after which no trial starts; None for no limit.
            afterwards: Seconds that the report takes after it.
        """
        self.total = total
        self.afterwards = afterwards
        self.plan = plan or SearchPlan()
        self.before = before
        self.until = None if timeout is None else time.monotonic() + timeout
        self.first_seen = {}
        self.work_began = None
        self.front = Front()
        self.course = None
        self.shown_after = (-1, -1)

    def __enter__(self) -> "Progress":
        self._phases = contextlib.ExitStack()
        counted = f"{count_of(self.total, 'configuration')} to try" if self.total else ""
        phase = Phase(SEARCH, counted=counted, after_interrupt=AFTER_SEARCH, included="the report")
        self._phases.enter_context(self.phase(phase))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        took = clock(self.phase_now.elapsed) if self.phase_now else ""
        self._phases.close()
        if kind is None and self.course is not None:
            self.say(f"{describe_course(self.course)}; training took {took}")

    def update(
        self,
        ended: Sequence[FrozenTrial],
        trials: Sequence[FrozenTrial] = (),
        search_is_over: bool = False,
        race_is_over: bool = False,
    ) -> None:
        """Shows the state of the search.

        Args:
            ended: The trials that count, in the order in which they ended.
            trials: All trials.
            search_is_over: Whether nothing is tried or promoted any more.
            race_is_over: Whether the race's time is up.
        """
        phase = self.phase_now
        if phase is None:
            return
        course = self._course_of(ended, trials, search_is_over, race_is_over)
        self.course = course
        running = [each for each in course.open_trials if each.trial.state.name == "RUNNING"]
        phase.workers = [describe_worker(each.trial, clock(each.seconds)) for each in running]

        # Anew where a trial has begun or ended: this is asked for several times in a second.
        counts = len(ended), len(course.open_trials)
        is_due = time.monotonic() - self.measured_at > self.measuring_took / MEASURING_SHARE
        if counts != self.shown_after and is_due:
            self.shown_after = counts
            self._measure(phase, course)
        self.tell_state()

    def _course_of(
        self, ended: Sequence[FrozenTrial], trials: Sequence[FrozenTrial], search_is_over: bool, race_is_over: bool
    ) -> Course:
        """Returns how far the study is, with how long each trial has run since it was first seen to."""
        now = time.monotonic()
        open_trials = []
        for trial in trials:
            if trial.state.is_finished():
                continue
            began = now
            if trial.state.name == "RUNNING":
                # By this machine's clock: those of several are never compared.
                began = self.first_seen.setdefault(trial.number, now)
                self.work_began = self.work_began or now
            open_trials.append(OpenTrial(trial, now - began))
        return Course(ended, open_trials, self.total, self.plan, self.front.recipes, search_is_over, race_is_over)

    def _measure(self, phase: Phase, course: Course) -> None:
        """Puts into words how far the search is, and how long it still takes."""
        began = time.monotonic()
        self.front = measure_front(course.ended, self.plan, self.baseline, self.reference)
        part = part_of(course)
        phase.title = f"{self.part}, {part}" if self.part else part
        phase.done, phase.total, phase.counted = count_part(course, part)

        facts = [
            ("baseline", describe_baseline(self.baseline)),
            ("best so far", describe_best(self.front.best, self.baseline) if self.front.size else ""),
            ("hypervolume", describe_front(self.front) if self.front.size else ""),
            ("rungs", describe_rungs(course) if self.plan.rungs > 1 else ""),
            ("trainings", describe_ends(course.ended)),
        ]
        phase.facts = [(word, text) for word, text in facts if text]
        phase.expect(self._estimate_left(course))
        self.measured_at = time.monotonic()
        self.measuring_took = self.measured_at - began

    def _estimate_left(self, course: Course) -> float | None:
        """Returns the seconds that are left, by how many workers have worked at a time; None where nothing tells."""
        work = work_left(course)
        if work is None or self.work_began is None:
            return None
        busy = sum(each.seconds for each in course.open_trials)
        busy += sum(seconds_of(trial) for trial in course.ended if trial.number not in self.before)
        elapsed = time.monotonic() - self.work_began
        if not busy or not elapsed:
            return None
        left = work * elapsed / busy
        if self.until is not None:
            left = min(left, max(0.0, self.until - time.monotonic()))
        return left + self.afterwards
