"""The study's questions, answered from its own numbers, each with the sentence that says how sure the answer is."""

from dataclasses import dataclass

import pandas as pd

from study.fronts import LEVELS, candidate_networks, find_recommended, front_table, has_expectations
from study.record import DOMAINS, StudyRecord, number
from study.reporting import expectations
from study.reporting.certainty import describe_certainty, describe_stronger_strategies
from study.reporting.result_tables import (
    best_on_target,
    build_differences_table,
    build_expressions_table,
    build_freezing_table,
    build_retention_table,
    build_rungs_table,
    build_similarity_table,
    pairs_of_strategies,
)
from study.reporting.significance import SIGNIFICANCE, count_units, describe_confirmed_changes
from study.reporting.tables import Table
from study.reporting.wording import dataset_label, points_text
from study.stored_results import Row
from study.tuning.summary import SearchSummary


@dataclass(frozen=True)
class Finding:
    """A question with its answer.

    Attributes:
        question: The heading in the report.
        words: The answer in sentences.
        table: The figures behind it, None where there are none.
    """

    question: str
    words: str
    table: Table | None


SURENESS = "How sure is the recommendation?"
OBSTACLE = "Why is no network recommended?"

# Answers that are the same in every study: how to read the table below them.

RUNGS = (
    "Early stopping compares trials before their end, where a trial that others dominate stops. A correlation near 1 "
    "means that trials were already in their final order; near 0, that it was too early to tell, and --no-early-stop "
    "is worth a try."
)
INSIDE = (
    "One training of each point, without intervals: differences of a few points may be noise. Near 1, a layer's "
    "outputs are those of the baseline up to rotation and scale. Accuracy that fell while the linear probe did not "
    "suggests that the features still separate the expressions and the last layer changed; where both fell, that the "
    "features changed."
)


def list_findings(record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None = None) -> list[Finding]:
    """Returns what the study answers; a question that it has no numbers for is left out.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    front = front_table(table)
    if front.empty:
        return []
    knee = find_recommended(front)
    if knee is not None:
        certainty = Finding(SURENESS, describe_certainty(record, table, knee, summary), None)
    else:
        certainty = Finding(OBSTACLE, describe_nothing(record, table, summary), None)
    with_tables = [
        Finding(
            "Which strategy is best for each share of the source that is kept?",
            describe_retention(record, table),
            build_retention_table(record, table),
        ),
        describe_optimism(record, front, summary),
        describe_expressions(record, table, knee, summary),
        Finding(
            "What does freezing layers change?",
            describe_freezing(record),
            build_freezing_table(table, record.architecture.depth),
        ),
        Finding(
            "Which strategies differ significantly?", describe_differences(record), build_differences_table(record)
        ),
        Finding("Did half of a budget predict its end?", RUNGS, build_rungs_table(table)),
        Finding("What changed inside the networks?", INSIDE, build_similarity_table(record)),
    ]
    return [certainty, *(finding for finding in with_tables if finding.table is not None)]


def describe_retention(record: StudyRecord, table: pd.DataFrame) -> str:
    """Returns which strategy's network was best on the target at each share of the source accuracy that must stay."""
    baseline = record.baseline.accuracies
    if baseline is None:
        return ""
    baseline_source = baseline[0]
    networks = candidate_networks(table)

    # The levels at which each strategy has the best network.
    levels_of: dict[str, list[str]] = {}
    for level in LEVELS:
        best = best_on_target(networks, level * baseline_source)
        if best is not None:
            levels_of.setdefault(str(best["strategy"]), []).append(f"{100 * level:.0f}")
    if not levels_of:
        return "No network kept as much as the least of these shares."

    untested = "Each is the best of many single trainings on the images it was chosen by, which is no test."
    measured = "On validation images"
    if has_expectations(table):
        untested = "Which strategy is best is itself uncertain where intervals overlap; their budgets may differ."
        measured = "By expected accuracy"
    if len(levels_of) == 1:
        return f"{measured} the best network came from {next(iter(levels_of))} at every share. {untested}"
    origins = [f"from {strategy} where {_list_levels(levels)} must stay" for strategy, levels in levels_of.items()]
    return f"{measured} the best network on the target came {', '.join(origins)}. {untested}"


def _list_levels(levels: list[str]) -> str:
    """Returns "98 %", or "98, 95 or 90 %"."""
    first, last = ", ".join(levels[:-1]), levels[-1]
    return f"{first} or {last} %" if first else f"{last} %"


def describe_nothing(record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None) -> str:
    """Returns why nothing is recommended, and what to do.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        summary: What the search found; None where that is not known.
    """
    words = "No network passed the rule of the recommendation."
    if summary is not None and summary.obstacle is not None:
        strategies = dict(zip(table["number"], table["strategy"].fillna("unknown"), strict=True))
        words = expectations.describe_obstacle(record, summary, strategies)
    tested = [describe_confirmed_changes(record), describe_stronger_strategies(record, None)]
    return " ".join(filter(None, [words, *tested]))


