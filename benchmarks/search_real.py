"""Real studies, end to end: the default search against random search without early stopping, on the stand-in.

`python -m benchmarks.search_real` runs `study.run` for both with several seeds, the same data and baseline and an empty
feature cache each, and writes benchmarks/results/search_real.json: the share of random search's training time after
which the default reaches the hypervolume that random search has at its end. Every study tries the named strategies
first; plain random search is the trials after them, so one study gives both random curves, with and without the named
ones. As in the table, the target is KDEF's stand-in and networks on the way are left out. `--check` compares the share
with its target; `--quick` runs one seed of few trials and writes nothing. Studies in `--out` are gone on with.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.checking import recorded

RESULTS = Path(__file__).parent / "results" / "search_real.json"
DEFAULT, RANDOM, NAMED_FIRST = "the default", "random", "random, named first"
# The most of random search's training time that the default may need, median over seeds.
TARGET = 0.25


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_real", description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trials", type=int, default=200, help="of random search, after the named strategies")
    parser.add_argument("--ours", type=int, default=60, help="of the default, the named strategies among them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--space", default="full")
    parser.add_argument("--target", default="kdef")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    if args.check:
        found = recorded(RESULTS)
        return check(found) if found else 1
    if args.quick:
        args.trials, args.ours, args.seeds = 12, 12, 1
    result = measure(args)
    print(as_text(result))
    if not args.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Runs every study, or what is missing of it, and returns the curves and what is read off them."""
    from study.machine import hardware, versions

    named = count_named(args.space)
    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in (DEFAULT, RANDOM, NAMED_FIRST)}
    for seed in range(args.seeds):
        ours = run(args, "default", seed, args.ours, [])
        other = run(args, "random", seed, args.trials + named, ["--sampler", "random", "--early-stop", "off"])
        for name, table in zip(curves, (ours, other[named:], other[: args.trials]), strict=True):
            curves[name].append(curve(table))
        volumes = {name: found[-1]["hypervolume"][-1] for name, found in curves.items()}
        print(f"seed {seed}: {volumes}", file=sys.stderr, flush=True)
    kept = ("target", "preset", "space", "trials", "ours", "workers", "seeds")
    return {
        "hardware": hardware(), "versions": versions(), **{name: getattr(args, name) for name in kept},
        "figures": figures(curves), "curves": curves,
    }  # fmt: skip


def count_named(space: str) -> int:
    """Returns how many named strategies a study of a space begins with."""
    from itertools import count

    from benchmarks.search_simulator import base
    from search_spaces import SPACES

    return next(index for index in count() if SPACES[space].slot(base(), index) == {"params": {}})


def run(args: argparse.Namespace, name: str, seed: int, trials: int, options: list[str]) -> pd.DataFrame:
    """Runs a study through its command, without the features that another one left; returns its trials."""
    out = args.out / f"seed-{seed}"
    if not (out / name).exists():
        shutil.rmtree(out / ".cache" / "features", ignore_errors=True)
    words = ["--target", args.target, "--data-kind", "synthetic", "--preset", args.preset, "--space", args.space]
    words += ["--trials", str(trials), "--seed", str(seed), "--study", name, "--out", str(out)]
    words += ["--workers", str(args.workers), "--interpolate", "off", "--tracking-uri", "none", "--quiet", *options]
    subprocess.run([sys.executable, "-m", "study.run", *words], check=True, stdout=subprocess.DEVNULL)
    return pd.read_csv(out / name / "trials.csv")[:trials]


def curve(table: pd.DataFrame) -> dict[str, Any]:
    """Returns training seconds and hypervolume by trial, and the share of trials that were stopped."""
    from study.front import hypervolume_over_trials

    return {
        "seconds": table["seconds"].fillna(0).cumsum().round(2).tolist(),
        "hypervolume": [round(float(volume), 5) for volume in hypervolume_over_trials(table)],
        "stopped": float((table["state"] == "stopped").mean()),
    }


def figures(curves: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns what is compared, per seed: hypervolume and seconds at the end, hypervolume after a quarter of random
    search's seconds, and the share of a search's seconds after which the default has its final hypervolume, infinity
    where it never has.
    """
    quarters = [TARGET * one["seconds"][-1] for one in curves[RANDOM]]
    return {
        name: {
            "hypervolume": [one["hypervolume"][-1] for one in runs],
            "after a quarter of random's seconds": [reached(*pair) for pair in zip(runs, quarters, strict=True)],
            "seconds": [one["seconds"][-1] for one in runs],
            "stopped": [round(one["stopped"], 3) for one in runs],
            "reached by the default at": [share(*pair) for pair in zip(curves[DEFAULT], runs, strict=True)],
        }
        for name, runs in curves.items()
    }


def reached(curve: dict[str, Any], seconds: float) -> float:
    """Returns the hypervolume that a curve has after some seconds."""
    done = int(np.searchsorted(curve["seconds"], seconds, side="right"))
    return float(curve["hypervolume"][done - 1]) if done else 0.0


def share(ours: dict[str, Any], other: dict[str, Any]) -> float:
    """Returns the share of another curve's seconds after which ours has its final hypervolume."""
    there = np.flatnonzero(np.array(ours["hypervolume"]) >= other["hypervolume"][-1])
    return round(ours["seconds"][there[0]] / other["seconds"][-1], 3) if len(there) else float("inf")


def as_text(result: dict[str, Any]) -> str:
    """Returns the figures for people."""
    lines = [
        f"random {result['trials']} trials, the default {result['ours']}; {result['target']}, {result['preset']}, "
        f"space {result['space']}, "
        f"{result['workers']} workers; one figure per seed"
    ]
    for name, found in result["figures"].items():
        lines.append(f"{name}: " + "; ".join(f"{key} {values}" for key, values in found.items()))
    return "\n".join(lines)


def check(result: dict[str, Any]) -> int:
    """Prints the figures; 1 if the default needs too much of random search's training time."""
    print(as_text(result))
    found = statistics.median(result["figures"][RANDOM]["reached by the default at"])
    if found > TARGET:
        print(f"the default needs {found:.2f} of random search's training time (median), should be at most {TARGET}")
    return int(found > TARGET)


if __name__ == "__main__":
    sys.exit(main())
