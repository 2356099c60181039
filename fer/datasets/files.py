"""Where a user's copy of a dataset lies, and its files: a folder or an archive, read without leaving it."""

import os
import re
import shutil
import tarfile
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from fer.errors import InputError
from fer.expressions import parse_expression

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_UNPACKED = 40 * 2**30  # bytes; AffectNet, the largest known, is distributed in parts below that
MOST_MEMBERS = 2_000_000

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


def entries(data_dir: Path) -> list[tuple[str, Path]]:
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
        raise InputError(rule, f"{data_dir}, which cannot be read ({error.strerror})", mend) from None
    return [(name, path) for name, path in named if name and not name.startswith(".")]


def find(names: Sequence[str], data_dir: Path) -> Path | None:
    """Returns the folder or archive that has the first of these names that any has; folders win over archives."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for name, path in entries(data_dir):
        by_name[normalise(name)].append(path)
    for name in map(normalise, names):
        if name in by_name:
            return min(by_name[name], key=lambda path: (not path.is_dir(), path.name))
    return None


@dataclass(frozen=True)
class Copy:
    """A dataset's files on disk.

    Attributes:
        root: Their folder.
        stats: Size and time of each, by path relative to the root, sorted.
        skipped: What was left out already.
    """

    root: Path
    stats: dict[str, tuple[int, int]]
    skipped: Skipped = field(default_factory=lambda: defaultdict(list))

    def read(self, name: str) -> bytes:
        """Reads one file whole."""
        return (self.root / name).read_bytes()


def list_copy(root: Path) -> Copy:
    """Lists a folder's files; links that leave the folder are skipped.

    Raises:
        InputError: A folder in it cannot be read.
    """
    root = root.resolve()
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
                        stat = entry.stat()
                        found[name] = (stat.st_size, stat.st_mtime_ns)
        except OSError as error:
            rule = "every folder of a dataset must be readable"
            raise InputError(rule, f"{root / above} ({error.strerror})", "Change its permissions.") from error
    return Copy(root, dict(sorted(found.items())), skipped)


def _stays(link: os.DirEntry[str], root: Path) -> bool:
    place = Path(link.path).resolve()
    return place.is_relative_to(root) and place.is_file()


def stat_lines(path: Path) -> list[str]:
    """Returns names, sizes and times of a copy's files: equal lines mean unchanged files."""
    if path.is_dir():
        return [f"{name}\t{size}\t{time}" for name, (size, time) in list_copy(path).stats.items()]
    stat = path.stat()
    return [f"{path.name}\t{stat.st_size}\t{stat.st_mtime_ns}"]


@contextmanager
def open_copy(path: Path, scratch: Path) -> Iterator[Copy]:
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
    folder = Path(tempfile.mkdtemp(prefix=".unpacked-", dir=scratch))
    try:
        skipped: Skipped = defaultdict(list)
        for archive in archives:
            unpack(archive, folder, skipped)
        copy = list_copy(_inner(folder))
        for reason, names in skipped.items():
            copy.skipped[reason] += names
        yield copy
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    """Unpacks a zip or tar file; links and special files in it are skipped.

    Raises:
        InputError: It is damaged, a member leaves the folder, or it unpacks to too much.
    """
    total = 0
    try:
        for count, (name, size, source) in enumerate(_members(archive, skipped)):
            total += size
            if total > MOST_UNPACKED or count >= MOST_MEMBERS:
                limit = f"{MOST_UNPACKED // 2**30} GiB and {MOST_MEMBERS:,} files"
                raise InputError(f"an archive may hold up to {limit}", archive, "Unpack it yourself into a folder.")
            place = folder / inside(name, f"a member of {archive.name}")
            place.parent.mkdir(parents=True, exist_ok=True)
            with source, place.open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)
    except InputError:
        raise
    except Exception as error:  # the readers of damaged archives raise anything
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
    with tarfile.open(archive, "r:*") as tape:
        for entry in tape:
            stream = tape.extractfile(entry) if entry.isfile() else None
            if stream is not None:
                yield entry.name, entry.size, stream
            elif not entry.isdir():
                skipped["a link or special file in an archive"].append(entry.name)


def inside(name: str, what: str) -> PurePosixPath:
    """Returns a relative path that stays inside its folder.

    Raises:
        InputError: It is absolute or climbs out.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or "\0" in name:
        raise InputError(f"{what} stays inside the dataset's folder", name, "Remove it or correct its path.")
    return path
