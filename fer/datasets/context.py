"""What every step of reading one copy of a dataset shares: its layout, its files, and what was noted so far."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fer.datasets.arrays import SIZE
from fer.datasets.copy_files import DatasetCopy, reason_of
from fer.datasets.layouts import SPLIT_WORDS, Layout
from fer.datasets.skipped import Skipped
from fer.errors import InputError
from fer.expressions import ExpressionSet, spell_label
from fer.image_format import GREY

OTHER_LABEL = " is none of the "
"""What the reason of a label that stands for no expression has after the label."""


@dataclass(frozen=True)
class Row:
    """One face as its layout names it.

    Attributes:
        name: The image's path, or the csv file's with the row number.
        label: Index into the names of the `ExpressionSet`.
        subject: The person, as written; None where unknown.
        split: "train", "validation", "test", or None where the dataset does not say.
        frame: Number in its sequence.
        box: The face's x, y, width, height in pixels.
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
class ReadContext:
    """The reading of one copy.

    Attributes:
        layout: How the dataset is laid out.
        copy: Its files.
        expressions: What its labels stand for.
        skipped: Names of what is left out, by reason; every step adds to it.
        hashes: The hash of each file that was read, by name; every step adds to it.
        size: Height and width of the faces.
        colour: "grey" or "rgb", see `fer.image_format.ImageFormat`.
        scratch: Folder for faces that are more than fit into memory; None keeps them in memory.
        met: The labels that were met, as words; every step adds to it.
    """

    layout: Layout
    copy: DatasetCopy
    expressions: ExpressionSet
    skipped: Skipped
    hashes: dict[str, bytes] = field(default_factory=dict)
    size: int = SIZE
    colour: str = GREY
    scratch: Path | None = None
    met: set[str] = field(default_factory=set)

    def read_label_file(self, name: str) -> bytes:
        """Reads a file of labels and notes its hash.

        Raises:
            InputError: It cannot be read.
        """
        try:
            data = self.copy.read(name)
        except OSError as error:
            rule = "a dataset's label files must be readable"
            value = f"{self.copy.root / name} ({reason_of(error)})"
            raise InputError(rule, value, "Put the file itself there.") from error
        self.hashes[name] = hash_bytes(data)
        return data

    def is_portrait(self, name: str) -> bool:
        """Returns whether an image shows more than a face, so that its face has to be detected."""
        pattern = self.layout.portraits
        return pattern is not None and re.search(pattern, self.copy.whole_name(name), re.IGNORECASE) is not None

    def parse_split(self, text: str | None) -> str | None:
        """Returns the split that a dataset's word stands for; None where it says nothing."""
        if not text:
            return None
        word = re.sub(r"[^a-z]", "", text.lower())
        return dict(self.layout.splits).get(word) or SPLIT_WORDS.get(word)

    def parse_label(self, text: str, name: str, skipped: Skipped) -> int | None:
        """Returns the expression's index; None where it stands for none.

        Args:
            text: The label as the dataset has it.
            name: The image's, or the row's.
            skipped: Gets the name, by the reason, where the label is left out.
        """
        try:
            word = spell_label(text, self.layout.numbers)
        except ValueError:
            skipped[f"label out of range: {text.strip()[:20]!r}"].append(name)
            return None
        self.met.add(word)
        label = self.expressions.parse(word)
        if label is None:
            skipped[f"{word[:30]!r}{OTHER_LABEL}{self.expressions.title}"].append(name)
        return label


def hash_bytes(data: bytes) -> bytes:
    """Returns the hash of a file's content, 16 bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()
