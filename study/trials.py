"""The trials of a study: which count, the table of them, and the names of their networks."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from fer.config import DEPTH_NAMES
from study.reading import RUNG, readable_attributes, readable_trials
from study.record import StudyRecord
from study.stored_values import Reading, is_number, is_rung
from study.trial_attributes import TrialAttributes

STATES = {"COMPLETE": "finished", "PRUNED": "stopped", "FAIL": "failed"}
"""What tables call the end of a trial, by Optuna's name of its state."""
OBJECTIVES = ["source_val", "target_val"]
"""The columns of both objectives: accuracy on validation images, 0 to 1."""

INTERPOLATED_COLUMN = "{}/{}"
"""The column of an interpolated network's metric, such as "source_val/0.50"."""
RUNG_COLUMN = "{}@{}"
"""The column of an objective at a rung, such as "source_val@0.500"."""

MIN_SOURCE_MEASURE = "source_floor"
"""The name of a measure: the source accuracy that a network of the front must have (--min-retention). Absent where none
is asked."""
TARGET_ERROR_MEASURE = "target_val_error"
"""The name of a measure: how far the target accuracy would move with other people, its standard error."""
RETENTION_CONSTRAINT = "retention"
"""The name of the constraint by which samplers know the minimal source accuracy: how much a trial is below it. Above 0
it is broken."""

# The columns that every table has.
_FIXED = (
    "number", "state", "rung", "promoted_from", "fold", "repeat", "race", "strategy", *OBJECTIVES, "seconds", "reason",
)  # fmt: skip


