"""The options of a study's trainings and of its places. Light to import: `--help` must answer at once."""

import re
from dataclasses import dataclass
from functools import partial

from fer.architecture import PAPER
from fer.image_format import check_levels
from study.arguments import (
    check_path,
    check_storage,
    check_study_name,
    check_tracking,
    decimal,
    integer,
    is_count,
    levels,
)
from study.declared_options import must, option
from study.machine import check_device
from study.presets import PRESETS

MOST_WORKERS = 1024
DEFAULT_TRACKING = "sqlite:///mlruns/mlflow.db"

_PURPOSES = "; ".join(f"{name}: {preset.purpose}" for name, preset in PRESETS.items())

_NETWORK_NAME = re.compile(r"[A-Za-z_][\w.-]*(:[A-Za-z_][\w.-]*)?", re.ASCII)
_LONGEST_NAME = 200
_MOST_CLASSES = 1000
_LONGEST_CLASS = 100


def is_network_name(name: str) -> bool:
    """Returns whether a text is written like a network's name; whether there is one of that name, torch knows."""
    return len(name) <= _LONGEST_NAME and _NETWORK_NAME.fullmatch(name) is not None


def is_list_of_names(text: str) -> bool:
    """Returns whether a text is several names with commas between them."""
    names = text.split(",")
    are_names = all(name.strip() and name.isprintable() for name in names)
    return are_names and 2 <= len(names) <= _MOST_CLASSES and len(text) <= _MOST_CLASSES * _LONGEST_CLASS


@dataclass(frozen=True)
class TrainingOptions:
    """The network, how long it is trained, and what it is trained on."""

    network: str = option(
        PAPER, "vgg13, a classifier of torchvision such as resnet18, timm:NAME, or your own package.module:function, "
        "which is called with num_classes and returns a torch.nn.Module (default: %(default)s)", group="training",
        metavar="NAME", everyday=True, check=must(
            "--network is a name", is_network_name, "Give one such as resnet18, timm:vit_tiny_patch16_224 or "
            "package.module:function.",
        ),
    )  # fmt: skip
    preset: str = option(
        "auto", f"auto: paper on a GPU, else laptop; {_PURPOSES} (default: %(default)s)", group="training",
        choices=("auto", *PRESETS), everyday=True,
    )  # fmt: skip
    mean: tuple[float, ...] | None = option(
        None,
        "mean of red, green and blue, or one number, from 0 to 1, that a network's images are scaled by (default: "
        "ImageNet's; vgg13 has its own)",
        group="training", parse=levels, metavar="R,G,B", separated=True, check=partial(check_levels, option="--mean"),
    )  # fmt: skip
    std: tuple[float, ...] | None = option(
        None, "standard deviation of red, green and blue, or one number (default: ImageNet's; vgg13 has its own)",
        group="training", parse=levels, metavar="R,G,B", separated=True, check=partial(check_levels, option="--std"),
    )  # fmt: skip
    epochs: float | None = option(
        None, "budget of a trial, in passes over the target (default: the preset's)", group="training", parse=decimal,
        metavar="E", check=must(
            "--epochs is between 0 and 100000", lambda epochs: 0 < epochs <= 100_000,
            "Leave it out for the preset's budget.",
        ),
    )  # fmt: skip
    lr: float = option(
        0.01, "learning rate of the named strategies (default: %(default)s)", group="training", parse=decimal,
        metavar="RATE", unlisted=True,
        check=must("--lr is between 0.0001 and 0.1, as in the space", lambda lr: 1e-4 <= lr <= 1e-1, "Try 0.01."),
    )  # fmt: skip
    amount: float = option(
        1.0, "share of the target's training set, 0.5 or 1.0 (default: %(default)s)", group="training", parse=decimal,
        metavar="SHARE",
        check=must("--amount is 0.5 or 1.0", lambda amount: amount in (0.5, 1.0), "Give one of them."),
    )  # fmt: skip
    baseline: str | None = option(
        None, "your own network, trained on the source: safetensors, or a state dict in .pt or .pth (default: one is "
        "trained, and kept for later studies)",
        group="training", metavar="FILE", everyday=True, resumable=True,
        check=partial(check_path, "--baseline"),
    )  # fmt: skip
    pretrained: str | None = option(
        None, "features to begin with, a file like --baseline's: the head is new, and the baseline is trained on the "
        "source from there (default: new weights)",
        group="training", metavar="FILE", everyday=True, resumable=True,
        check=partial(check_path, "--pretrained"),
    )  # fmt: skip
    classes: str | None = option(
        None, "what the logits of --baseline stand for, in their order; classes that the study does not have are "
        "left out (default: the study's expressions, in its order)",
        group="training", metavar="a,b,c", resumable=True, check=must(
            "--classes is names of expressions with commas between them", is_list_of_names,
            "Name each logit once, such as --classes neutral,happy,sad,surprise,fear,disgust,anger.",
        ),
    )  # fmt: skip
    baseline_epochs: int | None = option(
        None, "most passes over the source, fewer where accuracy grows no more (default: the preset's)",
        group="training", parse=integer, metavar="E",
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
        "auto", "auto, cpu, cuda or cuda:1 (default: %(default)s, a GPU where there is one)", group="training",
        metavar="DEVICE", everyday=True, check=check_device,
    )  # fmt: skip
    precision: str = option(
        "auto",
        "auto: bf16 on a GPU, and on a CPU that trains faster with it, which is measured (default: %(default)s)",
        group="training", choices=("auto", "fp32", "bf16"),
    )  # fmt: skip
    workers: str = option(
        "auto", "processes that train (default: %(default)s, measured once)", group="training", metavar="N",
        resumable=True, everyday=True, aliases=("--n-jobs",),
        check=must(
            f"--workers is auto or 1…{MOST_WORKERS}",
            lambda workers: workers == "auto" or is_count(workers, MOST_WORKERS),
            "Give a number of processes.",
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class PlaceOptions:
    """Where a study is kept, and who else takes part in it."""

    out: str = option(
        "runs", "results and caches (default: %(default)s)", group="places", metavar="DIR", resumable=True,
        everyday=True, check=partial(check_path, "--out"),
    )  # fmt: skip
    study: str | None = option(
        None, "name of the study (default: from the options)", group="places", metavar="NAME", resumable=True,
        everyday=True, aliases=("--study-name",), check=check_study_name,
    )  # fmt: skip
    storage: str | None = option(
        None, "any Optuna storage (default: STUDY_STORAGE, else a journal in the study's folder under --out)",
        group="places", metavar="URL", environment="STUDY_STORAGE", resumable=True, everyday=True,
        check=check_storage,
    )  # fmt: skip
    ray: str | None = option(
        None,
        "run the workers on this Ray cluster, or local; needs a --storage it reaches (default: processes of this "
        "machine)",
        group="places", metavar="ADDRESS", resumable=True, everyday=True, check=partial(check_path, "--ray"),
    )  # fmt: skip
    tracking_uri: str | None = option(
        None, f"MLflow, or none (default: MLFLOW_TRACKING_URI, else {DEFAULT_TRACKING})", group="places",
        metavar="URI", resumable=True, everyday=True, check=check_tracking,
    )  # fmt: skip
    register: str | None = option(
        None, "put the front's networks in MLflow's registry under this name at the end (default: do not)",
        group="places", metavar="NAME", resumable=True, check=partial(check_path, "--register"),
    )  # fmt: skip
