"""A part of a command's work, as far as it is done: what the terminal shows of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field


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
        then: What takes long after it and is not in the time that is left: "the report"; empty where nothing does.
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


def describe_time(phase: Phase) -> str:
    """Returns the time left, if known, and the time so far: "about 24 min left, then the report; 9:52 so far"."""
    so_far = f"{clock(phase.elapsed)} so far"
    left = phase.left
    if left is None:
        return so_far
    text = rough_duration(left)
    if not text.startswith("less"):
        text = f"{'at most' if phase.is_most else 'about'} {text}"
    return f"{text} left, then {phase.then}; {so_far}" if phase.then else f"{text} left, {so_far}"


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
