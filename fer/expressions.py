"""The expressions that a study tells apart, in one order, and the spellings of datasets that stand for each.

Seven or eight are known by themselves; any others are a user's own file of labels, see `read_expressions`.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fer.errors import InputError, closest, printable, shorten
from fer.files import UnsuitableFile, checksum, read_regular, size_text

FEWEST, MOST = 2, 32
"""Expressions of a study; the largest sets of compound expressions have 22 (Du et al. 2014)."""
LONGEST_NAME = 40
"""Characters of an expression's name, which stands in tables and in names of metrics."""
_LONGEST_LABEL = 100
_MOST_BYTES = 64 * 2**10
"""Of a file of labels, whose content stands in every study's record."""
_HEADER = ["label", "expression"]
_TAKEN = ("image", "expression")
"""Names of other columns beside those of the expressions."""

# Spellings and codes in the datasets' folder names, file names and label columns. TFEID's last tokens are
# ng ag cg dg fg hg sg pg: neutral, anger, contempt, disgust, fear, happiness, sadness, surprise.
_SPELLINGS = {
    "anger": "anger angry an ang ag",
    "disgust": "disgust disgusted disguest disgusting di dis dg",
    "fear": "fear fearful fearfull afraid af fe fea fg scared",
    "happiness": "happiness happyness happy ha hap hg joy smile",
    "sadness": "sadness sad sa sg",
    "surprise": "surprise surprised suprise suprised su sur pg",
    "neutral": "neutral ne neu neutrality neural ng calm",
    "contempt": "contempt contemptuous contemptous co con cg",
}


_OTHER_SPELLINGS = {word: words.split() for words in _SPELLINGS.values() for word in words.split()}
"""Each known spelling with all of its expression."""


@dataclass(frozen=True)
class ExpressionSet:
    """The expressions of a study.

    Attributes:
        names: In the order of a network's logits.
        labels: The labels that stand for expressions, without case and marks, each with the index of its expression.
    """

    names: tuple[str, ...]
    labels: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / len(self.names)

    @property
    def title(self) -> str:
        """What the labels are that stand for an expression, in words: "seven expressions"."""
        known = {SEVEN: "seven expressions", EIGHT: "eight expressions"}
        return known.get(self, f"labels of the {len(self.names)} expressions")

    def parse(self, text: str) -> int | None:
        """Returns the index in `names` of the expression that a label stands for, or None for other labels.

        Case and everything but letters and digits are ignored; where nothing is known of the rest, digits and foreign
        letters are ignored as well: "Happy_01" and "happy" are the same spelling.
        """
        spelling = self.spelling_of(text)
        return None if spelling is None else self._index_of_label[spelling]

    def spelling_of(self, text: str) -> str | None:
        """Returns what a label is known as, "happy" of "Happy_01", or None for other labels."""
        with_digits = _plain(text)
        letters = re.sub(r"[^a-z]", "", text.lower())
        return next((word for word in (with_digits, letters) if word in self._index_of_label), None)

    @property
    def is_own(self) -> bool:
        """Whether the labels are those of a user's file."""
        return self not in (SEVEN, EIGHT)

    def find_unmet(self, met: Iterable[str]) -> dict[str, str]:
        """Returns the labels of a user's file that no image has, each with the label that it may be meant for, or "".

        Args:
            met: Labels of images, as datasets spell them. One spelling of an expression stands for its others, as in
                `parse`.
        """
        words = {self.spelling_of(text) or _plain(text) for text in met}
        own = dict(self.labels)
        by_other_spelling = words & set(self._index_of_label) - set(own)
        candidates = words | {other for word in words for other in _OTHER_SPELLINGS.get(word, ())}
        candidates -= set(own)

        unmet = {}
        for label in own:
            others = _OTHER_SPELLINGS.get(label, ())
            if label not in words and by_other_spelling.isdisjoint(others):
                is_known_spelling = label in _OTHER_SPELLINGS
                unmet[label] = "" if is_known_spelling else closest(label, sorted(candidates)) or ""
        return unmet

    @cached_property
    def _index_of_label(self) -> Mapping[str, int]:
        """Each label with the index of its expression.

        What a user's file says of one spelling of an expression (happy) holds for its other spellings (happiness, HA),
        where the file says nothing else of them.
        """
        indices = dict(self.labels)
        for words in _SPELLINGS.values():
            spellings = words.split()
            said = {indices[word] for word in spellings if word in indices}
            if len(said) == 1:
                (index,) = said
                indices = dict.fromkeys(spellings, index) | indices
        return indices

    def digest_text(self) -> str:
        """Returns the expressions as they enter digests; nothing for the seven, which earlier versions knew alone."""
        if self == SEVEN:
            return ""
        if self == EIGHT:
            return "8 expressions"
        return f"expressions {checksum(repr((self.names, sorted(self.labels))).encode())}"

    def describe(self) -> str:
        """Returns the names in one short text, as an error shows them."""
        return shorten(", ".join(self.names), 100)

    # As records and reports store them.

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form; nothing for the seven, and the names alone for the eight."""
        if self == SEVEN:
            return {}
        names = {"names": list(self.names)}
        return names if self == EIGHT else names | {"labels": dict(self.labels)}

    @classmethod
    def from_json(cls, stored: object) -> "ExpressionSet":
        """Returns the expressions that were stored; the seven where nothing or something odd was."""
        if not isinstance(stored, Mapping) or not stored or not is_stored_expressions(stored):
            return SEVEN
        names = tuple(stored["names"])
        if "labels" not in stored:
            return EIGHT
        return cls(names, tuple(stored["labels"].items()))


def is_stored_expressions(stored: object) -> bool:
    """Returns whether a value is what `ExpressionSet.to_json` returns."""
    if not isinstance(stored, Mapping):
        return False
    if not stored:
        return True
    names = stored.get("names")
    if not isinstance(names, list | tuple) or not are_names(names):
        return False
    if "labels" not in stored:
        return tuple(names) == EIGHT.names

    labels = stored["labels"]
    if not isinstance(labels, Mapping):
        return False
    are_texts = all(isinstance(label, str) for label in labels)
    return are_texts and all(type(index) is int and 0 <= index < len(names) for index in labels.values())


def are_names(names: Sequence[object]) -> bool:
    """Returns whether these can be the names of a study's expressions."""
    if not FEWEST <= len(names) <= MOST or not all(map(_is_name, names)):
        return False
    return len({str(name).lower() for name in names}) == len(names)


