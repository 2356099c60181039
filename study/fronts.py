"""What a table of trials says: which networks are on the front, its hypervolume, its knee, what strategies reached."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fer.expressions import SEVEN
from study.pareto import hypervolume, non_dominated
from study.trials import (
    INTERPOLATED_COLUMN,
    MIN_SOURCE_MEASURE,
    OBJECTIVES,
    STATES,
    evaluated_interpolations,
    finished_trials,
    hyperparameter_names,
    interpolation_name,
    model_file,
    parse_interpolation_name,
)

EXPECTED = "expected/{}/{}"
"""The column of what a search says of a network, by a name of EXPECTED_VALUES and the network's interpolation point; in
the row of the recipe's first trial (`study.tuning.expected_table`)."""
INTERVALS = ("source_lower", "source_upper", "target_lower", "target_upper")
EXPECTED_VALUES = (
    *OBJECTIVES, *INTERVALS, "observed_source_val", "observed_target_val", "probability", "folds", "trainings", "role",
)  # fmt: skip
"""What a search says of a network: expected accuracies with their 90 % intervals, what it showed, how probably it is on
the front, on how many folds and how often it was trained, and its role."""
RECOMMENDED, KEEPS_MORE, LEARNS_MORE, NEAREST = "recommended", "keeps more", "learns more", "nearest"
"""The roles of the recommended network and of its neighbours on the front, and, where none is recommended, of the
network of the front that came nearest to it; other networks have the role ""."""
LEVELS = (0.98, 0.95, 0.9, 0.8)
"""Shares of the baseline's source accuracy that a user may want to keep."""


