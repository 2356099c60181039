"""The one reader of all layouts: from a copy's files to faces with labels, subjects and split words."""

import csv
import hashlib
import io
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path, PurePosixPath

import numpy as np

from fer.datasets import faces
from fer.datasets.archives import DatasetCopy, Skipped, path_inside, reason_of
from fer.datasets.arrays import SIZE
from fer.datasets.layouts import FOLDERS, IMAGE, MANIFEST, SPLIT_WORDS, Layout, Table
from fer.errors import InputError
from fer.expressions import EXPRESSIONS, parse_expression, spell_label

MOST_BAD_ROWS = 0.1  # a csv file with a larger share of bad rows is refused: something is wrong with all of it
_BATCH = 4096  # images on their way at a time: hundreds of thousands would fill the memory
_USUAL_AFTER = 5  # detected faces of a dataset that tell where in its portraits faces lie
csv.field_size_limit(2**20)  # characters; 2,304 pixels have 9,000 at most


@dataclass(frozen=True)
class Row:
    """One face as its layout names it.

    Attributes:
        name: The image's path, or the csv file's with the row number.
        label: Index into `EXPRESSIONS`.
        subject: The person, as written; None where unknown.
        split: "train", "validation", "test", or None where the dataset does not say.
        frame: Number in its sequence.
        box: The face's x, y, width, height.
        portrait: The face is to be detected.
        pixels: uint8 (48, 48), where the csv file holds them.
    """

    name: str
    label: int
    subject: str | None = None
    split: str | None = None
    frame: int | None = None
    box: tuple[float, ...] = ()
    portrait: bool = False
    pixels: np.ndarray | None = None


@dataclass(frozen=True)
class Faces:
    """What was read.

    Attributes:
        images: uint8 (n, 48, 48).
        labels: int64 (n,).
        subjects: n names, None where unknown.
        splits: n split words, None where the dataset does not say.
        skipped: Names of what was left out, by reason.
        detected: Faces found by the detector.
        cropped: Portraits without a find, which were cropped where the other portraits' faces lie, or in the centre.
        framed: They were cropped where the others' faces lie.
        content: Hash of names and bytes of all files that were read.
    """

    images: np.ndarray
    labels: np.ndarray
    subjects: list[str | None]
    splits: list[str | None]
    skipped: Mapping[str, list[str]]
    detected: int
    cropped: list[str]
    framed: bool
    content: str


def read(layout: Layout, copy: DatasetCopy) -> Faces:
    """Reads a copy of a dataset.

    Args:
        layout: How it is laid out.
        copy: Its files.

    Raises:
        InputError: A label file breaks a rule, or no face is left.
    """
    skipped: Skipped = defaultdict(list, {reason: list(names) for reason, names in copy.skipped.items()})
    hashes: dict[str, bytes] = {}
    table, files = _label_files(layout, copy)
    if table is not None:
        rows = [row for file in files for row in _table_rows(layout, table, copy, file, skipped, hashes)]
    else:
        rows = _image_rows(layout, copy, skipped, hashes)
    images, rows, detected, cropped = _decode(rows, copy, skipped, hashes)
    if not rows:
        raise InputError(
            f"a copy of {layout.title} holds images with their expressions",
            f"{copy.root} without a usable one ({_summary(skipped) or 'no files'})",
            "README.md shows each dataset's layout; any other works as one folder per expression or manifest.csv.",
        )
    labels = np.array([row.label for row in rows], dtype=np.int64)
    content = hashlib.blake2b(digest_size=16)
    for name in sorted(hashes):
        content.update(name.encode("utf-8", "surrogateescape") + b"\0" + hashes[name])
    subjects, splits = [row.subject for row in rows], [row.split for row in rows]
    framed = detected >= _USUAL_AFTER
    return Faces(images, labels, subjects, splits, skipped, detected, cropped, framed, content.hexdigest())


