"""report.md: what the study found, as text for a paper or a repository."""

import pandas as pd

from study.fronts import find_recommended, front_table
from study.record import DOMAINS, StudyRecord
from study.reporting.findings import list_findings
from study.reporting.paper_table import as_table, title_of
from study.reporting.significance import describe_front_differences, describe_intervals
from study.reporting.tables import Table, build_confirmed_table, build_front_table, to_markdown
from study.reporting.wording import (
    SYNTHETIC,
    SYNTHETIC_SENTENCE,
    dataset_label,
    describe_total,
    folds_sentence,
    format_percent,
    limits_sentence,
    rungs_sentence,
)

METHOD = """
Objectives are accuracies on the validation images of source and target. The front holds the networks that no other
equals or betters in both. Confirmation trains its points and the named strategies again, each seed with its own order,
views, new weights and division of the target into training and validation, and reads the test images once. Question and
strategies: Tannugi, Britto Jr., Koerich, *Memory Integrity of CNNs for Cross-Dataset Facial Expression Recognition*,
arXiv 1905.12082, 2019.
"""


def list_tables(record: StudyRecord, table: pd.DataFrame, paper: pd.DataFrame | None) -> list[Table]:
    """Returns every table of the report that has a row.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        paper: The paper's table, where the study has one.
    """
    tables = [build_front_table(record, table)]
    if record.results.points:
        tables.append(build_confirmed_table(record))
    tables += [finding.table for finding in list_findings(record, table) if finding.table is not None]
    if paper is not None:
        tables.append(as_table(paper, title_of(record)))
    return [each for each in tables if each.rows]


def render_markdown(record: StudyRecord, table: pd.DataFrame, tables: list[Table]) -> str:
    """Returns the report in Markdown.

    Args:
        record: The study's record, without passwords.
        table: Trials, of `study.trials.trials_table`.
        tables: Of `list_tables`; those that belong to an answer follow it.
    """
    lines = _head_lines(record, table)
    knee = find_recommended(front_table(table))
    if knee is None:
        return "\n".join([*lines, "No trial has finished yet.", ""])

    # The recommendation, then each answer with its table.
    lines += _recommendation_lines(record, knee)
    findings = list_findings(record, table)
    for finding in findings:
        lines += [f"## {finding.question}", "", finding.words, ""]
        if finding.table is not None:
            lines.append(to_markdown(finding.table))

    # The tables that belong to no answer.
    shown_names = {finding.table.name for finding in findings if finding.table is not None}
    for further in tables:
        if further.name not in shown_names:
            lines += _table_lines(record, further)
    lines += _method_lines(record)
    return "\n".join(lines)


def _head_lines(record: StudyRecord, table: pd.DataFrame) -> list[str]:
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    lines = [f"# {source} to {target}", ""]
    if record.is_synthetic:
        lines += [f"**{SYNTHETIC}.** {SYNTHETIC_SENTENCE}", ""]
    return [*lines, f"Study `{record.name or 'study'}`, {describe_total(table)}.", ""]


def _recommendation_lines(record: StudyRecord, knee: pd.Series) -> list[str]:
    accuracies = [f"{format_percent(knee[f'{domain}_val'])} % on {dataset_label(record, domain)}" for domain in DOMAINS]
    words = (
        f"**{knee['strategy']}** (trial {knee['trial']}, alpha {knee['alpha']:g}): {', '.join(accuracies)}, on the "
        f"validation images it was chosen by. Network: `{knee['model']}`."
    )
    return ["## Recommendation", "", words, ""]


def _table_lines(record: StudyRecord, table: Table) -> list[str]:
    lines = [f"## {table.name.capitalize()}", ""]
    if table.name == "confirmed":
        lines += [describe_front_differences(record), "", describe_intervals(record), ""]
    return [*lines, to_markdown(table)]


def _method_lines(record: StudyRecord) -> list[str]:
    # The method in general, then what holds for this study alone.
    method = METHOD.strip() + rungs_sentence(record) + folds_sentence(record) + limits_sentence(record)

    versions = ", ".join(f"{name} {value}" for name, value in record.versions.items())
    software = f"Software: {versions}." if versions else ""
    return ["## Method", "", method, "", software, ""]
