"""Which search reaches a front with the least training: samplers, early stopping and workers, replayed over a table.

`python -m benchmarks.search` fits a surrogate to the table of real trainings (`benchmarks.search_table`), replays every
contender over seeds with the project's own code (samplers, spaces, early stopping; only the training is looked up), and
writes benchmarks/results/search.json. The figure of merit is the training cost, in CPU seconds of all trials, until the
hypervolume that random search has after 200 full trials, and until the one that Optuna's default (TPE, no stopping)
has.

`--check` compares the committed figures with the targets; `--quick` replays a few contenders with few seeds and writes
nothing. `--only NAME …` replays some contenders and keeps the figures of the others, as long as table and code are the
same.
"""

import argparse
import hashlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from benchmarks.checking import hash_of
from benchmarks.search_contenders import DEFAULT, EARLY, RANDOMLY, TRIALS, WITHOUT, contenders, replay
from benchmarks.search_peers import missing
from benchmarks.search_simulator import Search, Surrogate, noise
from benchmarks.search_table import OBJECTIVES, read
from study.machine import hardware, versions

RESULTS = Path(__file__).parent / "results" / "search.json"

CODE = (
    "study/search/samplers.py", "study/search/early_stopping.py", "search_spaces/full.py", "fer/adaptation/methods.py",
    "benchmarks/search_simulator.py",
)  # fmt: skip
"""The files that decide what a replayed search does. Curves of other code are not shown beside those of this code."""

TARGETS = {"random": 0.25, "tpe, Optuna's": 0.5}
"""The largest share of another search's cost that the default may need for the hypervolume of that search."""


_SHARED: dict[str, Surrogate] = {}
"""The surrogate, which the processes of a pool inherit: a contender cannot be sent to them, but its name can."""


def replay_named(name: str, seed: int) -> tuple[Search, list[float]]:
    """Replays a contender by its name, over the surrogate that this process inherited."""
    torch.set_num_threads(1)  # Optuna's GP computes with torch, and two processes of two threads wait for each other
    contender = contenders()[name]
    return replay(contender, _SHARED["surrogate"].answer, seed, contender.trials)


def curves(runs: Sequence[tuple[Search, list[float]]]) -> dict[str, Any]:
    """Returns what the searches of a contender did.

    Cost, hypervolume and vector (source, target) are recorded where the hypervolume grew, and at the last trial, whose
    vector is None unless the hypervolume grew there; further the duration of each search with its workers, the share of
    trials that were stopped, and the median seconds of an ask.
    """
    steps = [steps_of(search) for search, _ in runs]
    states = [state for search, _ in runs for *_, state, _ in search.ends]
    return {
        "seeds": len(runs),
        "cost": [[round(cost, 2) for cost, *_ in rows] for rows in steps],
        "hypervolume": [[round(volume, 5) for _, volume, _ in rows] for rows in steps],
        "vectors": [[vector for *_, vector in rows] for rows in steps],
        "clock": [round(search.ends[-1][0], 1) for search, _ in runs],
        "stopped": states.count("stopped") / len(states),
        "ask_seconds": statistics.median(seconds for _, latencies in runs for seconds in latencies),
    }


def steps_of(search: Search) -> list[tuple[float, float, list[float] | None]]:
    """Returns cost, hypervolume and vector of the trials that made the hypervolume grow, and of the last trial."""
    costs, volumes = search.hypervolumes()
    grew = np.diff(volumes, prepend=0) > 0
    steps: list[tuple[float, float, list[float] | None]] = []
    for index, (*_, vector) in enumerate(search.ends):
        if grew[index]:
            rounded = [round(float(value), 5) for value in vector]
            steps.append((float(costs[index]), float(volumes[index]), rounded))
        elif index == len(search.ends) - 1:
            steps.append((float(costs[index]), float(volumes[index]), None))
    return steps


