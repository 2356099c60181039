"""The studies of `benchmarks.search_real`: run through their command, their fronts evaluated on test images."""

import argparse
import functools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial
from torch import nn

from benchmarks.search_simulator import base
from fer.adaptation.evaluation import logits_on_test
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.config import from_flat
from fer.model import weights
from search_spaces import SPACES
from search_spaces.initial_trials import InitialTrial
from study.execution.trial_context import open_trial_context
from study.fronts import front_table
from study.options import INTERPOLATION_POINTS
from study.pareto import hypervolume
from study.record import StudyRecord
from study.storage.backend import load_study
from study.trials import OBJECTIVES, model_file
from study.worker import build_parser

PLAIN = """
import sys
from search_spaces import SPACES
from search_spaces.initial_trials import InitialTrial
from study import run
SPACES[sys.argv.pop(1)].initial_trial = lambda base, index: InitialTrial()
sys.exit(run.main())
"""
"""Runs a study whose space tries no named strategies."""

SCRIPT_OPTIONS = ("--early-stop", "off", "--interpolate", "off")
"""The options with which a study does what a plain Optuna script does."""


def count_named(space: str) -> int:
    """Returns how many named strategies a study of a space tries, all of them among its first hundred trials."""
    return sum(SPACES[space].initial_trial(base(), index) != InitialTrial() for index in range(100))


def run_study(
    args: argparse.Namespace, name: str, seed: int, trials: int, options: list[str], program: str | None = None
) -> pd.DataFrame:
    """Runs a study without the features that another study left; returns its trials.

    Args:
        args: The options of this command.
        name: The study's name.
        seed: The study's seed.
        trials: The study's number of trials.
        options: Further options of `study.run`.
        program: A program that runs the study in place of `study.run`.

    Returns:
        The study's table of trials; its column "first" marks the strategies that the study tried first.
    """
    out = args.out / f"seed-{seed}"
    table = out / name / "trials.csv"
    if not table.exists() or len(pd.read_csv(table)) < trials:
        shutil.rmtree(out / ".cache" / "features", ignore_errors=True)

    study_options = {
        "--target": args.target,
        "--data-kind": "synthetic",
        "--preset": args.preset,
        "--space": args.space,
        "--trials": trials,
        "--rungs": 1,  # a script of one's own trains every configuration once
        "--seed": seed,
        "--study": name,
        "--out": out,
        "--epochs": args.epochs,
        "--workers": args.workers,
        "--tracking-uri": "none",
    }
    words = [str(word) for pair in study_options.items() for word in pair]
    start = ["-c", program, args.space] if program else ["-m", "study.run"]
    command = [sys.executable, *start, *words, *options]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    named = [trial.number for trial in load_study(name, out, None).trials if "named" in trial.user_attrs]
    trials_table = pd.read_csv(table)
    return trials_table.assign(first=trials_table["number"].isin(named))[:trials]


def train_again(
    task: AdaptationTask, trial: FrozenTrial, plan: EvaluationPlan
) -> tuple[dict[str, nn.Sequential], bool]:
    """Trains a trial of a study again.

    Returns:
        Its networks, by the files that the study would have saved them in; and whether the adapted network has the
        trial's accuracies on validation images.
    """
    adapted = adapt(task, from_flat(trial.user_attrs["config"]), trial.user_attrs["seed"], plan=plan)
    networks = {model_file(trial.number): adapted.network}
    for step in adapted.interpolated:
        networks[model_file(trial.number, step.alpha, step.slope)] = step.network
    return networks, [adapted.measures[name] for name in OBJECTIVES] == trial.values


def evaluate_fronts(out: Path, name: str, *tables: pd.DataFrame) -> list[float]:
    """Returns the hypervolume on test images of the front of each of some tables of a study's trials.

    Validation images chose the fronts; networks that the study did not save are trained again. How many of those have
    other accuracies on validation images than before is printed.

    Args:
        out: The folder of the study's folder.
        name: The study's name.
        tables: Rows of the study's table of trials.
    """
    study = load_study(name, out, None)
    record = StudyRecord.from_json(study.user_attrs["study"])
    arguments = build_parser().parse_args(["--study", name, "--out", str(out)])
    task = open_trial_context(record, arguments).task
    points = INTERPOLATION_POINTS if record.options["interpolate"] != "off" else ()
    domains = [objective.removesuffix("_val") for objective in OBJECTIVES]
    again_equal: list[bool] = []

    @functools.cache
    def networks_of(number: int) -> dict[str, nn.Sequential]:
        networks, is_equal = train_again(task, study.trials[number], EvaluationPlan(interpolation_points=points))
        again_equal.append(is_equal)
        return networks

    @functools.cache
    def test_accuracies(number: int, model: str) -> list[float]:
        """Returns the source and target accuracy of one of a trial's networks."""
        config = from_flat(study.trials[number].user_attrs["config"])
        saved = out / name / model
        network = weights.load_network(saved, task.runtime).network if saved.exists() else networks_of(number)[model]
        accuracies = []
        for domain in domains:
            predicted = logits_on_test(task, config, network, domain).argmax(1)
            labels = task.dataset(domain).open_test().labels
            accuracies.append(float(np.mean(predicted == labels)))
        return accuracies

    volumes = []
    for table in tables:
        networks = front_table(table)[["trial", "model"]].itertuples(index=False)
        accuracies = [test_accuracies(*network) for network in networks]
        volumes.append(round(hypervolume(accuracies), 5))
    if again_equal:
        differ = len(again_equal) - sum(again_equal)
        print(f"{out / name}: trained again {len(again_equal)}, {differ} otherwise", file=sys.stderr, flush=True)
    return volumes
