"""The contenders of `benchmarks.real`, and how a study and the paper's five strategies are measured.

A study is the command as its user has it; only its exported files are read. `benchmarks.real_script` measures the
hand-written script.
"""

import io
import json
import subprocess
import tarfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.checking import ROOT
from benchmarks.processes import plain
from benchmarks.real_data import Places, accuracies_on_test, count_test_people, digest_of_test, open_task, setting_of
from benchmarks.real_outcomes import Outcome, Recommended, run_name
from benchmarks.real_run_log import RunLog
from fer.adaptation.methods import STRATEGIES, named
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig
from fer.files import checksum
from fer.model import weights
from fer.model.weights import Baseline
from fer.seeding import seed_from
from study.fronts import find_knee
from study.inputs import budget_epochs
from study.machine import hardware, versions
from study.pareto import hypervolume
from study.record import DOMAINS

TRIALS = 200

FACTORS = (1, 4, 16)
"""How many times the base budget the paper's five are trained with."""

ANY_NUMBER = 2000
"""Trials of a study that its time ends."""

IDLE = 0.2
"""The share by which contenders that a study's time limits get more: a study's workers wait now and then."""

OLD_COMMIT = "0af4038a0035af43484513976e85dd5168647f38"
"""The last one in which every trial of a study had one and the same budget."""


@dataclass(frozen=True)
class Contender:
    """What is measured, as its outcomes keep it: an outcome of another definition is measured again.

    Attributes:
        kind: "study", "five" or "script".
        trials: Of a study.
        options: Further options of `study.run`.
        commit: The commit whose study is run; "" is the present code.
        budget: How many times the base budget each training has.
        after: The contender whose time on processors limits this one, and which the script is compared with.
        times: How many times that time it has.
        first_division_only: Whether one division of each target suffices.
    """

    kind: str
    trials: int = 0
    options: tuple[str, ...] = ()
    commit: str = ""
    budget: int = 1
    after: str = ""
    times: float = 1
    first_division_only: bool = False

    @property
    def definition(self) -> dict[str, Any]:
        """Its JSON-able form."""
        return json.loads(json.dumps(asdict(self)))


DEFAULT = "default"
RANDOM = "random"
RANDOM_AT_4 = "random at 4"
OLD = "old"
SHORT_DEFAULT = "default of 40"
SCRIPT = "script"

_RANDOM = Contender("study", ANY_NUMBER, ("--sampler", "random"), OLD_COMMIT, after=DEFAULT, times=1 + IDLE)
"""The old study with random configurations: it does not change with the present one."""

CONTENDERS: Mapping[str, Contender] = {
    DEFAULT: Contender("study", TRIALS),
    OLD: Contender("study", TRIALS, commit=OLD_COMMIT),
    **{f"five at {factor}": Contender("five", budget=factor) for factor in FACTORS},
    RANDOM: _RANDOM,
    RANDOM_AT_4: replace(_RANDOM, budget=4, first_division_only=True),
    SHORT_DEFAULT: Contender("study", 40, first_division_only=True),
    SCRIPT: Contender("script", budget=16, after=SHORT_DEFAULT, times=10 * (1 + IDLE), first_division_only=True),
}
"""By name, in the order in which they are measured."""


@dataclass(frozen=True)
class Job:
    """One measurement.

    Attributes:
        places: What it reads and where it writes.
        target: Name of the target.
        division: Seed of the target's division.
        name: Of the contender.
        contender: Its definition.
        after: The outcome of the contender that it is limited by; None where it is not.
    """

    places: Places
    target: str
    division: int
    name: str
    contender: Contender
    after: Outcome | None = None

    @property
    def run_name(self) -> str:
        """The name of its study or folder; another one for another definition, preset or baseline."""
        parts = json.dumps([self.contender.definition, self.places.preset, self.places.baseline_digest])
        return f"{run_name(self.target, self.name, self.division)}-{checksum(parts.encode())[:6]}"

    @property
    def limit(self) -> float | None:
        """The seconds on processors that it has; None where nothing limits it."""
        return None if self.after is None else self.contender.times * self.after.processor_seconds

    def open_log(self) -> RunLog:
        """Opens the log of what was measured of it before."""
        return RunLog.open(self.places.out / "logs" / f"{self.run_name}.json", self.contender.commit[:12])

    def base_budget(self, task: AdaptationTask) -> float:
        """Returns the budget of a study's first rung, in passes over the target's training images."""
        return budget_epochs(self.places.options(self.target, self.division), len(task.target.open("train")))