def counted_trials(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials that count, by number: ended ones that judge a network.

    Left out are those that a clean copy replaced, and those that made networks to hand over.
    """
    counted = []
    for trial in trials:
        attributes = TrialAttributes.of(trial)
        judges = not attributes.lost and attributes.handed_over is None
        if trial.state.name in STATES and judges:
            counted.append(trial)
    return sorted(counted, key=lambda trial: trial.number)


def read_counted_trials(trials: Iterable[FrozenTrial]) -> Reading:
    """Returns the trials that count, each with the attributes that can be relied on, and what could not be read.

    Whatever shows trials reads them through here: one odd trial takes nothing from the others. See `study.reading`.
    Trials that were read before come out as they went in.
    """
    return readable_trials(counted_trials(trials))


def trials_table(trials: Iterable[FrozenTrial]) -> pd.DataFrame:
    """Returns one row per counted trial.

    Columns: number, state (finished, stopped or failed), rung (from 1), promoted_from (the number of the trial with the
    same configuration on the rung below; empty on the first), fold (of the target, by which the trial is judged, from
    0), repeat (how many trainings of the configuration came before on this rung and fold), race (whether the race asked
    for it), strategy, every hyperparameter, source_val, target_val, the other measures, both objectives at each share
    of the budget where they were measured, seconds, reason.
    Hyperparameters are the columns between strategy and source_val (`hyperparameter_names`), so that a table read back
    from its csv still knows them. Values are untouched: floats round-trip exactly.
    """
    counted = read_counted_trials(trials).value
    attributes = [TrialAttributes.of(trial) for trial in counted]

    # Hyperparameters and measures differ from trial to trial: a column for each that any trial has.
    configs = [_as_columns(each.config, "knob", _FIXED) for each in attributes]
    config_names = _all_names(configs)
    taken = (*_FIXED, *config_names)
    measures = [_as_columns(each.measures, "measure", taken) for each in attributes]
    measures = [row | _at_rungs(trial) for row, trial in zip(measures, counted, strict=True)]
    measure_names = _all_names(measures)

    # The order of the columns is that of the file.
    objectives = [_objectives(trial) for trial in counted]
    columns: dict[str, list[Any]] = {
        "number": [trial.number for trial in counted],
        "state": [STATES[trial.state.name] for trial in counted],
        "rung": [each.rung or 1 for each in attributes],
        "promoted_from": [each.promoted_from for each in attributes],
        "fold": [each.fold or 0 for each in attributes],
        "repeat": [each.repeat or 0 for each in attributes],
        "race": [each.race is not None for each in attributes],
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


def _as_columns(values: object, prefix: str, taken: Sequence[str]) -> dict[str, Any]:
    """Returns the cells of one row for a trial's hyperparameters or measures, by column.

    Strategy and objectives, which have columns of their own, and the network's depth are left out. Nested values
    become JSON.

    Args:
        values: The hyperparameters or measures by name; None where the trial has none.
        prefix: What a name gets before it where its column is taken.
        taken: The columns that other cells have.
    """
    if not isinstance(values, dict):
        return {}
    result = {}
    for name, value in values.items():
        if name in ("strategy", *OBJECTIVES, *DEPTH_NAMES.values()):
            continue
        column = f"{prefix}_{name}" if name in taken else name
        is_flat = isinstance(value, str | int | float | None)
        result[column] = value if is_flat else json.dumps(value, default=str)
    return result


def _at_rungs(trial: FrozenTrial) -> dict[str, float]:
    """Returns both objectives at every rung that a trial came to, by column, such as "source_val@0.500"."""
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
    """Returns both objectives of a trial: of a stopped one those of its last evaluation, NaN where it has none."""
    if trial.values is not None and len(trial.values) == 2:
        return trial.values[0], trial.values[1]
    measures = TrialAttributes.of(trial).measures or {}
    return measures.get("source_val", np.nan), measures.get("target_val", np.nan)


def _column(values: list[Any]) -> pd.Series:
    """Returns a column of the kind that holds its values exactly: integers, floats, or any objects."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {int} and all(abs(value) < 2**63 for value in present):
        # A missing value would turn a column of ints into floats ("10.0 frozen blocks").
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
    """Returns both objectives of a finished trial's adapted network, then of each interpolated one.

    Networks that forget more of the source than their study allows are left out.
    """
    return list(objectives_by_interpolation(trial).values())


def objectives_by_interpolation(trial: FrozenTrial) -> dict[str, list[float]]:
    """Returns `objective_vectors` by the names of the interpolation points."""
    # The adapted network, whose objectives are the trial's own.
    values = trial.values
    if values is None or len(values) != 2 or not all(map(is_number, values)):
        return {}
    vectors = {interpolation_name(1.0, 0.0): list(values)}

    # The interpolated networks, whose objectives are measures.
    stored = {"measures": TrialAttributes.of(trial).measures or {}}
    attributes, _ = readable_attributes(stored)
    measures = attributes.get("measures", {})
    for interpolation in evaluated_interpolations(measures):
        vector = [measures[INTERPOLATED_COLUMN.format(objective, interpolation)] for objective in OBJECTIVES]
        if None not in vector:
            vectors[interpolation] = vector

    # Those below the minimum go; NaN, which is not below it, stays.
    min_source_accuracy = measures.get(MIN_SOURCE_MEASURE) or 0.0
    return {name: vector for name, vector in vectors.items() if not vector[0] < min_source_accuracy}


def hypervolume_reference(record: StudyRecord) -> tuple[float, float]:
    """Returns the corner that a study's hypervolume is measured from: what its user named, or chance."""
    chance = record.expressions.chance
    source, target = record.options.get("reference") or (chance, chance)
    return source, target


def count_rungs(record: StudyRecord) -> int:
    """Returns how many rungs a study has; one where its record says none, or nothing readable."""
    rungs = record.options.get("rungs")
    return rungs if is_rung(rungs) else 1


def describe_reference(record: StudyRecord) -> str:
    """Returns in words the corner that a study's hypervolume is measured from."""
    source, target = hypervolume_reference(record)
    classes = len(record.expressions)
    if (source, target) == (1 / classes, 1 / classes):
        return f"chance (1/{classes}, 1/{classes})"
    return f"({source:g}, {target:g})"


def find_failed_networks(trials: Iterable[FrozenTrial]) -> dict[str, str]:
    """Returns the files of networks that could not be handed over, each with the reason.

    Args:
        trials: All trials of a study.
    """
    failed: dict[str, str] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        attributes = TrialAttributes.of(trial)
        if attributes.handed_over is None or attributes.lost or not trial.state.is_finished():
            continue
        for alpha, slope in attributes.handed_over:
            name = model_file(attributes.recipe_of or 0, alpha, slope)
            failed.pop(name, None)
            if trial.state == TrialState.FAIL:
                failed[name] = attributes.reason or "no reason given"
    return failed


def model_file(number: int, alpha: float = 1.0, slope: float = 0.0) -> str:
    """Returns the file of a network, relative to the study's folder: "models/trial-0012-at-0.50.safetensors".

    Args:
        number: Number of the trial.
        alpha: Where the network's first block lies between the baseline's, 0, and the adapted network's, 1.
        slope: How much further the last block lies; alpha 1 and slope 0 are the adapted network itself.
    """
    is_adapted = (alpha, slope) == (1, 0)
    place = "" if is_adapted else f"-at-{interpolation_name(alpha, slope)}"
    return f"models/trial-{number:04d}{place}.safetensors"


def interpolation_name(alpha: float, slope: float) -> str:
    """Returns the name of an interpolation point: "0.50", or "0.00+1.00" with its slope."""
    if not slope:
        return f"{alpha:.2f}"
    return f"{alpha:.2f}+{slope:.2f}"


def parse_interpolation_name(name: str) -> tuple[float, float]:
    """Returns alpha and slope of an interpolation point, from its `interpolation_name`."""
    alpha, _, slope = name.partition("+")
    return float(alpha), float(slope or 0)


def evaluated_interpolations(names: Iterable[str]) -> list[str]:
    """Returns the name of each interpolation point that has both objectives.

    Args:
        names: Of measures, or of a table's columns, such as "source_val/0.50".
    """
    present = list(names)
    source_prefix, target_prefix = (INTERPOLATED_COLUMN.format(objective, "") for objective in OBJECTIVES)
    interpolations = [name.removeprefix(source_prefix) for name in present if name.startswith(source_prefix)]
    return [interpolation for interpolation in interpolations if target_prefix + interpolation in present]
