"""What the interactive front shows of a trial when it is chosen, as JSON-able data."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from fer.expressions import EXPRESSIONS
from fer.layers import LAYERS
from study.fronts import candidate_networks, find_knee, front_table, is_on_front
from study.record import confirmed_points, number, section
from study.reporting.wording import dataset_label, describe_interpolation, format_value
from study.trials import counted_trials, finished_trials, hyperparameter_names, model_file

MOST = 1500
"""Trials that are shown; of more, the front's and the latest, so that the page stays a few megabytes."""


def collect_trial_details(info: dict, table: pd.DataFrame, trials: Iterable[Any]) -> dict[str, Any]:
    """Returns what can be shown of each finished trial: knobs, curve, confusions, retention, similarity of layers.

    Args:
        info: The study's record.
        table: Of `front.table`.
        trials: The trials themselves, whose curves and confusions no table has.
    """
    front, done = front_table(table), finished_trials(table)
    leading, knee = set(front["trial"]), find_knee(front)
    places = candidate_networks(table)
    places = places.assign(leads=is_on_front(places, front))[places["share"] < 1]
    of_number = {trial.number: trial for trial in counted_trials(trials)}
    ways = {trial: _ways(found) for trial, found in places.groupby("number")}
    knobs = [str(name) for name in hyperparameter_names(table) if table[name].nunique(dropna=False) > 1]
    rows = done.assign(leads=done["number"].isin(leading)).sort_values(["leads", "number"], ascending=False)[:MOST]
    baseline = section(info, "baseline")
    return {
        "labels": {side: dataset_label(info, side) for side in ("source", "target")},
        "expressions": list(EXPRESSIONS),
        "layers": list(LAYERS),
        "baseline": {
            "source": number(baseline.get("source_val")),
            "target": number(baseline.get("target_val")),
            "confusion": baseline.get("confusion") or {},
        },
        "first": None if knee is None else int(knee["trial"]),
        "trials": {
            str(row["number"]): _trial(row, of_number[row["number"]], row["number"] in leading, knobs, info)
            | {"ways": ways.get(row["number"], [])}
            for row in rows.sort_values("number").to_dict("records")
        },
    }


def _trial(row: dict, trial: Any, leads: bool, knobs: list[str], info: dict) -> dict[str, Any]:
    curve = [point for point in trial.user_attrs.get("curve") or [] if isinstance(point, dict)]
    names = ("epoch", "loss", "source_val", "target_val")
    return {
        "strategy": str(row["strategy"]),
        "front": leads,
        "source": row["source_val"],
        "target": row["target_val"],
        "knobs": {name: str(format_value(row[name])) for name in knobs},
        "curve": {name: [_rounded(point.get(name)) for point in curve] for name in names},
        "confusion": trial.user_attrs.get("confusion") or {},
        "retention": [_rounded(row.get(f"retention_{name}")) for name in EXPRESSIONS],
        "cka": _similarity(info, model_file(row["number"])),
    }


def _ways(places: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the networks between the baseline and one trial's end."""
    return [
        {
            "alpha": describe_interpolation(row["share"], row["slope"]),
            "source": _rounded(row["source_val"]), "target": _rounded(row["target_val"]), "front": bool(row["leads"]),
        }
        for row in places.to_dict("records")
    ]  # fmt: skip


def _rounded(value: Any) -> float | None:
    found = number(value)
    return None if found is None else round(found, 5)


def _similarity(info: dict, model: str) -> list[float] | None:
    inside = section(section(info, "confirmation"), "results").get("inside") or []
    pairs = zip(confirmed_points(info), inside, strict=False)
    return next((found.get("cka") for point, found in pairs if point.get("model") == model), None)
