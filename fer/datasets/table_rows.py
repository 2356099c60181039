"""Rows of datasets whose labels are in csv files, with the pixels or with the images' paths."""

import csv
import io
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fer.datasets.arrays import SIZE
from fer.datasets.context import OTHER_LABEL, ReadContext, Row
from fer.datasets.copy_files import DatasetCopy, path_inside
from fer.datasets.layouts import MANIFEST, SPLIT_WORDS, Layout, Table
from fer.datasets.skipped import Skipped, add_skipped, new_skipped, summarise_skipped
from fer.errors import InputError

MOST_BAD_ROWS = 0.1  # a csv file with a larger share of bad rows is refused: something is wrong with all of it
_PIXELS = SIZE * SIZE
csv.field_size_limit(2**20)  # characters; 2,304 pixels have 9,000 at most


@dataclass(frozen=True)
class _Line:
    """A row of a label file: the number of the line that it ends in, and its cells by column."""

    number: int
    cells: Mapping[str, str]

    def cell(self, column: str | None) -> str:
        """Returns a cell's text; empty where the layout or the file has no such column."""
        return self.cells.get(column, "") if column is not None else ""


@dataclass(frozen=True)
class _LabelFile:
    """One label file: how it is laid out, its name, its lines, and the rows that are left out by reason."""

    table: Table
    name: str
    lines: Sequence[_Line]
    skipped: Skipped


def find_table(layout: Layout, copy: DatasetCopy) -> Table | None:
    """Returns the first of the layout's tables that the copy has; a user's manifest wins."""
    for table in (MANIFEST, *layout.tables):
        if _list_files(table, copy):
            return table
    return None


def _list_files(table: Table, copy: DatasetCopy) -> list[str]:
    """Returns the paths of a table's files in a copy."""
    return [name for name in copy.stats if re.search(table.file, name, re.IGNORECASE)]


def read_table_rows(context: ReadContext, table: Table) -> list[Row]:
    """Returns the rows of a table's files.

    Args:
        context: The reading; gets what is left out.
        table: One that the copy has.

    Raises:
        InputError: A file cannot be read, or breaks a rule.
    """
    names = _list_files(table, context.copy)
    if table.path is None:
        names = names[:1]  # pixels twice would only be one dataset twice
    rows: list[Row] = []
    for name in names:
        rows += _read_file(context, table, name)
    return rows


def _read_file(context: ReadContext, table: Table, name: str) -> list[Row]:
    """Returns the rows of one of a table's files."""
    file = _LabelFile(table, name, _read_lines(context, table, name), new_skipped())
    if table.pixels:
        rows = list(_pixel_rows(context, file))
        _check_share_of_bad_rows(file)
    else:
        rows = list(_path_rows(context, file))
    add_skipped(context.skipped, file.skipped)
    return rows


def _check_share_of_bad_rows(file: _LabelFile) -> None:
    """Refuses a file of pixels with too many bad rows; labels of other expressions are not bad."""
    bad_rows = [names for reason, names in file.skipped.items() if OTHER_LABEL not in reason]
    bad = sum(map(len, bad_rows))
    most = MOST_BAD_ROWS * len(file.lines)
    if bad <= most:
        return
    raise InputError(
        f"{file.name} has one label and {_PIXELS} pixels from 0 to 255 in each row",
        f"{bad:,} bad of {len(file.lines):,} rows: {summarise_skipped(file.skipped)}",
        "Fetch or export it again.",
    )


# From a file's bytes to lines.


