"""A part of a command's work, as far as it is done: what the terminal shows of it."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from fer.told_progress import current_step, watching

LEAST_SECONDS = 2.0
"""For which something is counted before it tells how long the rest takes."""
LEAST_SHARE = 0.01
"""Of all of it that must be done by then."""


@dataclass
class Phase:
    """A part of a command's work that takes long.

    Attributes:
        title: What is done, in a word or two: "search", "baseline".
        done: How much is done, in the unit of `total`.
        total: How much there is to do; None where that is not known.
        counted: How much is done in words: "84/200 configurations".
        facts: What is known of it, a word and a sentence each.
        workers: What each worker does now, one line each.
        after_interrupt: What Ctrl-C does to it, as the end of a sentence.
        then: What takes long after it and is not in the time that is left; empty where nothing does.
        included: What follows it and is in the time that is left: "the report"; empty where nothing is.
        started: When it began, on the monotonic clock.
        ends: When it is expected to end, on the monotonic clock; None where too little is known.
        is_most: Whether it may end earlier than that.
    """

    title: str
    done: float = 0.0
    total: float | None = None
    counted: str = ""
    facts: Sequence[tuple[str, str]] = ()
    workers: Sequence[str] = ()
    after_interrupt: str = "what was done stays"
    then: str = ""
    included: str = ""
    started: float = field(default_factory=time.monotonic)
    ends: float | None = None
    is_most: bool = False

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds until its expected end; None where too little is known."""
        return None if self.ends is None else max(0.0, self.ends - time.monotonic())

    def expect(self, seconds: float | None, is_most: bool = False) -> None:
        """Sets how long it still takes.

        Args:
            seconds: From now on; None where too little is known.
            is_most: Whether it may take less.
        """
        self.ends = None if seconds is None else time.monotonic() + seconds
        self.is_most = is_most

    def expect_by_share(self, done: float, total: float, since: float, is_most: bool = False) -> None:
        """Sets how long it still takes, by the time that what is done has taken; nothing while that is too little.

        Args:
            done: How much is done.
            total: How much there is to do.
            since: When it was begun, on the monotonic clock.
            is_most: Whether it may take less.
        """
        spent = time.monotonic() - since
        if spent >= LEAST_SECONDS and done >= LEAST_SHARE * total and done > 0:
            self.expect(spent * max(0.0, total - done) / done, is_most)


@contextlib.contextmanager
def counting(phase: Phase, noun: str, tell: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Counts what is told to `fer.told_progress` into a phase, with the time that the rest takes.

    Args:
        phase: Of the work.
        noun: What is counted, as its words end: "images of CK+48".
        tell: Called each time, for where there is no display.
    """
    started = time.monotonic()
    step = ""

    def count(done: int, total: int) -> None:
        nonlocal started, step
        # A step that follows is counted anew, and has a time of its own.
        if current_step() != step:
            step = current_step()
            started = time.monotonic()
            phase.expect(None)

        phase.done = done
        phase.total = total
        phase.counted = f"{done:,}/{total:,} {noun}{step and ' '}{step}"
        phase.expect_by_share(done, total, started)
        tell()

    with watching(count):
        yield


def describe_time(phase: Phase) -> str:
    """Returns the time left, if known, and the time so far: "about 24 min left, then the report; 9:52 so far"."""
    so_far = f"{clock(phase.elapsed)} so far"
    left = phase.left
    if left is None:
        return so_far
    text = describe_estimate(left, phase.is_most)
    left_words = f"{text} left with {phase.included}" if phase.included else f"{text} left"
    return f"{left_words}, then {phase.then}; {so_far}" if phase.then else f"{left_words}, {so_far}"


def describe_head(phase: Phase) -> str:
    """Returns what a phase does, as far as it is counted: "search: 84/200 configurations"."""
    return f"{phase.title}: {phase.counted}" if phase.counted else phase.title


def describe_phase(phase: Phase) -> str:
    """Returns a phase on one line, for output that is no terminal."""
    head = describe_head(phase)
    facts = [f"{word} {text}" for word, text in phase.facts]
    return " · ".join([head, describe_time(phase), *facts])


def clock(seconds: float) -> str:
    """Returns seconds as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}"


def describe_estimate(seconds: float, is_most: bool = False) -> str:
    """Returns how exactly a duration is known: "about 24 min", "at most 24 min", "less than 10 s".

    Args:
        seconds: The duration.
        is_most: Whether it may be less.
    """
    text = rough_duration(seconds)
    if text.startswith("less"):
        return text
    return f"at most {text}" if is_most else f"about {text}"


def rough_duration(seconds: float) -> str:
    """Returns a duration as exactly as an estimate may be taken: "less than 10 s", "40 s", "24 min", "2 h 10 min".

    >>> [rough_duration(seconds) for seconds in (4, 38, 100, 1430, 7800, 260000)]
    ['less than 10 s', '40 s', '2 min', '24 min', '2 h 10 min', '3 days']
    """
    if seconds < 10:
        return "less than 10 s"
    if seconds < 95:
        return f"{round(seconds, -1):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(10 * round(minutes / 10), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours / 24:.0f} days"
