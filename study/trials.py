"""The trials as a table, and what a table of two maximised objectives says: front, hypervolume, knee."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer.expressions import CHANCE
from study.pareto import hypervolume, non_dominated
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


def candidate_networks(table: pd.DataFrame) -> pd.DataFrame:
    """Returns all that competes for the front: each finished trial's end, then the networks on the way to each.

    What keeps less of the source than its study asks for does not compete.

    Columns: those of the table, share: how far the first layer is on the way from the baseline to the trial's end, 1
    for the end itself, and slope: what the last layer's share has more.
    """
    done = finished_trials(table)
    parts = [done.assign(share=1.0, slope=0.0)]
    for name in done.columns:
        way = name.removeprefix(INTERPOLATED_COLUMN.format("source_val", ""))
        if way != name and INTERPOLATED_COLUMN.format("target_val", way) in done:
            share, _, slope = way.partition("+")
            values = {side: done[INTERPOLATED_COLUMN.format(side, way)] for side in OBJECTIVES}
            parts.append(done.assign(share=float(share), slope=float(slope or 0), **values))
    everything = pd.concat(parts).dropna(subset=OBJECTIVES)
    if MIN_SOURCE_ACCURACY in everything:
        everything = everything[~(everything["source_val"] < everything[MIN_SOURCE_ACCURACY])]
    return everything.reset_index(drop=True)


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


def hypervolume_over_trials(
    table: pd.DataFrame, reference: tuple[float, float] = (CHANCE, CHANCE), between: bool = True
) -> np.ndarray:
    """Returns, per row of a table, the hypervolume of the trials finished up to and including that row.

    Args:
        table: Of `table`.
        reference: The corner that areas are measured from.
        between: Whether networks on the way to a trial's end count.
    """
    everything = candidate_networks(table)
    if not between:
        everything = everything[everything["share"] == 1]
    of_trial = {number: group.to_numpy(float) for number, group in everything.groupby("number")[OBJECTIVES]}
    volumes, best, current = np.zeros(len(table)), np.empty((0, 2)), 0.0
    for row, number in enumerate(table["number"]):
        grown = np.vstack([best, of_trial.get(number, np.empty((0, 2)))])
        mask = non_dominated(grown)
        if mask[len(best) :].any():
            best, current = grown[mask], hypervolume(grown[mask], reference)
        volumes[row] = current
    return volumes


def front_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the non-dominated networks, sorted by source_val.

    Columns: trial, alpha (how far along the way from the baseline, 1 is the adapted network itself),
    strategy, every other knob, source_val, target_val, model (its file in the study's folder).
    """
    rows = candidate_networks(table)
    rows = rows[non_dominated(rows[OBJECTIVES].to_numpy(float))].sort_values("source_val", kind="stable")
    own = pd.to_numeric(rows["alpha"]).fillna(1.0) if "alpha" in hyperparameter_names(table) else 1.0
    others = [name for name in hyperparameter_names(table) if name not in ("alpha", "trial")]
    result = rows[["number", "strategy", *others, *OBJECTIVES]].rename(columns={"number": "trial"})
    result.insert(1, "alpha", own * rows["share"])
    if "alpha_slope" in result:
        result["alpha_slope"] = pd.to_numeric(result["alpha_slope"]).fillna(0.0) * rows["share"] + rows["slope"]
    result["model"] = model_names(rows)
    return result.astype({"alpha": "float64"}).reset_index(drop=True)


def is_on_front(points: pd.DataFrame, front: pd.DataFrame) -> "np.ndarray":
    """Marks the rows of `points` that are on a front."""
    return np.isin(model_names(points), front["model"])


def model_names(points: pd.DataFrame) -> list[str]:
    """Returns where the networks of `points` are kept."""
    return [model_file(*row) for row in points[["number", "share", "slope"]].itertuples(index=False)]


def model_file(number: int, share: float = 1.0, slope: float = 0.0) -> str:
    """Returns where a network is kept, relative to the study's folder."""
    way = "" if (share, slope) == (1, 0) else f"-at-{interpolation_name(share, slope)}"
    return f"models/trial-{number:04d}{way}.safetensors"


def interpolation_name(share: float, slope: float) -> str:
    """Returns a name of a place between the baseline and an adapted network: "0.50", or "0.00+1.00" with its slope."""
    return f"{share:.2f}" + (f"+{slope:.2f}" if slope else "")


def find_knee(front: pd.DataFrame) -> pd.Series | None:
    """Returns the front's point that stands out furthest above the line between its two ends.

    Both axes are scaled to the front's extent. Where no point stands out (one or two points, a hollow
    front), the point that alone dominates the largest area above chance; None on an empty front.
    """
    if front.empty:
        return None
    points = front[OBJECTIVES].to_numpy(float)
    extent = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(extent > 0, extent, 1)
    above = np.round(scaled.sum(axis=1) - 1, 9)
    area = np.prod(np.maximum(points - CHANCE, 0), axis=1)
    best = int(np.lexsort((-area, -above))[0]) if above.max() > 0 else int(np.argmax(area))
    return front.iloc[best]


def strategies_table(
    table: pd.DataFrame, baseline_source: float | None, levels: Sequence[float] = (0.98, 0.95, 0.9, 0.8)
) -> pd.DataFrame:
    """Returns per strategy how many trials ended how and what it reached.

    Columns: strategy, finished, stopped, failed, best_target, source_there (at the best target) and, where
    the baseline is known, target_at_R: the best target accuracy among trials that kept at least the share R
    of the baseline's source accuracy.
    """
    rows = []
    for name, group in table.assign(strategy=table["strategy"].fillna("unknown")).groupby("strategy", sort=True):
        done = finished_trials(group).sort_values(["target_val", "source_val"], ascending=False, kind="stable")
        row: dict[str, Any] = {
            "strategy": name,
            **{s: int((group["state"] == s).sum()) for s in STATES.values()},
        }
        row["best_target"] = done["target_val"].iloc[0] if len(done) else np.nan
        row["source_there"] = done["source_val"].iloc[0] if len(done) else np.nan
        for level in levels if baseline_source else ():
            kept = done[done["source_val"] >= level * (baseline_source or 0)]
            row[f"target_at_{level:g}"] = kept["target_val"].iloc[0] if len(kept) else np.nan
        rows.append(row)
    order = ["strategy", *STATES.values(), "best_target", "source_there"]
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else order)