def _read_lines(context: ReadContext, table: Table, name: str) -> list[_Line]:
    """Reads a label file: its rows by column, names in lower case without the spaces around them."""
    data = context.read_label_file(name)
    # Only newlines end a line. U+2028, U+0085, form feeds and, in quotes, newlines may be in a file's name.
    stream = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=None if table.header else "")
    try:
        if table.header:
            columns = table.header
            lines = _parse_spaced(stream, columns)
        else:
            reader = csv.reader(stream, strict=True)
            columns = tuple(column.strip().lower() for column in next(reader, ()))
            lines = [_parse_cells(name, table, columns, reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        rule = "a label file is text in UTF-8, with commas between columns"
        raise InputError(rule, f"{name} ({error})", "Export it again.") from error
    _check_columns(name, table, columns)
    if not lines:
        rule = f"{name} has a row per image"
        raise InputError(rule, "no rows", "Fill it, or remove it to read the folders instead.")
    return lines


def _parse_spaced(stream: io.TextIOWrapper, columns: Sequence[str]) -> list[_Line]:
    """Returns the lines of a file without a header, whose cells are separated by spaces."""
    lines = []
    for number, text in enumerate(stream, start=1):
        cells = text.split()
        if cells:
            lines.append(_Line(number, dict(zip(columns, cells, strict=False))))
    return lines


def _parse_cells(file: str, table: Table, columns: Sequence[str], number: int, cells: Sequence[str]) -> _Line:
    """Returns a row by column; cells that are missing at its end are empty."""
    if table.strict and len(cells) > len(columns):
        rule = f"a row of {file} has a cell per column"
        value = f"{len(cells)} cells in line {number}"
        raise InputError(rule, value, 'Put quotes around cells with commas: "a,b.png".')
    return _Line(number, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False)))


def _check_columns(file: str, table: Table, columns: Sequence[str]) -> None:
    """Refuses a file without a column that its table needs."""
    needed = [table.expression, table.pixels or table.path or ""]
    missing = [column for column in needed if column not in columns]
    if missing:
        present = ", ".join(filter(None, columns))[:100] or "none"
        rule = f"{file} needs the columns {', '.join(needed)}"
        raise InputError(rule, f"the columns {present}", f"Add {', '.join(missing)}.")


# Rows with pixels.


class _UnreadablePixels(ValueError):
    """Pixels of a row that is skipped; the message is the reason."""


def _pixel_rows(context: ReadContext, file: _LabelFile) -> Iterator[Row]:
    """Yields the rows of a file that holds the pixels; what is left out is noted in the file's `skipped`."""
    for line in file.lines:
        name = f"{file.name}:{line.number}"
        label = context.parse_label(line.cell(file.table.expression), name, file.skipped)
        if label is None:
            continue
        try:
            pixels = _parse_pixels(line.cell(file.table.pixels))
        except _UnreadablePixels as error:
            file.skipped[str(error)].append(name)
            continue
        split = context.parse_split(line.cell(file.table.split))
        yield Row(name, label, split=split, pixels=pixels)


