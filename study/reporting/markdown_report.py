"""report.md: what the study found, as text for a paper or a repository."""

import pandas as pd

from study.fronts import find_recommended, front_table
from study.record import DOMAINS, StudyRecord
from study.reporting.expectations import (
    describe_accuracy,
    describe_race,
    describe_rule,
    describe_search_gain,
    has_expectations,
)
from study.reporting.findings import list_findings
from study.reporting.paper_table import as_table, title_of
from study.reporting.recommendation import build_recommendation
from study.reporting.significance import (
    build_pairs_table,
    describe_confirmed_changes,
    describe_front_differences,
    describe_intervals,
    describe_verdicts,
)
from study.reporting.tables import (
    Table,
    build_confirmed_details_table,
    build_confirmed_table,
    build_front_table,
    to_markdown,
)
from study.reporting.wording import (
    SYNTHETIC,
    dataset_label,
    describe_drawn_faces,
    describe_total,
    describe_unknown_people,
    folds_sentence,
    format_percent,
    limits_sentence,
    row_name,
    rungs_sentence,
)
from study.tuning.summary import SearchSummary

METHOD = """
Objectives are accuracies on the validation images of source and target. The front holds the networks that no other
equals or betters in both. Confirmation trains its points and the named strategies again, each seed with its own order,
views, new weights and division of the target into training and validation, and reads the test images once. Question and
strategies: Tannugi, Britto Jr., Koerich, *Memory Integrity of CNNs for Cross-Dataset Facial Expression Recognition*,
arXiv 1905.12082, 2019.
"""


_HEADINGS = {
    "confirmed": "Confirmed on test images",
    "confirmed-details": "Further figures on test images",
    "pairs": "Which networks differ significantly",
    "paper": "The paper's table",
}
"""Headings of tables that belong to no answer, by their names."""


def list_tables(
    record: StudyRecord, table: pd.DataFrame, paper: pd.DataFrame | None, summary: SearchSummary | None = None
) -> list[Table]:
    """Returns every table of the report that has a row.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        paper: The paper's table, where the study has one.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    tables = [build_front_table(record, table)]
    if record.results.points:
        tables += [build_confirmed_table(record, table), build_confirmed_details_table(record)]
        pairs = build_pairs_table(record, table)
        if pairs is not None:
            tables.append(pairs)
    tables += [finding.table for finding in list_findings(record, table, summary) if finding.table is not None]
    if paper is not None:
        tables.append(as_table(paper, title_of(record)))
    return [each for each in tables if each.rows]


def render_markdown(
    record: StudyRecord, table: pd.DataFrame, tables: list[Table], summary: SearchSummary | None = None
) -> str:
    """Returns the report in Markdown.

    Args:
        record: The study's record, without passwords.
        table: Trials, of `study.trials.trials_table`.
        tables: Of `list_tables`; those that belong to an answer follow it.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    lines = _head_lines(record, table)
    front = front_table(table)
    if front.empty:
        return "\n".join([*lines, "No trial has finished yet.", ""])

    # The recommendation, then each answer with its table.
    lines += _recommendation_lines(record, table, summary)
    findings = list_findings(record, table, summary)
    for finding in findings:
        lines += [f"## {finding.question}", "", finding.words, ""]
        if finding.table is not None:
            lines.append(to_markdown(finding.table))

    # The race, and the tables that belong to no answer.
    if summary is not None and summary.race is not None:
        lines += ["## The race", "", describe_race(summary.race), ""]
    shown_names = {finding.table.name for finding in findings if finding.table is not None}
    for further in tables:
        if further.name not in shown_names:
            lines += _table_lines(record, further, table)
    lines += _method_lines(record)
    return "\n".join(lines)


def _head_lines(record: StudyRecord, table: pd.DataFrame) -> list[str]:
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    lines = [f"# {source} to {target}", ""]
    if record.is_synthetic:
        lines += [f"**{SYNTHETIC}.** {describe_drawn_faces(record)}", ""]
    unknown_people = describe_unknown_people(record)
    lines += [unknown_people, ""] if unknown_people else []
    lines += [f"Study `{record.name or 'study'}`, {describe_total(table)}.", ""]
    lines += [f"The baseline's network is {record.architecture.describe()}.", ""]
    if record.weights.name:
        lines += [f"The baseline: {record.weights.describe()}", ""]
    return lines


def _recommendation_lines(record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None) -> list[str]:
    """Returns the section of the recommended network: what it is, how to use it, its neighbours, and the rule."""
    front = front_table(table)
    network = find_recommended(front)
    recommendation = build_recommendation(record, table, summary)
    if recommendation is None:
        return []
    if network is None:
        lines = ["## Use the baseline", "", f"{recommendation.name}, as the next section explains.", ""]
    else:
        lines = ["## Use this network", "", _describe_recommended(record, network), ""]
    if recommendation.warning:
        lines += [f"**{recommendation.warning}**", ""]
    for snippet in recommendation.snippets:
        lines += [f"{snippet.title}:", "", "```", snippet.text, "```", ""]
        if snippet.note:
            lines += [snippet.note, ""]

    lines += [f"- {neighbour}" for neighbour in recommendation.neighbours]
    if lines[-1]:
        lines.append("")
    if summary is not None:
        lines += [describe_rule(record, summary), ""]
        if summary.named_hypervolume is not None:
            gain = f"from {summary.named_hypervolume:.4f} to {summary.hypervolume:.4f}"
            lines += [f"The search brought the front {gain}: {describe_search_gain(table)}.", ""]
    return lines


def _describe_recommended(record: StudyRecord, network: pd.Series) -> str:
    """Returns which network is recommended, with its accuracies and its file."""
    has_intervals = has_expectations(network)
    accuracies = []
    for domain in DOMAINS:
        if has_intervals:
            accuracies.append(describe_accuracy(record, network, domain))
        else:
            accuracies.append(f"{format_percent(network[f'{domain}_val'])} % on {dataset_label(record, domain)}")
    measured = "on the validation images it was chosen by"
    if has_intervals and record.results.find_point(network) is not None:
        measured = "on test images (95 % intervals)"
    elif has_intervals:
        measured = "as expected with other people (90 % intervals)"
    name = row_name(network)
    return f"**{name[0].upper()}{name[1:]}**: {', '.join(accuracies)}, {measured}. Network: `{network['model']}`."


def _table_lines(record: StudyRecord, table: Table, trials: pd.DataFrame) -> list[str]:
    lines = [f"## {_HEADINGS.get(table.name, table.name.capitalize())}", ""]
    if table.name == "confirmed":
        outcome = describe_confirmed_changes(record)
        lines += [outcome, ""] if outcome else []
        texts = [describe_verdicts(record, trials), describe_front_differences(record), describe_intervals(record)]
        return [*lines, to_markdown(table), *(line for text in texts for line in (text, ""))]
    return [*lines, to_markdown(table)]


def _method_lines(record: StudyRecord) -> list[str]:
    # The method in general, then what holds for this study alone.
    method = METHOD.strip() + rungs_sentence(record) + folds_sentence(record) + limits_sentence(record)

    versions = ", ".join(f"{name} {value}" for name, value in record.versions.items())
    software = f"Software: {versions}." if versions else ""
    return ["## Method", "", method, "", software, ""]
