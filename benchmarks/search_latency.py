"""How long a worker waits for its next trial: claim, suggestions and tell, on a journal that holds many trials.

`python -m benchmarks.search_latency` fills a journal with ended trials of the space `full` and times more for each
sampler; medians go to benchmarks/results/search_latency.json. `--check` compares the default sampler with its target up
to 2,000 trials, `--quick` times a journal of 200 trials and writes nothing.

TPE weighs all trials again for each hyperparameter, so its time grows with the study. That is Optuna's own work:
reading the trials once for all hyperparameters of a trial (`study.storage.optuna_private.StudyView`) leaves hardly
anything else.
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

import optuna

from benchmarks.checking import code_in_use, note_earlier_code, recorded
from benchmarks.search_simulator import base
from search_spaces import suggest_adaptation
from study.execution.claim import claim_trial
from study.machine import hardware, versions
from study.options import StudyOptions
from study.storage.backend import open_storage

RESULTS = Path(__file__).parent / "results" / "search_latency.json"

SAMPLERS = ("tpe", "nsga2", "random")
SIZES = (200, 500, 2000)

TARGET = {"trials": 2000, "milliseconds": 250.0}
"""The most that the default sampler may take up to this number of trials; a trial trains for seconds."""

TOO_SLOW = 1000.0
"""Milliseconds beyond which a sampler is not timed at larger sizes."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_latency", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the committed figures with the target")
    parser.add_argument("--quick", action="store_true", help="one small journal; prints and writes nothing")
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), help="by their names in study.run")
    args = parser.parse_args()
    if args.check:
        result = recorded(RESULTS)
        return check(result) if result else 1

    result = measure(args.samplers, SIZES[:1] if args.quick else SIZES)
    print(json.dumps(result["milliseconds"], indent=1))
    if not args.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def check(result: dict[str, Any]) -> int:
    """Prints the default sampler's figures; returns 1 where they are above the target or missing."""
    note_earlier_code(result)
    name = StudyOptions.sampler
    medians = {int(size): median for size, median in result["milliseconds"].get(name, {}).items()}
    if TARGET["trials"] not in medians:
        print(f"{name} at {TARGET['trials']} trials: not measured yet")
        return 1
    for size, median in medians.items():
        print(f"{name}: {median:.0f} ms at {size} trials")
    print(f"should be at most {TARGET['milliseconds']:.0f} up to {TARGET['trials']} trials")
    slowest = max(median for size, median in medians.items() if size <= TARGET["trials"])
    return int(slowest > TARGET["milliseconds"])


def measure(samplers: list[str], sizes: tuple[int, ...]) -> dict[str, Any]:
    """Returns median milliseconds per sampler and number of trials; a sampler too slow at one size skips the next."""
    milliseconds: dict[str, dict[str, float]] = {name: {} for name in samplers}
    for size in sizes:
        for name in samplers:
            if any(median > TOO_SLOW for median in milliseconds[name].values()):
                continue
            median = latency(name, size)
            milliseconds[name][str(size)] = median
            print(f"{name} at {size}: {median:.1f} ms", file=sys.stderr, flush=True)
    return {
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
        "target": TARGET,
        "milliseconds": milliseconds,
    }


@functools.cache
def ended_trials(size: int) -> list[Any]:
    """Returns trials of the space `full` that ended, every third of them stopped."""
    memory = optuna.create_study(directions=["maximize"] * 2, sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(size):
        trial = memory.ask()
        suggest_adaptation("full", trial, base())
        if number % 3:
            memory.tell(trial, [(number * 37 % 101) / 101, (number * 53 % 97) / 97])
        else:
            memory.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return memory.trials


def latency(sampler: str, size: int, repeats: int = 15) -> float:
    """Returns the median milliseconds from claiming a trial to having told it, at a journal of some size.

    Args:
        sampler: The sampler's name, as on the command line.
        size: How many ended trials the journal holds.
        repeats: How many more trials are timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        storage = open_storage(None, Path(folder))
        study = optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)
        study.set_user_attr("study", {"options": asdict(StudyOptions("tfeid"))})
        study.add_trials(ended_trials(size))

        seconds = []
        for _ in range(repeats):
            study.enqueue_trial({})
            started = time.perf_counter()
            trial = claim_trial(study, sampler, 0)
            assert trial is not None
            suggest_adaptation("full", trial, base())
            trial.study.tell(trial, [0.5, 0.5])
            seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
