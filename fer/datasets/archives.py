"""Where a user's copy of a dataset lies, and its files: a folder or an archive, read without leaving it."""

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Literal

from fer.errors import InputError
from fer.expressions import parse_expression
from fer.files import read_regular, size_text

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_UNPACKED = 40 * 2**30  # bytes; AffectNet, the largest known, is distributed in parts below that
MOST_MEMBERS = 2_000_000
MOST_FILE = 2**30  # bytes of one file; FER2013's csv file, the largest known that is read, has 300 MB
# Images are compressed already and tables to a tenth at best, so what unpacks to 100 times its size holds neither.
MOST_RATIO = 100
_ALWAYS_UNPACKED = 2**30  # bytes, whatever the ratio
_MOST_PADDING = 64 * 2**20  # bytes of zeros after a tar file's end mark; usual are up to 10 KiB
_MOST_HEADER = 2**20  # bytes of a tar file's header of a long name; its reader takes them into memory
TarMode = Literal["r:", "r:gz", "r:bz2", "r:xz"]
_COMPRESSED: tuple[tuple[bytes, TarMode], ...] = (
    (b"\x1f\x8b", "r:gz"),
    (b"BZh", "r:bz2"),
    (b"\xfd7zXZ\x00", "r:xz"),
)  # by how a file begins
_LONGEST_MAGIC = 6
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_SCRATCH = (".unpacked-", ".partial-")

# Why files were left out, and which.
Skipped = defaultdict[str, list[str]]


def normalise(name: str) -> str:
    """Returns a dataset's name as it is compared: "FER-2013" and "fer2013" are one, "CK+" is ckplus."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))


def without_suffix(name: str) -> str | None:
    """Returns an archive's name without its suffix, or None when it is no archive."""
    for suffix in ARCHIVES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return None


def reason_of(error: OSError) -> str:
    """Returns why a file could not be used, without its path."""
    return error.strerror or str(error)


def list_entries(data_dir: Path) -> list[tuple[str, Path]]:
    """Lists the folders and archives of the data folder.

    Returns:
        (name, path) sorted by name, an archive's name without its suffix.

    Raises:
        InputError: The data folder is missing, empty or unreadable.
    """
    rule, mend = "--data names a folder with one folder or archive per dataset", "See README.md for what goes where."
    try:
        found = sorted(data_dir.iterdir())
        if not found:
            raise InputError(rule, f"{data_dir}, which is empty", mend)
        named = [(path.name if path.is_dir() else without_suffix(path.name), path) for path in found]
    except FileNotFoundError:
        raise InputError(rule, f"{data_dir}, which does not exist", mend) from None
    except NotADirectoryError:
        raise InputError(rule, f"{data_dir}, which is a file", mend) from None
    except OSError as error:
        raise InputError(rule, f"{data_dir}, which cannot be read ({reason_of(error)})", mend) from None
    return [(name, path) for name, path in named if name and not name.startswith(".")]


def find_dataset(names: Sequence[str], data_dir: Path) -> Path | None:
    """Returns the folder or archive that has one of these names.

    The very name wins over another spelling of it, that over the names that follow. Where several have the name, a
    folder wins over an archive that is named like it.

    Args:
        names: The name that was asked for, then others that its dataset goes by.
        data_dir: Holds one folder or archive per dataset.

    Raises:
        InputError: Several have the name, in spellings that are alike; or the one that has it is neither a folder nor
            a file.
    """
    asked, *others = names
    there = list_entries(data_dir)
    aliases = {normalise(name) for name in others}
    ways: list[Callable[[str], bool]] = [
        lambda name: name == asked,
        lambda name: normalise(name) == normalise(asked),
        lambda name: name in others[:1],
        lambda name: normalise(name) in {normalise(other) for other in others[:1]},
        lambda name: normalise(name) in aliases,
    ]
    for has_name in ways:
        found = [(name, path) for name, path in there if has_name(name)]
        if found:
            return _check_copy(_only(asked, found))
    return None


def _only(asked: str, found: list[tuple[str, Path]]) -> Path:
    """Returns the one copy of several entries: the only one, or the folder beside its own archives."""
    folders = [path for _, path in found if path.is_dir()]
    spellings = {name for name, _ in found}
    if len(found) == 1:
        return found[0][1]
    if len(folders) == 1 and len(spellings) == 1:
        return folders[0]
    raise InputError(
        "a dataset's name leads to one folder or archive",
        f"{asked}, which may be {' or '.join(sorted(path.name for _, path in found))}",
        "Ask for the very name of one, or rename the others.",
    )


