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
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
import psutil

from benchmarks.checking import code_in_use, misses, note_earlier_code, recorded
from fer.config import AdaptationConfig
from study.execution.claim import claim_trial
from study.machine import hardware, versions
from study.storage.backend import open_storage, trials_of
from study.storage.leases import holding_lease, identity_of_process
from study.storage.slots import fill_slots
from study.trials import counted_trials

RESULTS = Path(__file__).parent / "results" / "soak.json"

LONGEST = 3600
"""Seconds for which processes wait for each other."""

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

PHASES = ("ready", "claimed", "counted", "told")
"""What simulated workers do, one after the other: at the end of each phase they wait for each other."""

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


def share_a_study(url: str, workers: int, trials: int) -> dict[str, Any]:
    """Lets processes share a study on PostgreSQL; each trial must be told once, by the process that claimed it."""
    study = optuna.create_study(study_name="many", storage=open_storage(url, Path()), directions=["maximize"] * 2)
    fill_slots(study, trials, "card", AdaptationConfig())

    # All begin at once.
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(workers + 1)
    told: Queue[list[int]] = context.Queue()
    processes = [context.Process(target=_work_on_share, args=(url, gate, told)) for _ in range(workers)]
    for process in processes:
        process.start()
    gate.wait(LONGEST)
    started = time.perf_counter()
    numbers = [number for _ in processes for number in told.get(timeout=LONGEST)]
    seconds = time.perf_counter() - started
    for process in processes:
        process.join(60)

    # An update is lost where a trial lacks what was told, or was told by nobody, or by two.
    counted = counted_trials(trials_of(study))
    right = sum(trial.user_attrs.get("told") == trial.params["x"] for trial in counted)
    told_twice = len(numbers) - len(set(numbers))
    return {
        "workers": workers,
        "trials": trials,
        "seconds": seconds,
        "asks_and_tells_per_second": trials / seconds,
        "lost_updates": (trials - right) + abs(len(numbers) - trials) + told_twice,
        "processes_failed": sum(bool(process.exitcode) for process in processes),
    }


def _work_on_share(url: str, gate: Barrier, told: "Queue[list[int]]") -> None:
    """Claims and tells trials until none is left; puts their numbers into `told`."""
    study = optuna.load_study(study_name="many", storage=open_storage(url, Path()))
    gate.wait(LONGEST)
    numbers = []
    while (trial := claim_trial(study, "random", 0)) is not None:
        tell_random_number(trial)
        numbers.append(trial.number)
    told.put(numbers)


def tell_random_number(trial: optuna.Trial) -> float:
    """Tells a trial of one hyperparameter, and writes its value as an attribute; returns the value."""
    x = trial.suggest_float("x", 0, 1)
    trial.set_user_attr("told", x)
    trial.study.tell(trial, [x, 1 - x])
    return x


def simulate_workers(url: str, workers: int, processes: int) -> dict[str, Any]:
    """Lets simulated workers each claim a trial, all hold theirs at once, and then tell them."""
    storage = open_storage(url, Path())
    study = optuna.create_study(study_name="thousand", storage=storage, directions=["maximize"] * 2)
    fill_slots(study, workers, "card", AdaptationConfig())

    # The processes, each with its share of the workers, and a thread that counts connections.
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(processes + 1)
    told: Queue[list[tuple[int, float]]] = context.Queue()
    shares = [range(workers)[start::processes] for start in range(processes)]
    crew = [context.Process(target=_take_turns, args=(url, share, gate, told)) for share in shares]
    for process in crew:
        process.start()
    connections = [0]
    ended = threading.Event()
    counter = threading.Thread(target=_count_connections, args=(url, connections, ended))
    counter.start()

    # The phases, which all enter together.
    times = {}
    held_at_once = 0
    for phase in PHASES:
        gate.wait(LONGEST)
        times[phase] = time.perf_counter()
        if phase == "claimed":
            running = [trial for trial in trials_of(study) if trial.state.name == "RUNNING"]
            held_at_once = len({trial.user_attrs["worker"]["simulated"] for trial in running})
    told_numbers = dict(pair for _ in crew for pair in told.get(timeout=LONGEST))
    for process in crew:
        process.join(60)
    ended.set()
    counter.join()

    # A trial is right that has what its worker told, in its attribute, its parameter and its objectives.
    trials = trials_of(study)
    right = 0
    for trial in counted_trials(trials):
        x = trial.params["x"]
        was_told = trial.user_attrs.get("told") == x == told_numbers.get(trial.number)
        right += was_told and trial.values == [x, 1 - x]
    return {
        "workers": workers,
        "processes": processes,
        "held_at_once": held_at_once,
        "most_connections": max(connections),
        "asks_per_second": workers / (times["claimed"] - times["ready"]),
        "tells_per_second": workers / (times["told"] - times["counted"]),
        "lost_updates": (workers - right) + abs(len(told_numbers) - workers) + abs(len(trials) - workers),
        "processes_failed": sum(bool(process.exitcode) for process in crew),
    }


def _take_turns(url: str, workers: range, gate: Barrier, told: "Queue[list[tuple[int, float]]]") -> None:
    """Claims a trial for each of some simulated workers, holds all of them, and tells them."""
    study = optuna.load_study(study_name="thousand", storage=open_storage(url, Path()))
    gate.wait(LONGEST)

    claimed = []
    for worker in workers:
        trial = claim_trial(study, "random", 0)
        if trial is not None:
            trial.set_user_attr("worker", identity_of_process() | {"simulated": worker})
            claimed.append(trial)
    gate.wait(LONGEST)

    # Meanwhile the parent counts who holds a trial.
    gate.wait(LONGEST)
    told.put([(trial.number, tell_random_number(trial)) for trial in claimed])
    gate.wait(LONGEST)


def _count_connections(url: str, counts: list[int], ended: threading.Event) -> None:
    """Notes twice a second how many connections the server has open, without the connection that asks."""
    import psycopg  # noqa: PLC0415  optional

    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        while not ended.wait(0.5):
            counts.extend(connection.execute(query).fetchone() or ())


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
