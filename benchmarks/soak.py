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
TRIALS, WORKERS, PER_WORKER = 2000, 64, 16
SIMULATED, PROCESSES, CONNECTIONS = 1000, 8, 100
PARTS = ("soak", "postgresql", "simulated")
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


def one(study: optuna.Study) -> bool:
    """Asks for a trial, suggests eight knobs, tells; False when none is left."""
    trial = claim_trial(study, "random", 0)
    if trial is None:
        return False
    with holding_lease(study, trial):
        x = [trial.suggest_float(f"x{index}", 0, 1) for index in range(8)]
        trial.set_user_attr("measures", {"source_val": x[0], "target_val": x[1]})
        trial.study.tell(trial, x[:2])
    return True


def soak(folder: Path, trials: int) -> dict[str, Any]:
    """Runs all trials in this process and looks at it before, at a tenth and at the end."""
    study = optuna.create_study(study_name="soak", storage=open_storage(None, folder), directions=["maximize"] * 2)
    me = psutil.Process()
    fill_slots(study, trials, "card", AdaptationConfig())
    seconds: list[float] = []
    tenth, at_tenth = trials // 10, me.memory_info().rss
    files, threads, children = me.num_fds(), me.num_threads(), len(me.children(recursive=True))
    started = time.perf_counter()
    while True:
        begun = time.perf_counter()
        if not one(study):
            break
        seconds.append(time.perf_counter() - begun)
        if len(seconds) == tenth:
            at_tenth = me.memory_info().rss
            files, threads, children = me.num_fds(), me.num_threads(), len(me.children(recursive=True))
    done = counted_trials(trials_of(study))
    first, last = statistics.median(seconds[:tenth]), statistics.median(seconds[-tenth:])
    return {
        "trials": trials,
        "lost": trials - len(done),
        "seconds": time.perf_counter() - started,
        "median_ms_first_tenth": 1e3 * first,
        "median_ms_last_tenth": 1e3 * last,
        "latency_growth": last / first,
        "memory_growth_kib_per_trial": (me.memory_info().rss - at_tenth) / 1024 / (trials - tenth),
        "journal_bytes_per_trial": (folder / "journal.log").stat().st_size / trials,
        "files_leaked": max(0, me.num_fds() - files),
        "threads_leaked": max(0, me.num_threads() - threads),
        "processes_leaked": max(0, len(me.children(recursive=True)) - children),
    }


def many(url: str, workers: int, trials: int) -> dict[str, Any]:
    """Lets processes share a study on PostgreSQL; every trial must have been told once, by the one that claimed it."""
    study = optuna.create_study(study_name="many", storage=open_storage(url, Path()), directions=["maximize"] * 2)
    fill_slots(study, trials, "card", AdaptationConfig())
    context = multiprocessing.get_context("spawn")
    gate, told = context.Barrier(workers + 1), context.Queue()
    processes = [context.Process(target=_share, args=(url, gate, told)) for _ in range(workers)]
    for process in processes:
        process.start()
    gate.wait(3600)
    started = time.perf_counter()
    numbers = [number for _ in processes for number in told.get(timeout=3600)]
    seconds = time.perf_counter() - started
    for process in processes:
        process.join(60)
    done = counted_trials(trials_of(study))
    right = sum(trial.user_attrs.get("told") == trial.params["x"] for trial in done)
    return {
        "workers": workers,
        "trials": trials,
        "seconds": seconds,
        "asks_and_tells_per_second": trials / seconds,
        "lost_updates": (trials - right) + abs(len(numbers) - trials) + (len(numbers) - len(set(numbers))),
        "processes_failed": sum(bool(process.exitcode) for process in processes),
    }


def _share(url: str, gate: Barrier, told: Queue) -> None:
    study = optuna.load_study(study_name="many", storage=open_storage(url, Path()))
    gate.wait(3600)
    mine = []
    while (trial := claim_trial(study, "random", 0)) is not None:
        x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("told", x)
        trial.study.tell(trial, [x, 1 - x])
        mine.append(trial.number)
    told.put(mine)


