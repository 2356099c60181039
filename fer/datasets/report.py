"""What the reader found in a dataset, as it is stored beside the arrays and in every study's record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fer.datasets.hazards import Hazards
from fer.expressions import SEVEN, ExpressionSet
from fer.image_format import GREY, SMALL

_OF_A_COPY = ("copy", "place", "aimed", "faces", "people", "notices")  # fields that a synthetic dataset lacks
_OF_SYNTHETIC = ("scale",)  # fields that a user's copy lacks
_HELD_OUT = ("validation", "test")

UNKNOWN_PEOPLE = "people may be in several splits"
"""How a notice ends that says of a copy that its people are unknown."""


@dataclass(frozen=True)
class ReaderOptions:
    """What the arrays depend on besides the files.

    Attributes:
        equalise: Every image's histogram is equalised.
        keep_duplicates: Images stay though a later split holds a copy of them.
        seed: Of the splits and of synthetic faces.
        part: The part of all people that is the test set, from 1 on; 0 where the test set is the usual one.
        parts: Into how many parts the people are divided; 0 where they are not.
        size: Height and width of the images.
        colour: "grey" or "rgb": whether the colour of files that have it is kept.
        expressions: What the labels stand for.
    """

    equalise: bool = False
    keep_duplicates: bool = False
    seed: int = 0
    part: int = 0
    parts: int = 0
    size: int = SMALL
    colour: str = GREY
    expressions: ExpressionSet = SEVEN

    def digest_text(self) -> str:
        """Returns the options as they enter digests; another text would make every prepared dataset another one."""
        text = f"_Options(equalise={self.equalise}, keep_duplicates={self.keep_duplicates}, seed={self.seed})"
        if self.parts:
            text += f", part {self.part} of {self.parts}"
        if (self.size, self.colour) != (SMALL, GREY):
            text += f", {self.size} {self.colour}"
        expressions = self.expressions.digest_text()
        return f"{text}, {expressions}" if expressions else text

    def to_json(self) -> dict[str, Any]:
        """Returns the options as they are stored: without the expressions where they are the seven."""
        stored = asdict(self) | {"expressions": self.expressions.to_json()}
        return {name: value for name, value in stored.items() if value != {}}

    @classmethod
    def from_json(cls, stored: object) -> "ReaderOptions":
        """Returns the options that were stored; a missing one has its default, an unknown one is left out."""
        values = _known_fields(cls, stored if isinstance(stored, Mapping) else {})
        return cls(**values | {"expressions": ExpressionSet.from_json(values.get("expressions"))})


@dataclass(frozen=True)
class SkippedFiles:
    """Files that were left out for one reason: how many, and the names of the first of them."""

    count: int = 0
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FaceCounts:
    """How the faces of portraits were found.

    Attributes:
        detected: Portraits in which the detector saw a face.
        centre_cropped: Portraits in which it saw none.
        names: Of the first of these.
    """

    detected: int = 0
    centre_cropped: int = 0
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DatasetReport:
    """What the reader found, in the order in which it is stored.

    Attributes:
        name: The layout's name.
        kind: "real" or "synthetic".
        digest: The dataset's hash, 16 hex digits.
        reader: Version of the reader.
        options: What the arrays depend on besides the files.
        copy: Path of the user's copy.
        place: Hash of that path with links resolved.
        scale: Factor on the number of synthetic images.
        colour: Of the images: "grey" where none has colour, or none was to be kept; else "rgb".
        sizes: Images per split.
        counts: Images per split and expression.
        subjects: Number of people per split; 0 where unknown.
        layout: The dataset's title.
        content: Hash of the files, or of what synthetic faces depend on.
        rule: How the splits were made, in words.
        aimed: The sizes that seeded splits aimed at; None where the dataset has splits of its own.
        labels: The labels that were met, of a study with expressions of a user's own; a dataset that an earlier version
            prepared has none here.
        skipped: Files that were left out, by reason.
        faces: How the faces of portraits were found.
        people: Names of the first people of each split.
        notices: What a user should know, a sentence each.
        hazards: Counts of what spoils comparisons.
        seconds: That reading and preparing took.
    """

    name: str = ""
    kind: str = "real"
    digest: str = ""
    reader: str = ""
    options: ReaderOptions = field(default_factory=ReaderOptions)
    copy: str = ""
    place: str | None = None
    scale: float = 1.0
    colour: str = GREY
    sizes: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    subjects: Mapping[str, int] = field(default_factory=dict)
    layout: str = ""
    content: str | None = None
    rule: str = ""
    aimed: Mapping[str, int] | None = None
    labels: list[str] = field(default_factory=list)
    skipped: Mapping[str, SkippedFiles] = field(default_factory=dict)
    faces: FaceCounts = field(default_factory=FaceCounts)
    people: Mapping[str, list[str]] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    hazards: Hazards = field(default_factory=Hazards)
    seconds: float = 0.0

    @property
    def skipped_commonest_first(self) -> list[tuple[str, SkippedFiles]]:
        """The reasons for which files were left out, with the files, the commonest reason first."""
        return sorted(self.skipped.items(), key=lambda item: -item[1].count)

    def list_notices(self) -> list[str]:
        """Returns what a user should know of the dataset, half a sentence each: what was noted, what counts show."""
        notices = [*self.notices, *describe_missing(self.counts)]
        is_said = any(notice.endswith(UNKNOWN_PEOPLE) for notice in notices)
        if self.kind == "real" and not any(self.subjects.values()) and not is_said:
            notices.append(f"whom its images show is unknown: {UNKNOWN_PEOPLE}")
        return notices

    def describe_copies(self) -> str:
        """Returns how many images were dropped as copies, and how many groups are alike; empty for none."""
        hazards = self.hazards
        parts = []
        dropped = hazards.dropped_from_train + hazards.dropped_from_validation
        if dropped:
            parts.append(
                f"{dropped:,} of {hazards.images:,} images dropped, which are copies or near-copies of validation or "
                "test images"
            )
        if hazards.near_copy_groups:
            noun = "group" if hazards.near_copy_groups == 1 else "groups"
            parts.append(f"{hazards.near_copy_groups:,} {noun} of nearly identical images")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Returns the report as it is stored: without the fields that its kind of dataset lacks."""
        lacking = _OF_SYNTHETIC if self.kind == "real" else _OF_A_COPY
        stored = asdict(self) | {"options": self.options.to_json()}
        left_out = {name for name in lacking if name != "notices" or not self.notices}
        if not self.labels:
            left_out.add("labels")
        return {name: value for name, value in stored.items() if name not in left_out}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "DatasetReport":
        """Returns the report that was stored; a missing field has its default, an unknown one is left out."""
        values = _known_fields(cls, stored)
        values["options"] = ReaderOptions.from_json(stored.get("options"))
        nested = {"faces": FaceCounts, "hazards": Hazards}
        for name, kind in nested.items():
            values[name] = kind(**_known_fields(kind, stored.get(name) or {}))
        skipped = stored.get("skipped") or {}
        values["skipped"] = {
            reason: SkippedFiles(**_known_fields(SkippedFiles, files)) for reason, files in skipped.items()
        }
        return cls(**values)


def describe_missing(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Returns which expressions training shows and validation or test does not, half a sentence for each split.

    Args:
        counts: Images per split and expression.
    """
    sentences = []
    for split in _HELD_OUT:
        of_split = counts.get(split, {})
        trained = [name for name, count in counts.get("train", {}).items() if count]
        missing = [name for name in trained if not of_split.get(name)]
        if missing and any(of_split.values()):
            names = ", ".join(missing)
            sentences.append(f"no {split} image of {names}: how well that is recognised is not measured there")
    return sentences


def _known_fields(kind: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the stored values that a dataclass has fields for."""
    names = {attribute.name for attribute in fields(kind)}
    return {name: value for name, value in stored.items() if name in names}
