"""What a measurement that may be cut off has taken so far: wall time, and the code that it was measured with."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from benchmarks.checking import ROOT, code_in_use
from benchmarks.real_outcomes import write_json

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
        code: Hashes of the project's code, one for each that a session began with.
        commits: The same as commits.
        is_complete: Whether the measurement came to its end.
    """

    file: Path
    seconds: float = 0.0
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

    def run(self, words: list[str], process: dict[str, Any], output: Path | None = None) -> None:
        """Runs this Python with some words, and counts its wall time.

        Args:
            words: What follows Python's own name.
            process: Environment and folder, see `benchmarks.processes.plain`.
            output: A file to which its standard output is added; None hides it.

        Raises:
            SystemExit: The command failed; its messages are on standard error.
        """
        before = self.seconds
        started = time.monotonic()
        with (output or Path("/dev/null")).open("a") as stream:
            running = subprocess.Popen([sys.executable, *words], **process, stdout=stream)
            try:
                code = self._wait(running, before, started)
            except KeyboardInterrupt:
                end_in_order(running)
                raise
        if code != 0:
            raise SystemExit(f"exit code {code}: {' '.join(words)}")

    def _wait(self, running: "subprocess.Popen[bytes]", before: float, started: float) -> int:
        """Waits for a command, keeping its time now and then; returns its exit code."""
        while True:
            try:
                code = running.wait(SAVED_EVERY)
            except subprocess.TimeoutExpired:
                code = None
            self.seconds = round(before + time.monotonic() - started, 1)
            self.save()
            if code is not None:
                return code


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
