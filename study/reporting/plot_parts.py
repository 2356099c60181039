"""What matplotlib's figures share: widths of a paper's columns, type, labels that fit, legends and grids."""

import textwrap
from collections.abc import Iterable
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

ONE_COLUMN = 3.4
TWO_COLUMNS = 7.0
"""Widths in inches of one and of two columns of a paper."""
TYPE = 8.0
"""Size of all type, in points."""
DOTS_PER_INCH = 300
STYLE: Any = {
    "font.size": TYPE,
    "axes.labelsize": TYPE,
    "axes.titlesize": TYPE,
    "xtick.labelsize": TYPE,
    "ytick.labelsize": TYPE,
    "legend.fontsize": TYPE,
    "figure.labelsize": TYPE,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.labelpad": 3.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "svg.hashsalt": "study",
    "pdf.fonttype": 42,
}
"""matplotlib's settings: letters stay text in PDF files, and equal figures have equal SVG files."""

POINTS_PER_INCH = 72
CHARACTER = 0.57
"""Width of a character, as a share of the size of type: a little more than that of most words."""
LEGEND_MARK = 24.0
"""Width in points of a legend's mark and of the space around an entry."""
LEGEND_ROW = 0.15
"""Height in inches of a legend's row."""


def escape(text: object) -> str:
    """Returns a text in which no dollar starts mathematics."""
    return str(text).replace("$", r"\$")


def wrap_label(text: str, inches: float) -> str:
    """Returns a label in lines that fit a length; the dataset's name, after a dash, begins a line of its own.

    Args:
        text: Such as "Source validation accuracy (%) — FER2013".
        inches: The length that a line has.
    """
    characters = max(8, int(inches * POINTS_PER_INCH / (CHARACTER * TYPE)))
    lines = []
    for part in text.split(" — "):
        lines += textwrap.wrap(part, characters, max_lines=2, placeholder=" …")
    return escape("\n".join(lines))


def cut_text(text: str, inches: float) -> str:
    """Returns a text of one line that fits a length; what is longer ends with three dots."""
    characters = max(4, int(inches * POINTS_PER_INCH / (CHARACTER * TYPE)))
    shown = text if len(text) <= characters else f"{text[: characters - 1]}…"
    return escape(shown)


def add_grid(axes: Axes, which: Literal["both", "x", "y"] = "both") -> None:
    """Draws a faint grid below everything else."""
    axes.grid(True, axis=which, color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)


def add_legend(figure: Figure, axes: Axes) -> None:
    """Draws the legend below the axes, where it covers no point; the figure grows by its rows.

    Args:
        figure: Whose width says how many columns fit.
        axes: Whose labelled marks are named.
    """
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    columns = _fitting_columns(labels, figure.get_figwidth())
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + rows * LEGEND_ROW)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, handletextpad=0.4, columnspacing=1.0,
        labelspacing=0.3, borderpad=0.1, handlelength=1.4,
    )  # fmt: skip


def _fitting_columns(labels: Iterable[str], inches: float) -> int:
    """Returns how many columns of a legend fit a width."""
    widths = [CHARACTER * TYPE * len(label) + LEGEND_MARK for label in labels]
    columns = int(inches * POINTS_PER_INCH // max(widths))
    return min(max(1, columns), len(widths))
