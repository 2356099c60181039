"""Every figure of a study: its files by matplotlib and by plotly."""

import io
import sys
import warnings
from typing import Any

import matplotlib
import pandas as pd
from optuna.trial import FrozenTrial

from study.record import StudyRecord
from study.reporting.figure_data import FigureData, FrontFigure, build_figure_data, build_race_figure
from study.reporting.figure_style import CONFIRMED, NAMES, RACE
from study.reporting.importance import compute_importances
from study.reporting.matplotlib_plots import draw_plot
from study.reporting.parallel_axes import ParallelFigure
from study.reporting.plotly_charts import render_chart_page
from study.trials import finished_trials
from study.tuning.plan import SearchPlan
from study.tuning.race_course import RaceCourse

STYLE: Any = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.edgecolor": "#666666",
    "svg.hashsalt": "study",
    "pdf.fonttype": 42,
}
"""matplotlib's settings: letters stay text in PDF files, and equal figures have equal SVG files."""
DOTS_PER_INCH = 160


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
    for name in names:
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
    return files, notes


def _draw_figure(
    name: str, record: StudyRecord, table: pd.DataFrame, trials: list[FrozenTrial], race: RaceCourse | None
) -> tuple[dict[str, bytes], str]:
    """Returns a figure's files, none where the study has too little for it, and a note on what is missing."""
    if finished_trials(table).empty:
        return {}, "no trial has finished yet"
    ranking = None
    note = ""
    if name == "importance":
        ranking, note = compute_importances(trials, SearchPlan.of(record))
        if ranking is None:
            return {}, note
    data = build_race_figure(race) if name == RACE and race else build_figure_data(name, record, table, ranking)
    files = render_plots(name, record, data)
    if isinstance(data, FrontFigure | ParallelFigure):
        files[f"{name}.html"] = render_chart_page(name, record, data).encode()
    return files, note


def render_plots(name: str, record: StudyRecord, data: FigureData) -> dict[str, bytes]:
    """Returns a figure's png, svg and pdf; equal data give equal files."""
    files = {}
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = draw_plot(name, record, data)
        # No date inside, so that equal figures have equal files.
        metadata: dict[str, Any] = {"png": None, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
        for kind, stamp in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=DOTS_PER_INCH, facecolor="white", metadata=stamp)
            files[f"{name}.{kind}"] = buffer.getvalue()
    return files
