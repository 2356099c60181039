"""The options of a study, each declared once. Light to import: `--help` must answer at once."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from study.arguments import (
    check_dataset_name,
    check_path,
    check_storage,
    check_study_name,
    check_tracking,
    decimal,
    integer,
    is_count,
)
from study.declared_options import declared, must, option
from study.machine import check_device
from study.presets import MOST_RUNGS, PRESETS

MOST_TRIALS = 1_000_000
MOST_WORKERS = 1024
MOST_PARTS = 1000
"""Of nested cross-validation, each of which takes a whole search."""
SAMPLERS = ("tpe", "nsga2", "gp", "random", "grid")
DEFAULT_TRIALS = 200
DEFAULT_RUNGS = 3
DEFAULT_RACE = 0.3
PAPER_TRIALS = 9
"""Points of the paper's grid."""

INTERPOLATION_POINTS = ((0.5, 0.0), (0.75, 0.0), (0.0, 1.0))
"""Alphas and slopes of the interpolated networks that are evaluated beside each adapted one.

Two have one alpha for all layers (in a study of 200 trials a quarter of the adapted network never was on the front); in
the third the last layer is the adapted one and the first is the baseline's. The first is evaluated unless there is no
hope that it joins the front. The others cost as much again: they are evaluated where the first or the adapted network
joins the front.
"""

DEFAULT_TRACKING = "sqlite:///mlruns/mlflow.db"

LEVEL = 0.95
"""Confidence level of every interval that is shown."""

SEEDS = 5
"""Trainings of each network that `study.confirm` does where nobody says."""

_PURPOSES = "; ".join(f"{name}: {preset.purpose}" for name, preset in PRESETS.items())


