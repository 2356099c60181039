"""What a study's record says: as a type, `StudyRecord`, and as the stored dict, which is read tolerantly."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, get_type_hints

from fer.architecture import Architecture
from fer.errors import printable, shorten
from fer.expressions import SEVEN, ExpressionSet
from fer.image_format import GREY, RGB
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


def number(value: object) -> float | None:
    """Returns a finite float, or None for everything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        result = float(value)  # type: ignore[arg-type]  # raises TypeError for what is no number
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def baseline_point(info: dict) -> tuple[float, float] | None:
    """Returns the baseline's (source, target) validation accuracy, or None where it is not known."""
    baseline = section(info, "baseline")
    measures = section(baseline, "measures")
    source = number(baseline.get("source_val", measures.get("source_val")))
    target = number(baseline.get("target_val", measures.get("target_val")))
    return None if source is None or target is None else (source, target)


# The record as a type. Whatever reads a stored record reads it here: what is missing or odd is forgiven once.


def _entries(stored: object) -> dict[str, Any]:
    """Returns a stored dict, an empty one in place of anything else."""
    return dict(stored) if isinstance(stored, Mapping) else {}


def _list(stored: object) -> list[Any]:
    return stored if isinstance(stored, list) else []


def _text(stored: object) -> str:
    return stored if isinstance(stored, str) else ""


def _text_or_none(stored: object) -> str | None:
    return _text(stored) or None


def _count(stored: object) -> int | None:
    is_whole = isinstance(stored, int) and not isinstance(stored, bool)
    return stored if is_whole else None  # type: ignore[return-value]


_READERS: Mapping[Any, Callable[[object], Any]] = {
    str: _text,
    str | None: _text_or_none,
    bool: bool,
    int | None: _count,
    float | None: number,
    list[Any]: _list,
    dict[str, Any]: _entries,
}
"""How a field is read, by its type: each returns what is empty where the stored value is missing or odd."""


class _Record:
    """A stored dict as a dataclass, each of whose fields has a type of `_READERS` or is a record itself.

    Attributes:
        more: Every stored entry that no other field holds, as it is.
    """

    more: dict[str, Any]

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """Returns a stored entry as a record; what is missing or odd is empty."""
        entries = _entries(stored)
        types = get_type_hints(cls)
        del types["more"]

        values: dict[str, Any] = {}
        for name, kind in types.items():
            read = _READERS.get(kind) or kind.from_json
            values[name] = read(entries.get(name))
        values["more"] = {name: value for name, value in entries.items() if name not in types}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Returns the stored entry: the fields without the empty ones, then what no field holds."""
        stored: dict[str, Any] = {}
        for name, value in vars(self).items():
            entry = value.to_json() if isinstance(value, _Record | ExpressionSet) else value
            is_empty = entry is None or entry in ("", {}, [])
            if name != "more" and not is_empty:
                stored[name] = entry
        return stored | self.more


@dataclass(frozen=True)
class DatasetRecord(_Record):
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
class BaselineRecord(_Record):
    """What a study's record says of its baseline.

    Attributes:
        file: The path of its weights.
        digest: The hash of what its training depends on.
        device: What it was trained on, "cpu" or "cuda".
        precision: Of its training, "fp32" or "bf16".
        source_val: Validation accuracy on the source, 0 to 1; None where it is not recorded.
        target_val: Validation accuracy on the target, 0 to 1; None where it is not recorded.
        measures: Its other metrics on validation images.
        confusion: Its confusion matrices (classes, classes) by domain.
        confusion_of_folds: The target's on the images of each fold; empty where there is one, and of earlier versions.
        answers: The validation images and on which it is right, see `study.tuning.stored_answers.ValidationImages`.
        width: Of its network, as a share of the paper's.
        parameters: How many its network has.
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
    confusion_of_folds: list[Any] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    width: float | None = None
    parameters: int | None = None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """The (source, target) validation accuracy, or None where one of them is not recorded."""
        return baseline_point({"baseline": self.to_json()})

    @property
    def seconds(self) -> float | None:
        """How long its training took; None where this program did not train it."""
        return number(self.more.get("seconds"))

    @property
    def passes(self) -> float | None:
        """How many passes over the source its training made; None where this program did not train it."""
        return number(self.more.get("epochs"))


