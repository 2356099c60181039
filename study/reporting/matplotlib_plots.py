"""The study's pictures: what each shows, and the matplotlib files of it. `charts` holds the plotly side."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from study.fronts import candidate_networks, front_table, hypervolume_over_trials, is_on_front
from study.record import baseline_point, confirmed_points, is_synthetic
from study.reporting.figure_style import CONFIRMED, INK, TITLES, front_border, style_of
from study.reporting.parallel_axes import build_axes
from study.reporting.wording import SYNTHETIC, dataset_label, objective_label
from study.trials import OBJECTIVES, describe_reference, finished_trials, hypervolume_reference

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_plot(name: str, info: dict, table: pd.DataFrame, ranking: pd.DataFrame | None = None) -> "Figure":
    """Returns one picture of `NAMES` as a matplotlib figure; importance needs the `ranking`."""
    from matplotlib.figure import Figure

    rows = table["strategy"].nunique() if name == "strategies" else len(ranking) if ranking is not None else 0
    sizes = {"pareto": (5.4, 4.8), CONFIRMED: (5.4, 4.8), "hypervolume": (5.4, 3.3), "parallel": (9.6, 4.6)}
    wide, high = sizes.get(name, (5.4, 1.9 + 0.36 * max(rows, 2)))
    figure = Figure(figsize=(wide, high), layout="constrained")
    drawers = {"pareto": _pareto, "hypervolume": _hypervolume, "strategies": _strategies, "parallel": _parallel,
               CONFIRMED: _confirmed}  # fmt: skip
    drawers.get(name, _importance)(figure, info, table if ranking is None else ranking)
    figure.suptitle(f"{TITLES[name]}\n", x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)
    line = str(info.get("name", "study"))
    figure.text(0.02, 1 - 0.36 / high, line, fontsize=8, color="#555555", va="center", parse_math=False)
    if is_synthetic(info):
        figure.text(0.98, 1 - 0.16 / high, SYNTHETIC, ha="right", va="center", fontsize=8, fontweight="bold",
                    color="white", bbox={"facecolor": "#B03A00", "edgecolor": "none", "pad": 2.5})  # fmt: skip
    return figure


def _name(text: object) -> str:
    return str(text).replace("$", r"\$")  # a dollar would start mathematics


def _grid(axes: "Axes", which: Any = "both") -> None:
    axes.grid(True, axis=which, color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)


def _pareto(figure: "Figure", info: dict, table: pd.DataFrame) -> None:
    axes = figure.add_subplot()
    front = front_table(table)
    everything = candidate_networks(table)
    on_front = is_on_front(everything, front)
    for name, group in everything.groupby(everything["strategy"].fillna("unknown").astype(str), sort=True):
        colour, marker, _ = style_of(str(name))
        points = 100 * group[OBJECTIVES].to_numpy(float)
        top, end = on_front[group.index], (group["share"] == 1).to_numpy()
        style: dict[str, Any] = {"marker": marker, "color": colour}
        hollow: dict[str, Any] = {"marker": marker, "facecolors": "white", "edgecolors": colour}
        axes.scatter(points[~top & end, 0], points[~top & end, 1], s=22, alpha=0.38, linewidths=0, **style)
        axes.scatter(points[~top & ~end, 0], points[~top & ~end, 1], s=12, alpha=0.3, linewidths=0.7, **hollow)
        axes.scatter(
            points[top & end, 0], points[top & end, 1], s=46, linewidths=0.9, edgecolors=INK, zorder=4, **style
        )
        axes.scatter(points[top & ~end, 0], points[top & ~end, 1], s=40, linewidths=1.6, zorder=4, **hollow)
        axes.scatter([], [], s=32, linewidths=0, label=_name(name), **style)
    if (everything["share"] < 1).any():
        axes.scatter([], [], s=32, linewidths=1.2, facecolors="white", edgecolors="#555555", label="interpolated")
    line = front_border(front)
    view = [axes.get_xlim(), axes.get_ylim()]
    axes.plot(*line.T, color=INK, linewidth=1.3, zorder=3, label="Front")
    start = baseline_point(info)
    if start is not None:
        x, y = 100 * start[0], 100 * start[1]
        axes.plot(x, y, "+", color=INK, markersize=15, markeredgewidth=2.2, zorder=5)
        axes.annotate("baseline", (x, y), xytext=(-8, -9), textcoords="offset points", ha="right", va="top",
                      fontsize=9, color=INK, bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
                      zorder=5)  # fmt: skip
        view = [(min(low, at - 2), max(high, at + 2)) for (low, high), at in zip(view, (x, y), strict=True)]
    axes.set(
        xlim=view[0],
        ylim=view[1],
        xlabel=_name(objective_label(info, "source")),
        ylabel=_name(objective_label(info, "target")),
    )
    _grid(axes)
    columns = min(4, len(axes.get_legend_handles_labels()[1]))
    figure.legend(loc="outside lower center", ncols=columns, fontsize=9, handletextpad=0.3, columnspacing=1.2)


def _confirmed(figure: "Figure", info: dict, table: pd.DataFrame) -> None:
    axes, named = figure.add_subplot(), set()
    for point in confirmed_points(info):
        colour, marker, _ = style_of(str(point["strategy"]))
        x, y = (100 * point[f"{side}_test"] for side in ("source", "target"))
        spans = [[[at - 100 * point[f"{side}_lower"]], [100 * point[f"{side}_upper"] - at]]
                 for at, side in ((x, "source"), (y, "target"))]  # fmt: skip
        axes.errorbar(x, y, xerr=spans[0], yerr=spans[1], color=colour, linewidth=0.9, alpha=0.75, zorder=2)
        edge = INK if point["front"] else "white"
        axes.scatter(x, y, s=52, marker=marker, color=colour, edgecolors=edge, linewidths=1.1, zorder=4)
        if "source_optimism" in point:
            seen = [100 * (point[f"{side}_test"] + point[f"{side}_optimism"]) for side in ("source", "target")]
            axes.plot([seen[0], x], [seen[1], y], color=colour, linewidth=0.8, linestyle=":", zorder=1)
            axes.scatter(
                seen[0], seen[1], s=26, marker=marker, facecolors="white", edgecolors=colour, linewidths=1, zorder=3
            )
        if point["strategy"] not in named:
            named.add(point["strategy"])
            axes.scatter([], [], s=36, marker=marker, color=colour, label=_name(point["strategy"]))
    axes.scatter([], [], s=26, facecolors="white", edgecolors="#555555", label="on validation")
    axes.scatter([], [], s=40, facecolors="#bbbbbb", edgecolors=INK, label="of the front")
    axes.set(
        xlabel=_name(f"Source test accuracy (%) — {dataset_label(info, 'source')}"),
        ylabel=_name(f"Target test accuracy (%) — {dataset_label(info, 'target')}"),
    )
    _grid(axes)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, handletextpad=0.3, columnspacing=1.2)


def _hypervolume(figure: "Figure", info: dict, table: pd.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot()
    volumes = hypervolume_over_trials(table, hypervolume_reference(info))
    numbers = table["number"].to_numpy()
    axes.step(numbers, volumes, where="post", color="#0072B2", linewidth=1.8)
    axes.plot(numbers[-1], volumes[-1], "o", color="#0072B2", markersize=4.5)
    axes.annotate(f"{volumes[-1]:.3f}", (numbers[-1], volumes[-1]), xytext=(-2, -6), textcoords="offset points",
                  ha="right", va="top")  # fmt: skip
    axes.set(xlabel="Trial number", ylabel=f"Area dominated above\n{describe_reference(info)}")
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _grid(axes)


def _strategies(figure: "Figure", info: dict, table: pd.DataFrame) -> None:
    done = finished_trials(table)
    names = sorted(done["strategy"].fillna("unknown").astype(str).unique(), reverse=True)
    start = baseline_point(info)
    left = None
    for column, side in enumerate(("source", "target")):
        axes = left = figure.add_subplot(1, 2, column + 1, sharey=left)
        for row, name in enumerate(names):
            values = 100 * done.loc[done["strategy"].fillna("unknown").astype(str) == name, f"{side}_val"].to_numpy(
                float
            )
            colour, marker, _ = style_of(name)
            spread = row + 0.5 * (np.arange(len(values)) * 0.618034 % 1 - 0.5)  # even, and the same every time
            axes.scatter(values, spread, s=14, marker=marker, color=colour, alpha=0.45, linewidths=0)
            low, middle, high = np.percentile(values, [25, 50, 75])
            axes.plot([low, high], [row, row], color=INK, linewidth=1.2)
            axes.plot([middle, middle], [row - 0.24, row + 0.24], color=INK, linewidth=2)
        if start is not None:
            axes.axvline(100 * start[column], color="#555555", linewidth=1, linestyle=(0, (3, 3)))
        axes.set_yticks(range(len(names)), [_name(name) for name in names])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.tick_params(labelleft=column == 0)
        axes.set_xlabel(_name(objective_label(info, side).replace(" accuracy", "\naccuracy")), fontsize=8.5)
        _grid(axes, "x")
    figure.supxlabel("Bars: median and quartiles; dashed: baseline", fontsize=8, color="#555555")


def _parallel(figure: "Figure", info: dict, table: pd.DataFrame) -> None:
    axes, (lines, done) = figure.add_subplot(), build_axes(table)
    front = set(front_table(table)["trial"])
    for row, (strategy, number) in enumerate(zip(done["strategy"], done["number"], strict=True)):
        top, places = number in front, [axis.places[row] for axis in lines]
        style: dict[str, Any] = (
            {"linewidth": 1.8, "alpha": 1.0, "zorder": 3} if top else {"linewidth": 0.7, "alpha": 0.25, "zorder": 2}
        )
        axes.plot(places, color=style_of(strategy)[0], **style)
    for column, axis in enumerate(lines):
        axes.axvline(column, color=INK, linewidth=0.8, zorder=4)
        for place, label in zip(axis.ticks, axis.labels, strict=True):
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6}
            axes.annotate(_name(label), (column, place), xytext=(3, 0), textcoords="offset points", fontsize=7.5,
                          va="center", zorder=5, bbox=box, color=INK if column else style_of(label)[0])  # fmt: skip
    axes.set_xticks(range(len(lines)), [_name(axis.name) for axis in lines], rotation=25, ha="right", fontsize=8.5)
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(lines) - 0.4)
    axes.spines["left"].set_visible(False)
    figure.supxlabel("Colours: strategies; bold: on the front", fontsize=8, color="#555555")


def _importance(figure: "Figure", info: dict, ranking: pd.DataFrame) -> None:
    axes = figure.add_subplot()
    rows = np.arange(len(ranking))[::-1]
    sides = [side for side in ("source", "target") if side in ranking]
    colours = {"source": "#0072B2", "target": "#E69F00"}
    for place, side in enumerate(sides):
        height = 0.76 / len(sides)
        at = rows + 0.38 - height * (place + 0.5)
        axes.barh(
            at,
            ranking[side],
            height * 0.92,
            color=colours[side],
            label=_name(f"{side}: {dataset_label(info, side)}"),
        )
    axes.set_yticks(rows, [_name(knob) for knob in ranking["knob"]])
    axes.set_xlabel("Share of importance for the best tenth of trials")
    axes.set_xlim(left=0)
    _grid(axes, "x")
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
