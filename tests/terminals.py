"""Terminals of any size that show what a program draws, as a user would see it."""

import contextlib
import fcntl
import io
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte
from rich.console import Console

from commands import ROOT, VARIABLES

COLUMNS, ROWS = 80, 24


class DrawnTerminal(io.StringIO):
    """A terminal within the test's process, to be written to.

    Attributes:
        screen: What it shows.
        written: All that was written.
    """

    def __init__(self, columns: int = COLUMNS, rows: int = ROWS) -> None:
        super().__init__()
        self.screen = pyte.Screen(columns, rows)
        self.written = ""
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str) -> int:
        self.written += text
        self._stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    def isatty(self) -> bool:
        return True

    def console(self) -> Console:
        """Returns a console that draws on it."""
        return Console(
            file=self, force_terminal=True, width=self.screen.columns, height=self.screen.lines, highlight=False
        )


def lines_of(screen: pyte.Screen) -> list[str]:
    """Returns the lines of a screen without the empty ones at its end."""
    return "\n".join(line.rstrip() for line in screen.display).rstrip().splitlines()


class TerminalProcess:
    """A process in a terminal.

    Args:
        words: Its command line, after the name of this Python.
        environment: What its environment has besides, or instead.
        folder: Where it starts.

    Attributes:
        screen: What its terminal shows.
        written: All that it wrote.
        shots: The screen at each change, as lines.
    """

    def __init__(self, words: list[str], environment: dict[str, str], folder: Path, rows: int = ROWS) -> None:
        self.screen = pyte.HistoryScreen(COLUMNS, rows, history=5000)
        self.written = b""
        self.shots: list[list[str]] = []
        self._stream = pyte.ByteStream(self.screen)
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            dropped = {*VARIABLES, "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
            inherited = {name: value for name, value in os.environ.items() if name not in dropped}
            paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
            defaults = {"TERM": "xterm-256color", "PYTHONPATH": paths}
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, *words], inherited | defaults | environment)
        self.resize(COLUMNS, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Changes the terminal's size, as a user does who drags its corner."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """Types keys."""
        os.write(self._terminal, keys)

    def wait_for(self, condition: Callable[[list[str]], bool], seconds: float = 60) -> float:
        """Reads what the process writes until its screen fulfils a condition; returns the seconds that it took."""
        began = time.monotonic()
        while not condition(lines_of(self.screen)):
            assert time.monotonic() - began < seconds, "\n".join(lines_of(self.screen))
            assert self._read(), "the process ended:\n" + "\n".join(lines_of(self.screen))
        return time.monotonic() - began

    def end(self, seconds: float = 60) -> int:
        """Reads until the process ends; returns its exit code."""
        deadline = time.monotonic() + seconds
        while self._read():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(status)

    def all_lines(self) -> list[str]:
        """Returns the lines that scrolled away and those on the screen."""
        above = ["".join(line[column].data for column in range(COLUMNS)).rstrip() for line in self.screen.history.top]
        return above + lines_of(self.screen)

    def _read(self) -> bool:
        """Reads what there is; returns False once the process has ended."""
        ready, _, _ = select.select([self._terminal], [], [], 0.05)
        if not ready:
            return True
        with contextlib.suppress(OSError):
            content = os.read(self._terminal, 65536)
            self.written += content
            self._stream.feed(content)
            lines = lines_of(self.screen)
            if not self.shots or self.shots[-1] != lines:
                self.shots.append(lines)
            return bool(content)
        return False