def describe_optimism(record: StudyRecord, front: pd.DataFrame, summary: SearchSummary | None) -> Finding:
    """Returns how much better validation images make the front and the recommended network look than is expected."""
    question = "How optimistic are the observed figures?"
    if summary is None:
        return Finding(question, "", None)
    words = (
        f"The observed front has a hypervolume of {summary.observed_hypervolume:.4f}, the front of expected accuracies "
        f"{summary.hypervolume:.4f}. The best of {summary.networks} networks on the images that they were chosen by "
        "had luck as well; the figures of this report are the expected ones unless they are called observed."
    )
    return Finding(question, words, expectations.build_optimism_table(record, front, summary))


def describe_expressions(
    record: StudyRecord, table: pd.DataFrame, knee: pd.Series | None, summary: SearchSummary | None = None
) -> Finding:
    """Returns which expressions the recommended network gained and lost; no table where nothing is recommended.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        knee: The recommended network, of `study.fronts.find_recommended`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    question = "What did each expression gain and lose?"
    if knee is None:
        return Finding(question, "", None)
    is_tested = record.results.find_recalls(knee["model"]) is not None
    if summary is not None and summary.recommended is not None and not is_tested:
        expressions = summary.recommended.expressions
        words = expectations.describe_expressions(record, expressions)
        return Finding(question, words, expectations.build_expressions_table(record, expressions))
    trial = table[table["number"] == knee["trial"]].iloc[0].to_dict()
    recalls = build_expressions_table(record, knee["model"], trial)
    if recalls is None:
        return Finding(question, "", None)

    # The fourth cell is the change on the source, in points.
    changes = {cells[0]: float(cells[3]) for cells in recalls.rows if cells[3] != "–"}
    fallen = {name: change for name, change in changes.items() if change < 0}
    source = dataset_label(record, "source")
    words = f"On {source} the recommended network's recall fell on no expression."
    if fallen:
        worst = min(fallen, key=lambda name: fallen[name])
        words = (
            f"On {source} the recommended network's recall fell most on {worst} ({fallen[worst]:+.1f} points); "
            f"{len(fallen)} of {len(changes)} expressions fell, {len(changes) - len(fallen)} did not."
        )
    words += " None of these changes was tested, and an expression with few images moves by many points by chance."
    return Finding(question, words, recalls)


def describe_differences(record: StudyRecord) -> str:
    """Returns which of the named strategies do not differ significantly, and what tests could not have found."""
    differences = pairs_of_strategies(record)
    words = (
        "These compare strategies with each other; whether one is better or worse than the baseline, and which p "
        "counts, is said where the confirmed networks are. The intervals below hold together with 95 %, so a "
        "difference whose interval excludes 0 is more than chance."
    )
    for domain in DOMAINS:
        missed = _insignificant_pairs(differences, domain)
        if missed:
            words += (
                f" On {dataset_label(record, domain)}, with {count_units(record, domain)}, these do not differ "
                "significantly (in brackets how large a true difference must be to be found four times in five): "
                f"{', '.join(missed)}."
            )
    return words


def _insignificant_pairs(differences: list[Row], domain: str) -> list[str]:
    """Returns the pairs that do not differ significantly, each with the difference that would have been found."""
    pairs = []
    for difference in differences:
        p_value = number(difference.get(f"{domain}_p"))
        detectable = number(difference.get(f"{domain}_detectable"))
        if p_value is None or detectable is None or p_value < SIGNIFICANCE:
            continue
        size = "even the largest would not be" if detectable >= 1 else f"about {100 * detectable:.2g} points"
        pairs.append(f"{difference['one']} and {difference['other']} ({size})")
    return pairs


def describe_freezing(record: StudyRecord) -> str:
    """Returns what freezing all but the head changed on test images, where that was confirmed."""
    freezing = [row for row in record.results.differences if (row["one"], row["other"]) == ("FC", "RE")]
    if not freezing:
        return (
            "These are configurations of the first rung, all with the same budget, on validation images; trials that "
            "were stopped early or failed are left out. They differ in more than what they freeze; a confirmation "
            "would compare FC, FC+CL and RE alone, on test images, seed by seed."
        )
    gains = []
    for domain in DOMAINS:
        mean, low, high = (freezing[0][f"{domain}_{name}"] for name in ("mean", "lower", "upper"))
        is_significant = low > 0 or high < 0
        note = "" if is_significant else " (not significant)"
        gains.append(f"{points_text(mean, low, high)} points on {dataset_label(record, domain)}{note}")
    frozen = "all ten convolutions" if record.architecture.is_paper else "all blocks before the head"
    return (
        f"Freezing {frozen} (FC) instead of none (RE) gave {' and '.join(gains)}, on test images. The "
        "table is of validation images, where configurations differ in more than what they freeze; trials that were "
        "stopped early or failed are left out."
    )