def _check_copy(path: Path) -> Path:
    rule, mend = "a dataset is a folder, or a zip or tar file", "Put the folder or the file itself there."
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(rule, f"{path}, which leads nowhere ({reason_of(error)})", mend) from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise InputError(rule, f"{path}, a pipe, socket or device", mend)
    return path


@dataclass(frozen=True)
class DatasetCopy:
    """A dataset's files on disk.

    Attributes:
        root: Their folder.
        stats: Size and time of each, by path relative to the root, sorted.
        skipped: What was left out already.
    """

    root: Path
    stats: dict[str, tuple[int, int]]
    skipped: Skipped = field(default_factory=lambda: defaultdict(list))

    def read(self, name: str, most_bytes: int = MOST_FILE) -> bytes:
        """Reads one file whole.

        Raises:
            OSError: It cannot be read, is no regular file, or is larger than `most_bytes`.
        """
        return read_regular(self.root / name, most_bytes)


def list_copy(root: Path) -> DatasetCopy:
    """Lists a folder's files; links that leave the folder and special files are skipped.

    Raises:
        InputError: A folder in it cannot be read.
    """
    root = Path(os.path.realpath(root))
    found: dict[str, tuple[int, int]] = {}
    skipped: Skipped = defaultdict(list)
    folders = [""]
    while folders:
        above = folders.pop()
        try:
            with os.scandir(root / above) as inside_folder:
                for entry in inside_folder:  # tens of thousands: no Path objects here
                    name = above + entry.name
                    if entry.is_symlink() and not _stays(entry, root):
                        skipped["a link that leaves the dataset's folder or leads to no file"].append(name)
                    elif entry.name.startswith(".") or entry.name in ("__MACOSX", "Thumbs.db", "desktop.ini"):
                        skipped["a hidden or system file"].append(name)
                    elif entry.is_dir():
                        folders.append(name + "/")
                    elif entry.is_file():
                        status = entry.stat()
                        found[name] = (status.st_size, status.st_mtime_ns)
                    else:
                        skipped["a pipe, socket or device"].append(name)
        except OSError as error:
            rule = "every folder of a dataset must be readable"
            raise InputError(rule, f"{root / above} ({reason_of(error)})", "Change its permissions.") from error
    return DatasetCopy(root, dict(sorted(found.items())), skipped)


def _stays(link: os.DirEntry[str], root: Path) -> bool:
    place = Path(os.path.realpath(link.path))  # a circle of links leads to one of them, which is no file
    return place.is_relative_to(root) and place.is_file()


def stat_lines(path: Path) -> list[str]:
    """Returns names, sizes and times of a copy's files: equal lines mean unchanged files."""
    if path.is_dir():
        return [f"{name}\t{size}\t{time}" for name, (size, time) in list_copy(path).stats.items()]
    status = path.stat()
    return [f"{path.name}\t{status.st_size}\t{status.st_mtime_ns}"]


@contextmanager
def scratch_folder(parent: Path, purpose: str) -> Iterator[Path]:
    """Gives a new folder, which is deleted at the end of the block, if it is still there.

    A lock beside it is held meanwhile. The folder of a killed process is known by its lock, which nobody holds.

    Args:
        parent: Where it is made.
        purpose: "unpacked" or "partial".
    """
    from filelock import FileLock  # comes with torch

    name = parent / f".{purpose}-{secrets.token_hex(8)}"
    lock = FileLock(f"{name}.lock")
    with lock:
        name.mkdir(mode=0o700)
        try:
            yield name
        finally:
            shutil.rmtree(name, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


def clear_leftovers(parent: Path) -> None:
    """Deletes the scratch folders of processes that were killed."""
    from filelock import FileLock, Timeout

    for folder in parent.iterdir():
        if not folder.name.startswith(_SCRATCH) or not folder.is_dir():
            continue
        lock = FileLock(f"{folder}.lock")
        with contextlib.suppress(Timeout, OSError), lock.acquire(blocking=False):
            shutil.rmtree(folder, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)


@contextmanager
def open_copy(path: Path, scratch: Path) -> Iterator[DatasetCopy]:
    """Opens a dataset's folder or archive, or a folder that holds nothing but its archives.

    Folders around the only folder in them are left out, so that an archive gives the same paths as its content.

    Args:
        path: The folder or archive.
        scratch: Where an archive is unpacked for the time of reading.
    """
    archives = [path] if path.is_file() else _only_archives(path)
    if not archives:
        yield list_copy(_inner(path))
        return
    with scratch_folder(scratch, "unpacked") as folder:
        skipped: Skipped = defaultdict(list)
        for archive in archives:
            unpack(archive, folder, skipped)
        copy = list_copy(_inner(folder))
        for reason, names in skipped.items():
            copy.skipped[reason] += names
        yield copy


def _only_archives(folder: Path) -> list[Path]:
    inside = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return inside if inside and all(path.is_file() and without_suffix(path.name) for path in inside) else []


def _inner(folder: Path) -> Path:
    while True:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".") and path.name != "__MACOSX"]
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].is_symlink():
            return folder
        if parse_expression(inside[0].name) is not None:
            return folder
        folder = inside[0]


