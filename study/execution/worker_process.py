"""A worker as its study's parent sees it, and workers that are processes of this machine."""

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from study.cli import ERROR, tell
from study.machine import exit_text, worker_environment
from study.options import StudyOptions

LONGEST_REMAINDER = 2.0
"""Seconds to wait for the rest of what an ended worker wrote; a process that it left may hold the pipe."""


class Worker(Protocol):
    """What is asked of a worker, a process here or a task elsewhere; as of `subprocess.Popen`.

    A worker that tells why it ended has the text in an attribute `reason`.
    """

    def poll(self) -> int | None:
        """Returns its exit code, None while it works."""

    def terminate(self) -> None:
        """Asks it to end in order."""

    def kill(self) -> None:
        """Ends it at once."""

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end; raises subprocess.TimeoutExpired."""


Spawn = Callable[[StudyOptions, str, float], Worker]
"""Starts a worker, given the study's options, its name, and when to end, on the monotonic clock."""


def reason_of(worker: Worker) -> str:
    """Returns why a worker ended, as it told or as its exit code says."""
    return getattr(worker, "reason", "") or f"its process {exit_text(worker.poll() or 0)}"


def spawn_worker(options: StudyOptions, name: str, until: float, threads: int = 1) -> Worker:
    """Starts one worker process."""
    command = [sys.executable, "-m", "study.worker", "--study", name, "--out", options.out]
    command += ["--parent", str(os.getpid()), "--threads", str(threads)]
    if math.isfinite(until):
        command += ["--until", str(until)]
    if options.data:
        command += ["--data", options.data]
    if int(options.workers) > 1:
        command += ["--beside"]
    return start_worker_process(command, options.storage)


def start_worker_process(command: list[str], storage: str | None) -> "WorkerProcess":
    """Starts a command with a worker's environment; the storage's URL, which may hold a password, is part of that."""
    environment = worker_environment()
    if storage:
        environment = environment | {"STUDY_STORAGE": storage}
    return WorkerProcess(command, environment)


class WorkerProcess(subprocess.Popen):
    """A worker on this machine. What it prints is passed on, but for its error, which the parent prints once for all.

    Args:
        command: The words of its command line.
        environment: Its environment.

    Attributes:
        reason: The error with which it ended.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        # In a session of its own: Ctrl-C reaches the parent alone, which then ends its workers in order.
        super().__init__(command, env=environment, start_new_session=True, stderr=subprocess.PIPE)
        self.reason = ""
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def poll(self) -> int | None:
        """Returns its exit code once it has ended and all that it printed was read, None before."""
        code = super().poll()
        if code is not None:
            self._listener.join(LONGEST_REMAINDER)
        return code

    def _listen(self) -> None:
        """Passes on what the worker prints, and keeps its error as the reason of its end."""
        assert self.stderr is not None
        for line in self.stderr:
            text = line.decode(errors="backslashreplace").rstrip("\n")
            if text.startswith(ERROR):
                self.reason = text.removeprefix(ERROR)
            else:
                tell(text)