def _parse_pixels(text: str) -> np.ndarray:
    """Returns the image, uint8 (48, 48), that a row holds.

    Raises:
        _UnreadablePixels: The text is not the numbers of one image.
    """
    try:
        with warnings.catch_warnings(action="error"):  # numpy only warns of text that is no number
            pixels = np.fromstring(text, dtype=np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        raise _UnreadablePixels("pixels that are no numbers") from None
    if pixels.size != _PIXELS:
        raise _UnreadablePixels(f"not {_PIXELS} pixels")
    if pixels.min() < 0 or pixels.max() > 255:
        raise _UnreadablePixels("pixels outside 0 to 255")
    return pixels.astype(np.uint8).reshape(SIZE, SIZE)


# Rows with paths.


def _path_rows(context: ReadContext, file: _LabelFile) -> Iterator[Row]:
    """Yields the rows of a file that names the images; what is left out is noted in the file's `skipped`."""
    table = file.table
    if table.strict:
        _check_manifest(context.copy, file)
    places = _index_names(context.copy)
    file_name = PurePosixPath(file.name).name
    for line in file.lines:
        name = str(path_inside(_path_cell(line, table), f"a path in {file.name}"))
        place = _locate(name, table, places)
        if place is None:
            file.skipped[f"named in {file_name} but not there"].append(name)
            continue
        label = context.parse_label(line.cell(table.expression), name, file.skipped)
        if label is None:
            continue
        yield Row(
            place,
            label,
            subject=line.cell(table.subject).strip() or None,
            split=context.parse_split(_split_text(line, table, f"{file_name}/{name}")),
            box=_parse_box(line, table),
            portrait=context.is_portrait(place),
        )


def _path_cell(line: _Line, table: Table) -> str:
    """Returns an image's path without the spaces around it; other white space may be a part of its name."""
    return line.cell(table.path).strip(" \t")


def _split_text(line: _Line, table: Table, path: str) -> str:
    """Returns the word of the split: from the path "<file name>/<image path>", else from the split's column."""
    match = re.search(table.split_in, path, re.IGNORECASE) if table.split_in else None
    return match[1] if match else line.cell(table.split)


def _parse_box(line: _Line, table: Table) -> tuple[float, ...]:
    """Returns the face's x, y, width, height in pixels; empty where they are missing or make no box."""
    try:
        box = tuple(float(line.cells[column]) for column in table.box)
    except (KeyError, TypeError, ValueError):
        return ()
    is_box = box and np.isfinite(box).all() and min(box[2:]) > 0
    return box if is_box else ()


def _index_names(copy: DatasetCopy) -> Mapping[str, list[str]]:
    """Returns the paths of a copy's files by the last part of the path, in lower case."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in copy.stats:
        places[_last_part(path)].append(path)
    return places


def _last_part(path: str) -> str:
    """Returns a file's name, in lower case."""
    return path.rsplit("/", 1)[-1].lower()


def _locate(name: str, table: Table, places: Mapping[str, list[str]]) -> str | None:
    """Returns the image's path: the very one, else (not for a user's manifest) the first that ends like it."""
    path = PurePosixPath(name)
    for template in table.images:
        wanted = str(path.parent / template.format(path=path.name, stem=path.stem, suffix=path.suffix))
        candidates = places.get(_last_part(wanted), ())
        if wanted in candidates:
            return wanted
        if table.strict:
            continue
        similar = [place for place in candidates if f"/{place}".lower().endswith(f"/{wanted}".lower())]
        if similar:
            return min(similar)
    return None


# A user's manifest.


def _check_manifest(copy: DatasetCopy, file: _LabelFile) -> None:
    """Refuses mistakes in a file that a user wrote, where a guess could spoil a study in silence."""
    seen: set[str] = set()
    for line in file.lines:
        path = _path_cell(line, file.table)
        if not path:
            rule = f"every row of {file.name} names an image"
            raise InputError(rule, f"no path in line {line.number}", "Fill or remove it.")
        name = str(path_inside(path, f"a path in {file.name}"))
        if not Path(os.path.realpath(copy.root / name)).is_relative_to(copy.root):
            rule = f"a path in {file.name} stays inside the dataset's folder"
            raise InputError(rule, f"{path}, a link out of it", "Copy the image into the folder.")
        if name in seen:
            rule = f"{file.name} names every image once"
            raise InputError(rule, f"{path} again in line {line.number}", "Remove the duplicate rows.")
        seen.add(name)
        _check_filled(file, line)


def _check_filled(file: _LabelFile, line: _Line) -> None:
    """Refuses empty cells in the columns of subject and split, and unknown words in that of the split."""
    for column, allowed in ((file.table.subject, None), (file.table.split, SPLIT_WORDS)):
        if column is None or column not in line.cells:
            continue
        text = line.cell(column).strip()
        is_allowed = allowed is None or re.sub("[^a-z]", "", text.lower()) in allowed
        if text and is_allowed:
            continue
        rule = f"the column {column} of {file.name} is filled in every row"
        if allowed is not None:
            rule += " with train, validation or test"
        raise InputError(rule, f"{text!r} in line {line.number}", "Correct it, or remove the column.")