def thousand(url: str, workers: int, processes: int) -> dict[str, Any]:
    """Lets simulated workers each claim a trial, all hold theirs at once, and then tell them."""
    storage = open_storage(url, Path())
    study = optuna.create_study(study_name="thousand", storage=storage, directions=["maximize"] * 2)
    fill_slots(study, workers, "card", AdaptationConfig())
    context = multiprocessing.get_context("spawn")
    gate, told = context.Barrier(processes + 1), context.Queue()
    parts = [range(workers)[start::processes] for start in range(processes)]
    crew = [context.Process(target=_take_turns, args=(url, part, gate, told)) for part in parts]
    for process in crew:
        process.start()
    times, held = [], 0
    connections, ended = [0], threading.Event()
    watch = threading.Thread(target=_count_connections, args=(url, connections, ended))
    watch.start()
    for phase in ("ready", "claimed", "looked", "told"):
        gate.wait(3600)
        times.append(time.perf_counter())
        if phase == "claimed":
            running = [trial for trial in trials_of(study) if trial.state.name == "RUNNING"]
            held = len({trial.user_attrs["worker"]["simulated"] for trial in running})
    mine = dict(pair for _ in crew for pair in told.get(timeout=3600))
    for process in crew:
        process.join(60)
    ended.set()
    watch.join()
    done = {trial.number: trial for trial in counted_trials(trials_of(study))}
    kept = [n for n, trial in done.items() if trial.user_attrs.get("told") == trial.params["x"] == mine.get(n)]
    right = [n for n in kept if done[n].values == [done[n].params["x"], 1 - done[n].params["x"]]]
    return {
        "workers": workers,
        "processes": processes,
        "held_at_once": held,
        "most_connections": max(connections),
        "asks_per_second": workers / (times[1] - times[0]),
        "tells_per_second": workers / (times[3] - times[2]),
        "lost_updates": (workers - len(right)) + abs(len(mine) - workers) + abs(len(trials_of(study)) - workers),
        "processes_failed": sum(bool(process.exitcode) for process in crew),
    }


def _take_turns(url: str, workers: range, gate: Barrier, told: Queue) -> None:
    study = optuna.load_study(study_name="thousand", storage=open_storage(url, Path()))
    gate.wait(3600)
    held = []
    for worker in workers:
        trial = claim_trial(study, "random", 0)
        if trial is not None:
            trial.set_user_attr("worker", identity_of_process() | {"simulated": worker})
            held.append(trial)
    gate.wait(3600)
    gate.wait(3600)  # the other side looks at who holds what
    mine = []
    for trial in held:
        x = trial.suggest_float("x", 0, 1)
        trial.set_user_attr("told", x)
        trial.study.tell(trial, [x, 1 - x])
        mine.append((trial.number, x))
    told.put(mine)
    gate.wait(3600)


def _count_connections(url: str, found: list[int], ended: threading.Event) -> None:
    """Notes, again and again, how many connections the server has open, but for the one that asks."""
    import psycopg  # noqa: PLC0415  optional

    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    with psycopg.connect(url, autocommit=True) as connection:
        while not ended.wait(0.5):
            found.extend(connection.execute(query).fetchone() or ())


def measure(quick: bool) -> dict[str, Any]:
    """Runs all parts; those on a server are left out, with the reason, where there is no PostgreSQL."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from servers import Postgres, find_programs  # noqa: PLC0415  the tests' own, not installed

    part = 10 if quick else 1
    found: dict[str, Any] = {
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
        "quick": quick,
    }
    found["load"] = list(os.getloadavg())  # what else the machine was at when this began
    with tempfile.TemporaryDirectory() as folder:
        found["soak"] = soak(Path(folder) / "soak", TRIALS // part)
        programs = find_programs()
        if programs is None:
            found |= {name: {"left_out": "PostgreSQL is not installed"} for name in ("postgresql", "simulated")}
            return found
        Path(folder).chmod(0o711)
        server = Postgres(Path(folder) / "postgresql", programs, connections=4 * WORKERS)
        try:
            server.start()
            server.create()
            workers = WORKERS // (8 if quick else 1)
            found["postgresql"] = many(server.url, workers, workers * PER_WORKER)
            found["simulated"] = thousand(server.url, SIMULATED // part, PROCESSES if not quick else 2)
        finally:
            server.stop()
    return found


def failures(results: dict[str, Any]) -> list[str]:
    """Returns a line for each figure that falls short of its target."""

    def figure(name: str) -> float | None:
        part, _, rest = name.partition(".")
        return results.get(part, {}).get(rest)

    return misses(figure, TARGETS)


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare the committed results with the targets")
    parser.add_argument("--quick", action="store_true", help="a tenth of it, printed and not kept")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if args.check:
        found = recorded(RESULTS)
        if found is None:
            return 1
        note_earlier_code(found)
        print(json.dumps({name: found[name] for name in PARTS}, indent=1))
        lines = failures(found)
        print("\n".join(lines) or "all targets are met")
        return bool(lines)
    results = measure(args.quick)
    print(json.dumps({name: results[name] for name in PARTS}, indent=1))
    if not args.quick:
        RESULTS.write_text(json.dumps(results | {"targets": TARGETS}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