def _summary(skipped: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{len(names):,} × {reason}" for reason, names in skipped.items())


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _read_labels(copy: DatasetCopy, name: str, hashes: dict[str, bytes]) -> bytes:
    try:
        data = copy.read(name)
    except OSError as error:
        rule = "a dataset's label files must be readable"
        raise InputError(rule, f"{copy.root / name} ({reason_of(error)})", "Put the file itself there.") from error
    hashes[name] = _hash(data)
    return data


def _label_files(layout: Layout, copy: DatasetCopy) -> tuple[Table | None, list[str]]:
    """Returns the first table of the layout that is there, with its files; a user's manifest wins."""
    for table in (MANIFEST, *layout.tables):
        files = [name for name in copy.stats if re.search(table.file, name, re.IGNORECASE)]
        if files:
            return table, files if table.path else files[:1]  # pixels twice would only be one dataset twice
    return None, []


def _split_word(text: str | None, layout: Layout) -> str | None:
    if not text:
        return None
    word = re.sub(r"[^a-z]", "", text.lower())
    return dict(layout.splits).get(word) or SPLIT_WORDS.get(word)


def _label(text: str, layout: Layout, name: str, skipped: Skipped) -> int | None:
    """Returns the expression's index, or None with the reason noted."""
    try:
        word = spell_label(text, layout.numbers)
    except ValueError:
        skipped[f"label out of range: {text.strip()[:20]!r}"].append(name)
        return None
    label = parse_expression(word)
    if label is None:
        skipped[f"{word[:30]!r} is none of the seven expressions"].append(name)
    return label


# Images whose labels are in their paths.


def _image_rows(layout: Layout, copy: DatasetCopy, skipped: Skipped, hashes: dict[str, bytes]) -> list[Row]:
    names = _candidates(layout, copy, skipped)
    labels = _sequence_labels(layout, copy, skipped, hashes)
    for patterns in (*layout.images, (FOLDERS,)):
        trial: Skipped = defaultdict(list)
        rows = list(_matches(layout, patterns, names, labels, trial))
        if rows:
            for reason, found in trial.items():
                skipped[reason] += found
            return _take_frames(layout, rows, skipped)
    for reason, found in trial.items():
        skipped[reason] += found
    return []


def _candidates(layout: Layout, copy: DatasetCopy, skipped: Skipped) -> list[str]:
    """Returns the paths of all images that the layout does not leave out."""
    names = []
    for name in copy.stats:
        reason = next((why for pattern, why in layout.ignored if re.search(pattern, name, re.IGNORECASE)), None)
        if reason:
            skipped[reason].append(name)
        elif re.search(IMAGE, name, re.IGNORECASE):
            names.append(name)
        elif not (layout.labels and re.search(layout.labels, name, re.IGNORECASE)):
            skipped["not an image by its name"].append(name)
    return names


def _sequence_labels(
    layout: Layout, copy: DatasetCopy, skipped: Skipped, hashes: dict[str, bytes]
) -> dict[tuple[str, str], str]:
    """Reads the label files beside sequences: their text by subject and sequence."""
    found: dict[tuple[str, str], str] = {}
    for name in copy.stats if layout.labels else ():
        match = re.search(layout.labels or "", name, re.IGNORECASE)
        if match:
            data = _read_labels(copy, name, hashes)
            text = data[:100].decode("ascii", "replace").strip()
            if text:
                found[match["subject"], match["sequence"]] = text
            else:
                skipped["an empty label file"].append(name)
    return found


def _matches(
    layout: Layout,
    patterns: tuple[str, ...],
    names: Iterable[str],
    labels: Mapping[tuple[str, str], str],
    skipped: Skipped,
) -> Iterator[Row]:
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    for name in names:
        match = next((match for match in (pattern.search(name) for pattern in compiled) if match), None)
        if match is None:
            skipped["not named as the dataset's layout has it"].append(name)
            continue
        part = match.groupdict()
        text = part.get("expression") or labels.get((part.get("subject") or "", part.get("sequence") or ""))
        if text is None:
            skipped["its sequence has no label"].append(name)
            continue
        label = _label(text, layout, name, skipped)
        if label is not None:
            yield Row(
                name,
                label,
                subject=part["subject"].upper() if part.get("subject") else None,
                split=_split_word(part.get("split"), layout),
                frame=int(part["frame"]) if part.get("frame") else None,
                portrait=_is_portrait(layout, name),
            )


def _is_portrait(layout: Layout, name: str) -> bool:
    return layout.portraits is not None and re.search(layout.portraits, name, re.IGNORECASE) is not None


def _take_frames(layout: Layout, rows: list[Row], skipped: Skipped) -> list[Row]:
    """Takes each sequence's frames by the layout's rule; rows without a frame number are all taken."""
    rule = layout.frames
    if rule is None:
        return rows
    taken = [row for row in rows if row.frame is None]
    sequences: dict[PurePosixPath, list[Row]] = defaultdict(list)
    for row in rows:
        if row.frame is not None:
            sequences[PurePosixPath(row.name).parent].append(row)
    for frames in sequences.values():
        frames.sort(key=lambda row: (row.frame or 0, row.name))
        begins = rule.neutral_first and (frames[0].frame or 0) <= 1
        if begins:
            taken.append(replace(frames[0], label=EXPRESSIONS.index("neutral")))
            frames = frames[1:]
        elif rule.neutral_first:
            sequence = str(PurePosixPath(frames[0].name).parent)
            skipped["a neutral image of a sequence whose first frame is not there"].append(sequence)
        if not frames:
            continue
        last = len(frames) - 1
        if rule.where == "middle":
            chosen = {round(place) for place in np.linspace(0.4 * last, 0.6 * last, rule.count)}
        else:
            chosen = set(range(max(0, last + 1 - rule.count), last + 1))
        taken += [frames[index] for index in sorted(chosen)]
        left = [row.name for index, row in enumerate(frames) if index not in chosen]
        if left:
            skipped[f"not among the frames taken of a sequence ({rule.where} {rule.count})"] += left
    return sorted(taken, key=lambda row: row.name)


# Labels in tables.


def _table_rows(
    layout: Layout, table: Table, copy: DatasetCopy, file: str, skipped: Skipped, hashes: dict[str, bytes]
) -> list[Row]:
    lines = _csv_rows(table, copy, file, hashes)
    bad: Skipped = defaultdict(list)
    if table.pixels:
        rows = list(_pixel_rows(layout, table, file, lines, bad))
    else:
        rows = list(_path_rows(layout, table, copy, file, lines, bad))
    broken = sum(len(names) for reason, names in bad.items() if "none of the seven" not in reason)
    if table.pixels and broken > MOST_BAD_ROWS * len(lines):
        rule = f"{file} has one label and {SIZE * SIZE} pixels from 0 to 255 in each row"
        raise InputError(rule, f"{broken:,} bad of {len(lines):,} rows: {_summary(bad)}", "Fetch or export it again.")
    for reason, names in bad.items():
        skipped[reason] += names
    return rows


@dataclass(frozen=True)
class _Line:
    """A row of a label file: the number of the line that it ends in, and its cells by column."""

    number: int
    cells: Mapping[str, str]


def _csv_rows(table: Table, copy: DatasetCopy, file: str, hashes: dict[str, bytes]) -> list[_Line]:
    """Reads a label file: its rows by column, names in lower case without the spaces around them."""
    data = _read_labels(copy, file, hashes)
    # Only newlines end a line. U+2028, U+0085, form feeds and, in quotes, newlines may be in a file's name.
    stream = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=None if table.header else "")
    try:
        if table.header:
            present = table.header
            cells = (line.split() for line in stream)
            rows = [
                _Line(number, dict(zip(present, words, strict=False)))
                for number, words in enumerate(cells, start=1)
                if words
            ]
        else:
            reader = csv.reader(stream, strict=True)
            present = tuple(name.strip().lower() for name in next(reader, ()))
            rows = [_line(file, table, present, reader.line_num, words) for words in reader if words]
    except (UnicodeDecodeError, csv.Error) as error:
        rule = "a label file is text in UTF-8, with commas between columns"
        raise InputError(rule, f"{file} ({error})", "Export it again.") from error
    needed = [table.expression, table.pixels or table.path or ""]
    missing = [column for column in needed if column not in present]
    if missing:
        have = ", ".join(filter(None, present))[:100] or "none"
        rule = f"{file} needs the columns {', '.join(needed)}"
        raise InputError(rule, f"the columns {have}", f"Add {', '.join(missing)}.")
    if not rows:
        raise InputError(f"{file} has a row per image", "no rows", "Fill it, or remove it to read the folders instead.")
    return rows


