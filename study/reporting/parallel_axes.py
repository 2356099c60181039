"""Finished trials as lines over parallel axes: each hyperparameter that varied, and both objectives."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.fronts import front_table
from study.reporting.wording import format_percent, format_value, hyperparameter_label
from study.trials import OBJECTIVES, finished_trials, hyperparameter_names

LOGARITHMIC_RATIO = 30.0
"""A positive hyperparameter whose largest value is this many times its smallest is drawn on a logarithmic axis."""
MOST_AXES = 14
"""Axes that fit side by side; of more hyperparameters, those that most trials have a value of."""
PRINTED_AXES = 10
"""Axes that fit side by side in two columns of a paper."""
MOST_LABELS = 12
"""Words that are written at one axis; of more, every second or third."""
WORDS = 0.8
"""Where the words begin on an axis that has numbers as well."""
ABSENT = -0.12
"""Where the line of a trial passes that has no value of a hyperparameter, or 0 on a logarithmic axis."""
TICKS = 5


@dataclass(frozen=True)
class Axis:
    """One of the parallel axes.

    Attributes:
        name: The hyperparameter or objective.
        places: Where each trial's line passes (trials,), from 0 to 1, or ABSENT.
        ticks: Places with a label.
        labels: The labels of these places.
    """

    name: str
    places: np.ndarray
    ticks: Sequence[float]
    labels: Sequence[str]


@dataclass(frozen=True)
class ParallelFigure:
    """The finished trials as lines over parallel axes.

    Attributes:
        axes: Strategy first, then hyperparameters, objectives last.
        strategies: Each trial's strategy (trials,).
        on_front: Which trials have a network on the front (trials,).
    """

    axes: list[Axis]
    strategies: list[str]
    on_front: list[bool]


def build_parallel_figure(table: pd.DataFrame, most_axes: int = MOST_AXES) -> ParallelFigure:
    """Returns the figure of a study's finished trials.

    Args:
        table: Trials, of `study.trials.trials_table`.
        most_axes: How many axes there may be.
    """
    trials = finished_trials(table).reset_index(drop=True)
    trials = trials.assign(strategy=trials["strategy"].fillna("unknown").astype(str))

    # Strategy, rung and both objectives have axes; hyperparameters share the others.
    varied = [name for name in hyperparameter_names(trials) if trials[name].nunique() > 1]
    by_count = sorted(varied, key=lambda name: -trials[name].count())
    most_common = by_count[: most_axes - 4]
    names = ["strategy", *(name for name in varied if name in most_common)]
    if trials["rung"].nunique() > 1:
        names.insert(1, "rung")

    axes = [_build_axis(name, trials[name]) for name in names]
    for objective, label in zip(OBJECTIVES, ("source %, observed", "target %, observed"), strict=True):
        axes.append(_build_numeric_axis(label, trials[objective].to_numpy(float), format_percent))
    on_front = trials["number"].isin(front_table(table)["trial"])
    return ParallelFigure(axes, trials["strategy"].tolist(), on_front.tolist())


def _build_axis(name: str, values: pd.Series) -> Axis:
    """Returns a hyperparameter's axis: numbers by value, words evenly spaced; where there are both, words at the top.

    Args:
        name: The hyperparameter.
        values: One of each trial, missing where it has none; index 0 to n - 1.
    """
    # An axis of numbers alone.
    label = hyperparameter_label(name)
    numbers = pd.to_numeric(values, errors="coerce")
    words = values[numbers.isna() & values.notna()].map(format_value)
    if words.empty:
        return _build_numeric_axis(label, numbers.to_numpy(float), format_value)

    # Where each word stands, in the order of the alphabet; of many words only some are written.
    has_numbers = bool(numbers.notna().any())
    choices = sorted(words.unique())
    place_of = dict(zip(choices, _word_places(len(choices), has_numbers), strict=True))
    labelled = choices[:: math.ceil(len(choices) / MOST_LABELS)]

    # Numbers stand below the words: their axis, 0 to 1, is shrunk to make room. What is absent stands below both.
    places = np.full(len(values), ABSENT)
    ticks: list[float] = []
    labels: list[str] = []
    if has_numbers:
        is_word = values.index.isin(words.index)
        axis = _build_numeric_axis(label, numbers.to_numpy(float)[~is_word], format_value)
        places[~is_word] = np.where(axis.places > 0, WORDS * axis.places, axis.places)
        ticks = [WORDS * tick if tick > 0 else tick for tick in axis.ticks]
        labels = list(axis.labels)
    elif values.isna().any():
        ticks = [ABSENT]
        labels = ["–"]

    # The words.
    places[words.index] = words.map(place_of)
    word_ticks = [place_of[word] for word in labelled]
    return Axis(label, places, [*ticks, *word_ticks], [*labels, *labelled])


def _word_places(count: int, has_numbers: bool) -> list[float]:
    """Returns evenly spaced places of words: over the whole axis, or above the numbers."""
    if has_numbers:
        return np.linspace(WORDS, 1, count + 1)[1:].tolist()
    return np.linspace(0, 1, count).tolist()


def _build_numeric_axis(label: str, values: np.ndarray, write: Callable[[float], str]) -> Axis:
    """Returns the axis of numbers, logarithmic where they span orders of magnitude.

    Args:
        label: The axis's name.
        values: One of each trial (trials,), NaN where it has none.
        write: Returns a number for a reader.
    """
    positive = values[values > 0]
    is_wide = len(positive) > 1 and positive.max() >= LOGARITHMIC_RATIO * positive.min()
    is_logarithmic = is_wide and not (values < 0).any()
    on_axis = values > 0 if is_logarithmic else np.isfinite(values)
    scaled = np.log(values[on_axis]) if is_logarithmic else values[on_axis]

    # Lines pass by the value's share of the range.
    low = float(scaled.min())
    extent = float(scaled.max()) - low
    places = np.full(len(values), ABSENT)
    places[on_axis] = (scaled - low) / (extent or 1.0)

    # Ticks stand evenly, one alone where all values are the same; those of whole numbers at whole numbers.
    shares = np.linspace(0, 1, TICKS) if extent > 0 else np.zeros(1)
    ends = low + shares * extent
    written = np.exp(ends) if is_logarithmic else ends
    if np.array_equal(values[on_axis], np.round(values[on_axis])):
        written = np.unique(np.round(written))
        ends = np.log(written) if is_logarithmic else written
        shares = (ends - low) / (extent or 1.0)

    ticks = shares.tolist()
    labels = [write(float(value)) for value in written]
    off_axis = sorted({"–" if np.isnan(value) else "0" for value in values[~on_axis]})
    if off_axis:
        ticks = [ABSENT, *ticks]
        labels = [", ".join(off_axis), *labels]
    return Axis(label, places, ticks, labels)
