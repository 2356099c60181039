"""How long a worker waits for its next trial: while configurations are tried, and while finalists race.

`python -m benchmarks.search_latency` fills studies with trials of the space `full` that ended: configurations on the
first rung, the best third of them on the second, the best third of these on the third, on five folds in turn. Each has
the answers of four networks on 4,000 source images and on its fold's 200 target images. Answers are planted, so nothing
is trained. Then further trials are claimed and told as by a worker, on a journal and on SQLite, and timed; medians go
to benchmarks/results/search_latency.json. `--check` compares the record with its targets, `--quick` times few
configurations and writes nothing.

While configurations are tried, a claim looks for promotions and asks TPE, which weighs all trials again for each
hyperparameter. In a race nobody is asked: a claim decides from all answers so far which training decides most.
"""

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from benchmarks.checking import check_figures, code_in_use, recorded
from benchmarks.processes import run_python
from fer.config import AdaptationConfig
from search_spaces import suggest_adaptation
from study.execution.claim import claim_trial
from study.machine import hardware, versions
from study.options import INTERPOLATION_POINTS, StudyOptions
from study.search_options import DEFAULT_RACE, DEFAULT_RUNGS
from study.storage.backend import open_storage, trials_of
from study.storage.slots import Place, fill_slots, is_of_search, place_of
from study.trial_attributes import write_attributes
from study.trials import INTERPOLATED_COLUMN, interpolation_name
from study.tuning.answers import SourceImages, TargetImages
from study.tuning.plan import SearchPlan
from study.tuning.stored_answers import ValidationImages, pack_answers

RESULTS = Path(__file__).parent / "results" / "search_latency.json"

SPACE = "full"
FOLDS = 5
SOURCE_IMAGES = 4000
TARGET_IMAGES = 1000
PEOPLE = 50
POINTS = ((1.0, 0.0), *INTERPOLATION_POINTS)
"""Interpolation points of a trial's networks; a real trial often leaves some unevaluated, so this is the most."""

SIZES = (200,)
QUICK_SIZES = (30,)
REPEATS = 15
"""Trials that are timed."""

STORAGES: dict[str, Callable[[Path], str | None]] = {
    "journal": lambda folder: None,
    "sqlite": lambda folder: f"sqlite:///{folder}/study.db",
}
"""What --storage says, given a folder."""

STAGES = ("search", "race")

TARGETS = {
    "200 configurations, journal, search: claim": ("at most", 0.25),
    "200 configurations, sqlite, search: claim": ("at most", 0.25),
    "200 configurations, journal, race: claim": ("at most", 2.5),
    "200 configurations, sqlite, race: claim": ("at most", 2.5),
}
"""CPU seconds. A training takes seconds on the first rung, and sixteen times as many on the third."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_latency", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the committed figures with the targets")
    parser.add_argument("--quick", action="store_true", help="few configurations; prints and writes nothing")
    parser.add_argument("--measure", nargs=3, metavar=("SIZE", "STORAGE", "STAGE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.check:
        result = recorded(RESULTS)
        return check_figures(result, TARGETS) if result else 1
    if args.measure:
        size, storage, stage = args.measure
        print(json.dumps(time_trials(int(size), storage, stage)))
        return 0

    result = measure(QUICK_SIZES if args.quick else SIZES)
    print(json.dumps(result["figures"], indent=1))
    if not args.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def measure(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Returns the record: medians per number of configurations, storage and stage."""
    figures: dict[str, float] = {}
    for size in sizes:
        for storage in STORAGES:
            for stage in STAGES:
                # A process of its own, with a worker's single thread.
                line = run_python(["-m", "benchmarks.search_latency", "--measure", str(size), storage, stage])
                medians = json.loads(line)
                print(f"{size} configurations, {storage}, {stage}: {medians}", file=sys.stderr, flush=True)
                figures |= {f"{size} configurations, {storage}, {stage}: {name}": medians[name] for name in medians}
    return {"hardware": hardware(), "versions": versions(), "measured_code": code_in_use(), "figures": figures}


# Planted answers.


@functools.cache
def plant_images() -> ValidationImages:
    """Returns the images of a made target and a made source, with the baseline's answers on them."""
    rng = np.random.default_rng(0)
    subjects = np.sort(np.arange(TARGET_IMAGES) % PEOPLE)
    target = TargetImages(
        labels=rng.integers(0, 7, TARGET_IMAGES),
        subjects=subjects,
        folds=subjects % FOLDS,
        baseline_right=rng.random(TARGET_IMAGES) < 0.5,
    )
    source = SourceImages(rng.integers(0, 7, SOURCE_IMAGES), rng.random(SOURCE_IMAGES) < 0.65)
    return ValidationImages(target, source)


