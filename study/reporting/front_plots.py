"""The figures of the front and of the confirmed networks, by matplotlib."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from study.fronts import INTERVALS
from study.reporting.figure_data import (
    ConfirmedFigure,
    ConfirmedFigurePoint,
    FrontFigure,
    RecommendedPoint,
    StrategyNetworks,
)
from study.reporting.figure_style import INK, LITTLE_BETTER_LABEL, QUIET, style_of
from study.reporting.plot_parts import CHARACTER, POINTS_PER_INCH, TYPE, add_grid, add_legend, escape, wrap_label

RING = 95.0
"""Area in square points of the ring around the recommended network."""
TICKS = 6


# The front.


def draw_front(figure: Figure, data: FrontFigure) -> None:
    """Draws all networks, the front, the baseline and the recommended network."""
    axes = figure.add_subplot()
    for group in data.groups:
        if data.shows_intervals:
            _draw_intervals(axes, group)
        # The cross below stands for the baseline; it would hide the mark of its strategy.
        if not data.is_the_baseline(group):
            _draw_networks(axes, group)

    _explain_markers(axes, data)

    # The view is that of the networks; the border's ends at chance lie outside of it.
    x_limits, y_limits = _limits_of_networks(data)
    axes.plot(*data.border.T, color=INK, linewidth=1.0, zorder=3, label="front")
    if data.baseline is not None:
        x, y = data.baseline
        label = "baseline (BL)" if data.is_baseline_a_trial else "baseline"
        axes.plot(x, y, "+", color=INK, markersize=10, markeredgewidth=1.6, zorder=5, label=label, linestyle="none")
        x_limits = _widen(x_limits, x)
        y_limits = _widen(y_limits, y)
    if data.recommended is not None:
        _draw_recommended(axes, data.recommended)
        for x, y in data.recommended.ends:
            x_limits = _widen(x_limits, x)
            y_limits = _widen(y_limits, y)

    axes.set(xlim=x_limits, ylim=y_limits)
    _name_axes(axes, data.axis_labels, 2.5)
    add_legend(figure, axes)


def _explain_markers(axes: Axes, data: FrontFigure) -> None:
    """Adds an entry of the legend for each look that a marker has, whatever its strategy, and for the thin lines."""
    # Which looks there are.
    has_interpolated = any(not group.is_adapted.all() for group in data.groups)
    has_little_better = any((group.on_front & ~group.is_distinct).any() for group in data.groups)
    has_off_front = any(not group.on_front.all() for group in data.groups)

    # An entry for each, in grey, without a point in the drawing.
    grey: dict[str, Any] = {"color": QUIET, "linewidths": 0}
    if has_interpolated:
        axes.scatter([], [], s=18, linewidths=0.9, facecolors="white", edgecolors=QUIET, label="interpolated")
    if has_little_better:
        axes.scatter([], [], s=26, color=QUIET, edgecolors=INK, linewidths=0.7, label="on the front")
        axes.scatter([], [], s=11, label=LITTLE_BETTER_LABEL, **grey)
    if has_off_front:
        axes.scatter([], [], s=11, alpha=0.38, label="not on the front", **grey)
    if data.shows_intervals:
        axes.plot([], [], color=QUIET, linewidth=0.5, alpha=0.6, label="90 % interval")


def _name_axes(axes: Axes, labels: tuple[str, str], inches: float) -> None:
    """Names the axes of two accuracies.

    Args:
        axes: The axes.
        labels: Of the source's and of the target's axis.
        inches: The length that a label has.
    """
    x_label, y_label = labels
    axes.set(xlabel=wrap_label(x_label, inches), ylabel=wrap_label(y_label, inches))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=TICKS))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=TICKS))
    add_grid(axes)


def _limits_of_networks(data: FrontFigure) -> tuple[tuple[float, float], tuple[float, float]]:
    """Returns the limits of both axes within which all networks lie, with some room around them."""
    points = np.vstack([group.points for group in data.groups])
    low = points.min(axis=0)
    high = points.max(axis=0)
    room = np.maximum(0.05 * (high - low), 1)
    (x_low, y_low), (x_high, y_high) = low - room, high + room
    return (float(x_low), float(x_high)), (float(y_low), float(y_high))


def _draw_intervals(axes: Axes, group: StrategyNetworks) -> None:
    """Draws faint intervals of those of one strategy's networks that stand out on the front."""
    # Where they are, and where their intervals end, in per cent.
    networks = group.networks[group.is_distinct]
    source, target = group.points[group.is_distinct].T
    ends = {name: 100 * networks[name].to_numpy(float) for name in INTERVALS}

    # The source's interval lies across, the target's upright.
    style: dict[str, Any] = {"color": style_of(group.strategy).colour, "linewidth": 0.5, "alpha": 0.3, "zorder": 1}
    axes.hlines(target, ends["source_lower"], ends["source_upper"], **style)
    axes.vlines(source, ends["target_lower"], ends["target_upper"], **style)


