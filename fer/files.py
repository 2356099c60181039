"""Reading regular files of bounded size, writing files atomically, and checksums."""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class UnsuitableFile(OSError):
    """A file that is not regular or too large, and so not read. The message is the reason, without the path."""


def open_regular(path: str | Path, most_bytes: int) -> BinaryIO:
    """Opens a file for reading, if it is a regular file of a bounded size.

    A pipe, socket or device would block or never end, and a sparse file of many GiB would fill the memory. Kind and
    size are those of the open file, so nobody can exchange it between the check and the reading.

    Args:
        path: The file's path; links are followed.
        most_bytes: The largest size that is accepted.

    Raises:
        UnsuitableFile: The file is not regular, or larger.
        OSError: The file cannot be opened.
    """
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise UnsuitableFile(f"{kind} instead of a file")
        if status.st_size > most_bytes:
            raise UnsuitableFile(f"file of more than {size_text(most_bytes)}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | Path, most_bytes: int) -> bytes:
    """Returns all bytes of a regular file of a bounded size.

    Args:
        path: The file's path; links are followed.
        most_bytes: The largest size that is accepted, also of a file that grows while it is read.

    Raises:
        UnsuitableFile: The file is not regular, or larger.
        OSError: The file cannot be read.
    """
    with open_regular(path, most_bytes) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UnsuitableFile(f"file of more than {size_text(most_bytes)}")
    return data


def read_unchanged(path: str | Path, most_bytes: int) -> bytes:
    """Returns all bytes of a regular file that nobody writes meanwhile.

    Args:
        path: The file's path; links are followed.
        most_bytes: The largest size that is accepted.

    Raises:
        UnsuitableFile: The file is not regular or larger, or was written while it was read.
        OSError: The file cannot be read.
    """
    with open_regular(path, most_bytes) as file:
        before = os.fstat(file.fileno())
        data = file.read(most_bytes + 1)
        after = os.fstat(file.fileno())
    is_same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if not is_same or len(data) != after.st_size:
        raise UnsuitableFile("file that was written while it was read")
    return data


def size_text(count: int) -> str:
    """Returns a number of bytes as text, in the largest unit of which it is at least one: "200 MiB"."""
    size = float(count)
    unit = "bytes"
    for larger_unit in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size /= 1024
        unit = larger_unit
    return f"{size:.3g} {unit}"


@contextmanager
def naming_place(path: str | Path) -> Iterator[None]:
    """Lets an error of writing name the file or folder that is written: that of a full disk names none.

    Raises:
        OSError: The block's, with `path` where the error named no file.
    """
    try:
        yield
    except OSError as error:
        if type(error) is not OSError or error.filename is not None:
            raise
        if error.errno is None:  # NumPy's, of a file that was cut short
            raise OSError(f"{path} cannot be written: {error}") from error
        raise OSError(error.errno, error.strerror, str(path)) from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives the path of a temporary file, which replaces `path` when the block ends without an error.

    A reader, or a crash, never meets half of a file, and processes that write the same file do not disturb each other.
    If the block raises, the old file stays, and nothing else is left. The file may be read by whom the user's umask
    allows, also where a library such as safetensors makes it for the user alone.

    Args:
        path: The file to write; the temporary file lies in its folder.

    Raises:
        OSError: It could not be written, see `naming_place`.
    """
    path = Path(path)
    # Two writers of one file need different temporary files: by process, and within a process by chance.
    partial = path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with naming_place(path):
            mode = _mode_of_new_file(partial)
            yield partial
            partial.chmod(mode)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _mode_of_new_file(path: Path) -> int:
    """Returns the permissions that the umask gives a new file, by making one there and deleting it.

    Reading the umask means setting it, for all threads of the process.
    """
    path.touch(exist_ok=False)
    mode = stat.S_IMODE(path.stat().st_mode)
    path.unlink()
    return mode


def write_atomically(path: str | Path, content: bytes) -> Path:
    """Writes a file of this content as a whole, see `replacing`; returns its path."""
    with replacing(path) as partial:
        partial.write_bytes(content)
    return Path(path)


def checksum(*pieces: bytes | memoryview) -> str:
    """Returns a hash (BLAKE2b) of the concatenated pieces, 16 hex digits."""
    hashed = hashlib.blake2b(digest_size=8)
    for piece in pieces:
        hashed.update(piece)
    return hashed.hexdigest()


@contextmanager
def holding_lock(path: str | Path, refusal: Exception) -> Iterator[None]:
    """Holds a lock file, making its folder if need be, while the block runs.

    Args:
        path: The lock file.
        refusal: Raised where another process holds it.
    """
    # The commands import this module for --help, and filelock takes longer to import than all of it.
    from filelock import FileLock, Timeout  # noqa: PLC0415

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise refusal from None
    try:
        yield
    finally:
        lock.release()
