"""Real studies, end to end: the default search against random search without early stopping, on a stand-in.

`python -m benchmarks.search_real` runs `study.run` for both with several seeds, the same data and baseline and an empty
feature cache each, and writes benchmarks/results/search_real.json: the share of random search's training time after
which the default reaches the hypervolume that random search has at its end. The default is the command as it is:
named strategies first (in `full` eight, the others between free trials), early stopping, and networks on the way from
the baseline, whose cost counts; without them it is shown beside. Random search stops nothing and scores adapted
networks alone, as a plain Optuna script does; its trials come after the named strategies, or between them, which count
in a curve of their own. With `--tpe`, Optuna's own default has a study without named strategies. The target is MUG's
stand-in, whose 741 validation images leave less room for luck than the 98
of KDEF's, with a third of a pass for a budget. Some is left: the best of 200 trials is also the luckiest. So fronts are
judged on test images as well, the default's also at the moments at which it should have caught up. What was chosen by
looking at a target's studies (docs/notes.md says what) is flattered by them. `--check` compares the shares, and on
test images the hypervolumes, with their targets; `--quick` runs one seed of few trials and writes nothing. Studies in
`--out` are gone on with. `--add` keeps the other seeds of the record, for days without time for all: the shares of each
seed are of one machine, whose processor is noted.
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

from benchmarks.checking import hash_of, recorded

RESULTS = Path(__file__).parent / "results" / "search_real.json"
DEFAULT, ENDS = "the default", "the default, networks on the way not counted"
RANDOM, NAMED_FIRST, TPE = "random", "named strategies, then random", "Optuna's TPE"
SEARCHES = (DEFAULT, ENDS, RANDOM, NAMED_FIRST, TPE)
# The most of another search's training time that the default may need for its final hypervolume, median over seeds.
TARGETS = {RANDOM: 0.25, TPE: 0.5}
REPEATS = 3
SETTINGS = ("target", "epochs", "preset", "space", "trials", "ours", "workers", "code")
# What a search does is written here; records of other code are not put together.
CODE = ("study/search.py", "study/stopping.py", "study/trial.py", "search_spaces/full.py")
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
    parser.add_argument("--ours", type=int, default=200, help="of the default, the named strategies among them")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="each another draw of the stand-in")
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
        found = recorded(RESULTS)
        return check(found) if found else 1
    if args.quick:
        args.seeds, args.trials = [0], 12
        args.ours = count_named(args.space) + 12
    known = recorded(RESULTS) if args.add else None
    if known and (changed := [name for name in SETTINGS if known.get(name) != getattr(args, name)]):
        sys.exit(f"--add: the record has another {', '.join(changed)}")
    if known and (TPE in known["curves"]) != args.tpe:
        sys.exit(
            f"--add: the record is {'with' if TPE in known['curves'] else 'without'} TPE, so its new seeds must be"
        )
    result = measure(args)
    if known:
        result = together(known, result)
    print(as_text(result))
    if not args.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Runs every study, or what is missing of it, and returns the curves and what is read off them."""
    from study.machine import hardware, versions

    plain = ["--early-stop", "off", "--interpolate", "off", "--sampler"]
    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in SEARCHES if args.tpe or name != TPE}
    for seed in args.seeds:
        ours = run(args, "default", seed, args.ours, [])
        drawn = run(args, "random", seed, args.trials + count_named(args.space), [*plain, "random"])
        found = {RANDOM: drawn[~drawn["first"]][: args.trials], NAMED_FIRST: drawn[: args.trials]}
        tested = on_test(args.out / f"seed-{seed}", "random", *found.values())
        if args.tpe:
            found[TPE] = run(args, "tpe", seed, args.trials, [*plain, "tpe"], PLAIN)
            tested += on_test(args.out / f"seed-{seed}", "tpe", found[TPE])
        for (name, table), volume in zip(found.items(), tested, strict=True):
            curves[name].append(curve(table) | {"test": volume})
        both = {DEFAULT: ours, ENDS: ends_of(ours)}
        whens = {moment(name): until(name, curves[name][-1]) for name in TARGETS if name in found}
        parts = [upto(table, when) for table in both.values() for when in (float("inf"), *whens.values())]
        tested = on_test(args.out / f"seed-{seed}", "default", *parts)
        kinds = ["test", *(f"test, {when}" for when in whens)]
        for index, (name, table) in enumerate(both.items()):
            its = tested[index * len(kinds) : (index + 1) * len(kinds)]
            curves[name].append(curve(table) | dict(zip(kinds, its, strict=True)))
        volumes = {name: runs[-1]["hypervolume"][-1] for name, runs in curves.items()}
        print(f"seed {seed}: {volumes}", file=sys.stderr, flush=True)
    return {
        "hardware": hardware(), "versions": versions(), **{name: getattr(args, name) for name in SETTINGS},
        "seeds": args.seeds, "processors": [hardware()["processor"]] * len(args.seeds),
        "figures": figures(curves), "curves": curves,
    }  # fmt: skip


