"""The parent of the processes that train for a confirmation: starts them, and tells them when they may evaluate."""

import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from study.confirmation.child_process import error_of, read_messages, start_child, write_line
from study.confirmation.course import share_out
from study.confirmation.jobs import Confirmation, Training
from study.confirmation.training_process import Assignment

Messages = queue.Queue[tuple[int, dict[str, Any] | None]]
"""The number of a process and what it sent; None where it has ended."""


def train_and_evaluate(
    assignment: Assignment,
    trainings: Sequence[Training],
    workers: int,
    record_evaluation: Callable[[], Confirmation],
    on_begin: Callable[[Training], None],
    on_end: Callable[[Training, float], None],
) -> Confirmation:
    """Lets processes train their parts, records the evaluation when all are ready, and lets them evaluate.

    Args:
        assignment: What all processes have in common.
        trainings: What there is to do.
        workers: How many processes, no more than trainings.
        record_evaluation: Records that the test images are evaluated, and returns the confirmation; called once.
        on_begin: Called with each training that begins.
        on_end: Called with each that has ended, and the seconds that it took.

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
        for number, part in enumerate(share_out(trainings, workers)):
            processes.append(start_process(replace(assignment, trainings=part), number, messages))

        # Each is ready, or has ended because it cannot be.
        waiting = set(range(workers))
        while waiting:
            number, message = _take_other(messages, on_begin)
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
            number, message = _take_other(messages, on_begin)
            if message is not None and "trained" in message:
                index, seed = message["trained"]
                on_end((index, seed), message["seconds"])
                continue
            if message is not None or processes[number].wait():
                raise error_of(message, processes[number])
            running.discard(number)
        return confirmation
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _take_other(messages: Messages, on_begin: Callable[[Training], None]) -> tuple[int, dict[str, Any] | None]:
    """Waits for the next message that does not tell of a beginning, and tells of those that do."""
    while True:
        number, message = messages.get()
        if message is None or "begun" not in message:
            return number, message
        index, seed = message["begun"]
        on_begin((index, seed))


def start_process(assignment: Assignment, number: int, messages: Messages) -> subprocess.Popen:
    """Starts one process, whose messages are put into a queue.

    Args:
        assignment: Of this process.
        number: Of the process.
        messages: Where what it sends is put, with None at its end.
    """
    process = start_child("study.confirmation.training_process", assignment.to_json())

    def listen() -> None:
        for message in read_messages(process):
            messages.put((number, message))
        messages.put((number, None))

    threading.Thread(target=listen, daemon=True).start()
    return process
