"""What `benchmarks.real` measures: one outcome per target, division and contender, kept as a file of its own."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fer.files import write_atomically

Key = tuple[str, int, str]
"""Target, division and contender."""


@dataclass(frozen=True)
class Recommended:
    """A study's recommended network. Every pair is the accuracy on the source, then on the target, 0 to 1.

    Attributes:
        network: Its file in the study's folder, "baseline" where the baseline itself is recommended.
        baseline: The baseline on validation images, which the promise is relative to.
        expected: What the study expects of the network.
        tested: The network on test images.
        lower: Lower ends of the 90 % intervals of what is expected; None where the study states none.
        upper: Upper ends of the same.
    """

    network: str
    baseline: list[float]
    expected: list[float]
    tested: list[float]
    lower: list[float] | None = None
    upper: list[float] | None = None

    @property
    def promised_share(self) -> float:
        """The share of the baseline's source accuracy that the study expects the network to keep."""
        return self.expected[0] / self.baseline[0]


@dataclass(frozen=True)
class Outcome:
    """What a contender's networks are worth on the test images of one division.

    Attributes:
        target: Name of the target.
        division: Seed by which the target's people fall to test and the rest.
        contender: Of `benchmarks.real_contenders.CONTENDERS`.
        definition: The contender as it was when it was measured; outcomes of other definitions are not kept.
        setting: Digest of the baseline and of both domains' test images, and the preset; outcomes of one target and
            division are compared only where these are the same.
        hypervolume: From chance, of the contender's networks and the baseline, on test images.
        networks: Source and target accuracy of each of its networks on test images, by its name.
        baseline: Source and target accuracy of the baseline on test images.
        seconds: Wall time without the baseline's training; restarts after interruptions included. Other work on the
            same machine may have lengthened it.
        processor_seconds: The same on processors, of all processes together: what contenders are compared by.
        trials: Ended trials, promotions included.
        recommended: The study's recommended network; None where a contender recommends none.
        course: Seconds on processors, and hypervolume of the script's front as it changed; empty for all others.
        test_images: The target's test images.
        test_people: People whom they show; 0 where they are not known.
        code: Hashes of the code by which it was measured, the first at its beginning.
        commits: The commits of the same.
        hardware: The machine.
        versions: Of Python and packages.
    """

    target: str
    division: int
    contender: str
    definition: dict[str, Any]
    setting: dict[str, str]
    hypervolume: float
    networks: dict[str, list[float]]
    baseline: list[float]
    seconds: float
    processor_seconds: float
    trials: int
    recommended: Recommended | None = None
    course: list[list[float]] = field(default_factory=list)
    test_images: int = 0
    test_people: int = 0
    code: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    hardware: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What distinguishes it from every other outcome of a record."""
        return self.target, self.division, self.contender

    def to_json(self) -> dict[str, Any]:
        """Returns the form that files keep."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Outcome":
        """Returns the outcome of which `to_json` made a dict."""
        recommended = stored["recommended"]
        if recommended is not None:
            recommended = Recommended(**recommended)
        return cls(**{**stored, "recommended": recommended})


def run_name(target: str, contender: str, division: int) -> str:
    """Returns the name that the study and the files of one outcome have: letters, digits and hyphens."""
    return f"{target}-{contender}-{division}".replace(" ", "-").replace("+", "")


def outcome_file(out: Path, key: Key) -> Path:
    """Returns the file that keeps an outcome."""
    target, division, contender = key
    return out / "outcomes" / f"{run_name(target, contender, division)}.json"


def save_outcome(out: Path, outcome: Outcome) -> None:
    """Keeps an outcome in the output folder."""
    file = outcome_file(out, outcome.key)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, outcome.to_json())


def find_outcome(out: Path, key: Key, definition: Mapping[str, Any], setting: Mapping[str, str]) -> Outcome | None:
    """Returns an outcome that was kept, or None: there is none, or of another definition or setting."""
    file = outcome_file(out, key)
    if not file.exists():
        return None
    outcome = Outcome.from_json(json.loads(file.read_text()))
    is_same = outcome.definition == definition and outcome.setting == setting
    return outcome if is_same else None


def merge_outcomes(
    recorded: Iterable[Outcome], new: Sequence[Outcome], definitions: Mapping[str, Mapping[str, Any]]
) -> list[Outcome]:
    """Returns the outcomes of a record and new ones together, in the order of their keys.

    A new outcome replaces the recorded one of its key. Of the others those stay whose contender is still defined as it
    was then and whose baseline is that of the new ones.

    Args:
        recorded: The outcomes of the record.
        new: Those of this run.
        definitions: By contender, as they are now.
    """
    baselines = {outcome.setting["baseline"] for outcome in new}
    merged: dict[Key, Outcome] = {}
    for outcome in recorded:
        same_definition = outcome.definition == definitions.get(outcome.contender)
        same_baseline = not baselines or outcome.setting["baseline"] in baselines
        if same_definition and same_baseline:
            merged[outcome.key] = outcome
    for outcome in new:
        merged[outcome.key] = outcome
    return [merged[key] for key in sorted(merged)]


def write_json(file: Path, content: object) -> None:
    """Writes a JSON file, so that a process that is cut off leaves the earlier one."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(file, text.encode())