def together(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Returns two records of the same settings as one, in the order of seeds; the new one's replace the known one's."""
    both = {
        seed: (record["processors"][place], {name: runs[place] for name, runs in record["curves"].items()})
        for record in (known, new)
        for place, seed in enumerate(record["seeds"])
    }
    seeds = sorted(both)
    curves = {name: [both[seed][1][name] for seed in seeds] for name in known["curves"]}
    processors = [both[seed][0] for seed in seeds]
    return new | {"seeds": seeds, "processors": processors, "figures": figures(curves), "curves": curves}


def count_named(space: str) -> int:
    """Returns how many named strategies a study of a space tries, all of them among its first hundred trials."""
    from benchmarks.search_simulator import base
    from search_spaces import SPACES

    return sum(SPACES[space].slot(base(), index) != {"params": {}} for index in range(100))


def run(
    args: argparse.Namespace, name: str, seed: int, trials: int, options: list[str], program: str | None = None
) -> pd.DataFrame:
    """Runs a study through its command, or a program, without the features that another left; returns its trials.

    Column first: whether it is one of the strategies that the study tried first.
    """
    from study.storage import load_study

    out = args.out / f"seed-{seed}"
    table = out / name / "trials.csv"
    if not table.exists() or len(pd.read_csv(table)) < trials:
        shutil.rmtree(out / ".cache" / "features", ignore_errors=True)
    words = ["--target", args.target, "--data-kind", "synthetic", "--preset", args.preset, "--space", args.space]
    words += ["--trials", str(trials), "--seed", str(seed), "--study", name, "--out", str(out)]
    words += ["--epochs", str(args.epochs), "--workers", str(args.workers)]
    words += ["--tracking-uri", "none", "--quiet", *options]
    how = ["-c", program, args.space] if program else ["-m", "study.run"]
    subprocess.run([sys.executable, *how, *words], stdout=subprocess.DEVNULL, check=True)
    named = [trial.number for trial in load_study(name, out, None).trials if "named" in trial.user_attrs]
    found = pd.read_csv(table)
    return found.assign(first=found["number"].isin(named))[:trials]


def on_test(out: Path, name: str, *tables: pd.DataFrame) -> list[float]:
    """Returns the hypervolume on test images of the front of each of some tables of a study's trials.

    Validation images chose the fronts; networks that the study did not keep are trained again. How many of those have
    other accuracies on validation images than before is said.
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
    ways = WAYS if study.user_attrs["study"]["options"]["interpolate"] != "off" else ()
    again_equal: list[bool] = []

    @functools.cache
    def train(number: int) -> dict[str, Any]:
        trial = study.trials[number]
        again = adapt(setting, from_knobs(trial.user_attrs["config"]), trial.user_attrs["seed"], ways=ways)
        again_equal.append([again.measures[name] for name in OBJECTIVES] == trial.values)
        between = {model_name(number, step.alpha, step.slope): step.network for step in again.between}
        return {model_name(number): again.network} | between

    @functools.cache
    def accuracies(number: int, model: str) -> list[float]:
        config = from_knobs(study.trials[number].user_attrs["config"])
        if (out / name / model).exists():
            network = baseline.load(out / name / model, setting.runtime).network
        else:
            network = train(number)[model]
        domains = [objective.removesuffix("_val") for objective in OBJECTIVES]
        guesses = {domain: logits_on_test(setting, config, network, domain).argmax(1) for domain in domains}
        return [float(np.mean(guesses[each] == setting.dataset(each).open_test().labels)) for each in domains]

    chosen = [front(table)[["trial", "model"]].itertuples(index=False) for table in tables]
    volumes = [round(hypervolume([accuracies(*row) for row in rows]), 5) for rows in chosen]
    if again_equal:
        differ = len(again_equal) - sum(again_equal)
        print(f"{out / name}: trained again {len(again_equal)}, {differ} otherwise", file=sys.stderr, flush=True)
    return volumes


def ends_of(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table without the networks on the way to each trial's end."""
    from study.front import BETWEEN, OBJECTIVES

    between = tuple(BETWEEN.format(name, "") for name in OBJECTIVES)
    return table[[name for name in table.columns if not name.startswith(between)]]


def upto(table: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Returns the trials that ended within some seconds of training."""
    return table[spent(table) <= seconds]


def spent(table: pd.DataFrame) -> "pd.Series[float]":
    """Returns the seconds of training until each trial's end, those of trials before it included."""
    return table["seconds"].fillna(0).cumsum()


def curve(table: pd.DataFrame) -> dict[str, Any]:
    """Returns training seconds and hypervolume by trial, and the share of trials that were stopped."""
    from study.front import hypervolume_over_trials

    return {
        "seconds": spent(table).round(2).tolist(),
        "hypervolume": [round(float(volume), 5) for volume in hypervolume_over_trials(table)],
        "stopped": float((table["state"] == "stopped").mean()),
    }


def figures(curves: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns what is compared, per seed: hypervolume and seconds at the end, hypervolume at the moments at which the
    default should have caught up, and the share of a search's seconds after which the default has its final
    hypervolume, infinity where it never has.
    """
    moments = {moment(name): [until(name, one) for one in curves[name]] for name in TARGETS if name in curves}
    return {
        name: {
            "hypervolume": [one["hypervolume"][-1] for one in runs],
            **{when: [reached(*pair) for pair in zip(runs, ends, strict=True)] for when, ends in moments.items()},
            **{kind: [one[kind] for one in runs] for kind in runs[0] if kind.startswith("test")},
            "seconds": [one["seconds"][-1] for one in runs],
            "stopped": [round(one["stopped"], 3) for one in runs],
            **{
                f"reached by {mine} at": [share(*pair) for pair in zip(curves[mine], runs, strict=True)]
                for mine in (DEFAULT, ENDS, NAMED_FIRST)
                if mine in curves
            },
        }
        for name, runs in curves.items()
    }


def moment(name: str) -> str:
    """Returns the words for when the default should have caught up with another search."""
    return f"after {TARGETS[name]:.0%} of the seconds of {name}"


def until(name: str, curve: dict[str, Any]) -> float:
    """Returns the seconds by which the default should have caught up with another search."""
    return float(TARGETS[name] * curve["seconds"][-1])


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
        f"{result['workers']} workers; one figure per seed: {', '.join(map(str, result['seeds']))}; "
        f"on {', '.join(dict.fromkeys(result['processors']))}"
    ]
    for name, found in result["figures"].items():
        lines.append(f"{name}: " + "; ".join(f"{key} {values}" for key, values in found.items()))
    return "\n".join(lines)


def check(result: dict[str, Any]) -> int:
    """Prints the figures; 1 if the default needs too much of another search's training time, or if its front of then
    is worse on test images than the other's at its end.
    """
    print(as_text(result))
    found, lines = result["figures"], []
    if result.get("code") != hash_of(CODE):
        lines.append("this record is of another search than the present one")
    if len(result["seeds"]) < REPEATS:
        lines.append(f"{len(result['seeds'])} seeds, at least {REPEATS} wanted")
    for name, most in TARGETS.items():
        if name not in found or f"test, {moment(name)}" not in found[DEFAULT]:
            lines.append(f"{name}: not measured")
            continue
        needed = statistics.median(found[name]["reached by the default at"])
        if needed > most:
            lines.append(f"{name}: reached after {needed:g} of its training time, at most {most:g} wanted (medians)")
        pairs = zip(found[DEFAULT][f"test, {moment(name)}"], found[name]["test"], strict=True)
        ratio = statistics.median(ours / other for ours, other in pairs)  # seed by seed: draws are of unlike difficulty
        if ratio < 1:
            lines.append(f"test images: {moment(name)} {ratio:.3f} of what that has at its end (median)")
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
