"""Which studies evaluated which test images: a record that belongs to the images and not to a study's name.

Choosing among studies by their test figures makes the chosen figures flatter than they are, whatever the studies are
called. So every confirmation is noted under a digest of the test images themselves, beside the prepared datasets of its
output folder, and every later one on the same images says how often and by which studies they were evaluated before.

What the count covers: confirmations that began in this output folder on exactly these images, in any order, whichever
study, seed or division of the training images they belong to. Not covered are other output folders and machines, and
test sets that only overlap with these.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from fer.files import read_regular, write_atomically
from study.options import cache_folder
from study.reporting.wording import UNKNOWN

MOST_BYTES = 2**24


def evaluations_file(out: str | Path, digest: str) -> Path:
    """Returns the file that lists who evaluated the test images of a digest."""
    return cache_folder(out) / "test-evaluations" / f"{digest}.jsonl"


def earlier_evaluations(out: str | Path, digest: str, evaluation: Mapping[str, str]) -> list[dict[str, str]]:
    """Returns the evaluations of test images before a given one, oldest first: study, id and time.

    An entry that cannot be read counts as one: that something was evaluated is what must not be lost.

    Args:
        out: The output folder.
        digest: Of the test images.
        evaluation: The study, id and time of the one that asks, which does not count itself.
    """
    earlier = []
    for entry in _entries(out, digest):
        if entry == evaluation:
            break
        earlier.append(entry)
    return earlier


def note_evaluation(out: str | Path, digest: str, evaluation: dict[str, str]) -> list[dict[str, str]]:
    """Notes that test images are being evaluated, once per confirmation; returns who did so before.

    Args:
        out: The output folder.
        digest: Of the test images.
        evaluation: The study's name and id, and the time.
    """
    path = evaluations_file(out, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        entries = _entries(out, digest)
        if evaluation not in entries:
            lines = [json.dumps(entry) for entry in [*entries, evaluation]]
            write_atomically(path, ("\n".join(lines) + "\n").encode())
    return earlier_evaluations(out, digest, evaluation)


def _entries(out: str | Path, digest: str) -> list[dict[str, str]]:
    try:
        text = read_regular(evaluations_file(out, digest), MOST_BYTES).decode("utf-8", "replace")
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
