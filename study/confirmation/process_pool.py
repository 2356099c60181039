"""The parent of the processes that train for a confirmation: starts them, and tells them when they may evaluate."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fer.errors import InputError
from study.confirmation.jobs import Confirmation, Training
from study.confirmation.training_process import Assignment
from study.machine import worker_environment

Messages = queue.Queue[tuple[int, dict[str, Any] | None]]
"""The number of a process and what it sent; None where it has ended."""


def train_and_evaluate(
    assignment: Assignment,
    trainings: Sequence[Training],
    workers: int,
    record_evaluation: Callable[[], Confirmation],
) -> Confirmation:
    """Lets processes train their parts, records the evaluation when all are ready, and lets them evaluate.

    Args:
        assignment: What all processes have in common.
        trainings: What there is to do.
        workers: How many processes, no more than trainings.
        record_evaluation: Records that the test images are evaluated, and returns the confirmation; called once.

    Returns:
        The confirmation whose evaluation was recorded.

    Raises:
        InputError: A process found the device, the data or the baseline wrong.
        RuntimeError: A process could not go on.
    """
    messages: Messages = queue.Queue()
    processes: list[subprocess.Popen] = []
    try:
        # Each trains its part.
        for number in range(workers):
            part = replace(assignment, trainings=tuple(trainings[number::workers]))
            processes.append(start_process(part, number, messages))

        # Each is ready, or has ended because it cannot be.
        waiting = set(range(workers))
        while waiting:
            number, message = messages.get()
            if message is None or "ready" not in message:
                raise error_of(message, processes[number])
            waiting.discard(number)

        # From here on the test images are read.
        confirmation = record_evaluation()
        for process in processes:
            write_line(process, confirmation.to_json())

        # Each evaluates, trains what is left of its part and ends.
        running = set(range(workers))
        while running:
            number, message = messages.get()
            if message is not None or processes[number].wait():
                raise error_of(message, processes[number])
            running.discard(number)
        return confirmation
    finally:
        for process in processes:
            process.kill()
            process.wait()


def start_process(assignment: Assignment, number: int, messages: Messages) -> subprocess.Popen:
    """Starts one process and sends it its assignment, by a pipe: a record has no largest size, a command line has.

    Args:
        assignment: Of this process.
        number: Of the process.
        messages: Where what it sends is put, with None at its end.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "study.confirmation.training_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=worker_environment(),
        start_new_session=True,
    )

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with contextlib.suppress(ValueError):  # a line that a library printed
                message = json.loads(line)
                if isinstance(message, dict):
                    messages.put((number, message))
        messages.put((number, None))

    threading.Thread(target=listen, daemon=True).start()
    write_line(process, assignment.to_json())
    return process


def write_line(process: subprocess.Popen, message: Mapping[str, Any]) -> None:
    """Writes a JSON line to a process; one that has ended says why itself."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()


def error_of(message: Mapping[str, Any] | None, process: subprocess.Popen) -> Exception:
    """Returns the error with which a training process ended.

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
