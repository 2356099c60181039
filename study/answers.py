"""The study's questions, answered from its own numbers, each with the sentence that says how sure the answer is."""

from typing import Any, NamedTuple

import pandas as pd

from fer.intervals import wilson
from study import front as fronts
from study.describe import baseline_point, confirmed_points, dataset_label, number, percent, section
from study.evidence import interval_text
from study.tables import (
    LEVELS,
    Table,
    differences_table,
    expressions_table,
    freezing_table,
    inside_table,
    retention_table,
    rungs_table,
)


class Answer(NamedTuple):
    """A question, its answer in words, and the table behind it."""

    question: str
    words: str
    table: Table | None


def answers(info: dict, table: pd.DataFrame) -> list[Answer]:
    """Returns what the study answers; a question that it has no numbers for is left out."""
    knee = fronts.knee(fronts.front(table))
    if knee is None:
        return []
    row = table[table["number"] == knee["trial"]].iloc[0]
    found = [
        Answer("How sure is the recommendation?", certainty(info, table, knee), None),
        Answer("Which strategy, for how much of the source?", by_retention(info, table), retention_table(info, table)),
        expressions(info, knee, row),
        Answer("What does freezing buy?", freezing(info), freezing_table(info, table)),
        Answer("What do the strategies differ in?", DIFFERENCES, differences_table(info)),
        Answer("Could early stopping know the end?", RUNGS, rungs_table(table)),
        Answer("What changed inside the networks?", INSIDE, inside_table(info)),
    ]
    return [answer for answer in found if answer.table is not None or answer.question.startswith("How sure")]


DIFFERENCES = "A difference whose interval excludes 0 is more than the luck of seeds and of who was tested."
RUNGS = (
    "Early stopping compares trials on the way. Near 1, their order there is their order at the end; near 0, stopping "
    "is luck, and --early-stop off would be the better choice."
)
INSIDE = (
    "Similarity near 1 means that a layer still does what it did. Where accuracy fell and the linear probe did not, "
    "the features are still there and a new last layer would find them again; where it fell as well, they are lost."
)


def point_of(info: dict, model: str) -> dict | None:
    """Returns the confirmation of a network, None where there is none."""
    return next((point for point in confirmed_points(info) if point.get("model") == model), None)


def certainty(info: dict, table: pd.DataFrame, knee: pd.Series) -> str:
    """Says how much the recommended network can be relied on."""
    source, target = (dataset_label(info, side) for side in ("source", "target"))
    front, point = fronts.front(table), point_of(info, knee["model"])
    if point is None:
        return _unconfirmed(info, table, front, knee, target)
    others = section(section(info, "confirmation"), "results").get("alike", {}).get(knee["model"], [])
    better = "is better than" if point["target_test"] > confirmed_points(info)[0]["target_test"] else "differs from"
    against = (
        f"it {better} the baseline on {target} (p = {point['target_p']:.2g})"
        if point["target_p"] < 0.05
        else f"it cannot be told from the baseline on {target} (p = {point['target_p']:.2g})"
    )
    gap = number(point.get("target_optimism"))
    seen = "" if gap is None else "better" if gap > 0 else "worse"
    told = f" On validation {target} had looked {abs(100 * gap):.1f} points {seen}." if gap else ""
    rivals = (
        "It is the front's only point."
        if len(front) == 1
        else f"It cannot be told from {len(others)} of the front's {len(front) - 1} other points."
    )
    return (
        f"Trained again with {point['seeds']} seeds and tested on images that the search never saw, it reaches "
        f"{interval_text(point, 'source')} % on {source} and {interval_text(point, 'target')} % on {target}; {against}."
        f"{told} {rivals}{_best_tested(info, point, source, target)}"
    )


