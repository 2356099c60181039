"""The tables behind the report's findings: retention, expressions, freezing, differences, rungs, similarity."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fer.architecture import Depth
from study.fronts import LEVELS, candidate_networks, first_rung_networks, has_expectations, model_names
from study.record import DOMAINS, StudyRecord, number
from study.reporting.tables import Table
from study.reporting.wording import (
    candidate_name,
    confirmed_name,
    dataset_label,
    format_percent,
    format_points,
    points_text,
    tested_text,
)
from study.stored_results import Row
from study.trials import OBJECTIVES, RUNG_COLUMN, finished_trials, rung_shares


def build_rungs_table(table: pd.DataFrame) -> Table | None:
    """Returns how well each rung predicted the end: Spearman's rank correlation over the finished trials.

    Stopped trials have no end, so the worst are missing, which makes a correlation smaller than it is.

    Args:
        table: Trials, of `study.trials.trials_table`.
    """
    # Trials of different budgets differ by more than early stopping sees, as it compares those of one budget.
    rows = []
    of_rungs = list(table.groupby("rung", sort=True))
    for rung, trials in of_rungs:
        on_rung = "" if len(of_rungs) == 1 else f" on rung {rung}"
        reached = trials.dropna(axis="columns", how="all")
        rows += [_rung_row(trials, share, on_rung) for share in rung_shares(reached)]
    caption = (
        "Spearman's rank correlation of accuracies at a share of the budget with those at its end, over the finished "
        "trials that were evaluated there. Stopped trials have no end: the correlation over all would differ."
    )
    head = ["Budget spent", "Finished trials", "Source", "Target", "Stopped there"]
    return Table("rungs", caption, head, rows) if rows else None


def _rung_row(table: pd.DataFrame, share: str, on_rung: str) -> list[Any]:
    columns = _rung_columns(share)
    finished = finished_trials(table).dropna(subset=columns)
    correlations = []
    for objective, column in zip(OBJECTIVES, columns, strict=True):
        correlation = number(finished[column].rank().corr(finished[objective].rank()))
        correlations.append("–" if correlation is None else f"{correlation:.2f}")

    # A trial stopped here if it reached this rung and none after it.
    later = [column for other in rung_shares(table) if other > share for column in _rung_columns(other)]
    is_stopped = table["state"] == "stopped"
    reached = table[columns].notna().all(axis=1)
    ended = table[later].isna().all(axis=1)
    stopped_here = int((is_stopped & reached & ended).sum())
    return [f"{100 * float(share):.0f} %{on_rung}", len(finished), *correlations, stopped_here]


def _rung_columns(share: str) -> list[str]:
    return [RUNG_COLUMN.format(objective, share) for objective in OBJECTIVES]


def best_on_target(networks: pd.DataFrame, min_source_accuracy: float) -> pd.Series | None:
    """Returns the network with the highest target accuracy among those that keep a source accuracy, None if none do.

    Args:
        networks: Of `study.fronts.candidate_networks`.
        min_source_accuracy: The source accuracy that must stay, as a share.
    """
    candidates = networks[networks["source_val"] >= min_source_accuracy]
    if candidates.empty:
        return None
    return candidates.sort_values(["target_val", "source_val"], ascending=False, kind="stable").iloc[0]


def build_retention_table(record: StudyRecord, table: pd.DataFrame) -> Table | None:
    """Returns the best network on the target for each share of the source accuracy that must stay.

    None where the baseline's accuracy is not recorded, or no trial has finished.
    """
    baseline = record.baseline.accuracies
    if baseline is None or finished_trials(table).empty:
        return None
    baseline_source = baseline[0]
    networks = candidate_networks(table)
    networks["model"] = model_names(networks)
    is_confirmed = any(point["model"] for point in record.results.points)

    head = ["Source kept, at least", "Network", "Source %", "Target %"]
    if is_confirmed:
        head.append("Target % on test")
    rows: list[list[Any]] = []
    for level in LEVELS:
        best = best_on_target(networks, level * baseline_source)
        cells = ["none", "–", "–"] if best is None else _network_cells(best)
        if is_confirmed:
            cells.append("–" if best is None else _test_cell(record.results.find_point(best)))
        rows.append([f"{100 * level:.0f} %", *cells])
    caption = (
        "The best on the target by how much of the source accuracy must stay, chosen on validation images, which "
        "flatters what is chosen."
    )
    if has_expectations(table):
        caption = (
            "The best expected accuracy on the target by how much of the source accuracy must stay, over networks of "
            "all rungs, whose budgets differ."
        )
    return Table("retention", caption, head, rows)


def _network_cells(network: pd.Series) -> list[Any]:
    """Returns a network's name and both accuracies."""
    accuracies = [format_percent(network[objective]) for objective in OBJECTIVES]
    return [candidate_name(network, short=True), *accuracies]


def _test_cell(point: Row | None) -> str:
    return "not confirmed" if point is None else tested_text(point, "target")


def build_expressions_table(record: StudyRecord, model: str, trial: Row) -> Table | None:
    """Returns each expression's recall before and after, on test images where the network was confirmed.

    Args:
        record: The study's record.
        model: The network's file, which finds its confirmation.
        trial: Its trial's row of `study.trials.trials_table` by column, whose measures are on validation images.
    """
    before, after, images = find_recalls(record, model, trial)
    rows = [_expression_row(name, before, after) for name in record.expressions.names]
    if all(cell == "–" for cells in rows for cell in cells[1:]):
        return None
    head = ["Expression"]
    for domain in DOMAINS:
        label = dataset_label(record, domain)
        head += [f"{label} before %", f"{label} after %", f"{label} Δ"]
    caption = (
        f"Recall of each expression before and after adaptation, on {images} images, and the change in points, which "
        "was not tested."
    )
    return Table("expressions", caption, head, rows)


