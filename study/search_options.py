"""The options of a study's search. Light to import: `--help` must answer at once."""

from dataclasses import dataclass

from study.arguments import decimal, integer
from study.declared_options import must, option
from study.presets import MOST_RUNGS
from study.study_path import check_warm_start

SAMPLERS = ("tpe", "nsga2", "gp", "random", "grid")
DEFAULT_RUNGS = 3
DEFAULT_RACE = 0.3
ONE_FOLD, ALL_FOLDS = "one", "all"
"""How many of a target's folds a trial is trained on."""
MOST_PARTS = 1000
"""Of nested cross-validation, each of which takes a whole search."""


@dataclass(frozen=True)
class SearchOptions:
    """What is tried, on how much evidence, and when the search ends."""

    space: str = option(
        "card",
        "card: strategy, frozen layers, learning rate, fusion ratio; full: every hyperparameter, and every known "
        "method; paper: the paper's grid (default: %(default)s)",
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
    early_stop: bool = option(
        True, "whether a trial that others dominate stops at half of its budget (default: it does)", group="search"
    )
    rung_images: int = option(
        300,
        "validation images of each dataset that are evaluated at half of a budget, at most; 0: all "
        "(default: %(default)s)",
        group="search", parse=integer, metavar="N", unlisted=True,
        check=must(
            "--rung-images is a number of images", lambda images: images >= 0, "Give 0 for all, or leave it out."
        ),
    )  # fmt: skip
    interpolate: bool = option(
        True, "whether networks between the baseline and each adapted one compete as well (default: they do)",
        group="search",
    )  # fmt: skip
    tries: tuple[str, ...] = option(
        (),
        "a guess of yours that comes first, such as strategy=FU,lr=1e-3; may be given several times (default: none)",
        group="search", flag="--try", metavar="NAME=VALUE,…", repeatable=True, resumable=True,
    )  # fmt: skip
    warm_start: str | None = option(
        None, "the front of an earlier study comes first: its name, or its folder (default: none does)",
        group="search", metavar="STUDY", resumable=True, check=check_warm_start,
    )  # fmt: skip
    min_retention: float = option(
        0.0,
        "share of the baseline's source accuracy below which no network is an answer, such as 0.9 "
        "(default: %(default)g)",
        group="search", parse=decimal, metavar="SHARE",
        check=must(
            "--min-retention is a share from 0 to 1", lambda share: 0 <= share <= 1, "Try 0.9, or leave it out."
        ),
    )  # fmt: skip
    reference: tuple[float, float] | None = option(
        None, "accuracies that hypervolume is measured from (default: chance)", group="search", parse=decimal,
        metavar=("SOURCE", "TARGET"), resumable=True, unlisted=True,
        check=must(
            "--reference is two accuracies from 0 to 1",
            lambda reference: all(0 <= accuracy < 1 for accuracy in reference),
            "Leave it out for chance.",
        ),
    )  # fmt: skip
    patience: int | None = option(
        None, "end when the hypervolume has not grown for T finished trials (default: try all)", group="search",
        parse=integer, metavar="T", resumable=True,
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
    folds_per_trial: str | None = option(
        None,
        "one: each trial is trained and judged on one of the folds, in turn; all: on every fold, with the budget of "
        f"one divided among them unless --epochs says otherwise (default: {ONE_FOLD})",
        group="search", choices=(ONE_FOLD, ALL_FOLDS), unlisted=True,
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
        0, "of everything random (default: %(default)s)", group="search", parse=integer, metavar="N", everyday=True,
        check=must("--seed is between 0 and 2**63", lambda seed: 0 <= seed < 2**63, "Give 0 or more."),
    )  # fmt: skip
    timeout: float | None = option(
        None, "start no trial after this time (default: no limit)", group="search", parse=decimal, metavar="SECONDS",
        resumable=True, everyday=True,
        check=must("--timeout is positive", lambda seconds: seconds > 0, "Give seconds."),
    )  # fmt: skip
    confirm: int = option(
        0, "at the end, train the front again with K seeds and test it (default: %(default)s, later by study.confirm)",
        group="search", parse=integer, metavar="K", resumable=True, everyday=True,
        check=must(
            "--confirm is a number of seeds", lambda seeds: 0 <= seeds <= 1000, "Give 5, or 0 to skip it."
        ),
    )  # fmt: skip
    outer: int | None = option(
        None,
        "nested cross-validation: divide the target's people into K parts, search K times, each time without one of "
        "the parts, and test what is recommended on it (studies NAME-outer-1 … NAME-outer-K; --trials and --timeout "
        "are of each search; default: one search, of all people)",
        group="search", parse=integer, metavar="K",
        check=must(
            f"--outer is between 2 and {MOST_PARTS}", lambda parts: 2 <= parts <= MOST_PARTS,
            "Give the number of parts, or leave it out.",
        ),
    )  # fmt: skip
