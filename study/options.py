"""The options of a study, each declared once, in groups. Light to import: `--help` must answer at once."""

import contextlib
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer.architecture import PAPER
from fer.cache_places import BASELINES, BLOCKS
from fer.image_format import default_colour, default_size
from study.data_options import DEFAULT_TRIALS, PAPER_TRIALS, DataOptions, GeneralOptions
from study.declared_options import declared
from study.search_options import ALL_FOLDS, SearchOptions
from study.training_options import PlaceOptions, TrainingOptions

INTERPOLATION_POINTS = ((0.5, 0.0), (0.75, 0.0), (0.0, 1.0))
"""Alphas and slopes of the interpolated networks that are evaluated beside each adapted one.

Two have one alpha for all blocks (in a study of 200 trials a quarter of the adapted network never was on the front); in
the third the last block is the adapted one and the first is the baseline's. The first is evaluated unless there is no
hope that it joins the front. The others cost as much again: they are evaluated where the first or the adapted network
joins the front.
"""

LEVEL = 0.95
"""Confidence level of every interval that is shown."""

LONGEST_FILE_PART = 40
"""Characters that the name of a file adds to a study's name."""

SEEDS = 5
"""Trainings of each network that `study.confirm` does where nobody says."""


@dataclass(frozen=True)
class StudyOptions(PlaceOptions, TrainingOptions, SearchOptions, DataOptions, GeneralOptions):
    """What the user asked for; field names are those of the command line.

    A dataclass has its last base's fields first: the groups stand here in the reverse order of --help-all.
    """

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "StudyOptions":
        """Returns the options that a study's record keeps.

        An option that is younger than the study has its default, which was the only way then; one that is gone is left
        out; a switch may be stored as "on" or "off", see `is_on`.
        """
        values = {"target": ""} | {name: stored[name] for name in declared(cls) if name in stored}
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = tuple(value)
            elif name in SWITCHES:
                values[name] = is_on(value)
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


SWITCHES = {field.name for field in dataclasses.fields(StudyOptions) if field.default is True}
"""Options that `--no-…` turns off."""

RESUMABLE_OPTIONS = {name for name, declaration in declared(StudyOptions).items() if declaration.resumable}
"""Options that may change between two runs of a study without making it another study."""


def images_of(options: Mapping[str, Any]) -> tuple[int, str]:
    """Returns size and colour of the images of a study with these options, "grey" or "rgb".

    Options of an earlier version say neither: its images are those of vgg13.
    """
    is_paper = options.get("network", PAPER) == PAPER
    size = options.get("image_size") or default_size(is_paper)
    return size, options.get("colour") or default_colour(is_paper)


def is_on_every_fold(options: Mapping[str, Any]) -> bool:
    """Returns whether the trials of a study with these options are trained on every fold of its target."""
    folds = options.get("folds")
    return isinstance(folds, int) and folds > 1 and options.get("folds_per_trial") == ALL_FOLDS


def is_on(stored: object) -> bool:
    """Returns whether an option that a study's record keeps is on; earlier versions stored "on" and "off"."""
    return stored == "on" if isinstance(stored, str) else bool(stored)


def study_name(options: StudyOptions, source: str, target: str, synthetic: bool) -> str:
    """Returns the name a study gets from what it is about, unless the user names it."""
    if options.study:
        return options.study
    parts = [source, target]
    if synthetic:
        parts.append("synthetic")
    if options.expressions != StudyOptions.expressions:
        parts.append(_name_of_expressions(options.expressions))
    parts += [options.space, options.preset]
    if options.network != PAPER:
        parts.append(re.sub(r"[^A-Za-z0-9]+", "-", options.network).strip("-"))
    if options.image_size is not None:
        parts.append(f"{options.image_size}px")
    if options.colour is not None:
        parts.append(options.colour)
    if options.amount == 0.5:
        parts.append("half")
    if options.folds is not None:
        parts.append(f"folds{options.folds}")
    if options.seed != 0:
        parts.append(f"seed{options.seed}")
    return "-".join(parts)


def _name_of_expressions(asked: str) -> str:
    """Returns what a study's name says of its expressions: their number, or the name of the user's file."""
    if asked.isdecimal():
        return f"expressions{asked}"
    return re.sub(r"[^A-Za-z0-9_.+-]", "-", Path(asked).stem)[:LONGEST_FILE_PART]


def identity_options(options: StudyOptions) -> dict[str, Any]:
    """Returns the options that make a study what it is; a resumed study must have the same."""
    return {name: value for name, value in dataclasses.asdict(options).items() if name not in RESUMABLE_OPTIONS}


def cache_folder(out: str | Path) -> Path:
    """Returns where datasets, baselines and features are kept for all studies of an output folder."""
    return Path(out) / ".cache"


def baselines_folder(out: str | Path) -> Path:
    """Returns where baselines are kept, and copies of the user's own weights."""
    return cache_folder(out) / BASELINES


def blocks_folder(out: str | Path) -> Path:
    """Returns where it is kept what was found of networks' blocks, see `fer.adaptation.task.AdaptationTask`."""
    return baselines_folder(out) / BLOCKS


def make_cache_folder(out: str | Path) -> Path:
    """Makes the folder of `cache_folder`, which nobody but its user may enter, and returns it.

    It holds faces, whose owners' terms forbid most users to pass them on. Everything else that a study writes may be
    read by whom the user's umask allows. A folder that exists stays as it is: who shares a cache opens it once.
    """
    folder = cache_folder(out)
    with contextlib.suppress(OSError):  # whoever writes into it tells what is wrong
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder
