"""What nobody should write, and does: odd values, damaged bytes, huge files; and cases drawn from them by a rule.

Most tests run over a part of their cases by default, and over all of them with `-m "slow or not slow"`.
"""

import contextlib
import copy
import itertools
import random
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

SECONDS_TO_HANG = 10
CORPUS_BY_DEFAULT = 12
"""Every twelfth input of the corpus runs by default."""
REPLACEMENT_BYTES = b"x" * 200
"""What is damaged where no file was."""


# Time.


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Ends what takes longer than SECONDS_TO_HANG."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it took more than {SECONDS_TO_HANG} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def twenty_seconds() -> Iterator[None]:
    """Ends a test that hangs, as one that waits for a pipe would."""

    def late(*_: object) -> None:
        raise KeyboardInterrupt("it took more than 20 s")  # no error, which might be caught

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# Cases.


def mark_slow_but_every(every: int, index: int) -> tuple[pytest.MarkDecorator, ...]:
    """Returns the marks of a case: none for each `every`-th, slow for the others."""
    return () if index % every == 0 else (pytest.mark.slow,)


def sampled(every: int, *values: Iterable[Any]) -> list:
    """Returns pytest's parameters for all combinations of values: every n-th by default, all of them if slow."""
    combinations = enumerate(itertools.product(*values))
    return [pytest.param(*case, marks=mark_slow_but_every(every, index)) for index, case in combinations]


CORPUS: dict[str, int] = {}


def corpus(name: str, count: int, *given: object) -> list:
    """Returns pytest's parameters for `count` seeds, after what is given: a few by default, all if slow."""
    CORPUS[name] = count
    seeds = sorted(range(count), key=lambda seed: seed % CORPUS_BY_DEFAULT != 0)
    return [
        pytest.param(*given, seed, id=f"{name}-{seed}", marks=mark_slow_but_every(CORPUS_BY_DEFAULT, seed))
        for seed in seeds
    ]


# Values.


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# What may stand where something else is expected.
ODD: dict[str, Any] = {
    "nothing": None, "a word": "word", "no word": "", "a number": 3, "a negative number": -1, "a truth": True,
    "not a number": float("nan"), "infinity": float("inf"), "a huge float": 1e308, "a huge number": 10**400,
    "a list": [1, "a"], "an empty list": [], "a dict": {"a": {"b": [1]}}, "an empty dict": {},
    "deep nesting": nested(400), "half a character": "\ud800", "a control character": "a\x1b[31m\n\0b",
    "a long text": "x" * 10**6, "lists in a list": [[[]], [{}], [None]],
}  # fmt: skip


def odd_cases(*places: Any, every: int) -> list[Any]:
    """Returns pytest's parameters for all pairs of places and odd values: each `every`-th by default, all if slow."""
    pairs = itertools.product(places, ODD)
    return [
        pytest.param(place, ODD[name], id=f"{place}-{name}".replace(" ", "_"), marks=mark_slow_but_every(every, index))
        for index, (place, name) in enumerate(pairs)
    ]


MISSING = object()
"""Stands for an entry that is not there."""


def paths_in(value: Any, most: int = 4) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every entry of nested dicts, and of the first and last of lists."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list) and value:
        entries = [(0, value[0]), (len(value) - 1, value[-1])]

    for key, item in entries:
        yield (key,)
        if most > 1:
            for rest in paths_in(item, most - 1):
                yield (key, *rest)


def changed(info: dict, path: tuple[Any, ...], value: Any) -> dict:
    """Returns a copy in which another value stands at a path, or none if the value is MISSING."""
    result = copy.deepcopy(info)
    place: Any = result
    for key in path[:-1]:
        place = place[key]
    if value is MISSING:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return result


# Bytes and files.


def flipped(content: bytes, position: int, bit: int = 0) -> bytes:
    """Returns bytes with one bit of one byte turned over."""
    harmed_content = bytearray(content)
    harmed_content[position] ^= 1 << bit
    return bytes(harmed_content)


def harmed(content: bytes, seed: int) -> bytes:
    """Returns bytes with one of the damages that disks, networks and editors do."""
    rng = random.Random(seed)
    place = rng.randrange(max(1, len(content)))
    data = bytearray(content)
    match seed % 8:
        case 0:  # cut
            del data[place:]
        case 1:  # one byte is another
            data[place : place + 1] = bytes([rng.randrange(256)])
        case 2:  # a hole
            data[place : place + 16] = bytes(16)
        case 3:  # a part is lost
            del data[place : place + rng.randrange(1, 64)]
        case 4:  # something else is inserted
            data[place:place] = rng.randbytes(rng.randrange(1, 64))
        case 5:  # the head is another
            head = min(32, len(data))
            data[:head] = rng.randbytes(head)
        case 6:  # bits here and there
            for _ in range(20):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 7:  # the beginning is lost
            del data[:place]
    return bytes(data)


# What may be found in a file's place: a share of its content, other bytes, a folder, or nothing.
DAMAGES = {
    "missing": None, "empty": b"", "cut": 0.5, "no text": b"\xff\xfe\x00\x80" * 50, "zeros": bytes(4096),
    "another table": b"a,b\n1,2\n", "only a head": b"number,state\n", "unclosed quotes": b'number\n"1\n2',
    "words": b"number\na\nb\n", "a folder": "folder",
}  # fmt: skip


def damage(path: Path, how: Any) -> None:
    """Replaces a file by what is named in DAMAGES."""
    content = path.read_bytes() if path.exists() else REPLACEMENT_BYTES
    path.unlink(missing_ok=True)
    if how == "folder":
        path.mkdir()
    elif isinstance(how, float):
        path.write_bytes(content[: int(how * len(content))])
    elif how is not None:
        path.write_bytes(how)


def write_sparse(path: Path, size: int, head: bytes = b"") -> Path:
    """Writes a file that says it is large and takes no room: a head, and nothing after it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path
