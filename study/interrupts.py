"""Ctrl-C in a command: in order from the first import to the last line, never a traceback.

The first is answered at once and ends the work in order; the second ends the process. Imports next to nothing beyond
what every Python has loaded, since Ctrl-C may come meanwhile.
"""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from study.exit_code import ExitCode

AGAIN_SECONDS = 0.05
"""After which a Ctrl-C that came inside a finaliser is repeated."""
ONE_PRESS_SECONDS = 0.3
"""Within which a second signal is the same Ctrl-C: a launcher may pass on what reached the whole group of processes."""
SHOW_CURSOR = b"\x1b[?25h\n"
"""What a terminal needs whose live display was not taken away."""


class Interruptions:
    """What Ctrl-C means at the moment.

    Attributes:
        count: How often it was pressed.
        raises: Whether it raises KeyboardInterrupt, so that `study.cli.run_command` ends the work in order; else it
            ends the process.
        announce: Says at once what happens now; None where the end is near enough.
        pressed: When it was pressed last, on the monotonic clock.
        is_repeated: Whether the next signal repeats one that a finaliser swallowed.
        is_held: Whether what is done now is done to its end first.
        is_pending: Whether it was pressed meanwhile.
    """

    count = 0
    raises = False
    announce: Callable[[], None] | None = None
    pressed = 0.0
    is_repeated = False
    is_held = False
    is_pending = False


class uninterrupted:  # read as a word: `with uninterrupted():`
    """Does something short, such as printing, to its end before Ctrl-C raises KeyboardInterrupt; in the main thread.

    What was half printed would be printed again later.
    """

    def __enter__(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        self.holds = is_main and not Interruptions.is_held
        if self.holds:
            Interruptions.is_held = True

    def __exit__(self, *_: object) -> None:
        if not self.holds:
            return
        Interruptions.is_held = False
        if Interruptions.is_pending:
            Interruptions.is_pending = False
            raise KeyboardInterrupt


def handle_interrupts() -> None:
    """Handles Ctrl-C in this process from now on."""
    # A shell that starts a command in the background has Ctrl-C ignored: that stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_interrupt)
        sys.unraisablehook = _on_unraisable
        sys.excepthook = _on_exception


def ignore_interrupts() -> None:
    """Makes Ctrl-C mean nothing any more: the exit code is settled."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A Ctrl-C that came while an extension module evaluated source text, as some do while they are imported, is noted
    # by Python, which at its end kills itself by the signal. Evaluating any text takes the note back.
    eval("0")


def _on_interrupt(*_: object) -> None:
    """Raises KeyboardInterrupt while a command works; ends the process while modules are read, or after the end."""
    if Interruptions.is_repeated:
        Interruptions.is_repeated = False
        if Interruptions.raises:
            raise KeyboardInterrupt

    # One press may arrive twice.
    now = time.monotonic()
    if Interruptions.count and now - Interruptions.pressed < ONE_PRESS_SECONDS:
        return
    Interruptions.pressed = now
    Interruptions.count += 1

    if Interruptions.count > 1:
        _end_at_once()
    if Interruptions.raises:
        if Interruptions.announce is not None:
            Interruptions.announce()
        if Interruptions.is_held:
            Interruptions.is_pending = True
            return
        raise KeyboardInterrupt
    os.write(2, b"interrupted\n")
    os._exit(ExitCode.INTERRUPTED)


def _end_at_once() -> None:
    """Ends the process, and with it those that it started, which end with their parent."""
    if os.isatty(1):
        os.write(1, SHOW_CURSOR)
    os.write(2, b"interrupted again: ended at once\n")
    os._exit(ExitCode.INTERRUPTED)


def _on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeats a Ctrl-C that came inside a finaliser, where Python would print and ignore it."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    if not Interruptions.raises:
        os._exit(ExitCode.INTERRUPTED)

    Interruptions.is_repeated = True
    threading.Timer(AGAIN_SECONDS, _thread.interrupt_main).start()


def _on_exception(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Ends the process where a Ctrl-C comes between two lines of its end."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)  # type: ignore[arg-type]
        return
    os._exit(ExitCode.INTERRUPTED)
