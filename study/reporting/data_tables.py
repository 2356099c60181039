"""What is known of the baseline and of the data, as sentences and tables of counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fer.datasets import ReaderOptions
from fer.datasets.report import describe_missing
from fer.image_format import GREY
from study.record import DOMAINS, DatasetRecord, StudyRecord, number
from study.reporting.tables import Table
from study.reporting.wording import count_of, dataset_label, format_percent, format_points

SPLITS = ("train", "validation", "test")
_MEASURES = {"val": "Accuracy %", "uar": "UAR %", "f1": "F1 %", "ece": "ECE %"}
"""Headings of the baseline's measures, by the end of their names."""
_HAZARDS = {
    "duplicate_groups": "groups of identical images",
    "conflicting_groups": "groups of identical images with different labels",
    "near_copy_groups": "groups of nearly identical images",
    "constant": "images of one grey alone",
    "train_in_held_out": "training images that are also in validation or test",
    "train_near_held_out": "training images with a near-copy in validation or test",
    "validation_in_test": "validation images that are also in test",
    "validation_near_test": "validation images with a near-copy in test",
}
"""What may spoil comparisons, in words, by its name in a dataset's report."""
NAMES_SHOWN = 3
"""Skipped files that are named for each reason."""


@dataclass(frozen=True)
class DataSummary:
    """What a report says of one dataset.

    Attributes:
        title: "Source: FER2013".
        sentences: How it was read and divided, and what to beware of.
        counts: Images by expression and split; None where they are not recorded.
        hazards: What may spoil comparisons; None where nothing was found.
        skipped: Files that were left out, by reason; None where none were.
    """

    title: str
    sentences: list[str] = field(default_factory=list)
    counts: Table | None = None
    hazards: Table | None = None
    skipped: Table | None = None


# The baseline.


def describe_baseline(record: StudyRecord) -> list[str]:
    """Returns sentences about where the baseline comes from and how it was trained."""
    baseline = record.baseline
    sentences = [f"Its network is {record.architecture.describe()}."]
    if record.weights.name:
        sentences.append(record.weights.describe())
    if baseline.passes is not None and baseline.seconds is not None:
        minutes = baseline.seconds / 60
        passes = "1 pass" if baseline.passes == 1 else f"{baseline.passes:g} passes"
        where = f" on {baseline.device}" if baseline.device else ""
        sentences.append(f"It was trained for {passes} over the source in {minutes:.1f} minutes{where}.")
    gain = number(baseline.more.get("last_gain"))
    if gain is not None:
        sentences.append(f"Its last pass changed the accuracy on the source by {format_points(gain)} points.")
    parameters = baseline.parameters or record.network.get("parameters")
    if isinstance(parameters, int):
        sentences.append(f"It has {parameters:,} parameters.")
    if record.architecture.channels > 1 and record.colour == GREY:
        sentences.append("Images of both datasets are grey: it is given their channel three times.")
    return sentences


def build_baseline_table(record: StudyRecord) -> Table | None:
    """Returns the baseline's measures on validation images by dataset; None where none is recorded."""
    measures = dict(record.baseline.measures)
    accuracies = {"source_val": record.baseline.source_val, "target_val": record.baseline.target_val}
    measures |= {name: value for name, value in accuracies.items() if value is not None}

    rows = [[title, *_of_domains(measures, name)] for name, title in _MEASURES.items()]
    rows += [[f"Recall of {name} %", *_of_domains(measures, f"recall_{name}")] for name in record.expressions.names]
    known = [row for row in rows if set(row[1:]) != {"–"}]
    head = ["Baseline", *(dataset_label(record, domain) for domain in DOMAINS)]
    caption = "On validation images, in per cent; over folds, on the images of all of them."
    return Table("baseline", caption, head, known) if known else None


def _of_domains(measures: Mapping[str, Any], name: str) -> list[str]:
    return [format_percent(measures.get(f"{domain}_{name}")) for domain in DOMAINS]


