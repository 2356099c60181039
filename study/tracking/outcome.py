"""What MLflow is told of a search's and a confirmation's outcome: metrics and tags of runs and models, as plain data.

On the study's run, a few metrics under plain names are about the recommended network alone, so that MLflow's table of
runs compares studies.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from study.fronts import count_non_dominated, find_recommended, hypervolume_over_trials
from study.record import DOMAINS, StudyRecord
from study.reporting.expectations import has_expectations
from study.reporting.wording import row_name
from study.stored_results import Row
from study.tracking.payloads import Child, Metric, as_metrics, as_tags, child_tags, created_ms, milliseconds
from study.trial_attributes import TrialAttributes
from study.trials import STATES, hypervolume_reference, model_file
from study.tuning.summary import SearchSummary

if TYPE_CHECKING:
    import pandas as pd
    from optuna.trial import FrozenTrial

TRUE = "true"
"""The value of a tag that a run either has or lacks."""
TRIAL_TAGS = ("front", "recommended")
"""Tags of a trial's run that come and go: whether one of its networks is on the front, or is the recommended one."""
EARLIER_TAGS = ("recommended", "recommended.trial")
"""Tags of a study's run that earlier versions wrote, under names that trials now have or none has."""


# The search.


def search_metrics(table: "pd.DataFrame", record: StudyRecord, summary: SearchSummary | None = None) -> list[Metric]:
    """Returns hypervolume by trial, how the trials ended and how far luck went, as metrics of the study's run.

    Their times follow from the step, so that writing them again makes no second copy. Hypervolume is that of expected
    accuracies where these are known.

    Args:
        table: Of `study.trials.trials_table`.
        record: The study's record.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    if table.empty:
        return []
    start = created_ms(record) or 0

    reference = hypervolume_reference(record)
    volumes = hypervolume_over_trials(table, reference)
    metrics: list[Metric] = []
    for trial, volume in zip(table["number"], volumes, strict=True):
        step = int(trial)
        metrics.append(("hypervolume", float(volume), start + step, step))

    figures: dict[str, Any] = {f"trials/{state}": int((table["state"] == state).sum()) for state in STATES.values()}
    if summary is not None:
        figures["optimism"] = summary.optimism
        figures["observed_hypervolume"] = summary.observed_hypervolume
    return metrics + _at_last_trial(figures, table, record) + _race_metrics(summary, start)


def front_metrics(table: "pd.DataFrame", front: "pd.DataFrame", record: StudyRecord) -> list[Metric]:
    """Returns the number of non-dominated networks as a metric of the study's run.

    Args:
        table: Of `study.trials.trials_table`.
        front: Of `study.fronts.front_table`.
        record: The study's record.
    """
    return _at_last_trial({"front_size": count_non_dominated(front)}, table, record)


def _at_last_trial(figures: Mapping[str, Any], table: "pd.DataFrame", record: StudyRecord) -> list[Metric]:
    """Returns figures as metrics whose step is the last trial's number; none where no trial has ended."""
    if table.empty:
        return []
    last = int(table["number"].max())
    return as_metrics(figures, (created_ms(record) or 0) + last, last)


def _race_metrics(summary: SearchSummary | None, start: int) -> list[Metric]:
    """Returns a race's course as metrics by how many of its trainings had ended; none where there was no race."""
    if summary is None or summary.race is None:
        return []
    metrics = []
    for step, state in enumerate(summary.race.states):
        figures = {"race/front": state.front, "race/undecided": state.undecided, "race/networks": state.networks}
        metrics += as_metrics(figures, start + step, step)
    return metrics


# The recommended network.


