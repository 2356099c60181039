"""What a command line may say: numbers, names, paths and URLs, each read and checked by one function.

Light to import: `--help` must answer at once.
"""

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs

from fer.errors import InputError, did_you_mean, shorten
from study.redaction import hide_secrets

LONGEST_NUMBER = 40
"""Characters of a number."""
LONGEST_SHOWN = 60
"""Characters of a wrong value that an error shows."""
LONGEST_NAME_BYTES = 200
"""Of a study's name, which is a folder's; file systems take 255, and what is made beside it has a longer name."""
LONGEST_DATASET_NAME_BYTES = 100
"""Of a dataset's name; names of studies hold two of them, and files of its features add to it."""
LONGEST_PART_BYTES = 255
"""Of one folder's name."""
LONGEST_PATH_BYTES = 3000
"""Of a path, below which the longest file of a study finds its place (Linux: 4096)."""
MOST_THREADS = 1024


# Numbers and choices.


def integer(text: str) -> int:
    """Returns a whole number of ASCII digits, with a sign or without; `type=` of options.

    Python's `int` takes "²" for no number where `str.isdigit` says it is one, and "١٢" and "1_000" for numbers.
    """
    if not re.fullmatch(r"[+-]?[0-9]+", text) or len(text) > LONGEST_NUMBER:
        raise argparse.ArgumentTypeError(f"is a whole number, such as 20; got {shorten(text, LONGEST_SHOWN)!r}")
    return int(text)


def decimal(text: str) -> float:
    """Returns a finite number of ASCII digits, with point and exponent or without; `type=` of options."""
    pattern = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
    if re.fullmatch(pattern, text) and len(text) <= LONGEST_NUMBER:
        number = float(text)
        if abs(number) < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"is a number, such as 0.5 or 1e-3; got {shorten(text, LONGEST_SHOWN)!r}")


def levels(text: str) -> tuple[float, ...]:
    """Returns numbers with commas between them, as a tuple; `type=` of options."""
    return tuple(decimal(number.strip()) for number in text.split(","))


def one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """Returns the `type=` of an option whose values can be listed; an error names the one that was probably meant."""

    def choose(text: str) -> str:
        if text in choices:
            return text
        shown = shorten(text, LONGEST_SHOWN)
        listed = ", ".join(choices)
        meant = did_you_mean(text, choices)
        raise argparse.ArgumentTypeError(f"is one of {listed}; got {shown!r}. {meant}".rstrip())

    return choose


def is_count(text: str, most: int) -> bool:
    """Returns whether text is a whole number from 1 to `most`."""
    return re.fullmatch(r"[0-9]{1,9}", text) is not None and 1 <= int(text) <= most


# What the environment says.


def from_environment(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Returns a variable's value; one that is set to nothing counts as one that is not set."""
    return environment.get(name, "").strip() or None


# Names, paths and URLs.


def is_text(value: str) -> bool:
    """Returns whether text has no NUL and none of the marks by which Python keeps bytes that are no UTF-8."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def check_study_name(name: str) -> None:
    """Raises InputError unless a study's name can be a folder's name."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) or len(name.encode()) > LONGEST_NAME_BYTES:
        raise InputError(
            f"a study's name is at most {LONGEST_NAME_BYTES} bytes of letters, digits and . _ + -",
            repr(shorten(name, LONGEST_SHOWN)),
            "Choose another with --study NAME; it names a folder under --out.",
        )


def check_dataset_name(option: str, name: str) -> None:
    """Raises InputError for a dataset's name that no file can be named after."""
    if not name.isprintable() or len(name.encode()) > LONGEST_DATASET_NAME_BYTES:
        raise InputError(
            f"{option} is a name of at most {LONGEST_DATASET_NAME_BYTES} bytes",
            repr(shorten(name, LONGEST_SHOWN)),
            "Give the folder a shorter name, or link to it by one.",
        )


def check_path(option: str, path: str | None) -> None:
    """Raises InputError for a path that nothing could be written under, or that no report could name."""
    if path is None:
        return
    fix = "Give another, or link to it by a shorter name of plain letters."
    if not path or not is_text(path):
        raise InputError(f"{option} is a path, in UTF-8", repr(shorten(path, LONGEST_SHOWN)), fix)
    longest_part = max((len(part.encode()) for part in Path(path).parts), default=0)
    if longest_part > LONGEST_PART_BYTES or len(path.encode()) > LONGEST_PATH_BYTES:
        raise InputError(
            f"{option} is a path of at most {LONGEST_PATH_BYTES} bytes, {LONGEST_PART_BYTES} in each name",
            shorten(path, LONGEST_SHOWN),
            fix,
        )


def check_storage(url: str | None) -> None:
    """Raises InputError for text that is no URL, or a URL whose database every process would have for itself.

    Whether a server answers there is found out when the storage is opened, `study.storage.backend.open_storage`.
    """
    if url is None:
        return
    shown = hide_secrets(shorten(url, 200))
    fix = "Give sqlite:///FILE or postgresql://…, or leave --storage out for a journal on this machine."
    if not url.strip() or not is_text(url) or len(url) > LONGEST_PATH_BYTES:
        raise InputError("--storage is the URL of an Optuna storage", repr(shown), fix)
    if not is_shared_database(url):
        raise InputError("--storage with SQLite names a file, which all processes of a study share", shown, fix)


def is_shared_database(url: str) -> bool:
    """Returns whether a URL is not that of an SQLite database in one process's memory."""
    scheme, _, rest = url.strip().partition(":")
    if not re.fullmatch(r"sqlite(\+\w+)?", scheme, re.IGNORECASE):
        return True
    path, _, query = rest.partition("?")
    in_memory = parse_qs(query).get("mode") == ["memory"] or ":memory:" in path
    return path.startswith("///") and len(path) > len("///") and not in_memory


def check_threads(threads: int) -> None:
    """Raises InputError for a number of threads that no process can have."""
    if not 1 <= threads <= MOST_THREADS:
        raise InputError(f"--threads is 1…{MOST_THREADS}", threads, "Give threads per worker.")


def check_tracking(uri: str | None) -> None:
    """Raises InputError for an MLflow URI that cannot be one."""
    if uri is not None and (not uri.strip() or not is_text(uri) or len(uri) > LONGEST_PATH_BYTES):
        raise InputError(
            "--tracking-uri is the URI of an MLflow server or database, or none",
            repr(shorten(uri, LONGEST_SHOWN)),
            "Leave it out for a database in mlruns/.",
        )
