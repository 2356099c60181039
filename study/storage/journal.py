"""Optuna's journal file, which stays readable when a writer dies or the disk fills."""

import errno
import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock
from optuna.storages.journal import JournalFileBackend

from fer.errors import InputError
from study.redaction import one_line
from study.storage.optuna_private import JOURNAL_OPERATION
from study.storage.retry import StorageLost

JOURNAL = "journal.log"
"""The journal's name in the folder of its study."""

LONGEST_LINE = 2**24
"""Bytes of a journal's longest line, by far."""
BLOCK = 4096
"""Bytes that are read at a time."""


class _KernelLock:
    """A lock that the kernel releases when its holder dies; Optuna's own would then stop every other process."""

    def __init__(self, path: Path) -> None:
        self.lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        """Waits for the lock."""
        self.lock.acquire()
        return True

    def release(self) -> None:
        """Gives the lock back."""
        self.lock.release()


class Journal(JournalFileBackend):
    """Optuna's journal file, which stays readable when a writer dies or the disk fills inside a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kernel_lock = _KernelLock(path)
        super().__init__(str(path), lock_obj=self._kernel_lock)  # type: ignore[arg-type]
        with self._kernel_lock.lock, path.open("r+b") as file:
            _drop_torn_line(file)
            _drop_garbled_end(file, path)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Reads the entries from a number on.

        Raises:
            StorageLost: The file has gone since it was opened, its folder moved or deleted.
        """
        self._require_file()
        yield from super().read_logs(log_number_from)

    def _require_file(self) -> None:
        """Raises StorageLost where the file is gone; before the lock, which would make a folder that was moved away."""
        if not self._path.exists():
            raise StorageLost(f"{self._path} is gone: it, or its folder, was moved or deleted")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends entries, all or none of them.

        Raises:
            StorageLost: The file has gone since it was opened.
            OSError: The disk is full.
        """
        self._require_file()
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._kernel_lock.lock, self._path.open("r+b", buffering=0) as file:
            end = _drop_torn_line(file)
            try:
                if file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


def _drop_torn_line(file: BinaryIO) -> int:
    """Cuts a last line that a crash left half-written, with which the next would be lost.

    Returns:
        The file's length, where its position then is.
    """
    length = file.seek(0, os.SEEK_END)

    # Search for the last end of a line, block by block from the file's end.
    complete = length
    while complete:
        start = max(0, complete - BLOCK)
        file.seek(start)
        newline = file.read(complete - start).rfind(b"\n")
        if newline >= 0:
            complete = start + newline + 1
            break
        complete = start

    if complete < length:
        file.truncate(complete)
    return file.seek(complete)


def _drop_garbled_end(file: BinaryIO, path: Path) -> None:
    """Cuts a complete last line that is no JSON: Optuna ignores it, and fails when another line follows."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - LONGEST_LINE))
    lines = file.read().splitlines(keepends=True)
    if not lines:
        return

    last = lines[-1]
    try:
        json.loads(last)
    except ValueError:
        file.truncate(length - len(last))
        print(f"warning: the last entry of {path} was damaged and is lost; the rest is read", file=sys.stderr)


def damaged_journal(path: Path, error: Exception) -> InputError:
    """Returns the error that names the first damaged line of a journal, or what reading it raised."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                json.loads(line)[JOURNAL_OPERATION]
            except (ValueError, KeyError, TypeError):
                return InputError(
                    "a journal's lines are whole", f"{path}, damaged in line {number}",
                    "Put back a copy of the file, or delete that line: what it recorded is lost, the rest is read.",
                )  # fmt: skip
    return InputError(
        "a journal's entries follow from each other", f"{path} ({type(error).__name__}: {one_line(error)})",
        "Put back a copy of the file, or start anew with --study NAME.",
    )  # fmt: skip