def _plain(text: str) -> str:
    """Returns a label's letters and digits of any script, in lower case."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFC", text).lower()))


def _is_name(name: object) -> bool:
    """Returns whether an expression may have this name: letters, digits, spaces and hyphens, and not only marks."""
    if not isinstance(name, str) or len(name) > LONGEST_NAME or name.lower() in _TAKEN:
        return False
    return re.fullmatch(r"[^\W_]([^\W_]|[ -])*", name) is not None and name == name.strip()


def _known_expressions(names: Iterable[str]) -> ExpressionSet:
    """Returns some of the expressions whose spellings are known."""
    ordered = tuple(names)
    labels = [(word, index) for index, name in enumerate(ordered) for word in _SPELLINGS[name].split()]
    return ExpressionSet(ordered, tuple(labels))


EIGHT = _known_expressions(_SPELLINGS)
"""The seven and contempt."""
SEVEN = _known_expressions(EIGHT.names[:7])
EXPRESSIONS = SEVEN.names


def usual_names(classes: int) -> tuple[str, ...]:
    """Returns what the logits of a network stand for whose file does not say: the seven, the eight, or numbers."""
    known = {len(SEVEN): SEVEN.names, len(EIGHT): EIGHT.names}
    return known.get(classes, tuple(f"class {number}" for number in range(1, classes + 1)))


# Numbers in place of labels.

# For each dataset the words that the numbers in its label files stand for, from 0 on; "" where a number is not used.
NUMBERS: dict[str, tuple[str, ...]] = {
    "fer2013": EXPRESSIONS,
    "ckplus": ("neutral", "anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise"),
    "rafdb": ("", "surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    "affectnet": (
        "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
        "none", "uncertain", "no face",
    ),
}  # fmt: skip


def spell_label(text: str, numbers: Sequence[str] = ()) -> str:
    """Returns the word that a label stands for: a number's word, any other text as it is.

    Args:
        text: As the dataset has it; CK+ writes its numbers like `6.0000000e+00`.
        numbers: The dataset's row of `NUMBERS`; without one, numbers are words like any other.

    Raises:
        ValueError: The number is not one of the dataset's.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return text
    if not numbers:
        return text

    is_index = number.is_integer() and 0 <= number < len(numbers)
    word = numbers[int(number)] if is_index else ""
    if not word:
        raise ValueError(f"{text} is not a label of the dataset")
    return word


# A user's own expressions.


def read_expressions(asked: str) -> ExpressionSet:
    """Returns the expressions that a user asks for.

    Args:
        asked: "7", "8", or the path of a CSV file with the header `label,expression`. Each of its lines has a label, as
            a dataset spells it, and the expression that it counts as. Expressions have the order in which they first
            appear. Semicolons or tabs in place of the commas, a byte order mark and any ends of lines are forgiven.

    Raises:
        InputError: There is no such file, or it breaks a rule.
    """
    known = {"7": SEVEN, "8": EIGHT}
    if asked in known:
        return known[asked]
    return _make_set(_read_lines(Path(asked)), Path(asked).name)