def _draw_networks(axes: Axes, group: StrategyNetworks) -> None:
    """Draws one strategy's networks: hollow if interpolated, small if they hardly differ, faint if off the front."""
    style = style_of(group.strategy)
    filled: dict[str, Any] = {"marker": style.marker, "color": style.colour}
    hollow: dict[str, Any] = {"marker": style.marker, "facecolors": "white", "edgecolors": style.colour}

    adapted = group.is_adapted
    interpolated = ~group.is_adapted
    _scatter(axes, group, ~group.on_front & adapted, filled | {"s": 11, "alpha": 0.38, "linewidths": 0})
    _scatter(axes, group, ~group.on_front & interpolated, hollow | {"s": 7, "alpha": 0.3, "linewidths": 0.5})

    # On the front: those that hardly differ from others, and those that stand out.
    hardly_differs = group.on_front & ~group.is_distinct
    _scatter(axes, group, hardly_differs & adapted, filled | {"s": 11, "linewidths": 0, "zorder": 3.5})
    _scatter(axes, group, hardly_differs & interpolated, hollow | {"s": 8, "linewidths": 0.7, "zorder": 3.5})
    stands_out = {"linewidths": 0.7, "edgecolors": INK, "zorder": 4}
    _scatter(axes, group, group.is_distinct & adapted, filled | stands_out | {"s": 26})
    _scatter(axes, group, group.is_distinct & interpolated, hollow | {"s": 22, "linewidths": 1.1, "zorder": 4})

    # For the legend.
    axes.scatter([], [], s=18, linewidths=0, label=escape(group.strategy), **filled)


def _scatter(axes: Axes, group: StrategyNetworks, chosen: np.ndarray, style: dict[str, Any]) -> None:
    """Draws the chosen (n,) of a strategy's networks."""
    axes.scatter(group.points[chosen, 0], group.points[chosen, 1], **style)


def _draw_recommended(axes: Axes, recommended: RecommendedPoint) -> None:
    """Draws a ring around the recommended network, with its intervals where they are known."""
    x, y = recommended.point
    if recommended.lower is not None and recommended.upper is not None:
        x_error = [[x - recommended.lower[0]], [recommended.upper[0] - x]]
        y_error = [[y - recommended.lower[1]], [recommended.upper[1] - y]]
        axes.errorbar(x, y, xerr=x_error, yerr=y_error, color=INK, linewidth=0.8, capsize=2, zorder=3)
    _draw_ring(axes, recommended.point)


def _draw_ring(axes: Axes, point: tuple[float, float]) -> None:
    axes.scatter(*point, s=RING, facecolors="none", edgecolors=INK, linewidths=1.3, zorder=5)

    # For the legend, whose rows are lower than the ring.
    axes.scatter([], [], s=45, facecolors="none", edgecolors=INK, linewidths=1.3, label="recommended")


def _widen(limits: tuple[float, float], value: float) -> tuple[float, float]:
    """Returns limits that hold a value with two points around it."""
    low, high = limits
    return min(low, value - 2), max(high, value + 2)


# The confirmed networks.


def draw_confirmed(figure: Figure, data: ConfirmedFigure) -> None:
    """Draws the confirmed networks with their intervals; numbers are those of the caption."""
    axes = figure.add_subplot()
    named: set[str] = set()
    for point in data.points:
        _draw_confirmed_point(axes, point)
        if point.strategy not in named:
            named.add(point.strategy)
            style = style_of(point.strategy)
            axes.scatter([], [], s=20, marker=style.marker, color=style.colour, label=escape(point.strategy))

    # What markers mean, whatever their strategy.
    axes.scatter([], [], s=18, facecolors="#bbbbbb", edgecolors=INK, linewidths=0.9, label="on the front")
    axes.plot([], [], color=QUIET, linewidth=0.6, alpha=0.8, label="95 % interval")
    if not all(point.is_distinct for point in data.points):
        axes.scatter([], [], s=9, color=QUIET, alpha=0.5, linewidths=0, label=LITTLE_BETTER_LABEL)
    if any(point.validation is not None for point in data.points):
        label = "as the search had judged it"
        axes.plot([], [], ":o", color=QUIET, markersize=3.5, markerfacecolor="white", linewidth=0.8, label=label)
    for point in data.points:
        if point.is_recommended:
            _draw_ring(axes, point.test)

    _name_axes(axes, data.axis_labels, 3.0)
    add_legend(figure, axes)
    _number_points(figure, axes, [point for point in data.points if point.is_distinct])


