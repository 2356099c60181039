"""What each figure shows, as captions for the report and, with LaTeX around them, for a paper."""

from collections.abc import Mapping, Sequence

import pandas as pd

from study.options import is_on_every_fold
from study.record import StudyRecord
from study.reporting.figure_data import (
    FIRST_RUNG,
    build_confirmed_figure,
    build_front_figure,
    describe_hypervolume,
)
from study.reporting.figure_style import ALL_NAMES, CONFIRMED, CONFUSIONS, RACE
from study.reporting.tables import escape_latex
from study.reporting.wording import (
    IN_DOUBT,
    SYNTHETIC,
    count_of,
    dataset_label,
    describe_drawn_faces,
    has_stored_answers,
)

TWO_COLUMN_FIGURES = ("strategies", "curves", "parallel", CONFIRMED, CONFUSIONS)
"""The figures that are as wide as two columns of a paper; the others are as wide as one."""


def describe_figures(record: StudyRecord, table: pd.DataFrame) -> dict[str, str]:
    """Returns the caption of each figure that a study may have, by the figure's name.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
    """
    first_rung = f" Of the {FIRST_RUNG}." if table["rung"].nunique() > 1 else ""
    captions = {
        "pareto": _describe_front(record, table),
        "hypervolume": (
            "Hypervolume, the area that the front dominates, by the number of trials; from "
            f"{describe_hypervolume(record, table)}."
        ),
        "strategies": (
            "Accuracies of the adapted networks of each strategy, with median and quartiles; the dashed line is the "
            f"baseline.{first_rung}"
        ),
        "curves": (
            "Training loss and accuracy on validation images of the front's trials, from the baseline on. Bold: the "
            "trial of the recommended network, before interpolation."
        ),
        "importance": (
            "Importance of each hyperparameter for reaching the best tenth of trials (PED-ANOVA), which sums to 100 % "
            f"for each dataset.{first_rung}"
        ),
        "parallel": (
            "Every finished trial, a line each: the hyperparameters that varied, and both accuracies observed on "
            f"{_observed_images(record)}. Colours are strategies; bold lines are trials on the front."
        ),
        CONFUSIONS: (
            "Confusion matrices of the baseline and of the recommended network: per cent of each expression's images "
            "by what they were recognised as (mean over seeds where there are several); empty cells are 0."
        ),
        RACE: (
            "How many networks are expected on the front, and how many are in doubt, after each training of the race. "
            f"{IN_DOUBT} Where both lines are one, any network may still give way to a neighbour. A line rises where a "
            "training brings a network near the front that had looked clearly worse, or was not known. The race ends "
            "before its time is up where few enough are in doubt, a tenth of the front (dotted). Accuracies and the "
            "recommendation become more exact with every training, whatever the lines do."
        ),
    }
    if record.results.points:
        captions[CONFIRMED] = _describe_confirmed(record, table)
    return captions


def _describe_front(record: StudyRecord, table: pd.DataFrame) -> str:
    """Returns what the figure of the front shows."""
    figure = build_front_figure(record, table)
    words = (
        "Source and target accuracy of all networks. The front holds those that no other equals or betters in both. "
        "Faint: not on the front."
    )
    if any((group.on_front & ~group.is_distinct).any() for group in figure.groups):
        words += " Small: on the front, but less than a point better, on both datasets, than a large one."
    if figure.half_intervals is None:
        return words

    source, target = figure.half_intervals
    shown = ""
    if figure.shows_intervals:
        shown = ", the thin lines,"
    elif figure.recommended is not None:
        shown = ", drawn for the recommended network alone,"
    return (
        f"{words} 90 % intervals of the front's networks{shown} reach about {source:.1f} points to either side on "
        f"{dataset_label(record, 'source')} and {target:.1f} on {dataset_label(record, 'target')}."
    )


def _observed_images(record: StudyRecord) -> str:
    """Returns on which images each trial's accuracies were observed."""
    if is_on_every_fold(record.options):
        return "the images of all folds"
    return "the validation images of its fold" if has_stored_answers(record) else "validation images"


def _describe_confirmed(record: StudyRecord, table: pd.DataFrame) -> str:
    """Returns what the figure of the confirmed networks shows, with the networks by their numbers."""
    points = build_confirmed_figure(record, table).points
    numbered = [point for point in points if point.is_distinct]
    names = [f"{index + 1}: {point.name}" for index, point in enumerate(numbered)]
    words = (
        "Accuracies on test images with 95 % intervals, and by a dotted line where the search had expected them. The "
        f"networks, by strategy, and of the front by trial: {'; '.join(names)}."
    )
    others = len(points) - len(numbered)
    if others:
        words += (
            f" Dots without a number: {count_of(others, 'network')} of the front, each less than a point better, on "
            "both datasets, than one of these."
        )
    return words


def render_figures_tex(record: StudyRecord, captions: Mapping[str, str], names: Sequence[str]) -> str:
    """Returns LaTeX that includes figures at the width that they were drawn for, with their captions.

    Args:
        record: The study's record.
        captions: Of `describe_figures`.
        names: The figures that were drawn.
    """
    drawn = describe_drawn_faces(record)
    mark = f"{SYNTHETIC}: {drawn[0].lower()}{drawn[1:]} " if record.is_synthetic else ""
    parts = ["% Needs \\usepackage{graphicx}. Figures marked with * are as wide as two columns.\n"]
    for name in ALL_NAMES:
        if name not in names:
            continue
        is_wide = name in TWO_COLUMN_FIGURES
        environment = "figure*" if is_wide else "figure"
        width = r"\textwidth" if is_wide else r"\columnwidth"
        parts.append(
            f"\\begin{{{environment}}}\n\\centering\n\\includegraphics[width={width}]{{{name}.pdf}}\n"
            f"\\caption{{{escape_latex(mark + captions[name])}}}\n\\label{{fig:{name}}}\n\\end{{{environment}}}\n"
        )
    return "\n".join(parts)
