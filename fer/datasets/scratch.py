"""Scratch folders and arrays of this process, and the removal of folders that killed processes left."""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout  # comes with torch

from fer.datasets.arrays import MOST_IN_MEMORY

_PREFIXES = (".unpacked-", ".partial-")


@contextmanager
def scratch_folder(parent: Path, purpose: str) -> Iterator[Path]:
    """Gives a new folder, which is deleted at the end of the block, if it is still there.

    A lock beside it is held meanwhile. The folder of a killed process is known by its lock, which nobody holds.

    Args:
        parent: Where it is made.
        purpose: "unpacked" or "partial".
    """
    folder = parent / f".{purpose}-{secrets.token_hex(8)}"
    lock = FileLock(f"{folder}.lock")
    with lock:
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def clear_leftovers(parent: Path) -> None:
    """Deletes the scratch folders of processes that were killed."""
    for folder in parent.iterdir():
        if not folder.name.startswith(_PREFIXES) or not folder.is_dir():
            continue
        lock = FileLock(f"{folder}.lock")
        with contextlib.suppress(Timeout, OSError), lock.acquire(blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def scratch_array(shape: tuple[int, ...], folder: Path | None) -> np.ndarray:
    """Returns an array of bytes, uint8, which is mapped from a nameless file where it is too large for memory.

    The file is gone when the array is, or the process.

    Args:
        shape: Of the array.
        folder: Where the file lies; None keeps the array in memory.

    Raises:
        OSError: The disk has no room for it.
    """
    size = int(np.prod(shape, dtype=np.int64))
    if folder is None or size <= MOST_IN_MEMORY:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(size)
        # Its room is taken now: on a disk that is full, to write through the map would end the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        return np.memmap(file, np.uint8, "r+", shape=shape)
