"""Real studies, end to end: the default search against random search without early stopping, on the stand-in.

`python -m benchmarks.search_real` runs `study.run` for both with several seeds, one worker each, the same data and
baseline, and writes benchmarks/results/search_real.json: the hypervolume after all trials, and the share of random
search's training time after which the default reaches random search's hypervolume. Both try the named strategies
first, as every study does, so that the difference is that of sampler and early stopping alone. `--check` says whether
the default is behind; `--quick` runs one seed of few trials and writes nothing.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.checking import recorded

RESULTS = Path(__file__).parent / "results" / "search_real.json"
CONTENDERS = {"the default": [], "random": ["--sampler", "random", "--early-stop", "off"]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_real", description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--space", default="card")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    if args.check:
        found = recorded(RESULTS)
        return check(found) if found else 1
    trials, seeds = (12, 1) if args.quick else (args.trials, args.seeds)
    result = measure(args.out, args.preset, args.space, trials, seeds)
    print(as_text(result))
    if not args.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def measure(out: Path, preset: str, space: str, trials: int, seeds: int) -> dict[str, Any]:
    """Runs every study, or what is missing of it, and returns the curves and what is read off them."""
    from study.machine import hardware, versions

    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for seed in range(seeds):
        for name, options in CONTENDERS.items():
            label = f"{preset}-{space}-{name.split()[-1]}-{seed}"
            subprocess.run(
                [sys.executable, "-m", "study.run", "--target", "tfeid", "--data-kind", "synthetic", "--preset", preset,
                 "--space", space, "--trials", str(trials), "--seed", str(seed), "--study", label, "--out", str(out),
                 "--workers", "1", "--tracking-uri", "none", "--quiet", *options],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            curves[name].append(curve(pd.read_csv(out / label / "trials.csv")[:trials]))
            print(f"{label}: {curves[name][-1]['hypervolume'][-1]:.4f}", file=sys.stderr, flush=True)
    return {
        "hardware": hardware(), "versions": versions(), "preset": preset, "space": space, "trials": trials,
        "figures": figures(curves), "curves": curves,
    }  # fmt: skip


def curve(table: pd.DataFrame) -> dict[str, Any]:
    """Returns training seconds and hypervolume by trial, and the share of trials that were stopped."""
    from study.front import hypervolume_over_trials

    return {
        "seconds": table["seconds"].fillna(0).cumsum().round(2).tolist(),
        "hypervolume": [round(float(volume), 5) for volume in hypervolume_over_trials(table)],
        "stopped": float((table["state"] == "stopped").mean()),
    }


def figures(curves: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns final hypervolumes and seconds, and per seed the share of random search's seconds that the default needs
    for random search's final hypervolume; None where it never reaches it."""
    shares = []
    for ours, other in zip(curves["the default"], curves["random"], strict=True):
        reached = np.flatnonzero(np.array(ours["hypervolume"]) >= other["hypervolume"][-1])
        shares.append(round(ours["seconds"][reached[0]] / other["seconds"][-1], 3) if len(reached) else None)
    return {
        name: {
            "hypervolume": [one["hypervolume"][-1] for one in runs],
            "seconds": [one["seconds"][-1] for one in runs],
            "stopped": [round(one["stopped"], 3) for one in runs],
        }
        for name, runs in curves.items()
    } | {"share of random's seconds": shares}


def as_text(result: dict[str, Any]) -> str:
    """Returns the figures for people."""
    lines = [f"{result['trials']} trials, {result['preset']}, space {result['space']}; one figure per seed"]
    for name, found in result["figures"].items():
        parts = found.items() if isinstance(found, dict) else [("", found)]
        lines.append(f"{name}: " + "; ".join(f"{key} {values}".strip() for key, values in parts))
    return "\n".join(lines)


def check(result: dict[str, Any]) -> int:
    """Prints the figures; 1 if the default's mean hypervolume is behind, or it needs longer than random search."""
    print(as_text(result))
    found = result["figures"]
    ours, other = (float(np.mean(found[name]["hypervolume"])) for name in CONTENDERS)
    late = [share for share in found["share of random's seconds"] if share is None or share > 1]
    if ours < other:
        print(f"the default ends at {ours:.4f}, random search at {other:.4f}")
    if late:
        print(f"{len(late)} seeds of the default do not reach random search's hypervolume in its time")
    return int(ours < other or bool(late))


if __name__ == "__main__":
    sys.exit(main())
