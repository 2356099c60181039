"""The content of each file that a study exports."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from study.fronts import front_table
from study.reading_record import readable_record
from study.record import StudyRecord
from study.redaction import hide_secrets
from study.reporting import figures
from study.reporting.figure_captions import describe_figures, render_figures_tex
from study.reporting.front_file import table_of_confirmed, table_of_front
from study.reporting.html_report import render_html
from study.reporting.markdown_report import list_tables, render_markdown
from study.reporting.paper_table import as_table, study_paper_table, title_of
from study.reporting.tables import Table, to_latex, to_markdown
from study.reporting.trial_details import collect_trial_details
from study.stored_values import notice
from study.trials import find_failed_networks, read_counted_trials, trials_table
from study.tuning.summary import read_search


def render_files(
    stored_record: Mapping[str, Any], stored_trials: Iterable[FrozenTrial], folder: Path | None = None
) -> dict[str, bytes]:
    """Returns the content of each file by its name; what is odd in the storage is left out and named on stderr.

    Args:
        stored_record: The study's record as its storage holds it.
        stored_trials: All Optuna trials of the study.
        folder: Where the study is now, which commands in the report name; None where it still is where it was run.
    """
    # What the storage holds, and the tables that follow from it.
    stored_trials = list(stored_trials)
    readable_json, trials = _read_storage(stored_record, stored_trials)
    record = _at_place(StudyRecord.from_json(readable_json), folder)
    table, summary = read_search(record, trials)
    paper = study_paper_table(record, table)
    tables = list_tables(record, table, paper, summary)
    race = None if summary is None else summary.race

    # Figures before reports: the page holds them as SVG.
    files, notes = figures.draw_figures(record, table, trials, race)
    svg_files = {name: content for name, content in files.items() if name.endswith(".svg")}
    svg_pictures = {name.removesuffix(".svg"): content.decode() for name, content in svg_files.items()}
    captions = describe_figures(record, table)
    if svg_pictures:
        files["figures.tex"] = render_figures_tex(record, captions, list(svg_pictures)).encode()

    # Data.
    files["study.json"] = (json.dumps(readable_json, indent=1, ensure_ascii=False, default=str) + "\n").encode()
    files["trials.csv"] = _csv(trials_table(trials))
    failed = [name for name in find_failed_networks(stored_trials) if folder is None or not (folder / name).exists()]
    front = table_of_front(front_table(table), record)
    files["front.csv"] = _csv(front.assign(model=front["model"].mask(front["model"].isin(failed))))
    if record.results.points:
        files["confirm.csv"] = _csv(table_of_confirmed(record))

    # Reports and tables.
    trial_details = collect_trial_details(record, table, trials)
    page = render_html(record, table, svg_pictures, notes, paper, trial_details, summary, captions)
    files["report.html"] = page.encode()
    files["report.md"] = render_markdown(record, table, tables, summary).encode()
    if tables:
        files["tables.tex"] = "\n".join(to_latex(each) for each in tables).encode()
    if paper is not None:
        files |= _render_paper_table(paper, as_table(paper, title_of(record)))
    return files


def _at_place(record: StudyRecord, folder: Path | None) -> StudyRecord:
    """Returns a record whose option --out is where the study is now: a folder may have been moved, or copied."""
    if folder is None or folder.name != record.name:
        return record
    return dataclasses.replace(record, options=record.options | {"out": str(folder.parent)})


def _read_storage(
    stored_record: Mapping[str, Any], stored_trials: Iterable[FrozenTrial]
) -> tuple[dict[str, Any], list[FrozenTrial]]:
    """Returns what can be relied on of a stored record, without passwords, and of trials; warns of what is left out."""
    record_reading = readable_record(stored_record)
    trials_reading = read_counted_trials(stored_trials)
    readable_json = hide_secrets(record_reading.value)

    warning = notice([*trials_reading.odd, *(f"the study's {name}" for name in record_reading.odd)])
    if warning:
        readable_json["notice"] = warning
        print(f"warning: {warning}", file=sys.stderr)
    return readable_json, list(trials_reading.value)


def _render_paper_table(paper: pd.DataFrame, shown: Table) -> dict[str, bytes]:
    return {
        "paper_table.csv": _csv(paper),
        "paper_table.md": to_markdown(shown).encode(),
        "paper_table.tex": to_latex(shown).encode(),
    }


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False, lineterminator="\n").encode()