def _draw_confirmed_point(axes: Axes, point: ConfirmedFigurePoint) -> None:
    """Draws a network with its intervals and a line from where the search had put it; a dot if it hardly differs."""
    colour = style_of(point.strategy).colour
    marker = style_of(point.strategy).marker
    x, y = point.test
    x_error = [[x - point.lower[0]], [point.upper[0] - x]]
    y_error = [[y - point.lower[1]], [point.upper[1] - y]]
    if not point.is_distinct:
        axes.scatter(x, y, s=9, marker=marker, color=colour, alpha=0.5, linewidths=0, zorder=2)
        return
    axes.errorbar(x, y, xerr=x_error, yerr=y_error, color=colour, linewidth=0.6, alpha=0.4, zorder=1)
    edge = INK if point.on_front else "white"
    axes.scatter(x, y, s=26, marker=marker, color=colour, edgecolors=edge, linewidths=0.8, zorder=4)
    if point.validation is not None:
        before_x, before_y = point.validation
        axes.plot([before_x, x], [before_y, y], color=colour, linewidth=0.7, linestyle=":", zorder=2)
        axes.scatter(
            before_x, before_y, s=12, marker=marker, facecolors="white", edgecolors=colour, linewidths=0.8, zorder=3
        )


# Numbers beside points.

Box = tuple[float, float, float, float]
"""Centre, half width and half height, in points."""
OVERLAP = 5.0
"""Distance in points below which two markers lie on each other, so that they share what is written beside them."""
_DIRECTIONS = 16
_DISTANCES = (9.0, 14.0, 20.0, 27.0, 36.0, 48.0)
"""Where a number is tried, in points from its network: all directions at the least distance, then farther away."""
_LINE_FROM = 12.0
"""Distance in points from which a line leads from a number to its network."""


def _number_points(figure: Figure, axes: Axes, points: list[ConfirmedFigurePoint]) -> None:
    """Writes each network's number beside it, where no marker and no other number stands; "7, 9" where two overlap.

    Args:
        figure: Complete but for the numbers, since their places depend on its layout.
        axes: The axes of the networks.
        points: In the order of their numbers, from 1.
    """
    figure.draw_without_rendering()
    scale = POINTS_PER_INCH / figure.dpi
    places = scale * axes.transData.transform([point.test for point in points])
    frame = scale * axes.bbox.get_points()

    # Places of markers are taken from the beginning, and that of the ring.
    reaches = [np.sqrt(RING / np.pi) + 1.5 if point.is_recommended else 4.0 for point in points]
    taken: list[Box] = [(x, y, reach, reach) for (x, y), reach in zip(places, reaches, strict=True)]
    for indices in sorted(_group_overlapping(places), key=len):  # what is long finds room last
        index = indices[0]
        x, y = places[index]
        text = ", ".join(f"{each + 1}" for each in indices)
        half_size = 0.5 * CHARACTER * TYPE * len(text) + 1, 0.5 * TYPE + 1
        dx, dy = _find_room(x, y, half_size, taken, frame)
        taken.append((x + dx, y + dy, *half_size))
        is_far = np.hypot(dx, dy) > _LINE_FROM
        line = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.4, "shrinkA": 1, "shrinkB": 2} if is_far else None
        ground = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.4}
        label = axes.annotate(
            text, points[index].test, xytext=(dx, dy), textcoords="offset points", ha="center", va="center", color=INK,
            fontsize=TYPE, zorder=6, arrowprops=line, bbox=ground,
        )  # fmt: skip
        label.set_in_layout(False)


def _group_overlapping(places: np.ndarray) -> list[list[int]]:
    """Returns the indices of points (n, 2) by groups: each that overlaps the first of a group belongs to it."""
    groups: list[list[int]] = []
    for index, place in enumerate(places):
        for group in groups:
            if np.hypot(*(place - places[group[0]])) < OVERLAP:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _find_room(
    x: float,
    y: float,
    half_size: tuple[float, float],
    taken: list[tuple[float, float, float, float]],
    frame: np.ndarray,
) -> tuple[float, float]:
    """Returns how far from its point a text of a size has room, the nearest place first; all in points.

    Args:
        x: The point.
        y: The point.
        half_size: Half of the text's width and height.
        taken: What the text must not touch.
        frame: Lower left and upper right corner of what the text must stay in (2, 2).
    """
    boxes = np.array(taken)
    reach = boxes[:, 2:] + half_size
    for distance in _DISTANCES:
        for step in range(_DIRECTIONS):
            # From the upper right on.
            angle = np.pi / 4 + 2 * np.pi * step / _DIRECTIONS
            offset = distance * np.array([np.cos(angle), np.sin(angle)])
            centre = np.array([x, y]) + offset
            is_inside = bool((centre - half_size >= frame[0]).all() and (centre + half_size <= frame[1]).all())
            touches = (np.abs(boxes[:, :2] - centre) < reach).all(axis=1)
            if is_inside and not touches.any():
                return float(offset[0]), float(offset[1])
    return 0.0, _DISTANCES[0]
