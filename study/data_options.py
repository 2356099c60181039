"""The options of a study's data: what it is about, and what is read. Light to import: `--help` must answer at once."""

import dataclasses
from dataclasses import dataclass
from functools import partial

from fer.image_format import COLOURS, LARGE, SMALL, check_size
from study.arguments import check_dataset_name, check_path, integer
from study.declared_options import must, option

MOST_TRIALS = 1_000_000
DEFAULT_TRIALS = 200
PAPER_TRIALS = 9
"""Points of the paper's grid."""


@dataclass(frozen=True)
class GeneralOptions:
    """What a study is about, and how much of it there is."""

    target: str = option(
        dataclasses.MISSING, "the small dataset: jaffe, tfeid, mug, … or a folder under --data", group="general",
        metavar="NAME", everyday=True, check=partial(check_dataset_name, "--target"),
    )  # fmt: skip
    source: str = option(
        "fer2013", "the large dataset (default: %(default)s)", group="general", metavar="NAME", everyday=True,
        check=partial(check_dataset_name, "--source"),
    )  # fmt: skip
    trials: int | None = option(
        None,
        f"how many configurations are tried (default: {DEFAULT_TRIALS}; paper space: {PAPER_TRIALS}); "
        "also --n-trials, as --study-name is --study and --n-jobs --workers",
        group="general", parse=integer, metavar="N", resumable=True, everyday=True, aliases=("--n-trials",),
        check=must(
            f"--trials is between 1 and {MOST_TRIALS}", lambda trials: 1 <= trials <= MOST_TRIALS,
            "Give the number of configurations you want.",
        ),
    )  # fmt: skip
    force: bool = option(
        False, "go on with a study although its data or the versions of packages changed (default: refuse)",
        group="general", resumable=True,
    )  # fmt: skip


@dataclass(frozen=True)
class DataOptions:
    """Where the images are, and how they are read."""

    data: str | None = option(
        None, "one folder per dataset (default: FER_DATA)", group="data", metavar="DIR",
        environment="FER_DATA", resumable=True, everyday=True, check=partial(check_path, "--data"),
    )  # fmt: skip
    data_kind: str = option(
        "auto",
        "auto: the real copy where it is found, else synthetic faces, and the study says so (default: %(default)s)",
        group="data", choices=("auto", "real", "synthetic"), resumable=True,
    )  # fmt: skip
    expressions: str = option(
        "7",
        "7, 8 (with contempt), or a CSV file label,expression: which labels count as which expressions (default: "
        "%(default)s)",
        group="data", metavar="7|8|FILE", resumable=True, check=partial(check_path, "--expressions"),
    )  # fmt: skip
    equalise: bool = option(False, "equalise the histograms of both datasets (default: do not)", group="data")
    image_size: int | None = option(
        None,
        f"rows and columns of the images, which are enlarged or reduced to it (default: {SMALL} for vgg13, which takes "
        f"no other, else {LARGE})",
        group="data", parse=integer, metavar="N", check=check_size,
    )  # fmt: skip
    colour: str | None = option(
        None,
        "rgb: keep the colour of images that have it; grey: keep none (default: grey for vgg13, which takes no other, "
        "else rgb)",
        group="data", choices=COLOURS,
    )  # fmt: skip
    keep_duplicates: bool = option(
        False,
        "keep training images with a copy or near-copy in validation or test, and validation images with one in test "
        "(default: leave them out)",
        group="data",
    )
