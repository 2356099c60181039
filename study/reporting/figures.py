"""Every figure of a study: its files by matplotlib and by plotly."""

import io
import sys
import warnings
from typing import Any

import matplotlib
import pandas as pd
from optuna.trial import FrozenTrial

from fer.errors import printable
from fer.told_progress import tell_progress
from study.record import StudyRecord
from study.reporting.confusion_figure import build_confusion_figure
from study.reporting.curves_figure import build_curves_figure
from study.reporting.figure_data import (
    FigureData,
    FrontFigure,
    build_figure_data,
    build_importance_figure,
    build_race_figure,
)
from study.reporting.figure_style import CONFIRMED, CONFUSIONS, NAMES, RACE, TITLES
from study.reporting.importance import compute_importances
from study.reporting.matplotlib_plots import draw_plot
from study.reporting.parallel_axes import ParallelFigure, build_parallel_figure
from study.reporting.plot_parts import DOTS_PER_INCH, STYLE
from study.reporting.plotly_charts import render_chart_page
from study.trials import finished_trials
from study.tuning.plan import SearchPlan
from study.tuning.race_course import RaceCourse

PARTS_BEFORE, PARTS_AFTER = 1, 1
"""Parts of an export before and after its figures, each of which takes about as long as one: reading, and the pages."""


def draw_figures(
    record: StudyRecord, table: pd.DataFrame, trials: list[FrozenTrial], race: RaceCourse | None = None
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Draws every figure; one that cannot be drawn never stops the others.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        trials: The Optuna trials themselves.
        race: The course of the study's race; None where there was none.

    Returns:
        Files by name (png, svg and pdf of each figure, html of some), and by figure a note on what is missing in it,
        which stderr gets too where a figure failed.
    """
    files: dict[str, bytes] = {}
    notes: dict[str, str] = {}
    names = list(NAMES)
    if record.results.points:
        names.append(CONFIRMED)
    if race is not None:
        names.append(RACE)
    if not finished_trials(table).empty:
        names.append(CONFUSIONS)
    for index, name in enumerate(names):
        tell_progress(index + PARTS_BEFORE, len(names) + PARTS_BEFORE + PARTS_AFTER)
        try:
            drawn, note = _draw_figure(name, record, table, trials, race)
        except Exception as error:  # reported, not hidden: a figure must not cost the report
            reason = f"not drawn: {type(error).__name__}: {error}"
            note = " ".join(reason.split())[:200]
            drawn = {}
            print(f"warning: {name} {note}", file=sys.stderr)
        files |= drawn
        if note:
            notes[name] = note
    tell_progress(len(names) + PARTS_BEFORE, len(names) + PARTS_BEFORE + PARTS_AFTER)
    return files, notes


def _draw_figure(
    name: str, record: StudyRecord, table: pd.DataFrame, trials: list[FrozenTrial], race: RaceCourse | None
) -> tuple[dict[str, bytes], str]:
    """Returns a figure's files, none where the study has too little for it, and a note on what is missing.

    Confusion matrices are not missed: those of an interpolated network are known after a confirmation alone.
    """
    if finished_trials(table).empty:
        return {}, "no trial has finished yet"
    data, note = _build_data(name, record, table, trials, race)
    if data is None:
        return {}, note
    files = render_plots(name, record, data)
    if isinstance(data, FrontFigure):
        files[f"{name}.html"] = render_chart_page(name, record, data).encode()
    elif isinstance(data, ParallelFigure):
        # A screen has room for more axes than a page of a paper.
        files[f"{name}.html"] = render_chart_page(name, record, build_parallel_figure(table)).encode()
    return files, note


def _build_data(
    name: str, record: StudyRecord, table: pd.DataFrame, trials: list[FrozenTrial], race: RaceCourse | None
) -> tuple[FigureData | None, str]:
    """Returns what a figure shows, None where the study has too little for it, and a note on what is missing."""
    if name == "importance":
        ranking, note = compute_importances(trials, SearchPlan.of(record))
        return None if ranking is None else build_importance_figure(record, table, ranking), note
    if name == "curves":
        curves = build_curves_figure(record, table, trials)
        return curves, "" if curves else "no training of the front was measured more than once"
    if name == CONFUSIONS:
        return build_confusion_figure(record, table, trials), ""
    if name == RACE and race is not None:
        return build_race_figure(race), ""
    return build_figure_data(name, record, table), ""


def render_plots(name: str, record: StudyRecord, data: FigureData) -> dict[str, bytes]:
    """Returns a figure's png, svg and pdf; equal data give equal files."""
    title = f"{TITLES[name]}, {printable(record.name or 'study')}"
    # No date inside, so that equal figures have equal files.
    metadata: dict[str, Any] = {
        "png": {"Title": title},
        "svg": {"Title": title, "Date": None},
        "pdf": {"Title": title, "CreationDate": None},
    }
    files = {}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = draw_plot(record, data)

        # The layout is found once for all formats, which takes half of the time.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for kind, stamp in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, facecolor="white", metadata=stamp)
            files[f"{name}.{kind}"] = buffer.getvalue()
    return files
