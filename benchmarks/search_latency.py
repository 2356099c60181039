"""How long a worker waits for its next trial: claim, all knobs and tell, on a journal that holds many trials.

`python -m benchmarks.search_latency` fills a journal with ended trials of the space `full` and times some more,
for each sampler; medians go to benchmarks/results/search_latency.json. `--check` compares the default sampler with its
target up to 2,000 trials, `--quick` times 180 trials and writes nothing.
"""

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.checking import recorded

RESULTS = Path(__file__).parent / "results" / "search_latency.json"
TARGET = {"trials": 2000, "milliseconds": 100.0}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_latency", description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--samplers", nargs="+", default=["auto", "evolution", "random", "nsga2", "tpe"])
    args = parser.parse_args()
    if args.check:
        found = recorded(RESULTS)
        return check(found) if found else 1
    from study.search import TPE_TRIALS

    # The first is where `auto` is about to leave TPE.
    result = measure(args.samplers, [TPE_TRIALS - 20] if args.quick else [TPE_TRIALS - 20, 500, 2000, 10000])
    print(json.dumps(result["milliseconds"], indent=1))
    if not args.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def check(result: dict[str, Any]) -> int:
    from study.config import StudyOptions

    name = StudyOptions.sampler
    found = {int(size): median for size, median in result["milliseconds"].get(name, {}).items()}
    if TARGET["trials"] not in found:
        print(f"{name} at {TARGET['trials']} trials: not measured yet")
        return 1
    most = max(median for size, median in found.items() if size <= TARGET["trials"])
    for size, median in found.items():
        print(f"{name}: {median:.0f} ms at {size} trials")
    print(f"should be at most {TARGET['milliseconds']:.0f} up to {TARGET['trials']} trials")
    return int(most > TARGET["milliseconds"])


def measure(samplers: list[str], sizes: list[int]) -> dict[str, Any]:
    """Returns median milliseconds per sampler and number of trials; a sampler too slow at one size skips the next."""
    from study.machine import hardware, versions

    found: dict[str, dict[str, float]] = {name: {} for name in samplers}
    for size in sizes:
        for name in samplers:
            if any(before > 1000 for before in found[name].values()):
                continue
            found[name][str(size)] = latency(name, size)
            print(f"{name} at {size}: {found[name][str(size)]:.1f} ms", file=sys.stderr, flush=True)
    return {"hardware": hardware(), "versions": versions(), "target": TARGET, "milliseconds": found}


@functools.cache
def filled(size: int) -> list[Any]:
    """Returns trials of the space `full` that ended, every third of them stopped."""
    import optuna

    from benchmarks.search_simulator import base
    from search_spaces import choose

    memory = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(size):
        trial = memory.ask()
        choose("full", trial, base())
        if number % 3:
            memory.tell(trial, [(number * 37 % 101) / 101, (number * 53 % 97) / 97])
        else:
            memory.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return memory.trials


def latency(sampler: str, size: int, more: int = 15) -> float:
    """Returns the median milliseconds from claiming a trial to having told it, at a journal of some size."""
    import optuna

    from benchmarks.search_simulator import base
    from search_spaces import choose
    from study.config import StudyOptions
    from study.search import claim
    from study.storage import open_storage

    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(
            study_name="s", storage=open_storage(None, Path(folder)), directions=["maximize"] * 2
        )
        study.set_user_attr("study", {"options": asdict(StudyOptions("tfeid"))})
        study.add_trials(filled(size))
        seconds, seen = [], {}  # what a worker keeps from one trial to the next
        for _ in range(more):
            study.enqueue_trial({})
            started = time.perf_counter()
            claimed = claim(study, sampler, 0, seen)
            assert claimed is not None
            choose("full", claimed, base())
            claimed.study.tell(claimed, [0.5, 0.5])
            seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
