"""How much the recommended network can be relied on: by its confirmation, or else by validation images."""

import math
from collections.abc import Mapping

import pandas as pd

from fer.evaluation.intervals import Estimate, Variance
from study.fronts import candidate_networks, front_table, model_names
from study.record import DOMAINS, StudyRecord, number
from study.reporting.expectations import describe_expected, has_expectations
from study.reporting.significance import SIGNIFICANCE, count_units, describe_change
from study.reporting.wording import (
    confirmed_name,
    count_seeds,
    dataset_label,
    file_interval_text,
    format_percent,
    interval_text,
)
from study.stored_results import Row
from study.trials import INTERPOLATED_COLUMN, TARGET_ERROR_MEASURE, finished_trials, interpolation_name
from study.tuning.summary import SearchSummary


def describe_certainty(
    record: StudyRecord, table: pd.DataFrame, knee: pd.Series, summary: SearchSummary | None = None
) -> str:
    """Returns sentences about how much the recommended network can be relied on.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        knee: The recommended network, of `study.fronts.find_recommended`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    point = record.results.find_point(knee)
    if point is None and summary is not None and has_expectations(knee):
        return (
            f"{describe_expected(record, knee, summary)} A confirmation tests it on images that the search never saw."
        )
    if point is None:
        return _describe_unconfirmed(record, table, knee)

    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    changes = " ".join(describe_change(record, point, domain) for domain in DOMAINS)
    rivals = _describe_rivals(record, knee)
    optimism = _describe_expectation(point, target) if has_expectations(knee) else _describe_optimism(point, target)
    accuracies = f"{interval_text(point, 'source')} % on {source} and {interval_text(point, 'target')} % on {target}"
    seeds = count_seeds(point["seeds"])
    of_file = _describe_file(record, point)
    tested = f"Trained again with {seeds} and tested on images that the search never saw, it reaches {accuracies}."
    if of_file:
        tested = f"{of_file} Another training of it would give about {accuracies}, the mean over {seeds}."
    stronger = describe_stronger_strategies(record, knee)
    return f"{tested} {changes}{optimism} {rivals} {stronger}".rstrip()


# Where it was confirmed.


def _describe_file(record: StudyRecord, point: Row) -> str:
    """Returns what the very network that is handed over reaches; empty where it was not tested."""
    accuracies = []
    for domain in DOMAINS:
        accuracy = file_interval_text(point, domain)
        if accuracy:
            accuracies.append(f"{accuracy} % on {dataset_label(record, domain)}")
    if not accuracies:
        return ""
    return f"Tested on images that the search never saw, the file itself reaches {' and '.join(accuracies)}."


def _describe_expectation(point: Row, target: str) -> str:
    """Returns by how much the search's expectation differs from the test, with a space before; empty if unknown."""
    optimism = number(point.get("target_optimism"))
    if optimism is None:
        return ""
    direction = "more" if optimism > 0 else "less"
    return f" The search had expected {format_percent(abs(optimism))} points {direction} on {target}."


def _describe_optimism(point: Row, target: str) -> str:
    """Returns how validation had flattered a confirmed network, with a space before; empty where it did not."""
    optimism = number(point.get("target_optimism"))
    if not optimism:
        return ""
    direction = "better" if optimism > 0 else "worse"
    return f" On validation {target} had looked {format_percent(abs(optimism))} points {direction}."


def _describe_rivals(record: StudyRecord, knee: pd.Series) -> str:
    """Returns from how many tested points of the front the recommended one differs significantly."""
    tested = sum(bool(point.get("front")) for point in record.results.points)
    if tested == 1:
        return "It is the only tested point of the front."
    others = f"the front's {tested - 1} other tested points"
    indistinguishable = record.results.indistinguishable.get(knee["model"], [])
    if not indistinguishable:
        return f"It differs significantly from all of {others}."
    return f"From {len(indistinguishable)} of {others} it does not differ significantly."


def describe_stronger_strategies(record: StudyRecord, network: pd.Series | None) -> str:
    """Returns which named strategies were better than the recommended network on both test sets; empty for none.

    Both are trained again there, with the same seeds. The difference is not tested.

    Args:
        record: The study's record.
        network: The recommended network, of `study.fronts.find_recommended`; None where there is none, which leaves
            the baseline.
    """
    if not record.results.points:
        return ""
    point = record.results.points[0] if network is None else record.results.find_point(network)
    if point is None:
        return ""
    stronger = [other for other in record.results.points if other.get("named") and _is_above(other, point)]
    if not stronger:
        return ""

    # Each with its accuracies and its budget.
    budgets = _list_budgets(record)
    parts = []
    for other in stronger:
        accuracies = " and ".join(format_percent(other[f"{domain}_test"]) for domain in DOMAINS)
        parts.append(f"{confirmed_name(other)} ({accuracies} %{_compare_budgets(budgets, other, point)})")
    labels = " and ".join(dataset_label(record, domain) for domain in DOMAINS)
    whom = "the baseline" if network is None else "the recommended network trained again"
    own = " and ".join(format_percent(point[f"{domain}_test"]) for domain in DOMAINS)
    words = f"On test images of both {labels}, {' and '.join(parts)} did better than {whom} ({own} %)"
    of_target = f"{dataset_label(record, 'target')} has {count_units(record, 'target')}"
    # A change from the baseline has its p-value.
    if network is None:
        return f"{words}; {of_target}."
    return f"{words}. Whether that is more than chance was not tested; {of_target}."


