"""The options of a study and its presets. Light to import: `--help` must answer at once."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fer.errors import InputError

if TYPE_CHECKING:
    pass

import argparse
from typing import TYPE_CHECKING

from study.arguments import Parser, integer

if TYPE_CHECKING:
    pass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from study.arguments import (
    check_dataset_name,
    check_device,
    check_path,
    check_storage,
    check_study_name,
    check_threads,
    check_tracking,
    decimal,
    from_environment,
    is_count,
)
from study.interrupts import INTERRUPTED as INTERRUPTED

# Of a worker that could not go on and neither could the next, on a full disk or without its storage.
STUCK = 3
# Of a worker whose device had too little memory beside the others.
CROWDED = 4
MOST_WORKERS = 1024
SAMPLERS = ("tpe", "nsga2", "gp", "random", "grid")
# Alphas and slopes of the networks on the way from the baseline that are scored as well: two along the straight way (in
# a study of 200 trials a quarter of it never was on the front), and one whose last layer is the adapted one and whose
# first is the baseline's. The first is scored unless there is no hope that it leads; the others cost as much again, and
# lead where it leads or the adapted network does.
INTERPOLATION_POINTS = ((0.5, 0.0), (0.75, 0.0), (0.0, 1.0))
DEFAULT_TRACKING = "sqlite:///mlruns/mlflow.db"


@dataclass(frozen=True)
class Preset:
    """Sizes that go together.

    Attributes:
        width: Of the network; 1.0 is the paper's 19.18 M parameters.
        baseline_epochs: Passes over the source's training set.
        baseline_processes: Among which a CPU divides the baseline's training; starting a second takes seconds.
        images: Budget of an adaptation: how many training images it draws, rounded to whole passes over the target's
            training set, and two passes at least.
        stand_in: Factor on the stand-in's number of images.
        purpose: One line for --help.
    """

    width: float
    baseline_epochs: int
    baseline_processes: int
    images: int
    stand_in: float
    purpose: str


PRESETS: Mapping[str, Preset] = {
    "paper": Preset(1.0, 60, 2, 12_000, 1.0, "the paper's network, for a GPU"),
    "laptop": Preset(0.25, 5, 2, 1_600, 1.0, "the same layers at a quarter of the width"),
    "tiny": Preset(1 / 16, 4, 1, 120, 0.1, "seconds instead of minutes, to see it work; the numbers mean nothing"),
}


@dataclass(frozen=True)
class StudyOptions:
    """What the user asked for; field names are those of the command line."""

    target: str
    source: str = "fer2013"
    trials: int | None = None
    data: str | None = None
    data_kind: str = "auto"
    equalise: bool = False
    keep_duplicates: bool = False
    space: str = "card"
    sampler: str = "tpe"
    early_stop: str = "on"
    rung_images: int = 300
    tries: tuple[str, ...] = ()
    warm_start: str | None = None
    min_retention: float = 0.0
    reference: tuple[float, float] | None = None
    patience: int | None = None
    interpolate: str = "on"
    folds: int = 0
    preset: str = "auto"
    epochs: float | None = None
    lr: float = 0.01
    amount: float = 1.0
    baseline: str | None = None
    baseline_epochs: int | None = None
    baseline_sam: float = 0.0
    device: str = "auto"
    precision: str = "auto"
    workers: str = "auto"
    threads: int = 1
    storage: str | None = None
    ray: str | None = None
    tracking_uri: str | None = None
    out: str = "runs"
    cache_gib: float = 20.0
    seed: int = 0
    timeout: float | None = None
    confirm: int = 0
    register: str | None = None
    study: str | None = None
    force: bool = False
    quiet: bool = False

    @property
    def wanted(self) -> int:
        """The study's total of finished trials; the paper's grid has nine points."""
        return self.trials if self.trials is not None else (9 if self.space == "paper" else 200)


# Options that a study may change between two runs without becoming another study.
RESUMABLE_OPTIONS = {
    "tries", "warm_start", "reference", "patience",
    "trials", "data", "data_kind", "workers", "threads", "storage", "ray", "tracking_uri", "out", "timeout", "confirm",
    "register", "study", "force", "quiet", "cache_gib",
}  # fmt: skip


def build_data_parent() -> argparse.ArgumentParser:
    """Returns the options about data, which several commands share."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data", metavar="DIR", default=from_environment("FER_DATA"), help="one folder per dataset (default: FER_DATA)"
    )
    group.add_argument(
        "--data-kind",
        choices=("auto", "real", "synthetic"),
        default="auto",
        help="auto: the real copy where it is found, else drawn stand-in faces, and says so",
    )
    group.add_argument("--equalise", action="store_true", help="equalise the histograms of both datasets")
    group.add_argument(
        "--keep-duplicates", action="store_true", help="keep training images whose pixels are in validation or test"
    )
    return parser


