"""What the interactive front shows of a trial when it is chosen, as data for JSON."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from study.fronts import candidate_networks, front_table, is_on_front
from study.record import DOMAINS, StudyRecord, number
from study.reporting.tables import varied_hyperparameters
from study.reporting.wording import (
    count_of,
    dataset_label,
    describe_interpolation,
    expected_text,
    format_percent,
    format_value,
)
from study.storage.slots import EVERY_FOLD
from study.stored_values import is_confusion
from study.trial_attributes import TrialAttributes
from study.trials import counted_trials, finished_trials
from study.tuning.plan import SearchPlan

MOST_TRIALS = 1500
"""Trials that are shown; of more, the front's and the latest, so that the page stays a few megabytes."""
CURVE_COLUMNS = ("epoch", "loss", "source_val", "target_val")


def collect_trial_details(record: StudyRecord, table: pd.DataFrame, trials: Iterable[FrozenTrial]) -> dict[str, Any]:
    """Returns what can be shown of each finished trial.

    That is hyperparameters, curve, confusion matrices, retention, similarity of layers and interpolated networks.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        trials: The Optuna trials themselves, whose curves and confusion matrices no table has.
    """
    front = front_table(table)
    return {
        "labels": {domain: dataset_label(record, domain) for domain in DOMAINS},
        "expressions": list(record.expressions.names),
        "layers": list(record.architecture.blocks),
        "baseline": {
            "source": record.baseline.source_val,
            "target": record.baseline.target_val,
            "confusion": record.baseline.confusion,
            "confusion_of_folds": record.baseline.confusion_of_folds,
        },
        "trials": _details_by_number(record, table, front, trials),
    }


def _details_by_number(
    record: StudyRecord, table: pd.DataFrame, front: pd.DataFrame, trials: Iterable[FrozenTrial]
) -> dict[str, dict[str, Any]]:
    trial_by_number = {trial.number: trial for trial in counted_trials(trials)}
    interpolated = _interpolated_by_number(table, front)
    expected = _expected_by_number(record, table)
    names = varied_hyperparameters(table)
    plan = SearchPlan.of(record)
    has_rungs = table["rung"].nunique() > 1

    # The front's trials come first where there are too many.
    finished = finished_trials(table)
    rows = finished.assign(on_front=finished["number"].isin(front["trial"]))
    rows = rows.sort_values(["on_front", "number"], ascending=False)[:MOST_TRIALS]

    details = {}
    for row in rows.sort_values("number").to_dict("records"):
        trial_number = row["number"]
        trial_details = _trial_details(row, trial_by_number[trial_number], names, record)
        trial_details["interpolated"] = interpolated.get(trial_number, [])
        trial_details["expected"] = expected.get(trial_number)
        trial_details["place"] = _describe_place(row, plan, has_rungs)
        trial_details["fold"] = int(row["fold"]) if plan.folds > 1 and row["fold"] >= 0 else None
        if plan.images is not None:
            trial_details["baseline_target"] = _round(plan.baseline_at(row["fold"]))
        details[str(trial_number)] = trial_details
    return details


def _trial_details(row: Mapping[Any, Any], trial: FrozenTrial, names: list[str], record: StudyRecord) -> dict[str, Any]:
    """Returns what is shown of one trial.

    Args:
        row: Its row of the table by column, with whether it is on the front.
        trial: The Optuna trial.
        names: Hyperparameters that vary over the study.
        record: The study's record.
    """
    attributes = TrialAttributes.of(trial)
    confusion = attributes.confusion or {}
    if not is_confusion(confusion, len(record.expressions)):
        confusion = {}
    curve = [point for point in attributes.curve or [] if isinstance(point, dict)]
    return {
        "strategy": str(row["strategy"]),
        "front": row["on_front"],
        "source": row["source_val"],
        "target": row["target_val"],
        "hyperparameters": {str(name): str(format_value(row[name])) for name in names},
        "curve": {column: [_round(point.get(column)) for point in curve] for column in CURVE_COLUMNS},
        "confusion": confusion,
        "retention": [_round(row.get(f"retention_{name}")) for name in record.expressions.names],
    }


def _describe_place(row: Mapping[Any, Any], plan: SearchPlan, has_rungs: bool) -> str:
    """Returns "rung 2, fold 1 of 5, repeat 1, of the race", as far as the study has these.

    Args:
        row: The trial's row of the table by column.
        plan: Of the study.
        has_rungs: Whether the study's trials are on several rungs.
    """
    words = []
    if has_rungs:
        words.append(f"rung {row['rung']}")
    if plan.folds > 1:
        on_one = f"fold {row['fold'] + 1} of {plan.folds}"
        words.append(f"all {plan.folds} folds" if row["fold"] == EVERY_FOLD else on_one)
    if row["repeat"]:
        words.append(f"repeat {row['repeat']}")
    if row["race"]:
        words.append("of the race")
    return ", ".join(words)


def _expected_by_number(record: StudyRecord, table: pd.DataFrame) -> dict[int, str]:
    """Returns what is expected of the adapted network of each recipe, by the number of its first trial."""
    networks = candidate_networks(table)
    if "probability" not in networks:
        return {}
    sentences = {}
    is_trained = (networks["search_alpha"] == 1) & (networks["trainings"] > 0)
    for network in networks[is_trained].to_dict("records"):
        accuracies = [f"{dataset_label(record, domain)} {expected_text(network, domain)} %" for domain in DOMAINS]
        sentences[network["number"]] = (
            f"Expected from {count_of(int(network['trainings']), 'training')} on "
            f"{count_of(int(network['folds']), 'fold')}: {', '.join(accuracies)}; on the front with a probability of "
            f"{format_percent(network['probability'], 0)} %."
        )
    return sentences


def _interpolated_by_number(table: pd.DataFrame, front: pd.DataFrame) -> dict[int, list[dict[str, Any]]]:
    """Returns the networks between the baseline and the end of each trial, by the trial's number."""
    networks = candidate_networks(table)
    networks = networks.assign(on_front=is_on_front(networks, front))
    by_number: dict[int, list[dict[str, Any]]] = {}
    for network in networks[networks["search_alpha"] < 1].to_dict("records"):
        shown = {
            "alpha": describe_interpolation(network["search_alpha"], network["search_slope"]),
            "source": _round(network["source_val"]),
            "target": _round(network["target_val"]),
            "front": bool(network["on_front"]),
        }
        by_number.setdefault(network["number"], []).append(shown)
    return by_number


def _round(value: object) -> float | None:
    finite = number(value)
    return None if finite is None else round(finite, 5)
