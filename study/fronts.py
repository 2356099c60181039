"""What a table of trials says: which networks are on the front, its hypervolume, its knee, what strategies reached."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer.expressions import CHANCE
from study.pareto import hypervolume, non_dominated
from study.trials import (
    INTERPOLATED_COLUMN,
    MIN_SOURCE_ACCURACY,
    OBJECTIVES,
    STATES,
    finished_trials,
    hyperparameter_names,
    model_file,
)


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
