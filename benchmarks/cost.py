"""What a trial costs: against the number of frozen layers, the size of the target, and over hundreds of trials.

`python -m benchmarks.cost` adapts one laptop-sized baseline on the stand-in, one process of one thread, and writes
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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.checking import code_in_use, misses, note_earlier_code, recorded

ROOT = Path(__file__).parent.parent
RESULTS, PICTURE = ROOT / "benchmarks" / "results" / "cost.json", ROOT / "docs" / "cost.png"
WORKERS = ROOT / "benchmarks" / "results" / "throughput-cpu.json"
FROZEN, SIZES, SOAK = range(14), (100, 200, 400, 800, 1600), 500
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
        return check(result) if result else 1
    if not args.draw:
        with tempfile.TemporaryDirectory() as temporary:
            result = measure(args, Path(temporary))
        print(json.dumps(result["figures"], indent=1))
        if args.quick:
            return 0
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    result, workers = recorded(RESULTS), recorded(WORKERS)
    if result is None or workers is None:
        return 1
    draw(result, workers).savefig(PICTURE, dpi=110)
    return 0


def check(result: dict[str, Any]) -> int:
    """Prints the figures, and each that misses its target."""
    note_earlier_code(result)
    print(json.dumps(result["figures"], indent=1))
    lines = misses(result["figures"].get, TARGETS)
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


def measure(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Returns all figures and what they were measured on."""
    import numpy as np

    from fer.config import AdaptationConfig
    from study.machine import hardware, versions

    frozen, sizes, soak = ((0, 10), (100, 200, 400), 40) if args.quick else (FROZEN, SIZES, SOAK)
    setting = prepare(args, out)
    base = AdaptationConfig(epochs=1600 / len(setting.target.open("train")))
    by_frozen = [
        {"frozen_layers": k} | first_and_later(replace(setting, cache=out / f"k{k}"), replace(base, frozen_layers=k))
        for k in frozen
    ]
    lines: dict[str, Any] = {}
    for name, k in (("fc", 10), ("re", 0)):
        config = replace(base, frozen_layers=k, epochs=4.0)
        seconds = [first_and_later(shrunk(setting, size), config)["later"] for size in sizes]
        slope, start = np.polyfit(sizes, seconds, 1)
        left, spread = np.array(seconds) - (slope * np.array(sizes) + start), np.array(seconds) - np.mean(seconds)
        lines[name] = {"sizes": list(sizes), "seconds": seconds, "per_image": slope, "fixed": start,
                       "r2": 1 - float(left @ left / (spread @ spread))}  # fmt: skip
    memory = memory_over(setting, replace(base, frozen_layers=10, epochs=1.0), soak)
    later = {row["frozen_layers"]: row["later"] for row in by_frozen}
    figures = {f"linear_r2_{name}": line["r2"] for name, line in lines.items()}
    figures |= {"memory_growth_mib": memory[-1] - memory[len(memory) // 10], "speedup_of_k10": later[0] / later[10]}
    return {
        "figures": figures, "targets": TARGETS, "n": 1, "seconds_by_frozen_layers": by_frozen,
        "seconds_by_target_size": lines, "memory_mib": memory, "hardware": hardware(), "versions": versions(),
        "measured_code": code_in_use(),
    }  # fmt: skip


def prepare(args: argparse.Namespace, out: Path) -> Any:
    """Returns a setting on the stand-in with a target of many images."""
    from fer import baseline
    from fer.adaptation.task import AdaptationTask
    from fer.model import weights
    from fer.runtime import make_runtime
    from study.inputs import prepare_dataset as read
    from study.options import PRESETS, StudyOptions

    options = asdict(StudyOptions("mug", preset="laptop", out=str(out)))
    source, target = (read(name, options, "synthetic") for name in ("fer2013", "mug"))
    where, preset = make_runtime("cpu", "fp32"), PRESETS["laptop"]
    config = baseline.BaselineConfig(preset.width, 0, preset.baseline_epochs, preset.baseline_processes)
    file = args.baseline or baseline.find_or_train(source, config, where, out / "baselines")
    return shrunk(AdaptationTask(weights.load_network(file, where), source, target, where, out), 435)


def shrunk(setting: Any, size: int) -> Any:
    """Returns the setting with the first images of the target's training split; its bank is of its own."""
    from fer.datasets import Dataset, Split

    class Fewer(Dataset):
        def open(self, split: str) -> Split:
            whole = super().open(split)
            keep = slice(size if split == "train" else 100)
            return Split(whole.images[keep], whole.labels[keep], whole.subjects[keep])

    whole = setting.target
    digest = f"{whole.digest[:10]}{size:06d}"
    return replace(setting, target=Fewer(whole.name, whole.kind, digest, whole.folder, whole.report))


def first_and_later(setting: Any, config: Any) -> dict[str, float]:
    """Returns the seconds of a trial that finds no features, and the least of two that find them all."""
    from fer.adaptation.procedure import adapt

    seconds = []
    for _ in range(3):
        started = time.process_time()
        adapt(setting, config, 1)
        seconds.append(time.process_time() - started)
    return {"first": seconds[0], "later": min(seconds[1:])}


def memory_over(setting: Any, config: Any, trials: int) -> list[float]:
    """Returns this process's memory in MiB after each of many trials, each with its own seed."""
    import psutil

    from fer.adaptation.procedure import adapt

    found = []
    for seed in range(trials):
        adapt(setting, config, seed)
        found.append(psutil.Process().memory_info().rss / 2**20)
    return found


def draw(result: dict[str, Any], throughput: dict[str, Any]) -> Any:
    """Returns the figure: seconds against frozen layers, against the target's size, and against workers."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.4), layout="constrained")
    left, right, third = (figure.add_subplot(1, 3, place) for place in (1, 2, 3))
    rows = result["seconds_by_frozen_layers"]
    k = [row["frozen_layers"] for row in rows]
    left.plot(k, [row["first"] for row in rows], "s:", color="#E69F00", label="first trial, features computed")
    left.plot(k, [row["later"] for row in rows], "o-", color="#0072B2", label="later trials")
    left.set(xlabel="Frozen layers", ylabel="CPU seconds of a trial", yscale="log", xticks=k, title="1,600 samples")
    for (name, line), colour, mark in zip(result["seconds_by_target_size"].items(), ("#0072B2", "#D55E00"), "os",
                                          strict=True):  # fmt: skip
        label = f"{name.upper()}: {1000 * line['per_image']:.1f} ms an image + {line['fixed']:.1f} s"
        right.plot(line["sizes"], line["seconds"], mark, color=colour)
        ends = [0, max(line["sizes"])]
        right.plot(ends, [line["fixed"] + line["per_image"] * end for end in ends], color=colour, label=label)
    right.set(xlabel="Target's training images", ylabel="CPU seconds of a trial", title="Four passes over the target")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False)
    processes = throughput["setting"]["workers"]
    names = {"engine, one worker": "engine, 1", "engine": f"engine, {processes}", "script": f"script, {processes}"}
    seconds = np.array([[sides[name]["seconds"] for name in names] for sides in throughput["rounds"]])
    low, middle, high = np.quantile(seconds, [0, 0.5, 1], axis=0)
    reach, colours = (middle - low, high - middle), ("#56B4E9", "#0072B2", "#999999")
    bars = third.bar(list(names.values()), middle, yerr=reach, capsize=4, color=colours)
    third.bar_label(bars, fmt="%.0f s", label_type="center", color="white", weight="bold")
    third.set(ylabel="Seconds, median and range", xlabel="Processes",
              title=f"{len(throughput['configs'])} configurations, {throughput['n']} rounds")  # fmt: skip
    figure.suptitle(
        "Measured on the stand-in (made faces, not photographs), laptop preset, one thread per process", fontsize=10
    )
    return figure


if __name__ == "__main__":
    sys.exit(main())
