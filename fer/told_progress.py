"""How far long work on many images is: told where it is done, shown by whoever watches."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

OnProgress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""

_watcher: ContextVar[OnProgress | None] = ContextVar("watcher", default=None)
_step: ContextVar[str] = ContextVar("step", default="")


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
