"""Does the search's answer hold on test images of real faces?

`python -m benchmarks.real --data DIR` runs studies from FER2013 to each target, once per contender and division of the
target's people into test and rest (`--divisions`, seeds of studies), all from one baseline. Then it evaluates, on test
images, the networks of each study's front as they were saved, and the baseline. Nothing chooses by these images. It
writes benchmarks/results/real.json; `--check` compares the record with its targets. Studies are kept in `--out` and
resumed, so that a run that was cut off goes on.

Decisions about the search are to be made on other divisions than those whose figures are quoted: `--divisions 1 2 3`
are quoted, 11 and above are free.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.checking import code_in_use, misses, note_earlier_code, recorded
from benchmarks.processes import ROOT
from fer.adaptation.evaluation import logits_on_test
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig
from fer.model import weights
from fer.model.weights import Baseline
from study.execution.trial_context import open_trial_context
from study.fronts import find_recommended, front_table
from study.machine import hardware, versions
from study.pareto import hypervolume
from study.record import DOMAINS, StudyRecord
from study.storage.backend import load_study
from study.worker import build_parser

RESULTS = Path(__file__).parent / "results" / "real.json"
CONTENDERS = {
    "default": (),
    "one budget": ("--rungs", "1"),
}
"""The options of `study.run` that each kind of study adds."""

GAIN = 1.15
"""How much larger the default's hypervolume on test images is to be than that of studies of one budget."""


