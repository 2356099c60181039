"""The trials as a table, and what a table of two maximised objectives says: front, hypervolume, knee."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer.expressions import CHANCE
from study.reading import RUNG, Reading, is_number, readable_attributes, readable_trials
from study.trial_attributes import TrialAttributes

STATES = {"COMPLETE": "finished", "PRUNED": "stopped", "FAIL": "failed"}
OBJECTIVES = ["source_val", "target_val"]
# A trial's table also says what networks on the way to it from the baseline reach: "source_val/0.50".
INTERPOLATED_COLUMN = "{}/{}"
# And what the trial was at a share of its budget: "source_val@0.500".
RUNG_COLUMN = "{}@{}"
MIN_SOURCE_ACCURACY = "source_floor"
"""The measure that says which source accuracy an answer must have (--min-retention); absent where none is asked."""
ERROR = "target_val_error"
"""The measure that says how far other people would move a target accuracy: its standard error."""
CONSTRAINT = "retention"
"""What samplers know that by: how much a trial is below it; above 0 it is broken."""
_FIXED = ("number", "state", "strategy", *OBJECTIVES, "seconds", "reason")


def counted_trials(trials: Iterable[Any]) -> list[Any]:
    """Returns the trials that count, by number: ended ones, without those that a clean copy replaced."""
    ended = [trial for trial in trials if trial.state.name in STATES and not TrialAttributes.of(trial).lost]
    return sorted(ended, key=lambda trial: trial.number)


def readable(trials: Iterable[Any]) -> Reading:
    """Returns the trials that count, each with what of its attributes can be relied on, and what could not be read.

    Whatever shows trials reads them through here: one odd trial takes nothing from the others. See `study.reading`.
    """
    return readable_trials(counted_trials(trials))


def trials_table(trials: Iterable[Any]) -> pd.DataFrame:
    """Returns one row per counted trial.

    Columns: number, state (finished, stopped or failed), strategy, every knob, source_val, target_val, the
    other measures, both objectives at each rung, seconds, reason. Knobs are the columns between strategy and
    source_val (`hyperparameter_names`), so that a table read back from its csv still knows them. Values are
    untouched: floats
    round-trip exactly.
    """
    kept = readable(trials).value
    configs = [_renamed(t.user_attrs.get("config"), "knob", _FIXED) for t in kept]
    knob_names = list(dict.fromkeys(name for config in configs for name in config))
    measures = [_renamed(t.user_attrs.get("measures"), "measure", (*_FIXED, *knob_names)) | _at_rungs(t) for t in kept]
    measure_names = list(dict.fromkeys(name for row in measures for name in row))
    attrs = [t.user_attrs for t in kept]
    values = [_objectives(t) for t in kept]
    columns = {
        "number": [t.number for t in kept],
        "state": [STATES[t.state.name] for t in kept],
        "strategy": [a.get("strategy") for a in attrs],
        **{name: [config.get(name) for config in configs] for name in knob_names},
        "source_val": [pair[0] for pair in values],
        "target_val": [pair[1] for pair in values],
        **{name: [row.get(name) for row in measures] for name in measure_names},
        "seconds": [a.get("seconds") for a in attrs],
        "reason": [a.get("reason") for a in attrs],
    }
    return pd.DataFrame({name: _column(column) for name, column in columns.items()})


def _renamed(values: Any, prefix: str, taken: Sequence[str]) -> dict[str, Any]:
    """Returns a flat copy without the columns that stand elsewhere; other clashing names get a prefix."""
    result = {}
    for name, value in (values if isinstance(values, dict) else {}).items():
        if name in ("strategy", *OBJECTIVES):
            continue
        flat = value if isinstance(value, str | int | float | None) else json.dumps(value, default=str)
        result[f"{prefix}_{name}" if name in taken else name] = flat
    return result


def _at_rungs(trial: Any) -> dict[str, float]:
    """Returns both objectives at every rung that a trial came to, as the table names them."""
    rungs = {name.removeprefix(RUNG): pair for name, pair in trial.user_attrs.items() if name.startswith(RUNG)}
    return {
        RUNG_COLUMN.format(side, share): value
        for share, pair in sorted(rungs.items())
        for side, value in zip(OBJECTIVES, pair, strict=True)
    }


def rung_shares(table: pd.DataFrame) -> list[str]:
    """Returns the shares of the budget at which a table's trials were looked at, as their columns write them."""
    start = RUNG_COLUMN.format(OBJECTIVES[0], "")
    return sorted(name.removeprefix(start) for name in table.columns if name.startswith(start))


def _objectives(trial: Any) -> tuple[float, float]:
    """Returns the trial's objectives; an unfinished one shows the last it measured, if anything."""
    if trial.values is not None and len(trial.values) == 2:
        return trial.values[0], trial.values[1]
    measures = trial.user_attrs.get("measures") or {}
    return measures.get("source_val", np.nan), measures.get("target_val", np.nan)


def _column(values: list[Any]) -> pd.Series:
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {int} and all(abs(value) < 2**63 for value in present):
        # A missing value would turn a column of ints into floats ("10.0 frozen layers").
        return pd.Series(values, dtype="int64" if len(present) == len(values) else "Int64")
    if not kinds or kinds <= {int, float, np.float64}:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="object")


def hyperparameter_names(table: pd.DataFrame) -> list[str]:
    """Returns the columns of a table or a front that are knobs."""
    names = list(table.columns)
    return names[names.index("strategy") + 1 : names.index("source_val")]


def finished_trials(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of finished trials that have both objectives."""
    return table[(table["state"] == "finished") & table[OBJECTIVES].notna().all(axis=1)]


def objective_vectors(trial: Any) -> list[list[float]]:
    """Returns both objectives of a finished trial's end, and of the networks on the way to it, where they compete."""
    values = trial.values
    if values is None or len(values) != 2 or not all(map(is_number, values)):
        return []

    measures = readable_attributes({"measures": trial.user_attrs.get("measures") or {}})[0].get("measures", {})
    source, target = (INTERPOLATED_COLUMN.format(name, "") for name in OBJECTIVES)
    places = [name.removeprefix(source) for name in measures if name.startswith(source)]
    found = [list(values)]
    for place in places:
        pair = [measures[source + place], measures.get(target + place)]
        if None not in pair:
            found.append(pair)
    floor = measures.get(MIN_SOURCE_ACCURACY) or 0.0
    return [vector for vector in found if not vector[0] < floor]


def hypervolume_reference(info: Mapping[str, Any]) -> tuple[float, float]:
    """Returns the corner that a study's hypervolume is measured from: what its user named, or chance."""
    source, target = (info.get("options") or {}).get("reference") or (CHANCE, CHANCE)
    return source, target


def describe_reference(info: Mapping[str, Any]) -> str:
    """Returns that corner in words."""
    corner = hypervolume_reference(info)
    return "chance (1/7, 1/7)" if corner == (CHANCE, CHANCE) else f"({corner[0]:g}, {corner[1]:g})"


def model_file(number: int, share: float = 1.0, slope: float = 0.0) -> str:
    """Returns where a network is kept, relative to the study's folder."""
    way = "" if (share, slope) == (1, 0) else f"-at-{interpolation_name(share, slope)}"
    return f"models/trial-{number:04d}{way}.safetensors"


def interpolation_name(share: float, slope: float) -> str:
    """Returns a name of a place between the baseline and an adapted network: "0.50", or "0.00+1.00" with its slope."""
    return f"{share:.2f}" + (f"+{slope:.2f}" if slope else "")
