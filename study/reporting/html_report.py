"""report.html: one file that needs nothing else, for a screen, a phone, day and night.

The functions here collect what the report shows as plain data; `report.html.j2` renders it and escapes every value.
"""

import base64
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from study.fronts import front_table
from study.record import DOMAINS, confirmed_points, is_synthetic, number, section
from study.reporting import plotly_charts
from study.reporting.certainty import about_intervals, differing_points
from study.reporting.figure_data import build_front_figure
from study.reporting.findings import list_findings
from study.reporting.paper_table import as_table
from study.reporting.recommendation import build_recommendation, count_states
from study.reporting.tables import (
    build_confirmed_table,
    build_front_table,
    build_strategies_table,
    build_unfinished_table,
    varied_hyperparameters,
)
from study.reporting.wording import (
    SYNTHETIC,
    SYNTHETIC_SENTENCE,
    dataset_label,
    folds_sentence,
    format_value,
    limits_sentence,
)
from study.trials import hyperparameter_names

FOLDER = Path(__file__).parent
TECHNICAL_SECTIONS = ("options", "network", "versions", "hardware")


def render_html(
    info: dict,
    table: pd.DataFrame,
    vectors: dict[str, str],
    notes: dict[str, str],
    paper: pd.DataFrame | None,
    details: dict[str, Any] | None = None,
) -> str:
    """Returns the report.

    Args:
        info: The study's record, without passwords.
        table: Trials, of `study.trials.trials_table`.
        vectors: The pictures as SVG, by name.
        notes: What could not be drawn, and why, by name of picture.
        paper: The paper's table, where the study has one.
        details: What a click on the front shows, of `trial_details.collect_trial_details`.
    """
    content = {
        **_page_content(info),
        **_search_content(info, table),
        **_confirmation_content(info),
        **_record_content(info),
        "pictures": {name: _data_address(vector) for name, vector in vectors.items()},
        "notes": notes,
        "front_chart": None if "pareto" in notes else _front_chart(info, table),
        "trial_details": {"trials": {}, "first": None} | (details or {}),
        "paper_table": None if paper is None else as_table(paper),
    }
    return _environment().get_template("report.html.j2").render(content)


def _environment() -> jinja2.Environment:
    """Returns the environment of the template, which escapes every value that is not marked as Markup."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["fact"] = _format_fact
    environment.tests["nested"] = _is_nested
    return environment


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list | tuple)


def _format_fact(value: Any) -> str:
    """Returns a value of the record: numbers with six significant digits."""
    decimal = number(value)
    if isinstance(value, float) and decimal is not None:
        return f"{decimal:.6g}"
    return format_value(value)


def _page_content(info: dict) -> dict[str, Any]:
    """Returns the page's head and what is said of the whole study."""
    return {
        # Both are files of this program.
        "style": Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
        "script": Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
        "name": info.get("name", "study"),
        "command_name": info.get("name", "STUDY"),
        "created": info.get("created"),
        "labels": {domain: dataset_label(info, domain) for domain in DOMAINS},
        "synthetic": is_synthetic(info),
        "synthetic_mark": SYNTHETIC,
        "synthetic_sentence": SYNTHETIC_SENTENCE,
        "method_notes": folds_sentence(info) + limits_sentence(info),
    }


def _search_content(info: dict, table: pd.DataFrame) -> dict[str, Any]:
    """Returns what the search found on validation images."""
    front = front_table(table)
    findings = list_findings(info, table)
    return {
        "counts": count_states(table),
        "recommendation": build_recommendation(info, table),
        "front_table": None if front.empty else build_front_table(info, table),
        "constant_hyperparameters": "" if front.empty else _constant_hyperparameters(front, table),
        # The recommendation itself shows the finding that has no table.
        "findings": [finding for finding in findings if finding.table is not None],
        "strategies_table": None if table.empty else build_strategies_table(info, table),
        "unfinished_table": build_unfinished_table(table),
    }


def _constant_hyperparameters(front: pd.DataFrame, table: pd.DataFrame) -> str:
    """Returns the hyperparameters that are the same in every trial, with their values, in a line."""
    varied = varied_hyperparameters(table)
    constant = [name for name in hyperparameter_names(front) if name not in varied]
    return ", ".join(f"{name} {format_value(front[name].iloc[0])}" for name in constant)


def _confirmation_content(info: dict) -> dict[str, Any]:
    """Returns what was found on test images; nothing where the study was not confirmed."""
    if not confirmed_points(info):
        return {"confirmed_table": None}
    confirmation = section(info, "confirmation")
    return {
        "confirmed_table": build_confirmed_table(info),
        "differing_points": differing_points(info),
        "about_intervals": about_intervals(info),
        "evaluated": confirmation["opened"],
        "earlier_evaluations": len(confirmation.get("earlier") or []),
    }


def _record_content(info: dict) -> dict[str, Any]:
    """Returns what the record says of data, baseline, options, versions and hardware."""
    datasets = {}
    for domain in DOMAINS:
        dataset = section(info, domain)
        if dataset:
            about = {name: value for name, value in dataset.items() if name != "report"}
            datasets[domain] = about | section(dataset, "report")
    technical_facts = {name: section(info, name) for name in TECHNICAL_SECTIONS}
    return {
        "baseline": section(info, "baseline"),
        "datasets": datasets,
        "technical_facts": {name: facts for name, facts in technical_facts.items() if facts},
    }


def _front_chart(info: dict, table: pd.DataFrame) -> Markup:
    """Returns the interactive front as HTML with plotly.js inside; `plotly_charts` escapes its labels."""
    chart = plotly_charts.draw_chart(build_front_figure(info, table))
    chart.update_layout(
        template="plotly_white",
        margin={"t": 40, "l": 56, "r": 12, "b": 40},
        height=560,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    return Markup(chart.to_html(full_html=False, include_plotlyjs=True, config=plotly_charts.CONFIG, div_id="front"))


def _data_address(vector: str) -> str:
    """Returns an SVG as an address that holds the picture itself."""
    encoded = base64.b64encode(vector.encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"
