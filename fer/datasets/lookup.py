"""From a dataset's name to its layout and to the user's copy of it."""

import re
from pathlib import Path

from fer.datasets.data_folder import find_dataset, list_entries, normalise, without_suffix
from fer.datasets.layouts import LAYOUTS, Layout, own_layout
from fer.errors import InputError, did_you_mean

_NAME = r"\w[\w.+ -]*"


def layout_of(name: str, strict: bool = True) -> Layout:
    """Returns the layout that a name in any usual spelling stands for; any other name is a user's own dataset.

    Raises:
        InputError: `strict` and the name cannot be a folder's.
    """
    if strict and not re.fullmatch(_NAME, name):
        rule = "a dataset's name is a folder's name: letters, digits and _ . + -"
        raise InputError(rule, name or "no name", f"Known names: {', '.join(LAYOUTS)}.")
    plain = normalise(name)
    for layout in LAYOUTS.values():
        if plain == normalise(layout.name) or plain in layout.aliases:
            return layout
    return own_layout(name)


def locate(name: str, data_dir: Path | None, kind: str) -> Path | None:
    """Returns the copy of a dataset that is to be read, None where its synthetic faces are to be drawn; reads no image.

    Args:
        name: As the user gave it.
        data_dir: Holds one folder or archive per dataset; None where there is none.
        kind: "auto", "real" or "synthetic".

    Raises:
        InputError: There is nothing to load; or the name cannot be a dataset's, or leads to several copies.
    """
    path = None
    if data_dir is not None and kind != "synthetic":
        path = find_copy(name, data_dir)
    check_available(name, path, data_dir, kind)
    return path


def find_copy(name: str, data_dir: Path) -> Path | None:
    """Returns the folder or archive that a dataset's name leads to, None where there is none.

    Raises:
        InputError: The name cannot be a dataset's, or leads to several; or the data folder cannot be read.
    """
    layout = layout_of(name)
    names = [layout.name, *layout.aliases]
    names += [other.name for other in LAYOUTS.values() if other.part_of == layout.name]
    if layout.part_of:
        names += [layout.part_of, *LAYOUTS[layout.part_of].aliases]
    return find_dataset([name, *names], data_dir)


def find_layout(name: str, path: Path | None) -> Layout:
    """Returns the layout of a dataset's copy; a user's own dataset is named as its folder or archive spells it.

    Raises:
        InputError: The name cannot be a dataset's.
    """
    layout = layout_of(name)
    if path is None or layout.name in LAYOUTS:
        return layout
    own_name = path.name if path.is_dir() else without_suffix(path.name) or path.name
    return layout_of(own_name)


def check_available(name: str, path: Path | None, data_dir: Path | None, kind: str) -> None:
    """Refuses a name for which there is neither a copy nor a synthetic dataset of the wanted kind.

    Args:
        name: As the user gave it.
        path: The copy; None where there is none.
        data_dir: Where it was sought.
        kind: "auto", "real" or "synthetic".

    Raises:
        InputError: There is nothing to load.
    """
    layout = layout_of(name)
    is_known = layout.name in LAYOUTS
    if path is not None or (is_known and kind != "real"):
        return
    where = f"nothing named so in {data_dir}" if data_dir is not None else "no data folder (--data or FER_DATA)"
    if is_known:
        rule = f"the real {layout.title} is a folder or archive named {name} in the data folder"
        raise InputError(rule, where, "Put your copy there, or use --data-kind synthetic.")
    rule = f"a dataset is one of {', '.join(LAYOUTS)}, or a folder or archive in the data folder"
    found = [entry for entry, _ in list_entries(data_dir)] if data_dir is not None else []
    if found:
        where = f"{where}, which has {', '.join(found)}"
    meant = did_you_mean(name, [*LAYOUTS, *found])
    raise InputError(rule, f"{name!r} with {where}", f"{meant}Correct the name, or put the folder there.")


def survey(data_dir: Path | None) -> dict[str, Path | None]:
    """Returns the known datasets and the user's own, each with the copy found in the data folder.

    Of several copies of a known dataset it returns the first; `find_copy` refuses to choose.

    Raises:
        InputError: The data folder is missing, empty or unreadable.
    """
    copies: dict[str, Path | None] = dict.fromkeys(LAYOUTS)
    entries = list_entries(data_dir) if data_dir is not None else []
    for name, path in entries:
        layout = layout_of(name, strict=False)
        if copies.get(layout.name) is None:
            copies[layout.name] = path
    for layout in LAYOUTS.values():
        if layout.part_of and copies[layout.name] is None:
            copies[layout.name] = copies[layout.part_of]
    return copies
