"""Processes of a confirmation and how they talk with their parent: JSON lines on standard input and output.

A process reads its assignment as one line. It prints messages, among them {"error": [...]} or {"stuck": "..."} where it
cannot go on.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from fer.errors import InputError
from study.cli import leave
from study.execution.parent_messages import messages_in, send
from study.exit_code import ExitCode
from study.machine import exit_with_parent, is_out_of_memory, worker_environment
from study.redaction import one_line

# The parent's side.


def start_child(module: str, assignment: Mapping[str, Any]) -> subprocess.Popen:
    """Starts a process and sends it its assignment, by a pipe: a record has no largest size, a command line has.

    Args:
        module: Which ends in `run_child`.
        assignment: What the process is to do.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=worker_environment(),
        start_new_session=True,
    )
    write_line(process, assignment)
    return process


def write_line(process: subprocess.Popen, message: Mapping[str, Any]) -> None:
    """Writes a JSON line to a process; one that has ended says why itself."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()


def read_messages(process: subprocess.Popen) -> Iterator[dict[str, Any]]:
    """Yields what a process sends, until it ends."""
    assert process.stdout is not None
    yield from messages_in(process.stdout)


def error_of(message: Mapping[str, Any] | None, process: subprocess.Popen) -> Exception:
    """Returns the error with which a process ended.

    Args:
        message: What the process sent last: an error that the user can mend ("error"), one of the machine, such as a
            full disk ("stuck"), or anything else.
        process: The process.
    """
    if message is not None and "error" in message:
        return InputError(*message["error"])
    if message is not None and "stuck" in message:
        return RuntimeError(f"{message['stuck']}. Mended, the same command goes on")
    return RuntimeError(
        f"a process of the confirmation ended with code {process.wait()}; its messages are above, and the same command "
        "goes on"
    )


# The process's side.


def run_child(work: Callable[[Any], None]) -> NoReturn:
    """Does what standard input assigns, and ends the process; it ends with its parent.

    Args:
        work: Does it, given the assignment as it was sent.
    """
    exit_with_parent(os.getppid())
    leave(_exit_code_of(work))


def _exit_code_of(work: Callable[[Any], None]) -> int:
    """Does what standard input assigns; returns the exit code."""
    try:
        work(json.loads(sys.stdin.readline()))
    except InputError as error:
        send({"error": [error.rule, str(error.value), error.fix]})
        return ExitCode.WRONG_USE
    except Exception as error:
        if not (isinstance(error, OSError) or is_out_of_memory(error)):
            raise
        send({"stuck": one_line(error)})
        return ExitCode.STUCK
    return ExitCode.DONE
