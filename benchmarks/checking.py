"""What `--check` of every benchmark does: reads what was recorded, and says what falls short of its target."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PACKAGES = ("fer", "search_spaces", "study")


def recorded(path: Path) -> dict[str, Any] | None:
    """Returns the recorded results; says so, and returns None, where nothing was measured yet."""
    if path.exists():
        return json.loads(path.read_text())
    print(f"{path.name} is not there: not measured yet")
    return None


def hash_of(files: Iterable[str]) -> str:
    """Returns the hash of some of the project's files, by their paths from its root."""
    code = [(ROOT / name).read_bytes() for name in files]
    return hashlib.sha256(b"".join(code)).hexdigest()[:12]


def code_in_use() -> str:
    """Returns the hash of all code that a benchmark may measure; a record keeps that of its time."""
    return hash_of(
        str(path.relative_to(ROOT)) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
    )


def note_earlier_code(result: Mapping[str, Any]) -> None:
    """Prints a line where the code has changed since a record was made, or the record does not say of which it is."""
    if result.get("measured_code") != code_in_use():
        print("the record is of earlier code than the present one")


def check_figures(result: Mapping[str, Any], targets: Mapping[str, tuple[str, float]]) -> int:
    """Prints a record's figures, and each that misses its target; returns the exit code."""
    note_earlier_code(result)
    print(json.dumps(result["figures"], indent=1))
    lines = misses(result["figures"].get, targets)
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


def misses(figure: Callable[[str], float | None], targets: Mapping[str, tuple[str, float]]) -> list[str]:
    """Returns a line for each figure that is not there, or not "at most" or "at least" its target."""
    lines = []
    for name, (sense, target) in targets.items():
        value = figure(name)
        if value is None or not (value <= target if sense == "at most" else value >= target):
            lines.append(f"{name} is {value}, {sense} {target} wanted")
    return lines