@dataclass(frozen=True)
class WeightsRecord(_Record):
    """Which file of the user's own a study's baseline comes from; empty where the study trained it from new weights.

    Attributes:
        kind: "baseline" of a trained network, "features" of what a training began with.
        name: Of the file, without its folder.
        checksum: Hash of the file's bytes.
        classes: What its logits stand for, as the user said; empty for the study's order.
        file: The copy of this project's own in the cache, its name.
        more: Every other stored entry, as it is.
    """

    kind: str = ""
    name: str = ""
    checksum: str = ""
    classes: list[Any] = field(default_factory=list)
    file: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def option(self) -> str:
        """The option that names the file."""
        return "--baseline" if self.kind == "baseline" else "--pretrained"

    def describe_file(self) -> str:
        """Returns file, hash and classes in a few words."""
        if not self.name:
            return "no --baseline and no --pretrained"
        classes = f" --classes {','.join(map(str, self.classes))}" if self.classes else ""
        return f"{self.option} {shorten(self.name, 60)} with hash {self.checksum}{shorten(classes, 100)}"

    def describe(self) -> str:
        """Returns in a sentence where the baseline comes from; empty for new weights."""
        if not self.name:
            return ""
        named = f"{shorten(printable(self.name), 100)} (hash {printable(self.checksum)})"
        if self.kind == "baseline":
            order = f", whose logits are {printable(', '.join(map(str, self.classes)))}" if self.classes else ""
            return f"It is the network of {named}{order}; its accuracies were measured here, not taken from the file."
        return f"Its training on the source began with the features of {named} and a new head."


@dataclass(frozen=True)
class Hardware(_Record):
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


@dataclass(frozen=True)
class StudyRecord(_Record):
    """What a study was started with and what became of it, as its storage and `study.json` hold it.

    Whoever must not go on without an entry checks the stored record first, see `study.reading_record.required_record`.

    Attributes:
        name: Of the study.
        id: What distinguishes it from every other study, also from one of its name.
        created: When it began, ISO 8601.
        source: The dataset that the baseline was trained on.
        target: The dataset that it is adapted to.
        synthetic: Whether the study was begun with synthetic faces.
        options: The options of its command, by name, as a version of this program stored them; their present form is
            `study.options.StudyOptions.from_json`.
        budget_epochs: The budget of every trial, in passes over the target's training images.
        fold_rule: Number of the rule that divided the target into folds (`fer.datasets.splits.FOLD_RULE`); None in
            records of a time that knew one rule only.
        network: The entries of its `architecture`, and number of parameters.
        expressions: What its logits stand for; the seven where the record does not say.
        baseline: The network that every trial adapts.
        weights: Which file of the user's own that comes from.
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
    fold_rule: int | None = None
    network: dict[str, Any] = field(default_factory=dict)
    expressions: ExpressionSet = SEVEN
    baseline: BaselineRecord = field(default_factory=BaselineRecord)
    weights: WeightsRecord = field(default_factory=WeightsRecord)
    versions: dict[str, Any] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=Hardware)
    confirmation: dict[str, Any] = field(default_factory=dict)
    ended: str | None = None
    changes: list[Any] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> Architecture:
        """The network without its weights: vgg13 where the record is of a time that knew no other."""
        return Architecture.from_json(self.network)

    @property
    def colour(self) -> str:
        """The colour in which faces are read for its networks: "rgb" where the images of a dataset have colour."""
        colours = [record.report.get("colour") for record in (self.source, self.target)]
        return RGB if RGB in colours else GREY

    @property
    def face_shape(self) -> tuple[int, ...]:
        """The shape of a face as its networks are given it, uint8: (size, size), or (3, size, size) in colour."""
        size = self.architecture.size
        return (3, size, size) if self.colour == RGB else (size, size)

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
