"""Which search reaches a front with the least training: samplers, early stopping and workers, replayed over a table.

`python -m benchmarks.search` fits a surrogate to the table of real trainings (`benchmarks.search_table`), replays every
contender over seeds with the project's own code (samplers, spaces, early stopping; only the training is looked up), and
writes benchmarks/results/search.json. The figure of merit is training cost, in CPU seconds of all trials, until the
hypervolume that random search has after 200 full trials, and the one that Optuna's default (TPE, no stopping) has.
`--check` compares the committed figures with the targets; `--quick` replays a few contenders with few seeds and writes
nothing. `--only NAME …` replays some contenders and keeps the others' figures, as long as table and code are the same.
"""

import argparse
import hashlib
import json
import multiprocessing
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.checking import hash_of
from benchmarks.search_peers import Stopping, missing, mo_asha, multi_metric
from benchmarks.search_simulator import Course, Search, Surrogate, base, noise, simulate, slots
from benchmarks.search_table import SHARES, read
from study.config import StudyOptions
from study.evolution import EvolutionSampler
from study.stopping import ETA, should_stop

RESULTS = Path(__file__).parent / "results" / "search.json"
# What the replayed searches do is written here; curves of other code are not shown beside them.
CODE = (
    "study/search.py", "study/evolution.py", "study/stopping.py", "search_spaces/full.py", "fer/adaptation.py",
    "benchmarks/search_simulator.py",
)  # fmt: skip
TRIALS, SEEDS = 200, 20
MANY = 10_000
DEFAULT, WITHOUT = "the default", "the default, no stopping"
RANDOMLY = "random, named first, stopping"
OTHERS = ("evolution", "tpe", "nsga2", "qmc")
EARLY = SHARES[:-1]
# The most of random search's cost, and of Optuna's default's, that the default may need for the same hypervolume.
TARGETS = {"random": 0.25, "tpe, Optuna's": 0.5}


@dataclass(frozen=True)
class Contender:
    """A way to search.

    Attributes:
        sampler: From a seed to a sampler.
        named: Whether the named methods come first, as in a study.
        stopping: From the study to the rule that stops trials; None lets all run to their end.
        rungs: Where the rule is asked.
        workers: How many trials run at once.
        seeds: Over how many searches.
        trials: How many; fewer where asking takes seconds.
        needs: The package of another project, without which it is left out.
    """

    sampler: Callable[[int], Any]
    named: bool = False
    stopping: Stopping | None = None
    rungs: tuple[float, ...] = (0.5,)
    workers: int = 1
    seeds: int = SEEDS
    trials: int = TRIALS
    needs: str | None = None


