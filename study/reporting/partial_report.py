"""report.html while a study runs: how far it is, the front so far, and the best against the baseline.

It is written by the study's parent, which has other things to do: no figure is drawn by matplotlib or plotly.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from optuna.trial import FrozenTrial

from fer.errors import printable
from fer.files import write_atomically
from study.fronts import find_recommended, front_table, hypervolume_over_trials
from study.reading_record import readable_record
from study.record import DOMAINS, StudyRecord
from study.redaction import hide_secrets
from study.reporting.commands import as_snippet, report_command
from study.reporting.dates import format_date
from study.reporting.figure_data import FrontFigure, build_front_figure
from study.reporting.figure_style import INK, style_of
from study.reporting.findings import describe_nothing
from study.reporting.recommendation import Card, count_states
from study.reporting.tables import build_front_table
from study.reporting.templates import template_environment
from study.reporting.wording import (
    SYNTHETIC,
    count_configurations,
    count_of,
    dataset_label,
    describe_drawn_faces,
    expected_text,
    format_percent,
    row_name,
)
from study.trials import hypervolume_reference
from study.tuning.summary import SearchSummary, read_search

FOLDER = Path(__file__).parent
WRITE_EVERY = 60.0
"""Seconds between two writings; the page asks for the next after as long."""
MOST_SHARE = 1 / 30
"""The share of the parent's time that writing may take; of a study of very many trials the page is written less often.
"""
WIDTH, HEIGHT = 720, 420
"""Of the drawn front, in pixels."""
MARGIN = 48
"""Around its axes, in pixels."""
TICKS = 5


class PartialReport:
    """Keeps a study's report.html up to date while the study runs.

    Args:
        folder: The study's folder.
        wanted: How many configurations the study is to try.
        warn: Tells the user, once, that the page could not be written.
    """

    def __init__(self, folder: Path, wanted: int, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self.wanted = wanted
        self.warn = warn
        self.has_warned = False
        self.due = time.monotonic() + WRITE_EVERY

    def update(self, stored_record: Callable[[], Mapping[str, Any]], trials: Iterable[FrozenTrial]) -> None:
        """Writes the page where a minute has passed; whatever prevents it never stops the study.

        Args:
            stored_record: Returns the study's record as its storage holds it; called only where the page is written.
            trials: All trials of the study.
        """
        started = time.monotonic()
        if started < self.due:
            return
        try:
            write_partial_report(stored_record(), trials, self.folder, self.wanted)
        except Exception as error:  # told, not hidden: a page must not cost the study
            if not self.has_warned:
                self.warn(f"report.html is not kept up to date: {type(error).__name__}: {printable(error)[:200]}")
            self.has_warned = True
        seconds = time.monotonic() - started
        self.due = started + max(WRITE_EVERY, seconds / MOST_SHARE)


def write_partial_report(
    stored_record: Mapping[str, Any], trials: Iterable[FrozenTrial], folder: Path, wanted: int
) -> Path:
    """Writes report.html of a study that runs, which refreshes itself until the study is complete.

    Args:
        stored_record: The study's record as its storage holds it.
        trials: All trials of the study.
        folder: `runs/<study>`, made if missing.
        wanted: How many configurations the study is to try.

    Returns:
        The page's path.
    """
    record = StudyRecord.from_json(hide_secrets(readable_record(stored_record).value))
    page = render_partial_html(record, list(trials), wanted)
    folder.mkdir(parents=True, exist_ok=True)
    return write_atomically(folder / "report.html", page.encode())


def render_partial_html(record: StudyRecord, trials: list[FrozenTrial], wanted: int) -> str:
    """Returns the page of a study that runs.

    It ends with a comment, by which `study.reporting.export.is_exported` knows that the export is still to come.

    Args:
        record: The study's record, without passwords.
        trials: All trials of the study.
        wanted: How many configurations the study is to try.
    """
    table, summary = read_search(record, trials)
    front = front_table(table)
    figure = None if front.empty else build_front_figure(record, table)
    content = {
        "style": Markup((FOLDER / "report.css").read_text(encoding="utf-8")),  # a file of this program
        "refresh": round(WRITE_EVERY),
        "name": record.name or "study",
        "labels": {domain: dataset_label(record, domain) for domain in DOMAINS},
        "synthetic": record.is_synthetic,
        "synthetic_mark": SYNTHETIC,
        "synthetic_sentence": describe_drawn_faces(record),
        "configurations": count_configurations(table),
        "wanted": wanted,
        "written": format_date(datetime.now(UTC).isoformat(timespec="seconds")),
        "best": "" if front.empty else _describe_best(record, table, front, summary),
        "cards": _cards(record, table, trials, summary),
        "picture": None if figure is None else draw_front(figure),
        "front_table": None if front.empty else build_front_table(record, table),
        "command": as_snippet("The whole report of what is there", report_command(record)),
    }
    return template_environment(FOLDER).get_template("partial_report.html.j2").render(content).lstrip()


def _describe_best(record: StudyRecord, table: pd.DataFrame, front: pd.DataFrame, summary: SearchSummary | None) -> str:
    """Returns which network would be recommended now, against the baseline, or why none would be."""
    network = find_recommended(front)
    if network is None:
        return f"So far no network would be recommended. {describe_nothing(record, table, summary)}"
    accuracies = []
    for domain in DOMAINS:
        accuracy = format_percent(network[f"{domain}_val"]) if summary is None else expected_text(network, domain)
        baseline = {"source": record.baseline.source_val, "target": record.baseline.target_val}[domain]
        accuracies.append(f"{accuracy} % on {dataset_label(record, domain)} (baseline {format_percent(baseline)} %)")
    measured = "on validation images" if summary is None else "as expected, with 90 % intervals"
    name = row_name(network)
    return f"Best so far: {name}, {' and '.join(accuracies)}, {measured}."


def _cards(
    record: StudyRecord, table: pd.DataFrame, trials: list[FrozenTrial], summary: SearchSummary | None
) -> list[Card]:
    """Returns how far the search is, what runs now, and how large the front's hypervolume is."""
    running = sum(trial.state.name == "RUNNING" for trial in trials)
    cards = [Card("Trials", count_of(len(table), "trial"), f"{count_states(table)}; {running} running now")]
    measured = "on validation images" if summary is None else "of expected accuracies"
    cards += _hypervolume_cards(table, hypervolume_reference(record), measured)
    raced = int(table["race"].astype(bool).sum())
    if raced:
        cards.append(Card("The race", count_of(raced, "training"), "of the networks of which it is not clear yet"))
    return cards


