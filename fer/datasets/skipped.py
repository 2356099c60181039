"""Files and rows that are left out of a dataset: their names by the reason, from listing them to decoding them."""

from collections import defaultdict
from collections.abc import Mapping

Skipped = defaultdict[str, list[str]]
"""Names of the files or rows that were left out, by the reason."""


def new_skipped() -> Skipped:
    """Returns a collection in which nothing is left out yet."""
    return defaultdict(list)


def add_skipped(skipped: Skipped, others: Mapping[str, list[str]]) -> None:
    """Adds what another step left out."""
    for reason, names in others.items():
        skipped[reason] += names


def summarise_skipped(skipped: Mapping[str, list[str]]) -> str:
    """Returns the reasons with their counts in one line."""
    return "; ".join(f"{len(names):,} × {reason}" for reason, names in skipped.items())