def recommended_metrics(
    table: "pd.DataFrame",
    front: "pd.DataFrame",
    record: StudyRecord,
    summary: SearchSummary | None,
    logged: Mapping[str, float],
) -> list[Metric]:
    """Returns what is known of the recommended network, as metrics `recommended_…` and `tested_…` of the study's run.

    MLflow never forgets a metric: where a study that went on recommends nothing any more, or a network of which less is
    known, what was logged before becomes NaN.

    Args:
        table: Of `study.trials.trials_table`.
        front: Of `study.fronts.front_table`.
        record: The study's record.
        summary: What the search found; None for a study whose trials stored no answers.
        logged: The run's metrics, by name.
    """
    outdated = [
        name for name, value in logged.items() if name.startswith(("recommended_", "tested_")) and not math.isnan(value)
    ]
    figures: dict[str, Any] = dict.fromkeys(outdated, math.nan)

    network = find_recommended(front)
    if network is not None:
        figures |= _recommended_figures(network, record, summary)
        point = record.results.find_point(network)
        if point is not None:
            figures |= _tested_figures(point, record.results.points[0])
    return _at_last_trial(figures, table, record)


def _recommended_figures(network: "pd.Series", record: StudyRecord, summary: SearchSummary | None) -> dict[str, Any]:
    """Returns figures of the recommended network by their metrics' names: shares, probabilities and their intervals."""
    figures: dict[str, Any] = {}
    for domain in DOMAINS:
        figures[f"recommended_{domain}"] = network[f"{domain}_val"]
        if has_expectations(network):
            figures[f"recommended_{domain}_lower"] = network[f"{domain}_lower"]
            figures[f"recommended_{domain}_upper"] = network[f"{domain}_upper"]
    figures["recommended_kept"] = share_kept(network["source_val"], record)

    # The gain on the target.
    if summary is not None and summary.recommended is not None:
        gain = summary.recommended.gains["target"]
        figures["recommended_gain"] = gain.mean
        figures["recommended_gain_lower"] = gain.lower
        figures["recommended_gain_upper"] = gain.upper
        figures["recommended_keeps_enough"] = summary.recommended.kept
    elif record.baseline.accuracies is not None:
        figures["recommended_gain"] = network["target_val"] - record.baseline.accuracies[1]
    if "probability" in network:
        figures["recommended_on_front"] = network["probability"]
    return figures


def _tested_figures(tested: Row, baseline: Row) -> dict[str, Any]:
    """Returns figures of the recommended network on test images, by their metrics' names."""
    figures: dict[str, Any] = {}
    for domain in DOMAINS:
        figures[f"tested_{domain}"] = tested[f"{domain}_test"]
        figures[f"tested_{domain}_lower"] = tested[f"{domain}_lower"]
        figures[f"tested_{domain}_upper"] = tested[f"{domain}_upper"]
    if baseline["source_test"]:
        figures["tested_kept"] = tested["source_test"] / baseline["source_test"]

    # The gain on the target; a confirmation of an earlier version may lack it.
    figures["tested_gain"] = tested.get("target_change")
    figures["tested_gain_lower"] = tested.get("target_change_lower")
    figures["tested_gain_upper"] = tested.get("target_change_upper")
    figures["tested_gain_p"] = tested.get("target_p")
    return figures


def share_kept(source_accuracy: float, record: StudyRecord) -> float | None:
    """Returns the share of the baseline's source accuracy that a network keeps; None where that is not known."""
    baseline = record.baseline.source_val
    return source_accuracy / baseline if baseline else None


