"""Trials per hour: the engine against the hand-written script, and both against the machine.

`python -m benchmarks.throughput` draws 40 configurations of the `card` space (the paper's five first, the rest at
random) and runs them in full, without early stopping, through `python -m study.run` and through
`benchmarks.idiomatic`, both with one process per core, from the same data and baseline. The script computes in fp32 and
scores both validation sets after every pass, as scripts do; to tell what the gain is made of, it runs once more in the
engine's precision, scoring at the end alone, as the engine does, and the same with the allocator settings that the
engine's parent gives its processes. The engine's feature cache is empty at first. Both keep their trials in MLflow,
unless `--tracking-uri none`.
Seconds are from the first trial's start to the last trial's end; what comes before, as the engine's first evaluation of
both validation sets, which fills their features, counts for the whole command alone.
Rounds are repeated, sides taking turns in going first; medians and ranges are over rounds. First the peak of one core
(`benchmarks.peak`): its matrix multiply, and its best convolution.
Results: benchmarks/results/throughput-DEVICE.json; with `--data`, whose real FER2013 has more validation images than
the synthetic one (3,589 instead of 625), throughput-DEVICE-data.json. `--check` compares all there are with the
targets, `--quick` runs a small part and writes nothing. What there is is written after each round.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.checking import code_in_use, misses, note_earlier_code, recorded
from benchmarks.peak import costs
from benchmarks.processes import plain, run_python, tuned
from study.machine import hardware, versions

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TARGETS = {
    "speedup": 10.0,
    "speedup_over_once": 4.0,
    "speedup_fc": 40.0,
    "full_training_share_of_convolution_peak": 0.6,
    "speedup_of_two_workers": 1.8,
}
"""The least that each figure may be on a CPU."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--target", default="tfeid")
    parser.add_argument("--data", help="real copies, one folder per dataset; without it the stand-ins")
    parser.add_argument("--baseline", help="a network file, instead of training one")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tracking-uri", help="MLflow for both sides, or none (default: an SQLite file of its own)")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    path = RESULTS / f"throughput-{args.device}{'-data' if args.data else ''}.json"
    if args.check:
        paths = sorted(RESULTS.glob(f"throughput-{args.device}*.json")) or [path]
        records = [recorded(path) for path in paths]
        return max(check(record) if record else 1 for record in records)
    if args.quick:
        args.trials = 10
        args.rounds = 1
        args.preset = "tiny"
    with tempfile.TemporaryDirectory() as temporary:
        args.tracking_uri = args.tracking_uri or f"sqlite:///{temporary}/mlflow.db"
        for result in measure(args, Path(temporary)):
            if not args.quick:
                path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["figures"], indent=1))
    return 0


def check(result: dict[str, Any]) -> int:
    """Prints each figure that falls short of its target, and what speed-up the arithmetic leaves room for."""
    setting = result["setting"]
    faces = ", ".join(f"{setting[side]['name']} ({setting[side]['kind']})" for side in ("source", "target"))
    print(f"{faces}: {result['n']} rounds on {result['hardware']['processor']}")
    note_earlier_code(result)
    limit = least_seconds(result)
    print(f"at the best convolution's speed the engine would take {limit:.0f} s, and be so many times as fast:")
    for name in (name for name in result["rounds"][0] if name.startswith("script")):
        seconds = statistics.median(sides[name]["seconds"] for sides in result["rounds"])
        print(f"  {seconds / limit:.1f} ({name}, {seconds:.0f} s)")
    lines = misses(result["figures"].get, {name: ("at least", least) for name, least in TARGETS.items()})
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


