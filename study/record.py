"""What a study's record says: as a type, `StudyRecord`, and as the stored dict, which is read tolerantly."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from study.redaction import hide_secrets as hide_secrets
from study.redaction import one_line as one_line
from study.stored_results import StoredResults

DOMAINS = ("source", "target")


def section(info: dict, key: str) -> dict:
    """Returns `info[key]` where it is a dict, else an empty one: reports are tolerant of what is missing."""
    value = info.get(key) if isinstance(info, dict) else None
    return value if isinstance(value, dict) else {}


def is_synthetic(info: dict) -> bool:
    """Returns whether any face of the study is synthetic."""
    kinds = (section(info, domain).get("kind") for domain in DOMAINS)
    return bool(info.get("synthetic")) or "synthetic" in kinds


def number(value: Any) -> float | None:
    """Returns a finite float, or None for everything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def baseline_point(info: dict) -> tuple[float, float] | None:
    """Returns the baseline's (source, target) validation accuracy, or None when it is not known."""
    baseline = section(info, "baseline")
    measures = section(baseline, "measures")
    source = number(baseline.get("source_val", measures.get("source_val")))
    target = number(baseline.get("target_val", measures.get("target_val")))
    return None if source is None or target is None else (source, target)


# The record as a type. Whatever reads a stored record reads it here: what is missing or odd is forgiven once.