def _hypervolume_cards(table: pd.DataFrame, reference: tuple[float, float], measured: str) -> list[Card]:
    """Returns a card of the front's hypervolume and of when it grew last; none where it is 0."""
    volumes = hypervolume_over_trials(table, reference)
    if not len(volumes) or volumes[-1] == 0:
        return []

    # The trial that made it grow last, and how many ended since.
    growth = np.diff(volumes, prepend=0.0)
    last = int(np.flatnonzero(growth > 0)[-1])
    later = len(volumes) - 1 - last
    grew = f"it grew last by trial {table['number'].iloc[last]}, {count_of(later, 'trial')} ago"
    return [Card("Hypervolume", f"{volumes[-1]:.4f}", f"{measured}; {grew}")]


# The front as SVG.


@dataclass(frozen=True)
class Dot:
    """A network in the drawn front; places in pixels.

    Attributes:
        x: From the left.
        y: From the top.
        colour: Its strategy's.
        is_hollow: Whether it is interpolated.
        on_front: Whether it is on the front.
        label: What the pointer shows.
    """

    x: float
    y: float
    colour: str
    is_hollow: bool
    on_front: bool
    label: str


@dataclass(frozen=True)
class Picture:
    """The drawn front; places in pixels.

    Attributes:
        width: Of all of it.
        height: Of all of it.
        margin: Around the axes.
        border: The front's staircase, as points of an SVG line.
        dots: The networks, those of the front last.
        baseline: Place of the baseline, None where it is not known.
        recommended: Place of the network that would be recommended now, None where there is none.
        ticks: For the source's and for the target's axis, places and labels.
        axis_labels: Of the source's and of the target's axis.
        strategies: Name and colour of each strategy.
    """

    width: int
    height: int
    margin: int
    border: str
    dots: list[Dot]
    baseline: tuple[float, float] | None
    recommended: tuple[float, float] | None
    ticks: tuple[list[tuple[float, str]], list[tuple[float, str]]]
    axis_labels: tuple[str, str]
    strategies: list[tuple[str, str]]


def draw_front(figure: FrontFigure) -> Picture:
    """Returns the front as what a template draws."""
    # The view: all networks and the baseline, with some room around them.
    points = np.vstack([group.points for group in figure.groups])
    if figure.baseline is not None:
        points = np.vstack([points, figure.baseline])
    room = np.maximum(0.06 * np.ptp(points, axis=0), 1)
    low = points.min(axis=0) - room
    high = points.max(axis=0) + room
    size = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])

    def place(point: Iterable[float]) -> tuple[float, float]:
        share = (np.clip(np.array(list(point)), low, high) - low) / (high - low)
        x, y = MARGIN + share * size
        return round(float(x), 1), round(float(HEIGHT - y), 1)

    dots = []
    for group in figure.groups:
        colour = style_of(group.strategy).colour
        for index, point in enumerate(group.points):
            label = f"{group.strategy}: source {point[0]:.1f} %, target {point[1]:.1f} %"
            hollow, on_front = not group.is_adapted[index], bool(group.on_front[index])
            dots.append(Dot(*place(point), _for_any_page(colour), hollow, on_front, label))
    dots.sort(key=lambda dot: dot.on_front)

    ends = zip(low, high, strict=True)
    source_ticks, target_ticks = (np.linspace(start, end, TICKS + 2)[1:-1] for start, end in ends)
    strategies = [(group.strategy, _for_any_page(style_of(group.strategy).colour)) for group in figure.groups]
    return Picture(
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
        border=" ".join("{},{}".format(*place(corner)) for corner in figure.border),
        dots=dots,
        baseline=None if figure.baseline is None else place(figure.baseline),
        recommended=None if figure.recommended is None else place(figure.recommended.point),
        ticks=(
            [(place((tick, low[1]))[0], f"{tick:.1f}") for tick in source_ticks],
            [(place((low[0], tick))[1], f"{tick:.1f}") for tick in target_ticks],
        ),
        axis_labels=figure.axis_labels,
        strategies=strategies,
    )


def _for_any_page(colour: str) -> str:
    """Returns a colour; black becomes the page's ink, which a dark page needs."""
    return "currentColor" if colour in ("#000000", INK) else colour