def make_outcome(job: Job, task: AdaptationTask, log: RunLog, networks: dict[str, list[float]], **more: Any) -> Outcome:  # noqa: ANN401  fields of Outcome
    """Returns the outcome of a measurement that has ended.

    Args:
        job: What was measured.
        task: Baseline and data of its division.
        log: Its log.
        networks: Source and target accuracy on test images of each network, by its name.
        more: The other fields of `Outcome`.
    """
    of_baseline = accuracies_on_test(task, task.baseline)
    return Outcome(
        target=job.target,
        division=job.division,
        contender=job.name,
        definition=job.contender.definition,
        setting=setting_of(job.places, task),
        hypervolume=round(hypervolume([*networks.values(), of_baseline]), 4),
        networks=networks,
        baseline=of_baseline,
        seconds=log.seconds,
        processor_seconds=log.processor_seconds,
        test_images=len(task.target.open_test()),
        test_people=count_test_people(task),
        code=log.code,
        commits=log.commits,
        hardware=hardware(),
        versions=versions(),
        **more,
    )


# Studies.


def measure_study(job: Job) -> Outcome:
    """Runs a study, or goes on with one that was cut off, and tests the networks of its front."""
    task = open_task(job.places, job.target, job.division)
    out = job.places.out
    process = plain()
    log = job.open_log()
    if job.contender.commit:
        out = out / "old"
        process = process_of_commit(job.contender.commit, job.places.out / "code")

    # The command itself.
    out.mkdir(parents=True, exist_ok=True)
    if not log.is_complete:
        output = out / f"{job.run_name}.txt"
        log.run(["-m", "study.run", *study_words(job, task, out)], process, output, job.limit)
        if job.limit is not None:  # it was interrupted, and exports what it has
            log.run(["-m", "study.report", job.run_name, "--out", str(out.resolve())], process, output)
        log.complete()

    # The networks of its front.
    folder = out / job.run_name
    record = json.loads((folder / "study.json").read_text())
    refuse_other_images(job, task, record, out)
    front = pd.read_csv(folder / "front.csv")
    networks = {}
    for model in front["model"].dropna():
        network = weights.load_network(folder / model, task.runtime, needs_checksum=True)
        networks[model] = accuracies_on_test(task, network)

    recommended = read_recommended(front, record, networks, task)
    trials = len(pd.read_csv(folder / "trials.csv"))
    return make_outcome(job, task, log, networks, trials=trials, recommended=recommended)


def study_words(job: Job, task: AdaptationTask, out: Path) -> list[str]:
    """Returns the options of a study's command."""
    contender = job.contender
    options: dict[str, Any] = {
        "--target": job.target,
        "--data-kind": job.places.kind,
        "--baseline": job.places.baseline.resolve(),
        "--preset": job.places.preset,
        "--trials": contender.trials,
        "--seed": job.division,
        "--study": job.run_name,
        "--out": out.resolve(),
        "--workers": job.places.workers,
        "--tracking-uri": "none",
    }
    if job.places.data is not None:
        options["--data"] = job.places.data.resolve()
    if contender.budget != 1:
        options["--epochs"] = contender.budget * job.base_budget(task)
    words = [str(word) for pair in options.items() for word in pair]
    return [*words, *contender.options]


