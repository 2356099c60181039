"""The one reader of all layouts: from a copy's files to faces with labels, subjects and split words."""

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer.datasets.context import ReadContext
from fer.datasets.copy_files import DatasetCopy
from fer.datasets.decoding import decode_rows
from fer.datasets.image_rows import read_image_rows
from fer.datasets.layouts import Layout
from fer.datasets.report import ReaderOptions
from fer.datasets.skipped import add_skipped, new_skipped, summarise_skipped
from fer.datasets.table_rows import find_table, read_table_rows
from fer.errors import InputError


@dataclass(frozen=True)
class Faces:
    """What was read.

    Attributes:
        images: uint8 (n, size, size) where all faces are grey, else (n, 3, size, size).
        labels: int64 (n,), indices into the names of the `ExpressionSet`.
        subjects: n names, None where unknown.
        splits: n split words, None where the dataset does not say.
        skipped: Names of what was left out, by reason.
        detected: Number of faces that the detector saw.
        undetected: Names of the portraits in which it saw none.
        cropped_as_usual: Whether these were cropped where the other portraits' faces lie; otherwise in the centre.
        content: Hash of names and bytes of all files that were read, and of which are portraits.
        met: The labels that were met, as words.
    """

    images: np.ndarray
    labels: np.ndarray
    subjects: list[str | None]
    splits: list[str | None]
    skipped: Mapping[str, list[str]]
    detected: int
    undetected: list[str]
    cropped_as_usual: bool
    content: str
    met: Set[str]


def read_copy(layout: Layout, copy: DatasetCopy, options: ReaderOptions, scratch: Path) -> Faces:
    """Reads a copy of a dataset.

    Args:
        layout: How it is laid out.
        copy: Its files.
        options: For the faces' size and colour, and for what labels stand for.
        scratch: Folder for faces that are more than fit into memory.

    Raises:
        InputError: A label file breaks a rule, or no face is left.
    """
    # What was left out while the files were listed comes first; every step that follows adds to it.
    context = ReadContext(
        layout,
        copy,
        options.expressions,
        new_skipped(),
        size=options.size,
        colour=options.colour,
        scratch=scratch,
    )
    add_skipped(context.skipped, copy.skipped)

    # Labels come from a table where there is one, else from the images' paths.
    table = find_table(layout, copy)
    rows = read_image_rows(context) if table is None else read_table_rows(context, table)

    # Files that cannot be decoded are left out; a copy of which nothing is left is refused.
    decoded = decode_rows(context, rows)
    if not decoded.rows:
        raise InputError(
            f"a copy of {layout.title} holds images with their expressions",
            f"{copy.root} without a usable one ({summarise_skipped(context.skipped) or 'no files'})",
            "README.md shows each dataset's layout; any other works as one folder per expression or manifest.csv.",
        )
    return Faces(
        images=decoded.images,
        labels=np.array([row.label for row in decoded.rows], dtype=np.int64),
        subjects=[row.subject for row in decoded.rows],
        splits=[row.split for row in decoded.rows],
        skipped=context.skipped,
        detected=decoded.detected,
        undetected=decoded.undetected,
        cropped_as_usual=decoded.cropped_as_usual,
        content=_hash_content(context.hashes, {row.name for row in decoded.rows if row.portrait}),
        met=context.met,
    )


def _hash_content(hashes: Mapping[str, bytes], portraits: Set[str]) -> str:
    """Returns one hash of the names and contents of all files, 32 hex digits.

    Args:
        hashes: Each file's hash, by its name.
        portraits: Names of those that are portraits. Folders that are in no name may say so.
    """
    content = hashlib.blake2b(digest_size=16)
    for name in sorted(hashes):
        kind = b"portrait" if name in portraits else b"face"
        content.update(name.encode("utf-8", "surrogateescape") + b"\0" + kind + b"\0" + hashes[name])
    return content.hexdigest()
