"""Rows of datasets whose labels are in the images' paths, or in files beside sequences of images."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from fer.datasets.context import ReadContext, Row
from fer.datasets.layouts import FOLDERS, IMAGE, Frames
from fer.datasets.skipped import Skipped, add_skipped, new_skipped

SequenceLabels = Mapping[tuple[str, str], str]  # a label's text by subject and sequence


def read_image_rows(context: ReadContext) -> list[Row]:
    """Returns the rows of all images, by the first of the layout's arrangements that matches any of them.

    Args:
        context: The reading; gets what is left out.

    Raises:
        InputError: A label file cannot be read.
    """
    names = list(_list_images(context))
    labels = _read_sequence_labels(context)

    # The first arrangement that matches any image; a folder per expression is tried last.
    arrangements = (*context.layout.images, (FOLDERS,))
    for patterns in arrangements:
        left_out = new_skipped()
        rows = list(_match_names(context, patterns, names, labels, left_out))
        if rows:
            break

    # The arrangement that was taken, or else the last one, says what is left out; those before it say nothing.
    add_skipped(context.skipped, left_out)
    return _take_frames(context, rows)


def _list_images(context: ReadContext) -> Iterator[str]:
    """Yields the paths of all images that the layout does not leave out."""
    layout = context.layout
    for name in context.copy.stats:
        reason = _find_ignored(layout.ignored, context.copy.whole_name(name))
        if reason is not None:
            context.skipped[reason].append(name)
        elif re.search(IMAGE, name, re.IGNORECASE):
            yield name
        elif not (layout.labels and re.search(layout.labels, name, re.IGNORECASE)):
            context.skipped["not an image by its name"].append(name)


def _find_ignored(ignored: Sequence[tuple[str, str]], name: str) -> str | None:
    """Returns the reason why a layout leaves an image out; None where it does not."""
    for pattern, reason in ignored:
        if re.search(pattern, name, re.IGNORECASE):
            return reason
    return None


def _read_sequence_labels(context: ReadContext) -> SequenceLabels:
    """Reads the label files beside sequences."""
    labels: dict[tuple[str, str], str] = {}
    pattern = context.layout.labels
    if pattern is None:
        return labels
    for name in context.copy.stats:
        match = re.search(pattern, name, re.IGNORECASE)
        if match is None:
            continue
        data = context.read_label_file(name)
        text = data[:100].decode("ascii", "replace").strip()
        if text:
            labels[match["subject"], match["sequence"]] = text
        else:
            context.skipped["an empty label file"].append(name)
    return labels


def _match_names(
    context: ReadContext, patterns: Sequence[str], names: Sequence[str], labels: SequenceLabels, skipped: Skipped
) -> Iterator[Row]:
    """Yields a row for each image whose path matches a pattern and has one of the study's expressions.

    Args:
        context: The reading.
        patterns: One arrangement of the layout.
        names: Paths of the images.
        labels: The labels of sequences, where they are not in the paths.
        skipped: Gets the names of the images that have no row, by reason.
    """
    compiled = [re.compile(pattern, re.IGNORECASE) for pattern in patterns]
    for name in names:
        matched = _match_first(compiled, name)
        if matched is None:
            skipped["not named as the dataset's layout has it"].append(name)
            continue

        # The label is in the path, or in the file of the image's sequence.
        sequence = (matched.get("subject") or "", matched.get("sequence") or "")
        text = matched.get("expression") or labels.get(sequence)
        if text is None:
            skipped["its sequence has no label"].append(name)
            continue
        label = context.parse_label(text, name, skipped)
        if label is None:
            continue

        subject = matched.get("subject")
        frame = matched.get("frame")
        yield Row(
            name,
            label,
            subject=subject.upper() if subject else None,
            split=context.parse_split(matched.get("split")),
            frame=int(frame) if frame else None,
            portrait=context.is_portrait(name),
        )


def _match_first(patterns: Sequence[re.Pattern[str]], name: str) -> dict[str, str | None] | None:
    """Returns the groups of the first pattern that matches; None where none does."""
    for pattern in patterns:
        match = pattern.search(name)
        if match is not None:
            return match.groupdict()
    return None


def _take_frames(context: ReadContext, rows: list[Row]) -> list[Row]:
    """Takes each sequence's frames by the layout's rule; rows without a frame number are all taken."""
    rule = context.layout.frames
    skipped = context.skipped
    if rule is None:
        return rows
    taken = [row for row in rows if row.frame is None]
    for frames in _group_sequences(rows):
        sequence = str(PurePosixPath(frames[0].name).parent)

        # The first frame is neutral, if the copy holds the sequence from its beginning.
        if rule.neutral_first:
            if (frames[0].frame or 0) <= 1:
                neutral = context.parse_label("neutral", frames[0].name, skipped)
                if neutral is not None:
                    taken.append(replace(frames[0], label=neutral))
                frames = frames[1:]
            else:
                skipped["a neutral image of a sequence whose first frame is not there"].append(sequence)

        # The others show the expression.
        chosen = _choose_frames(rule, len(frames))
        taken += [frame for index, frame in enumerate(frames) if index in chosen]
        left_out = [frame.name for index, frame in enumerate(frames) if index not in chosen]
        if left_out:
            skipped[f"not among the frames taken of a sequence ({rule.where} {rule.count})"] += left_out
    return sorted(taken, key=lambda row: row.name)


def _group_sequences(rows: Sequence[Row]) -> list[list[Row]]:
    """Returns the rows that have a frame number by sequence, that is by folder, in the order of the frames."""
    sequences: dict[PurePosixPath, list[Row]] = defaultdict(list)
    for row in rows:
        if row.frame is not None:
            sequences[PurePosixPath(row.name).parent].append(row)
    return [sorted(frames, key=lambda row: (row.frame or 0, row.name)) for frames in sequences.values()]


def _choose_frames(rule: Frames, count: int) -> set[int]:
    """Returns the positions, among `count` frames of a sequence, of those that are taken."""
    if count == 0:
        return set()
    last = count - 1
    if rule.where == "middle":
        return {round(place) for place in np.linspace(0.4 * last, 0.6 * last, rule.count)}
    return set(range(max(0, count - rule.count), count))