def candidate_networks(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the networks that compete for the front: adapted ones of finished trials, then interpolated ones.

    A network that forgets more of the source than its study allows does not compete. Where the table says what is
    expected of networks, a network that was trained several times competes once, with its expected accuracies.

    Columns: those of the table, with the network's own objectives; search_alpha and search_slope, where the search
    interpolated it (see `study.trials.model_file`), 1 and 0 for an adapted network; of EXPECTED_VALUES, those besides
    the objectives, where the table has them. The table's alpha is a hyperparameter instead, by which a trial
    interpolates its own result.
    """
    finished = finished_trials(table)
    networks = _expected_networks(finished) if has_expectations(table) else _observed_networks(finished)

    # A trial that did not evaluate a point has no objectives there.
    networks = networks.dropna(subset=OBJECTIVES)
    if MIN_SOURCE_MEASURE in networks:
        forgets = networks["source_val"] < networks[MIN_SOURCE_MEASURE]
        networks = networks[~forgets]
    return networks.reset_index(drop=True)


def has_expectations(table: pd.DataFrame) -> bool:
    """Returns whether a table says what is expected of its networks."""
    return EXPECTED.format(OBJECTIVES[0], interpolation_name(1.0, 0.0)) in table


def _observed_networks(finished: pd.DataFrame) -> pd.DataFrame:
    """Returns the networks of finished trials with the accuracies that each showed."""
    adapted = finished.assign(search_alpha=1.0, search_slope=0.0)

    # Interpolated networks: for each interpolation point a row of each trial, with the point's objectives.
    interpolated = []
    for interpolation in evaluated_interpolations(finished.columns):
        alpha, slope = parse_interpolation_name(interpolation)
        columns = {objective: INTERPOLATED_COLUMN.format(objective, interpolation) for objective in OBJECTIVES}
        objectives = {objective: finished[column] for objective, column in columns.items()}
        interpolated.append(finished.assign(search_alpha=alpha, search_slope=slope, **objectives))
    return pd.concat([adapted, *interpolated])


def _expected_networks(finished: pd.DataFrame) -> pd.DataFrame:
    """Returns the networks of recipes with what is expected of each."""
    start = EXPECTED.format(OBJECTIVES[0], "")
    points = [column.removeprefix(start) for column in finished.columns if column.startswith(start)]
    alphas_and_slopes = np.array([parse_interpolation_name(point) for point in points], float)

    # All rows of the first point, then all of the second: columns are set once, not once for each point.
    networks = pd.concat([finished] * len(points))
    networks["search_alpha"] = np.repeat(alphas_and_slopes[:, 0], len(finished))
    networks["search_slope"] = np.repeat(alphas_and_slopes[:, 1], len(finished))
    for name in EXPECTED_VALUES:
        networks[name] = pd.concat([finished[EXPECTED.format(name, point)] for point in points]).to_numpy()
    return networks


def first_rung_networks(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the adapted networks of the first rung, which every configuration was trained on with an equal budget.

    Each has its expected accuracies where the table knows them. Higher rungs hold the best configurations alone, with
    larger budgets, so that comparing what strategies or hyperparameters reach there compares budgets as well.

    Args:
        table: Of `study.trials.trials_table`.
    """
    if not has_expectations(table):
        finished = finished_trials(table)
        return finished[finished["rung"] == 1]
    networks = candidate_networks(table)
    return networks[(networks["search_alpha"] == 1) & (networks["rung"] == 1)]


def hypervolume_over_trials(
    table: pd.DataFrame, reference: tuple[float, float] = (SEVEN.chance, SEVEN.chance), with_interpolated: bool = True
) -> np.ndarray:
    """Returns (trials,), per row of a table, the hypervolume of the trials finished up to and including that row.

    Args:
        table: Of `study.trials.trials_table`.
        reference: Source and target accuracy that areas are measured from.
        with_interpolated: Whether interpolated networks count.
    """
    networks = candidate_networks(table)
    if not with_interpolated:
        networks = networks[networks["search_alpha"] == 1]
    points_of_trial = {number: group.to_numpy(float) for number, group in networks.groupby("number")[OBJECTIVES]}

    # Only a trial with a point on the front so far changes the hypervolume.
    no_points = np.empty((0, 2))
    volumes = np.zeros(len(table))
    front = no_points
    volume = 0.0
    for row, number in enumerate(table["number"]):
        points = np.vstack([front, points_of_trial.get(number, no_points)])
        is_leading = non_dominated(points)
        if is_leading[len(front) :].any():
            front = points[is_leading]
            volume = hypervolume(front, reference)
        volumes[row] = volume
    return volumes


def front_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the non-dominated networks, sorted by source_val, and the networks with a role that are not among them.

    Columns: trial, alpha (how far the network is from the baseline, 1 is the adapted network itself), strategy, every
    other hyperparameter, source_val, target_val, where they are known those of EXPECTED_VALUES and the rung, model (its
    file in the study's folder).

    Args:
        table: Of `study.trials.trials_table`.
    """
    networks = candidate_networks(table)
    on_front = non_dominated(networks[OBJECTIVES].to_numpy(float))
    has_roles = "role" in networks
    if has_roles:
        on_front |= (networks["role"] != "").to_numpy()
    rows = networks[on_front].sort_values("source_val", kind="stable")

    # Columns: alpha follows below, and "trial" is the number, whatever hyperparameter a foreign storage calls so.
    names = hyperparameter_names(table)
    others = [name for name in names if name not in ("alpha", "trial")]
    known = ["rung", *EXPECTED_VALUES[len(OBJECTIVES) :]] if has_roles else []
    result = rows[["number", "strategy", *others, *OBJECTIVES, *known]].rename(columns={"number": "trial"})

    # A network may be interpolated twice: by the trial itself, with its hyperparameters alpha and alpha_slope, and then
    # by the search. The front shows where it lies after both.
    trial_alpha = pd.to_numeric(rows["alpha"]).fillna(1.0) if "alpha" in names else 1.0
    result.insert(1, "alpha", trial_alpha * rows["search_alpha"])
    if "alpha_slope" in result:
        trial_slope = pd.to_numeric(result["alpha_slope"]).fillna(0.0)
        result["alpha_slope"] = trial_slope * rows["search_alpha"] + rows["search_slope"]

    result["model"] = model_names(rows)
    return result.astype({"alpha": "float64"}).reset_index(drop=True)


def count_non_dominated(front: pd.DataFrame) -> int:
    """Returns how many networks of a `front_table` are non-dominated; those that have a role alone are not."""
    return int(non_dominated(front[OBJECTIVES].to_numpy(float)).sum())


def is_on_front(networks: pd.DataFrame, front: pd.DataFrame) -> np.ndarray:
    """Marks (n,) the networks that are on a front; a network is known by its file.

    Args:
        networks: Rows of `candidate_networks`.
        front: Of `front_table`.
    """
    return np.isin(model_names(networks), front["model"])


def model_names(networks: pd.DataFrame) -> list[str]:
    """Returns the file of each network, relative to the study's folder.

    Args:
        networks: Rows of `candidate_networks`.
    """
    return [model_file(*row) for row in networks[["number", "search_alpha", "search_slope"]].itertuples(index=False)]


def find_recommended(front: pd.DataFrame) -> pd.Series | None:
    """Returns the network that the user is told to take, None where there is none to recommend.

    It is the one that a search's rule names (`study.tuning.recommendation_rule`); on the front of an older study, whose
    trials kept no answers per image, the knee.

    Args:
        front: Of `front_table`.
    """
    if "role" not in front:
        return find_knee(front)
    recommended = front[front["role"] == RECOMMENDED]
    return None if recommended.empty else recommended.iloc[0]


def find_knee(front: pd.DataFrame) -> pd.Series | None:
    """Returns the front's point that stands out furthest above the line between its two ends.

    Both axes are scaled to the front's extent. Where no point stands out (one or two points, a hollow
    front), the point that alone dominates the largest area above chance; None on an empty front. It is named for
    studies from before recommendations, which all have seven expressions.

    Args:
        front: Of `front_table`.
    """
    if front.empty:
        return None
    points = front[OBJECTIVES].to_numpy(float)
    area = np.prod(np.maximum(points - SEVEN.chance, 0), axis=1)

    # Scaled, the ends lie at (0, 1) and (1, 0), and the line between them is where both coordinates sum to 1. Rounded,
    # so that equal heights are equal and the area decides.
    extent = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(extent > 0, extent, 1)
    height = np.round(scaled.sum(axis=1) - 1, 9)

    if height.max() > 0:
        highest_first = np.lexsort((-area, -height))
        return front.iloc[int(highest_first[0])]
    return front.iloc[int(np.argmax(area))]


def strategies_table(
    table: pd.DataFrame, baseline_source: float | None, levels: Sequence[float] = LEVELS
) -> pd.DataFrame:
    """Returns per strategy how many trials ended how and what its networks reached, interpolated ones included.

    Columns: strategy, finished, stopped, failed, best_target, source_there (at the best target) and, where
    the baseline is known, target_at_R: the best target accuracy among networks that kept at least the share R
    of the baseline's source accuracy.

    Args:
        table: Of `study.trials.trials_table`.
        baseline_source: The baseline's source accuracy, None where it is not known.
        levels: The shares R.
    """
    strategies = table["strategy"].fillna("unknown")
    rows = []
    for name, group in table.assign(strategy=strategies).groupby("strategy", sort=True):
        row: dict[str, Any] = {"strategy": name}
        for state in STATES.values():
            row[state] = int((group["state"] == state).sum())

        networks = candidate_networks(group)
        best_first = networks.sort_values(["target_val", "source_val"], ascending=False, kind="stable")
        row["best_target"] = _first(best_first["target_val"])
        row["source_there"] = _first(best_first["source_val"])

        if baseline_source:
            for level in levels:
                retaining = best_first[best_first["source_val"] >= level * baseline_source]
                row[f"target_at_{level:g}"] = _first(retaining["target_val"])
        rows.append(row)

    columns = ["strategy", *STATES.values(), "best_target", "source_there"]
    return pd.DataFrame(rows, columns=list(rows[0]) if rows else columns)


def _first(values: pd.Series) -> float:
    """Returns the first value, NaN where there is none."""
    return values.iloc[0] if len(values) else np.nan


def front_border(front: pd.DataFrame, chance: float = SEVEN.chance) -> np.ndarray:
    """Returns the corners (m, 2), in per cent, of the staircase that bounds what a front dominates above chance.

    It begins at chance, left of the first point, and ends at chance, below the last one.

    Args:
        front: Of `study.fronts.front_table`, sorted by source accuracy.
        chance: The accuracy of guessing, 0 to 1.
    """
    points = 100 * front[OBJECTIVES].to_numpy(float)
    points = points[non_dominated(points)]
    if not len(points):
        return np.empty((0, 2))
    least = 100 * chance

    # A step down at each point to the height of the next one; the last step goes down to chance.
    heights = [*points[1:, 1], min(least, points[-1, 1])]
    corners = [(min(least, points[0, 0]), points[0, 1])]
    for point, next_height in zip(points, heights, strict=True):
        corners.append((point[0], point[1]))
        corners.append((point[0], next_height))
    return np.array(corners)