def unpack(archive: Path, folder: Path, skipped: Skipped) -> None:
    """Unpacks a zip or tar file; links, special files and those too large to be of use are skipped.

    Args:
        archive: The file.
        folder: Where its files go. A file that is there already counts as named twice.
        skipped: Gets the names of what is left out, by reason.

    Raises:
        InputError: It is damaged or cut short, a member leaves the folder, two members have one name, or it unpacks to
            too much.
        OSError: The disk is full.
    """
    most = min(MOST_UNPACKED, max(_ALWAYS_UNPACKED, MOST_RATIO * archive.stat().st_size))
    total = 0
    try:
        for count, (name, size, source) in enumerate(_members(archive, skipped)):
            total += size
            if total > most or count >= MOST_MEMBERS:
                limit = f"{size_text(most)} and {MOST_MEMBERS:,} files"
                raise InputError(f"an archive may hold up to {limit}", archive, "Unpack it yourself into a folder.")
            place = folder / path_inside(name, f"a member of {archive.name}")
            if size > MOST_FILE:
                skipped[f"file of more than {size_text(MOST_FILE)}"].append(name)
            elif place.exists():
                rule = f"{archive.name} names every file once, and none that another archive of the dataset has named"
                raise InputError(rule, f"{name} again", "Unpack it yourself, and keep the right one of both.")
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                with source, place.open("wb") as target:
                    shutil.copyfileobj(source, target, 2**20)
    except InputError:
        raise
    except Exception as error:  # the readers of damaged archives raise anything
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise
        what = f"{archive} ({(str(error) or type(error).__name__).splitlines()[0]})"
        raise InputError("an archive must be a readable zip or tar file", what, "Fetch or pack it again.") from error


def _members(archive: Path, skipped: Skipped) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yields name, declared size and stream of each file; never more bytes come out than were declared."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                if (member.external_attr >> 16) & 0o170000 == 0o120000:
                    skipped["a link in an archive"].append(member.filename)
                elif not member.is_dir():
                    yield member.filename, member.file_size, packed.open(member)
        return
    with archive.open("rb") as file:
        head = file.read(_LONGEST_MAGIC)
    # tarfile's own guessing takes zeros for empty LZMA streams, of which a large file has a billion.
    mode: TarMode = next((mode for magic, mode in _COMPRESSED if head.startswith(magic)), "r:")
    with tarfile.open(archive, mode, tarinfo=_StrictHeader) as tape:
        for entry in tape:
            stream = tape.extractfile(entry) if entry.isfile() else None
            if stream is not None:
                yield entry.name, entry.size, stream
            elif not entry.isdir():
                skipped["a link or special file in an archive"].append(entry.name)
        _check_end(tape)


class _StrictHeader(tarfile.TarInfo):
    """A tar file's header that is an error where it is damaged or missing; tarfile takes that for the file's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictHeader":
        header = super().frombuf(buf, encoding, errors)
        kinds = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, *tarfile.GNU_TYPES)
        if header.type in kinds and header.type != tarfile.GNUTYPE_SPARSE and header.size > _MOST_HEADER:
            raise tarfile.ReadError(f"a header of more than {size_text(_MOST_HEADER)}")
        return header

    @classmethod
    def fromtarfile(cls, tape: tarfile.TarFile) -> "_StrictHeader":
        begin = tape.offset
        try:
            return super().fromtarfile(tape)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            if begin == 0:  # another format perhaps
                raise
            raise tarfile.ReadError(f"cut short or damaged at byte {begin:,}: {error}") from None


def _check_end(tape: tarfile.TarFile) -> None:
    """Refuses a tar file that goes on after its end mark: a damaged block of zeros looks like one."""
    assert tape.fileobj is not None
    for _ in range(_MOST_PADDING // 2**20):
        piece = tape.fileobj.read(2**20)
        if not piece:  # read to the end, so that the checksum of a compressed file was compared
            return
        if piece.count(0) != len(piece):
            raise tarfile.ReadError("its end mark is not at its end")
    raise tarfile.ReadError(f"more than {size_text(_MOST_PADDING)} of nothing at its end")


def path_inside(name: str, what: str) -> PurePosixPath:
    """Returns a relative path that stays inside its folder.

    Raises:
        InputError: It is absolute or climbs out.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or "\0" in name:
        raise InputError(f"{what} stays inside the dataset's folder", name, "Remove it or correct its path.")
    return path
