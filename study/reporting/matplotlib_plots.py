"""The figures by matplotlib, for papers: each function draws one kind of figure data."""

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.record import DOMAINS, StudyRecord
from study.reporting.figure_data import (
    ConfirmedFigure,
    ConfirmedFigurePoint,
    FigureData,
    FrontFigure,
    HypervolumeFigure,
    ImportanceFigure,
    RaceFigure,
    RecommendedPoint,
    StrategiesFigure,
    StrategyNetworks,
)
from study.reporting.figure_style import (
    DOMAIN_COLOURS,
    FINALISTS_LABEL,
    FRONT_LABEL,
    INK,
    QUIET,
    TITLES,
    UNDECIDED_LABEL,
    style_of,
)
from study.reporting.parallel_axes import Axis, ParallelFigure
from study.reporting.wording import SYNTHETIC

GOLDEN_RATIO = 0.618034


def draw_plot(name: str, record: StudyRecord, data: FigureData) -> Figure:
    """Returns a figure with its title, the study's name and, where faces are synthetic, the mark that says so.

    Args:
        name: One of `figure_style.NAMES`, or CONFIRMED.
        record: The study's record.
        data: What it shows, of `figure_data.build_figure_data`.
    """
    width, height = _size_in_inches(data)
    figure = Figure(figsize=(width, height), layout="constrained")
    _draw_content(figure, data)

    # Constrained layout leaves room for two lines above the axes: the title, and below it the study's name.
    figure.suptitle(f"{TITLES[name]}\n", x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)
    study = str(record.name or "study")
    figure.text(0.02, 1 - 0.36 / height, study, fontsize=8, color=QUIET, va="center", parse_math=False)
    if record.is_synthetic:
        box = {"facecolor": "#B03A00", "edgecolor": "none", "pad": 2.5}
        figure.text(
            0.98, 1 - 0.16 / height, SYNTHETIC, ha="right", va="center", fontsize=8, fontweight="bold", color="white",
            bbox=box,
        )  # fmt: skip
    return figure


def _size_in_inches(data: FigureData) -> tuple[float, float]:
    if isinstance(data, FrontFigure | ConfirmedFigure):
        return 5.4, 4.8
    if isinstance(data, HypervolumeFigure | RaceFigure):
        return 5.4, 3.3
    if isinstance(data, ParallelFigure):
        return 9.6, 4.6
    rows = len(data.groups) if isinstance(data, StrategiesFigure) else len(data.ranking)
    return 5.4, 1.9 + 0.36 * max(rows, 2)


def _draw_content(figure: Figure, data: FigureData) -> None:
    if isinstance(data, FrontFigure):
        _draw_front(figure, data)
    elif isinstance(data, ConfirmedFigure):
        _draw_confirmed(figure, data)
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


def _escape(text: object) -> str:
    """Returns a text in which no dollar starts mathematics."""
    return str(text).replace("$", r"\$")


def _add_grid(axes: Axes, which: Literal["both", "x", "y"] = "both") -> None:
    axes.grid(True, axis=which, color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)


# The front.


def _draw_front(figure: Figure, data: FrontFigure) -> None:
    axes = figure.add_subplot()
    for group in data.groups:
        _draw_networks(axes, group)

    # For the legend, where a network is hollow.
    if not all(group.is_adapted.all() for group in data.groups):
        axes.scatter([], [], s=32, linewidths=1.2, facecolors="white", edgecolors=QUIET, label="interpolated")

    # The view is that of the networks; the border's ends at chance lie outside of it.
    x_limits = axes.get_xlim()
    y_limits = axes.get_ylim()
    axes.plot(*data.border.T, color=INK, linewidth=1.3, zorder=3, label="Front")
    if data.baseline is not None:
        x, y = data.baseline
        _draw_baseline(axes, x, y)
        x_limits = _widen(x_limits, x)
        y_limits = _widen(y_limits, y)
    if data.recommended is not None:
        _draw_recommended(axes, data.recommended)
        for x, y in data.recommended.ends:
            x_limits = _widen(x_limits, x)
            y_limits = _widen(y_limits, y)

    x_label, y_label = data.axis_labels
    axes.set(xlim=x_limits, ylim=y_limits, xlabel=_escape(x_label), ylabel=_escape(y_label))
    _add_grid(axes)
    columns = min(4, len(axes.get_legend_handles_labels()[1]))
    figure.legend(loc="outside lower center", ncols=columns, fontsize=9, handletextpad=0.3, columnspacing=1.2)


