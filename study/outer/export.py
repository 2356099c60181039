"""Writes what nested cross-validation found: outer.csv, outer.json, outer.md and outer.html."""

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fer.files import write_atomically
from study.outer.summary import OuterSummary
from study.outer.tables import METHOD, build_outer_table, describe_findings, summary_json, summary_rows
from study.record import DOMAINS, StudyRecord
from study.redaction import hide_secrets
from study.reporting.tables import to_markdown
from study.reporting.templates import template_environment
from study.reporting.wording import SYNTHETIC, dataset_label, describe_drawn_faces

FOLDER = Path(__file__).parent
STYLE = FOLDER.parent / "reporting" / "report.css"


def export_outer(name: str, summary: OuterSummary, record: StudyRecord, folder: Path) -> list[Path]:
    """Writes the files; each appears complete or not at all.

    Args:
        name: Of the nested cross-validation, which the folder has.
        summary: What was found.
        record: Of one of the searches, for the datasets, the baseline and the options.
        folder: Where they go, made if missing.

    Returns:
        The files written; equal findings give equal files.
    """
    files = {
        "outer.csv": summary_rows(summary).to_csv(index=False, lineterminator="\n"),
        "outer.json": json.dumps(_json_of(name, summary, record), indent=1, ensure_ascii=False) + "\n",
        "outer.md": render_markdown(name, summary, record),
        "outer.html": render_html(name, summary, record),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return [write_atomically(folder / file, text.encode()) for file, text in files.items()]


def _json_of(name: str, summary: OuterSummary, record: StudyRecord) -> dict[str, Any]:
    """Returns what outer.json holds: what was done, what was found, and a row per part."""
    rows = summary_rows(summary)
    return {
        "name": name,
        "synthetic": record.is_synthetic,
        "datasets": {domain: record.dataset(domain).name for domain in DOMAINS},
        "baseline": record.baseline.digest,
        "options": hide_secrets(record.options),
        "versions": record.versions,
        **summary_json(summary),
        "searches": json.loads(rows.to_json(orient="records", double_precision=15)),
    }


def render_markdown(name: str, summary: OuterSummary, record: StudyRecord) -> str:
    """Returns the findings as Markdown."""
    lines = [f"# {_title(record)}", ""]
    if record.is_synthetic:
        lines += [f"**{SYNTHETIC}.** {describe_drawn_faces(record)}", ""]
    lines += [f"Nested cross-validation `{name}`, {len(summary.results)} searches.", ""]

    # What was found, the table that it is from, and how it was found.
    lines += [f"- {finding}" for finding in describe_findings(summary, record)]
    lines += ["", to_markdown(build_outer_table(summary, record)), METHOD, ""]
    return "\n".join(lines)


def render_html(name: str, summary: OuterSummary, record: StudyRecord) -> str:
    """Returns the findings as a page that needs no other file."""
    content = {
        "style": Markup(STYLE.read_text(encoding="utf-8")),  # a file of this program
        "title": _title(record),
        "name": name,
        "synthetic_mark": SYNTHETIC if record.is_synthetic else "",
        "synthetic_sentence": describe_drawn_faces(record),
        "findings": describe_findings(summary, record),
        "table": build_outer_table(summary, record),
        "searches": [result.study for result in summary.results],
        "method": METHOD,
    }
    return template_environment(FOLDER).get_template("outer.html.j2").render(content)


def _title(record: StudyRecord) -> str:
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    return f"{source} to {target}, every person tested once"
