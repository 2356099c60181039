"""Every named method at equal budgets, over seeds: source and target accuracy, mean and 95 % interval.

`python -m benchmarks.strategies` adapts one baseline to synthetic TFEID with each method of
`fer.adaptation.methods.METHODS` and each seed, without early stopping, and writes
benchmarks/results/strategies-tfeid.json. With `--data DIR --target mug` it does so on real copies. A validation split
of fewer than PEOPLE people, as JAFFE's of one, ranks no methods and is refused. Validation accuracies; seeds vary
order, views and dropout. Every run draws about IMAGES images. `--only METHOD …` measures these again and keeps the
committed runs of all others.
`--check` says which methods of the committed table lie outside the front that the paper's five span, `--quick` runs
three methods and two seeds of the tiny preset and writes nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.checking import code_in_use, note_earlier_code, recorded
from fer import baseline
from fer.adaptation.methods import METHODS, STRATEGIES, named
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.config import AdaptationConfig
from fer.model import weights
from fer.runtime import make_runtime
from fer.seeding import seed_from
from fer.training.loop import Diverged
from study.execution.study_baseline import baseline_config
from study.inputs import prepare_dataset
from study.machine import hardware, versions, worker_environment
from study.options import StudyOptions
from study.pareto import hypervolume
from study.record import DOMAINS

RESULTS = Path(__file__).parent / "results"

IMAGES = 2_000
"""Images that a run draws: a little more than with the laptop preset, and the same whatever becomes of that."""

PEOPLE = 3
"""The fewest people in validation images; with fewer, methods would be ranked on one or two faces."""

OUTSIDE = 3
"""The fewest methods that should lie outside the front of the paper's five."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies", description=__doc__)
    parser.add_argument("--target", default="tfeid")
    parser.add_argument("--data", help="one folder per dataset; without it synthetic faces")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="measure these again, keep all other runs")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--baseline", help="a network file, instead of training one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where data, baseline and features are cached (default: temporary)")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--share", type=int, help=argparse.SUPPRESS)  # of one of its processes
    args = parser.parse_args()
    path = RESULTS / f"strategies-{args.target}.json"
    if args.check:
        result = recorded(path)
        return check(result) if result else 1
    if args.quick:
        args.preset = "tiny"
        args.seeds = 2
    if args.share is not None:
        return run_share(args)
    with tempfile.TemporaryDirectory() as temporary:
        args.out = args.out or Path(temporary)
        rows = run(args)
    if args.only:
        earlier_rows = json.loads(path.read_text())["runs"]
        rows = [row for row in earlier_rows if row["method"] not in args.only] + rows
    result = summary(rows, args)
    print(as_text(result))
    if not args.quick:
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Lets one process per worker adapt its share of all runs; returns a row per run."""
    command = [sys.executable, "-m", "benchmarks.strategies"]
    for name in ("target", "data", "seeds", "preset", "baseline", "workers", "out"):
        value = getattr(args, name)
        if value is not None:
            command.append(f"--{name}={value}")
    if args.quick:
        command.append("--quick")
    if args.only:
        command += ["--only", *args.only]

    # The first alone prepares data and baseline, so that the others find them.
    if subprocess.run([*command, "--share=-1"], env=worker_environment(), stdout=sys.stderr).returncode:
        raise SystemExit("nothing was measured; the reason is above")

    processes = []
    for share in range(args.workers):
        words = [*command, f"--share={share}"]
        processes.append(subprocess.Popen(words, env=worker_environment(), stdout=subprocess.PIPE, text=True))
    rows = [json.loads(line) for process in processes for line in process.communicate()[0].splitlines()]
    if any(process.returncode for process in processes):
        raise SystemExit("a worker failed; its messages are above")
    return rows


def run_share(args: argparse.Namespace) -> int:
    """Adapts this process's share of the runs and prints a JSON line for each; with --share=-1 it only prepares."""
    options = asdict(StudyOptions(args.target, data=args.data, preset=args.preset, out=str(args.out)))
    kind = "real" if args.data else "synthetic"
    source = prepare_dataset("fer2013", options, kind)
    target = prepare_dataset(args.target, options, kind)
    people = count_people(target.open("validation").subjects)
    if people < PEOPLE:
        raise SystemExit(f"{args.target}'s validation images are of {people} people: too few to rank methods by")

    # The baseline.
    runtime = make_runtime("cpu")
    if args.baseline:
        file = Path(args.baseline)
    else:
        config = baseline_config(options, source, runtime, VGG13)
        file = baseline.find_or_train(source, config, runtime, args.out / "baselines")
    task = AdaptationTask(weights.load_network(file, runtime), source, target, runtime, args.out)
    if args.share < 0:
        return 0

    # The runs. The baseline itself is the same with every seed.
    images = 120 if args.quick else IMAGES
    passes = float(max(2, round(images / len(target.open("train")))))
    names = args.only or (["BL", "RE", "LwF"] if args.quick else list(METHODS))
    runs = [(name, seed) for seed in range(args.seeds) for name in names if name != "BL" or seed == 0]
    for name, seed in runs[args.share :: args.workers]:
        method = named(name, AdaptationConfig(epochs=passes))
        started = time.perf_counter()
        try:
            measures = adapt(task, method, seed_from("benchmark", seed)).measures
        except Diverged as error:
            print(f"{name}, seed {seed}: {error}", file=sys.stderr)
            measures = {}
        row = {"method": name, "seed": seed, "seconds": time.perf_counter() - started}
        row |= {key: measures.get(key) for key in ("source_val", "target_val")}
        row |= {"source": source.kind, "target": target.kind, "precision": runtime.precision}
        print(json.dumps(row), flush=True)
    return 0


