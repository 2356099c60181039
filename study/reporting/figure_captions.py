"""What each figure shows, as captions for the report and, with LaTeX around them, for a paper."""

from collections.abc import Mapping, Sequence

import pandas as pd

from study.record import StudyRecord
from study.reporting.figure_data import FIRST_RUNG, describe_hypervolume
from study.reporting.figure_style import ALL_NAMES, CONFIRMED, CONFUSIONS, RACE
from study.reporting.tables import escape_latex
from study.reporting.wording import SYNTHETIC, SYNTHETIC_SENTENCE, confirmed_name

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
        "pareto": (
            "Source and target accuracy of all networks. The front holds those that no other equals or betters in "
            "both; thin lines are 90 % intervals, where they are known. Faint: not on the front."
        ),
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
            "Every finished trial: hyperparameters that varied, and both accuracies. Colours are strategies; bold "
            "lines are trials on the front."
        ),
        CONFUSIONS: (
            "Confusion matrices of the baseline and of the recommended network: per cent of each expression's images "
            "by what they were recognised as (mean over seeds where there are several); empty cells are 0."
        ),
        RACE: "Expected number of networks on the front, and of networks on the wrong side of it, over the race.",
    }
    if record.results.points:
        names = [f"{index + 1}: {confirmed_name(point)}" for index, point in enumerate(record.results.points)]
        captions[CONFIRMED] = (
            "Accuracies on test images with 95 % intervals, and where the search had seen them. The networks, by "
            f"strategy, and of the front by trial: {'; '.join(names)}."
        )
    return captions


def render_figures_tex(record: StudyRecord, captions: Mapping[str, str], names: Sequence[str]) -> str:
    """Returns LaTeX that includes figures at the width that they were drawn for, with their captions.

    Args:
        record: The study's record.
        captions: Of `describe_figures`.
        names: The figures that were drawn.
    """
    mark = f"{SYNTHETIC}: {SYNTHETIC_SENTENCE[0].lower()}{SYNTHETIC_SENTENCE[1:]} " if record.is_synthetic else ""
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
