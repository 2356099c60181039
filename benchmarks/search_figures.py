"""Pictures of `benchmarks.search` and `benchmarks.search_real`: hypervolume against training, and what workers cost.

`python -m benchmarks.search_figures [DIR]` draws the committed results: search-cost.png, each contender's mean
hypervolume and its 95 % band over seeds against CPU seconds of training; search-workers.png, the default's final
hypervolume and simulated duration with 1, 2, 8 and 64 workers; search-attainment.png, what a quarter, half and three
quarters of the searches by the default and at random attain at equal cost; search-real.png, each real study's
hypervolume against its training seconds.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from scipy import stats

from benchmarks import search_real
from benchmarks.checking import recorded
from benchmarks.search import RESULTS
from benchmarks.search_contenders import DEFAULT, WITHOUT
from fer.expressions import CHANCE

SHOWN = ("random", "tpe, Optuna's", "nsga2", "random, named first", WITHOUT, DEFAULT)
COLOURS = ("#999999", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2")
"""The colours of Okabe and Ito, one for each of SHOWN."""

GREY, BLUE = "#777777", COLOURS[-1]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_figures", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=RESULTS.parent)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    curves = json.loads(RESULTS.read_text())["curves"]
    draw_cost(curves).savefig(folder / "search-cost.png", dpi=120)
    draw_workers(curves).savefig(folder / "search-workers.png", dpi=120)
    draw_attainment(curves).savefig(folder / "search-attainment.png", dpi=120)
    real = recorded(search_real.RESULTS)
    if real:
        draw_real(real).savefig(folder / "search-real.png", dpi=120)
    return 0


def at_cost(curve: dict[str, Any], grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean hypervolume and half its 95 % interval over seeds (t) at each cost of a grid."""
    steps = []
    for costs, volumes in zip(curve["cost"], curve["hypervolume"], strict=True):
        grown = np.searchsorted(costs, grid, side="right")  # how often the hypervolume has grown by then
        steps.append(np.concatenate([[0.0], volumes])[grown])
    values = np.array(steps)
    seeds = len(values)
    if seeds == 1:
        return values[0], np.zeros(len(grid))
    half = stats.t.ppf(0.975, seeds - 1) * values.std(0, ddof=1) / np.sqrt(seeds)
    return values.mean(0), half


def draw_cost(curves: dict[str, Any]) -> Figure:
    """Returns the figure of hypervolume against training cost; each curve ends where its first search did."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, colour in zip(SHOWN, COLOURS, strict=True):
        if name not in curves:
            continue
        shortest = min(costs[-1] for costs in curves[name]["cost"])
        grid = np.linspace(0, shortest, 200)
        mean, half = at_cost(curves[name], grid)
        axes.plot(grid, mean, color=colour, label=f"{name} ({curves[name]['seeds']} seeds)")
        axes.fill_between(grid, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel="CPU seconds of training", ylabel="Hypervolume above chance", title="Simulated on synthetic images")
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)
    return figure


def attained(curve: dict[str, Any], cost: float, grid: np.ndarray) -> np.ndarray:
    """Returns per seed (seeds, n) the best target accuracy that goes with each source accuracy of a grid, by a cost.

    The k-th quantile over seeds is a surface of the empirical attainment function (Fonseca and Fleming 1996): below the
    median lies what half of the searches reach. What is reached nowhere is 0.
    """
    best_by_seed = []
    for costs, vectors in zip(curve["cost"], curve["vectors"], strict=True):
        reached = [vector for spent, vector in zip(costs, vectors, strict=True) if spent <= cost and vector]
        points = np.array(reached).reshape(-1, 2)
        best = [max(points[points[:, 0] >= source, 1], default=0.0) for source in grid]
        best_by_seed.append(best)
    return np.array(best_by_seed)


def draw_attainment(curves: dict[str, Any]) -> Figure:
    """Returns the figure of attainment surfaces, at the cost of the cheapest of the searches shown."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    cost = min(costs[-1] for name in ("random", DEFAULT) for costs in curves[name]["cost"])
    grid = np.linspace(0.3, 0.8, 501)
    for name, colour in (("random", GREY), (DEFAULT, BLUE)):
        surfaces = attained(curves[name], cost, grid)
        low, middle, high = 100 * np.quantile(surfaces, [0.25, 0.5, 0.75], axis=0)
        shown = high > 0
        axes.fill_between(100 * grid[shown], low[shown], high[shown], color=colour, alpha=0.22, step="pre", linewidth=0)
        axes.step(100 * grid[shown], middle[shown], where="pre", color=colour, label=f"{name} (median, quartiles)")
    axes.set(xlabel="Source accuracy (%)", ylabel="Target accuracy (%)")
    axes.set_title(f"Attained within {cost:.0f} CPU seconds of training, simulated on synthetic images", fontsize=10)
    axes.set_ylim(bottom=100 * CHANCE)
    axes.legend(fontsize=8, loc="lower left")
    axes.grid(alpha=0.3)
    return figure


def draw_real(result: dict[str, Any]) -> Figure:
    """Returns the figure of real studies, a panel per seed."""
    seeds = result["seeds"]
    columns = min(3, len(seeds))
    rows = math.ceil(len(seeds) / columns)
    figure = Figure(figsize=(1 + 3.4 * columns, 0.8 + 2.8 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    colours = dict(zip(search_real.SEARCHES, COLOURS[::-1], strict=False))
    for index, (seed, axes) in enumerate(zip(seeds, panels, strict=False)):
        for name, runs in result["curves"].items():
            run = runs[index]
            axes.step(run["seconds"], run["hypervolume"], where="post", color=colours[name], label=name)
        axes.set(xlabel="Seconds of training", title=f"Seed {seed}")
        axes.grid(alpha=0.3)
    for axes in panels[len(seeds) :]:
        axes.remove()
    for axes in panels[::columns]:
        axes.set_ylabel("Hypervolume above chance")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=len(colours))
    figure.suptitle(f"Real studies on synthetic {result['target'].upper()}, space {result['space']}", fontsize=10)
    return figure


def draw_workers(curves: dict[str, Any]) -> Figure:
    """Returns the figure of final hypervolume and duration by the number of workers."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    volume = figure.add_subplot(1, 2, 1)
    clock = figure.add_subplot(1, 2, 2)
    contenders = {1: DEFAULT, 2: "2 workers", 8: "8 workers", 64: "64 workers"}
    measured = {workers: curves[name] for workers, name in contenders.items() if name in curves}
    for workers, curve in measured.items():
        finals = np.array([volumes[-1] for volumes in curve["hypervolume"]])
        half = 1.96 * finals.std(ddof=1) / np.sqrt(len(finals))
        volume.errorbar(workers, finals.mean(), half, fmt="o", color=BLUE)
        clock.plot(workers, np.mean(curve["clock"]), "o", color=BLUE)
    for axes, label in ((volume, "Hypervolume after all trials"), (clock, "Simulated seconds")):
        axes.set(xscale="log", xlabel="Workers", ylabel=label)
        axes.set_xticks(list(measured), [str(workers) for workers in measured])
        axes.grid(alpha=0.3)
    clock.set_yscale("log")
    clock.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    clock.yaxis.set_major_formatter("{x:g}")
    clock.yaxis.set_minor_formatter("")
    figure.suptitle("Simulated on synthetic images", fontsize=10)
    return figure


if __name__ == "__main__":
    sys.exit(main())
