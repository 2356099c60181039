"""Long work on many images: that it begins and how far it is, told where it is done, shown by whoever watches."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

OnProgress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""

_watcher: ContextVar[OnProgress | None] = ContextVar("watcher", default=None)
_step: ContextVar[str] = ContextVar("step", default="")
_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def watching(on_progress: OnProgress) -> Iterator[None]:
    """Lets a function be told how far the work is that this thread does meanwhile.

    Args:
        on_progress: Called often, so it returns at once.
    """
    token = _watcher.set(on_progress)
    try:
        yield
    finally:
        _watcher.reset(token)


def tell_progress(done: int, total: int) -> None:
    """Tells whoever watches how far the work is.

    Args:
        done: How much is done.
        total: How much there is to do.
    """
    on_progress = _watcher.get()
    if on_progress is not None:
        on_progress(done, total)


@contextlib.contextmanager
def step(done_to: str) -> Iterator[None]:
    """Names what is done meanwhile where work has several steps, each counted from 0 on.

    Args:
        done_to: What is done to what is counted: "compared", "written".
    """
    token = _step.set(done_to)
    try:
        yield
    finally:
        _step.reset(token)


def current_step() -> str:
    """Returns what `step` names, "" outside of all steps; for whoever watches, while it is told."""
    return _step.get()


@contextlib.contextmanager
def listening(on_long_work: Callable[[str], None]) -> Iterator[None]:
    """Lets a function be told of long work that this thread begins meanwhile.

    Args:
        on_long_work: Called with what is done, how much of it and how long it takes, in words.
    """
    token = _listener.set(on_long_work)
    try:
        yield
    finally:
        _listener.reset(token)


class Announcement:
    """Tells whoever listens of work that turns out to be long, once, when its first part has shown how long.

    Args:
        words: What is done, and how much of it: "the Fisher information of 512 images".
    """

    LEAST_SPENT = 2.0
    """Seconds of the work after which it is known how long it takes."""
    LEAST_TOLD = 10.0
    """Seconds of the whole work below which nobody is told."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.started = time.monotonic()
        self.is_told = False

    def __call__(self, done: int, total: int) -> None:
        """Takes how much is done, and of how much."""
        on_long_work = _listener.get()
        spent = time.monotonic() - self.started
        if on_long_work is None or self.is_told or done == 0 or spent < self.LEAST_SPENT:
            return
        self.is_told = True
        expected = spent * total / done
        if expected >= self.LEAST_TOLD:
            on_long_work(f"{self.words} takes about {max(1, round(expected / 60))} min")
