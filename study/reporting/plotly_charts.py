"""The figures that are worth a pointer, by plotly, interactive and offline: the front, and all trials."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from study.fronts import model_names
from study.record import StudyRecord
from study.reporting.figure_data import FrontFigure, RecommendedPoint, StrategyNetworks
from study.reporting.figure_style import INK, LITTLE_BETTER_LABEL, QUIET, TITLES, style_of
from study.reporting.hover import escape_for_plotly, hover_texts
from study.reporting.parallel_axes import ABSENT, ParallelFigure
from study.reporting.wording import SYNTHETIC

# Only buttons that work offline: plotly's own set has some that send the chart to a server.
BUTTONS = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]
CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtons": [BUTTONS]}


AXIS_WIDTH = 84
"""Pixels that each of the parallel axes has at least, which its name and the labels of its ticks need."""
LAST_NAME = 80
"""Pixels to the right of the last of the parallel axes, below which its slanting name goes on."""
PALE = 0.35
"""How much of its colour the line of a trial keeps that has no network on the front."""
BASELINE = "baseline"
"""By what the page finds the baseline where it is clicked, as other networks by their files."""


def render_chart_page(name: str, record: StudyRecord, data: FrontFigure | ParallelFigure) -> str:
    """Returns one chart as a whole HTML page with plotly.js inside, so that it opens offline anywhere.

    Args:
        name: One of `figure_style.INTERACTIVE`.
        record: The study's record.
        data: What it shows, of `figure_data.build_figure_data`.
    """
    chart = draw_chart(data)
    is_parallel = isinstance(data, ParallelFigure)
    margin = {"t": 90, "l": 60, "r": LAST_NAME if is_parallel else 24, "b": 110}
    about = " · pale: not on the front" if is_parallel else ""
    chart.update_layout(template="plotly_white", title=_title(name, record, about), margin=margin)
    body = chart.to_html(full_html=False, include_plotlyjs=True, config=CONFIG, div_id=name, default_height="92vh")
    if isinstance(data, ParallelFigure):
        # On a narrow screen axes keep their distance, and the reader scrolls from one to the next.
        width = AXIS_WIDTH * len(data.axes)
        body = f'<div style="overflow-x:auto"><div style="min-width:{width}px">{body}</div></div>'
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = escape(f"{name} — {record.name or 'study'}")
    return f"<!doctype html>\n<html lang='en'><head>{head}<title>{title}</title></head><body>{body}</body></html>\n"


def _title(name: str, record: StudyRecord, about: str) -> dict[str, Any]:
    mark = f"<b style='color:#B03A00'>{SYNTHETIC}</b> · " if record.is_synthetic else ""
    study = escape_for_plotly(record.name or "study")
    return {"text": f"<b>{TITLES[name]}</b><br><sup>{mark}{study}{about}</sup>", "x": 0.02}


def draw_chart(data: FrontFigure | ParallelFigure) -> go.Figure:
    """Returns a plotly figure without title or colours of a page."""
    return _draw_front(data) if isinstance(data, FrontFigure) else _draw_parallel(data)


# The front.


def _draw_front(data: FrontFigure) -> go.Figure:
    chart = go.Figure()

    # From back to front: the border, the networks, the baseline, what hovering finds on the front.
    line = {"color": INK, "width": 2}
    chart.add_scatter(x=data.border[:, 0], y=data.border[:, 1], mode="lines", name="Front", line=line, hoverinfo="skip")
    for group in data.groups:
        _add_networks(chart, group, data)
    if data.baseline is not None:
        _add_baseline(chart, data.baseline)
    if data.recommended is not None:
        _add_recommended(chart, data.recommended)
    for group in data.groups:
        _add_targets_of_pointer(chart, group, data)
    _explain_markers(chart, any((group.on_front & ~group.is_distinct).any() for group in data.groups))

    # The axes: all points are in view, with some room around them; the border may leave the view.
    points = np.vstack([np.empty((0, 2)), *(group.points for group in data.groups)])
    if data.baseline is not None:
        points = np.vstack([points, data.baseline])
    if data.recommended is not None:
        points = np.vstack([points, *data.recommended.ends])
    low = points.min(axis=0)
    high = points.max(axis=0)
    room = np.maximum(0.06 * (high - low), 1)
    for column, axis in enumerate(("xaxis", "yaxis")):
        title = escape_for_plotly(data.axis_labels[column])
        view = [low[column] - room[column], high[column] + room[column]]
        chart.update_layout({axis: {"title": title, "range": view}})
    legend = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"}
    label = {"align": "left", "bgcolor": "white", "font": {"color": INK}}
    return chart.update_layout(legend=legend, hovermode="closest", hoverlabel=label)


def _add_networks(chart: go.Figure, group: StrategyNetworks, data: FrontFigure) -> None:
    """Adds one strategy's networks: hollow if interpolated, small if they hardly differ, faint if off the front."""
    style = style_of(group.strategy)

    # The outline: ink around an adapted network, the strategy's colour around a hollow one. Off the front an adapted
    # network's has width 0, so that the page may recolour all outlines for a dark background.
    width_off_front = np.where(group.is_adapted, 0, 1)
    outline = {
        "width": np.where(group.is_distinct, 1.4, width_off_front),
        "color": np.where(group.is_adapted, INK, style.colour),
    }

    # Shape and colour say the strategy, filled or hollow the kind of network, opacity the front, size who stands out.
    marker = {
        "color": style.colour,
        "symbol": np.where(group.is_adapted, style.symbol, f"{style.symbol}-open"),
        "size": np.where(group.is_distinct, 12, 8),
        "opacity": np.where(group.on_front, 1.0, 0.45),
        "line": outline,
    }
    _add_hoverable(chart, group, np.ones(len(group.points), bool), data, marker=marker)


