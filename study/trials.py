"""The trials of a study: which count, the table of them, and the names of their networks."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from fer.expressions import CHANCE
from study.reading import RUNG, Reading, is_number, readable_attributes, readable_trials
from study.record import StudyRecord
from study.trial_attributes import TrialAttributes

STATES = {"COMPLETE": "finished", "PRUNED": "stopped", "FAIL": "failed"}
"""What tables call the end of a trial, by Optuna's name of its state."""
OBJECTIVES = ["source_val", "target_val"]
"""The columns of both objectives: accuracy on validation images, 0 to 1."""

INTERPOLATED_COLUMN = "{}/{}"
"""The column of an interpolated network's metric, such as "source_val/0.50"."""
RUNG_COLUMN = "{}@{}"
"""The column of an objective at a rung, such as "source_val@0.500"."""

MIN_SOURCE_ACCURACY = "source_floor"
"""The measure that says which source accuracy a network of the front must have (--min-retention); absent where none is
asked."""
ERROR = "target_val_error"
"""The measure that says how far the target accuracy would move with other people: its standard error."""
CONSTRAINT = "retention"
"""The constraint by which samplers know MIN_SOURCE_ACCURACY: how much a trial is below it; above 0 it is broken."""

# The columns that every table has.
_FIXED = ("number", "state", "rung", "promoted_from", "strategy", *OBJECTIVES, "seconds", "reason")


