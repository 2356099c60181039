"""How sure the study's statements are: what a confirmation shows of them, or what validation images can show."""

import math
from typing import Any

import pandas as pd

from fer.evaluation.intervals import Estimate, Variance
from study.fronts import candidate_networks, front_table, model_names
from study.record import DOMAINS, confirmed_points, number, section
from study.reporting.wording import dataset_label, format_percent, interval_text, points_text
from study.trials import ERROR, INTERPOLATED_COLUMN, finished_trials, interpolation_name

SIGNIFICANCE = 0.05
"""A corrected p-value below this is called significant; intervals have the level 1 - SIGNIFICANCE."""
FEW_PEOPLE = 5
_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}


def results_of(info: dict) -> dict:
    """Returns what a confirmation measured, an empty dict where there is none."""
    return section(section(info, "confirmation"), "results")


def find_confirmed_point(info: dict, model: str) -> dict | None:
    """Returns the confirmation of a network, None where there is none.

    Args:
        info: The study's record.
        model: The network's file, relative to the study's folder.
    """
    for point in confirmed_points(info):
        if point.get("model") == model:
            return point
    return None


# The recommended network.


def describe_certainty(info: dict, table: pd.DataFrame, knee: pd.Series) -> str:
    """Returns sentences about how much the recommended network can be relied on.

    Args:
        info: The study's record.
        table: Trials, of `study.trials.trials_table`.
        knee: The recommended network, of `study.fronts.find_knee`.
    """
    point = find_confirmed_point(info, knee["model"])
    if point is None:
        return _describe_unconfirmed(info, table, knee)

    source, target = (dataset_label(info, domain) for domain in DOMAINS)
    changes = " ".join(change_words(info, point, domain) for domain in DOMAINS)
    seeds = "1 seed" if point["seeds"] == 1 else f"{point['seeds']} seeds"
    rivals = _describe_rivals(info, knee, len(front_table(table)))
    return (
        f"Trained again with {seeds} and tested on images that the search never saw, it reaches "
        f"{interval_text(point, 'source')} % on {source} and {interval_text(point, 'target')} % on {target}. "
        f"{changes}{_describe_optimism(point, target)} {rivals}"
    )


def _describe_optimism(point: dict, target: str) -> str:
    """Returns how validation had flattered a confirmed network, with a space before; empty where it did not."""
    optimism = number(point.get("target_optimism"))
    if not optimism:
        return ""
    direction = "better" if optimism > 0 else "worse"
    return f" On validation {target} had looked {abs(100 * optimism):.1f} points {direction}."


def _describe_rivals(info: dict, knee: pd.Series, front_size: int) -> str:
    """Returns from how many points of the front the recommended one differs significantly."""
    if front_size == 1:
        return "It is the front's only point."
    indistinguishable = section(results_of(info), "alike").get(knee["model"], [])
    if not indistinguishable:
        return f"It differs significantly from all of the front's {front_size - 1} other points."
    return (
        f"From {len(indistinguishable)} of the front's {front_size - 1} other points it does not differ significantly."
    )


def _describe_unconfirmed(info: dict, table: pd.DataFrame, knee: pd.Series) -> str:
    """Returns what validation images alone show of the recommended network."""
    trainings = len(finished_trials(table))
    text = f"Not sure: it is the best of {trainings} trainings on the images it was chosen by."
    count, people = validation_counts(info)
    estimate = validation_estimate(table, knee, count, people)
    images = f"{count:,} {dataset_label(info, 'target')} validation images"

    if count and people == 1:
        text += f" The {images} show one person, who says nothing about others."
    elif count and estimate is None:
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
            f"confidence for other people, even before counting that it was chosen; {rivals_within} of the front's "
            f"{len(accuracies) - 1} other points lie within."
        )
    return f"{text} python -m study.confirm {info.get('name', 'STUDY')} would say more."


def validation_counts(info: dict) -> tuple[int, int]:
    """Returns how many target images, and of how many people, an objective was measured on; 0 where unknown.

    Over folds that is training and validation.
    """
    report = section(section(info, "target"), "report")
    has_folds = section(info, "options").get("folds")
    splits = ("train", "validation") if has_folds else ("validation",)
    images = _count_over_splits(section(report, "sizes"), splits)
    people = _count_over_splits(section(report, "subjects"), splits)
    return images, people


def _count_over_splits(counts: dict, splits: tuple[str, ...]) -> int:
    recorded = [counts.get(split) for split in splits]
    return sum(count for count in recorded if isinstance(count, int))


