"""Where a user's copy of a dataset lies: the folder or archive in the data folder that has its name."""

import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from fer.datasets.copy_files import reason_of
from fer.errors import InputError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def normalise(name: str) -> str:
    """Returns a dataset's name as it is compared: "FER-2013" and "fer2013" are one, "CK+" is ckplus."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))


def without_suffix(name: str) -> str | None:
    """Returns an archive's name without its suffix, or None when it is no archive."""
    for suffix in ARCHIVES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return None


def list_entries(data_dir: Path) -> list[tuple[str, Path]]:
    """Lists the folders and archives of the data folder.

    Returns:
        (name, path) sorted by name, an archive's name without its suffix.

    Raises:
        InputError: The data folder is missing, empty or unreadable.
    """
    rule = "--data names a folder with one folder or archive per dataset"
    fix = "See docs/your-data.md for what goes where."
    try:
        paths = sorted(data_dir.iterdir())
        if not paths:
            raise InputError(rule, f"{data_dir}, which is empty", fix)
        named = [(path.name if path.is_dir() else without_suffix(path.name), path) for path in paths]
    except FileNotFoundError:
        raise InputError(rule, f"{data_dir}, which does not exist", fix) from None
    except NotADirectoryError:
        raise InputError(rule, f"{data_dir}, which is a file", fix) from None
    except OSError as error:
        raise InputError(rule, f"{data_dir}, which cannot be read ({reason_of(error)})", fix) from None
    return [(name, path) for name, path in named if name and not name.startswith(".")]


def find_dataset(names: Sequence[str], data_dir: Path) -> Path | None:
    """Returns the folder or archive that has one of these names.

    The name that was asked for wins over another spelling of it, and both win over the names that follow. Where several
    entries have the name, a folder wins over archives that are named like it.

    Args:
        names: The name that was asked for, then others that its dataset goes by.
        data_dir: Holds one folder or archive per dataset.

    Raises:
        InputError: Several have the name, in spellings that are alike; or the one that has it is neither a folder nor
            a file.
    """
    asked, *others = names
    main_name = others[:1]  # of the dataset's layout; the others are its aliases

    # Which names are sought one after the other, and how they are compared: as they are, or whatever their spelling.
    searches: list[tuple[Sequence[str], Callable[[str], str]]] = [
        ([asked], str),
        ([asked], normalise),
        (main_name, str),
        (main_name, normalise),
        (others, normalise),
    ]
    entries = list_entries(data_dir)
    for wanted_names, spell in searches:
        wanted = {spell(name) for name in wanted_names}
        matching = [(name, path) for name, path in entries if spell(name) in wanted]
        if matching:
            return _check_copy(_choose_entry(asked, matching))
    return None


def _choose_entry(asked: str, entries: Sequence[tuple[str, Path]]) -> Path:
    """Returns the only entry, or the folder beside archives that are named like it.

    Raises:
        InputError: Several entries have the name.
    """
    if len(entries) == 1:
        return entries[0][1]
    folders = [path for _, path in entries if path.is_dir()]
    spellings = {name for name, _ in entries}
    if len(folders) == 1 and len(spellings) == 1:
        return folders[0]
    file_names = sorted(path.name for _, path in entries)
    raise InputError(
        "a dataset's name leads to one folder or archive",
        f"{asked}, which may be {' or '.join(file_names)}",
        "Ask for the very name of one, or rename the others.",
    )


def _check_copy(path: Path) -> Path:
    """Returns the path, if it is a folder or a regular file."""
    rule = "a dataset is a folder, or a zip or tar file"
    fix = "Put the folder or the file itself there."
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(rule, f"{path}, which leads nowhere ({reason_of(error)})", fix) from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise InputError(rule, f"{path}, a pipe, socket or device", fix)
    return path