def _draw_networks(axes: Axes, group: StrategyNetworks) -> None:
    """Draws one strategy's networks: interpolated ones hollow, those off the front faint and small."""
    style = style_of(group.strategy)
    filled: dict[str, Any] = {"marker": style.marker, "color": style.colour}
    hollow: dict[str, Any] = {"marker": style.marker, "facecolors": "white", "edgecolors": style.colour}

    adapted = group.is_adapted
    interpolated = ~group.is_adapted
    _scatter(axes, group, ~group.on_front & adapted, filled | {"s": 22, "alpha": 0.38, "linewidths": 0})
    _scatter(axes, group, ~group.on_front & interpolated, hollow | {"s": 12, "alpha": 0.3, "linewidths": 0.7})
    on_front = {"linewidths": 0.9, "edgecolors": INK, "zorder": 4}
    _scatter(axes, group, group.on_front & adapted, filled | on_front | {"s": 46})
    _scatter(axes, group, group.on_front & interpolated, hollow | {"s": 40, "linewidths": 1.6, "zorder": 4})

    # For the legend.
    axes.scatter([], [], s=32, linewidths=0, label=_escape(group.strategy), **filled)


def _scatter(axes: Axes, group: StrategyNetworks, chosen: np.ndarray, style: dict[str, Any]) -> None:
    """Draws the chosen (n,) of a strategy's networks."""
    axes.scatter(group.points[chosen, 0], group.points[chosen, 1], **style)


def _draw_recommended(axes: Axes, recommended: RecommendedPoint) -> None:
    """Draws a ring around the recommended network, with its intervals where they are known."""
    x, y = recommended.point
    if recommended.lower is not None and recommended.upper is not None:
        x_error = [[x - recommended.lower[0]], [recommended.upper[0] - x]]
        y_error = [[y - recommended.lower[1]], [recommended.upper[1] - y]]
        axes.errorbar(x, y, xerr=x_error, yerr=y_error, color=QUIET, linewidth=0.9, capsize=3, zorder=3)
    axes.scatter(x, y, s=190, facecolors="none", edgecolors=INK, linewidths=1.6, zorder=5, label="recommended")


def _draw_baseline(axes: Axes, x: float, y: float) -> None:
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    axes.plot(x, y, "+", color=INK, markersize=15, markeredgewidth=2.2, zorder=5)
    axes.annotate(
        "baseline", (x, y), xytext=(-8, -9), textcoords="offset points", ha="right", va="top", fontsize=9, color=INK,
        bbox=box, zorder=5,
    )  # fmt: skip


def _widen(limits: tuple[float, float], value: float) -> tuple[float, float]:
    """Returns limits that hold a value with two points around it."""
    low, high = limits
    return min(low, value - 2), max(high, value + 2)


# The confirmed networks.


def _draw_confirmed(figure: Figure, data: ConfirmedFigure) -> None:
    axes = figure.add_subplot()
    named: set[str] = set()
    for point in data.points:
        _draw_confirmed_point(axes, point)
        if point.strategy not in named:
            named.add(point.strategy)
            style = style_of(point.strategy)
            axes.scatter([], [], s=36, marker=style.marker, color=style.colour, label=_escape(point.strategy))
    axes.scatter([], [], s=26, facecolors="white", edgecolors=QUIET, label="as the search judged it")
    axes.scatter([], [], s=40, facecolors="#bbbbbb", edgecolors=INK, label="of the front")
    x_label, y_label = data.axis_labels
    axes.set(xlabel=_escape(x_label), ylabel=_escape(y_label))
    _add_grid(axes)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, handletextpad=0.3, columnspacing=1.2)


def _draw_confirmed_point(axes: Axes, point: ConfirmedFigurePoint) -> None:
    """Draws a network with its intervals, and a dotted line from where the search had put it."""
    colour = style_of(point.strategy).colour
    marker = style_of(point.strategy).marker
    x, y = point.test
    x_error = [[x - point.lower[0]], [point.upper[0] - x]]
    y_error = [[y - point.lower[1]], [point.upper[1] - y]]
    axes.errorbar(x, y, xerr=x_error, yerr=y_error, color=colour, linewidth=0.9, alpha=0.75, zorder=2)
    edge = INK if point.on_front else "white"
    axes.scatter(x, y, s=52, marker=marker, color=colour, edgecolors=edge, linewidths=1.1, zorder=4)
    if point.validation is not None:
        before_x, before_y = point.validation
        axes.plot([before_x, x], [before_y, y], color=colour, linewidth=0.8, linestyle=":", zorder=1)
        axes.scatter(
            before_x, before_y, s=26, marker=marker, facecolors="white", edgecolors=colour, linewidths=1, zorder=3
        )


# Hypervolume, strategies, parallel axes, importance.


def _draw_hypervolume(figure: Figure, data: HypervolumeFigure) -> None:
    axes = figure.add_subplot()
    last = data.numbers[-1], data.volumes[-1]
    axes.step(data.numbers, data.volumes, where="post", color="#0072B2", linewidth=1.8)
    axes.plot(*last, "o", color="#0072B2", markersize=4.5)
    axes.annotate(f"{last[1]:.3f}", last, xytext=(-2, 6), textcoords="offset points", ha="right", va="bottom")
    axes.set(xlabel="Trial number", ylabel=f"Area dominated above\n{data.reference}")
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _add_grid(axes)