def least_seconds(result: dict[str, Any]) -> float:
    """Returns the seconds that the arithmetic of all configurations takes with every worker at the peak of a core."""
    setting = result["setting"]
    sizes = {side: setting[side]["sizes"] for side in ("source", "target")}
    validated = sum(size["validation"] for size in sizes.values())
    work = 0.0
    for config in result["configs"]:
        training, forward = costs(result["machine"]["width"])[config["frozen_layers"]]
        work += config["epochs"] * sizes["target"]["train"] * training + validated * forward
    return work / result["machine"]["convolution_gflops"] / setting["workers"]


def measure(args: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """Runs all rounds; yields after each the figures, the rounds so far and what they were measured on."""
    comparison = Comparison(args, folder)
    once = "bf16, evaluated once" if comparison.precision == "bf16" else "evaluated once"
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "engine": lambda: comparison.engine(args.workers),
        "engine, one worker": lambda: comparison.engine(1),
        "script": lambda: comparison.script("fp32", "epochs", plain()),
        f"script, {once}": lambda: comparison.script(comparison.precision, "once", plain()),
        f"script, {once}, allocator": lambda: comparison.script(comparison.precision, "once", tuned()),
    }
    machine = json.loads(
        run_python(["-m", "benchmarks.peak", str(comparison.width), comparison.precision, args.device])
    )
    rounds: list[dict[str, Any]] = []
    for number in range(args.rounds):
        # The engine begins, and draws what all run; in the next round it comes last.
        names = list(sides) if number % 2 == 0 else list(sides)[::-1]
        rounds.append({name: sides[name]() for name in names})
        say(number, rounds[-1])
        yield {
            "figures": figures(rounds, f"script, {once}", machine, comparison),
            "targets": TARGETS,
            "n": len(rounds),
            "setting": vars(args)
            | {name: bool(getattr(args, name)) for name in ("data", "baseline")}
            | {"tracking_uri": args.tracking_uri.partition(":")[0]}
            | comparison.setting()
            | comparison.tuning,
            "machine": machine | {"width": comparison.width},
            "hardware": hardware(),
            "versions": versions(),
            "measured_code": code_in_use(),
            "rounds": rounds,
            "configs": comparison.configs,
        }


def say(number: int, sides: dict[str, Any]) -> None:
    """Prints what a round took."""
    seconds = ", ".join(f"{name} {side['seconds']:.0f} s" for name, side in sides.items())
    print(f"round {number + 1}: {seconds}", file=sys.stderr, flush=True)


def figures(
    rounds: list[dict[str, Any]], once: str, machine: dict[str, float], comparison: "Comparison"
) -> dict[str, Any]:
    """Returns the medians over rounds of what is compared; ratios are formed within a round."""
    of_fc = [number for number, config in enumerate(comparison.configs) if is_fc(config)]
    full = [number for number, config in enumerate(comparison.configs) if config["frozen_layers"] == 0]

    def median(of: Callable[[dict[str, Any]], float]) -> float:
        return statistics.median(of(sides) for sides in rounds)

    def ratio(slow: str, fast: str = "engine") -> float:
        return median(lambda sides: sides[slow]["seconds"] / sides[fast]["seconds"])

    def typical(sides: dict[str, Any], name: str, numbers: list[int]) -> float:
        return statistics.median(sides[name]["trial_seconds"][number] for number in numbers)

    def total(sides: dict[str, Any], name: str, numbers: list[int]) -> float:
        return sum(sides[name]["trial_seconds"][number] for number in numbers)

    trials = len(comparison.configs)
    values = [np.array(rounds[0][side]["values"]) for side in ("engine", "script")]
    samples = comparison.samples * machine["training_gflop"] + comparison.validated * machine["forward_gflop"]
    return {
        "trials_per_hour": median(lambda sides: 3600 * trials / sides["engine"]["seconds"]),
        "trials_per_hour_script": median(lambda sides: 3600 * trials / sides["script"]["seconds"]),
        "speedup": ratio("script"),
        "speedup_over_once": ratio(once),
        "speedup_over_once_with_allocator": ratio(f"{once}, allocator"),
        "speedup_fc": median(lambda sides: typical(sides, "script", of_fc) / typical(sides, "engine", of_fc)),
        "speedup_fc_with_fill": median(lambda sides: total(sides, "script", of_fc) / total(sides, "engine", of_fc)),
        "speedup_full": median(lambda sides: typical(sides, "script", full) / typical(sides, "engine", full)),
        "speedup_fc_over_once": median(lambda sides: typical(sides, once, of_fc) / typical(sides, "engine", of_fc)),
        "speedup_full_over_once": median(lambda sides: typical(sides, once, full) / typical(sides, "engine", full)),
        "speedup_whole_command": median(
            lambda sides: sides["script"]["command_seconds"] / sides["engine"]["command_seconds"]
        ),
        "speedup_of_two_workers": ratio("engine, one worker"),
        "full_training_share_of_convolution_peak": median(
            lambda sides: samples / typical(sides, "engine", full) / machine["convolution_gflops"]
        ),
        "mean_difference_of_accuracies": (values[0] - values[1]).mean(0).tolist(),
        "spread_of_seconds": {
            name: [min(sides[name]["seconds"] for sides in rounds), max(sides[name]["seconds"] for sides in rounds)]
            for name in rounds[0]
        },
    }


