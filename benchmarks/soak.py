"""What a long study leaves behind: memory, latency, files, processes; and how much many workers ask of PostgreSQL.

`python -m benchmarks.soak` writes benchmarks/results/soak.json: 2,000 trials that do nothing, through the real claim,
lease and tell on a journal, with the memory, the open files and the latency of the first and the last tenth; then 64
processes on a PostgreSQL of its own, every update counted; then 1,000 workers there that are simulated: each has an
identity of its own and holds a trial while all the others hold theirs, but they take turns in a few processes, as their
connections would outnumber what a server has. `--quick` does a tenth of it in under a minute, `--check` compares the
committed results with their targets.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil

from benchmarks.checking import code_in_use, misses, note_earlier_code, recorded
from benchmarks.soak_workers import share_a_study, simulate_workers
from fer.config import AdaptationConfig
from study.execution.claim import claim_trial
from study.machine import hardware, versions
from study.storage.backend import open_storage, trials_of
from study.storage.leases import holding_lease
from study.storage.slots import fill_slots
from study.trials import counted_trials

RESULTS = Path(__file__).parent / "results" / "soak.json"

TRIALS = 2000
"""Trials in one process, on a journal."""

WORKERS = 64
PER_WORKER = 16
"""Processes on PostgreSQL, and trials for each."""

SIMULATED = 1000
PROCESSES = 8
"""Simulated workers on PostgreSQL, and the processes in which they take turns."""

CONNECTIONS = 100
"""The most connections that a server of the usual configuration allows."""

MEASUREMENTS = ("soak", "postgresql", "simulated")
TARGETS = {
    "soak.lost": ("at most", 0),
    "soak.memory_growth_kib_per_trial": ("at most", 32.0),
    "soak.latency_growth": ("at most", 3.0),
    "soak.files_leaked": ("at most", 0),
    "soak.threads_leaked": ("at most", 0),
    "soak.processes_leaked": ("at most", 0),
    "postgresql.lost_updates": ("at most", 0),
    "postgresql.workers": ("at least", WORKERS),
    "simulated.lost_updates": ("at most", 0),
    "simulated.held_at_once": ("at least", SIMULATED),
    "simulated.most_connections": ("at most", CONNECTIONS),
}


@dataclass(frozen=True)
class Resources:
    """What this process holds at a moment.

    Attributes:
        memory: Bytes of main memory.
        files: Open files.
        threads: Threads.
        children: Processes that it started, and those that they started.
    """

    memory: int
    files: int
    threads: int
    children: int


def resources() -> Resources:
    """Returns what this process holds now."""
    process = psutil.Process()
    return Resources(
        process.memory_info().rss, process.num_fds(), process.num_threads(), len(process.children(recursive=True))
    )


def run_trial(study: optuna.Study) -> bool:
    """Claims a trial, suggests eight hyperparameters and tells it; False when none is left."""
    trial = claim_trial(study, "random", 0)
    if trial is None:
        return False
    with holding_lease(study, trial):
        x = [trial.suggest_float(f"x{index}", 0, 1) for index in range(8)]
        trial.set_user_attr("measures", {"source_val": x[0], "target_val": x[1]})
        trial.study.tell(trial, x[:2])
    return True


def soak(folder: Path, trials: int) -> dict[str, Any]:
    """Runs all trials in this process; returns what it held more at the end than after the first tenth."""
    study = optuna.create_study(study_name="soak", storage=open_storage(None, folder), directions=["maximize"] * 2)
    fill_slots(study, trials, "card", AdaptationConfig())

    # The trials.
    tenth = trials // 10
    before = resources()
    seconds: list[float] = []
    started = time.perf_counter()
    while True:
        claimed = time.perf_counter()
        if not run_trial(study):
            break
        seconds.append(time.perf_counter() - claimed)
        if len(seconds) == tenth:
            before = resources()

    # What they left behind.
    counted = counted_trials(trials_of(study))
    first = statistics.median(seconds[:tenth])
    last = statistics.median(seconds[-tenth:])
    after = resources()
    return {
        "trials": trials,
        "lost": trials - len(counted),
        "seconds": time.perf_counter() - started,
        "median_ms_first_tenth": 1e3 * first,
        "median_ms_last_tenth": 1e3 * last,
        "latency_growth": last / first,
        "memory_growth_kib_per_trial": (after.memory - before.memory) / 1024 / (trials - tenth),
        "journal_bytes_per_trial": (folder / "journal.log").stat().st_size / trials,
        "files_leaked": max(0, after.files - before.files),
        "threads_leaked": max(0, after.threads - before.threads),
        "processes_leaked": max(0, after.children - before.children),
    }


def measure(quick: bool) -> dict[str, Any]:
    """Runs all measurements; those on a server are left out, with the reason, where there is no PostgreSQL."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from servers import Postgres, find_programs  # noqa: PLC0415  the tests' own, not installed

    divisor = 10 if quick else 1
    results: dict[str, Any] = {
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
        "quick": quick,
        "load": list(os.getloadavg()),  # what else the machine was at when this began
    }
    with tempfile.TemporaryDirectory() as folder:
        results["soak"] = soak(Path(folder) / "soak", TRIALS // divisor)

        programs = find_programs()
        if programs is None:
            left_out = {"left_out": "PostgreSQL is not installed"}
            return results | {"postgresql": left_out, "simulated": left_out}

        # The server's user is another, who must be able to enter the folder.
        Path(folder).chmod(0o711)
        server = Postgres(Path(folder) / "postgresql", programs, connections=4 * WORKERS)
        try:
            server.start()
            server.create()
            workers = WORKERS // 8 if quick else WORKERS
            processes = 2 if quick else PROCESSES
            results["postgresql"] = share_a_study(server.url, workers, workers * PER_WORKER)
            results["simulated"] = simulate_workers(server.url, SIMULATED // divisor, processes)
        finally:
            server.stop()
    return results


def failures(results: dict[str, Any]) -> list[str]:
    """Returns a line for each figure that falls short of its target."""

    def figure(name: str) -> float | None:
        measurement, _, key = name.partition(".")
        return results.get(measurement, {}).get(key)

    return misses(figure, TARGETS)


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the committed results with the targets")
    parser.add_argument("--quick", action="store_true", help="a tenth of it, printed and not kept")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.check:
        record = recorded(RESULTS)
        if record is None:
            return 1
        note_earlier_code(record)
        print(json.dumps({name: record[name] for name in MEASUREMENTS}, indent=1))
        lines = failures(record)
        print("\n".join(lines) or "all targets are met")
        return bool(lines)
    results = measure(args.quick)
    print(json.dumps({name: results[name] for name in MEASUREMENTS}, indent=1))
    if not args.quick:
        RESULTS.write_text(json.dumps(results | {"targets": TARGETS}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