def _best_tested(info: dict, point: dict, source: str, target: str) -> str:
    """Names the confirmed network that did best on the target, where it is another."""
    best = max(confirmed_points(info), key=lambda other: other["target_test"])
    if best["target_test"] <= point["target_test"]:
        return ""
    return (
        f" Of all that was confirmed, {best['name']} ({best['strategy']}) did best on {target}, with "
        f"{interval_text(best, 'target')} %, and {interval_text(best, 'source')} % on {source}."
    )


def _unconfirmed(info: dict, table: pd.DataFrame, front: pd.DataFrame, knee: pd.Series, target: str) -> str:
    count = validation_images(info)
    text = f"Not sure: it is the best of {len(fronts.finished(table))} trainings on the images it was chosen by."
    if count:
        low, high = wilson(round(knee["target_val"] * count), count)
        inside = int(((front["target_val"] >= low) & (front["target_val"] <= high)).sum()) - 1
        text += (
            f" {percent(knee['target_val'])} % of {count} {target} validation images is {percent(low)} to "
            f"{percent(high)} % at 95 % confidence (Wilson), even before counting that it was chosen; {inside} of the "
            f"front's {len(front) - 1} other points lie within."
        )
    return f"{text} python -m study.confirm {info.get('name', 'STUDY')} would say more."


def validation_images(info: dict) -> int:
    """Returns how many target images an objective was measured on; over folds that is training and validation."""
    sizes = section(section(section(info, "target"), "report"), "sizes")
    splits = ("train", "validation") if section(info, "options").get("folds") else ("validation",)
    counts = [sizes.get(split) for split in splits]
    return sum(count for count in counts if isinstance(count, int))


def by_retention(info: dict, table: pd.DataFrame) -> str:
    """Says in a sentence which strategy leads where."""
    start = baseline_point(info)
    if start is None:
        return ""
    done, leaders = fronts.points(table), {}
    for level in LEVELS:
        kept = done[done["source_val"] >= level * start[0]]
        if len(kept):
            best = kept.sort_values(["target_val", "source_val"], ascending=False, kind="stable").iloc[0]
            leaders[f"{100 * level:.0f} %"] = str(best["strategy"])
    if not leaders:
        return "No network kept as much as the least of these shares."
    if len(set(leaders.values())) == 1:
        return f"{next(iter(leaders.values()))} leads at every share, on validation images."
    parts = ", ".join(f"{name} where {level} must stay" for level, name in leaders.items())
    return f"The best on the target, on validation images, is {parts}."


def expressions(info: dict, knee: pd.Series, row: Any) -> Answer:
    """Says what each expression lost to the recommended network."""
    found = expressions_table(info, knee["model"], row)
    words = ""
    if found is not None:
        changes = {cells[0]: float(cells[3]) for cells in found.rows if cells[3] != "–"}
        lost = {name: change for name, change in sorted(changes.items(), key=lambda item: item[1]) if change < 0}
        source = dataset_label(info, "source")
        words = f"The recommended network lost no expression of {source}."
        if lost:
            name, change = next(iter(lost.items()))
            words = (
                f"On {source} the recommended network lost most on {name} ({change:+.1f} points); {len(lost)} of "
                f"{len(changes)} expressions fell, {len(changes) - len(lost)} did not."
            )
    return Answer("What did each expression lose?", words, found)


def freezing(info: dict) -> str:
    """Says what freezing the convolutions changed on test images, where that was confirmed."""
    found = section(section(info, "confirmation"), "results").get("differences") or []
    row = next((row for row in found if (row["one"], row["other"]) == ("FC", "RE")), None)
    if row is None:
        return "On validation images; a confirmation would compare FC, FC+CL and RE on test images, seed by seed."
    parts = []
    for side in ("source", "target"):
        mean, low, high = (100 * row[f"{side}_{name}"] for name in ("mean", "lower", "upper"))
        sure = "" if low > 0 or high < 0 else ", which may be nothing"
        parts.append(f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}] on {dataset_label(info, side)}{sure}")
    return f"Freezing all ten convolutions (FC) instead of none (RE) gave {' and '.join(parts)}, on test images."
