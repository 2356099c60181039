"""Ctrl-C in a command: in order from the first import to the last line, never a traceback.

Imports next to nothing beyond what every Python has loaded, since Ctrl-C may come meanwhile.
"""

import _thread
import os
import signal
import sys
import threading

from study.exit_code import ExitCode

AGAIN_SECONDS = 0.05
"""After which a Ctrl-C that came inside a finaliser is repeated."""


class Interruptions:
    """What Ctrl-C means at the moment.

    Attributes:
        count: How often it was pressed.
        raises: Whether it raises KeyboardInterrupt, so that `study.cli.run_command` ends the work in order; else it
            ends the process.
    """

    count = 0
    raises = False


def handle_interrupts() -> None:
    """Handles Ctrl-C in this process from now on."""
    # A shell that starts a command in the background has Ctrl-C ignored: that stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _on_interrupt)
        sys.unraisablehook = _on_unraisable
        sys.excepthook = _on_exception


def _on_interrupt(*_: object) -> None:
    """Raises KeyboardInterrupt while a command works; ends the process while modules are read, or after the end."""
    Interruptions.count += 1
    if Interruptions.raises:
        raise KeyboardInterrupt
    if Interruptions.count == 1:
        os.write(2, b"interrupted\n")
    os._exit(ExitCode.INTERRUPTED)


def _on_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Repeats a Ctrl-C that came inside a finaliser, where Python would print and ignore it."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    if not Interruptions.raises:
        os._exit(ExitCode.INTERRUPTED)

    threading.Timer(AGAIN_SECONDS, _thread.interrupt_main).start()


def _on_exception(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Ends the process where a Ctrl-C comes between two lines of its end."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)  # type: ignore[arg-type]
        return
    os._exit(ExitCode.INTERRUPTED)
