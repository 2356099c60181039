"""Real studies, end to end: the default search against random search without early stopping, on the stand-in.

`python -m benchmarks.search_real` runs `study.run` for both with several seeds, the same data and baseline and an empty
feature cache each, and writes benchmarks/results/search_real.json: the share of random search's training time after
which the default reaches the hypervolume that random search has at its end. The default is the command as it is:
named strategies first, early stopping, and networks on the way from the baseline, whose cost counts; without them it is
shown beside. Random search stops nothing and scores adapted networks alone, as a plain Optuna script does; its trials
come after the named strategies, which do not count. With `--tpe`, Optuna's own default (constant liar, for two workers)
has a study without named strategies. The target is MUG's stand-in, whose 741 validation images leave less room for luck
than the 98 of KDEF's, with a third of a pass for a budget. Some is left: the best of 200 trials is also the luckiest.
So fronts are judged on test images as well, the default's also at the moment at which it should have caught up.
`--check` compares the shares, and on test images the hypervolumes, with their targets; `--quick` runs one seed of few
trials and writes nothing. Studies in `--out` are gone on with.
"""

import argparse
import functools
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.checking import misses, recorded

RESULTS = Path(__file__).parent / "results" / "search_real.json"
DEFAULT, ENDS = "the default", "the default, networks on the way not counted"
RANDOM, NAMED_FIRST, TPE = "random", "named strategies, then random", "Optuna's TPE"
SEARCHES = (DEFAULT, ENDS, RANDOM, NAMED_FIRST, TPE)
# The most of another search's training time that the default may need for its final hypervolume, median over seeds.
TARGETS = {RANDOM: 0.25, TPE: 0.5}
# Runs a study whose space tries no named strategies.
PLAIN = """
import sys
from search_spaces import SPACES
from study import run
SPACES[sys.argv.pop(1)].slot = lambda base, index: {"params": {}}
sys.exit(run.main())
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_real", description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--trials", type=int, default=200, help="of random search, after the named strategies")
    parser.add_argument("--ours", type=int, default=80, help="of the default, the named strategies among them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--space", default="full")
    parser.add_argument("--target", default="mug")
    parser.add_argument("--epochs", type=float, default=0.3, help="passes over the target")
    parser.add_argument("--tpe", action="store_true", help="Optuna's TPE as well, which takes as long as random search")
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
    plain = ["--early-stop", "off", "--interpolate", "off", "--sampler"]
    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in SEARCHES if args.tpe or name != TPE}
    for seed in range(args.seeds):
        ours = run(args, "default", seed, args.ours, [])
        others = {RANDOM: run(args, "random", seed, args.trials + named, [*plain, "random"])[named:]}
        curves[DEFAULT].append(curve(ours))
        curves[ENDS].append(curve(ours, between=False))
        curves[NAMED_FIRST].append(curve(pd.concat([ours[:named], others[RANDOM][: args.trials - named]]), False))
        if args.tpe:
            others[TPE] = run(args, "tpe", seed, args.trials, [*plain, "tpe"], PLAIN)
        out, spent, moments = args.out / f"seed-{seed}", curves[DEFAULT][-1]["seconds"], []
        for name, study in ((RANDOM, "random"), (TPE, "tpe")):
            if name in others:
                curves[name].append(curve(others[name], between=False))
                (curves[name][-1]["test"],) = on_test(out, study, others[name])
                until = TARGETS[name] * curves[name][-1]["seconds"][-1]
                moments.append(ours[: int(np.searchsorted(spent, until, side="right"))])
        tested = on_test(out, "default", ours, *moments)
        kinds = ["test", *(f"test, {moment(name)}" for name in others)]
        curves[DEFAULT][-1] |= dict(zip(kinds, tested, strict=True))
        volumes = {name: found[-1]["hypervolume"][-1] for name, found in curves.items()}
        print(f"seed {seed}: {volumes}", file=sys.stderr, flush=True)
    kept = ("target", "epochs", "preset", "space", "trials", "ours", "workers", "seeds")
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


def run(
    args: argparse.Namespace, name: str, seed: int, trials: int, options: list[str], program: str | None = None
) -> pd.DataFrame:
    """Runs a study through its command, or a program, without the features that another left; returns its trials."""
    out = args.out / f"seed-{seed}"
    table = out / name / "trials.csv"
    if table.exists() and len(pd.read_csv(table)) >= trials:
        return pd.read_csv(table)[:trials]
    shutil.rmtree(out / ".cache" / "features", ignore_errors=True)
    words = ["--target", args.target, "--data-kind", "synthetic", "--preset", args.preset, "--space", args.space]
    words += ["--trials", str(trials), "--seed", str(seed), "--study", name, "--out", str(out)]
    words += ["--epochs", str(args.epochs), "--workers", str(args.workers)]
    words += ["--tracking-uri", "none", "--quiet", *options]
    how = ["-c", program, args.space] if program else ["-m", "study.run"]
    subprocess.run([sys.executable, *how, *words], check=True, stdout=subprocess.DEVNULL)
    return pd.read_csv(table)[:trials]


def on_test(out: Path, name: str, *tables: pd.DataFrame) -> list[float]:
    """Returns the hypervolume on test images of the front of each of some tables of a study's trials.

    Validation images chose the fronts; networks that the study did not keep are trained again.
    """
    from fer import baseline
    from fer.adaptation import from_knobs
    from fer.engine import Setting, adapt, logits_on_test
    from study.config import WAYS
    from study.front import OBJECTIVES, front, hypervolume, model_name
    from study.storage import load_study
    from study.worker import build_parser, make_bench

    study = load_study(name, out, None)
    arguments = build_parser().parse_args(["--study", name, "--out", str(out)])
    setting: Setting = make_bench(study.user_attrs["study"], arguments).setting

    @functools.cache
    def accuracies(number: int, model: str) -> list[float]:
        trial = study.trials[number].user_attrs
        config = from_knobs(trial["config"])
        if (out / name / model).exists():
            network = baseline.load(out / name / model, setting.runtime).network
        else:
            again = adapt(setting, config, trial["seed"], ways=WAYS)
            networks = {model_name(number): again.network}
            networks |= {model_name(number, step.alpha, step.slope): step.network for step in again.between}
            network = networks[model]
        domains = [objective.removesuffix("_val") for objective in OBJECTIVES]
        guesses = {domain: logits_on_test(setting, config, network, domain).argmax(1) for domain in domains}
        return [float(np.mean(guesses[each] == setting.dataset(each).open_test().labels)) for each in domains]

    chosen = [front(table)[["trial", "model"]].itertuples(index=False) for table in tables]
    return [round(hypervolume([accuracies(*row) for row in rows]), 5) for rows in chosen]


def curve(table: pd.DataFrame, between: bool = True) -> dict[str, Any]:
    """Returns training seconds and hypervolume by trial, and the share of trials that were stopped."""
    from study.front import hypervolume_over_trials

    return {
        "seconds": table["seconds"].fillna(0).cumsum().round(2).tolist(),
        "hypervolume": [round(float(volume), 5) for volume in hypervolume_over_trials(table, between=between)],
        "stopped": float((table["state"] == "stopped").mean()),
    }


def figures(curves: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns what is compared, per seed: hypervolume and seconds at the end, hypervolume at the moments at which the
    default should have caught up, and the share of a search's seconds after which the default has its final
    hypervolume, infinity where it never has.
    """
    moments = {
        moment(name): [TARGETS[name] * one["seconds"][-1] for one in curves[name]] for name in TARGETS if name in curves
    }
    return {
        name: {
            "hypervolume": [one["hypervolume"][-1] for one in runs],
            **{when: [reached(*pair) for pair in zip(runs, until, strict=True)] for when, until in moments.items()},
            **{kind: [one[kind] for one in runs] for kind in runs[0] if kind.startswith("test")},
            "seconds": [one["seconds"][-1] for one in runs],
            "stopped": [round(one["stopped"], 3) for one in runs],
            "reached by the default at": [share(*pair) for pair in zip(curves[DEFAULT], runs, strict=True)],
        }
        for name, runs in curves.items()
    }


def moment(name: str) -> str:
    """Returns the words for when the default should have caught up with another search."""
    return f"after {TARGETS[name]:.0%} of the seconds of {name}"


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
    """Prints the figures; 1 if the default needs too much of another search's training time, or if its front of then
    is worse on test images than the other's at its end.
    """
    print(as_text(result))
    found = result["figures"]
    needed = {name: statistics.median(one["reached by the default at"]) for name, one in found.items()}
    lines = misses(needed.get, {name: ("at most", most) for name, most in TARGETS.items()})
    lines = [f"share of the training time, median over seeds: {line}" for line in lines]
    for name in TARGETS:
        if name in found:
            ours = statistics.median(found[DEFAULT][f"test, {moment(name)}"])
            other = statistics.median(found[name]["test"])
            if ours < other:
                lines.append(f"test images, median over seeds: {ours:g} {moment(name)}, which has {other:g} at its end")
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
