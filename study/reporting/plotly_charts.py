"""The figures by plotly, interactive and offline: each function draws one kind of figure data."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

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
from study.reporting.hover import escape_for_plotly, hover_texts
from study.reporting.parallel_axes import ABSENT, ParallelFigure
from study.reporting.wording import SYNTHETIC, confirmed_name

# Only buttons that work offline: plotly's own set has some that send the chart to a server.
BUTTONS = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]
CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtons": [BUTTONS]}


def render_chart_page(name: str, record: StudyRecord, data: FigureData) -> str:
    """Returns one chart as a whole HTML page with plotly.js inside, so that it opens offline anywhere.

    Args:
        name: One of `figure_style.NAMES`, or CONFIRMED.
        record: The study's record.
        data: What it shows, of `figure_data.build_figure_data`.
    """
    chart = draw_chart(data)
    chart.update_layout(
        template="plotly_white", title=_title(name, record), margin={"t": 90, "l": 60, "r": 24, "b": 110}
    )
    body = chart.to_html(full_html=False, include_plotlyjs=True, config=CONFIG, div_id=name, default_height="92vh")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = escape(f"{name} — {record.name or 'study'}")
    return f"<!doctype html>\n<html lang='en'><head>{head}<title>{title}</title></head><body>{body}</body></html>\n"


def _title(name: str, record: StudyRecord) -> dict[str, Any]:
    mark = f"<b style='color:#B03A00'>{SYNTHETIC}</b> · " if record.is_synthetic else ""
    study = escape_for_plotly(record.name or "study")
    return {"text": f"<b>{TITLES[name]}</b><br><sup>{mark}{study}</sup>", "x": 0.02}


def draw_chart(data: FigureData) -> go.Figure:
    """Returns a plotly figure without title or colours of a page."""
    if isinstance(data, FrontFigure):
        return _draw_front(data)
    if isinstance(data, ConfirmedFigure):
        return _draw_confirmed(data)
    if isinstance(data, HypervolumeFigure):
        return _draw_hypervolume(data)
    if isinstance(data, StrategiesFigure):
        return _draw_strategies(data)
    if isinstance(data, ParallelFigure):
        return _draw_parallel(data)
    if isinstance(data, RaceFigure):
        return _draw_race(data)
    return _draw_importance(data)


# The front.


def _draw_front(data: FrontFigure) -> go.Figure:
    chart = go.Figure()

    # From back to front: the border, the networks, the baseline.
    line = {"color": INK, "width": 2}
    chart.add_scatter(x=data.border[:, 0], y=data.border[:, 1], mode="lines", name="Front", line=line, hoverinfo="skip")
    for group in data.groups:
        _add_networks(chart, group)
    if data.baseline is not None:
        _add_baseline(chart, data.baseline)
    if data.recommended is not None:
        _add_recommended(chart, data.recommended)

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
    return chart.update_layout(legend={"orientation": "h", "y": -0.16, "yanchor": "top"}, hovermode="closest")


def _add_networks(chart: go.Figure, group: StrategyNetworks) -> None:
    """Adds one strategy's networks: interpolated ones hollow, those off the front faint and small."""
    style = style_of(group.strategy)

    # The outline: ink around an adapted network, the strategy's colour around a hollow one. Off the front an adapted
    # network's has width 0, so that the page may recolour all outlines for a dark background.
    width_off_front = np.where(group.is_adapted, 0, 1)
    outline = {
        "width": np.where(group.on_front, 1.4, width_off_front),
        "color": np.where(group.is_adapted, INK, style.colour),
    }

    # Shape and colour say the strategy, filled or hollow the kind of network, size and opacity the front.
    marker = {
        "color": style.colour,
        "symbol": np.where(group.is_adapted, style.symbol, f"{style.symbol}-open"),
        "size": np.where(group.on_front, 12, 8),
        "opacity": np.where(group.on_front, 1.0, 0.45),
        "line": outline,
    }

    # The page finds a clicked point's trial by `customdata`.
    chart.add_scatter(
        x=group.points[:, 0],
        y=group.points[:, 1],
        mode="markers",
        name=escape_for_plotly(group.strategy),
        marker=marker,
        hovertext=hover_texts(group.networks),
        hoverinfo="text",
        customdata=group.networks["number"],
    )


