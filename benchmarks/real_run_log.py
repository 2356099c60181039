"""What a measurement that may be cut off has taken so far: its time, and the code that it was measured with.

Contenders are compared by processor time, which other work on the same machine hardly changes.
"""

import json
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.checking import ROOT, code_in_use
from benchmarks.real_outcomes import write_json
from study.exit_code import ExitCode

SAVED_EVERY = 5.0
"""Seconds after which the time of a running command is kept again, so that a crash costs no more."""

ENDS_WITHIN = 20.0
"""Seconds that an interrupted command is given."""


@dataclass
class RunLog:
    """The log of one measurement, kept in a file.

    Attributes:
        file: Where it is kept.
        seconds: Wall time of all sessions.
        processor_seconds: Time on processors of the command and of all processes that it started, in all sessions.
        code: Hashes of the project's code, one for each that a session began with.
        commits: The same as commits.
        is_complete: Whether the measurement came to its end.
    """

    file: Path
    seconds: float = 0.0
    processor_seconds: float = 0.0
    code: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    is_complete: bool = False

    @classmethod
    def open(cls, file: Path, commit: str = "") -> Self:
        """Opens the log of a measurement that begins, goes on, or came to its end before.

        Args:
            file: Where it is kept.
            commit: The commit whose code is measured; "" is the present code.
        """
        file.parent.mkdir(parents=True, exist_ok=True)
        stored: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        log = cls(file, **stored)
        if not log.is_complete:
            log.note_code(commit or code_in_use(), commit or commit_in_use())
        return log

    def note_code(self, code: str, commit: str) -> None:
        """Adds the code of this session, where it is not what the measurement was begun with."""
        if code not in self.code:
            self.code.append(code)
        if commit not in self.commits:
            self.commits.append(commit)

    def save(self) -> None:
        """Keeps the log in its file."""
        content = asdict(self)
        del content["file"]
        write_json(self.file, content)

    def complete(self) -> None:
        """Notes that the measurement has come to its end."""
        self.is_complete = True
        self.save()

    def run(
        self, words: list[str], process: dict[str, Any], output: Path | None = None, limit: float | None = None
    ) -> None:
        """Runs this Python with some words, and counts its time.

        Args:
            words: What follows Python's own name.
            process: Environment and folder, see `benchmarks.processes.plain`.
            output: A file to which its standard output is added; None hides it.
            limit: Seconds on processors, of all sessions, after which the command is interrupted as by Ctrl-C.

        Raises:
            SystemExit: The command failed; its messages are on standard error.
        """
        stopwatch = Stopwatch(self.seconds, self.processor_seconds)
        with (output or Path("/dev/null")).open("a") as stream:
            running = subprocess.Popen([sys.executable, *words], **process, stdout=stream)
            try:
                code = self._wait(running, stopwatch, limit)
            except KeyboardInterrupt:
                end_in_order(running)
                raise
        is_over = limit is not None and self.processor_seconds >= limit
        if code != 0 and not (is_over and code == ExitCode.INTERRUPTED):
            raise SystemExit(f"exit code {code}: {' '.join(words)}")

    def _wait(self, running: "subprocess.Popen[bytes]", stopwatch: "Stopwatch", limit: float | None) -> int:
        """Waits for a command, keeping its time now and then; returns its exit code."""
        is_interrupted = False
        while True:
            try:
                code = running.wait(SAVED_EVERY)
            except subprocess.TimeoutExpired:
                code = None
            self.seconds = round(stopwatch.seconds, 1)
            self.processor_seconds = round(stopwatch.processor_seconds(running.pid), 1)
            self.save()
            if code is not None:
                return code
            if limit is not None and self.processor_seconds >= limit and not is_interrupted:
                is_interrupted = True
                running.send_signal(signal.SIGINT)


class Stopwatch:
    """Counts the time of one session on top of the earlier ones'.

    Args:
        seconds: Wall time so far.
        processor_seconds: Time on processors so far.
    """

    def __init__(self, seconds: float, processor_seconds: float) -> None:
        self._started = time.monotonic() - seconds
        self._processor_seconds_before = processor_seconds
        self._processor_seconds = 0.0
        self._reaped_before = processor_seconds_of_reaped()

    @property
    def seconds(self) -> float:
        """Wall time until now."""
        return time.monotonic() - self._started

    def processor_seconds(self, pid: int) -> float:
        """Returns the time on processors of a child of this process and of its descendants, also after their end."""
        of_reaped = processor_seconds_of_reaped() - self._reaped_before
        of_living = 0.0
        with suppress(psutil.NoSuchProcess):
            of_living = processor_seconds_of_tree(psutil.Process(pid))
        self._processor_seconds = max(self._processor_seconds, of_reaped, of_living)
        return self._processor_seconds_before + self._processor_seconds


def processor_seconds_of_reaped() -> float:
    """Returns the time on processors of all children of this process that have ended, with their descendants."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def processor_seconds_of_tree(process: psutil.Process) -> float:
    """Returns the time on processors of a process and all its descendants, those that have ended included."""
    total = 0.0
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def end_in_order(running: "subprocess.Popen[bytes]") -> None:
    """Waits for the end of a command that Ctrl-C has reached as well; one that does not end is asked to."""
    try:
        running.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        running.terminate()
        running.wait()


def commit_in_use() -> str:
    """Returns the commit of the project's files, with a plus sign where they differ from it; "" without git."""
    try:
        commit = git("rev-parse", "--short=12", "HEAD").strip()
        changes = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}+" if changes else commit


def git(*words: str) -> str:
    """Returns what a git command prints in the project's folder."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
