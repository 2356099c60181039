"""What the interactive front shows of each network when two of them are compared, as data for JSON."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.fronts import candidate_networks, find_recommended, front_table, is_on_front, model_names
from study.record import DOMAINS, StudyRecord, number
from study.reporting.plotly_charts import BASELINE
from study.reporting.tables import varied_hyperparameters
from study.reporting.wording import (
    SAME_DIGITS,
    candidate_name,
    describe_interpolation,
    expected_text,
    format_percent,
    format_value,
    tested_text,
)
from study.stored_results import Row
from study.trials import OBJECTIVES, model_file
from study.tuning.summary import SearchSummary

MOST_NETWORKS = 6000
"""Networks that can be compared; of more, the front's and the latest, so that the page stays a few megabytes."""


def collect_network_details(
    record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None = None
) -> dict[str, Any]:
    """Returns what is compared of networks, by the file of each, and which two are compared at first.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    front = front_table(table)
    networks = candidate_networks(table)
    models = model_names(networks)
    networks = networks.assign(model=models, on_front=is_on_front(networks, front))
    networks["is_named"] = networks["on_front"] | (networks["model"] == _nearest_file(summary))
    networks = networks.sort_values(["is_named", "number"], ascending=False, kind="stable")[:MOST_NETWORKS]
    varied = varied_hyperparameters(table)

    details = {BASELINE: _baseline_details(record)}
    for network in networks.to_dict("records"):
        details[network["model"]] = _network_details(record, network, varied, summary)

    recommended = find_recommended(front)
    return {
        "networks": details,
        "compared": [BASELINE, _choose_first(front, summary, details)],
        "recommended": None if recommended is None else recommended["model"],
        "expected": summary is not None,
        "hyperparameters": [name.replace("_", " ") for name in varied],
    }


def _choose_first(front: pd.DataFrame, summary: SearchSummary | None, details: Mapping[str, Any]) -> str:
    """Returns the network that is compared with the baseline at first: the recommended one, or the nearest to it.

    Args:
        front: Of `study.fronts.front_table`.
        summary: What the search found; None for a study whose trials stored no answers.
        details: What is known of each network, by its file.

    Returns:
        Its file; BASELINE where there is none.
    """
    recommended = find_recommended(front)
    if recommended is not None:
        return str(recommended["model"])
    nearest = _nearest_file(summary)
    if nearest in details:
        return nearest
    learned = front[front["strategy"] != "BL"].sort_values("target_val")
    return BASELINE if learned.empty else str(learned["model"].iloc[-1])


def _nearest_file(summary: SearchSummary | None) -> str:
    """Returns the file of the network that came nearest to being recommended; empty where none is named."""
    if summary is None or summary.nearest is None:
        return ""
    return model_file(summary.nearest.trial, summary.nearest.alpha, summary.nearest.slope)


def _network_details(
    record: StudyRecord, network: dict[Any, Any], varied: list[str], summary: SearchSummary | None
) -> Row:
    """Returns what is shown of one network, texts as they are printed; recalls are shares."""
    name = candidate_name(network)
    accuracies = [f"{format_percent(network[objective])} %" for objective in OBJECTIVES]
    if number(network.get("target_lower")) is not None:
        accuracies = [f"{expected_text(network, domain)} %" for domain in DOMAINS]

    baseline_source = record.baseline.source_val
    kept = network["source_val"] / baseline_source if baseline_source else None
    point = record.results.find_point(network)
    tested = record.results.find_recalls(network["model"])
    return {
        "name": name[0].upper() + name[1:],
        "trial": int(network["number"]),
        "alpha": describe_interpolation(network["search_alpha"], network["search_slope"]),
        "strategy": str(network["strategy"]),
        "front": bool(network["on_front"]),
        "place": [round(100 * float(network[objective]), 4) for objective in OBJECTIVES],
        "accuracies": accuracies,
        "kept": f"{format_percent(kept)} %",
        "tested": None if point is None else [f"{tested_text(point, domain)} %" for domain in DOMAINS],
        "hyperparameters": [str(format_value(network[name])) for name in varied],
        "recalls": _recalls_on_validation(record, network, summary),
        "test_recalls": None if tested is None else _recalls_of(tested[1], record),
        "cka": record.results.find_layer_similarity(network["model"]),
    }


def _recalls_on_validation(
    record: StudyRecord, network: Mapping[Any, Any], summary: SearchSummary | None
) -> list[list[float | None]] | None:
    """Returns a network's recalls by domain and expression on validation images; None where they are not known."""
    if network["strategy"] == "BL":
        return _recalls_in(record.baseline.measures, record)
    if summary is not None:
        changes = summary.expressions.get(network["model"])
        if changes is None:
            return None
        after = {(change.domain, change.expression): change.after for change in changes}
        return [[_round(after.get((domain, name))) for name in record.expressions.names] for domain in DOMAINS]

    # A trial's own measures are those of its adapted network.
    is_adapted = (network["search_alpha"], network["search_slope"]) == (1, 0)
    return _recalls_in(network, record) if is_adapted else None


def _recalls_in(measures: Mapping[Any, Any], record: StudyRecord) -> list[list[float | None]]:
    names = record.expressions.names
    return [[_round(measures.get(f"{domain}_recall_{name}")) for name in names] for domain in DOMAINS]


def _recalls_of(recalls: Row, record: StudyRecord) -> list[list[float | None]]:
    names = record.expressions.names
    return [[_round(recalls.get(domain, {}).get(name)) for name in names] for domain in DOMAINS]


def _baseline_details(record: StudyRecord) -> Row:
    """Returns what is shown of the baseline."""
    baseline = record.baseline
    accuracies = {"source": baseline.source_val, "target": baseline.target_val}
    results = record.results
    point = results.points[0] if results.points else None
    tested = results.class_results[0].get("recall") if results.class_results else None
    place = [round(100 * value, 4) for value in accuracies.values() if value is not None]
    return {
        "name": "Baseline",
        "trial": None,
        "alpha": "0",
        "strategy": "BL",
        "front": False,
        "place": place if len(place) == len(DOMAINS) else None,
        "accuracies": [f"{format_percent(accuracies[domain])} %" for domain in DOMAINS],
        "kept": "100.0 %",
        "tested": None if point is None else [f"{tested_text(point, domain)} %" for domain in DOMAINS],
        "hyperparameters": None,
        "cka": None,
        "recalls": _recalls_in(baseline.measures, record),
        "test_recalls": _recalls_of(tested, record) if tested else None,
    }


def _round(value: object) -> float | None:
    finite = number(value)
    # The page rounds it to a decimal: to round twice may end elsewhere than the tables.
    return None if finite is None else round(finite, SAME_DIGITS)
