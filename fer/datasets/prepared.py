"""The images of a dataset before they are written: divided, freed of copies, checked, and described in a report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fer.datasets import synthetic
from fer.datasets.arrays import SPLITS, TEST, TRAIN, VALIDATION, Images, change_images, select_images
from fer.datasets.duplicates import copy_groups, signatures
from fer.datasets.hazards import count_hazards, find_leaked
from fer.datasets.layouts import Layout
from fer.datasets.report import UNKNOWN_PEOPLE, DatasetReport, FaceCounts, ReaderOptions, SkippedFiles
from fer.datasets.splits import HeldOutPart, SplitAssignment, assign_splits, hold_out_part, wanted_sizes
from fer.errors import InputError, printable, shorten
from fer.expressions import SEVEN, ExpressionSet
from fer.image_format import GREY, RGB
from fer.seeding import seed_from

if TYPE_CHECKING:
    from fer.datasets.reader import Faces

NAMES_KEPT = 20  # names of skipped files in the report, per reason
PEOPLE_KEPT = 200  # names of people in the report, per split
REASONS_KEPT = 30  # reasons for which files were skipped, in the report
LABELS_KEPT = 100  # labels that stand for no expression, in the report
LONGEST_NAME = 200  # characters of a file's name in the report


@dataclass(frozen=True)
class PreparedImages:
    """All images of a dataset.

    Attributes:
        images: uint8 (n, size, size) where all are grey, else (n, 3, size, size).
        labels: int64 (n,), indices into the names of the options' expressions.
        subjects: int64 (n,), one number per person; -1 where unknown.
        split_index: int64 (n,), index into `SPLITS`.
        groups: int64 (n,), equal for copies, see `fer.datasets.duplicates.copy_groups`.
        signatures: float32 (n, 256), see `fer.datasets.duplicates`; None of synthetic faces.
        report: What is known of the dataset so far.
    """

    images: Images
    labels: np.ndarray
    subjects: np.ndarray
    split_index: np.ndarray
    groups: np.ndarray
    signatures: np.ndarray | None
    report: DatasetReport

    def select(self, chosen: np.ndarray) -> "PreparedImages":
        """Returns the images for which bool (n,) is true."""
        return PreparedImages(
            select_images(self.images, chosen),
            self.labels[chosen],
            self.subjects[chosen],
            self.split_index[chosen],
            self.groups[chosen],
            None if self.signatures is None else self.signatures[chosen],
            self.report,
        )


# Synthetic faces.


def draw_images(drawn_as: str, content: str, options: ReaderOptions, scale: float) -> PreparedImages:
    """Draws a synthetic dataset.

    Args:
        drawn_as: The name of the dataset whose faces are imitated.
        content: Hash of what the drawing depends on.
        options: For their seed, for the part that is the test set, and for the expressions that the drawn ones are.
        scale: Factor on the number of images.

    Raises:
        InputError: There are too few people for the parts.
    """
    split_of_name = synthetic.draw(drawn_as, options.seed, scale)
    splits = [split_of_name[name] for name in SPLITS]
    images = _enlarge(np.concatenate([split.images for split in splits]), options.size)
    labels = np.concatenate([split.labels for split in splits])
    subjects = np.concatenate([split.subjects for split in splits])
    split_index = np.repeat(np.arange(len(SPLITS)), [len(split) for split in splits])

    # The seven that are drawn count as what the options say of their names, as a copy's labels do.
    labels = _relabel(labels, options.expressions)
    is_known = labels >= 0
    skipped = {}
    if not is_known.all():
        reason = f"drawn expressions that are none of the {options.expressions.title}"
        skipped[reason] = SkippedFiles(int((~is_known).sum()), [])
        images, labels, subjects, split_index = (each[is_known] for each in (images, labels, subjects, split_index))

    groups = copy_groups(images, "synthetic")
    assigned = SplitAssignment(split_index, "drawn per split, people in one split only")
    if options.parts:
        part = HeldOutPart(options.part, options.parts, seed_from("parts", drawn_as, options.seed))
        assigned = hold_out_part(assigned, labels, subjects, groups, part)
    report = DatasetReport(
        kind="synthetic",
        options=options,
        scale=scale,
        layout="drawn stand-in",
        content=content,
        rule=assigned.rule,
        labels=_shorten_labels(SEVEN.names, options.expressions),
        skipped=skipped,
    )
    return PreparedImages(
        images=images,
        labels=labels.astype(np.int64),
        subjects=subjects.astype(np.int64),
        split_index=assigned.split_index,
        groups=groups,
        signatures=None,
        report=report,
    )


def _enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Returns drawn faces (n, 48, 48) in the size that is asked for, (n, size, size)."""
    if images.shape[-1] == size:
        return images
    # OpenCV, which a process that only opens prepared datasets does without.
    from fer.datasets.faces import resize_face  # noqa: PLC0415

    resized = np.empty((len(images), size, size), np.uint8)
    for number, image in enumerate(images):
        resized[number] = resize_face(image, size)
    return resized