def validation_estimate(table: pd.DataFrame, knee: pd.Series, count: int, people: int) -> Estimate | None:
    """Returns the recommended network's target accuracy on validation with its error for other people.

    Args:
        table: Trials, of `study.trials.trials_table`.
        knee: The recommended network, of `study.fronts.find_knee`.
        count: Number of validation images, 0 where unknown.
        people: Number of people whom they show, 0 where unknown.

    Returns:
        None where the error was not recorded, or where one person says nothing about others.
    """
    accuracy = float(knee["target_val"])
    units = people or count
    if units < 2:
        return None

    networks = candidate_networks(table)
    is_knee = [model == knee["model"] for model in model_names(networks)]
    network = networks[is_knee].iloc[0]
    column = ERROR
    if (network["share"], network["slope"]) != (1, 0):
        interpolation = interpolation_name(network["share"], network["slope"])
        column = INTERPOLATED_COLUMN.format(column, interpolation)

    error = number(network.get(column))
    if error is None and not people:
        # A study from before errors were recorded: with each image as a person the binomial error is exact.
        variance = max(accuracy * (1 - accuracy), 1 / count)
        error = math.sqrt(variance / count)
    return None if error is None else Estimate(accuracy, error, (Variance(error**2, units - 1),), units)


# Changes from the baseline on test images.


def change_words(info: dict, point: dict, domain: str) -> str:
    """Returns how a confirmed network differs from the baseline, and which difference could not have been detected.

    Args:
        info: The study's record.
        point: A confirmed point of the record.
        domain: "source" or "target".
    """
    label = dataset_label(info, domain)
    change = number(point.get(f"{domain}_change"))
    if change is None:
        return f"On {label} its change from the baseline was not recorded."

    comparisons = results_of(info).get("comparisons")
    corrected = "corrected" if comparisons is None else f"corrected for {comparisons} comparisons"
    p_corrected = point[f"{domain}_p"]
    p_alone = point[f"{domain}_p_alone"]
    values = f"p = {p_corrected:.2g} {corrected}, {p_alone:.2g} alone"
    words = f"On {label} that is {change_text(point, domain)} points from the baseline"

    if p_corrected < SIGNIFICANCE:
        direction = "better" if change > 0 else "worse"
        return f"{words}, significantly {direction} ({values})."
    power = sensitivity(info, domain, point.get(f"{domain}_detectable"))
    words += f", not significantly different ({values})"
    return f"{words}; {power}." if power else f"{words}."


def change_text(point: dict, domain: str) -> str:
    """Returns "+5.0 [-3.0, +13.0]", a confirmed network's change from the baseline in points."""
    mean = point[f"{domain}_change"]
    return points_text(mean, point[f"{domain}_change_lower"], point[f"{domain}_change_upper"])


def count_units(info: dict, domain: str) -> str:
    """Returns the size of a domain's test set: "3 test people", or "67 test images" where people are unknown."""
    tested = section(section(results_of(info), "tested"), domain)
    if tested.get("people") is None:
        return f"{tested['images']:,} test images" if "images" in tested else "this test set"
    return "1 test person" if tested["people"] == 1 else f"{tested['people']:,} test people"


def sensitivity(info: dict, domain: str, detectable: Any) -> str:
    """Returns how large a true difference must be for a test to find it in four of five cases (a power of 80 %).

    Args:
        info: The study's record.
        domain: "source" or "target".
        detectable: The smallest difference that is found with a power of 80 %, as a share.
    """
    smallest = number(detectable)
    if smallest is None:
        return ""
    units = f"with {count_units(info, domain)}"
    if smallest >= 1:
        return f"{units} no true difference, however large, would be found four times in five"
    points = f"{100 * smallest:.2g} points"
    return f"{units} a true difference would have to be about {points} to be found four times in five"


# Differences between the points of the front.


def differing_points(info: dict) -> str:
    """Returns which points of the front differ significantly on test images, and what tests could not have found."""
    indistinguishable = section(results_of(info), "alike")
    count = len(indistinguishable)
    if count < 2:
        return "The front has one point, so there is nothing to compare."
    if not any(indistinguishable.values()):
        return f"All {count} points of the front differ significantly from each other on test images."

    power = _describe_power_of_pairs(info)
    if all(len(others) == count - 1 for others in indistinguishable.values()):
        return f"No two of the front's {count} points differ significantly on test images.{power}"

    distinct = sum(not others for others in indistinguishable.values())
    verb = "differs" if distinct == 1 else "differ"
    pairs = _list_indistinguishable_pairs(indistinguishable)
    return (
        f"{distinct} of the front's {count} points {verb} significantly from every other on test images. Not "
        f"significantly different are {'; '.join(pairs)}.{power}"
    )


