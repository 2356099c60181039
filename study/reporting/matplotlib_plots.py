"""The figures by matplotlib, for papers: each function draws one kind of figure data."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.record import DOMAINS, StudyRecord
from study.reporting.confusion_figure import ConfusionFigure
from study.reporting.curves_figure import CurvesFigure
from study.reporting.figure_data import (
    ConfirmedFigure,
    FigureData,
    FrontFigure,
    HypervolumeFigure,
    ImportanceFigure,
    RaceFigure,
    StrategiesFigure,
)
from study.reporting.figure_style import (
    DOMAIN_COLOURS,
    FINALISTS_LABEL,
    FRONT_LABEL,
    INK,
    QUIET,
    SETTLED_LABEL,
    UNDECIDED_LABEL,
    style_of,
)
from study.reporting.front_plots import draw_confirmed, draw_front
from study.reporting.parallel_axes import Axis, ParallelFigure
from study.reporting.plot_parts import (
    DOTS_PER_INCH,
    ONE_COLUMN,
    STYLE,
    TWO_COLUMNS,
    TYPE,
    add_grid,
    add_legend,
    cut_text,
    wrap_label,
)
from study.reporting.training_plots import draw_confusions, draw_curves
from study.reporting.wording import SYNTHETIC, hyperparameter_label

LONGEST_NAME = 1.4
"""Inches that the name of one of the parallel axes may be long."""
MARK_HEIGHT = 0.2
"""Height in inches of the line above the axes that says that faces are synthetic."""
GOLDEN_RATIO = 0.618034


def draw_plot(record: StudyRecord, data: FigureData) -> Figure:
    """Returns a figure at the size of a paper's column; where faces are synthetic, with the mark that says so.

    It has no title: in a paper and in the report its caption says what it shows.

    Args:
        record: The study's record.
        data: What it shows, of `figure_data.build_figure_data`.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_size_in_inches(data), dpi=DOTS_PER_INCH, layout="constrained")
        if record.is_synthetic:
            box = {"facecolor": "#B03A00", "edgecolor": "none", "pad": 1.5}
            figure.suptitle(SYNTHETIC, x=0.98, ha="right", fontsize=TYPE, fontweight="bold", color="white", bbox=box)
            figure.set_figheight(figure.get_figheight() + MARK_HEIGHT)
        _draw_content(figure, data)
    return figure


def _size_in_inches(data: FigureData) -> tuple[float, float]:
    """Returns width and height of a figure without its legend's rows."""
    if isinstance(data, FrontFigure):
        return ONE_COLUMN, 3.1
    if isinstance(data, HypervolumeFigure | RaceFigure):
        return ONE_COLUMN, 2.1
    if isinstance(data, ImportanceFigure):
        return ONE_COLUMN, 0.7 + 0.26 * max(len(data.ranking), 2)
    if isinstance(data, ConfirmedFigure):
        return TWO_COLUMNS, 4.0
    if isinstance(data, ConfusionFigure):
        crowding = max(1.0, len(data.rows[0][0].expressions) / 8)
        return TWO_COLUMNS, 1.1 + 2.0 * crowding * len(data.rows)
    if isinstance(data, CurvesFigure):
        return TWO_COLUMNS, 2.0
    if isinstance(data, StrategiesFigure):
        return TWO_COLUMNS, 0.9 + 0.3 * max(len(data.groups), 2)
    return TWO_COLUMNS, 3.4


def _draw_content(figure: Figure, data: FigureData) -> None:
    if isinstance(data, FrontFigure):
        draw_front(figure, data)
    elif isinstance(data, ConfirmedFigure):
        draw_confirmed(figure, data)
    elif isinstance(data, ConfusionFigure):
        draw_confusions(figure, data)
    elif isinstance(data, CurvesFigure):
        draw_curves(figure, data)
    elif isinstance(data, HypervolumeFigure):
        _draw_hypervolume(figure, data)
    elif isinstance(data, StrategiesFigure):
        _draw_strategies(figure, data)
    elif isinstance(data, ParallelFigure):
        _draw_parallel(figure, data)
    elif isinstance(data, RaceFigure):
        _draw_race(figure, data)
    else:
        _draw_importance(figure, data)


# Hypervolume, strategies, parallel axes, importance.


def _draw_hypervolume(figure: Figure, data: HypervolumeFigure) -> None:
    axes = figure.add_subplot()
    last = data.numbers[-1], data.volumes[-1]
    axes.step(data.numbers, data.volumes, where="post", color="#0072B2", linewidth=1.4)
    axes.plot(*last, "o", color="#0072B2", markersize=3.5)
    axes.annotate(f"{last[1]:.3f}", last, xytext=(-2, 5), textcoords="offset points", ha="right", va="bottom")
    axes.set(xlabel="Trial", ylabel="Hypervolume")
    axes.margins(y=0.18)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    add_grid(axes)