class _ListStrategies(argparse.Action):
    """Prints every named method, what it sets and where it comes from, and ends."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from fer.adaptation.methods import METHODS

        width = max(map(len, METHODS))
        for name, method in METHODS.items():
            settings = [f"{field} {value}" for field, value in method.settings.items()]
            print(f"{name:{width}} {method}")
            print(f"{'':{width}} {', '.join(settings)}")
        parser.exit()


def place_parent() -> argparse.ArgumentParser:
    """Returns the options that say where a study is which is there already."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--storage",
        metavar="URL",
        default=from_environment("STUDY_STORAGE"),
        help="its storage (default: STUDY_STORAGE, else the journal under --out)",
    )
    parser.add_argument("--out", default="runs", metavar="DIR", help="results and caches (default: %(default)s)")
    return parser


def build_joining_parent() -> argparse.ArgumentParser:
    """Returns the options of the commands that compute for a study which is there already."""
    parser = argparse.ArgumentParser(add_help=False, parents=[place_parent()])
    parser.add_argument("--data", metavar="DIR", default=from_environment("FER_DATA"), help="one folder per dataset")
    parser.add_argument("--device", default=None, help="cpu, cuda, cuda:1 (default: the study's)")
    return parser


def check_places(args: argparse.Namespace) -> None:
    """Raises InputError for a name, path or URL of `place_parent` that no study can have."""
    check_study_name(args.study)
    check_storage(args.storage)
    check_path("--out", args.out)
    check_path("--data", getattr(args, "data", None))


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.run`."""
    presets = "; ".join(f"{name}: {preset.purpose}" for name, preset in PRESETS.items())
    parser = Parser(
        prog="python -m study.run",
        description="Searches for the best way to adapt a facial-expression CNN to a small dataset without it "
        "forgetting the large one. Running the same command again resumes the study.",
        parents=[build_data_parent()],
    )
    parser.add_argument("--target", required=True, metavar="NAME", help="jaffe, tfeid, mug, … or a folder under --data")
    parser.add_argument("--source", default="fer2013", metavar="NAME", help="the large dataset (default: %(default)s)")
    parser.add_argument(
        "--trials",
        type=integer,
        metavar="N",
        help="the study's total of finished trials (default: 200; paper space: 9)",
    )
    search = parser.add_argument_group("search")
    search.add_argument(
        "--space",
        choices=("card", "full", "paper"),
        default="card",
        help="card: strategy, frozen layers, learning rate, fusion ratio; full: every knob, and every known method; "
        "paper: the paper's grid",
    )
    search.add_argument("--list-strategies", action=_ListStrategies, help="print the known methods and their knobs")
    search.add_argument(
        "--sampler",
        choices=SAMPLERS,
        default=StudyOptions.sampler,
        help="Optuna's samplers; grid: all points of --space paper (default: %(default)s)",
    )
    search.add_argument(
        "--early-stop",
        choices=("on", "off"),
        default="on",
        help="on: a trial that others dominate stops at half of its budget (default: %(default)s)",
    )
    search.add_argument(
        "--rung-images",
        type=integer,
        default=StudyOptions.rung_images,
        metavar="N",
        help="validation images of each dataset that tell at half of a budget, at most; 0: all (default: %(default)s)",
    )
    search.add_argument(
        "--interpolate",
        choices=("on", "off"),
        default="on",
        help="on: networks between the baseline and each adapted one compete as well (default: %(default)s)",
    )
    search.add_argument(
        "--try",
        dest="tries",
        action="append",
        default=[],
        metavar="KNOB=VALUE,…",
        help="a guess of yours that comes first, such as strategy=FU,lr=1e-3; may be given several times",
    )
    search.add_argument("--warm-start", metavar="STUDY", help="the front of an earlier study comes first")
    search.add_argument(
        "--min-retention",
        type=decimal,
        default=0.0,
        metavar="SHARE",
        help="share of the baseline's source accuracy below which no network is an answer, such as 0.9",
    )
    search.add_argument(
        "--reference",
        type=decimal,
        nargs=2,
        metavar=("SOURCE", "TARGET"),
        help="accuracies that hypervolume is measured from (default: chance)",
    )
    search.add_argument(
        "--patience", type=integer, metavar="T", help="end when the hypervolume has not grown for T finished trials"
    )
    search.add_argument(
        "--folds", type=integer, default=0, metavar="K",
        help="judge each trial by K trainings, every image of the target in validation once; K times the price",
    )  # fmt: skip
    search.add_argument("--seed", type=integer, default=0, metavar="N", help="of everything random (default: 0)")
    search.add_argument("--timeout", type=decimal, metavar="SECONDS", help="start no trial after this time")
    search.add_argument(
        "--confirm",
        type=integer,
        default=0,
        metavar="K",
        help="at the end, train the front again with K seeds and test it",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--preset", choices=("auto", *PRESETS), default="auto", help=f"auto: paper on a GPU, else laptop. {presets}"
    )
    training.add_argument("--epochs", type=decimal, metavar="E", help="budget of a trial, in passes over the target")
    training.add_argument(
        "--lr", type=decimal, default=0.01, help="learning rate of the named strategies (%(default)s)"
    )
    training.add_argument("--amount", type=decimal, default=1.0, help="share of the target's training set, 0.5 or 1.0")
    training.add_argument("--baseline", metavar="FILE", help="your own source-trained network, as safetensors")
    training.add_argument("--baseline-epochs", type=integer, metavar="E", help="passes over the source")
    training.add_argument(
        "--baseline-sam", type=decimal, default=0.0, metavar="RHO", help="train it by sharpness-aware minimisation"
    )
    training.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    training.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto: bf16 on a GPU, and on a CPU that trains faster with it, which is measured (default: %(default)s)",
    )
    training.add_argument("--workers", default="auto", metavar="N", help="processes (auto: measured, once)")
    training.add_argument("--threads", type=integer, default=1, metavar="N", help="of each worker (auto: measured)")
    places = parser.add_argument_group("places")
    places.add_argument("--out", default="runs", metavar="DIR", help="results and caches (default: %(default)s)")
    places.add_argument(
        "--cache-gib", type=decimal, default=20.0, metavar="G",
        help="features of frozen layers that no study used for long are deleted beyond this (default: %(default)g)",
    )  # fmt: skip
    places.add_argument("--study", metavar="NAME", help="name of the study (default: from the options)")
    places.add_argument(
        "--storage",
        metavar="URL",
        default=from_environment("STUDY_STORAGE"),
        help="any Optuna storage (default: STUDY_STORAGE, else a journal in the study's folder)",
    )
    places.add_argument(
        "--ray", metavar="ADDRESS", help="run the workers on this Ray cluster, or local; needs a --storage it reaches"
    )
    places.add_argument(
        "--tracking-uri", metavar="URI", help=f"MLflow, or none (default: MLFLOW_TRACKING_URI or {DEFAULT_TRACKING})"
    )
    places.add_argument(
        "--register", metavar="NAME", help="put the front's networks in MLflow's registry under this name at the end"
    )
    parser.add_argument(
        "--force", action="store_true", help="go on with a study although its data or the versions of packages changed"
    )
    parser.add_argument("--quiet", action="store_true", help="plain lines instead of a live one")
    return parser


def parse_options(arguments: list[str] | None = None) -> StudyOptions:
    """Parses and checks the command line of `python -m study.run`."""
    parser = build_parser()
    given = vars(parser.parse_args(arguments))
    for name, value in given.items():
        if isinstance(value, list) and name not in ("tries", "reference"):  # what argparse makes of "--name=--"
            parser.error(f"argument --{name.replace('_', '-')}: expected one argument")
    reference = tuple(given["reference"]) if given["reference"] else None
    options = StudyOptions(**given | {"tries": tuple(given["tries"]), "reference": reference})
    check_options(options)
    return options


def check_options(options: StudyOptions) -> None:
    """Raises InputError for values that no study can have, and for options that contradict each other."""
    rules: list[tuple[bool, str, object, str]] = [
        (
            1 <= options.wanted <= 1_000_000,
            "--trials is between 1 and 1000000", options.wanted, "Give the total of trials you want.",
        ),
        (0 <= options.confirm <= 1000, "--confirm is a number of seeds", options.confirm, "Give 5, or 0 to skip it."),
        (0 <= options.seed < 2**63, "--seed is between 0 and 2**63", options.seed, "Give 0 or more."),
        (options.amount in (0.5, 1.0), "--amount is 0.5 or 1.0", options.amount, "Give one of them."),
        (1e-4 <= options.lr <= 1e-1, "--lr is between 0.0001 and 0.1, as in the space", options.lr, "Try 0.01."),
        (
            options.epochs is None or 0 < options.epochs <= 100_000,
            "--epochs is between 0 and 100000", options.epochs, "Leave it out for the preset's budget.",
        ),
        (
            options.baseline_epochs is None or 1 <= options.baseline_epochs <= 10_000,
            "--baseline-epochs is between 1 and 10000", options.baseline_epochs, "Leave it out for the preset's.",
        ),
        (options.cache_gib >= 0, "--cache-gib is not negative", options.cache_gib, "Give GiB, or 0 to keep none."),
        (
            0 <= options.min_retention <= 1,
            "--min-retention is a share from 0 to 1", options.min_retention, "Try 0.9, or leave it out.",
        ),
        (
            options.reference is None or all(0 <= value < 1 for value in options.reference),
            "--reference is two accuracies from 0 to 1", options.reference, "Leave it out for chance.",
        ),
        (
            options.patience is None or options.patience >= 1,
            "--patience is a number of trials, 1 at least", options.patience, "Leave it out to run all trials.",
        ),
        (
            options.rung_images >= 0,
            "--rung-images is a number of images", options.rung_images, "Give 0 for all, or leave it out.",
        ),
        (
            options.folds == 0 or 2 <= options.folds <= 1000,
            "--folds is two at least", options.folds, "Give the number of folds, or leave it out.",
        ),
        (options.timeout is None or options.timeout > 0, "--timeout is positive", options.timeout, "Give seconds."),
        (
            options.workers == "auto" or is_count(options.workers, MOST_WORKERS),
            f"--workers is auto or 1…{MOST_WORKERS}", options.workers, "Give a number of processes.",
        ),
        (
            options.target != options.source,
            "--target and --source are two datasets", options.target, "Choose another target.",
        ),
        (
            not (options.baseline and (options.baseline_epochs or options.baseline_sam)),
            "--baseline is used as it is, which contradicts --baseline-epochs and --baseline-sam", options.baseline,
            "Leave one of them out.",
        ),
        (
            0 <= options.baseline_sam < 10,
            "--baseline-sam is a radius from 0 to 10", options.baseline_sam, "Try 0.05, or leave it out.",
        ),
        (
            not (options.space == "paper" and options.amount != 1.0),
            "--space paper has both amounts in its grid, so --amount contradicts it", options.amount, "Leave it out.",
        ),
        (
            not (options.sampler == "grid" and options.space != "paper"),
            "--sampler grid needs a space without continuous knobs", f"--space {options.space}",
            "Use --space paper, or another sampler.",
        ),
        (
            not (options.ray and not options.storage),
            "--ray needs a storage that every node reaches", "no --storage",
            "Give --storage postgresql://… or grpc://….",
        ),
        (
            not (options.data_kind == "real" and options.data is None),
            "--data-kind real needs a place to look", "no --data and no FER_DATA", "Give --data DIR.",
        ),
    ]  # fmt: skip
    for holds, rule, value, mend in rules:
        if not holds:
            raise InputError(rule, value, mend)
    check_names_and_places(options)


def check_names_and_places(options: StudyOptions) -> None:
    """Raises InputError for names, paths and URLs that a study could not be kept under."""
    for option, dataset in (("--target", options.target), ("--source", options.source)):
        check_dataset_name(option, dataset)
    for study in (options.study, options.warm_start):
        if study is not None:
            check_study_name(study)
    for option, path in (("--out", options.out), ("--data", options.data), ("--baseline", options.baseline)):
        check_path(option, path)
    check_path("--register", options.register)
    check_path("--ray", options.ray)
    check_storage(options.storage)
    check_tracking(options.tracking_uri)
    check_threads(options.threads)
    check_device(options.device)


def study_name(options: StudyOptions, source: str, target: str, synthetic: bool) -> str:
    """Returns the name a study gets from what it is about, unless the user names it."""
    if options.study:
        return options.study
    parts = [source, target] + ["synthetic"] * synthetic + [options.space, options.preset]
    parts += ["half"] * (options.amount == 0.5) + [f"folds{options.folds}"] * (options.folds != 0)
    parts += [f"seed{options.seed}"] * (options.seed != 0)
    return "-".join(parts)


def identity_options(options: StudyOptions) -> dict[str, Any]:
    """Returns the options that make a study what it is; a resumed study must have the same."""
    return {name: value for name, value in dataclasses.asdict(options).items() if name not in RESUMABLE_OPTIONS}


def current_sampler(name: str) -> str:
    """Returns what a study's sampler is called today.

    `auto`, the default before there was one sampler, was `tpe` until 200 trials had ended and then another one.

    Args:
        name: From the command line, or from the record of a study that an older version began.

    Raises:
        InputError: The sampler is gone, and no other one is like it.
    """
    present = "tpe" if name == "auto" else name
    if present not in SAMPLERS:
        raise InputError(
            f"a study goes on with the sampler it was started with, one of {', '.join(SAMPLERS)}",
            f"one started with --sampler {name}, which is gone",
            "Start a new one with --study NAME; with --warm-start it tries the front of this one first.",
        )
    return present


def cache_folder(out: str | Path) -> Path:
    """Returns where datasets, baselines and features are kept for all studies of an output folder."""
    return Path(out) / ".cache"


LEVEL = 0.95


SEEDS = 5
