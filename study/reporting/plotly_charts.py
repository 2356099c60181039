"""The same pictures as interactive plotly charts: hovering shows every knob, and no network is needed."""

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from study.fronts import candidate_networks, front_table, hypervolume_over_trials, is_on_front
from study.record import baseline_point, confirmed_points, is_synthetic
from study.reporting.figure_style import CONFIRMED, INK, TITLES, front_border, style_of
from study.reporting.parallel_axes import ABSENT, build_axes
from study.reporting.wording import (
    SYNTHETIC,
    dataset_label,
    format_percent,
    format_value,
    interval_text,
    objective_label,
)
from study.trials import (
    OBJECTIVES,
    describe_reference,
    finished_trials,
    hyperparameter_names,
    hypervolume_reference,
    interpolation_name,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Only buttons that work offline: plotly's own set has some that send the chart to a server.
BUTTONS = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]
CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtons": [BUTTONS]}


def render_chart_page(name: str, info: dict, table: pd.DataFrame, ranking: pd.DataFrame | None = None) -> str:
    """Returns one chart as a whole HTML page with plotly.js inside, so that it opens offline anywhere."""
    chart = draw_chart(name, info, table, ranking)
    chart.update_layout(template="plotly_white", title=_title(name, info), margin={"t": 90, "l": 60, "r": 24, "b": 110})
    body = chart.to_html(full_html=False, include_plotlyjs=True, config=CONFIG, div_id=name, default_height="92vh")
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    title = escape(f"{name} — {info.get('name', 'study')}")
    return f"<!doctype html>\n<html lang='en'><head>{head}<title>{title}</title></head><body>{body}</body></html>\n"


def _title(name: str, info: dict) -> dict[str, Any]:
    mark = f"<b style='color:#B03A00'>{SYNTHETIC}</b> · " if is_synthetic(info) else ""
    return {
        "text": f"<b>{TITLES[name]}</b><br><sup>{mark}{_text(info.get('name', 'study'))}</sup>",
        "x": 0.02,
    }


def _text(value: object) -> str:
    return escape(str(value), quote=False)  # plotly reads a little HTML in every label


def draw_chart(name: str, info: dict, table: pd.DataFrame, ranking: pd.DataFrame | None = None) -> "go.Figure":
    """Returns one picture of `plots.NAMES` as a plotly figure without title or colours of a page."""
    if name == "importance":
        assert ranking is not None
        return _importance(info, ranking)
    drawers = {"pareto": _pareto, "hypervolume": _hypervolume, "strategies": _strategies, "parallel": _parallel,
               CONFIRMED: _confirmed}  # fmt: skip
    return drawers[name](info, table)


def hover_texts(table: pd.DataFrame) -> list[str]:
    """Returns what hovering shows for each row: number, strategy, both objectives and every knob."""
    names = [name for name in hyperparameter_names(table) if name != "trial"]
    texts = []
    for row in table.to_dict("records"):
        way = "" if row.get("share", 1) == 1 else f", at alpha {interpolation_name(row['share'], row['slope'])}"
        head = f"<b>Trial {row['number']} · {_text(row['strategy'] or 'unknown')}{way}</b>"
        both = f"source {format_percent(row['source_val'])} % · target {format_percent(row['target_val'])} %"
        texts.append("<br>".join([head, both, *(f"{_text(name)}: {_text(format_value(row[name]))}" for name in names)]))
    return texts


def _groups(table: pd.DataFrame, between: bool = False) -> list[tuple[str, pd.DataFrame]]:
    done = candidate_networks(table) if between else finished_trials(table)
    done = done.assign(hover=hover_texts(done))
    return [(str(name), group) for name, group in done.groupby(done["strategy"].fillna("unknown").astype(str))]


def _pareto(info: dict, table: pd.DataFrame) -> "go.Figure":
    import plotly.graph_objects as go

    chart = go.Figure()
    front = front_table(table)
    line = front_border(front)
    chart.add_scatter(
        x=line[:, 0],
        y=line[:, 1],
        mode="lines",
        name="Front",
        line={"color": INK, "width": 2},
        hoverinfo="skip",
    )
    for name, group in _groups(table, between=True):
        top, end = is_on_front(group, front), (group["share"] == 1).to_numpy()
        colour, _, filled = style_of(name)
        symbol = np.where(end, filled, f"{filled}-open")
        # Widths stay 0 off the front, so that a page may recolour the outlines for a dark background.
        marker = {"color": colour, "symbol": symbol, "size": np.where(top, 12, 8), "opacity": np.where(top, 1.0, 0.45),
                  "line": {"width": np.where(top, 1.4, np.where(end, 0, 1)),
                           "color": np.where(end, INK, colour)}}  # fmt: skip
        x, y = (100 * group[column] for column in OBJECTIVES)
        chart.add_scatter(x=x, y=y, mode="markers", name=_text(name), marker=marker, hovertext=group["hover"],
                          hoverinfo="text", customdata=group["number"])  # fmt: skip
    start = baseline_point(info)
    if start is not None:
        marker = dict[str, Any](symbol="cross-thin", size=18, color=INK, line={"width": 3, "color": INK})
        text = f"<b>Baseline</b><br>source {format_percent(start[0])} % · target {format_percent(start[1])} %"
        chart.add_scatter(x=[100 * start[0]], y=[100 * start[1]], mode="markers+text", text=["baseline"],
                          textposition="bottom left", name="Baseline", marker=marker, hovertext=text,
                          hoverinfo="text", showlegend=False)  # fmt: skip
    everything = 100 * np.vstack([candidate_networks(table)[OBJECTIVES].to_numpy(float), *([start] if start else [])])
    low, high = everything.min(axis=0), everything.max(axis=0)
    pad = np.maximum(0.06 * (high - low), 1)
    for axis, side, at in (("xaxis", "source", 0), ("yaxis", "target", 1)):
        chart.update_layout(
            {axis: {"title": _text(objective_label(info, side)), "range": [low[at] - pad[at], high[at] + pad[at]]}}
        )
    return chart.update_layout(legend={"orientation": "h", "y": -0.16, "yanchor": "top"}, hovermode="closest")