def _add_baseline(chart: go.Figure, baseline: tuple[float, float]) -> None:
    source, target = baseline
    marker = dict[str, Any](symbol="cross-thin", size=18, color=INK, line={"width": 3, "color": INK})
    chart.add_scatter(
        x=[source],
        y=[target],
        mode="markers+text",
        text=["baseline"],
        textposition="bottom left",
        name="Baseline",
        marker=marker,
        hovertext=f"<b>Baseline</b><br>source {source:.1f} % · target {target:.1f} %",
        hoverinfo="text",
        showlegend=False,
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


# The other figures.


def _draw_confirmed(data: ConfirmedFigure) -> go.Figure:
    chart = go.Figure()
    for point in data.points:
        _add_confirmed_point(chart, point)
    x_label, y_label = (escape_for_plotly(label) for label in data.axis_labels)
    return chart.update_layout(xaxis_title=x_label, yaxis_title=y_label)


def _add_confirmed_point(chart: go.Figure, point: ConfirmedFigurePoint) -> None:
    style = style_of(point.strategy)
    errors = []
    intervals = []
    for domain, mean, low, high in zip(DOMAINS, point.test, point.lower, point.upper, strict=True):
        errors.append({"array": [high - mean], "arrayminus": [mean - low], "thickness": 1})
        intervals.append(f"{domain} {mean:.1f} [{low:.1f}, {high:.1f}] %")
    name = confirmed_name({"name": point.name, "strategy": point.strategy, "alpha": point.alpha})
    label = escape_for_plotly(name)
    outline = {"width": 1.4 if point.on_front else 0, "color": INK}
    chart.add_scatter(
        x=[point.test[0]],
        y=[point.test[1]],
        error_x=errors[0],
        error_y=errors[1],
        mode="markers",
        name=label,
        hoverinfo="text",
        marker={"color": style.colour, "symbol": style.symbol, "size": 12, "line": outline},
        hovertext=f"<b>{label}</b><br>{'<br>'.join(intervals)}",
    )


def _draw_hypervolume(data: HypervolumeFigure) -> go.Figure:
    line = {"color": "#0072B2", "shape": "hv", "width": 2}
    chart = go.Figure(go.Scatter(x=data.numbers, y=data.volumes, mode="lines", line=line))
    return chart.update_layout(xaxis_title="Trial number", yaxis_title=f"Area dominated above {data.reference}")


def _draw_strategies(data: StrategiesFigure) -> go.Figure:
    chart = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for column, domain in enumerate(DOMAINS):
        panel: dict[str, Any] = {"row": 1, "col": column + 1}
        for strategy, trials in data.groups:
            _add_distribution(chart, strategy, trials, domain, panel)
        if data.baseline is not None:
            chart.add_vline(x=data.baseline[column], line={"dash": "dash", "width": 1}, **panel)
        label = escape_for_plotly(data.axis_labels[column]).replace(" accuracy", "<br>accuracy")
        if data.note:
            label += f"<br>{data.note}"
        chart.update_xaxes(title=label, **panel)
    return chart.update_yaxes(autorange="reversed")


def _add_distribution(
    chart: go.Figure, strategy: str, trials: pd.DataFrame, domain: str, panel: dict[str, Any]
) -> None:
    """Adds the accuracies of one strategy's trials as a box with all points."""
    style = style_of(strategy)
    name = escape_for_plotly(strategy)
    chart.add_box(
        x=100 * trials[f"{domain}_val"],
        y=[name for _ in range(len(trials))],
        orientation="h",
        name=name,
        boxpoints="all",
        jitter=0.5,
        pointpos=0,
        marker={"color": style.colour, "symbol": style.symbol, "size": 5},
        hovertext=hover_texts(trials),
        hoverinfo="text",
        showlegend=False,
        **panel,
    )


def _draw_parallel(data: ParallelFigure) -> go.Figure:
    # A scale of steps, of one colour each: a step needs both its ends.
    names = sorted(set(data.strategies))
    steps = []
    for index, name in enumerate(names):
        colour = style_of(name).colour
        steps += [[index / len(names), colour], [(index + 1) / len(names), colour]]
    codes = pd.Series(data.strategies).map(names.index)
    line = {"color": codes, "colorscale": steps, "cmin": -0.5, "cmax": len(names) - 0.5}

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


def _draw_race(data: RaceFigure) -> go.Figure:
    chart = go.Figure()
    for name, values, colour in (
        (FRONT_LABEL, data.front, DOMAIN_COLOURS["source"]),
        (UNDECIDED_LABEL, data.undecided, DOMAIN_COLOURS["target"]),
    ):
        line = {"color": colour, "width": 2}
        chart.add_scatter(x=data.trainings, y=values, mode="lines+markers", name=name, line=line, marker={"size": 5})
    if data.finalists_from is not None:
        chart.add_vline(x=data.finalists_from, line={"dash": "dash", "width": 1}, annotation_text=FINALISTS_LABEL)
    chart.update_layout(legend={"orientation": "h", "y": -0.16, "yanchor": "top"})
    return chart.update_layout(xaxis_title="Trainings of the race", yaxis_title="Networks", yaxis_rangemode="tozero")


def _draw_importance(data: ImportanceFigure) -> go.Figure:
    names = [escape_for_plotly(name) for name in data.ranking["hyperparameter"]]
    chart = go.Figure()
    for domain, colour in DOMAIN_COLOURS.items():
        if domain in data.ranking:
            label = escape_for_plotly(data.labels[domain])
            chart.add_bar(x=data.ranking[domain], y=names, orientation="h", name=label, marker_color=colour)
    title = "Share of importance for the best tenth of trials"
    if data.note:
        title += f"<br>{data.note}"
    chart.update_layout(barmode="group", xaxis_title=title)
    return chart.update_yaxes(autorange="reversed")
