"""Many workers on one PostgreSQL server, for `benchmarks.soak`: processes, and simulated ones that take turns."""

import multiprocessing
import threading
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from fer.config import AdaptationConfig
from study.execution.claim import claim_trial
from study.storage.backend import open_storage, trials_of
from study.storage.leases import identity_of_process
from study.storage.slots import fill_slots
from study.trials import counted_trials

LONGEST = 3600
"""Seconds for which processes wait for each other."""

PHASES = ("ready", "claimed", "counted", "told")
"""What simulated workers do, one after the other: at the end of each phase they wait for each other."""


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

    trials = trials_of(study)
    right = sum(has_what_was_told(trial, told_numbers.get(trial.number)) for trial in counted_trials(trials))
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


def has_what_was_told(trial: FrozenTrial, told: float | None) -> bool:
    """Returns whether a trial has what its worker told, in its attribute, its parameter and its objectives."""
    x = trial.params["x"]
    return trial.user_attrs.get("told") == x == told and trial.values == [x, 1 - x]


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