@dataclass(frozen=True)
class DatasetRecord:
    """What a study's record says of its source or its target.

    Attributes:
        name: Of the dataset, "" where it is not recorded.
        kind: "real" or "synthetic".
        digest: The hash of its images, labels and division.
        report: What its reader counted: sizes, subjects, notices.
        more: Every other stored entry, as it is.
    """

    name: str = ""
    kind: str = ""
    digest: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Any) -> "DatasetRecord":
        """Returns a stored entry as a record; what is missing or odd is empty."""
        entries = _entries(stored)
        return cls(
            name=_text(entries.get("name")),
            kind=_text(entries.get("kind")),
            digest=_text(entries.get("digest")),
            report=_entries(entries.get("report")),
            more=_remaining(cls, entries),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the stored entry, without what is empty."""
        return _stored(self)

    def count_images(self, split: str) -> int:
        """Returns how many images a split has, 0 where the record does not say."""
        return self._count("sizes", split)

    def count_people(self, split: str) -> int:
        """Returns how many people a split shows, 0 where the record does not say."""
        return self._count("subjects", split)

    def _count(self, what: str, split: str) -> int:
        size = number(_entries(self.report.get(what)).get(split))
        return 0 if size is None else int(size)


@dataclass(frozen=True)
class BaselineRecord:
    """What a study's record says of its baseline.

    Attributes:
        file: The path of its weights.
        digest: The hash of what its training depends on.
        device: What it was trained on, "cpu" or "cuda".
        precision: Of its training, "fp32" or "bf16".
        source_val: Validation accuracy on the source, 0 to 1; None where it is not recorded.
        target_val: Validation accuracy on the target, 0 to 1; None where it is not recorded.
        measures: Its other metrics on validation images.
        confusion: Its confusion matrices (7, 7) by domain.
        more: Every other stored entry, as it is.
    """

    file: str = ""
    digest: str = ""
    device: str = ""
    precision: str = ""
    source_val: float | None = None
    target_val: float | None = None
    measures: dict[str, Any] = field(default_factory=dict)
    confusion: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Any) -> "BaselineRecord":
        """Returns a stored entry as a record; what is missing or odd is empty."""
        entries = _entries(stored)
        return cls(
            file=_text(entries.get("file")),
            digest=_text(entries.get("digest")),
            device=_text(entries.get("device")),
            precision=_text(entries.get("precision")),
            source_val=number(entries.get("source_val")),
            target_val=number(entries.get("target_val")),
            measures=_entries(entries.get("measures")),
            confusion=_entries(entries.get("confusion")),
            more=_remaining(cls, entries),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the stored entry, without what is empty."""
        return _stored(self)

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """The (source, target) validation accuracy, or None where one of them is not recorded."""
        return baseline_point({"baseline": self.to_json()})


@dataclass(frozen=True)
class Hardware:
    """The machine that began a study.

    Attributes:
        processor: Its name.
        cores: How many this process may use; None where it is not recorded.
        memory_gib: Main memory in GiB.
        gpus: How many GPUs.
        system: Operating system and architecture.
        more: Every other stored entry, as it is.
    """

    processor: str = ""
    cores: int | None = None
    memory_gib: float | None = None
    gpus: int | None = None
    system: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Any) -> "Hardware":
        """Returns a stored entry as a record; what is missing or odd is empty."""
        entries = _entries(stored)
        return cls(
            processor=_text(entries.get("processor")),
            cores=_count(entries.get("cores")),
            memory_gib=number(entries.get("memory_gib")),
            gpus=_count(entries.get("gpus")),
            system=_text(entries.get("system")),
            more=_remaining(cls, entries),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the stored entry, without what is empty."""
        return _stored(self)


@dataclass(frozen=True)
class StudyRecord:
    """What a study was started with and what became of it, as its storage and `study.json` hold it.

    Attributes:
        name: Of the study.
        id: What distinguishes it from every other study, also from one of its name.
        created: When it began, ISO 8601.
        source: The dataset that the baseline was trained on.
        target: The dataset that it is adapted to.
        synthetic: Whether the study was begun with synthetic faces.
        options: The options of its command, by name.
        budget_epochs: The budget of every trial, in passes over the target's training images.
        network: Name, width and number of parameters of the network.
        baseline: The network that every trial adapts.
        versions: Of Python and of the packages that results depend on.
        hardware: The machine that began it.
        confirmation: The stored form of its confirmation, see `study.confirmation.jobs.Confirmation`.
        ended: Why it ended before its last trial; None where it did not.
        changes: Which options later commands changed.
        more: Every other stored entry, as it is.
    """

    name: str = ""
    id: str = ""
    created: str = ""
    source: DatasetRecord = field(default_factory=DatasetRecord)
    target: DatasetRecord = field(default_factory=DatasetRecord)
    synthetic: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    budget_epochs: float | None = None
    network: dict[str, Any] = field(default_factory=dict)
    baseline: BaselineRecord = field(default_factory=BaselineRecord)
    versions: dict[str, Any] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=Hardware)
    confirmation: dict[str, Any] = field(default_factory=dict)
    ended: str | None = None
    changes: list[Any] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: Any) -> "StudyRecord":
        """Returns a stored record as a type; what is missing or odd is empty.

        Whoever must not go on without an entry checks the stored record first, see
        `study.reading_record.required_record`.
        """
        entries = _entries(stored)
        changes = entries.get("changes")
        return cls(
            name=_text(entries.get("name")),
            id=_text(entries.get("id")),
            created=_text(entries.get("created")),
            source=DatasetRecord.from_json(entries.get("source")),
            target=DatasetRecord.from_json(entries.get("target")),
            synthetic=bool(entries.get("synthetic")),
            options=_entries(entries.get("options")),
            budget_epochs=number(entries.get("budget_epochs")),
            network=_entries(entries.get("network")),
            baseline=BaselineRecord.from_json(entries.get("baseline")),
            versions=_entries(entries.get("versions")),
            hardware=Hardware.from_json(entries.get("hardware")),
            confirmation=_entries(entries.get("confirmation")),
            ended=_text(entries.get("ended")) or None,
            changes=changes if isinstance(changes, list) else [],
            more=_remaining(cls, entries),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the stored record, without what is empty."""
        return _stored(self)

    def dataset(self, domain: str) -> DatasetRecord:
        """Returns the record of the source or of the target."""
        return {"source": self.source, "target": self.target}[domain]

    @property
    def is_synthetic(self) -> bool:
        """Whether any face of the study is synthetic."""
        return self.synthetic or "synthetic" in (self.source.kind, self.target.kind)

    @property
    def results(self) -> StoredResults:
        """What its confirmation measured; empty where it was not run to its end."""
        return StoredResults.from_json(self.confirmation.get("results"))

    def earlier_evaluations(self, domain: str) -> list[Any]:
        """Returns the entries of when the test images of a domain were evaluated before, in any study of the folder."""
        test_sets = _entries(self.confirmation.get("test_sets"))
        earlier = _entries(test_sets.get(domain)).get("evaluated_before")
        return earlier if isinstance(earlier, list) else []


def _entries(stored: Any) -> dict[str, Any]:
    """Returns a stored dict, an empty one in place of anything else."""
    return dict(stored) if isinstance(stored, Mapping) else {}


def _text(stored: Any) -> str:
    return stored if isinstance(stored, str) else ""


def _count(stored: Any) -> int | None:
    is_whole = isinstance(stored, int) and not isinstance(stored, bool)
    return stored if is_whole else None


def _remaining(kind: Any, entries: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the entries that are no field of a record's type."""
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in entries.items() if name not in names}


def _stored(record: Any) -> dict[str, Any]:
    """Returns the stored form of a record: its fields without the empty ones, then what no field holds."""
    stored: dict[str, Any] = {}
    for each in fields(record):
        if each.name == "more":
            continue
        value = getattr(record, each.name)
        if is_dataclass(value):
            value = _stored(value)
        is_empty = value is None or value in ("", {}, [])
        if not is_empty:
            stored[each.name] = value
    return stored | record.more