def counted_trials(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials that count, by number: ended ones, without those that a clean copy replaced."""
    ended = [trial for trial in trials if trial.state.name in STATES and not TrialAttributes.of(trial).lost]
    return sorted(ended, key=lambda trial: trial.number)


def readable(trials: Iterable[FrozenTrial]) -> Reading:
    """Returns the trials that count, each with what of its attributes can be relied on, and what could not be read.

    Whatever shows trials reads them through here: one odd trial takes nothing from the others. See `study.reading`.
    """
    return readable_trials(counted_trials(trials))


def trials_table(trials: Iterable[FrozenTrial]) -> pd.DataFrame:
    """Returns one row per counted trial.

    Columns: number, state (finished, stopped or failed), rung (from 1), promoted_from (the number of the trial with the
    same configuration on the rung below; empty on the first), strategy, every hyperparameter, source_val, target_val,
    the other measures, both objectives at each share of the budget where they were measured, seconds, reason.
    Hyperparameters are the columns between strategy and source_val (`hyperparameter_names`), so that a table read back
    from its csv still knows them. Values are untouched: floats round-trip exactly.
    """
    counted = readable(trials).value
    attributes = [TrialAttributes.of(trial) for trial in counted]

    # Hyperparameters and measures differ from trial to trial: a column for each that any trial has.
    configs = [_renamed(each.config, "knob", _FIXED) for each in attributes]
    config_names = _all_names(configs)
    taken = (*_FIXED, *config_names)
    measures = [_renamed(each.measures, "measure", taken) for each in attributes]
    measures = [row | _at_rungs(trial) for row, trial in zip(measures, counted, strict=True)]
    measure_names = _all_names(measures)

    # The order of the columns is that of the file.
    objectives = [_objectives(trial) for trial in counted]
    columns: dict[str, list[Any]] = {
        "number": [trial.number for trial in counted],
        "state": [STATES[trial.state.name] for trial in counted],
        "rung": [each.rung or 1 for each in attributes],
        "promoted_from": [each.promoted_from for each in attributes],
        "strategy": [each.strategy for each in attributes],
    }
    columns |= {name: [row.get(name) for row in configs] for name in config_names}
    columns |= {
        "source_val": [source for source, _ in objectives],
        "target_val": [target for _, target in objectives],
    }
    columns |= {name: [row.get(name) for row in measures] for name in measure_names}
    columns |= {
        "seconds": [each.seconds for each in attributes],
        "reason": [each.reason for each in attributes],
    }
    return pd.DataFrame({name: _column(values) for name, values in columns.items()})


def _all_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the names that occur in any row, each once, in the order in which they come first."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _renamed(values: object, prefix: str, taken: Sequence[str]) -> dict[str, Any]:
    """Returns a flat copy without the columns that stand elsewhere; other clashing names get a prefix."""
    if not isinstance(values, dict):
        return {}
    result = {}
    for name, value in values.items():
        if name in ("strategy", *OBJECTIVES):
            continue
        column = f"{prefix}_{name}" if name in taken else name
        is_flat = isinstance(value, str | int | float | None)
        result[column] = value if is_flat else json.dumps(value, default=str)
    return result


def _at_rungs(trial: FrozenTrial) -> dict[str, float]:
    """Returns both objectives at every rung that a trial came to, as the table names them."""
    rungs = {name.removeprefix(RUNG): pair for name, pair in trial.user_attrs.items() if name.startswith(RUNG)}
    return {
        RUNG_COLUMN.format(objective, share): value
        for share, pair in sorted(rungs.items())
        for objective, value in zip(OBJECTIVES, pair, strict=True)
    }


def rung_shares(table: pd.DataFrame) -> list[str]:
    """Returns the shares of the budget at which a table's trials were evaluated, as their columns write them."""
    start = RUNG_COLUMN.format(OBJECTIVES[0], "")
    return sorted(name.removeprefix(start) for name in table.columns if name.startswith(start))


def _objectives(trial: FrozenTrial) -> tuple[float, float]:
    """Returns the trial's objectives; an unfinished one shows the last it measured, if anything."""
    if trial.values is not None and len(trial.values) == 2:
        return trial.values[0], trial.values[1]
    measures = TrialAttributes.of(trial).measures or {}
    return measures.get("source_val", np.nan), measures.get("target_val", np.nan)


def _column(values: list[Any]) -> pd.Series:
    """Returns a column of the kind that holds its values exactly: integers, floats, or any objects."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {int} and all(abs(value) < 2**63 for value in present):
        # A missing value would turn a column of ints into floats ("10.0 frozen layers").
        return pd.Series(values, dtype="int64" if len(present) == len(values) else "Int64")
    if not kinds or kinds <= {int, float, np.float64}:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="object")


def hyperparameter_names(table: pd.DataFrame) -> list[str]:
    """Returns the columns of a table or a front that are hyperparameters."""
    names = list(table.columns)
    return names[names.index("strategy") + 1 : names.index("source_val")]


def finished_trials(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of finished trials that have both objectives."""
    return table[(table["state"] == "finished") & table[OBJECTIVES].notna().all(axis=1)]


def objective_vectors(trial: FrozenTrial) -> list[list[float]]:
    """Returns both objectives of a finished trial's adapted network, then of its interpolated ones.

    Networks that forget more of the source than their study allows are left out.
    """
    values = trial.values
    if values is None or len(values) != 2 or not all(map(is_number, values)):
        return []

    stored = {"measures": TrialAttributes.of(trial).measures or {}}
    measures = readable_attributes(stored)[0].get("measures", {})

    vectors = [list(values)]
    source_prefix, target_prefix = (INTERPOLATED_COLUMN.format(name, "") for name in OBJECTIVES)
    for name, source in measures.items():
        if not name.startswith(source_prefix):
            continue
        target = measures.get(target_prefix + name.removeprefix(source_prefix))
        if source is not None and target is not None:
            vectors.append([source, target])

    min_source_accuracy = measures.get(MIN_SOURCE_ACCURACY) or 0.0
    return [vector for vector in vectors if not vector[0] < min_source_accuracy]


def hypervolume_reference(record: StudyRecord) -> tuple[float, float]:
    """Returns the corner that a study's hypervolume is measured from: what its user named, or chance."""
    source, target = record.options.get("reference") or (CHANCE, CHANCE)
    return source, target


def describe_reference(record: StudyRecord) -> str:
    """Returns in words the corner that a study's hypervolume is measured from."""
    source, target = hypervolume_reference(record)
    if (source, target) == (CHANCE, CHANCE):
        return "chance (1/7, 1/7)"
    return f"({source:g}, {target:g})"


def model_file(number: int, share: float = 1.0, slope: float = 0.0) -> str:
    """Returns where a network is kept, relative to the study's folder.

    Args:
        number: The trial's.
        share: How far the network's first layer is from the baseline's towards the adapted network's, 1 for the
            adapted network itself.
        slope: How much larger the share of the last layer is than that of the first.
    """
    is_adapted = (share, slope) == (1, 0)
    place = "" if is_adapted else f"-at-{interpolation_name(share, slope)}"
    return f"models/trial-{number:04d}{place}.safetensors"


def interpolation_name(share: float, slope: float) -> str:
    """Returns the name of an interpolation point: "0.50", or "0.00+1.00" with its slope."""
    if not slope:
        return f"{share:.2f}"
    return f"{share:.2f}+{slope:.2f}"
