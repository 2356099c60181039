"""Finished trials as lines over parallel axes: each knob that varied, and both objectives."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.reporting.wording import format_percent, format_value
from study.trials import OBJECTIVES, finished_trials, hyperparameter_names

WIDE = 30.0
"""A positive knob whose largest value is this many times its smallest is drawn on a logarithmic axis."""
MOST = 14
"""Axes that fit side by side; of more knobs, those that most trials were asked for."""
LABELS = 12
"""Words that are written at one axis; of more, every second or third."""
WORDS = 0.8
"""Where the words begin on an axis that has numbers as well."""
ABSENT = -0.12
"""Where the line of a trial passes that has no value of a knob, or 0 on a logarithmic axis."""


@dataclass(frozen=True)
class Axis:
    """One of the parallel axes.

    Attributes:
        name: Of the knob or objective.
        places: Where each trial's line passes (trials,), from 0 to 1, or ABSENT.
        ticks: Places with a label.
        labels: Theirs.
    """

    name: str
    places: np.ndarray
    ticks: Sequence[float]
    labels: Sequence[str]


def build_axes(table: pd.DataFrame) -> tuple[list[Axis], pd.DataFrame]:
    """Returns the axes of a study, strategy first and objectives last, and the finished trials that are the lines."""
    done = finished_trials(table).reset_index(drop=True)
    varied = [name for name in hyperparameter_names(done) if done[name].nunique() > 1]
    kept = sorted(varied, key=lambda name: -done[name].count())[: MOST - 3]
    names = ["strategy", *(name for name in varied if name in kept)]
    done = done.assign(strategy=done["strategy"].fillna("unknown").astype(str))
    axes = [_axis(name, done[name]) for name in names]
    for side, label in zip(OBJECTIVES, ("source %", "target %"), strict=True):
        axes.append(_numeric(label, done[side].to_numpy(float), format_percent))
    return axes, done


def _axis(name: str, values: pd.Series) -> Axis:
    """Returns a knob's axis: numbers by their value, words evenly spaced; where there are both, words at the top."""
    label, numbers = name.replace("_", " "), pd.to_numeric(values, errors="coerce")
    words = values[numbers.isna() & values.notna()].map(format_value)
    if words.empty:
        return _numeric(label, numbers.to_numpy(float), format_value)
    choices = sorted(words.unique())
    mixed = bool(numbers.notna().any())
    spaced = np.linspace(WORDS, 1, len(choices) + 1)[1:] if mixed else np.linspace(0, 1, len(choices))
    place = dict(zip(choices, spaced.tolist(), strict=True))
    shown = {word: place[word] for word in choices[:: math.ceil(len(choices) / LABELS)]}
    absent = bool(values.isna().any())
    places, ticks, labels = np.full(len(values), ABSENT), [ABSENT] * absent, ["–"] * absent
    if mixed:
        rest = (numbers.notna() | values.isna()).to_numpy()
        axis = _numeric(label, numbers.to_numpy(float)[rest], format_value)
        places[rest] = np.where(axis.places > 0, WORDS * axis.places, axis.places)
        ticks, labels = [WORDS * tick if tick > 0 else tick for tick in axis.ticks], list(axis.labels)
    places[words.index] = words.map(place)
    return Axis(label, places, [*ticks, *shown.values()], [*labels, *shown])


def _numeric(label: str, values: np.ndarray, write: Callable[[float], str]) -> Axis:
    positive = values[values > 0]
    logarithmic = len(positive) > 1 and positive.max() >= WIDE * positive.min() and not (values < 0).any()
    on = values > 0 if logarithmic else np.isfinite(values)
    scale, back = (np.log, np.exp) if logarithmic else (np.asarray, np.asarray)
    low, high = (float(scale(end)) for end in (values[on].min(), values[on].max()))
    places = np.full(len(values), ABSENT)
    places[on] = (scale(values[on]) - low) / ((high - low) or 1.0)
    at = np.linspace(0, 1, 5) if high > low else np.zeros(1)
    off = sorted({"–" if np.isnan(value) else "0" for value in values[~on]})
    return Axis(
        label,
        places,
        [ABSENT] * bool(off) + at.tolist(),
        [", ".join(off)] * bool(off) + [write(float(back(low + share * (high - low)))) for share in at],
    )