def _relabel(labels: np.ndarray, expressions: ExpressionSet) -> np.ndarray:
    """Returns indices into the seven (n,) as indices into other expressions; -1 where they have none for a name."""
    indices = [expressions.parse(name) for name in SEVEN.names]
    return np.array([-1 if index is None else index for index in indices])[labels]


# A user's copy.


def divide_faces(layout: Layout, faces: "Faces", options: ReaderOptions) -> PreparedImages:
    """Assigns the faces of a user's copy to splits.

    Args:
        layout: How the copy is laid out.
        faces: What was read of it.
        options: For their seed, and for the part that is the test set.

    Raises:
        InputError: The dataset's own splits break a rule, or there are too few subjects.
    """
    people = _number_people(faces.subjects)
    subjects = np.array([-1 if name is None else people[name] for name in faces.subjects], dtype=np.int64)
    known_subjects = subjects if (subjects >= 0).all() else None

    # Assign the images to splits.
    groups = copy_groups(faces.images, "real")
    wanted = wanted_sizes(len(faces.labels), layout.sizes)
    seed = seed_from("splits", layout.name, options.seed)
    assigned = assign_splits(faces.labels, known_subjects, groups, faces.splits, wanted, seed)
    if options.parts:
        part = HeldOutPart(options.part, options.parts, seed_from("parts", layout.name, options.seed))
        assigned = hold_out_part(assigned, faces.labels, known_subjects, groups, part)
    split_index = assigned.split_index

    # Images outside the dataset's own splits are left out, as are the files that the reader skipped.
    in_split = split_index >= 0
    skipped = _shorten_skipped(faces.skipped)
    if not in_split.all():
        skipped["outside the dataset's own splits"] = SkippedFiles(int((~in_split).sum()), [])

    report = DatasetReport(
        options=options,
        layout=layout.title,
        content=faces.content,
        colour=RGB if len(faces.images.shape) == 4 else GREY,
        rule=assigned.rule,
        aimed=dict(zip(SPLITS, wanted, strict=True)) if assigned.seeded else None,
        labels=_shorten_labels(faces.met, options.expressions),
        skipped=skipped,
        faces=FaceCounts(faces.detected, len(faces.undetected), _shorten_names(faces.undetected)),
        people={split: _list_people(people, subjects[split_index == index]) for index, split in enumerate(SPLITS)},
        notices=_write_notices(layout, faces, has_people=bool(people)),
    )
    images = select_images(faces.images, in_split)
    return PreparedImages(
        images=images,
        labels=faces.labels[in_split],
        subjects=subjects[in_split],
        split_index=split_index[in_split],
        groups=groups[in_split],
        signatures=signatures(images),
        report=report,
    )


def _number_people(names: Sequence[str | None]) -> dict[str, int]:
    """Returns a number for each person, from 0 on in the order of the names."""
    people = sorted({name for name in names if name is not None})
    return {name: number for number, name in enumerate(people)}


def _write_notices(layout: Layout, faces: "Faces", has_people: bool) -> list[str]:
    """Returns what a user should know of a copy, a sentence each."""
    notices = []
    if layout.people and not has_people:
        notices.append(f"{layout.title}'s subjects are not in this copy's names: {UNKNOWN_PEOPLE}")
    if faces.undetected:
        portraits = len(faces.undetected) + faces.detected
        how = "cropped where the others' faces lie" if faces.cropped_as_usual else "centre-cropped"
        notices.append(f"no face detected in {len(faces.undetected):,} of {portraits:,} portraits: {how}")
    return notices


def _list_people(people: Mapping[str, int], subjects: np.ndarray) -> list[str]:
    """Returns the names of the people who are among the subjects' numbers, the first 200 of them."""
    present = set(subjects.tolist())
    names = [name for name, number in people.items() if number in present]
    return [_shorten_name(name) for name in names[:PEOPLE_KEPT]]


def _shorten_skipped(skipped: Mapping[str, list[str]]) -> dict[str, SkippedFiles]:
    """Returns the commonest reasons with their counts and a few names each: reports go into every study's record."""
    commonest_first = sorted(skipped.items(), key=lambda item: -len(item[1]))
    entries = commonest_first[:REASONS_KEPT]

    # All other reasons are counted together.
    rest = [name for _, names in commonest_first[REASONS_KEPT:] for name in names]
    if rest:
        entries.append(("other reasons", rest))
    return {_shorten_name(reason): SkippedFiles(len(names), _shorten_names(names)) for reason, names in entries}


def _shorten_labels(met: Iterable[str], expressions: ExpressionSet) -> list[str]:
    """Returns the labels that were met, as a report has them: nothing where the expressions are known by themselves.

    All that stand for an expression are among them, and some of the others.
    """
    if not expressions.is_own:
        return []
    known = {spelling for word in met if (spelling := expressions.spelling_of(word)) is not None}
    others = {word for word in met if expressions.parse(word) is None}
    return sorted(known) + [_shorten_name(word) for word in sorted(others)[:LABELS_KEPT]]