def to_reach(curve: dict[str, Any], wanted: float) -> list[float]:
    """Returns per seed the cost after which a hypervolume is reached; infinite where it never is."""
    reached_after = []
    for costs, volumes in zip(curve["cost"], curve["hypervolume"], strict=True):
        sufficient = (cost for cost, volume in zip(costs, volumes, strict=True) if volume >= wanted)
        reached_after.append(next(sufficient, float("inf")))
    return reached_after


def figures(curves: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns what is read off the curves: final hypervolume with its 95 % interval, and costs to the references."""
    references = {name: curves[name] for name in TARGETS if name in curves}
    table = {}
    for name, curve in curves.items():
        finals = np.array([volumes[-1] for volumes in curve["hypervolume"]])
        half = stats.t.ppf(0.975, len(finals) - 1) * stats.sem(finals) if len(finals) > 1 else None
        row: dict[str, Any] = {
            "seeds": curve["seeds"],
            "hypervolume": finals.mean(),
            "half_interval": half,
            "cost": float(np.mean([costs[-1] for costs in curve["cost"]])),
            "stopped": curve["stopped"],
            "ask_ms": 1000 * curve["ask_seconds"],
        }
        for reference_name, reference in references.items():
            wanted = np.mean([volumes[-1] for volumes in reference["hypervolume"]])
            full_cost = np.mean([costs[-1] for costs in reference["cost"]])
            shares = np.array(to_reach(curve, wanted)) / full_cost
            row[f"of {reference_name}"] = _or_none(np.median(shares))
            row[f"of {reference_name}, worst of ten"] = _or_none(np.quantile(shares, 0.9, method="higher"))
        table[name] = row
    return table


def _or_none(share: float) -> float | None:
    """Returns a share, or None for one that is infinite: the hypervolume was not reached."""
    return float(share) if np.isfinite(share) else None


def gain(curves: dict[str, Any], name: str, other: str) -> tuple[float, float]:
    """Returns by how much a contender's final hypervolume exceeds another's, seed by seed, with its 95 % interval."""
    # The seeds that both have.
    pairs = zip(curves[name]["hypervolume"], curves[other]["hypervolume"], strict=False)
    gains = [volumes[-1] - other_volumes[-1] for volumes, other_volumes in pairs]
    return float(np.mean(gains)), float(stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains))


def measure(names: Sequence[str], seeds: int | None, record: dict[str, Any], jobs: int = 1) -> Iterator[dict[str, Any]]:
    """Replays contenders; yields the whole result so far after each, so that an interruption loses one contender.

    Args:
        names: The contenders to replay.
        seeds: How many searches each; None for each contender's own number.
        record: The recorded result, whose other contenders stay where table and code are the same.
        jobs: How many processes share the seeds.
    """
    rows = read()
    surrogate = _SHARED.setdefault("surrogate", Surrogate(rows))
    everyone = contenders()

    # The code as it is now, whatever changes while searches are replayed.
    digest = hashlib.sha256(rows.to_csv().encode()).hexdigest()[:16]
    code = hash_of(CODE)
    comparable = record.get("table") == digest and record.get("code") == code
    recorded = record.get("curves", {}) if comparable else {}
    current = {name: curve for name, curve in recorded.items() if name in everyone}

    for name in names:
        why = missing(everyone[name].needs)
        if why:
            print(f"{name}: left out, {why}", file=sys.stderr, flush=True)
            continue

        started = time.monotonic()
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
            replays = pool.map(partial(replay_named, name), range(seeds or everyone[name].seeds))
            current[name] = curves(list(replays))
        finals = [volumes[-1] for volumes in current[name]["hypervolume"]]
        print(f"{name}: {np.mean(finals):.4f} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

        yield {
            "hardware": hardware(),
            "versions": versions(),
            "table": digest,
            "code": code,
            "rows": len(rows),
            "trials": TRIALS,
            "surrogate": surrogate.errors(),
            "noise": noise(rows),
            "correlation": correlations(rows),
            "figures": figures(current),
            "targets": TARGETS,
            "curves": {name: current[name] for name in everyone if name in current},
        }


def correlations(rows: pd.DataFrame) -> dict[str, float]:
    """Returns Spearman's rank correlation of each rung with the end, for both objectives, over the finished rows."""
    finished = rows[rows["state"] == "finished"]
    by_rung = {}
    for share in EARLY:
        for domain in OBJECTIVES:
            at_rung = finished[f"{domain}@{share:g}"]
            at_end = finished[f"{domain}@1"]
            by_rung[f"{domain}@{share:g}"] = float(at_rung.corr(at_end, method="spearman"))
    return by_rung


def as_text(result: dict[str, Any]) -> str:
    """Returns the table for people, the largest hypervolume first."""
    columns = [f"of {name}" for name in TARGETS]
    heads = "  ".join(f"{column:>16}" for column in columns)
    lines = [
        f"{result['rows']} rows, {result['trials']} trials; last, cost to the hypervolume of another, as a share",
        f"{'':32}  hypervolume after all    cost  stopped  {heads}   ask",
    ]
    for name, row in sorted(result["figures"].items(), key=lambda item: -item[1]["hypervolume"]):
        cells = [f"{row[c]:16.3f}" if row.get(c) is not None else f"{'not reached':>16}" for c in columns]
        half = row["half_interval"] or 0
        lines.append(
            f"{name:32}  {row['hypervolume']:.4f} ± {half:.4f} ({row['seeds']:2})  {row['cost']:6.0f} s"
            f"  {row['stopped']:6.1%}  {'  '.join(cells)}  {row['ask_ms']:.0f} ms"
        )
    return "\n".join(lines)


def check(result: dict[str, Any]) -> int:
    """Prints the table and what falls short of the targets, what was not measured included."""
    if result:
        print(as_text(result))
    figures = result.get("figures", {})
    default = figures.get(DEFAULT, {})
    without = figures.get(WITHOUT)
    short = False

    if result.get("code") != hash_of(CODE):
        print("these figures are of other searches than the present ones")
        short = True

    unmeasured = [name for name in (DEFAULT, *TARGETS, WITHOUT) if name not in figures]
    if unmeasured:
        print(f"not measured: {', '.join(unmeasured)}")
        short = True

    for reference, most in TARGETS.items():
        share = default.get(f"of {reference}")
        if reference in figures and (share is None or share > most):
            print(f"{DEFAULT} needs {share} of the cost of {reference}, should be at most {most:g}")
            short = True

    left_out = [name for name in contenders() if name not in figures]
    if left_out:
        print(f"without figures: {', '.join(left_out)}")

    if DEFAULT in figures and RANDOMLY in figures:
        mean, half = gain(result["curves"], DEFAULT, RANDOMLY)
        print(f"{DEFAULT} ends {mean:+.4f} ± {half:.4f} above {RANDOMLY}: what is left when only the sampler differs")

    if default and without and default["hypervolume"] + (default["half_interval"] or 0) < without["hypervolume"]:
        print(f"stopping costs hypervolume: {default['hypervolume']:.4f} against {without['hypervolume']:.4f} without")
        short = True
    return int(short)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the committed figures with the targets")
    parser.add_argument("--quick", action="store_true", help="a few contenders, 3 seeds; prints and writes nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the contenders")
    parser.add_argument("--jobs", type=int, default=1, help="processes, which share the seeds (default: %(default)s)")
    parser.add_argument("--seeds", type=int, help="instead of each contender's own number")
    args = parser.parse_args()

    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if args.check:
        return check(record)
    if args.quick:
        names = ["random", DEFAULT]
        seeds = 3
        record = {}
    else:
        names = list(contenders())
        seeds = args.seeds

    for result in measure(args.only or names, seeds, record, args.jobs):
        if not args.quick:
            RESULTS.write_text(json.dumps(result) + "\n")
    print(as_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
