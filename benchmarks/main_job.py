"""How long the main job takes on this machine, from nothing, without data.

`python -m benchmarks.main_job` runs `python -m study.run --target tfeid --trials 200` in an empty folder, then the
same command again, then with ten trials more, and compares MLflow's runs with trials.csv. It also runs the job without
early stopping and promotions in other empty folders, with seeds 0, 1 and 2: what it takes depends on the trials that
the search draws. It writes benchmarks/results/main_job.json: every figure beside its target, medians where it is
several runs. `--check` compares the committed figures with the targets; `--quick` runs the tiny preset with twelve
trials and one seed, and writes nothing. `--keep DIR` leaves the studies in DIR.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from benchmarks.checking import code_in_use, misses, note_earlier_code, recorded
from study.machine import hardware, versions
from study.tracking.models import FILE
from study.trials import OBJECTIVES

RESULTS = Path(__file__).parent / "results" / "main_job.json"
ROOT = Path(__file__).parent.parent
TARGETS = {
    "seconds": 15 * 60,
    "seconds_to_first_trial": 2 * 60,
    "largest_process_gib": 2.0,
    "rerun_seconds": 15,
    "help_seconds": 0.5,
    "unstopped_seconds": 6 * 60,
    "unstopped_seconds_but_baseline": 4 * 60,
}
"""The most that each figure may be on two cores without a GPU."""

EXACT = {
    "configurations": 200,
    "rerun_changed_front": 0,
    "configurations_after_ten_more": 210,
    "mlflow_parents": 1,
    "mlflow_children_missing": 0,
    "mlflow_children_unlike_trials_csv": 0,
    "mlflow_networks_missing": 0,
    "unstopped_trained": 200,
}
"""What each figure must be."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.main_job", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the committed figures with the targets")
    parser.add_argument("--quick", action="store_true", help="the tiny preset; prints figures and writes nothing")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="an empty folder for the study, which stays")
    args = parser.parse_args()
    if args.check:
        result = recorded(RESULTS)
        return check(result) if result else 1
    if args.quick:
        preset, trials, seeds = "tiny", 12, 1
    else:
        preset, trials, seeds = "laptop", 200, 3
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = measure(folder, preset, trials, seeds)
    print(json.dumps(result, indent=1))
    if not args.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def check(result: dict[str, Any]) -> int:
    """Prints the figures, and each that misses its target."""
    note_earlier_code(result)
    print(json.dumps(result["figures"], indent=1))
    lines = misses(result["figures"].get, {name: ("at most", most) for name, most in TARGETS.items()})
    unlike = {name: value for name, value in EXACT.items() if result["figures"][name] != value}
    lines += [f"{name} is {result['figures'][name]}, {value} wanted" for name, value in unlike.items()]
    print("\n".join(lines) or "all targets are met")
    return int(bool(lines))


def measure(folder: Path, preset: str, trials: int, seeds: int) -> dict[str, Any]:
    """Runs the job, twice the same and once longer, then without early stopping; returns all figures.

    Args:
        folder: An empty folder.
        preset: Size of the network and of the synthetic data.
        trials: Trials of the job.
        seeds: How many jobs are run without early stopping.
    """

    def command(total: int) -> list[str]:
        return [sys.executable, "-m", "study.run", "--target", "tfeid", "--trials", str(total), "--preset", preset]

    # The job.
    figures = watch(command(trials), folder)
    (study,) = folder.glob("runs/*/study.json")
    trials_file = study.with_name("trials.csv")
    front_file = study.with_name("front.csv")
    record = json.loads(study.read_text())
    figures["baseline_seconds"] = record["baseline"]["seconds"]
    figures |= states(trials_file) | mlflow_figures(folder, trials_file)

    # The same command again, its help, and ten trials more.
    front = front_file.read_bytes()
    figures["rerun_seconds"] = timed(command(trials), folder)
    figures["rerun_changed_front"] = int(front_file.read_bytes() != front)
    figures["help_seconds"] = min(timed([*command(trials)[:3], "--help"], folder) for _ in range(5))
    timed(command(trials + 10), folder)
    figures["configurations_after_ten_more"] = states(trials_file)["configurations"]

    # Without early stopping.
    rounds = [unstopped(command(trials), folder / f"unstopped-{seed}", seed) for seed in range(seeds)]
    for name in ("unstopped_seconds", "unstopped_seconds_but_baseline"):
        figures[name] = statistics.median(job[name] for job in rounds)
    figures["unstopped_trained"] = min(job["trained"] for job in rounds)
    return {
        "command": " ".join(["python", *command(trials)[1:]]),
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
        "n": {"the job": 1, "unstopped": seeds},
        "figures": figures,
        "unstopped": rounds,
        "targets": TARGETS | EXACT,
        "baseline": {name: record["baseline"][name] for name in ("source_val", "target_val", "precision")},
    }