def halving(eta: int = ETA) -> Stopping:
    """Returns this project's early stopping."""

    def rule(trial: Any, share: float, mine: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
        return should_stop(mine, others, eta)

    return lambda study: rule


def contenders() -> dict[str, Contender]:
    """Returns every contender by name, the slow ones last."""
    from optuna.pruners import MedianPruner
    from optuna.samplers import GPSampler, NSGAIISampler, RandomSampler, TPESampler

    from study.search import make_sampler

    def random(seed: int) -> Any:
        return RandomSampler(seed=seed)

    def ours(seed: int) -> Any:
        return make_sampler(StudyOptions.sampler, seed)

    def tpe(**settings: Any) -> Callable[[int], Any]:
        return lambda seed: TPESampler(seed=seed, **settings)

    default = Contender(ours, named=True, stopping=halving())
    syne_tune = Contender(random, stopping=mo_asha(), rungs=EARLY, needs="syne_tune")
    optunahub = Contender(tpe(), stopping=multi_metric(MedianPruner), rungs=EARLY, needs="optunahub")
    return {
        "random": Contender(random),
        "nsga2": Contender(lambda seed: NSGAIISampler(seed=seed)),
        "nsga2, population 20": Contender(lambda seed: NSGAIISampler(seed=seed, population_size=20)),
        "evolution": Contender(EvolutionSampler),
        "Syne Tune's MO-ASHA": syne_tune,
        "Syne Tune's MO-ASHA, rung 1/2, eta 2": replace(syne_tune, stopping=mo_asha(4, 2)),
        "Syne Tune's MO-ASHA, named first": replace(syne_tune, named=True),
        "random, named first": Contender(random, named=True),
        RANDOMLY: Contender(random, named=True, stopping=halving()),
        WITHOUT: replace(default, stopping=None),
        DEFAULT: default,
        **{f"{n} workers": replace(default, workers=n) for n in (2, 8, 64)},
        **{f"{MANY:,} trials, {n:,} workers": replace(default, trials=MANY, workers=n, seeds=3) for n in (1, 1000)},
        "rungs 1/4, 1/2": replace(default, rungs=(0.25, 0.5)),
        "rungs 1/2, 3/4": replace(default, rungs=(0.5, 0.75)),
        "rungs 1/8, 1/4, 1/2, 3/4": replace(default, rungs=EARLY),
        "rung 1/4": replace(default, rungs=(0.25,)),
        "eta 2": replace(default, stopping=halving(2)),
        "eta 4": replace(default, stopping=halving(4)),
        "tpe, Optuna's": Contender(tpe()),
        "OptunaHub's multi-metric pruner": optunahub,
        **{f"--sampler {name}": replace(default, sampler=partial(make_sampler, name)) for name in OTHERS},
        "gp, 60 trials": Contender(lambda seed: GPSampler(seed=seed), trials=60),
    }  # fmt: skip


def replay(
    contender: Contender, answer: Callable[[Any, int], Course], seed: int, trials: int = TRIALS
) -> tuple[Search, list[float]]:
    """Replays one search; returns it and the seconds that each ask took."""
    import optuna

    from fer.adaptation import STRATEGIES
    from search_spaces import choose
    from study.search import Searched

    states = optuna.trial.TrialState
    ends = {"finished": states.COMPLETE, "stopped": states.PRUNED, "failed": states.FAIL}
    study, latencies = optuna.create_study(directions=["maximize", "maximize"]), []
    if contender.named:  # as in a study of this project, whose samplers see it so
        study = Searched(study.study_name, study._storage)
    # One sampler for all trials, as Optuna's own searches have it.
    study.sampler = contender.sampler(seed)
    waiting = slots(contender.named)

    def ask(index: int) -> tuple[Any, Any]:
        started = time.perf_counter()
        study.enqueue_trial(**next(waiting))
        trial = study.ask()
        config = choose("full", trial, base())[1]
        latencies.append(time.perf_counter() - started)
        return trial, config

    def tell(trial: Any, vector: tuple[float, float] | None, state: str, seconds: float) -> None:
        trial.set_user_attr("seconds", seconds)
        if state == "failed":
            trial.set_user_attr("reason", "Diverged: simulated")
        study.tell(trial, vector, ends[state])

    kept = len(STRATEGIES) if contender.named else 0
    stops = contender.stopping(study) if contender.stopping else None
    with warnings.catch_warnings(action="ignore"):
        found = simulate(answer, ask, tell, trials, seed, contender.workers, stops, contender.rungs, kept)
    return found, latencies


_SHARED: dict[str, Surrogate] = {}
"""The surrogate, which the processes of a pool inherit: a contender cannot be sent to them, but its name can."""


def replay_named(name: str, seed: int) -> tuple[Search, list[float]]:
    """Replays a contender by its name, over the surrogate that this process inherited."""
    torch.set_num_threads(1)  # Optuna's GP computes with torch, and two processes of two threads wait for each other
    contender = contenders()[name]
    return replay(contender, _SHARED["surrogate"].answer, seed, contender.trials)


def curves(runs: Sequence[tuple[Search, list[float]]]) -> dict[str, Any]:
    """Returns what the searches of a contender did.

    Cost, hypervolume and vector (source, target) are kept where the hypervolume grew, and at the last trial, whose
    vector is None unless it grew there; further how long the search took with its workers, the share of trials that
    were stopped, and the median seconds of an ask.
    """
    steps = [steps_of(found) for found, _ in runs]
    ends = [state for found, _ in runs for *_, state, _ in found.ends]
    return {
        "seeds": len(runs),
        "cost": [[round(cost, 2) for cost, *_ in rows] for rows in steps],
        "hypervolume": [[round(volume, 5) for _, volume, _ in rows] for rows in steps],
        "vectors": [[vector for *_, vector in rows] for rows in steps],
        "clock": [round(found.ends[-1][0], 1) for found, _ in runs],
        "stopped": ends.count("stopped") / len(ends),
        "ask_seconds": statistics.median(second for _, latencies in runs for second in latencies),
    }


def steps_of(search: Search) -> list[tuple[float, float, list[float] | None]]:
    """Returns cost, hypervolume and vector of the trials that made the hypervolume grow, and of the last trial."""
    cost, volumes = search.hypervolumes()
    grew = np.diff(volumes, prepend=0) > 0
    rounded = [[round(float(value), 5) for value in vector] for *_, vector in search.ends]
    return [
        (float(cost[index]), float(volumes[index]), rounded[index] if grew[index] else None)
        for index in range(len(cost))
        if grew[index] or index == len(cost) - 1
    ]


def to_reach(curve: dict[str, Any], volume: float) -> list[float]:
    """Returns per seed the cost after which a hypervolume is reached; infinite where it never is."""
    return [
        next((c for c, v in zip(cost, volumes, strict=True) if v >= volume), float("inf"))
        for cost, volumes in zip(curve["cost"], curve["hypervolume"], strict=True)
    ]


def figures(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns what is read off the curves: final hypervolume with its 95 % interval, and costs to the references."""
    from scipy import stats

    references = {name: found[name] for name in TARGETS if name in found}
    table = {}
    for name, curve in found.items():
        last = np.array([volumes[-1] for volumes in curve["hypervolume"]])
        half = stats.t.ppf(0.975, len(last) - 1) * stats.sem(last) if len(last) > 1 else float("nan")
        row = {"seeds": curve["seeds"], "hypervolume": last.mean(), "half_interval": half}
        row |= {"cost": float(np.mean([cost[-1] for cost in curve["cost"]])), "stopped": curve["stopped"]}
        row["ask_ms"] = 1000 * curve["ask_seconds"]
        for other, reference in references.items():
            wanted = np.mean([volumes[-1] for volumes in reference["hypervolume"]])
            whole = np.mean([cost[-1] for cost in reference["cost"]])
            shares = np.array(to_reach(curve, wanted)) / whole
            row[f"of {other}"] = float(np.median(shares))
            row[f"of {other}, worst of ten"] = float(np.quantile(shares, 0.9, method="higher"))
        table[name] = {key: None if value != value or value == float("inf") else value for key, value in row.items()}
    return table


def gain(curves: dict[str, Any], name: str, other: str) -> tuple[float, float]:
    """Returns by how much a contender's final hypervolume exceeds another's, seed by seed, with its 95 % interval."""
    from scipy import stats

    pairs = zip(curves[name]["hypervolume"], curves[other]["hypervolume"], strict=False)  # the seeds that both have
    gains = [mine[-1] - its[-1] for mine, its in pairs]
    return float(np.mean(gains)), float(stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains))


def measure(names: Sequence[str], seeds: int | None, known: dict[str, Any], jobs: int = 1) -> Iterator[dict[str, Any]]:
    """Replays contenders; yields the whole result so far after each, so that ending it loses one contender."""
    from study.machine import hardware, versions

    rows = read()
    surrogate, everyone = _SHARED.setdefault("surrogate", Surrogate(rows)), contenders()
    digest = hashlib.sha256(rows.to_csv().encode()).hexdigest()[:16]
    code = hash_of(CODE)  # as it is now, whatever changes while searches are replayed
    same = (known.get("table"), known.get("code")) == (digest, code)
    kept = known.get("curves", {}) if same else {}
    found = {name: curve for name, curve in kept.items() if name in everyone}
    for name in names:
        why = missing(everyone[name].needs)
        if why:
            print(f"{name}: left out, {why}", file=sys.stderr, flush=True)
            continue
        started = time.monotonic()
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
            replays = pool.map(partial(replay_named, name), range(seeds or everyone[name].seeds))
            found[name] = curves(list(replays))
        volumes = [volume[-1] for volume in found[name]["hypervolume"]]
        print(f"{name}: {np.mean(volumes):.4f} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
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
            "figures": figures(found),
            "targets": TARGETS,
            "curves": {name: found[name] for name in everyone if name in found},
        }


def correlations(rows: Any) -> dict[str, float]:
    """Returns Spearman's rank correlation of each rung with the end, for both objectives, over the finished rows."""
    done = rows[rows["state"] == "finished"]
    return {
        f"{side}@{share:g}": float(done[f"{side}@{share:g}"].corr(done[f"{side}@1"], method="spearman"))
        for share in (0.125, 0.25, 0.5, 0.75)
        for side in ("source", "target")
    }


def as_text(result: dict[str, Any]) -> str:
    """Returns the table for people."""
    columns = [f"of {name}" for name in TARGETS]
    lines = [f"{result['rows']} rows, {result['trials']} trials; last, cost to the hypervolume of another, as a share"]
    heads = "  ".join(f"{column:>16}" for column in columns)
    lines.append(f"{'':32}  hypervolume after all    cost  stopped  {heads}   ask")
    for name, row in sorted(result["figures"].items(), key=lambda item: -item[1]["hypervolume"]):
        cells = "  ".join(f"{row[c]:16.3f}" if row.get(c) is not None else f"{'not reached':>16}" for c in columns)
        half = row["half_interval"] or 0
        lines.append(
            f"{name:32}  {row['hypervolume']:.4f} ± {half:.4f} ({row['seeds']:2})  {row['cost']:6.0f} s"
            f"  {row['stopped']:6.1%}  {cells}  {row['ask_ms']:.0f} ms"
        )
    return "\n".join(lines)


def check(result: dict[str, Any]) -> int:
    """Prints the table and what falls short of the targets, what was not measured included."""
    if result:
        print(as_text(result))
    found = result.get("figures", {})
    if other := result.get("code") != hash_of(CODE):
        print("these figures are of other searches than the present ones")
    missing = [name for name in (DEFAULT, *TARGETS, WITHOUT) if name not in found]
    if missing:
        print(f"not measured: {', '.join(missing)}")
    mine, short = found.get(DEFAULT, {}), bool(missing) or other
    for other, most in TARGETS.items():
        share = mine.get(f"of {other}")
        if other in found and (share is None or share > most):
            print(f"{DEFAULT} needs {share} of the cost of {other}, should be at most {most:g}")
            short = True
    if others := [name for name in contenders() if name not in found]:
        print(f"without figures: {', '.join(others)}")
    if DEFAULT in found and RANDOMLY in found:
        mean, half = gain(result["curves"], DEFAULT, RANDOMLY)
        print(f"{DEFAULT} ends {mean:+.4f} ± {half:.4f} above {RANDOMLY}: what is left when only the sampler differs")
    without = found.get(WITHOUT)
    if mine and without and mine["hypervolume"] + mine["half_interval"] < without["hypervolume"]:
        print(f"stopping costs hypervolume: {mine['hypervolume']:.4f} against {without['hypervolume']:.4f} without")
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
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if args.check:
        return check(known)
    names = args.only or (["random", DEFAULT] if args.quick else list(contenders()))
    for result in measure(names, 3 if args.quick else args.seeds, {} if args.quick else known, args.jobs):
        if not args.quick:
            RESULTS.write_text(json.dumps(result) + "\n")
    print(as_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