def _is_above(other: Row, point: Row) -> bool:
    """Returns whether one confirmed network is more accurate than another on both test sets."""
    return all(other[f"{domain}_test"] > point[f"{domain}_test"] for domain in DOMAINS)


def _list_budgets(record: StudyRecord) -> dict[str, float]:
    """Returns the passes over the target of each job of a confirmation, by its name; what is odd is left out."""
    jobs = record.confirmation.get("jobs")
    budgets = {}
    for job in jobs if isinstance(jobs, list) else []:
        config = job.get("config") if isinstance(job, Mapping) else None
        passes = number(config.get("epochs")) if isinstance(config, Mapping) else None
        if passes is not None:
            budgets[str(job.get("name"))] = passes
    return budgets


def _compare_budgets(budgets: Mapping[str, float], other: Row, point: Row) -> str:
    """Returns ", trained for 256 passes over the target against 16"; empty where budgets are equal or unknown."""
    if point.get("strategy") == "BL":  # it trains nothing
        return ""
    passes = budgets.get(str(other["name"]))
    own_passes = budgets.get(str(point["name"]))
    if passes is None or own_passes is None or passes == own_passes:
        return ""
    return f", trained for {passes:g} passes over the target against {own_passes:g}"


# Where it was not.


def _describe_unconfirmed(record: StudyRecord, table: pd.DataFrame, knee: pd.Series) -> str:
    """Returns what validation images alone show of the recommended network."""
    trainings = len(finished_trials(table))
    image_count, people = validation_counts(record)
    estimate = validation_estimate(table, knee, image_count, people)
    images = f"{image_count:,} {dataset_label(record, 'target')} validation images"

    # Each reading of the validation images has its sentence; none where the record does not count them.
    text = f"Not sure: it is the best of {trainings} trainings on the images it was chosen by."
    if image_count and people == 1:
        text += f" The {images} show one person, who says nothing about others."
    elif image_count and estimate is None:
        text += f" The {images} show {people} people; how much they differ was not recorded."
    elif estimate is not None:
        whom = f"{people} people" if people else "unknown people (each counted as a person)"
        low, high = estimate.interval_of_share(1 - SIGNIFICANCE)

        # The recommended network lies within its own interval.
        accuracies = front_table(table)["target_val"]
        rivals_within = int(accuracies.between(low, high).sum()) - 1
        text += (
            f" {format_percent(knee['target_val'])} % of {images} of {whom} is {format_percent(low)} to "
            f"{format_percent(high)} % at 95 % "
            f"confidence for other people, even before counting that it was chosen."
        )
        others = len(accuracies) - 1
        if others:
            text += f" Of the front's {others} other networks {rivals_within} lie within that interval."
    return f"{text} A confirmation would say more."


def validation_counts(record: StudyRecord) -> tuple[int, int]:
    """Returns on how many target images, and of how many people, target accuracy was measured; 0 where unknown.

    Those are the validation images; over folds also the training images, each of which validates in one fold.
    """
    has_folds = record.options.get("folds")
    splits = ("train", "validation") if has_folds else ("validation",)
    images = sum(record.target.count_images(split) for split in splits)
    people = sum(record.target.count_people(split) for split in splits)
    return images, people


def validation_estimate(table: pd.DataFrame, knee: pd.Series, image_count: int, people: int) -> Estimate | None:
    """Returns the recommended network's target accuracy on validation with its error for other people.

    Args:
        table: Trials, of `study.trials.trials_table`.
        knee: The recommended network, of `study.fronts.find_knee`.
        image_count: Number of validation images, 0 where unknown.
        people: Number of people whom they show, 0 where unknown.

    Returns:
        None where the error was not recorded, or where one person says nothing about others.
    """
    accuracy = float(knee["target_val"])
    units = people or image_count
    if units < 2:
        return None

    error = _recorded_error(table, knee)
    if error is None and not people:
        # A study from before errors were recorded: with each image as a person the binomial error is exact.
        variance = max(accuracy * (1 - accuracy), 1 / image_count)
        error = math.sqrt(variance / image_count)
    return None if error is None else Estimate(accuracy, error, (Variance(error**2, units - 1),), units)


def _recorded_error(table: pd.DataFrame, knee: pd.Series) -> float | None:
    """Returns the standard error of the recommended network's target accuracy, None where it was not recorded."""
    networks = candidate_networks(table)
    is_knee = [model == knee["model"] for model in model_names(networks)]
    network = networks[is_knee].iloc[0]

    # An interpolated network has a column of its own.
    column = TARGET_ERROR_MEASURE
    if (network["search_alpha"], network["search_slope"]) != (1, 0):
        interpolation = interpolation_name(network["search_alpha"], network["search_slope"])
        column = INTERPOLATED_COLUMN.format(column, interpolation)
    return number(network.get(column))