def process_of_commit(commit: str, folder: Path) -> dict[str, Any]:
    """Returns environment and folder of a process that runs the project's files of a commit, which are written once."""
    code = folder.resolve() / commit[:12]
    if not code.exists():
        partial = code.with_name(f".{code.name}.part")
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(partial, filter="data")
        partial.rename(code)
    process = plain()
    return process | {"cwd": code, "env": process["env"] | {"PYTHONPATH": str(code)}}


def refuse_other_images(job: Job, task: AdaptationTask, record: Mapping[str, Any], out: Path) -> None:
    """Ends the command where a study has other test images than the task, or another baseline."""
    if record["baseline"]["digest"] != task.baseline.digest:
        raise SystemExit(f"{job.run_name} has another baseline than {job.places.baseline}")
    for domain in DOMAINS:
        dataset = record[domain]
        folder = out / ".cache" / "datasets" / f"{dataset['name']}-{dataset['digest']}"
        if digest_of_test(folder) != digest_of_test(task.dataset(domain).folder):
            raise SystemExit(f"{job.run_name} has other test images of its {domain} than the present code")


def read_recommended(
    front: pd.DataFrame, record: Mapping[str, Any], networks: Mapping[str, list[float]], task: AdaptationTask
) -> Recommended | None:
    """Returns the network that a study recommends: the one of that role, or the knee where the front tells no roles.

    Args:
        front: The study's front.csv.
        record: The study's study.json.
        networks: Accuracies on test images by file.
        task: Whose baseline a row without a file is.
    """
    row = find_recommended(front)
    if row is None:
        return None
    has_file = isinstance(row["model"], str)
    return Recommended(
        network=row["model"] if has_file else "baseline",
        baseline=[float(record["baseline"][f"{domain}_val"]) for domain in DOMAINS],
        expected=[float(row[f"{domain}_val"]) for domain in DOMAINS],
        tested=networks[row["model"]] if has_file else accuracies_on_test(task, task.baseline),
        lower=read_bounds(row, "lower"),
        upper=read_bounds(row, "upper"),
    )


def find_recommended(front: pd.DataFrame) -> "pd.Series[Any] | None":
    """Returns the front's row of the recommended network; None where the study recommends none."""
    if "role" not in front:
        return find_knee(front)
    rows = front[front["role"] == "recommended"]
    return None if rows.empty else rows.iloc[0]


def read_bounds(row: "pd.Series[Any]", end: str) -> list[float] | None:
    """Returns one end of the intervals of both expected accuracies; None where the front has none."""
    bounds = [row.get(f"{domain}_{end}", np.nan) for domain in DOMAINS]
    return None if pd.isna(bounds).any() else [float(bound) for bound in bounds]


# The paper's five strategies.


def measure_five(job: Job) -> Outcome:
    """Trains the paper's strategies, each once, as a trial does, and tests them; a network that is there stays."""
    task = open_task(job.places, job.target, job.division)
    log = job.open_log()
    base = AdaptationConfig(epochs=job.contender.budget * job.base_budget(task))
    folder = job.places.out / job.run_name

    networks = {}
    for strategy in STRATEGIES:
        file = folder / f"{strategy}.safetensors"
        if not file.exists():
            started, processor_started = time.monotonic(), time.process_time()
            seed = seed_from("the paper's five", job.target, job.division, job.contender.budget, strategy)
            adapted = adapt(task, named(strategy, base), seed, plan=EvaluationPlan(rungs=(1.0,)))
            file.parent.mkdir(parents=True, exist_ok=True)
            weights.save_network(adapted.network, file, {"width": str(task.baseline.width)})
            log.seconds = round(log.seconds + time.monotonic() - started, 1)
            log.processor_seconds = round(log.processor_seconds + time.process_time() - processor_started, 1)
            log.save()
        network: Baseline = weights.load_network(file, task.runtime, needs_checksum=True)
        networks[strategy] = accuracies_on_test(task, network)
    log.complete()
    return make_outcome(job, task, log, networks, trials=len(STRATEGIES))
