"""The exit codes of all commands."""

from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended; users and parent processes read it."""

    DONE = 0
    FAILED = 1  # could not be done
    WRONG_USE = 2  # wrong use or bad data, which the user can mend
    STUCK = 3  # a worker could not go on and neither could the next: a full disk, or a storage that is away
    DEVICE_CROWDED = 4  # a worker's device had too little memory for it and the other workers
    INTERRUPTED = 130