def plant_answers(place: Place) -> dict[str, dict[str, np.ndarray]]:
    """Returns, by interpolation point and domain, on which images each network of a training is right.

    A network answers as the baseline does but for a share of the images, which grows with the strength of its
    configuration and on higher rungs. It is right on most of these images of the target and wrong on most of those of
    the source.
    """
    images = plant_images()
    strength = np.random.default_rng(place.slot).random()
    rng = np.random.default_rng(tuple(place))
    of_fold = images.target.baseline_right[images.target.images_of(place.fold)]

    answers = {}
    for alpha, slope in POINTS:
        changed = strength * (alpha + slope / 2) * (0.7 + 0.1 * place.rung)
        answers[interpolation_name(alpha, slope)] = {
            "target": _change_answers(of_fold, 0.6 * changed, 0.75, rng),
            "source": _change_answers(images.source.baseline_right, 0.4 * changed**2, 0.2, rng),
        }
    return answers


def _change_answers(right: np.ndarray, share: float, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    """Returns answers (n,) of which a share is drawn again, right with a probability of `accuracy`."""
    is_drawn = rng.random(len(right)) < share
    drawn = rng.random(len(right)) < accuracy
    return np.where(is_drawn, drawn, right)


# Studies.


def make_plan() -> SearchPlan:
    """Returns the plan of a default study on five folds."""
    return SearchPlan(rungs=DEFAULT_RUNGS, race_share=DEFAULT_RACE, reference=(1 / 7, 1 / 7), images=plant_images())


@dataclass(frozen=True)
class Seconds:
    """What one trial took.

    Attributes:
        claim: Seconds from asking for a trial to knowing its hyperparameters.
        claim_cpu: The same, of this process's CPU time.
        tell: Seconds of storing its answers and telling its end.
    """

    claim: float
    claim_cpu: float
    tell: float


def run_trial(study: optuna.Study, sampler: str, plan: SearchPlan) -> tuple[optuna.Trial, Seconds] | None:
    """Claims a trial and ends it with planted answers, or returns None where no trial is left."""
    started, started_cpu = time.perf_counter(), time.process_time()
    trial = claim_trial(study, sampler, 0, plan)
    if trial is None:
        return None
    strategy, _ = suggest_adaptation(SPACE, trial, AdaptationConfig())
    claimed, claimed_cpu = time.perf_counter(), time.process_time()

    answers = plant_answers(place_of(trial))
    planted = time.perf_counter()
    tell(trial, strategy, answers)
    told = time.perf_counter()
    return trial, Seconds(claimed - started, claimed_cpu - started_cpu, told - planted)


def tell(trial: optuna.Trial, strategy: str, answers: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Stores a trial's answers and what follows from them as a worker does, and ends it."""
    packed = {}
    measures = {}
    for point, by_domain in answers.items():
        packed[point] = {domain: pack_answers(right) for domain, right in by_domain.items()}
        for domain, right in by_domain.items():
            objective = f"{domain}_val"
            is_end = point == interpolation_name(1.0, 0.0)
            name = objective if is_end else INTERPOLATED_COLUMN.format(objective, point)
            measures[name] = float(right.mean())
    write_attributes(trial, strategy=strategy, measures=measures, answers=packed)
    trial.study.tell(trial, [measures["source_val"], measures["target_val"]])


def make_ended_trials(size: int) -> list[FrozenTrial]:
    """Returns the trials of a study whose configurations and promotions have ended, and whose race has not begun."""
    study = optuna.create_study(directions=["maximize"] * 2)
    plan = make_plan()
    fill_slots(study, size, SPACE, AdaptationConfig(), fold_of_slot=plan.first_fold)
    while (ended := run_trial(study, "random", plan)) is not None:
        trial, _ = ended
        if not is_of_search(trial):
            break
    return [trial for trial in trials_of(study) if is_of_search(trial)]


def time_trials(size: int, storage_name: str, stage: str) -> dict[str, float]:
    """Returns medians over further trials of a study whose configurations and promotions have ended.

    Args:
        size: The number of its configurations.
        storage_name: One of STORAGES.
        stage: "race", or "search": then configurations are added, which are tried first.

    Returns:
        Seconds of `Seconds`, the longest claim's CPU seconds, and how many trials the study had and were timed.
    """
    plan = make_plan()
    ended_trials = make_ended_trials(size)
    with tempfile.TemporaryDirectory() as folder:
        url = STORAGES[storage_name](Path(folder))
        study = optuna.create_study(
            study_name="s", storage=open_storage(url, Path(folder)), directions=["maximize"] * 2
        )
        study.set_user_attr("study", {"options": asdict(StudyOptions("tfeid"))})
        study.add_trials(ended_trials)
        if stage == "search":
            fill_slots(study, size + REPEATS, SPACE, AdaptationConfig(), fold_of_slot=plan.first_fold)

        timed: list[Seconds] = []
        while len(timed) < REPEATS and (ended := run_trial(study, StudyOptions.sampler, plan)) is not None:
            trial, seconds = ended
            if is_of_search(trial) != (stage == "search"):
                break
            timed.append(seconds)
    return {
        "claim": statistics.median(seconds.claim_cpu for seconds in timed),
        "longest claim": max(seconds.claim_cpu for seconds in timed),
        "claim by the clock": statistics.median(seconds.claim for seconds in timed),
        "tell by the clock": statistics.median(seconds.tell for seconds in timed),
        "trials before": float(len(ended_trials)),
        "trials timed": float(len(timed)),
    }


if __name__ == "__main__":
    sys.exit(main())
