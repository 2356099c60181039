"""How many workers, of how many threads each, train the most images a second on this machine's CPU.

Measured once per machine, version of torch, network and precision, in a few seconds, and kept. More threads in one
process are usually slower than more processes, and two processes on the two threads of one core may be slower than one;
which of these holds for a machine, only a measurement tells. With `--workers N` nothing is measured.
"""

import hashlib
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.architecture import Architecture
from fer.files import write_atomically
from study.machine import cores, hardware, versions, worker_environment

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

SECONDS = 1.0
"""Seconds for which each pair of workers and threads is measured."""
LONGEST = 120
"""Seconds after which a measurement is given up."""


def candidates(count: int) -> list[tuple[int, int]]:
    """Returns pairs of workers and threads that may be best on so many cores, the usual pair first.

    Fewer than four cores have no other: two threads of one process lost to two processes wherever that was measured.
    """
    usual = (count, 1)
    if count < 4:
        return [usual]
    return [usual, (count // 2, 1), (count // 2, 2)]


def find_or_measure(cache: Path, network: Architecture, precision: str) -> dict[str, Any]:
    """Returns what is known of this machine, or measures it and keeps it in the cache's folder.

    Args:
        cache: The folder.
        network: What trains.
        precision: "fp32" or "bf16".

    Returns:
        The best pair as workers and threads, and images_per_second by pair ("2x1": two workers of one thread).
    """
    # The file is named after all that the measurement depends on.
    conditions: list[Any] = [hardware(), versions().get("torch"), network.width, precision, candidates(cores())]
    if not network.is_paper:
        conditions.append([network.name, network.channels, network.size, network.structure])
    text = json.dumps(conditions, sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
    path = cache / f"calibration-{digest}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or a damaged one
        fastest = choose_fastest(measure_in_processes(network, precision))

    # A measurement that failed is not kept: the next may succeed.
    if not any(fastest["images_per_second"].values()):
        return fastest
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(fastest).encode())
    return fastest


def choose_fastest(rates: dict[str, float]) -> dict[str, Any]:
    """Returns the fastest pair; the usual one, which comes first, unless another is faster by more than noise.

    Args:
        rates: Images per second by pair.

    Returns:
        Workers and threads of the pair, and the rates as images_per_second.
    """
    usual = next(iter(rates))
    best = max(rates, key=lambda pair: rates[pair])
    pair = best if rates[best] > 1.1 * rates[usual] else usual
    workers, threads = map(int, pair.split("x"))
    return {"workers": workers, "threads": threads, "images_per_second": rates}


def measure_in_processes(network: Architecture, precision: str) -> dict[str, float]:
    """Measures all pairs in processes of their own; the usual pair alone, at 0, where that fails."""
    described = json.dumps(network.to_json())
    command = [sys.executable, "-m", "study.execution.autotune", described, str(cores()), precision]
    try:
        measured = subprocess.run(
            command, env=worker_environment(), stdout=subprocess.PIPE, text=True, check=True, timeout=LONGEST
        )
        return json.loads(measured.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError):
        return {f"{cores()}x1": 0.0}


def main(network: Architecture, count: int, precision: str) -> dict[str, float]:
    """Measures each pair with processes that train at once; returns images per second of all together, by pair.

    Args:
        network: What trains.
        count: The number of cores.
        precision: "fp32" or "bf16".
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    results = context.Queue()
    processes = []
    for number in range(count):
        arguments = (network, count, precision, number, barrier, results)
        processes.append(context.Process(target=_measure_worker, args=arguments))

    for process in processes:
        process.start()
    rates = [results.get(timeout=LONGEST) for _ in processes]
    for process in processes:
        process.join()

    # Workers that only waited add nothing to a pair.
    return {pair: round(sum(rate[pair] for rate in rates), 1) for pair in rates[0]}


def _measure_worker(
    network: Architecture,
    count: int,
    precision: str,
    number: int,
    barrier: "Barrier",
    results: "Queue[dict[str, float]]",
) -> None:
    """Trains in the pairs that have a worker of this number, and waits in the others.

    Args:
        network: What trains.
        count: The number of cores.
        precision: "fp32" or "bf16".
        number: This worker's number, from 0.
        barrier: Where all workers wait for each other before and after each pair.
        results: Takes this worker's images per second by pair.
    """
    # Torch is for these processes alone: a study's parent, which imports this module, starts without it.
    from study.execution.training_steps import BATCH, TrainingSteps  # noqa: PLC0415

    training = TrainingSteps(network, precision, seed=number)
    rates = {}
    for workers, threads in candidates(count):
        # The first step pays for what a process does once.
        training.use_threads(threads)
        training.step()

        barrier.wait(LONGEST)
        started = time.perf_counter()
        steps = 0
        while number < workers and time.perf_counter() - started < SECONDS:
            training.step()
            steps += 1
        seconds = time.perf_counter() - started
        rates[f"{workers}x{threads}"] = BATCH * steps / seconds if steps else 0.0
        barrier.wait(LONGEST)
    results.put(rates)


if __name__ == "__main__":
    print(json.dumps(main(Architecture.from_json(json.loads(sys.argv[1])), int(sys.argv[2]), sys.argv[3])))