@dataclass(frozen=True)
class Outcome:
    """What a study's front is worth on test images.

    Attributes:
        target: Name of the target.
        contender: Of CONTENDERS.
        division: The study's seed, by which people fall to test and the rest.
        trials: Ended trials, promotions included.
        seconds: That the command took, without the baseline's training.
        hypervolume: From chance, of the front's networks and the baseline, on test images.
        front: Source and target accuracy of each of the front's networks on test images, by its file.
        expected: Source and target accuracy of the recommended network on validation images; None where there is none.
        recommended: The same on test images.
        baseline: Source and target accuracy of the baseline on test images.
        test_images: Target's test images.
        test_people: People whom they show.
    """

    target: str
    contender: str
    division: int
    trials: int
    seconds: float
    hypervolume: float
    front: dict[str, list[float]]
    expected: list[float] | None
    recommended: list[float] | None
    baseline: list[float]
    test_images: int
    test_people: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the committed figures with the targets")
    parser.add_argument("--data", type=Path, help="one folder per dataset")
    parser.add_argument("--targets", nargs="+", default=["jaffe", "ck+48"], help="(default: %(default)s)")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--divisions", nargs="+", type=int, default=[1, 2, 3], help="seeds (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=200, help="of each study (default: %(default)s)")
    parser.add_argument("--baseline", type=Path, help="a source-trained network; without it, the first study trains it")
    parser.add_argument("--out", type=Path, default=Path("runs-real"), help="keeps the studies (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="write the record")
    args = parser.parse_args()
    if args.check:
        result = recorded(RESULTS)
        return check(result) if result else 1
    if args.data is None:
        parser.error("--data is needed to measure")

    outcomes = []
    baseline = args.baseline
    for target in args.targets:
        for division in args.divisions:
            for contender in args.contenders:
                name = run_study(args, target, contender, division, baseline)
                outcome = evaluate(args, target, contender, division, name)
                print(json.dumps({key: value for key, value in asdict(outcome).items() if key != "front"}), flush=True)
                outcomes.append(outcome)
                baseline = baseline or Path(record_of(args.out, name).baseline.file)

    result = summarise(outcomes)
    print(json.dumps(result["figures"], indent=1))
    if args.write:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def run_study(args: argparse.Namespace, target: str, contender: str, division: int, baseline: Path | None) -> str:
    """Runs a study, or goes on with one that was cut off; returns its name, beside whose folder its seconds stand."""
    name = f"{target}-{contender}-{division}".replace(" ", "-").replace("+", "")
    words = ["--target", target, "--data", args.data, "--data-kind", "real", "--trials", args.trials, "--study", name]
    words += ["--seed", division, "--out", args.out, "--tracking-uri", "none", *CONTENDERS[contender]]
    if baseline is not None:
        words += ["--baseline", baseline]

    seconds_file = args.out / f"{name}.seconds"
    if seconds_file.exists():
        return name
    started = time.monotonic()
    command = [sys.executable, "-m", "study.run", *map(str, words)]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    seconds_file.write_text(str(round(time.monotonic() - started, 1)))
    return name


def record_of(out: Path, name: str) -> StudyRecord:
    """Returns a study's record."""
    return StudyRecord.from_json(load_study(name, out, None).user_attrs["study"])


def evaluate(args: argparse.Namespace, target: str, contender: str, division: int, name: str) -> Outcome:
    """Evaluates the networks on a study's front, and its baseline, on test images."""
    record = record_of(args.out, name)
    places = build_parser().parse_args(["--study", name, "--out", str(args.out), "--data", str(args.data)])
    task = open_trial_context(record, places).task

    # The networks on the front, as the study saved them.
    table = pd.read_csv(args.out / name / "trials.csv")
    front = front_table(table)
    accuracies = {}
    for model in front["model"]:
        network = weights.load_network(args.out / name / model, task.runtime, needs_checksum=True)
        accuracies[model] = test_accuracies(task, network)
    of_baseline = test_accuracies(task, task.baseline)

    # The recommended one: what validation says, and what test images say.
    knee = find_recommended(front)
    expected = None if knee is None else [float(knee[f"{domain}_val"]) for domain in DOMAINS]
    recommended = None if knee is None else accuracies[knee["model"]]

    test = task.target.open_test()
    return Outcome(
        target=target,
        contender=contender,
        division=division,
        trials=len(table),
        seconds=float((args.out / f"{name}.seconds").read_text()),
        hypervolume=round(hypervolume([*accuracies.values(), of_baseline]), 4),
        front=accuracies,
        expected=expected,
        recommended=recommended,
        baseline=of_baseline,
        test_images=len(test),
        test_people=len(np.unique(test.subjects)),
    )


def test_accuracies(task: AdaptationTask, network: Baseline) -> list[float]:
    """Returns a network's source and target accuracy on test images."""
    accuracies = []
    for domain in DOMAINS:
        labels = task.dataset(domain).open_test().labels
        predicted = logits_on_test(task, AdaptationConfig(), network.network, domain).argmax(1)
        accuracies.append(round(float(np.mean(predicted == labels)), 4))
    return accuracies


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Returns the record: every outcome, and by target and contender the mean over divisions."""
    figures: dict[str, Any] = {}
    for target in dict.fromkeys(outcome.target for outcome in outcomes):
        for contender in dict.fromkeys(outcome.contender for outcome in outcomes):
            chosen = [one for one in outcomes if (one.target, one.contender) == (target, contender)]
            if chosen:
                means = summarise_divisions(chosen)
                figures |= {f"{target}, {contender}: {name}": value for name, value in means.items()}

        # How much larger the default's hypervolume is than that of one budget.
        default = figures.get(f"{target}, default: hypervolume")
        one_budget = figures.get(f"{target}, one budget: hypervolume")
        if default and one_budget:
            figures[f"{target}: gain"] = round(default / one_budget, 3)
    return {
        "figures": figures,
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
    }


def summarise_divisions(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Returns means over divisions of one target and contender, and the spread of the hypervolume."""
    volumes = [outcome.hypervolume for outcome in outcomes]
    figures = {
        "divisions": len(outcomes),
        "hypervolume": round(statistics.mean(volumes), 4),
        "hypervolume, least": min(volumes),
        "hypervolume, most": max(volumes),
        "seconds": round(statistics.mean(outcome.seconds for outcome in outcomes)),
    }

    # How far the recommended network is from what validation said, in points.
    tested = [(one.expected, one.recommended) for one in outcomes if one.expected and one.recommended]
    for index, domain in enumerate(DOMAINS):
        differences = [100 * (recommended[index] - expected[index]) for expected, recommended in tested]
        figures[f"recommended, {domain}: test less validation, points"] = round(statistics.mean(differences), 1)
        figures[f"recommended, {domain}"] = round(statistics.mean(one[index] for _, one in tested), 4)
        figures[f"baseline, {domain}"] = round(statistics.mean(one.baseline[index] for one in outcomes), 4)
    return figures


def check(result: dict[str, Any]) -> int:
    """Prints the figures, and each that misses its target."""
    note_earlier_code(result)
    print(json.dumps(result["figures"], indent=1))
    gains = {name: ("at least", GAIN) for name in result["figures"] if name.endswith(": gain")}
    lines = misses(result["figures"].get, gains)
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
