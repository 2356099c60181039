"""What the main job shows while it runs: a live line on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

import numpy as np
from optuna.trial import FrozenTrial
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from fer.errors import printable
from fer.expressions import CHANCE
from study.pareto import hypervolume, non_dominated
from study.presets import FACTOR
from study.storage.slots import is_of_search, on_first_rung, rung_of
from study.trial_attributes import TrialAttributes
from study.tuning.fold_effects import comparable_vectors
from study.tuning.plan import SearchPlan
from study.tuning.promotion import ETA

PLAIN_EVERY = 15.0
"""Seconds between two plain lines."""


class Progress:
    """Prints messages, and the state of the search in a line that stays or is printed now and then.

    Attributes:
        reference: Source and target accuracy from which the hypervolume is measured; None for chance.
    """

    def __init__(self) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.is_live = self.console.is_terminal
        self.live: Live | None = None
        self.reference: tuple[float, float] | None = None

        # How far the search is, on the monotonic clock.
        self.total = 0
        self.plan = SearchPlan()
        self.ended_before = 0
        self.started = time.monotonic()
        self.printed = self.started
        self.last_line = ""

        # The front, and after how many ended trials it was measured.
        self.front_size = 0
        self.volume = 0.0
        self.measured_after = 0

    def say(self, text: str) -> None:
        """Prints a line, in which nothing is left that a terminal obeys."""
        self.console.print(printable(text), markup=False)

    def warn(self, text: str) -> None:
        """Prints a line that should not be missed."""
        self.console.print(f"warning: {printable(text)}", style="bold yellow", markup=False)

    def show(self, thing: RenderableType) -> None:
        """Prints anything that rich can draw."""
        self.console.print(thing)

    def begin(self, total: int, before: int, plan: SearchPlan | None = None) -> None:
        """Starts the clock of a search.

        Args:
            total: How many configurations the study is to try.
            before: How many trials have ended already.
            plan: The course of the study's search.
        """
        self.total = total
        self.plan = plan or SearchPlan()
        self.ended_before = before
        self.started = time.monotonic()

    def __enter__(self) -> "Progress":
        if self.is_live:
            self.live = Live(console=self.console, refresh_per_second=4, transient=False)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None
        elif kind is None and self.last_line:
            self.say(self.last_line)

    def update(self, ended: list[FrozenTrial]) -> None:
        """Shows the state of the search, given the trials that count."""
        self.last_line = self.line(ended)
        if self.live is not None:
            self.live.update(Text(self.last_line))
        elif time.monotonic() - self.printed > PLAIN_EVERY:
            self.printed = time.monotonic()
            self.say(self.last_line)

    def line(self, ended: list[FrozenTrial]) -> str:
        """Returns the state of the search in words.

        That is finished, stopped and failed trials, size of the front, hypervolume, seconds per trial, time left.

        Args:
            ended: The trials that count.
        """
        # Measured anew where a trial has ended: this is asked for several times in a second.
        if len(ended) != self.measured_after:
            self.front_size, self.volume = self._measure_front(ended)
            self.measured_after = len(ended)

        # With rungs a configuration has several trials.
        states = [trial.state.name for trial in ended]
        tried = on_first_rung(ended)
        raced = [trial for trial in ended if not is_of_search(trial)]
        counted = f"{len(tried)}/{self.total} trials"
        if self.plan.rungs > 1 or raced:
            promotions = len(ended) - len(tried) - len(raced)
            counted = f"{len(tried)}/{self.total} configurations, {promotions} promotions"
        if raced:
            counted += f", {len(raced)} in the race"
        phrases = [
            f"{counted}: {states.count('COMPLETE')} finished, "
            f"{states.count('PRUNED')} stopped, {states.count('FAIL')} failed",
            f"front {self.front_size}",
            f"hypervolume {self.volume:.4f}",
        ]

        # The time that is left, from the pace of this call of the command.
        elapsed = time.monotonic() - self.started
        ended_here = len(ended) - self.ended_before
        if ended_here:
            pace = elapsed / ended_here
            left = pace * trials_left(ended, self.total, self.plan)
            phrases += [f"{pace:.1f} s/trial", f"{clock(left)} left"]
        phrases.append(f"{clock(elapsed)} so far")
        return " · ".join(phrases)

    def _measure_front(self, ended: list[FrozenTrial]) -> tuple[int, float]:
        """Returns size and hypervolume of the front of the search's networks, each without what its fold adds."""
        finished = [trial for trial in ended if trial.state.name == "COMPLETE" and is_of_search(trial)]
        points = []
        for vectors in comparable_vectors(finished, self.plan).values():
            points += vectors
        if not points:
            return 0, 0.0
        return int(non_dominated(points).sum()), hypervolume(points, self.reference or (CHANCE, CHANCE))


def trials_left(ended: list[FrozenTrial], total: int, plan: SearchPlan) -> float:
    """Returns how many trials of the mean duration so far take as long as what is left of a search.

    Args:
        ended: The trials that count.
        total: How many configurations the study is to try.
        plan: The course of the study's search.
    """
    rungs = plan.rungs
    # The mean duration on each rung; where none has ended, a multiple of that on the rung below.
    durations = [0.0]
    for rung in range(1, rungs + 1):
        of_rung = [TrialAttributes.of(trial).seconds for trial in ended if rung_of(trial) == rung]
        seconds = [number for number in of_rung if number is not None]
        durations.append(float(np.mean(seconds)) if seconds else FACTOR * durations[-1])

    # What is left on each rung: of all that are expected there, those that have not ended.
    left = 0.0
    whole = 0.0
    expected = total
    for rung in range(1, rungs + 1):
        ended_here = sum(rung_of(trial) == rung and is_of_search(trial) for trial in ended)
        left += max(0, expected - ended_here) * durations[rung]
        whole += expected * durations[rung]
        expected //= ETA
    left += max(0.0, plan.race_share * whole - sum(_seconds(trial) for trial in ended if not is_of_search(trial)))

    mean = float(np.mean([_seconds(trial) for trial in ended])) if ended else 0.0
    if not mean:
        return float(max(0, total - len(on_first_rung(ended))))
    return left / mean


def _seconds(trial: FrozenTrial) -> float:
    """Returns how long a trial took; 0 where it does not say."""
    return TrialAttributes.of(trial).seconds or 0.0


def clock(seconds: float) -> str:
    """Returns seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}"
