"""The figures of confusion matrices and of training curves, by matplotlib."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.reporting.confusion_figure import ConfusionFigure, ConfusionPanel
from study.reporting.curves_figure import CurvesFigure, TrainingCurve
from study.reporting.figure_style import DOMAIN_COLOURS, INK, style_of
from study.reporting.plot_parts import TYPE, add_grid, add_legend, wrap_label

SHARES = LinearSegmentedColormap.from_list("shares", ["#ffffff", DOMAIN_COLOURS["source"]])
MOST_NUMBERED = 16
"""Expressions of a matrix whose cells have room for numbers."""
DARK_CELL = 85.0
"""Per cent from which a cell is so dark that its number is white."""
BOLD: dict[str, Any] = {"markersize": 4, "linewidth": 1.6, "markeredgecolor": INK, "markeredgewidth": 0.6}
"""The line of the recommended network's training."""
MOST_MARKERS = 12
"""Points of a curve that have markers; of more, none has."""


# Confusion matrices.


def draw_confusions(figure: Figure, data: ConfusionFigure) -> None:
    """Draws a row of matrices for each domain: the baseline, and beside it the recommended network."""
    rows = len(data.rows)
    for row, panels in enumerate(data.rows):
        for column, panel in enumerate(panels):
            names = panel.expressions
            axes = figure.add_subplot(rows, 2, 2 * row + column + 1)
            _draw_matrix(axes, panel)
            axes.set_title(wrap_label(f"{panel.title}, {panel.dataset}", 2.9))

            # Both networks saw the same images, so the rows are named once.
            if column == 0:
                shown = [f"{name} ({count:.0f})" for name, count in zip(names, panel.counts.sum(1), strict=True)]
                axes.set_yticks(range(len(names)), shown)
                axes.set_ylabel(f"Shown ({data.images} images)")
            else:
                axes.set_yticks([])
            if row == rows - 1:
                axes.set_xticks(range(len(names)), names, rotation=90)
                axes.set_xlabel("Recognised as")
            else:
                axes.set_xticks([])


def _draw_matrix(axes: Axes, panel: ConfusionPanel) -> None:
    """Draws a matrix with per cent of each expression's images in its cells, where they fit; empty cells stay empty."""
    percent = panel.percent
    axes.imshow(np.nan_to_num(percent), cmap=SHARES, vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(percent):
        if np.isnan(value) or value == 0 or len(percent) > MOST_NUMBERED:
            continue
        colour = "white" if value > DARK_CELL else INK
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=TYPE, color=colour)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(True)


# Training curves.


def draw_curves(figure: Figure, data: CurvesFigure) -> None:
    """Draws a panel each of loss, source accuracy and target accuracy."""
    source, target = data.datasets
    columns = (
        ("loss", "Training loss"),
        ("source", f"Source accuracy (%) — {source}"),
        ("target", f"Target accuracy (%) — {target}"),
    )
    for place, (column, label) in enumerate(columns):
        axes = figure.add_subplot(1, len(columns), place + 1)
        for curve in data.others:
            _draw_curve(axes, curve, column, is_recommended=False)
        if data.recommended is not None:
            _draw_curve(axes, data.recommended, column, is_recommended=True)
        axes.set_ylabel(wrap_label(label, 1.6))
        axes.set_xlabel("Passes over the target")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        add_grid(axes)

    _label_curves(figure.axes[0], data)
    add_legend(figure, figure.axes[0])


def _draw_curve(axes: Axes, curve: TrainingCurve, column: str, is_recommended: bool) -> None:
    """Draws one of a curve's columns: bold where it is the recommended network's, else faint."""
    style = style_of(curve.strategy)
    values = getattr(curve, column)
    measured = np.isfinite(values)
    passes = curve.passes[measured]
    values = values[measured]
    if not is_recommended:
        axes.plot(passes, values, color=style.colour, linewidth=0.8, alpha=0.4, zorder=2)
        return
    marker = style.marker if len(values) <= MOST_MARKERS else None
    axes.plot(passes, values, color=style.colour, marker=marker, zorder=4, **BOLD)


def _label_curves(axes: Axes, data: CurvesFigure) -> None:
    """Names in the legend the recommended network's training and, by strategy, the others."""
    if data.recommended is not None:
        style = style_of(data.recommended.strategy)
        label = wrap_label(f"recommended (trial {data.recommended.trial}, {data.recommended.strategy})", 3.0)
        axes.plot([], [], color=style.colour, marker=style.marker, label=label, **BOLD)
    for strategy in sorted({curve.strategy for curve in data.others}):
        label = wrap_label(f"front: {strategy}", 2.0)
        axes.plot([], [], color=style_of(strategy).colour, linewidth=0.8, alpha=0.4, label=label)