def _describe_power_of_pairs(info: dict) -> str:
    """Returns the difference that tests of pairs would have found, with a space before; empty where not recorded."""
    detectable = section(section(results_of(info), "pairs"), "detectable")
    limits = [
        f"on {dataset_label(info, domain)}, {sensitivity(info, domain, detectable.get(domain))}"
        for domain in DOMAINS
        if domain in detectable
    ]
    return f" For the median of the pairs: {'; '.join(limits)}." if limits else ""


def _list_indistinguishable_pairs(indistinguishable: dict[str, list[str]]) -> list[str]:
    """Returns "trial 1 from trial 2, trial 3" for each network; a pair is named once, at its first network."""
    pairs = []
    named: set[str] = set()
    for model, others in indistinguishable.items():
        named.add(model)
        later = [_short_name(other) for other in others if other not in named]
        if later:
            pairs.append(f"{_short_name(model)} from {', '.join(later)}")
    return pairs


def _short_name(model: str) -> str:
    """Returns "trial 3 at 0.50" for a network's file."""
    stem = model.removeprefix("models/trial-").removesuffix(".safetensors")
    trial, _, interpolation = stem.partition("-at-")
    name = f"trial {int(trial)}" if trial.isdigit() else model
    return f"{name} at {interpolation}" if interpolation else name


# Intervals and the people in test sets.


def about_intervals(info: dict) -> str:
    """Returns what the intervals and p-values of a confirmation are about, and how they are computed."""
    confirmation = section(info, "confirmation")
    comparisons = results_of(info).get("comparisons")
    family = f" over all {comparisons} comparisons of both datasets" if comparisons else ""

    sentences = []
    if confirmation.get("seeds") == 1:
        sentences.append(_population("other people, with this one training of each"))
    else:
        sentences.append(_population("other people and other seeds"))
        sentences.append(f"{_seed_differences(info)}; the test images are the same for all.")
    if confirmation.get("seeds") == 2:
        sentences.append("Two seeds hardly show what seeds do, so these intervals are wider than those of three.")
    sentences += [
        "What no seed changes, as the baseline, is a single network, whose interval is about other people.",
        "All images of a person count together (jackknife over people, seeds as a second cluster, Student's t; "
        "accuracies in Wilson's form).",
        "A change is the difference from the baseline, image by image; its interval is for one comparison alone "
        "and excludes 0 exactly where p alone is below 0.05.",
        f"Significant is what is below 0.05 after correction: Holm's{family}, Bonferroni's over all pairs of the "
        "front.",
        describe_test_people(info),
    ]
    return " ".join(sentences)


def _population(whom: str) -> str:
    return (
        f"Intervals and p-values are about {whom}, with this one baseline and these people to train on: another "
        "baseline or other training people could move all results together."
    )


def _seed_differences(info: dict) -> str:
    divisions = max((int(point.get("divisions") or 0) for point in confirmed_points(info)), default=0)
    words = "Seeds differ in the order of images, their views and new weights"
    if divisions > 1:
        words += f", and take {divisions} divisions of the target into training and validation images in turn"
    return words


def describe_test_people(info: dict) -> str:
    """Returns how many people the test sets show, and what follows."""
    tested = section(results_of(info), "tested")
    sentences = []
    for domain in DOMAINS:
        counts = section(tested, domain)
        if counts:
            sentences.append(f"{dataset_label(info, domain)}: {_describe_people_of(counts)}")
    return " ".join(sentences)


def _describe_people_of(counts: dict) -> str:
    people = counts.get("people")
    if people is None:
        return (
            f"{counts['images']:,} test images of unknown people, each counted as a person; where several "
            "show one person, intervals are too narrow."
        )
    if people == 1:
        return "one person in the test set, who says nothing about others."
    if people <= FEW_PEOPLE:
        return (
            f"{_COUNTS[people]} people in the test set ({counts['images']:,} images), so few that "
            "intervals are wide and only large differences can be significant."
        )
    return f"{people:,} people in the test set ({counts['images']:,} images)."
