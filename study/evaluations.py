"""Which studies evaluated which test images: a record that belongs to the images and not to a study's name.

Choosing among studies by their test figures makes the chosen figures flatter than they are, whatever the studies are
called. So every confirmation is noted under a digest of the test images themselves, beside the prepared datasets of its
output folder, and every later one on the same images says how often and by which studies they were evaluated before.

What the count covers: confirmations that began in this output folder on exactly these images, in any order, whichever
study, seed or division of the training images they belong to. Not covered are other output folders and machines, and
test sets that only overlap with these.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fer.errors import printable, shorten
from fer.files import read_regular, write_atomically
from study.config import cache_folder
from study.describe import SIDES, dataset_label, section

MOST_BYTES = 2**24
UNKNOWN = "a study whose entry is damaged"


def place_of(out: str | Path, digest: str) -> Path:
    """Returns the file that lists who evaluated the test images of a digest."""
    return cache_folder(out) / "test-evaluations" / f"{digest}.jsonl"


def earlier_evaluations(out: str | Path, digest: str, opening: dict[str, Any]) -> list[dict[str, str]]:
    """Returns the evaluations of test images before an opening, oldest first: study, id and time.

    An entry that cannot be read counts as one: that something was evaluated is what must not be lost.

    Args:
        out: The output folder.
        digest: Of the test images.
        opening: The study, id and time of the one that asks, which does not count itself.
    """
    found = []
    for entry in _entries(out, digest):
        if entry == opening:
            break
        found.append(entry)
    return found


def note_evaluation(out: str | Path, digest: str, opening: dict[str, str]) -> list[dict[str, str]]:
    """Notes that test images are being evaluated, once per opening; returns who did so before.

    Args:
        out: The output folder.
        digest: Of the test images.
        opening: The study's name and id, and the time.
    """
    from filelock import FileLock

    path = place_of(out, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        entries = _entries(out, digest)
        if opening not in entries:
            lines = [json.dumps(entry) for entry in [*entries, opening]]
            write_atomically(path, ("\n".join(lines) + "\n").encode())
    return earlier_evaluations(out, digest, opening)


def _entries(out: str | Path, digest: str) -> list[dict[str, str]]:
    try:
        text = read_regular(place_of(out, digest), MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [_entry(line) for line in text.splitlines() if line.strip()]


def _entry(line: str) -> dict[str, str]:
    """Returns one line's entry; one that is damaged keeps its place in the count."""
    names = ("study", "id", "opened")
    try:
        entry = json.loads(line)
        if set(entry) == set(names) and all(isinstance(entry[name], str) for name in names):
            return entry
    except (ValueError, TypeError, RecursionError):
        pass
    return dict(zip(names, (UNKNOWN, "", ""), strict=True))


def evaluated_before(info: dict[str, Any]) -> str:
    """Returns a sentence for each test set of a confirmation that was evaluated before, with a space before each.

    Args:
        info: The study's record with its confirmation.
    """
    sets = section(section(info, "confirmation"), "test_sets")
    words = ""
    for domain in SIDES:
        before = section(sets, domain).get("evaluated_before")
        if not isinstance(before, list) or not before:
            continue
        label = dataset_label(info, domain)
        times = "once" if len(before) == 1 else f"{len(before)} times"
        words += f" These {label} test images were evaluated {times} before in this output folder"
        words += f", by {_studies(before)}."
    if words:
        words += " Choosing among studies by test figures makes the chosen ones look better than they are."
    return words


def _studies(entries: Iterable[Any], most: int = 5) -> str:
    """Returns the names of studies, each once, the first few of many."""
    names = [str(entry.get("study", UNKNOWN)) if isinstance(entry, dict) else UNKNOWN for entry in entries]
    shown = [shorten(printable(name), 80) for name in dict.fromkeys(names)]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    word = "the study" if len(shown) == 1 else "the studies"
    return f"{word} {', '.join(shown[:most])}{more}"