def unstopped(command: list[str], folder: Path, seed: int) -> dict[str, float]:
    """Runs the job without early stopping and promotions; returns its seconds, without its baseline's too, and more."""
    folder.mkdir()
    seconds = timed([*command, "--early-stop", "off", "--rungs", "1", "--seed", str(seed)], folder)
    (study,) = folder.glob("runs/*/study.json")
    baseline = json.loads(study.read_text())["baseline"]["seconds"]
    return {
        "seed": seed,
        "unstopped_seconds": seconds,
        "unstopped_seconds_but_baseline": seconds - baseline,
        "trained": states(study.with_name("trials.csv"))["trials_finished"],
        "mean_frozen_layers": frozen_layers(study.with_name("trials.csv")),
    }


def watch(command: list[str], folder: Path) -> dict[str, float]:
    """Runs a command to its end and reads its journal and the memory of all its processes twice a second."""
    started = time.monotonic()
    first = float("nan")
    largest = 0
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=sys.stderr)
    while process.poll() is None:
        journals = folder.glob("runs/*/journal.log")
        if math.isnan(first) and any('"values":[' in journal.read_text() for journal in journals):
            first = time.monotonic() - started

        parent = psutil.Process(process.pid)
        for member in [parent, *parent.children(recursive=True)]:
            try:
                largest = max(largest, member.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"the main job ended with code {process.returncode}")
    return {
        "seconds": time.monotonic() - started,
        "seconds_to_first_trial": first,
        "largest_process_gib": largest / 2**30,
    }


def timed(command: list[str], folder: Path) -> float:
    """Runs a command to its end; returns the seconds."""
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def environment() -> dict[str, str]:
    """Returns this environment without what would find real data or another MLflow."""
    left_out = ("FER_DATA", "MLFLOW_TRACKING_URI")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    return variables | {"PYTHONPATH": str(ROOT)}


def states(trials: Path) -> dict[str, float]:
    """Returns how many trials there are, on the first rung and above, and how many of each state."""
    table = pd.read_csv(trials)
    counts: dict[str, float] = {
        "trials": len(table),
        "configurations": int((table["rung"] == 1).sum()),
        "promotions": int((table["rung"] > 1).sum()),
    }
    for state, count in table["state"].value_counts().items():
        counts[f"trials_{state}"] = int(count)
    return counts


def frozen_layers(trials: Path) -> float:
    """Returns how many layers a trial had frozen on average: the more, the cheaper it was."""
    return float(pd.read_csv(trials)["frozen_layers"].mean())


def mlflow_figures(folder: Path, trials: Path) -> dict[str, float]:
    """Compares the study's runs in MLflow with its trials.csv, both objectives of every trial, and with its front."""
    import mlflow  # noqa: PLC0415  seconds, which --check does not spend

    client = mlflow.MlflowClient(f"sqlite:///{folder.resolve()}/mlruns/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=5000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("role") == "trial"]

    # Both objectives of every trial, here and there.
    table = pd.read_csv(trials).set_index("number")[OBJECTIVES]
    logged_objectives = {}
    for run in children:
        metrics = run.data.metrics
        logged_objectives[int(run.data.tags["trial"])] = [metrics.get(name, math.nan) for name in OBJECTIVES]
    in_mlflow = pd.DataFrame.from_dict(logged_objectives, "index", columns=["source", "target"])
    both = table.join(in_mlflow, how="outer").to_numpy()
    unlike = ~np.isclose(both[:, :2], both[:, 2:], rtol=0, atol=1e-9, equal_nan=True).all(1)

    # The front's networks.
    front = pd.read_csv(trials.with_name("front.csv"))["model"]
    logged = {model.tags.get(FILE) for model in client.search_logged_models(experiments)}
    return {
        "mlflow_parents": len(parents),
        "mlflow_networks_missing": sum(model not in logged for model in front),
        "mlflow_children": len(children),
        "mlflow_children_missing": len(table) - len(children),
        "mlflow_children_unlike_trials_csv": int(unlike.sum()),
    }


if __name__ == "__main__":
    sys.exit(main())