# Datasets.


def summarise_data(record: StudyRecord, domain: str) -> DataSummary:
    """Returns what the record says of the source or the target; what is odd in it is left out."""
    dataset = record.dataset(domain)
    return DataSummary(
        title=f"{domain.capitalize()}: {dataset_label(record, domain)}",
        sentences=_describe_dataset(dataset),
        counts=_build_counts(dataset),
        hazards=_build_hazards(dataset),
        skipped=_build_skipped(dataset),
    )


def _describe_dataset(dataset: DatasetRecord) -> list[str]:
    kinds = {"real": "A real copy.", "synthetic": "Synthetic faces."}
    sentences = [kinds[dataset.kind]] if dataset.kind in kinds else []
    rule = dataset.report.get("rule")
    if isinstance(rule, str) and rule:
        sentences.append(f"Division into training, validation and test images: {rule}.")
    faces = _mapping(dataset.report.get("faces"))
    detected, missed = _count(faces.get("detected")), _count(faces.get("centre_cropped"))
    if detected or missed:
        sentences.append(f"Faces were found in {detected:,} of {detected + missed:,} portraits.")
    notices = dataset.report.get("notices")
    if isinstance(notices, list):
        sentences += [f"Notice: {notice}." for notice in notices if isinstance(notice, str)]
    sentences += [f"Notice: {notice}." for notice in describe_missing(_read_counts(dataset))]
    return sentences


def _read_counts(dataset: DatasetRecord) -> dict[str, dict[str, int]]:
    """Returns images per split and expression; what is odd counts as none."""
    counts = _mapping(dataset.report.get("counts"))
    return {
        split: {str(name): _count(count) for name, count in _mapping(counts.get(split)).items()} for split in SPLITS
    }


def _build_counts(dataset: DatasetRecord) -> Table | None:
    """Returns images of each expression and split, then all of them and the people whom they show."""
    counts = _mapping(dataset.report.get("counts"))
    splits = [split for split in SPLITS if dataset.count_images(split) or split in counts]
    if not splits:
        return None

    rows = []
    if counts:
        for expression in ReaderOptions.from_json(dataset.report.get("options")).expressions.names:
            rows.append(
                [expression, *_with_sum([_count(_mapping(counts.get(split)).get(expression)) for split in splits])]
            )
    rows.append(["all images", *_with_sum([dataset.count_images(split) for split in splits])])
    people = [dataset.count_people(split) for split in splits]
    shown = _with_sum(people) if any(people) else ["unknown" for _ in (*splits, "all")]
    rows.append(["people", *shown])
    return Table("counts", "", ["Images", *(split.capitalize() for split in splits), "All"], rows)


def _with_sum(counts: list[int]) -> list[str]:
    return [f"{count:,}" for count in (*counts, sum(counts))]


def _build_hazards(dataset: DatasetRecord) -> Table | None:
    hazards = _mapping(dataset.report.get("hazards"))
    rows = [[title, f"{_count(hazards.get(name)):,}"] for name, title in _HAZARDS.items() if _count(hazards.get(name))]
    return Table("hazards", "", ["What may spoil comparisons", "Count"], rows) if rows else None


def _build_skipped(dataset: DatasetRecord) -> Table | None:
    rows = []
    for reason, files in _mapping(dataset.report.get("skipped")).items():
        entry = _mapping(files)
        names = entry.get("names")
        known = [str(name) for name in names] if isinstance(names, list) else []
        count = _count(entry.get("count"))
        more = " …" if count > NAMES_SHOWN else ""
        rows.append([count_of(count, "file"), str(reason), ", ".join(known[:NAMES_SHOWN]) + more])
    return Table("skipped", "", ["Left out", "Because", "Such as"], rows) if rows else None


def _mapping(stored: object) -> dict[str, Any]:
    return dict(stored) if isinstance(stored, Mapping) else {}


def _count(stored: object) -> int:
    value = number(stored)
    return 0 if value is None else int(value)