def _shorten_names(names: Sequence[str]) -> list[str]:
    """Returns the first of some names, as a report has them."""
    return [_shorten_name(name) for name in names[:NAMES_KEPT]]


def _shorten_name(name: str) -> str:
    """Returns a file's or a person's name as a report has it: short, and in characters that are shown as they are."""
    return shorten(printable(name), LONGEST_NAME)


# Synthetic faces and copies alike.


def finish_images(prepared: PreparedImages) -> PreparedImages:
    """Returns the images as they are written, with the report's hazards, sizes and counts.

    Images are equalised if the options say so. Training images that validation or test hold too, and validation images
    that test holds too, are counted and dropped, unless the options keep duplicates.
    """
    options = prepared.report.options
    if options.equalise:
        # OpenCV, which a process that only opens prepared datasets does without.
        from fer.datasets.faces import equalise  # noqa: PLC0415

        prepared = replace(prepared, images=change_images(prepared.images, equalise))

    # Count the hazards, before anything is dropped.
    hazards = count_hazards(prepared.images, prepared.labels, prepared.split_index, prepared.groups)

    # Drop the images that a later split holds too.
    is_dropped = find_leaked(prepared.split_index, prepared.groups)
    if options.keep_duplicates:
        is_dropped = np.zeros_like(is_dropped)
    rest = prepared.select(~is_dropped)

    # Add to the hazards what was dropped, and which rows of validation test holds nevertheless.
    split_of_dropped = prepared.split_index[is_dropped]
    groups_of_validation = rest.groups[rest.split_index == VALIDATION]
    groups_of_test = rest.groups[rest.split_index == TEST]
    in_test = np.isin(groups_of_validation, groups_of_test)
    hazards = replace(
        hazards,
        dropped_from_train=int((split_of_dropped == TRAIN).sum()),
        dropped_from_validation=int((split_of_dropped == VALIDATION).sum()),
        rows_of_validation_in_test=np.flatnonzero(in_test).tolist(),
    )

    # Describe what is left.
    report = _describe_splits(replace(rest.report, hazards=hazards), rest)
    return replace(rest, report=report)


def _describe_splits(report: DatasetReport, prepared: PreparedImages) -> DatasetReport:
    """Returns the report with each split's size, images per expression and number of subjects."""
    sizes: dict[str, int] = {}
    counts: dict[str, dict[str, int]] = {}
    subjects: dict[str, int] = {}
    for index, split in enumerate(SPLITS):
        rows = prepared.split_index == index
        names = report.options.expressions.names
        per_expression = np.bincount(prepared.labels[rows], minlength=len(names)).tolist()
        sizes[split] = sum(per_expression)
        counts[split] = dict(zip(names, per_expression, strict=True))
        subjects[split] = len(np.unique(prepared.subjects[rows & (prepared.subjects >= 0)]))
    return replace(report, sizes=sizes, counts=counts, subjects=subjects)


def check_images(layout: Layout, prepared: PreparedImages) -> PreparedImages:
    """Refuses a dataset that no study could use.

    Returns:
        The dataset, with a notice in its report of what is only unusual.

    Raises:
        InputError: A split is empty, or expressions are missing.
    """
    report = prepared.report

    # Each split needs images.
    for split, size in report.sizes.items():
        if not size:
            rule = f"each split of {layout.title} holds images that no split after it holds too"
            fix = "Add images, see why it shrank, or keep copies with --keep-duplicates."
            raise InputError(rule, f"none in {split}, of {len(prepared.split_index)} in all", fix)

    # Training needs all expressions that a dataset is known to have.
    prepared = check_expressions(layout.title, prepared)
    expressions = report.options.expressions
    wanted = {expressions.parse(name) for name in layout.complete}
    names = [name for index, name in enumerate(expressions.names) if index in wanted]
    absent = [name for name in names if not report.counts["train"][name]]
    if absent:
        all_names = f"all {expressions.title}" if expressions == SEVEN else ", ".join(names)
        rule = f"{layout.title} has training images of {all_names}"
        raise InputError(rule, f"none of {', '.join(absent)}", "Complete the copy.")
    return prepared


def check_expressions(title: str, prepared: PreparedImages) -> PreparedImages:
    """Refuses a dataset whose training images show one expression alone.

    Args:
        title: The dataset's.
        prepared: Its images.

    Returns:
        The dataset, with a notice in its report of the expressions that no training image shows.

    Raises:
        InputError: There are fewer than two.
    """
    report = prepared.report
    counts = report.counts["train"]
    present = [name for name, count in counts.items() if count]
    absent = [name for name, count in counts.items() if not count]
    if len(present) < 2:
        rule = f"{title} has two expressions or more"
        value = f"only {present[0]}" if present else f"none of {', '.join(absent)}"
        fix = "Add folders or rows of others." if report.kind == "real" else "Name more labels in --expressions."
        raise InputError(rule, value, fix)
    if not absent:
        return prepared
    notice = f"no training image of {', '.join(absent)}"
    return replace(prepared, report=replace(report, notices=[*report.notices, notice]))