def recommendation_tags(front: "pd.DataFrame", summary: SearchSummary | None) -> dict[str, str]:
    """Returns the tags of the study's run that say which network is recommended, or why none is.

    Args:
        front: Of `study.fronts.front_table`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    network = find_recommended(front)
    if network is None:
        obstacle = "no trial has finished"
        if summary is not None and summary.obstacle is not None:
            obstacle = str(summary.obstacle)
        missing = dict.fromkeys(("recommended_trial", "recommended_strategy", "recommended_file"), "none")
        return as_tags({"recommended_network": f"none: {obstacle}"} | missing)
    return as_tags(
        {
            "recommended_network": row_name(network),
            "recommended_trial": network["trial"],
            "recommended_strategy": network["strategy"],
            "recommended_file": network["model"],
        }
    )


def trial_outcome_tags(front: "pd.DataFrame") -> dict[int, dict[str, str]]:
    """Returns those of TRIAL_TAGS that the runs of trials have, by the trial's number.

    Args:
        front: Of `study.fronts.front_table`.
    """
    tags: dict[int, dict[str, str]] = {int(trial): {"front": TRUE} for trial in front["trial"]}
    recommended = find_recommended(front)
    if recommended is not None:
        tags[int(recommended["trial"])]["recommended"] = TRUE
    return tags


# Networks.


def network_metrics(network: "pd.Series", record: StudyRecord, at: int) -> list[Metric]:
    """Returns what is known of a network of the front, as metrics of its MLflow model and so of its trial's run.

    A trial may have several networks on the front. The step is where a network lies between the baseline, 0, and the
    trial's end, 100 (by layer: the middle), so that the run shows each metric over the interpolation.

    Args:
        network: A row of `study.fronts.front_table`.
        record: The study's record.
        at: When, in ms.
    """
    figures: dict[str, Any] = {}
    for domain in DOMAINS:
        accuracy = network[f"{domain}_val"]
        if has_expectations(network):
            figures[f"expected_{domain}"] = accuracy
            figures[f"expected_{domain}_lower"] = network[f"{domain}_lower"]
            figures[f"expected_{domain}_upper"] = network[f"{domain}_upper"]
            accuracy = network[f"observed_{domain}_val"]
        figures[f"observed_{domain}"] = accuracy
    figures["kept"] = share_kept(network["source_val"], record)
    figures["on_front"] = network.get("probability")

    middle = network["alpha"] + network.get("alpha_slope", 0.0) / 2
    return as_metrics(figures, at, round(100 * middle))


def network_tags(network: "pd.Series", trials: Iterable["FrozenTrial"]) -> dict[str, str]:
    """Returns what an MLflow model of a network is told by, and of which trials' networks it is the average.

    Args:
        network: A row of `study.fronts.front_table`.
        trials: All trials of the study.
    """
    tags = {"network": row_name(network), "trial": network["trial"], "strategy": network["strategy"]}
    parts = _find_parts(network["model"], trials)
    if len(parts) > 1:
        tags["averaged_of_trials"] = ", ".join(str(number) for number in parts)
    return as_tags(tags)


def _find_parts(model: str, trials: Iterable["FrozenTrial"]) -> list[int]:
    """Returns the trials whose networks' weights a file averages, by the last trial that made it; else nothing.

    A trial that makes networks to hand over reaches no objectives, so it ends as if it had been stopped.
    """
    parts: list[int] = []
    for trial in trials:
        attributes = TrialAttributes.of(trial)
        has_made_it = trial.state.name in ("COMPLETE", "PRUNED")
        if not has_made_it or attributes.recipe_of is None:
            continue
        files = [model_file(attributes.recipe_of, *point) for point in attributes.handed_over or []]
        if model in files:
            parts = list(attributes.parts or [])
    return parts


# The confirmation.


def confirmation_run(record: StudyRecord, parent: str) -> Child | None:
    """Returns the run of the study's confirmation; None before that.

    Args:
        record: The study's record.
        parent: The id of the study's run.
    """
    metrics = confirmed_metrics(record)
    if not metrics:
        return None
    finished = milliseconds(record.confirmation.get("finished")) or 0
    opened = milliseconds(record.confirmation.get("opened")) or finished
    note = (
        "What test images, evaluated once, say of the front's networks and of the named strategies, each trained again "
        "with several seeds. The study's run has the figures of the recommended network as `tested_…`."
    )
    tags = child_tags(record, parent, "confirmation", note)
    return Child("confirmation", tags, {}, metrics, opened, finished)


def confirmed_metrics(record: StudyRecord) -> list[Metric]:
    """Returns what was confirmed as metrics of the confirmation's run, `<point>/<metric>`; nothing before that."""
    finished = milliseconds(record.confirmation.get("finished"))
    if finished is None:
        return []
    metrics = []
    for point in record.results.points:
        place = "" if point["alpha"] == "1" else f" at {point['alpha']}"
        network = f"{point['name']}{place}"
        figures = {f"{network}/{name}": value for name, value in point.items() if isinstance(value, float)}
        metrics += as_metrics(figures, finished)
    return metrics
