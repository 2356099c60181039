"""report.md: what the study found, as text for a paper or a repository."""

import pandas as pd

from study.fronts import find_knee, front_table
from study.record import DOMAINS, StudyRecord
from study.reporting.findings import list_findings
from study.reporting.paper_table import as_table, title_of
from study.reporting.significance import describe_front_differences, describe_intervals
from study.reporting.tables import Table, build_confirmed_table, build_front_table, to_markdown
from study.reporting.wording import (
    SYNTHETIC,
    SYNTHETIC_SENTENCE,
    dataset_label,
    folds_sentence,
    format_percent,
    limits_sentence,
)


def list_tables(record: StudyRecord, table: pd.DataFrame, paper: pd.DataFrame | None) -> list[Table]:
    """Returns every table of the report that has a row."""
    tables = [build_front_table(record, table)]
    if record.results.points:
        tables.append(build_confirmed_table(record))
    tables += [answer.table for answer in list_findings(record, table) if answer.table is not None]
    if paper is not None:
        tables.append(as_table(paper, title_of(record)))
    return [shown for shown in tables if shown.rows]


def render_markdown(record: StudyRecord, table: pd.DataFrame, tables: list[Table]) -> str:
    """Returns the report in Markdown.

    Args:
        record: The study's record, without passwords.
        table: Of `study.trials.trials_table`.
        tables: Of `list_tables`; those that belong to an answer follow it.
    """
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    lines = [f"# {source} to {target}", ""]
    if record.is_synthetic:
        lines += [f"**{SYNTHETIC}.** {SYNTHETIC_SENTENCE}", ""]
    lines += [f"Study `{record.name or 'study'}`, {len(table)} trials.", ""]
    knee = find_knee(front_table(table))
    if knee is None:
        return "\n".join([*lines, "No trial has finished yet.", ""])
    lines += [
        "## Recommendation", "",
        f"**{knee['strategy']}** (trial {knee['trial']}, alpha {knee['alpha']:g}): "
        f"{format_percent(knee['source_val'])} % on "
        f"{source}, {format_percent(knee['target_val'])} % on {target}, on the validation images it was chosen by. "
        f"Network: `{knee['model']}`.", "",
    ]  # fmt: skip
    findings = list_findings(record, table)
    shown_names = {finding.table.name for finding in findings if finding.table is not None}
    for finding in findings:
        lines += [f"## {finding.question}", "", finding.words, ""]
        if finding.table is not None:
            lines.append(to_markdown(finding.table))
    for further in tables:
        if further.name in shown_names:
            continue
        lines += [f"## {further.name.capitalize()}", ""]
        if further.name == "confirmed":
            lines += [describe_front_differences(record), "", describe_intervals(record), ""]
        lines.append(to_markdown(further))
    versions = ", ".join(f"{name} {value}" for name, value in record.versions.items())
    method = METHOD.strip() + folds_sentence(record) + limits_sentence(record)
    lines += ["## Method", "", method, "", f"Software: {versions}." if versions else "", ""]
    return "\n".join(lines)


METHOD = """
Objectives are accuracies on the validation images of source and target. The front holds the networks that no other
equals or betters in both. Confirmation trains its points and the named strategies again, each seed with its own order,
views, new weights and division of the target into training and validation, and reads the test images once. Question and
strategies: Tannugi, Britto Jr., Koerich, *Memory Integrity of CNNs for Cross-Dataset Facial Expression Recognition*,
arXiv 1905.12082, 2019.
"""
