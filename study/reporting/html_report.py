"""report.html: one file that needs nothing else, for a screen, a phone, day and night.

The functions here collect what the report shows as plain data; `report.html.j2` renders it and escapes every value.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from study.fronts import front_table
from study.record import DOMAINS, StudyRecord, number
from study.reporting import plotly_charts
from study.reporting.commands import as_snippet, confirm_command
from study.reporting.data_tables import build_baseline_table, describe_baseline, summarise_data
from study.reporting.dates import format_date
from study.reporting.expectations import describe_race
from study.reporting.figure_captions import TWO_COLUMN_FIGURES
from study.reporting.figure_data import build_front_figure
from study.reporting.findings import list_findings
from study.reporting.glossary import GLOSSARY, GlossaryLinks
from study.reporting.network_details import collect_network_details
from study.reporting.paper_table import as_table
from study.reporting.recommendation import build_recommendation, count_states
from study.reporting.significance import (
    build_pairs_table,
    describe_confirmed_changes,
    describe_front_differences,
    describe_intervals,
    describe_verdicts,
)
from study.reporting.tables import (
    build_confirmed_details_table,
    build_confirmed_table,
    build_front_table,
    build_strategies_table,
    build_unfinished_table,
    varied_hyperparameters,
)
from study.reporting.templates import template_environment
from study.reporting.wording import (
    SYNTHETIC,
    dataset_label,
    describe_drawn_faces,
    describe_subjects,
    describe_unknown_people,
    folds_sentence,
    format_value,
    limits_sentence,
    rungs_sentence,
)
from study.trials import hyperparameter_names
from study.tuning.summary import SearchSummary

FOLDER = Path(__file__).parent


def render_html(  # noqa: PLR0913  # the parts of the page
    record: StudyRecord,
    table: pd.DataFrame,
    svg_pictures: dict[str, str],
    notes: dict[str, str],
    paper: pd.DataFrame | None,
    trial_details: dict[str, Any] | None = None,
    summary: SearchSummary | None = None,
    captions: Mapping[str, str] | None = None,
) -> str:
    """Returns the report.

    Args:
        record: The study's record, without passwords.
        table: Trials, of `study.trials.trials_table`.
        svg_pictures: The pictures as SVG, by name, such as "pareto" for the front.
        notes: What could not be drawn, and why, by name of picture.
        paper: The paper's table, where the study has one.
        trial_details: What a click on the front shows, of `trial_details.collect_trial_details`.
        summary: What the search found; None for a study whose trials stored no answers.
        captions: What each picture shows, by its name.
    """
    content = {
        **_page_content(record),
        **_search_content(record, table, summary),
        **_confirmation_content(record, table),
        **_record_content(record),
        "pictures": {name: _data_address(svg) for name, svg in svg_pictures.items()},
        "notes": notes,
        "captions": captions or {},
        "wide_pictures": TWO_COLUMN_FIGURES,
        "paper_table": None if paper is None else as_table(paper),
        **_front_content(record, table, notes, trial_details, summary),
    }
    return _environment().get_template("report.html.j2").render(content).lstrip()


def _environment() -> jinja2.Environment:
    """Returns the environment of the report's template, with the filters and tests that it uses."""
    environment = template_environment(FOLDER)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["fact"] = _format_fact
    environment.filters["explain"] = GlossaryLinks()
    environment.tests["nested"] = _is_nested
    return environment


def _is_nested(value: object) -> bool:
    return isinstance(value, dict | list | tuple)


def _format_fact(value: object) -> str:
    """Returns a value of the record: numbers with six significant digits."""
    decimal = number(value)
    if isinstance(value, float) and decimal is not None:
        return f"{decimal:.6g}"
    return format_value(value)


def _page_content(record: StudyRecord) -> dict[str, Any]:
    """Returns the page's head and what is said of the whole study."""
    return {
        # These are files of this program.
        "style": Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
        "script": Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
        "copy_script": Markup((FOLDER / "copy.js").read_text(encoding="utf-8")),
        "name": record.name or "study",
        "created": format_date(record.created),
        "labels": {domain: dataset_label(record, domain) for domain in DOMAINS},
        "synthetic": record.is_synthetic,
        "classes": len(record.expressions),
        "synthetic_mark": SYNTHETIC,
        "synthetic_sentence": describe_drawn_faces(record),
        "unknown_people": describe_unknown_people(record),
        "about_subjects": describe_subjects(record),
        "method_notes": rungs_sentence(record) + folds_sentence(record) + limits_sentence(record),
        # A study of photographs needs no word for what is drawn.
        "glossary": [term for term in GLOSSARY if record.is_synthetic or term.key != "synthetic"],
    }


