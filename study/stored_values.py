"""Rules on what a storage holds: which values are what this program writes, and what was left out in a reading."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from fer.errors import printable, shorten
from fer.expressions import FEWEST, MOST
from study.presets import MOST_RUNGS
from study.record import DOMAINS

LONGEST_TEXT = 1_000_000
"""Characters of a text: more than this program writes, which is the answers on some million images."""
DEEPEST = 12
"""Levels of nesting: more than this program writes by far."""
LARGEST_INTEGER = 2**63 - 1
"""What every database and export can hold."""
MOST_SHOWN = 8
"""Entries that a notice names; of more, their number."""


@dataclass(frozen=True)
class Reading:
    """Trials or a record as they can be relied on.

    Attributes:
        value: What is left: a list of trials, or a record.
        odd: What was left out, each in a few words.
    """

    value: Any
    odd: list[str]


def notice(odd: list[str]) -> str:
    """Returns one sentence on what could not be read; nothing where all could.

    Args:
        odd: What was left out, as in `Reading`.
    """
    if not odd:
        return ""
    entries = "1 entry" if len(odd) == 1 else f"{len(odd)} entries"
    left_out = len(odd) - MOST_SHOWN
    more = f" and {left_out} more" if left_out > 0 else ""
    return f"{entries} of the storage cannot be read and were left out: {', '.join(odd[:MOST_SHOWN])}{more}."


def show_name(name: object) -> str:
    """Returns a stored name as a line can show it: printable and short."""
    return shorten(printable(name), 60)


def is_number(value: object) -> TypeGuard[int | float]:
    """Returns whether a value is a finite number of 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    return abs(value) <= LARGEST_INTEGER


def is_count(value: object) -> TypeGuard[int]:
    """Returns whether a value is a whole number that counts something."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_INTEGER


def is_rung(value: object) -> TypeGuard[int]:
    """Returns whether a value is the number of a rung, from 1."""
    return is_count(value) and 1 <= value <= MOST_RUNGS


def is_fold(value: object) -> TypeGuard[int]:
    """Returns whether a value is the number of a fold, from 0; -1 where none is held out, -2 where each is in turn."""
    return value in (-1, -2) or is_count(value)


def is_share(value: object) -> TypeGuard[int | float]:
    """Returns whether a value is an accuracy or another number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_plain(value: object, depth: int = DEEPEST) -> bool:
    """Returns whether a value is JSON of bounded depth, text and numbers, which every export can hold."""
    if isinstance(value, str):
        return len(value) <= LONGEST_TEXT
    if isinstance(value, bool | float | None):
        return True
    if isinstance(value, int):
        return abs(value) <= LARGEST_INTEGER
    if depth == 0:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(item, depth - 1) for key, item in value.items())
    return isinstance(value, list | tuple) and all(is_plain(item, depth - 1) for item in value)


def encodable(value: object) -> Any:  # noqa: ANN401 - JSON of the kind that it was
    """Returns a copy of text, dicts and lists in which what no UTF-8 can hold, half of a surrogate pair, is escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(item) for item in value]
    return value


def is_confusion(value: object, classes: int | None = None) -> bool:
    """Returns whether a value is a square table of numbers for source and target, or for one of them.

    Args:
        value: As it is stored.
        classes: Number of expressions; None where any number of them will do.
    """
    if not isinstance(value, Mapping) or not set(value) <= set(DOMAINS):
        return False
    return all(_is_square_table(table, classes) for table in value.values())


def _is_square_table(table: object, classes: int | None) -> bool:
    if not isinstance(table, list) or not FEWEST <= len(table) <= MOST:
        return False
    size = len(table)
    if classes is not None and size != classes:
        return False
    return all(isinstance(row, list) and len(row) == size and all(map(is_number, row)) for row in table)


def is_text(value: object) -> TypeGuard[str]:
    """Returns whether a value is a text."""
    return isinstance(value, str)


def is_name(value: object) -> TypeGuard[str]:
    """Returns whether a value is a text without control characters, which stands in tables and on terminals."""
    return isinstance(value, str) and bool(value) and len(value) <= 200 and printable(value) == value
