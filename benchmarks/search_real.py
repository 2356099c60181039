"""Real studies, end to end: the default search against random search without early stopping, on a synthetic target.

`python -m benchmarks.search_real` runs `study.run` for both with several seeds, the same data and baseline and an empty
feature cache each, and writes benchmarks/results/search_real.json: the share of random search's training time after
which the default reaches the hypervolume that random search has at its end.

- The default is the command as it is: named strategies first (in `full` eight, the others between free trials), early
  stopping, and interpolated networks, whose cost counts; the figures without interpolated networks are shown beside.
- Random search stops nothing and scores adapted networks alone, as a plain Optuna script does; its trials come after
  the named strategies, or between them, which count in a curve of their own.
- With `--tpe`, Optuna's own default has a study without named strategies.

The target is synthetic MUG, whose 741 validation images leave less noise than the 98 of synthetic KDEF, with a third of
a pass for a budget. Some noise is left: the best of 200 trials was chosen by it, too. So fronts are evaluated on
test images as well, the default's also at the moments at which it should have caught up. What was chosen by looking at
a target's studies (docs/experiments.md says what) is flattered by them.

`--check` compares the shares, and on test images the hypervolumes, with their targets; `--quick` runs one seed of few
trials and writes nothing. Studies in `--out` are resumed. `--add` keeps the other seeds of the record, for days without
time for all: the shares of each seed are of one machine, whose processor is recorded.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.checking import hash_of, recorded
from benchmarks.search_studies import PLAIN, SCRIPT_OPTIONS, count_named, evaluate_fronts, run_study
from study.fronts import hypervolume_over_trials
from study.machine import hardware, versions
from study.trials import INTERPOLATED_COLUMN, OBJECTIVES

RESULTS = Path(__file__).parent / "results" / "search_real.json"

DEFAULT = "the default"
ENDS = "the default, networks on the way not counted"
RANDOM = "random"
NAMED_FIRST = "named strategies, then random"
TPE = "Optuna's TPE"
SEARCHES = (DEFAULT, ENDS, RANDOM, NAMED_FIRST, TPE)

TARGETS = {RANDOM: 0.25, TPE: 0.5}
"""The largest share of another search's training time that the default may need for the final hypervolume of that
search, median over seeds."""

REPEATS = 3
"""The fewest seeds of a record."""

SETTINGS = ("target", "epochs", "preset", "space", "trials", "ours", "workers", "code")

CODE = (
    "study/search/samplers.py",
    "study/search/early_stopping.py",
    "study/execution/claim.py",
    "study/execution/trial.py",
    "search_spaces/full.py",
    "fer/adaptation/methods.py",
)
"""The files that decide what a search does. Records of other code are not put together."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_real", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the committed figures with the targets")
    parser.add_argument("--quick", action="store_true", help="one seed of few trials; prints and writes nothing")
    parser.add_argument("--trials", type=int, default=200, help="of random search, after the named strategies")
    parser.add_argument("--ours", type=int, default=200, help="of the default, the named strategies among them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="each draws the synthetic images anew")
    parser.add_argument("--add", action="store_true", help="keep the record's other seeds, of the same settings")
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--space", default="full")
    parser.add_argument("--target", default="mug")
    parser.add_argument("--epochs", type=float, default=0.3, help="passes over the target")
    parser.add_argument("--tpe", action="store_true", help="Optuna's TPE as well, which takes as long as random search")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    args = parser.parse_args()
    args.code = hash_of(CODE)
    if args.check:
        result = recorded(RESULTS)
        return check(result) if result else 1
    if args.quick:
        args.seeds = [0]
        args.trials = 12
        args.ours = count_named(args.space) + 12

    record = recorded(RESULTS) if args.add else None
    if record:
        refuse_other_settings(record, args)
    result = measure(args)
    if record:
        result = together(record, result)
    print(as_text(result))
    if not args.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def refuse_other_settings(record: dict[str, Any], args: argparse.Namespace) -> None:
    """Ends the command where the record's seeds and new ones could not be compared."""
    changed = [name for name in SETTINGS if record.get(name) != getattr(args, name)]
    if changed:
        sys.exit(f"--add: the record has another {', '.join(changed)}")
    with_tpe = TPE in record["curves"]
    if with_tpe != args.tpe:
        sys.exit(f"--add: the record is {'with' if with_tpe else 'without'} TPE, so its new seeds must be")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Runs every study, or what is missing of it, and returns the curves and what is read off them."""
    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in SEARCHES if args.tpe or name != TPE}
    for seed in args.seeds:
        ours = run_study(args, "default", seed, args.ours, [])
        trials = args.trials + count_named(args.space)
        at_random = run_study(args, "random", seed, trials, [*SCRIPT_OPTIONS, "--sampler", "random"])
        others = {RANDOM: at_random[~at_random["first"]][: args.trials], NAMED_FIRST: at_random[: args.trials]}

        # The other searches, at their ends.
        folder = args.out / f"seed-{seed}"
        test_volumes = evaluate_fronts(folder, "random", *others.values())
        if args.tpe:
            others[TPE] = run_study(args, "tpe", seed, args.trials, [*SCRIPT_OPTIONS, "--sampler", "tpe"], PLAIN)
            test_volumes += evaluate_fronts(folder, "tpe", others[TPE])
        for (name, table), volume in zip(others.items(), test_volumes, strict=True):
            curves[name].append(curve(table) | {"test": volume})

        # The default, with and without interpolated networks, at its end and when it should have caught up. All in one
        # call, so that no network is trained again twice.
        limits = {"test": float("inf")}
        for name in TARGETS:
            if name in others:
                limits[f"test, {moment(name)}"] = deadline(name, curves[name][-1])
        tables = {DEFAULT: ours, ENDS: without_interpolated(ours)}
        parts = {
            (name, kind): until(table, seconds) for name, table in tables.items() for kind, seconds in limits.items()
        }
        test_volumes = evaluate_fronts(folder, "default", *parts.values())
        by_part = dict(zip(parts, test_volumes, strict=True))
        for name, table in tables.items():
            curves[name].append(curve(table) | {kind: by_part[name, kind] for kind in limits})

        finals = {name: runs[-1]["hypervolume"][-1] for name, runs in curves.items()}
        print(f"seed {seed}: {finals}", file=sys.stderr, flush=True)
    return {
        "hardware": hardware(),
        "versions": versions(),
        **{name: getattr(args, name) for name in SETTINGS},
        "seeds": args.seeds,
        "processors": [hardware()["processor"]] * len(args.seeds),
        "figures": figures(curves),
        "curves": curves,
    }


def together(record: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Returns two records of the same settings as one, in the order of seeds; a new seed replaces a recorded one."""
    by_seed: dict[int, dict[str, Any]] = {}
    for part in (record, new):
        for place, seed in enumerate(part["seeds"]):
            runs = {name: curves[place] for name, curves in part["curves"].items()}
            by_seed[seed] = {"processor": part["processors"][place], "runs": runs}

    seeds = sorted(by_seed)
    processors = [by_seed[seed]["processor"] for seed in seeds]
    curves = {name: [by_seed[seed]["runs"][name] for seed in seeds] for name in record["curves"]}
    return new | {"seeds": seeds, "processors": processors, "figures": figures(curves), "curves": curves}


def without_interpolated(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table of trials without the accuracies of interpolated networks."""
    interpolated = tuple(INTERPOLATED_COLUMN.format(name, "") for name in OBJECTIVES)
    return table[[name for name in table.columns if not name.startswith(interpolated)]]


def until(table: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Returns the trials that ended within some seconds of training."""
    return table[spent(table) <= seconds]


def spent(table: pd.DataFrame) -> "pd.Series[float]":
    """Returns the seconds of training until each trial's end, those of trials before it included."""
    return table["seconds"].fillna(0).cumsum()


def curve(table: pd.DataFrame) -> dict[str, Any]:
    """Returns training seconds and hypervolume by trial, and the share of trials that were stopped."""
    return {
        "seconds": spent(table).round(2).tolist(),
        "hypervolume": [round(float(volume), 5) for volume in hypervolume_over_trials(table)],
        "stopped": float((table["state"] == "stopped").mean()),
    }


def figures(curves: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns what is compared, per seed.

    For each search: hypervolume and seconds at the end; the hypervolume at the moments at which the default should have
    caught up; and the share of the search's seconds after which the default has the search's final hypervolume,
    infinity where it never has.
    """
    deadlines = {moment(name): [deadline(name, run) for run in curves[name]] for name in TARGETS if name in curves}
    table = {}
    for name, runs in curves.items():
        row: dict[str, Any] = {"hypervolume": [run["hypervolume"][-1] for run in runs]}
        for when, seconds in deadlines.items():
            row[when] = [volume_at(run, limit) for run, limit in zip(runs, seconds, strict=True)]
        for kind in runs[0]:
            if kind.startswith("test"):
                row[kind] = [run[kind] for run in runs]
        row["seconds"] = [run["seconds"][-1] for run in runs]
        row["stopped"] = [round(run["stopped"], 3) for run in runs]
        for faster in (DEFAULT, ENDS, NAMED_FIRST):
            if faster in curves:
                pairs = zip(curves[faster], runs, strict=True)
                row[f"reached by {faster} at"] = [share_to_reach(*pair) for pair in pairs]
        table[name] = row
    return table


def moment(name: str) -> str:
    """Returns the words for when the default should have caught up with another search."""
    return f"after {TARGETS[name]:.0%} of the seconds of {name}"


def deadline(name: str, curve: dict[str, Any]) -> float:
    """Returns the seconds by which the default should have caught up with another search."""
    return float(TARGETS[name] * curve["seconds"][-1])


def volume_at(curve: dict[str, Any], seconds: float) -> float:
    """Returns the hypervolume that a curve has after some seconds."""
    ended = int(np.searchsorted(curve["seconds"], seconds, side="right"))
    return float(curve["hypervolume"][ended - 1]) if ended else 0.0


def share_to_reach(ours: dict[str, Any], other: dict[str, Any]) -> float:
    """Returns the share of another curve's seconds after which ours has the other's final hypervolume."""
    sufficient = np.flatnonzero(np.array(ours["hypervolume"]) >= other["hypervolume"][-1])
    if len(sufficient) == 0:
        return float("inf")
    return round(ours["seconds"][sufficient[0]] / other["seconds"][-1], 3)


def as_text(result: dict[str, Any]) -> str:
    """Returns the figures for people."""
    seeds = ", ".join(map(str, result["seeds"]))
    processors = ", ".join(dict.fromkeys(result["processors"]))
    lines = [
        f"random {result['trials']} trials, the default {result['ours']}; {result['target']}, {result['preset']}, "
        f"space {result['space']}, {result['workers']} workers; one figure per seed: {seeds}; on {processors}"
    ]
    for name, row in result["figures"].items():
        lines.append(f"{name}: " + "; ".join(f"{key} {values}" for key, values in row.items()))
    return "\n".join(lines)


def check(result: dict[str, Any]) -> int:
    """Prints the figures and what falls short of the targets; returns 1 if anything does.

    The default falls short where it needs too much of another search's training time, or where its front of then is
    worse on test images than the other's at its end.
    """
    print(as_text(result))
    figures = result["figures"]
    lines = []
    if result.get("code") != hash_of(CODE):
        lines.append("this record is of another search than the present one")
    if len(result["seeds"]) < REPEATS:
        lines.append(f"{len(result['seeds'])} seeds, at least {REPEATS} wanted")

    for name, most in TARGETS.items():
        at_deadline = f"test, {moment(name)}"
        if name not in figures or at_deadline not in figures[DEFAULT]:
            lines.append(f"{name}: not measured")
            continue
        needed = statistics.median(figures[name]["reached by the default at"])
        if needed > most:
            lines.append(f"{name}: reached after {needed:g} of its training time, at most {most:g} wanted (medians)")

        # Seed by seed, because synthetic images of different seeds differ in difficulty.
        pairs = zip(figures[DEFAULT][at_deadline], figures[name]["test"], strict=True)
        ratio = statistics.median(ours / other for ours, other in pairs)
        if ratio < 1:
            lines.append(f"test images: {moment(name)} {ratio:.3f} of what that has at its end (median)")
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
