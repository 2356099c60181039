"""Scratch folders of this process, and the removal of those that killed processes left."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout  # comes with torch

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
