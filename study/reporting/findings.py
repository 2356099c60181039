"""The study's questions, answered from its own numbers, each with the sentence that says how sure the answer is."""

import math
from typing import Any, NamedTuple

import pandas as pd

from fer.evaluation.intervals import Estimate
from study.fronts import candidate_networks, find_knee, front_table, model_names
from study.record import DOMAINS, baseline_point, confirmed_points, number, section
from study.reporting.tables import (
    LEVELS,
    Table,
    build_differences_table,
    build_expressions_table,
    build_freezing_table,
    build_retention_table,
    build_rungs_table,
    build_similarity_table,
)
from study.reporting.wording import dataset_label, format_percent, interval_text, points_text
from study.trials import ERROR, INTERPOLATED_COLUMN, finished_trials, interpolation_name

SIGNIFICANCE = 0.05
"""A corrected p-value below this is called significant; intervals have the level 1 - SIGNIFICANCE."""


class Finding(NamedTuple):
    """A question, its answer in words, and the table behind it."""

    question: str
    words: str
    table: Table | None


def list_findings(info: dict, table: pd.DataFrame) -> list[Finding]:
    """Returns what the study answers; a question that it has no numbers for is left out."""
    knee = find_knee(front_table(table))
    if knee is None:
        return []
    row = table[table["number"] == knee["trial"]].iloc[0]
    found = [
        Finding("How sure is the recommendation?", describe_certainty(info, table, knee), None),
        Finding(
            "Which strategy, for how much of the source?",
            describe_retention(info, table),
            build_retention_table(info, table),
        ),
        describe_expressions(info, knee, row),
        Finding("What does freezing buy?", describe_freezing(info), build_freezing_table(info, table)),
        Finding("What do the strategies differ in?", between_strategies(info), build_differences_table(info)),
        Finding("Could early stopping know the end?", RUNGS, build_rungs_table(table)),
        Finding("What changed inside the networks?", INSIDE, build_similarity_table(info)),
    ]
    return [answer for answer in found if answer.table is not None or answer.question.startswith("How sure")]


RUNGS = (
    "Early stopping compares trials before their end. Near 1, the order there was the order at the end; near 0, it "
    "said nothing about the end, and --early-stop off is worth a try."
)
INSIDE = (
    "One training of each point, without intervals: differences of a few points may be noise. Near 1, a layer's "
    "outputs are those of the baseline up to rotation and scale. Accuracy that fell while the linear probe did not "
    "suggests that the features still separate the expressions and the last layer changed; where both fell, that the "
    "features changed."
)


def results_of(info: dict) -> dict:
    """Returns what a confirmation found, nothing where there is none."""
    return section(section(info, "confirmation"), "results")


def find_confirmed_point(info: dict, model: str) -> dict | None:
    """Returns the confirmation of a network, None where there is none."""
    return next((point for point in confirmed_points(info) if point.get("model") == model), None)


def count_units(info: dict, side: str) -> str:
    """Returns what the test set of one side is worth: "3 test people", or "67 test images" where people are unknown."""
    tested = section(section(results_of(info), "tested"), side)
    if tested.get("people") is None:
        return f"{tested['images']:,} test images" if "images" in tested else "this test set"
    return "1 test person" if tested["people"] == 1 else f"{tested['people']:,} test people"


def sensitivity(info: dict, side: str, detectable: Any) -> str:
    """Says how large a true difference must be for a test to find it in four of five cases (a power of 80 %).

    Args:
        info: The study's record.
        side: "source" or "target".
        detectable: The smallest difference that is found with a power of 80 %, as a share.
    """
    smallest = number(detectable)
    if smallest is None:
        return ""
    with_whom = f"with {count_units(info, side)}"
    if smallest >= 1:
        return f"{with_whom} no true difference, however large, would be found four times in five"
    points = f"{100 * smallest:.2g} points"
    return f"{with_whom} a true difference would have to be about {points} to be found four times in five"