def _draw_strategies(figure: Figure, data: StrategiesFigure) -> None:
    # The first strategy stands at the top.
    groups = data.groups[::-1]
    names = [wrap_label(strategy, 1.2) for strategy, _ in groups]
    left_axes = None  # the source's panel; the target's shares its rows
    for column, domain in enumerate(DOMAINS):
        axes = figure.add_subplot(1, 2, column + 1, sharey=left_axes)
        left_axes = axes
        for row, (strategy, trials) in enumerate(groups):
            accuracies = 100 * trials[f"{domain}_val"].to_numpy(float)
            _draw_distribution(axes, row, strategy, accuracies)
        if data.baseline is not None:
            axes.axvline(data.baseline[column], color=QUIET, linewidth=0.8, linestyle=(0, (3, 3)))
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.tick_params(labelleft=column == 0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.set_xlabel(wrap_label(data.axis_labels[column], 2.8))
        add_grid(axes, "x")
    note = f"; {data.note}" if data.note else ""
    figure.supxlabel(f"Bars: median and quartiles; dashed: baseline{note}", fontsize=TYPE, color=QUIET)


def _draw_distribution(axes: Axes, row: int, strategy: str, accuracies: np.ndarray) -> None:
    """Draws a strategy's accuracies in per cent (n,) around a row, with median and quartiles."""
    # A point for each trial. Multiples of the golden ratio spread points evenly, and equally in each drawing.
    style = style_of(strategy)
    offsets = np.arange(len(accuracies)) * GOLDEN_RATIO % 1 - 0.5
    rows = row + 0.5 * offsets
    axes.scatter(accuracies, rows, s=9, marker=style.marker, color=style.colour, alpha=0.45, linewidths=0)

    # Quartiles and median.
    lower_quartile, median, upper_quartile = np.percentile(accuracies, [25, 50, 75])
    axes.plot([lower_quartile, upper_quartile], [row, row], color=INK, linewidth=1.0)
    axes.plot([median, median], [row - 0.24, row + 0.24], color=INK, linewidth=1.6)


def _draw_parallel(figure: Figure, data: ParallelFigure) -> None:
    axes = figure.add_subplot()
    bold: dict[str, Any] = {"linewidth": 1.3, "alpha": 1.0, "zorder": 3}
    faint: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.25, "zorder": 2}
    for trial, strategy in enumerate(data.strategies):
        places = [axis.places[trial] for axis in data.axes]
        style = bold if data.on_front[trial] else faint
        axes.plot(places, color=style_of(strategy).colour, **style)
    room = (TWO_COLUMNS - 0.6) / len(data.axes)
    for column, axis in enumerate(data.axes):
        _draw_axis(axes, column, axis, room)
    names = [cut_text(axis.name, LONGEST_NAME) for axis in data.axes]
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right", rotation_mode="anchor")
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(names) - 0.35)
    axes.spines["left"].set_visible(False)
    figure.supxlabel("Colours: strategies; bold: on the front", fontsize=TYPE, color=QUIET)


def _draw_axis(axes: Axes, column: int, axis: Axis, room: float) -> None:
    """Draws one of the parallel axes; the first names the strategies, each in its colour.

    Args:
        axes: Of matplotlib.
        column: Which of the parallel axes it is, from 0.
        axis: The axis.
        room: Inches from it to the next.
    """
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
    axes.axvline(column, color=INK, linewidth=0.8, zorder=4)
    for place, label in zip(axis.ticks, axis.labels, strict=True):
        colour = INK if column else style_of(label).colour
        axes.annotate(
            cut_text(label, room), (column, place), xytext=(3, 0), textcoords="offset points", fontsize=TYPE,
            va="center", zorder=5, bbox=box, color=colour,
        )  # fmt: skip


def _draw_race(figure: Figure, data: RaceFigure) -> None:
    axes = figure.add_subplot()
    # Where no network is surely on the front, both lines are one: the lower stays visible around the upper.
    axes.plot(data.trainings, data.front, color=DOMAIN_COLOURS["source"], linewidth=2.8, label=FRONT_LABEL)
    axes.plot(data.trainings, data.undecided, color=DOMAIN_COLOURS["target"], linewidth=1.1, label=UNDECIDED_LABEL)
    axes.plot(data.trainings, data.settled, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), label=SETTLED_LABEL)
    if data.finalists_from is not None:
        axes.axvline(data.finalists_from, color=QUIET, linewidth=0.8, linestyle=(0, (3, 3)), label=FINALISTS_LABEL)
    axes.set(xlabel="Trainings of the race", ylabel="Networks, expected number")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    add_grid(axes)
    add_legend(figure, axes)


def _draw_importance(figure: Figure, data: ImportanceFigure) -> None:
    axes = figure.add_subplot()
    rows = np.arange(len(data.ranking))[::-1]
    domains = [domain for domain in DOMAINS if domain in data.ranking]
    height = 0.76 / len(domains)
    for place, domain in enumerate(domains):
        centres = rows + 0.38 - height * (place + 0.5)
        label = wrap_label(data.labels[domain], 2.8)
        percent = 100 * data.ranking[domain]
        axes.barh(centres, percent, height * 0.92, color=DOMAIN_COLOURS[domain], label=label)
    names = [hyperparameter_label(name) for name in data.ranking["hyperparameter"]]
    axes.set_yticks(rows, [wrap_label(name, 1.2) for name in names])
    axes.set_xlabel("Share of importance (%)")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    add_grid(axes, "x")
    add_legend(figure, axes)