def count_people(subjects: np.ndarray) -> int:
    """Returns how many people there are by their numbers (n,); where none has a number, each image is of another."""
    numbered = subjects[subjects >= 0]
    if len(numbered) == 0:
        return len(subjects)
    return len(np.unique(numbered))


def summary(rows: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Returns each method's means and 95 % t-intervals, and how it lies to the front of the paper's five."""
    methods: dict[str, Any] = {}
    for name in METHODS:
        runs = [row for row in rows if row["method"] == name]
        finished = [row for row in runs if row["source_val"] is not None]
        if not finished:
            continue
        methods[name] = {
            "reference": str(METHODS[name]),
            "n": len(finished),
            "failed": len(runs) - len(finished),
            "seconds": float(np.median([row["seconds"] for row in runs])),
        }

        # Means and t-intervals over seeds.
        values = np.array([[row["source_val"], row["target_val"]] for row in finished])
        half = np.zeros(2)
        if len(values) > 1:
            half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
        for domain, mean, interval in zip(DOMAINS, values.mean(0), half, strict=True):
            methods[name] |= {domain: float(mean), f"{domain}_half_interval": float(interval)}
    add_gains(methods)
    return {
        "data": {domain: rows[0][domain] for domain in DOMAINS} | {"target_name": args.target},
        "seeds": args.seeds,
        "preset": args.preset,
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
        "methods": methods,
        "runs": rows,
    }


def add_gains(methods: dict[str, Any]) -> None:
    """Adds to each method the hypervolume that its means add to those of the paper's five, and whether they add any."""
    five = [[methods[name]["source"], methods[name]["target"]] for name in STRATEGIES if name in methods]
    for name, row in methods.items():
        gain = hypervolume([*five, [row["source"], row["target"]]]) - hypervolume(five)
        row["hypervolume_added"] = 0.0 if name in STRATEGIES else gain
        row["outside"] = row["hypervolume_added"] > 0


def as_text(result: dict[str, Any]) -> str:
    """Returns the table for people, in per cent."""
    mark = "" if result["data"]["target"] == "real" else "SYNTHETIC STAND-IN: "
    lines = [
        f"{mark}fer2013 → {result['data']['target_name']}, {result['seeds']} seeds, validation accuracy in per cent"
    ]
    if "note" in result:
        lines.append(result["note"])
    for name, row in sorted(result["methods"].items(), key=lambda item: -item[1]["source"]):
        cells = " ".join(f"{100 * row[s]:5.1f} ± {100 * row[s + '_half_interval']:4.1f}" for s in DOMAINS)
        lines.append(f"{name:11} {cells}  {row['seconds']:5.1f} s  {'outside' if row['outside'] else ''}")
    return "\n".join(lines)


def check(result: dict[str, Any]) -> int:
    """Prints the committed table and whether enough methods lie outside."""
    note_earlier_code(result)
    print(as_text(result))
    outside = [name for name, row in result["methods"].items() if row["outside"]]
    print(f"outside the front of the paper's five: {', '.join(outside) or 'none'}")
    return int(len(outside) < OUTSIDE)


if __name__ == "__main__":
    sys.exit(main())
