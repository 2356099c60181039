"""How many workers, of how many threads each, train the most images a second on this machine's CPU.

Measured once per machine, version of torch, network and precision, in a few seconds, and kept. More threads in one
process are usually slower than more processes, and two processes on the two threads of one core may be slower than one;
which holds here, nobody knows beforehand. `--workers N` goes by what the user says and measures nothing.
"""

import hashlib
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.files import write_atomically
from study.machine import cores, hardware, versions, worker_environment

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

SECONDS = 1.0
"""Seconds for which each pair of workers and threads is measured."""
BATCH = 32
LONGEST = 120
"""Seconds after which a measurement is given up."""


def candidates(count: int) -> list[tuple[int, int]]:
    """Returns pairs of workers and threads that may be best on so many cores, the usual one first.

    On fewer than four it is the only one: two threads of one process lost to two processes wherever that was measured.
    """
    return [(count, 1)] if count < 4 else [(count, 1), (count // 2, 1), (count // 2, 2)]


def find_or_measure(cache: Path, width: float, precision: str) -> dict[str, Any]:
    """Returns the best pair as workers and threads, and images_per_second of each pair; kept in the cache's folder."""
    about = json.dumps([hardware(), versions().get("torch"), width, precision, candidates(cores())], sort_keys=True)
    path = cache / f"calibration-{hashlib.blake2b(about.encode(), digest_size=6).hexdigest()}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or a damaged one
        fastest = choose_fastest(measure_in_processes(width, precision))

    # A measurement that failed is not kept: the next may succeed.
    if not any(fastest["images_per_second"].values()):
        return fastest
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(fastest).encode())
    return fastest


def choose_fastest(rates: dict[str, float]) -> dict[str, Any]:
    """Returns the fastest pair; the usual one, which comes first, unless another is faster by more than noise."""
    usual = next(iter(rates))
    best = max(rates, key=lambda pair: rates[pair])
    pair = best if rates[best] > 1.1 * rates[usual] else usual
    workers, threads = map(int, pair.split("x"))
    return {"workers": workers, "threads": threads, "images_per_second": rates}


def measure_in_processes(width: float, precision: str) -> dict[str, float]:
    """Measures all pairs in processes of their own; the usual pair alone, at 0, where that fails."""
    words = [sys.executable, "-m", "study.execution.autotune", str(width), str(cores()), precision]
    try:
        measured = subprocess.run(
            words, env=worker_environment(), stdout=subprocess.PIPE, text=True, check=True, timeout=LONGEST
        )
        return json.loads(measured.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError):
        return {f"{cores()}x1": 0.0}


def main(width: float, count: int, precision: str) -> dict[str, float]:
    """Returns images per second of all workers together, by pair ("2x1": two workers of one thread)."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    results = context.Queue()
    processes = []
    for number in range(count):
        arguments = (width, count, precision, number, barrier, results)
        processes.append(context.Process(target=_measure_worker, args=arguments))

    for process in processes:
        process.start()
    rates = [results.get(timeout=LONGEST) for _ in processes]
    for process in processes:
        process.join()

    # Workers that only waited add nothing to a pair.
    return {pair: round(sum(rate[pair] for rate in rates), 1) for pair in rates[0]}


def _measure_worker(width: float, count: int, precision: str, number: int, barrier: "Barrier", results: Any) -> None:
    """Trains as the worker of this number in the pairs that have so many workers, and waits in the others."""
    import torch

    from fer.model.vgg import SIZE, build
    from fer.runtime import Runtime

    runtime = Runtime("cpu", "bf16" if precision == "bf16" else "fp32")
    network = build(width, seed=number).to(memory_format=torch.channels_last).train()
    images = torch.randn(BATCH, 1, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 7

    def step() -> None:
        network.zero_grad()
        with runtime.autocast():
            logits = network(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()

    rates = {}
    for workers, threads in candidates(count):
        torch.set_num_threads(threads)
        step()
        barrier.wait(LONGEST)
        started = time.perf_counter()
        steps = 0
        while number < workers and time.perf_counter() - started < SECONDS:
            step()
            steps += 1
        seconds = time.perf_counter() - started
        rates[f"{workers}x{threads}"] = BATCH * steps / seconds if steps else 0.0
        barrier.wait(LONGEST)
    results.put(rates)


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