def _line(file: str, table: Table, columns: tuple[str, ...], number: int, words: list[str]) -> _Line:
    if table.strict and len(words) > len(columns):
        rule = f"a row of {file} has a cell per column"
        raise InputError(
            rule, f"{len(words)} cells in line {number}", 'Put quotes around cells with commas: "a,b.png".'
        )
    cells = dict.fromkeys(columns, "") | dict(zip(columns, words, strict=False))
    return _Line(number, cells)


def _pixel_rows(layout: Layout, table: Table, file: str, lines: list[_Line], bad: Skipped) -> Iterator[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy only warns of text that is no number
        for line in lines:
            name = f"{file}:{line.number}"
            label = _label(line.cells[table.expression], layout, name, bad)
            if label is None:
                continue
            try:
                pixels = np.fromstring(line.cells[table.pixels or ""], dtype=np.int64, sep=" ")
            except (ValueError, DeprecationWarning):
                bad["pixels that are no numbers"].append(name)
                continue
            if pixels.size != SIZE * SIZE:
                bad[f"not {SIZE * SIZE} pixels"].append(name)
            elif pixels.min() < 0 or pixels.max() > 255:
                bad["pixels outside 0 to 255"].append(name)
            else:
                split = _split_word(line.cells.get(table.split or ""), layout)
                yield Row(name, label, split=split, pixels=pixels.astype(np.uint8).reshape(SIZE, SIZE))


def _path_rows(
    layout: Layout, table: Table, copy: DatasetCopy, file: str, lines: list[_Line], bad: Skipped
) -> Iterator[Row]:
    if table.strict:
        _check_manifest(table, copy, file, lines)
    places = _places(copy)
    for line in lines:
        path = _path_cell(line, table)
        name = str(path_inside(path, f"a path in {file}"))
        where = _locate(name, table, places)
        if where is None:
            bad[f"named in {PurePosixPath(file).name} but not there"].append(name)
            continue
        label = _label(line.cells.get(table.expression, ""), layout, name, bad)
        if label is not None:
            match = re.search(table.split_in, f"{PurePosixPath(file).name}/{name}", re.I) if table.split_in else None
            yield Row(
                where,
                label,
                subject=line.cells.get(table.subject or "", "").strip() or None,
                split=_split_word(match[1] if match else line.cells.get(table.split or ""), layout),
                box=_box(line.cells, table),
                portrait=_is_portrait(layout, where),
            )


def _path_cell(line: _Line, table: Table) -> str:
    """Returns an image's path without the spaces around it; other white space may be a part of its name."""
    return line.cells.get(table.path or "", "").strip(" \t")


def _check_manifest(table: Table, copy: DatasetCopy, file: str, lines: list[_Line]) -> None:
    """Refuses slips in a file that a user wrote, where a guess could spoil a study in silence."""
    seen: set[str] = set()
    for line in lines:
        path = _path_cell(line, table)
        if not path:
            rule = f"every row of {file} names an image"
            raise InputError(rule, f"no path in line {line.number}", "Fill or remove it.")
        name = str(path_inside(path, f"a path in {file}"))
        if not Path(os.path.realpath(copy.root / name)).is_relative_to(copy.root):
            rule = f"a path in {file} stays inside the dataset's folder"
            raise InputError(rule, f"{path}, a link out of it", "Copy the image into the folder.")
        if name in seen:
            rule = f"{file} names every image once"
            raise InputError(rule, f"{path} again in line {line.number}", "Remove the duplicate rows.")
        seen.add(name)
        for column, allowed in ((table.subject, None), (table.split, SPLIT_WORDS)):
            if column is None or column not in line.cells:
                continue
            text = line.cells[column].strip()
            if not text or (allowed and re.sub("[^a-z]", "", text.lower()) not in allowed):
                rule = f"the column {column} of {file} is filled in every row" + (
                    " with train, validation or test" if allowed else ""
                )
                raise InputError(rule, f"{text!r} in line {line.number}", "Correct it, or remove the column.")


def _places(copy: DatasetCopy) -> dict[str, list[str]]:
    places: dict[str, list[str]] = defaultdict(list)
    for name in copy.stats:
        places[name.rsplit("/", 1)[-1].lower()].append(name)
    return places


def _locate(name: str, table: Table, places: Mapping[str, list[str]]) -> str | None:
    """Returns the image's path: the very one, else (not for a user's manifest) the first that ends like it."""
    path = PurePosixPath(name)
    for template in table.images:
        wanted = str(path.parent / template.format(path=path.name, stem=path.stem, suffix=path.suffix))
        found = places.get(wanted.rsplit("/", 1)[-1].lower(), ())
        if wanted in found:
            return wanted
        if not table.strict:
            ends = [place for place in found if f"/{place}".lower().endswith(f"/{wanted}".lower())]
            if ends:
                return min(ends)
    return None


def _box(line: Mapping[str, str], table: Table) -> tuple[float, ...]:
    try:
        box = tuple(float(line[column]) for column in table.box)
    except (KeyError, TypeError, ValueError):
        return ()
    return box if box and np.isfinite(box).all() and min(box[2:]) > 0 else ()


# Pixels.


@dataclass(frozen=True)
class _Decoded:
    """One row's image.

    Attributes:
        digest: Hash of the file; empty where the pixels came from a table.
        face: uint8 (48, 48), or the reason why there is none.
        found: Whether a face was found; None where none was sought.
        box: Of a detected face, its centre in parts of the image's width and height, and its side in parts of the
            shorter of these.
    """

    digest: bytes
    face: np.ndarray | str
    found: bool | None = None
    box: tuple[float, float, float] | None = None


def _decode(
    rows: list[Row], copy: DatasetCopy, skipped: Skipped, hashes: dict[str, bytes]
) -> tuple[np.ndarray, list[Row], int, list[str]]:
    """Decodes the rows' images.

    Returns:
        uint8 (n, 48, 48); the n rows that could be decoded; the number of faces detected; the names of portraits
        without one.
    """
    images = np.empty((len(rows), SIZE, SIZE), np.uint8)
    kept: list[Row] = []
    missed: list[int] = []
    boxes: list[tuple[float, float, float]] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            for row, decoded in zip(batch, pool.map(_face, batch, repeat(copy)), strict=True):
                if row.pixels is None:
                    hashes[row.name] = decoded.digest
                if isinstance(decoded.face, str):
                    skipped[decoded.face].append(row.name)
                    continue
                if decoded.found is False:
                    missed.append(len(kept))
                if decoded.box is not None:
                    boxes.append(decoded.box)
                images[len(kept)] = decoded.face
                kept.append(row)

        # Portraits without a find are framed as the others are.
        if len(boxes) >= _USUAL_AFTER:
            usual = tuple(np.median(boxes, axis=0))
            framed = pool.map(_framed, [kept[index] for index in missed], repeat(copy), repeat(usual))
            for index, face in zip(missed, framed, strict=True):
                images[index] = face
    return images[: len(kept)], kept, len(boxes), [kept[index].name for index in missed]


def _face(row: Row, copy: DatasetCopy) -> _Decoded:
    """Reads one image and cuts the face out."""
    if row.pixels is not None:
        return _Decoded(b"", row.pixels)
    try:
        data = copy.read(row.name, faces.MOST_BYTES)
    except OSError as error:
        return _Decoded(b"", f"unreadable file ({reason_of(error)})")
    try:
        grey = faces.decode(data)
    except faces.UnreadableImage as error:
        return _Decoded(_hash(data), str(error))
    if row.box and _box_fits(row.box, grey):
        return _Decoded(_hash(data), faces.resize_face(faces.crop_square(grey, row.box)))
    if not row.portrait or min(grey.shape) <= SIZE:
        return _Decoded(_hash(data), faces.resize_face(grey), found=False if row.box else None)
    box = faces.find_face(grey)
    if box is None:
        return _Decoded(_hash(data), faces.resize_face(grey), found=False)
    x, y, width, height = box
    centre = (x + width / 2) / grey.shape[1], (y + height / 2) / grey.shape[0]
    relative = (*centre, max(width, height) / min(grey.shape))
    return _Decoded(_hash(data), faces.resize_face(faces.crop_square(grey, box)), True, relative)


def _framed(row: Row, copy: DatasetCopy, usual: tuple[float, float, float]) -> np.ndarray:
    """Cuts the face out where it usually lies, see `_Decoded.box`."""
    grey = faces.decode(copy.read(row.name, faces.MOST_BYTES))
    side = usual[2] * min(grey.shape)
    x, y = usual[0] * grey.shape[1] - side / 2, usual[1] * grey.shape[0] - side / 2
    return faces.resize_face(faces.crop_square(grey, (x, y, side, side)))


def _box_fits(box: tuple[float, ...], grey: np.ndarray) -> bool:
    height, width = grey.shape
    return -width < box[0] < width and -height < box[1] < height and max(box[2:]) <= 2 * max(height, width)