def describe_certainty(info: dict, table: pd.DataFrame, knee: pd.Series) -> str:
    """Says how much the recommended network can be relied on."""
    source, target = (dataset_label(info, side) for side in DOMAINS)
    front, point = front_table(table), find_confirmed_point(info, knee["model"])
    if point is None:
        return _unconfirmed(info, table, front, knee)
    changes = " ".join(change_words(info, point, side) for side in DOMAINS)
    seeds = "1 seed" if point["seeds"] == 1 else f"{point['seeds']} seeds"
    gap = number(point.get("target_optimism"))
    looked = ""
    if gap:
        looked = f" On validation {target} had looked {abs(100 * gap):.1f} points {'better' if gap > 0 else 'worse'}."
    return (
        f"Trained again with {seeds} and tested on images that the search never saw, it reaches "
        f"{interval_text(point, 'source')} % on {source} and {interval_text(point, 'target')} % on {target}. "
        f"{changes}{looked} {_rivals(info, knee, len(front))}"
    )


def change_words(info: dict, point: dict, side: str) -> str:
    """Says how a confirmed network differs from the baseline on one side, and what could not have been seen."""
    label, change = dataset_label(info, side), number(point.get(f"{side}_change"))
    if change is None:
        return f"On {label} its change from the baseline was not recorded."
    comparisons = results_of(info).get("comparisons")
    corrected = "corrected" if comparisons is None else f"corrected for {comparisons} comparisons"
    values = f"p = {point[f'{side}_p']:.2g} {corrected}, {point[f'{side}_p_alone']:.2g} alone"
    words = f"On {label} that is {change_text(point, side)} points from the baseline"
    if point[f"{side}_p"] < SIGNIFICANCE:
        return f"{words}, significantly {'better' if change > 0 else 'worse'} ({values})."
    could = sensitivity(info, side, point.get(f"{side}_detectable"))
    return f"{words}, not significantly different ({values})" + (f"; {could}." if could else ".")


def change_text(point: dict, side: str) -> str:
    """Returns "+5.0 [-3.0, +13.0]", a confirmed network's change from the baseline in points."""
    return points_text(*(point[f"{side}_{name}"] for name in ("change", "change_lower", "change_upper")))


def _rivals(info: dict, knee: pd.Series, points: int) -> str:
    """Says how many points of the front the recommended one differs from significantly."""
    if points == 1:
        return "It is the front's only point."
    alike = section(results_of(info), "alike").get(knee["model"], [])
    if not alike:
        return f"It differs significantly from all of the front's {points - 1} other points."
    return f"From {len(alike)} of the front's {points - 1} other points it does not differ significantly."


def differing_points(info: dict) -> str:
    """Says which points of the front differ significantly on test images, and what the tests could not have found."""
    alike = section(results_of(info), "alike")
    count = len(alike)
    if count < 2:
        return "The front has one point, so there is nothing to compare."
    if not any(alike.values()):
        return f"All {count} points of the front differ significantly from each other on test images."
    pairs = section(results_of(info), "pairs")
    smallest = section(pairs, "detectable")
    limits = [f"on {dataset_label(info, side)}, {sensitivity(info, side, smallest.get(side))}"
              for side in DOMAINS if side in smallest]  # fmt: skip
    could = f" For the median of the pairs: {'; '.join(limits)}." if limits else ""
    if all(len(others) == count - 1 for others in alike.values()):
        return f"No two of the front's {count} points differ significantly on test images.{could}"
    alone = sum(not others for others in alike.values())
    parts, named = [], set()
    for label, others in alike.items():
        named.add(label)
        later = [_short(other) for other in others if other not in named]
        if later:
            parts.append(f"{_short(label)} from {', '.join(later)}")
    verb = "differs" if alone == 1 else "differ"
    return (
        f"{alone} of the front's {count} points {verb} significantly from every other on test images. Not "
        f"significantly different are {'; '.join(parts)}.{could}"
    )


def _short(model: str) -> str:
    trial, _, share = model.removeprefix("models/trial-").removesuffix(".safetensors").partition("-at-")
    name = f"trial {int(trial)}" if trial.isdigit() else model
    return f"{name} at {share}" if share else name


TWO_SEEDS = "Two seeds hardly show what seeds do: p-values can be too small, five in a hundred standing for up to ten."


