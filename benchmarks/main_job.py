"""How long the main job takes on this machine, from nothing, without data.

`python -m benchmarks.main_job` runs `python -m study.run --target tfeid --trials 200` in an empty folder and then the
same command again, and writes benchmarks/results/main_job.json: every figure beside its target. `--check` compares
the committed figures with the targets; `--quick` runs the tiny preset, in under a minute, and writes nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "main_job.json"
ROOT = Path(__file__).parent.parent
# What the main job must show on two cores without a GPU: figure -> most it may be.
TARGETS = {
    "seconds": 15 * 60,
    "seconds_to_first_trial": 2 * 60,
    "largest_process_gib": 2.0,
    "rerun_seconds": 15,
    "help_seconds": 0.5,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.main_job", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the committed figures with the targets")
    parser.add_argument("--quick", action="store_true", help="the tiny preset; prints figures and writes nothing")
    args = parser.parse_args()
    if args.check:
        return check(json.loads(RESULTS.read_text()))
    result = measure(preset="tiny" if args.quick else "laptop", trials=12 if args.quick else 200)
    print(json.dumps(result, indent=1))
    if not args.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def check(result: dict[str, Any]) -> int:
    short = {name: most for name, most in TARGETS.items() if not result["figures"][name] <= most}
    for name, most in short.items():
        print(f"{name}: {result['figures'][name]:.4g}, should be at most {most:g}")
    return int(bool(short))


def measure(preset: str, trials: int) -> dict[str, Any]:
    from study.machine import hardware, versions

    command = [sys.executable, "-m", "study.run", "--target", "tfeid", "--trials", str(trials), "--preset", preset]
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, float] = watch(command, Path(folder))
        figures["rerun_seconds"] = timed(command, folder)
        figures["help_seconds"] = min(timed([*command[:3], "--help"], folder) for _ in range(5))
        (study,) = Path(folder).glob("runs/*/study.json")
        record = json.loads(study.read_text())
        counts = states(study.with_name("trials.csv"))
    return {
        "command": " ".join(["python", *command[1:]]),
        "hardware": hardware(),
        "versions": versions(),
        "n": 1,
        "figures": figures | {"baseline_seconds": record["baseline"]["seconds"]} | counts,
        "targets": TARGETS,
        "baseline": {name: record["baseline"][name] for name in ("source_val", "target_val", "precision")},
    }


def watch(command: list[str], folder: Path) -> dict[str, float]:
    """Runs a command to its end and looks at its journal and at all its processes twice a second."""
    import psutil

    started, first, largest = time.monotonic(), float("nan"), 0
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=sys.stderr)
    while process.poll() is None:
        if first != first and any('"values":[' in path.read_text() for path in folder.glob("runs/*/journal.log")):
            first = time.monotonic() - started
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            try:
                largest = max(largest, one.memory_info().rss)
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


def timed(command: list[str], folder: str) -> float:
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def environment() -> dict[str, str]:
    """Returns this environment without what would find real data or another MLflow."""
    kept = {name: value for name, value in os.environ.items() if name not in ("FER_DATA", "MLFLOW_TRACKING_URI")}
    return kept | {"PYTHONPATH": str(ROOT)}


def states(trials: Path) -> dict[str, float]:
    import pandas as pd

    return {f"trials_{state}": int(n) for state, n in pd.read_csv(trials)["state"].value_counts().items()}


if __name__ == "__main__":
    sys.exit(main())