@dataclass(frozen=True)
class _Line:
    """A line of a user's file: the number that it has there, and its two cells."""

    number: int
    label: str
    expression: str


def _read_lines(path: Path) -> list[_Line]:
    """Returns the lines of a user's file below its header, without empty ones.

    Raises:
        InputError: It cannot be read, or is not such a table.
    """
    text = _read_text(path)
    first = text.partition("\n")[0]
    separator = next((mark for mark in ",;\t" if mark in first), ",")
    table = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rule = "a file of expressions has the header label,expression and two cells in each line"
    try:
        # Spreadsheets leave empty cells at the ends of lines.
        rows = [(table.line_num, _strip_cells(cells)) for cells in table]
    except csv.Error as error:
        raise InputError(rule, f"{path.name} ({error})", "Save it again as CSV.") from None

    rows = [(number, cells) for number, cells in rows if cells]
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    if header != _HEADER:
        value = f"{path.name} that begins with {shorten(printable(first.strip()), 60)!r}"
        raise InputError(rule, value, "Begin it with the line label,expression.")
    for number, cells in rows[1:]:
        if len(cells) != len(_HEADER) or not all(cells):
            value = f"{len(cells)} in line {number} of {path.name}"
            if len(cells) == len(_HEADER):
                value = f"an empty one in line {number} of {path.name}"
            raise InputError(rule, value, "Give a label and its expression; leave out labels that no expression has.")
    return [_Line(number, *cells) for number, cells in rows[1:]]


def _strip_cells(cells: Sequence[str]) -> list[str]:
    """Returns the cells of a line without the spaces around them, and without empty ones at its end."""
    stripped = [cell.strip() for cell in cells]
    while stripped and not stripped[-1]:
        stripped.pop()
    return stripped


def _read_text(path: Path) -> str:
    """Returns the text of a user's file.

    Raises:
        InputError: There is none, or it is no text.
    """
    rule = "--expressions is 7, 8, or a text file of labels and their expressions"
    try:
        data = read_regular(path, _MOST_BYTES)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(rule, f"{path}, which is no text in UTF-8", "Save it as CSV in UTF-8.") from None
    except UnsuitableFile as error:
        fix = f"Give a CSV file of up to {size_text(_MOST_BYTES)}."
        raise InputError(rule, f"{path} ({error})", fix) from None
    except (OSError, ValueError) as error:  # a ValueError: the path holds a NUL
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError(rule, f"{path} ({reason})", "Give 7, 8 or the path of a CSV file.") from None
    if "\0" in text:
        raise InputError(rule, f"{path}, which is no text in UTF-8", "Save it as CSV in UTF-8.")
    return text


def _make_set(lines: Sequence[_Line], file: str) -> ExpressionSet:
    """Returns the expressions that a file's lines name.

    Args:
        lines: Below the header.
        file: The file's name, for errors.

    Raises:
        InputError: A name, a label or their number breaks a rule.
    """
    names: list[str] = []
    index_of_name: dict[str, int] = {}
    labels: dict[str, int] = {}
    for line in lines:
        where = f"in line {line.number} of {file}"

        # The expression; another case is the same one.
        if not _is_name(line.expression):
            raise InputError(
                f"an expression's name is up to {LONGEST_NAME} letters, digits, spaces and hyphens, and not "
                f"{' or '.join(_TAKEN)}",
                f"{shorten(line.expression, 60)!r} {where}",
                "Give it another name.",
            )
        index = index_of_name.setdefault(line.expression.lower(), len(names))
        if index == len(names):
            names.append(line.expression)

        # The label, which may be named again only for the same expression.
        label = _plain(line.label)
        if not label or len(label) > _LONGEST_LABEL:
            raise InputError(
                f"a label has letters or digits, up to {_LONGEST_LABEL}",
                f"{shorten(line.label, 60)!r} {where}",
                "Write it as the dataset does.",
            )
        if labels.setdefault(label, index) != index:
            raise InputError(
                "a label counts as one expression",
                f"{shorten(line.label, 60)!r} as {names[labels[label]]}, and as {names[index]} {where}",
                "Remove one of the lines.",
            )

    if not FEWEST <= len(names) <= MOST:
        value = f"only {names[0]} in {file}" if len(names) == 1 else f"{len(names)} in {file}"
        raise InputError(f"a study has {FEWEST} to {MOST} expressions", value, "Name others, a label in each line.")
    return ExpressionSet(tuple(names), tuple(labels.items()))