def is_fc(config: dict[str, Any]) -> bool:
    """Whether a configuration trains fully connected layers only, on the target only."""
    return 10 <= config["frozen_layers"] < 13 and config["fusion_ratio"] == 0


class Comparison:
    """Data, baseline and configurations that both sides share, and how each side runs them."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.precision = "auto"
        self.record, _ = self.study("prepare", args.workers, 1)
        self.width = self.record["network"]["width"]
        self.precision = self.record["baseline"]["precision"]
        self.configs: list[dict[str, Any]] = []
        self.tuning: dict[str, int] = {}
        sizes = {side: self.record[side]["report"]["sizes"] for side in ("source", "target")}
        self.samples = self.record["budget_epochs"] * sizes["target"]["train"]
        self.validated = sum(size["validation"] for size in sizes.values())

    def setting(self) -> dict[str, Any]:
        """Returns what was measured on."""
        data = {}
        for domain in ("source", "target"):
            dataset = self.record[domain]
            data[domain] = {"name": dataset["name"], "kind": dataset["kind"], "sizes": dataset["report"]["sizes"]}
        return data

    def study(self, name: str, workers: int, trials: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Runs a study through its command; returns its record and its trials by number."""
        args = self.args
        words = ["-m", "study.run", "--target", args.target, "--trials", str(trials), "--study", name, "--rungs", "1"]
        words += ["--sampler", "random", "--no-early-stop", "--no-interpolate", "--preset", args.preset]
        words += ["--tracking-uri", args.tracking_uri, "--out", str(self.folder / "runs"), "--workers", str(workers)]
        words += ["--device", args.device, "--precision", self.precision]
        words += ["--data", args.data] if args.data else ["--data-kind", "synthetic"]
        words += ["--baseline", args.baseline] if args.baseline else []
        run_python(words, plain())
        record = json.loads((self.folder / "runs" / name / "study.json").read_text())
        return record, trials_in(str(self.folder / "runs" / name / "journal.log"), name)

    def engine(self, workers: int) -> dict[str, Any]:
        """Runs the configurations through the engine, from an empty feature cache; the first time draws them."""
        shutil.rmtree(self.folder / "runs" / ".cache" / "features", ignore_errors=True)
        shutil.rmtree(self.folder / "runs" / "engine", ignore_errors=True)
        started = time.monotonic()
        record, rows = self.study("engine", workers, self.args.trials)
        assert record["baseline"]["digest"] == self.record["baseline"]["digest"], "both sides start from one baseline"
        seconds = time.monotonic() - started
        configs = [config_of(row) for row in rows]
        if not self.configs:
            self.configs = configs
            (self.folder / "configs.json").write_text(json.dumps(configs))
            self.tuning = self.tune()
        assert configs == self.configs, "both sides run the same configurations"
        return outcome(rows, seconds)

    def tune(self) -> dict[str, int]:
        """Returns the script's fastest settings, measured in as many processes at once as there will be."""
        words = [sys.executable, *self.script_words("fp32", "once", "unused"), "--tune"]
        processes = [
            subprocess.Popen(words, **plain(), stdout=subprocess.PIPE, text=True) for _ in range(self.args.workers)
        ]
        measured = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
        fastest = {}
        for name, choices in measured[0].items():
            total = {choice: sum(seconds[name][choice] for seconds in measured) for choice in choices}
            fastest[name] = int(min(choices, key=total.__getitem__))
        return fastest

    def script_words(self, precision: str, evaluate: str, journal: str) -> list[str]:
        """Returns the command line of the hand-written script, without Python's own name."""
        cache = self.folder / "runs" / ".cache" / "datasets"
        words = ["-m", "benchmarks.idiomatic", "--configs", str(self.folder / "configs.json"), "--journal", journal]
        for side in ("source", "target"):
            words += [f"--{side}", str(cache / f"{self.record[side]['name']}-{self.record[side]['digest']}")]
        words += ["--baseline", self.record["baseline"]["file"], "--width", str(self.width)]
        words += ["--device", self.args.device, "--tracking-uri", self.args.tracking_uri]
        return [*words, "--precision", precision, "--evaluate", evaluate]

    def script(self, precision: str, evaluate: str, process: dict[str, Any]) -> dict[str, Any]:
        """Runs the configurations through the hand-written script, one process per worker.

        Args:
            precision: "fp32" or "bf16".
            evaluate: When validation images are evaluated, "epochs" or "once".
            process: Environment and folder of each process, `plain()` or `tuned()`.
        """
        journal = self.folder / f"script-{time.monotonic_ns()}.log"
        study = optuna.create_study(
            study_name="idiomatic",
            directions=["maximize"] * 2,
            storage=JournalStorage(JournalFileBackend(str(journal))),
        )
        for number in range(len(self.configs)):
            study.enqueue_trial({"config": number}, user_attrs={"listed": True})
        words = self.script_words(precision, evaluate, str(journal))
        for name, value in self.tuning.items():
            words += [f"--{name.replace('_', '-')}", str(value)]
        started = time.monotonic()
        processes = [subprocess.Popen([sys.executable, *words], **process) for _ in range(self.args.workers)]
        codes = [process.wait() for process in processes]
        if any(codes):
            raise SystemExit("the script failed; its messages are above")
        return outcome(trials_in(str(journal), "idiomatic"), time.monotonic() - started)


def outcome(rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Returns the wall time of a side's trials, first start to last end, and of its whole command."""
    spans = [(row["end"] - row["start"]).total_seconds() for row in rows]
    wall = max(row["end"] for row in rows) - min(row["start"] for row in rows)
    return {
        "seconds": wall.total_seconds(),
        "command_seconds": seconds,
        "trial_seconds": spans,
        "values": [row["values"] for row in rows],
    }


def trials_in(journal: str, study: str) -> list[dict[str, Any]]:
    """Returns the finished trials of a journal in the order they were enqueued."""
    loaded = optuna.load_study(study_name=study, storage=JournalStorage(JournalFileBackend(journal)))
    return [
        {
            "start": trial.datetime_start,
            "end": trial.datetime_complete,
            "values": trial.values,
            "config": trial.user_attrs.get("config"),
        }
        for trial in loaded.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    ]


def config_of(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the hyperparameters that the hand-written script has."""
    config = row["config"]
    names = [name for name in config if name.startswith("views_")]
    return {name: config[name] for name in ("frozen_layers", "lr", "fusion_ratio", "epochs", *names)}


if __name__ == "__main__":
    sys.exit(main())