def _add_targets_of_pointer(chart: go.Figure, group: StrategyNetworks, data: FrontFigure) -> None:
    """Adds small invisible points above one strategy's networks of the front, which the pointer finds first.

    Of markers that overlap plotly takes the smallest, which would be one off the front.
    """
    marker = {"size": 6, "opacity": 0, "color": style_of(group.strategy).colour}
    if group.on_front.any():
        _add_hoverable(chart, group, group.on_front, data, marker=marker, showlegend=False)


def _add_hoverable(
    chart: go.Figure, group: StrategyNetworks, is_shown: np.ndarray, data: FrontFigure, **look: object
) -> None:
    """Adds networks of a strategy with their labels; a click on the legend hides all of a strategy at once.

    Args:
        chart: The chart.
        group: The strategy's networks.
        is_shown: Which of them are added (n,).
        data: The figure.
        look: Further properties of plotly's trace.
    """
    networks = group.networks[is_shown]
    baseline_source = None if data.baseline is None else data.baseline[0] / 100
    name = escape_for_plotly(group.strategy)

    # The page finds a clicked point's network by `customdata`.
    chart.add_scatter(
        x=group.points[is_shown, 0],
        y=group.points[is_shown, 1],
        mode="markers",
        name=name,
        legendgroup=name,
        hovertext=hover_texts(networks, data.varied, baseline_source),
        hoverinfo="text",
        customdata=model_names(networks),
        **look,
    )


def _add_baseline(chart: go.Figure, baseline: tuple[float, float]) -> None:
    source, target = baseline
    marker = dict[str, Any](symbol="cross-thin", size=18, color=INK, line={"width": 3, "color": INK})
    chart.add_scatter(
        x=[source],
        y=[target],
        mode="markers",
        name="Baseline",
        marker=marker,
        hovertext=f"<b>Baseline</b><br>source {source:.1f} %<br>target {target:.1f} %",
        hoverinfo="text",
        customdata=[BASELINE],
    )


def _add_recommended(chart: go.Figure, recommended: RecommendedPoint) -> None:
    """Adds a ring around the recommended network, with its intervals where they are known."""
    errors: dict[str, Any] = {}
    if recommended.lower is not None and recommended.upper is not None:
        for axis, mean, low, high in zip(
            ("error_x", "error_y"), recommended.point, recommended.lower, recommended.upper, strict=True
        ):
            errors[axis] = {"array": [high - mean], "arrayminus": [mean - low], "thickness": 1, "color": QUIET}
    marker = {"symbol": "circle-open", "size": 24, "color": INK, "line": {"width": 2.4, "color": INK}}
    chart.add_scatter(
        x=[recommended.point[0]],
        y=[recommended.point[1]],
        mode="markers",
        name="Recommended",
        marker=marker,
        hoverinfo="skip",
        **errors,
    )


def _explain_markers(chart: go.Figure, has_folded: bool) -> None:
    """Adds an entry of the legend for each kind of marker, whatever its strategy.

    Args:
        chart: The chart.
        has_folded: Whether there are networks of the front that hardly differ from others.
    """
    markers = [
        ("adapted network", "circle", 12, 1.0),
        ("interpolated network", "circle-open", 12, 1.0),
        ("not on the front", "circle", 8, 0.45),
    ]
    if has_folded:
        markers.insert(2, (LITTLE_BETTER_LABEL, "circle", 8, 1.0))
    for name, symbol, size, opacity in markers:
        marker = {"symbol": symbol, "size": size, "opacity": opacity, "color": "#888888", "line": {"width": 1.4}}
        chart.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, hoverinfo="skip")


# All trials.


def _draw_parallel(data: ParallelFigure) -> go.Figure:
    # A scale of steps, of one colour each: a step needs both its ends. The pale steps come first, since lines of a
    # higher number are drawn above others.
    names = sorted(set(data.strategies))
    colours = [_pale(style_of(name).colour) for name in names] + [style_of(name).colour for name in names]
    steps = []
    for index, colour in enumerate(colours):
        steps += [[index / len(colours), colour], [(index + 1) / len(colours), colour]]
    codes = pd.Series(data.strategies).map(names.index) + len(names) * np.array(data.on_front, int)
    line = {"color": codes, "colorscale": steps, "cmin": -0.5, "cmax": len(colours) - 0.5}

    dimensions = []
    for axis in data.axes:
        labels = [escape_for_plotly(label) for label in axis.labels]
        dimensions.append(
            {"label": escape_for_plotly(axis.name), "values": axis.places, "tickvals": axis.ticks, "ticktext": labels,
             "range": [ABSENT, 1.0]}
        )  # fmt: skip
    faint = {"line": {"opacity": 0.05}}
    lines = go.Parcoords(line=line, dimensions=dimensions, labelside="bottom", labelangle=20, unselected=faint)
    return go.Figure(lines).update_layout(font={"size": 11})


def _pale(colour: str) -> str:
    """Returns a colour mixed with white, both as hexadecimal RGB."""
    parts = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    mixed = [round(255 - PALE * (255 - part)) for part in parts]
    return "#" + "".join(f"{part:02x}" for part in mixed)