def about_intervals(info: dict) -> str:
    """Says once what the intervals and p-values of a confirmation are about, and how they are found."""
    divisions = max((int(point.get("divisions") or 0) for point in confirmed_points(info)), default=0)
    many = section(info, "confirmation").get("seeds") != 1
    whom = "other people and other seeds" if many else "other people, with this one training of each"
    seeds = "Seeds differ in the order of images, their views and new weights"
    if divisions > 1:
        seeds += f", and take {divisions} divisions of the target into training and validation images in turn"
    comparisons = results_of(info).get("comparisons")
    family = f" over all {comparisons} comparisons of both datasets" if comparisons else ""
    return " ".join(
        [
            f"Intervals and p-values are about {whom}, with this one baseline and these people to train on: another "
            "baseline or other training people could move all results together.",
            f"{seeds}; the test images are the same for all." if many else "",
            TWO_SEEDS if section(info, "confirmation").get("seeds") == 2 else "",
            "What no seed changes, as the baseline, is a single network, whose interval is about other people.",
            "All images of a person count together (jackknife over people, seeds as a second cluster, Student's t; "
            "accuracies in Wilson's form).",
            "A change is the difference from the baseline, image by image; its interval is for one comparison alone "
            "and excludes 0 exactly where p alone is below 0.05.",
            f"Significant is what is below 0.05 after correction: Holm's{family}, Bonferroni's over all pairs of the "
            "front.",
            describe_test_people(info),
        ]
    ).replace("  ", " ")


def describe_test_people(info: dict) -> str:
    """Says how many people the test sets show, and what follows."""
    words = []
    for side in DOMAINS:
        tested = section(section(results_of(info), "tested"), side)
        label, people = dataset_label(info, side), tested.get("people")
        if not tested:
            continue
        if people is None:
            words.append(
                f"{label}: {tested['images']:,} test images of unknown people, each counted as a person; where several "
                "show one person, intervals are too narrow."
            )
        elif people == 1:
            words.append(f"{label}: one person in the test set, who says nothing about others.")
        elif people <= FEW_PEOPLE:
            words.append(
                f"{label}: {_COUNTS[people]} people in the test set ({tested['images']:,} images), so few that "
                "intervals are wide and only large differences can be significant."
            )
        else:
            words.append(f"{label}: {people:,} people in the test set ({tested['images']:,} images).")
    return " ".join(words)


FEW_PEOPLE = 5
_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}


def _unconfirmed(info: dict, table: pd.DataFrame, front: pd.DataFrame, knee: pd.Series) -> str:
    text = f"Not sure: it is the best of {len(finished_trials(table))} trainings on the images it was chosen by."
    count, people = validation_counts(info)
    images = f"{count:,} {dataset_label(info, 'target')} validation images"
    found = validation_estimate(table, knee, count, people)
    if count and people == 1:
        text += f" The {images} show one person, who says nothing about others."
    elif count and found is None:
        text += f" The {images} show {people} people; how much they differ was not recorded."
    elif found is not None:
        low, high = found.interval_of_share(1 - SIGNIFICANCE)
        inside = int(((front["target_val"] >= low) & (front["target_val"] <= high)).sum()) - 1
        whom = f"{people} people" if people else "unknown people (each counted as a person)"
        text += (
            f" {format_percent(knee['target_val'])} % of {images} of {whom} is {format_percent(low)} to "
            f"{format_percent(high)} % at 95 % "
            f"confidence for other people, even before counting that it was chosen; {inside} of the front's "
            f"{len(front) - 1} other points lie within."
        )
    return f"{text} python -m study.confirm {info.get('name', 'STUDY')} would say more."


def validation_counts(info: dict) -> tuple[int, int]:
    """Returns how many target images, and of how many people, an objective was measured on; 0 where unknown.

    Over folds that is training and validation.
    """
    report = section(section(info, "target"), "report")
    splits = ("train", "validation") if section(info, "options").get("folds") else ("validation",)
    totals = []
    for part in ("sizes", "subjects"):
        counts = [section(report, part).get(split) for split in splits]
        totals.append(sum(count for count in counts if isinstance(count, int)))
    return totals[0], totals[1]


def validation_estimate(table: pd.DataFrame, knee: pd.Series, count: int, people: int) -> Estimate | None:
    """Returns the recommended network's target accuracy on validation with its error for other people.

    Args:
        table: Of `front.table`.
        knee: Of `front.knee`.
        count: Of validation images, 0 where unknown.
        people: Whom they show, 0 where unknown.

    Returns:
        None where it was not recorded, or where one person says nothing about others.
    """
    share = float(knee["target_val"])
    units = people or count
    if units < 2:
        return None
    places = candidate_networks(table)
    place = places[[model == knee["model"] for model in model_names(places)]].iloc[0]
    column = ERROR
    if (place["share"], place["slope"]) != (1, 0):
        column = INTERPOLATED_COLUMN.format(column, interpolation_name(place["share"], place["slope"]))
    error = number(place.get(column))
    if error is None and not people:
        # A study from before errors were recorded: with each image as a person the mean says it all.
        error = math.sqrt(max(share * (1 - share), 1 / count) / count)
    return None if error is None else Estimate(share, error, units - 1, units)


