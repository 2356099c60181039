"""Files as they must be read and written: nothing but bounded regular ones in, nothing half-written out."""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class UnsuitableFile(OSError):
    """A file that is not read: no regular file, or too large. The message is the reason, without the path."""


def open_regular(path: str | Path, most_bytes: int) -> BinaryIO:
    """Opens a file for reading, if it is a regular one of a bounded size.

    A pipe, socket or device would block, or never end, and a sparse file of many GiB would fill the memory. The file
    that was opened is the one that is looked at, so that none can be put in its place meanwhile.

    Args:
        path: Its path; links are followed.
        most_bytes: The largest size that is read.

    Raises:
        UnsuitableFile: It is no regular file, or larger.
        OSError: It cannot be opened.
    """
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
    """Reads a file whole, see `open_regular`; also one that grows meanwhile ends at `most_bytes`."""
    with open_regular(path, most_bytes) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UnsuitableFile(f"file of more than {size_text(most_bytes)}")
    return data


def size_text(count: int) -> str:
    """Returns a number of bytes for a reader: "200 MiB"."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.3g} {unit}"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives the path of a new file in the same folder that takes the place of `path` when the block ends well.

    A reader, or a crash, never meets half of a file, and processes that write the same one do not disturb each other.
    Where the block raises, nothing is left.
    """
    path = Path(path)
    # The process's number and a random one keep two writers of one file apart.
    partial = path.with_name(f".{path.name[:80]}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: bytes) -> Path:
    """Writes a file as `replacing` does; returns its path."""
    with replacing(path) as partial:
        partial.write_bytes(content)
    return Path(path)


def checksum(*parts: bytes | memoryview) -> str:
    """Returns a hash of bytes, 16 hex digits: equal for equal bytes, and not to be met by chance."""
    hashed = hashlib.blake2b(digest_size=8)
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()


def checksum_of(path: str | Path) -> str:
    """Returns the hash of a file's bytes, 16 hex digits, read piece by piece."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