def _draw_strategies(figure: Figure, data: StrategiesFigure) -> None:
    # The first strategy stands at the top.
    groups = data.groups[::-1]
    names = [_escape(strategy) for strategy, _ in groups]
    left_axes = None  # the source's panel; the target's shares its rows
    for column, domain in enumerate(DOMAINS):
        axes = figure.add_subplot(1, 2, column + 1, sharey=left_axes)
        left_axes = axes
        for row, (strategy, trials) in enumerate(groups):
            accuracies = 100 * trials[f"{domain}_val"].to_numpy(float)
            _draw_distribution(axes, row, strategy, accuracies)
        if data.baseline is not None:
            axes.axvline(data.baseline[column], color=QUIET, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.tick_params(labelleft=column == 0)
        label = data.axis_labels[column].replace(" accuracy", "\naccuracy")
        axes.set_xlabel(_escape(label), fontsize=8.5)
        _add_grid(axes, "x")
    note = f"; {data.note}" if data.note else ""
    figure.supxlabel(f"Bars: median and quartiles; dashed: baseline{note}", fontsize=8, color=QUIET)


def _draw_distribution(axes: Axes, row: int, strategy: str, accuracies: np.ndarray) -> None:
    """Draws a strategy's accuracies in per cent (n,) around a row, with median and quartiles."""
    # A point for each trial. Multiples of the golden ratio spread points evenly, and equally in each drawing.
    style = style_of(strategy)
    offsets = np.arange(len(accuracies)) * GOLDEN_RATIO % 1 - 0.5
    rows = row + 0.5 * offsets
    axes.scatter(accuracies, rows, s=14, marker=style.marker, color=style.colour, alpha=0.45, linewidths=0)

    # Quartiles and median.
    lower_quartile, median, upper_quartile = np.percentile(accuracies, [25, 50, 75])
    axes.plot([lower_quartile, upper_quartile], [row, row], color=INK, linewidth=1.2)
    axes.plot([median, median], [row - 0.24, row + 0.24], color=INK, linewidth=2)


def _draw_parallel(figure: Figure, data: ParallelFigure) -> None:
    axes = figure.add_subplot()
    bold: dict[str, Any] = {"linewidth": 1.8, "alpha": 1.0, "zorder": 3}
    faint: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.25, "zorder": 2}
    for trial, strategy in enumerate(data.strategies):
        places = [axis.places[trial] for axis in data.axes]
        style = bold if data.on_front[trial] else faint
        axes.plot(places, color=style_of(strategy).colour, **style)
    for column, axis in enumerate(data.axes):
        _draw_axis(axes, column, axis)
    names = [_escape(axis.name) for axis in data.axes]
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right", fontsize=8.5)
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(names) - 0.4)
    axes.spines["left"].set_visible(False)
    figure.supxlabel("Colours: strategies; bold: on the front", fontsize=8, color=QUIET)


def _draw_axis(axes: Axes, column: int, axis: Axis) -> None:
    """Draws one of the parallel axes; the first names the strategies, each in its colour."""
    box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
    axes.axvline(column, color=INK, linewidth=0.8, zorder=4)
    for place, label in zip(axis.ticks, axis.labels, strict=True):
        colour = INK if column else style_of(label).colour
        axes.annotate(
            _escape(label), (column, place), xytext=(3, 0), textcoords="offset points", fontsize=7.5, va="center",
            zorder=5, bbox=box, color=colour,
        )  # fmt: skip


def _draw_race(figure: Figure, data: RaceFigure) -> None:
    axes = figure.add_subplot()
    lines = (
        (FRONT_LABEL, data.front, DOMAIN_COLOURS["source"]),
        (UNDECIDED_LABEL, data.undecided, DOMAIN_COLOURS["target"]),
    )
    for label, values, colour in lines:
        axes.plot(data.trainings, values, "o-", color=colour, markersize=3, linewidth=1.8, label=label)
    if data.finalists_from is not None:
        axes.axvline(data.finalists_from, color=QUIET, linewidth=1, linestyle=(0, (3, 3)), label=FINALISTS_LABEL)
    axes.set(xlabel="Trainings of the race", ylabel="Networks")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _add_grid(axes)
    figure.legend(loc="outside lower center", ncols=1, fontsize=9, handletextpad=0.6)


def _draw_importance(figure: Figure, data: ImportanceFigure) -> None:
    axes = figure.add_subplot()
    rows = np.arange(len(data.ranking))[::-1]
    domains = [domain for domain in DOMAINS if domain in data.ranking]
    height = 0.76 / len(domains)
    for place, domain in enumerate(domains):
        centres = rows + 0.38 - height * (place + 0.5)
        label = _escape(data.labels[domain])
        axes.barh(centres, data.ranking[domain], height * 0.92, color=DOMAIN_COLOURS[domain], label=label)
    axes.set_yticks(rows, [_escape(name) for name in data.ranking["hyperparameter"]])
    note = f"\n{data.note}" if data.note else ""
    axes.set_xlabel(f"Share of importance for the best tenth of trials{note}")
    axes.set_xlim(left=0)
    _add_grid(axes, "x")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