@dataclass(frozen=True)
class StudyOptions:
    """What the user asked for; field names are those of the command line."""

    # General.

    target: str = option(
        dataclasses.MISSING, "jaffe, tfeid, mug, … or a folder under --data", metavar="NAME", everyday=True,
        check=partial(check_dataset_name, "--target"),
    )  # fmt: skip
    source: str = option(
        "fer2013", "the large dataset (default: %(default)s)", metavar="NAME", everyday=True,
        check=partial(check_dataset_name, "--source"),
    )  # fmt: skip
    trials: int | None = option(
        None, f"how many configurations are tried (default: {DEFAULT_TRIALS}; paper space: {PAPER_TRIALS})",
        parse=integer, metavar="N", resumable=True, everyday=True,
        check=must(
            f"--trials is between 1 and {MOST_TRIALS}", lambda trials: 1 <= trials <= MOST_TRIALS,
            "Give the number of configurations you want.",
        ),
    )  # fmt: skip
    force: bool = option(
        False, "go on with a study although its data or the versions of packages changed", resumable=True
    )

    # Data.

    data: str | None = option(
        None, "one folder per dataset (default: FER_DATA)", group="data", metavar="DIR", environment="FER_DATA",
        resumable=True, everyday=True, check=partial(check_path, "--data"),
    )  # fmt: skip
    data_kind: str = option(
        "auto", "auto: the real copy where it is found, else synthetic faces, and says so", group="data",
        choices=("auto", "real", "synthetic"), resumable=True,
    )  # fmt: skip
    equalise: bool = option(False, "equalise the histograms of both datasets", group="data")
    keep_duplicates: bool = option(
        False,
        "keep training images with a copy or near-copy in validation or test, and validation images with one in test",
        group="data",
    )

    # Search.

    space: str = option(
        "card",
        "card: strategy, frozen layers, learning rate, fusion ratio; full: every hyperparameter, and every known "
        "method; paper: the paper's grid",
        group="search", choices=("card", "full", "paper"), everyday=True,
    )  # fmt: skip
    sampler: str = option(
        "tpe", "Optuna's samplers; grid: all points of --space paper (default: %(default)s)", group="search",
        choices=SAMPLERS,
    )  # fmt: skip
    rungs: int | None = option(
        None,
        "how many budgets there are, each four times the one before; the best third of the configurations of each is "
        f"trained again with the next (default: {DEFAULT_RUNGS}; preset tiny and the paper's space: 1)",
        group="search", parse=integer, metavar="N", resumable=True,
        check=must(
            f"--rungs is between 1 and {MOST_RUNGS}", lambda rungs: 1 <= rungs <= MOST_RUNGS,
            "Give 1 to train every configuration once.",
        ),
    )  # fmt: skip
    early_stop: str = option(
        "on", "on: a trial that others dominate stops at half of its budget (default: %(default)s)", group="search",
        choices=("on", "off"),
    )  # fmt: skip
    rung_images: int = option(
        300,
        "validation images of each dataset that are evaluated at half of a budget, at most; 0: all "
        "(default: %(default)s)",
        group="search", parse=integer, metavar="N",
        check=must(
            "--rung-images is a number of images", lambda images: images >= 0, "Give 0 for all, or leave it out."
        ),
    )  # fmt: skip
    interpolate: str = option(
        "on", "on: networks between the baseline and each adapted one compete as well (default: %(default)s)",
        group="search", choices=("on", "off"),
    )  # fmt: skip
    tries: tuple[str, ...] = option(
        (), "a guess of yours that comes first, such as strategy=FU,lr=1e-3; may be given several times",
        group="search", flag="--try", metavar="KNOB=VALUE,…", repeatable=True, resumable=True,
    )  # fmt: skip
    warm_start: str | None = option(
        None, "the front of an earlier study comes first", group="search", metavar="STUDY", resumable=True,
        check=check_study_name,
    )  # fmt: skip
    min_retention: float = option(
        0.0, "share of the baseline's source accuracy below which no network is an answer, such as 0.9",
        group="search", parse=decimal, metavar="SHARE",
        check=must(
            "--min-retention is a share from 0 to 1", lambda share: 0 <= share <= 1, "Try 0.9, or leave it out."
        ),
    )  # fmt: skip
    reference: tuple[float, float] | None = option(
        None, "accuracies that hypervolume is measured from (default: chance)", group="search", parse=decimal,
        metavar=("SOURCE", "TARGET"), resumable=True,
        check=must(
            "--reference is two accuracies from 0 to 1",
            lambda reference: all(0 <= accuracy < 1 for accuracy in reference),
            "Leave it out for chance.",
        ),
    )  # fmt: skip
    patience: int | None = option(
        None, "end when the hypervolume has not grown for T finished trials", group="search", parse=integer,
        metavar="T", resumable=True,
        check=must(
            "--patience is a number of trials, 1 at least", lambda trials: trials >= 1,
            "Leave it out to run all trials.",
        ),
    )  # fmt: skip
    folds: int | None = option(
        None,
        "parts of the target's people, of which each trial leaves one out and is judged by it, in turn; 1: the same "
        "people judge every trial (default: from the target's people, 5 at most; preset tiny and the paper's space: 1)",
        group="search", parse=integer, metavar="K",
        check=must(
            "--folds is between 1 and 100", lambda folds: 1 <= folds <= 100,
            "Give the number of folds, or leave it out.",
        ),
    )  # fmt: skip
    race: float | None = option(
        None,
        "what training finalists on further folds and with further seeds may cost, as a share of the search's cost; "
        f"0: nothing (default: {DEFAULT_RACE:g}; preset tiny and the paper's space: 0)",
        group="search", parse=decimal, metavar="SHARE", resumable=True,
        check=must("--race is a share from 0 to 10", lambda share: 0 <= share <= 10, "Try 0.5, or leave it out."),
    )  # fmt: skip
    keep: float = option(
        0.95, "share of the baseline's source accuracy that the recommended network keeps (default: %(default)g)",
        group="search", parse=decimal, metavar="SHARE", resumable=True, everyday=True,
        check=must("--keep is a share from 0 to 1", lambda share: 0 <= share <= 1, "Try 0.95, or leave it out."),
    )  # fmt: skip
    seed: int = option(
        0, "of everything random (default: 0)", group="search", parse=integer, metavar="N", everyday=True,
        check=must("--seed is between 0 and 2**63", lambda seed: 0 <= seed < 2**63, "Give 0 or more."),
    )  # fmt: skip
    timeout: float | None = option(
        None, "start no trial after this time", group="search", parse=decimal, metavar="SECONDS", resumable=True,
        everyday=True, check=must("--timeout is positive", lambda seconds: seconds > 0, "Give seconds."),
    )  # fmt: skip
    confirm: int = option(
        0, "at the end, train the front again with K seeds and test it", group="search", parse=integer, metavar="K",
        resumable=True, everyday=True,
        check=must(
            "--confirm is a number of seeds", lambda seeds: 0 <= seeds <= 1000, "Give 5, or 0 to skip it."
        ),
    )  # fmt: skip
    outer: int | None = option(
        None,
        "nested cross-validation: divide the target's people into K parts, search K times, each time without one of "
        "the parts, and test what is recommended on it (studies NAME-outer-1 … NAME-outer-K; --trials and --timeout "
        "are of each search)",
        group="search", parse=integer, metavar="K",
        check=must(
            f"--outer is between 2 and {MOST_PARTS}", lambda parts: 2 <= parts <= MOST_PARTS,
            "Give the number of parts, or leave it out.",
        ),
    )  # fmt: skip

    # Training.

    preset: str = option(
        "auto", f"auto: paper on a GPU, else laptop. {_PURPOSES}", group="training", choices=("auto", *PRESETS),
        everyday=True,
    )  # fmt: skip
    epochs: float | None = option(
        None, "budget of a trial, in passes over the target", group="training", parse=decimal, metavar="E",
        check=must(
            "--epochs is between 0 and 100000", lambda epochs: 0 < epochs <= 100_000,
            "Leave it out for the preset's budget.",
        ),
    )  # fmt: skip
    lr: float = option(
        0.01, "learning rate of the named strategies (%(default)s)", group="training", parse=decimal,
        check=must("--lr is between 0.0001 and 0.1, as in the space", lambda lr: 1e-4 <= lr <= 1e-1, "Try 0.01."),
    )  # fmt: skip
    amount: float = option(
        1.0, "share of the target's training set, 0.5 or 1.0", group="training", parse=decimal,
        check=must("--amount is 0.5 or 1.0", lambda amount: amount in (0.5, 1.0), "Give one of them."),
    )  # fmt: skip
    baseline: str | None = option(
        None, "your own source-trained network, as safetensors", group="training", metavar="FILE",
        check=partial(check_path, "--baseline"),
    )  # fmt: skip
    baseline_epochs: int | None = option(
        None, "most passes over the source; fewer where accuracy grows no more", group="training", parse=integer,
        metavar="E",
        check=must(
            "--baseline-epochs is between 1 and 10000", lambda epochs: 1 <= epochs <= 10_000,
            "Leave it out for the preset's.",
        ),
    )  # fmt: skip
    baseline_time: float = option(
        15.0, "most time for training the baseline (default: %(default)g)", group="training", parse=decimal,
        metavar="MINUTES",
        check=must(
            "--baseline-time is between 0 and 100000", lambda minutes: 0 < minutes <= 100_000, "Give minutes."
        ),
    )  # fmt: skip
    device: str = option(
        "auto", "auto, cpu, cuda or cuda:1", group="training", everyday=True, check=check_device
    )  # fmt: skip
    precision: str = option(
        "auto",
        "auto: bf16 on a GPU, and on a CPU that trains faster with it, which is measured (default: %(default)s)",
        group="training", choices=("auto", "fp32", "bf16"),
    )  # fmt: skip
    workers: str = option(
        "auto", "processes (auto: measured, once)", group="training", metavar="N", resumable=True, everyday=True,
        check=must(
            f"--workers is auto or 1…{MOST_WORKERS}",
            lambda workers: workers == "auto" or is_count(workers, MOST_WORKERS),
            "Give a number of processes.",
        ),
    )  # fmt: skip

    # Places.

    out: str = option(
        "runs", "results and caches (default: %(default)s)", group="places", metavar="DIR", resumable=True,
        everyday=True, check=partial(check_path, "--out"),
    )  # fmt: skip
    study: str | None = option(
        None, "name of the study (default: from the options)", group="places", metavar="NAME", resumable=True,
        everyday=True, check=check_study_name,
    )  # fmt: skip
    storage: str | None = option(
        None, "any Optuna storage (default: STUDY_STORAGE, else a journal in the study's folder under --out)",
        group="places", metavar="URL", environment="STUDY_STORAGE", resumable=True, everyday=True,
        check=check_storage,
    )  # fmt: skip
    ray: str | None = option(
        None, "run the workers on this Ray cluster, or local; needs a --storage it reaches", group="places",
        metavar="ADDRESS", resumable=True, everyday=True, check=partial(check_path, "--ray"),
    )  # fmt: skip
    tracking_uri: str | None = option(
        None, f"MLflow, or none (default: MLFLOW_TRACKING_URI or {DEFAULT_TRACKING})", group="places",
        metavar="URI", resumable=True, everyday=True, check=check_tracking,
    )  # fmt: skip
    register: str | None = option(
        None, "put the front's networks in MLflow's registry under this name at the end", group="places",
        metavar="NAME", resumable=True, check=partial(check_path, "--register"),
    )  # fmt: skip

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "StudyOptions":
        """Returns the options that a study's record keeps.

        An option that is younger than the study has its default, which was the only way then; one that is gone is left
        out.
        """
        values = {"target": ""} | {name: stored[name] for name in declared(cls) if name in stored}
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = tuple(value)
        return cls(**values)

    @property
    def rung_count(self) -> int:
        """How many rungs the study has; one where that is not decided."""
        return self.rungs or 1

    @property
    def wanted(self) -> int:
        """How many configurations the study is to try."""
        if self.trials is not None:
            return self.trials
        return PAPER_TRIALS if self.space == "paper" else DEFAULT_TRIALS


RESUMABLE_OPTIONS = {name for name, declaration in declared(StudyOptions).items() if declaration.resumable}
"""Options that may change between two runs of a study without making it another study."""


def study_name(options: StudyOptions, source: str, target: str, synthetic: bool) -> str:
    """Returns the name a study gets from what it is about, unless the user names it."""
    if options.study:
        return options.study
    parts = [source, target]
    if synthetic:
        parts.append("synthetic")
    parts += [options.space, options.preset]
    if options.amount == 0.5:
        parts.append("half")
    if options.folds is not None:
        parts.append(f"folds{options.folds}")
    if options.seed != 0:
        parts.append(f"seed{options.seed}")
    return "-".join(parts)


def identity_options(options: StudyOptions) -> dict[str, Any]:
    """Returns the options that make a study what it is; a resumed study must have the same."""
    return {name: value for name, value in dataclasses.asdict(options).items() if name not in RESUMABLE_OPTIONS}


def cache_folder(out: str | Path) -> Path:
    """Returns where datasets, baselines and features are kept for all studies of an output folder."""
    return Path(out) / ".cache"
