"""What a trial costs: against the number of frozen layers, the size of the target, and over hundreds of trials.

`python -m benchmarks.cost` adapts one laptop-sized baseline on synthetic faces, one process of one thread, and writes
benchmarks/results/cost.json and docs/cost.png: the CPU's seconds of a trial for each number of frozen layers, first
(when features are computed and kept) and later; seconds against the target's size at equal passes, with the line
through them; and a worker's memory over 500 short trials. The picture shows seconds against workers as well, which
`benchmarks.throughput` measured. `--check` compares with the targets, `--quick` measures a small part and writes
nothing, `--draw` only draws what was measured. `--baseline FILE` saves training one.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.checking import check_figures, code_in_use, recorded
from fer import baseline
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.config import AdaptationConfig
from fer.datasets import Dataset, Split
from fer.model import weights
from fer.runtime import make_runtime
from study.execution.study_baseline import baseline_config
from study.inputs import prepare_dataset
from study.machine import hardware, versions
from study.options import StudyOptions

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "cost.json"
PICTURE = ROOT / "docs" / "cost.png"
WORKERS = ROOT / "benchmarks" / "results" / "throughput-cpu.json"

FROZEN = range(14)
"""Numbers of frozen layers."""
SIZES = (100, 200, 400, 800, 1600)
"""Training images of the target."""
SOAK = 500
"""Trials over which memory is watched."""

TARGETS = {
    "linear_r2_fc": ("at least", 0.98),
    "linear_r2_re": ("at least", 0.98),
    "memory_growth_mib": ("at most", 32.0),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=__doc__)
    parser.add_argument("--baseline", type=Path, help="a network file, instead of training one")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--draw", action="store_true")
    args = parser.parse_args()
    if args.check:
        result = recorded(RESULTS)
        return check_figures(result, TARGETS) if result else 1
    if not args.draw:
        with tempfile.TemporaryDirectory() as temporary:
            result = measure(args, Path(temporary))
        print(json.dumps(result["figures"], indent=1))
        if args.quick:
            return 0
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    result = recorded(RESULTS)
    workers = recorded(WORKERS)
    if result is None or workers is None:
        return 1
    draw(result, workers).savefig(PICTURE, dpi=110)
    return 0


def measure(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Returns all figures and what they were measured on."""
    if args.quick:
        frozen: Sequence[int] = (0, 10)
        sizes: Sequence[int] = (100, 200, 400)
        trials = 40
    else:
        frozen, sizes, trials = FROZEN, SIZES, SOAK
    task = prepare(args, out)
    base = AdaptationConfig(epochs=1600 / len(task.target.open("train")))

    # Against the number of frozen layers, each with a feature cache of its own.
    by_frozen = []
    for count in frozen:
        seconds = first_and_later(replace(task, cache=out / f"k{count}"), replace(base, frozen_layers=count))
        by_frozen.append({"frozen_layers": count} | seconds)
    later = {row["frozen_layers"]: row["later"] for row in by_frozen}

    # Against the target's size, for a strategy that trains the fully connected layers and one that trains all.
    lines = {
        "fc": line_over_sizes(task, replace(base, frozen_layers=10, epochs=4.0), sizes),
        "re": line_over_sizes(task, replace(base, frozen_layers=0, epochs=4.0), sizes),
    }

    # Over many trials; what the first tenth adds is no leak.
    memory = memory_over(task, replace(base, frozen_layers=10, epochs=1.0), trials)

    figures = {f"linear_r2_{name}": line["r2"] for name, line in lines.items()}
    figures["memory_growth_mib"] = memory[-1] - memory[len(memory) // 10]
    figures["speedup_of_k10"] = later[0] / later[10]
    return {
        "figures": figures,
        "targets": TARGETS,
        "n": 1,
        "seconds_by_frozen_layers": by_frozen,
        "seconds_by_target_size": lines,
        "memory_mib": memory,
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
    }


def prepare(args: argparse.Namespace, out: Path) -> AdaptationTask:
    """Returns an adaptation of the baseline to a synthetic target of many images."""
    options = asdict(StudyOptions("mug", preset="laptop", out=str(out)))
    source = prepare_dataset("fer2013", options, "synthetic")
    target = prepare_dataset("mug", options, "synthetic")

    runtime = make_runtime("cpu", "fp32")
    config = baseline_config(options, source, runtime, VGG13)
    file = args.baseline or baseline.find_or_train(source, config, runtime, out / "baselines")
    return shrink(AdaptationTask(weights.load_network(file, runtime), source, target, runtime, out), 435)


class FirstImages(Dataset):
    """A dataset of the first images of another's splits; as many training images as the end of its digest says."""

    def open(self, split: str) -> Split:
        complete = super().open(split)
        count = int(self.digest[-6:]) if split == "train" else 100
        first = slice(count)
        return Split(complete.images[first], complete.labels[first], complete.subjects[first])


def shrink(task: AdaptationTask, size: int) -> AdaptationTask:
    """Returns the task with the first images of the target's training split; its feature cache is of its own."""
    complete = task.target
    digest = f"{complete.digest[:10]}{size:06d}"
    return replace(task, target=FirstImages(complete.name, complete.kind, digest, complete.folder, complete.report))


def first_and_later(task: AdaptationTask, config: AdaptationConfig) -> dict[str, float]:
    """Returns the seconds of a trial that finds no features, and the least of two that find them all."""
    seconds = []
    for _ in range(3):
        started = time.process_time()
        adapt(task, config, 1)
        seconds.append(time.process_time() - started)
    return {"first": seconds[0], "later": min(seconds[1:])}


def line_over_sizes(task: AdaptationTask, config: AdaptationConfig, sizes: Sequence[int]) -> dict[str, Any]:
    """Returns the seconds of a trial at each size of the target, and the line through them with its R²."""
    seconds = [first_and_later(shrink(task, size), config)["later"] for size in sizes]
    slope, start = np.polyfit(sizes, seconds, 1)
    residuals = np.array(seconds) - (slope * np.array(sizes) + start)
    deviations = np.array(seconds) - np.mean(seconds)
    return {
        "sizes": list(sizes),
        "seconds": seconds,
        "per_image": slope,
        "fixed": start,
        "r2": 1 - float(residuals @ residuals / (deviations @ deviations)),
    }


def memory_over(task: AdaptationTask, config: AdaptationConfig, trials: int) -> list[float]:
    """Returns this process's memory in MiB after each of many trials, each with its own seed."""
    memory = []
    for seed in range(trials):
        adapt(task, config, seed)
        memory.append(psutil.Process().memory_info().rss / 2**20)
    return memory


def draw(result: dict[str, Any], throughput: dict[str, Any]) -> Figure:
    """Returns the figure: seconds against frozen layers, against the target's size, and against workers."""
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    draw_frozen_layers(figure.add_subplot(1, 3, 1), result["seconds_by_frozen_layers"])
    draw_target_sizes(figure.add_subplot(1, 3, 2), result["seconds_by_target_size"])
    draw_workers(figure.add_subplot(1, 3, 3), throughput)
    figure.suptitle(
        "Measured on the stand-in (made faces, not photographs), laptop preset, one thread per process", fontsize=10
    )
    return figure


def draw_frozen_layers(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Draws the seconds of the first and of later trials against the number of frozen layers."""
    counts = [row["frozen_layers"] for row in rows]
    first = [row["first"] for row in rows]
    later = [row["later"] for row in rows]
    axes.plot(counts, first, "s:", color="#E69F00", label="first trial, features computed")
    axes.plot(counts, later, "o-", color="#0072B2", label="later trials")
    axes.set(
        xlabel="Frozen layers", ylabel="CPU seconds of a trial", yscale="log", xticks=counts, title="1,600 samples"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)


def draw_target_sizes(axes: Axes, lines: dict[str, dict[str, Any]]) -> None:
    """Draws the seconds of a trial against the target's size, with the line through them."""
    for (name, line), colour, mark in zip(lines.items(), ("#0072B2", "#D55E00"), "os", strict=True):
        label = f"{name.upper()}: {1000 * line['per_image']:.1f} ms an image + {line['fixed']:.1f} s"
        ends = [0, max(line["sizes"])]
        fitted = [line["fixed"] + line["per_image"] * end for end in ends]
        axes.plot(line["sizes"], line["seconds"], mark, color=colour)
        axes.plot(ends, fitted, color=colour, label=label)
    axes.set(xlabel="Target's training images", ylabel="CPU seconds of a trial", title="Four passes over the target")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)


def draw_workers(axes: Axes, throughput: dict[str, Any]) -> None:
    """Draws the seconds of engine and script by their number of processes, median and range over rounds."""
    processes = throughput["setting"]["workers"]
    names = {"engine, one worker": "engine, 1", "engine": f"engine, {processes}", "script": f"script, {processes}"}
    seconds = np.array([[sides[name]["seconds"] for name in names] for sides in throughput["rounds"]])
    low, middle, high = np.quantile(seconds, [0, 0.5, 1], axis=0)

    bars = axes.bar(
        list(names.values()),
        middle,
        yerr=(middle - low, high - middle),
        capsize=4,
        color=("#56B4E9", "#0072B2", "#999999"),
    )
    axes.bar_label(bars, fmt="%.0f s", label_type="center", color="white", weight="bold")
    axes.set(
        ylabel="Seconds, median and range",
        xlabel="Processes",
        title=f"{len(throughput['configs'])} configurations, {throughput['n']} rounds",
    )


if __name__ == "__main__":
    sys.exit(main())