def find_recalls(record: StudyRecord, model: str, trial: Row) -> tuple[Row, Row, str]:
    """Returns the recalls of the baseline and of a network by domain and expression, and on which images they are.

    Those are "test" images where the network was confirmed, else "validation" images.

    Args:
        record: The study's record.
        model: The network's file.
        trial: Its trial's row of `study.trials.trials_table` by column.
    """
    tested = record.results.find_recalls(model)
    if tested is not None:
        return *tested, "test"
    names = record.expressions.names
    before = _validation_recalls(record.baseline.measures, names)
    return before, _validation_recalls(trial, names), "validation"


def _validation_recalls(measures: Mapping[str, Any], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns recalls by domain and expression from a mapping of measures."""
    return {domain: {name: measures.get(f"{domain}_recall_{name}") for name in names} for domain in DOMAINS}


def _expression_row(name: str, before: Row, after: Row) -> list[str]:
    """Returns an expression's recall before, after and their difference in points, for both domains."""
    cells = [name]
    for domain in DOMAINS:
        first = number(before.get(domain, {}).get(name))
        last = number(after.get(domain, {}).get(name))
        change = "–" if first is None or last is None else format_points(last - first)
        cells += [format_percent(first), format_percent(last), change]
    return cells


def freezing_bins(depth: Depth) -> list[int]:
    """Returns the ends of the ranges of frozen layers that are shown together, each with its upper end.

    They are none, two fifths and four fifths of the layers before the head, all of these, all but the last, and all.
    """
    before_head = [round(share * depth.head) for share in (0.4, 0.8)]
    return sorted({-1, 0, *before_head, depth.head, depth.last, depth.blocks})


def build_freezing_table(table: pd.DataFrame, depth: Depth) -> Table | None:
    """Returns what the first rung reached by how many layers were frozen; None where all froze equally many.

    Args:
        table: Trials, of `study.trials.trials_table`.
        depth: Of the study's network.
    """
    finished = first_rung_networks(table)
    if "frozen_layers" not in finished or finished["frozen_layers"].nunique() < 2:
        return None
    bins = pd.cut(pd.to_numeric(finished["frozen_layers"]), freezing_bins(depth))
    rows: list[list[Any]] = []
    for _, group in finished.groupby(bins, observed=True):
        layers = pd.to_numeric(group["frozen_layers"])
        fewest = layers.min()
        most = layers.max()
        label = f"{fewest}" if fewest == most else f"{fewest}–{most}"
        accuracies = []
        for objective in OBJECTIVES:
            accuracies += [format_percent(group[objective].median()), format_percent(group[objective].max())]
        rows.append([label, len(group), *accuracies])
    head = ["Frozen layers", "Configurations", "Source % median", "best", "Target % median", "best"]
    measured = "Expected accuracy" if has_expectations(table) else "Accuracy on validation images"
    caption = (
        f"{measured} by how many layers were frozen; configurations differ in other hyperparameters as well, and the "
        "best of more is higher."
    )
    if table["rung"].nunique() > 1:
        caption += " First rung alone, where all had the same budget."
    return Table("freezing", caption, head, rows)


def build_differences_table(record: StudyRecord) -> Table | None:
    """Returns the paired differences of the named strategies on test images; None where they were not compared."""
    rows = []
    for difference in pairs_of_strategies(record):
        label = f"{difference['one']} − {difference['other']}"
        rows.append([label, *(_difference_cell(difference, domain) for domain in DOMAINS)])
    head = ["Difference", *(f"{dataset_label(record, domain)}, points" for domain in DOMAINS)]
    comparisons = len(DOMAINS) * len(record.results.differences)
    caption = (
        "Paired differences in test accuracy, seed by seed, for other people and seeds; the intervals of all "
        f"{comparisons} comparisons hold together with 95 % (Bonferroni)."
    )
    return Table("differences", caption, head, rows) if rows else None


def pairs_of_strategies(record: StudyRecord) -> list[Row]:
    """Returns the differences of named strategies from each other.

    Earlier confirmations list one from the baseline as well, which is among the changes of the confirmed networks.
    """
    return [difference for difference in record.results.differences if difference["other"] != "BL"]


def _difference_cell(difference: Row, domain: str) -> str:
    """Returns a difference in points with its interval."""
    return points_text(*(difference[f"{domain}_{name}"] for name in ("mean", "lower", "upper")))


def build_similarity_table(record: StudyRecord) -> Table | None:
    """Returns what one training of each confirmed point changed inside the network; None where it was not measured."""
    architecture = record.architecture
    shown = architecture.shown_blocks()
    rows = []
    for point, details in record.results.pair_with_class_results():
        if not details.get("cka"):
            continue
        similarity = dict(zip(architecture.blocks, details["cka"], strict=False))
        layers = [f"{similarity[name]:.2f}" for name in shown]
        probe_change = number(details.get("probe_change"))
        drift = number(point.get("target_drift"))
        probe_cell = "–" if probe_change is None else format_points(probe_change)
        drift_cell = "–" if drift is None else f"{drift:.2f}"
        rows.append([confirmed_name(point), *layers, probe_cell, drift_cell])

    layer_labels = [f"CKA {name}" for name in shown]
    head = ["Network", *layer_labels, "Linear probe, points", "Drift, nats"]
    caption = (
        "Inside one training of each: linear CKA of layers with the baseline's and the change of a fresh linear probe, "
        "on source images; KL divergence from the baseline on target images, mean over seeds."
    )
    return Table("inside", caption, head, rows) if rows else None
