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
from fer.config import AdaptationConfig
from fer.model import weights
from fer.runtime import make_runtime
from fer.seeding import seed_from
from fer.training.loop import Diverged
from study.inputs import prepare_dataset
from study.machine import hardware, versions, worker_environment
from study.options import PRESETS, StudyOptions
from study.pareto import hypervolume

RESULTS = Path(__file__).parent / "results"
IMAGES = 2_000  # a little more than the laptop preset's, whatever becomes of that: runs of different days go together
PEOPLE = 3  # in validation at least, or the ranking is of methods on one or two faces
OUTSIDE = 3  # methods at least that should lie outside the front of the paper's five


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies", description=__doc__)
    parser.add_argument("--target", default="tfeid")
    parser.add_argument("--data", help="one folder per dataset; without it synthetic faces")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="measure these anew, keep all other runs")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--baseline", help="a network file, instead of training one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where data, baseline and features are cached (default: temporary)")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    path = RESULTS / f"strategies-{args.target}.json"
    if args.check:
        result = recorded(path)
        return check(result) if result else 1
    if args.quick:
        args.preset, args.seeds = "tiny", 2
    if args.part is not None:
        return work(args)
    with tempfile.TemporaryDirectory() as temporary:
        args.out = args.out or Path(temporary)
        rows = run(args)
    if args.only:
        rows = [row for row in json.loads(path.read_text())["runs"] if row["method"] not in args.only] + rows
    result = summary(rows, args)
    print(as_text(result))
    if not args.quick:
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Lets one process per worker adapt its part of all runs; returns a row per run."""
    words = [f"--{name}={value}" for name in ("target", "data", "seeds", "preset", "baseline", "workers", "out")
             if (value := getattr(args, name)) is not None]  # fmt: skip
    words += ["--quick"] * args.quick + (["--only", *args.only] if args.only else [])
    base = [sys.executable, "-m", "benchmarks.strategies", *words]
    # The first alone prepares data and baseline, so that the others find them.
    if subprocess.run([*base, "--part=-1"], env=worker_environment(), stdout=sys.stderr).returncode:
        raise SystemExit("nothing was measured; the reason is above")
    parts = [
        subprocess.Popen([*base, f"--part={part}"], env=worker_environment(), stdout=subprocess.PIPE, text=True)
        for part in range(args.workers)
    ]
    rows = [json.loads(line) for part in parts for line in part.communicate()[0].splitlines()]
    if any(part.returncode for part in parts):
        raise SystemExit("a worker failed; its messages are above")
    return rows


def work(args: argparse.Namespace) -> int:
    """Adapts this part of the runs and prints a JSON line for each; part -1 only prepares."""
    options = asdict(StudyOptions(args.target, data=args.data, preset=args.preset, out=str(args.out)))
    source, target = (
        prepare_dataset(name, options, "real" if args.data else "synthetic") for name in ("fer2013", args.target)
    )
    people = count_people(target.open("validation").subjects)
    if people < PEOPLE:
        raise SystemExit(f"{args.target}'s validation images are of {people} people: too few to rank methods by")
    where, preset = make_runtime("cpu"), PRESETS[args.preset]
    config = baseline.BaselineConfig(preset.width, 0, preset.baseline_epochs, preset.baseline_processes)
    file = (
        Path(args.baseline) if args.baseline else baseline.find_or_train(source, config, where, args.out / "baselines")
    )
    setting = AdaptationTask(weights.load_network(file, where), source, target, where, args.out)
    passes = float(max(2, round((120 if args.quick else IMAGES) / len(target.open("train")))))
    names = args.only or (["BL", "RE", "LwF"] if args.quick else list(METHODS))
    runs = [(name, seed) for seed in range(args.seeds) for name in names if name != "BL" or seed == 0]
    for name, seed in runs[args.part :: args.workers] if args.part >= 0 else []:
        started = time.perf_counter()
        try:
            measures = adapt(
                setting, named(name, AdaptationConfig(epochs=passes)), seed_from("benchmark", seed)
            ).measures
        except Diverged as error:
            print(f"{name}, seed {seed}: {error}", file=sys.stderr)
            measures = {}
        row = {"method": name, "seed": seed, "seconds": time.perf_counter() - started}
        row |= {key: measures.get(key) for key in ("source_val", "target_val")}
        row |= {"source": source.kind, "target": target.kind, "precision": where.precision}
        print(json.dumps(row), flush=True)
    return 0


def count_people(subjects: np.ndarray) -> int:
    """Returns how many people are known; where nobody is, each image counts as another's."""
    known = subjects[subjects >= 0]
    return len(np.unique(known)) if len(known) else len(subjects)


def summary(rows: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """Returns each method's means and 95 % t-intervals, and how it lies to the front of the paper's five."""
    methods: dict[str, Any] = {}
    for name in METHODS:
        values = np.array(
            [[r["source_val"], r["target_val"]] for r in rows if r["method"] == name and r["source_val"] is not None]
        )
        if not len(values):
            continue
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else np.zeros(2)
        methods[name] = {
            "reference": str(METHODS[name]),
            "n": len(values),
            "failed": sum(r["method"] == name and r["source_val"] is None for r in rows),
            "seconds": float(np.median([r["seconds"] for r in rows if r["method"] == name])),
        }
        for side, mean, interval in zip(("source", "target"), values.mean(0), half, strict=True):
            methods[name] |= {side: float(mean), f"{side}_half_interval": float(interval)}
    add_gains(methods)
    return {
        "data": {side: rows[0][side] for side in ("source", "target")} | {"target_name": args.target},
        "seeds": args.seeds,
        "preset": args.preset,
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
        "methods": methods,
        "runs": rows,
    }


def add_gains(methods: dict[str, Any]) -> None:
    """Says of each method whether the means of the paper's five dominate it, and the hypervolume it adds to theirs."""
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
        cells = " ".join(f"{100 * row[s]:5.1f} ± {100 * row[s + '_half_interval']:4.1f}" for s in ("source", "target"))
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