def _confirmed(info: dict, table: pd.DataFrame) -> "go.Figure":
    import plotly.graph_objects as go

    chart = go.Figure()
    for point in confirmed_points(info):
        colour, _, symbol = style_of(str(point["strategy"]))
        place, spans = {}, {}
        for axis, side in (("x", "source"), ("y", "target")):
            mean, low, high = (100 * point[f"{side}_{end}"] for end in ("test", "lower", "upper"))
            place[axis] = [mean]
            spans[f"error_{axis}"] = {"array": [high - mean], "arrayminus": [mean - low], "thickness": 1}
        ends = "<br>".join(f"{side} {interval_text(point, side)} %" for side in ("source", "target"))
        chart.add_scatter(
            **place, **spans, mode="markers", name=_text(f"{point['name']} · {point['strategy']}"), hoverinfo="text",
            marker={"color": colour, "symbol": symbol, "size": 12,
                    "line": {"width": 1.4 if point["front"] else 0, "color": INK}},
            hovertext=f"<b>{_text(point['name'])} · {_text(point['strategy'])} · alpha {point['alpha']}</b><br>{ends}",
        )  # fmt: skip
    axes = {side: f"{side.capitalize()} test accuracy (%) — {_text(dataset_label(info, side))}"
            for side in ("source", "target")}  # fmt: skip
    return chart.update_layout(xaxis_title=axes["source"], yaxis_title=axes["target"])


def _hypervolume(info: dict, table: pd.DataFrame) -> "go.Figure":
    import plotly.graph_objects as go

    line = {"color": "#0072B2", "shape": "hv", "width": 2}
    volumes = hypervolume_over_trials(table, hypervolume_reference(info))
    chart = go.Figure(go.Scatter(x=table["number"], y=volumes, mode="lines", line=line))
    above = f"Area dominated above {describe_reference(info)}"
    return chart.update_layout(xaxis_title="Trial number", yaxis_title=above)


def _strategies(info: dict, table: pd.DataFrame) -> "go.Figure":
    from plotly.subplots import make_subplots

    chart = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    start = baseline_point(info)
    for column, side in enumerate(("source", "target")):
        for name, group in _groups(table):
            colour, _, symbol = style_of(name)
            marker, values = {"color": colour, "symbol": symbol, "size": 5}, 100 * group[f"{side}_val"]
            chart.add_box(x=values, y=[_text(name)] * len(group), orientation="h", name=_text(name), boxpoints="all",
                          jitter=0.5, pointpos=0, marker=marker, hovertext=group["hover"], hoverinfo="text",
                          showlegend=False, row=1, col=column + 1)  # fmt: skip
        if start is not None:
            chart.add_vline(x=100 * start[column], line={"dash": "dash", "width": 1}, row=1, col=column + 1)
        label = _text(objective_label(info, side)).replace(" accuracy", "<br>accuracy")
        chart.update_xaxes(title=label, row=1, col=column + 1)
    return chart.update_yaxes(autorange="reversed")


def _parallel(info: dict, table: pd.DataFrame) -> "go.Figure":
    import plotly.graph_objects as go

    axes, done = build_axes(table)
    names = sorted(done["strategy"].unique())
    colours = [style_of(name)[0] for name in names]
    # Steps of one colour each; a scale of a single colour needs both its ends.
    steps = [[(index + end) / len(names), colour] for index, colour in enumerate(colours) for end in (0, 1)]
    line = {"color": done["strategy"].map(names.index), "colorscale": steps, "cmin": -0.5, "cmax": len(names) - 0.5}
    dimensions = [
        {"label": _text(axis.name), "values": axis.places, "tickvals": axis.ticks,
         "ticktext": [_text(label) for label in axis.labels], "range": [ABSENT, 1.0]}
        for axis in axes
    ]  # fmt: skip
    faint = {"line": {"opacity": 0.05}}
    chart = go.Figure(
        go.Parcoords(line=line, dimensions=dimensions, labelside="bottom", labelangle=20, unselected=faint)
    )
    return chart.update_layout(font={"size": 11})


def _importance(info: dict, ranking: pd.DataFrame) -> "go.Figure":
    import plotly.graph_objects as go

    knobs = [_text(knob) for knob in ranking["knob"]]
    chart = go.Figure()
    for side, colour in (("source", "#0072B2"), ("target", "#E69F00")):
        if side in ranking:
            label = _text(f"{side}: {dataset_label(info, side)}")
            chart.add_bar(x=ranking[side], y=knobs, orientation="h", name=label, marker_color=colour)
    chart.update_layout(barmode="group", xaxis_title="Share of importance for the best tenth of trials")
    return chart.update_yaxes(autorange="reversed")
