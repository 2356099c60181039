"""The files of a user's copy of a dataset, listed and read without leaving its folder."""

import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from fer.datasets.skipped import Skipped, new_skipped
from fer.errors import InputError
from fer.files import read_regular

MOST_FILE = 2**30  # bytes of one file; FER2013's csv file, the largest known that is read, has 300 MB

_SYSTEM_NAMES = ("__MACOSX", "Thumbs.db", "desktop.ini")


def reason_of(error: OSError) -> str:
    """Returns why a file could not be used, without its path."""
    return error.strerror or str(error)


@dataclass(frozen=True)
class DatasetCopy:
    """The files of a user's copy of a dataset.

    Attributes:
        root: Their folder.
        stats: Size and time of each, by path relative to the root, sorted.
        skipped: Names of what was left out while listing, by reason.
        outer: Path of the root in what the user has, with a slash at its end; empty where they are the same.
    """

    root: Path
    stats: dict[str, tuple[int, int]]
    skipped: Skipped = field(default_factory=new_skipped)
    outer: str = ""

    def whole_name(self, name: str) -> str:
        """Returns a file's path with the folders around the root, whose names may say what the files are."""
        return self.outer + name

    def read(self, name: str, most_bytes: int = MOST_FILE) -> bytes:
        """Reads one file.

        Raises:
            OSError: It cannot be read, is no regular file, or is larger than `most_bytes`.
        """
        return read_regular(self.root / name, most_bytes)


def list_copy(root: Path, outer: str = "") -> DatasetCopy:
    """Lists a folder's files; links that leave the folder and special files are skipped.

    Args:
        root: The folder.
        outer: Its path in what the user has.

    Raises:
        InputError: A folder in it cannot be read.
    """
    root = Path(os.path.realpath(root))
    stats: dict[str, tuple[int, int]] = {}
    skipped = new_skipped()
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:  # tens of thousands: no Path objects here
                    name = folder + entry.name
                    if entry.is_symlink() and not _stays(entry, root):
                        skipped["a link that leaves the dataset's folder or leads to no file"].append(name)
                    elif entry.name.startswith(".") or entry.name in _SYSTEM_NAMES:
                        skipped["a hidden or system file"].append(name)
                    elif entry.is_dir():
                        folders.append(name + "/")
                    elif entry.is_file():
                        status = entry.stat()
                        stats[name] = (status.st_size, status.st_mtime_ns)
                    else:
                        skipped["a pipe, socket or device"].append(name)
        except OSError as error:
            rule = "every folder of a dataset must be readable"
            raise InputError(rule, f"{root / folder} ({reason_of(error)})", "Change its permissions.") from error
    return DatasetCopy(root, dict(sorted(stats.items())), skipped, outer)


def _stays(link: os.DirEntry[str], root: Path) -> bool:
    """Returns whether a link leads to a file inside the folder."""
    place = Path(os.path.realpath(link.path))  # a circle of links leads to one of them, which is no file
    return place.is_relative_to(root) and place.is_file()


def stat_lines(path: Path) -> list[str]:
    """Returns names, sizes and times of a copy's files: equal lines mean unchanged files."""
    if path.is_dir():
        return [f"{name}\t{size}\t{time}" for name, (size, time) in list_copy(path).stats.items()]
    status = path.stat()
    return [f"{path.name}\t{status.st_size}\t{status.st_mtime_ns}"]


def path_inside(name: str, what: str) -> PurePosixPath:
    """Returns a relative path that stays inside its folder.

    Raises:
        InputError: It is absolute or climbs out.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or "\0" in name:
        raise InputError(f"{what} stays inside the dataset's folder", name, "Remove it or correct its path.")
    return path
