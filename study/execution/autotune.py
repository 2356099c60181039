"""How many workers, of how many threads each, train the most images a second on this machine's CPU.

Measured once per machine, version of torch, network and precision, in a few seconds, and kept. More threads in one
process are usually slower than more processes, and two processes on the two threads of one core may be slower than one;
which holds here, nobody knows beforehand. `--workers N` goes by what the user says and measures nothing.
"""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.files import write_atomically
from study.machine import cores, hardware, versions, worker_environment

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

SECONDS, BATCH = 1.0, 32
LONGEST = 120


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
        found = choose_fastest(measure_in_processes(width, precision))
    if not any(found["images_per_second"].values()):  # it could not be measured now; perhaps next time
        return found
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found).encode())
    return found


def choose_fastest(rates: dict[str, float]) -> dict[str, Any]:
    """Returns the fastest pair; the usual one, which comes first, unless another is faster by more than noise."""
    usual, best = next(iter(rates)), max(rates, key=lambda pair: rates[pair])
    pair = best if rates[best] > 1.1 * rates[usual] else usual
    workers, threads = map(int, pair.split("x"))
    return {"workers": workers, "threads": threads, "images_per_second": rates}


def measure_in_processes(width: float, precision: str) -> dict[str, float]:
    """Measures all pairs in processes of their own; the usual pair alone, at 0, where that fails."""
    words = [sys.executable, "-m", "study.execution.autotune", str(width), str(cores()), precision]
    try:
        done = subprocess.run(
            words, env=worker_environment(), stdout=subprocess.PIPE, text=True, check=True, timeout=LONGEST
        )
        return json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError):
        return {f"{cores()}x1": 0.0}


def main(width: float, count: int, precision: str) -> dict[str, float]:
    """Returns images per second of all workers together, by pair ("2x1": two workers of one thread)."""
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    parts = [
        context.Process(target=_work, args=(width, count, precision, number, barrier, results))
        for number in range(count)
    ]
    for part in parts:
        part.start()
    rates = [results.get(timeout=LONGEST) for _ in parts]
    for part in parts:
        part.join()
    return {pair: round(sum(rate[pair] for rate in rates), 1) for pair in rates[0]}


def _work(width: float, count: int, precision: str, number: int, barrier: "Barrier", results: Any) -> None:
    """Is one of the workers: trains in the pairs that have that many, and waits in the others."""
    import torch

    from fer.model.vgg import SIZE, build
    from fer.runtime import Runtime

    runtime = Runtime("cpu", "bf16" if precision == "bf16" else "fp32")
    network = build(width, seed=number).to(memory_format=torch.channels_last).train()
    images = torch.randn(BATCH, 1, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels, found = torch.arange(BATCH) % 7, {}

    def step() -> None:
        network.zero_grad()
        with runtime.autocast():
            logits = network(images)
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()

    for workers, threads in candidates(count):
        torch.set_num_threads(threads)
        step()
        barrier.wait(LONGEST)
        started, steps = time.perf_counter(), 0
        while number < workers and time.perf_counter() - started < SECONDS:
            step()
            steps += 1
        found[f"{workers}x{threads}"] = BATCH * steps / (time.perf_counter() - started) if steps else 0.0
        barrier.wait(LONGEST)
    results.put(found)


if __name__ == "__main__":
    print(json.dumps(main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
