"""Every figure of a study, by both libraries."""

import io
import sys
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd

import study.reporting.plotly_charts
from study.record import confirmed_points
from study.reporting.figure_style import CONFIRMED, NAMES
from study.trials import finished_trials

if TYPE_CHECKING:
    pass
from study.reporting.matplotlib_plots import draw_plot


def draw_figures(info: dict, table: pd.DataFrame, trials: list[Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Returns every picture's files (name -> bytes: png, svg, pdf, html) and notes on what is missing.

    A picture that cannot be drawn never stops the others: its note says why, on stderr too.
    """
    from study.reporting.importance import compute_importances

    files: dict[str, bytes] = {}
    notes: dict[str, str] = {}
    enough = not finished_trials(table).empty
    for name in (*NAMES, CONFIRMED) if confirmed_points(info) else NAMES:
        try:
            ranking, note = compute_importances(trials) if name == "importance" else (None, "")
            if not enough or (name == "importance" and ranking is None):
                notes[name] = note if enough else "no trial has finished yet"
                continue
            drawn = _rendered(name, info, table, ranking)
            files |= drawn | {
                f"{name}.html": study.reporting.plotly_charts.render_chart_page(name, info, table, ranking).encode()
            }
            if note:
                notes[name] = note
        except Exception as error:  # reported, not hidden: a picture must not cost the report
            notes[name] = " ".join(f"not drawn: {type(error).__name__}: {error}".split())[:200]
            print(f"warning: {name} {notes[name]}", file=sys.stderr)
    return files, notes


def _rendered(name: str, info: dict, table: pd.DataFrame, ranking: pd.DataFrame | None) -> dict[str, bytes]:
    import matplotlib

    settings: Any = {"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
                     "axes.edgecolor": "#666666", "svg.hashsalt": "study", "pdf.fonttype": 42}  # fmt: skip
    files = {}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure = draw_plot(name, info, table, ranking)
        for kind in ("png", "svg", "pdf"):
            buffer = io.BytesIO()
            # No date inside: equal studies give equal files.
            stamp: Any = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
            figure.savefig(buffer, format=kind, dpi=160, facecolor="white", metadata=stamp)
            files[f"{name}.{kind}"] = buffer.getvalue()
    return files