def describe_retention(info: dict, table: pd.DataFrame) -> str:
    """Says in a sentence which strategy's network was best where."""
    start = baseline_point(info)
    if start is None:
        return ""
    done, leaders = candidate_networks(table), {}
    for level in LEVELS:
        kept = done[done["source_val"] >= level * start[0]]
        if len(kept):
            best = kept.sort_values(["target_val", "source_val"], ascending=False, kind="stable").iloc[0]
            leaders[f"{100 * level:.0f} %"] = str(best["strategy"])
    if not leaders:
        return "No network kept as much as the least of these shares."
    untested = "Each is the best of many single trainings on the images it was chosen by, which is no test."
    if len(set(leaders.values())) == 1:
        return (
            f"On validation images the best network came from {next(iter(leaders.values()))} at every share. {untested}"
        )
    parts = ", ".join(f"from {name} where {level} must stay" for level, name in leaders.items())
    return f"On validation images the best network on the target came {parts}. {untested}"


def describe_expressions(info: dict, knee: pd.Series, row: Any) -> Finding:
    """Says which expressions the recommended network recognised less often than the baseline."""
    found = build_expressions_table(info, knee["model"], row)
    words = ""
    if found is not None:
        changes = {cells[0]: float(cells[3]) for cells in found.rows if cells[3] != "–"}
        lost = {name: change for name, change in sorted(changes.items(), key=lambda item: item[1]) if change < 0}
        source = dataset_label(info, "source")
        words = f"On {source} the recommended network's recall fell on no expression."
        if lost:
            name, change = next(iter(lost.items()))
            words = (
                f"On {source} the recommended network's recall fell most on {name} ({change:+.1f} points); {len(lost)} "
                f"of {len(changes)} expressions fell, {len(changes) - len(lost)} did not."
            )
        words += " None of these changes was tested, and an expression with few images moves by many points by chance."
    return Finding("What did each expression lose?", words, found)


def between_strategies(info: dict) -> str:
    """Says which of the named strategies differ significantly, and what the tests could not have found."""
    rows = results_of(info).get("differences") or []
    words = (
        f"The {2 * len(rows)} intervals hold together with 95 % (Bonferroni); where one excludes 0, the difference is "
        "significant, and p, corrected alike, is below 0.05."
    )
    for side in DOMAINS:
        missed = []
        for row in rows:
            p_value, smallest = number(row.get(f"{side}_p")), number(row.get(f"{side}_detectable"))
            if p_value is not None and smallest is not None and p_value >= SIGNIFICANCE:
                missed.append(f"{row['one']} and {row['other']} ({_points_at_least(smallest)})")
        if missed:
            words += (
                f" On {dataset_label(info, side)}, with {count_units(info, side)}, these do not differ significantly "
                f"(in brackets the true difference that would be found four times in five): {', '.join(missed)}."
            )
    return words


def _points_at_least(smallest: float) -> str:
    """Returns a detectable difference in words."""
    return "none, however large" if smallest >= 1 else f"about {100 * smallest:.2g} points"


def describe_freezing(info: dict) -> str:
    """Says what freezing the convolutions changed on test images, where that was confirmed."""
    rows = results_of(info).get("differences") or []
    row = next((row for row in rows if (row["one"], row["other"]) == ("FC", "RE")), None)
    if row is None:
        return (
            "On validation images, where trials differ in more than what they freeze; a confirmation would compare FC, "
            "FC+CL and RE on test images, seed by seed."
        )
    parts = []
    for side in DOMAINS:
        mean, low, high = (row[f"{side}_{name}"] for name in ("mean", "lower", "upper"))
        sure = "" if low > 0 or high < 0 else " (not significant)"
        parts.append(f"{points_text(mean, low, high)} points on {dataset_label(info, side)}{sure}")
    return (
        f"Freezing all ten convolutions (FC) instead of none (RE) gave {' and '.join(parts)}, on test images. The "
        "table is of validation images, where trials differ in more than what they freeze."
    )