def _search_content(record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None) -> dict[str, Any]:
    """Returns what the search found on validation images."""
    front = front_table(table)
    recommendation = build_recommendation(record, table, summary)

    # The recommended network shows the finding that has no table, and before a confirmation what became of each
    # expression, which is part of the rule.
    findings = [finding for finding in list_findings(record, table, summary) if finding.table is not None]
    expressions = []
    if summary is not None and not record.results.points:
        expressions = [finding for finding in findings if finding.table and finding.table.name == "expressions"]
    race = None if summary is None else summary.race
    return {
        "counts": count_states(table),
        "recommendation": recommendation,
        "expressions": expressions[0] if expressions else None,
        "about_race": "" if race is None else describe_race(race),
        "has_expectations": summary is not None,
        "front_table": None if front.empty else build_front_table(record, table),
        "constant_hyperparameters": "" if front.empty else _constant_hyperparameters(front, table),
        "findings": [finding for finding in findings if finding not in expressions],
        "strategies_table": None if table.empty else build_strategies_table(record, table),
        "unfinished_table": build_unfinished_table(table),
    }


def _constant_hyperparameters(front: pd.DataFrame, table: pd.DataFrame) -> str:
    """Returns the hyperparameters that are the same in every trial, with their values, in a line."""
    varied = varied_hyperparameters(table)
    constant = [name for name in hyperparameter_names(front) if name not in varied]
    return ", ".join(f"{name} {format_value(front[name].iloc[0])}" for name in constant)


def _confirmation_content(record: StudyRecord, table: pd.DataFrame) -> dict[str, Any]:
    """Returns what was found on test images; nothing where the study was not confirmed."""
    if not record.results.points:
        is_part = record.options.get("outer") is not None  # tested on its own people by --outer, once
        snippet = None if is_part else as_snippet("", confirm_command(record))
        return {"confirmed_table": None, "confirm_snippet": snippet}
    earlier = record.confirmation.get("earlier") or []
    return {
        "confirmed_table": build_confirmed_table(record, table),
        "confirmed_details": build_confirmed_details_table(record),
        "pairs_table": build_pairs_table(record, table),
        "outcome": describe_confirmed_changes(record),
        "about_verdicts": describe_verdicts(record, table),
        "front_differences": describe_front_differences(record),
        "about_intervals": describe_intervals(record),
        "evaluated": format_date(str(record.confirmation["opened"])),
        "earlier_evaluations": len(earlier),
    }


def _record_content(record: StudyRecord) -> dict[str, Any]:
    """Returns what the record says of baseline and data, and everything that it holds, for whoever wants to know."""
    recorded_facts = {
        "Baseline": _plain_facts_first(record.baseline.to_json()),
        "Source": _plain_facts_first(record.source.to_json()),
        "Target": _plain_facts_first(record.target.to_json()),
        "Options": record.options,
        "Network": record.network,
        "Own weights": record.weights.to_json(),
        "Expressions": record.expressions.to_json(),
        "Versions": record.versions,
        "Hardware": record.hardware.to_json(),
    }
    return {
        "about_baseline": describe_baseline(record),
        "baseline_table": build_baseline_table(record),
        "datasets": [summarise_data(record, domain) for domain in DOMAINS],
        "recorded_facts": {title: facts for title, facts in recorded_facts.items() if facts},
    }


def _plain_facts_first(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns facts with what is nested, as metrics and confusion matrices, after all else; answers are no reading."""
    shown = {name: value for name, value in facts.items() if name != "answers"}
    return dict(sorted(shown.items(), key=lambda fact: _is_nested(fact[1])))


def _front_content(
    record: StudyRecord,
    table: pd.DataFrame,
    notes: dict[str, str],
    trial_details: dict[str, Any] | None,
    summary: SearchSummary | None,
) -> dict[str, Any]:
    """Returns the interactive front, and what it shows of each network and trial; no chart where no picture is."""
    if "pareto" in notes:
        return {"front_chart": None, "trial_details": {}}
    details = {"trials": {}} | (trial_details or {})
    return {
        "front_chart": _draw_front_chart(record, table),
        "trial_details": details | collect_network_details(record, table, summary),
    }


def _draw_front_chart(record: StudyRecord, table: pd.DataFrame) -> Markup:
    """Returns the interactive front as HTML with plotly.js inside; `plotly_charts` escapes its labels."""
    chart = plotly_charts.draw_chart(build_front_figure(record, table))

    # The page has its own background and, where it is dark, recolours ink and grid (page.js).
    chart.update_layout(
        template="plotly_white",
        margin={"t": 40, "l": 56, "r": 12, "b": 40},
        height=600,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return Markup(chart.to_html(full_html=False, include_plotlyjs=True, config=plotly_charts.CONFIG, div_id="front"))


def _data_address(svg: str) -> str:
    """Returns an SVG as an address that holds the picture itself."""
    encoded = base64.b64encode(svg.encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"
