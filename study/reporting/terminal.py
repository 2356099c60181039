"""The report's tables for the terminal."""

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from fer.errors import printable
from study.fronts import count_non_dominated, find_recommended, front_table
from study.options import LEVEL
from study.record import DOMAINS, StudyRecord
from study.reporting.expectations import describe_evidence, describe_neighbours, name_row
from study.reporting.findings import describe_nothing
from study.reporting.paper_table import SHORT, as_table, study_paper_table, title_of
from study.reporting.wording import (
    SYNTHETIC,
    count_seeds,
    dataset_label,
    describe_interpolation,
    expected_text,
    format_percent,
    format_value,
    interval_text,
)
from study.trials import OBJECTIVES
from study.tuning.summary import SearchSummary

MOST_ROWS = 15
"""Networks of a front that the terminal shows; front.csv has them all."""


def describe_outcome(record: StudyRecord, rows: pd.DataFrame, summary: SearchSummary | None) -> list[str]:
    """Returns in a few lines which network is recommended and its neighbours, or why none is.

    Args:
        record: The study's record.
        rows: The table of its trials, `study.trials.trials_table`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    front = front_table(rows)
    if front.empty:
        return ["no trial has finished, so there is nothing to recommend"]
    network = find_recommended(front)
    if network is None:
        return [f"no network is recommended. {describe_nothing(record, rows, summary)}"]
    lines = [f"recommended: {name_row(network)}, {network['model']}"]
    if summary is None or summary.recommended is None:
        return lines
    accuracies = [f"{expected_text(network, domain)} % on {dataset_label(record, domain)}" for domain in DOMAINS]
    lines.append(f"  expected with other people: {' and '.join(accuracies)} (90 % intervals)")
    lines.append(f"  {describe_evidence(record, summary.recommended)}")
    return [*lines, *(f"  {neighbour}" for neighbour in describe_neighbours(record, front))]


def front_rich_table(record: StudyRecord, rows: pd.DataFrame, most: int = MOST_ROWS) -> Table:
    """Returns the front of a study as a table for the terminal, an arrow at the recommended network.

    Args:
        record: The study's record.
        rows: The table of its trials, `study.trials.trials_table`.
        most: Rows to show. Of a longer front the points are evenly chosen, besides those that have a role.
    """
    front = front_table(rows)
    recommended = find_recommended(front)
    has_roles = "role" in front

    # Title and columns; without vertical lines eighty columns of text hold them.
    title = f"{count_non_dominated(front)} non-dominated networks"
    if record.is_synthetic:
        title += f" ({SYNTHETIC})"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = ["trial", "strategy", "rung", "folds"] if has_roles else ["trial", "strategy", "frozen", "rate", "fusion"]
    for column in columns:
        table.add_column(column, overflow="fold")
    for domain in DOMAINS:
        words = escape(f"{dataset_label(record, domain)} %").rsplit(" ", 2)
        table.add_column("\n".join((words[0], " ".join(words[1:]))), justify="right", no_wrap=True)
    if has_roles:
        table.add_column("on\nfront", justify="right", no_wrap=True)
        table.caption = "expected accuracies with 90 % intervals; on front: probability that no other is better on both"
        table.caption_justify = "left"

    # Rows.
    evenly_spaced = np.linspace(0, len(front) - 1, min(most, len(front)))
    shown = set(evenly_spaced.round().astype(int).tolist())
    if has_roles:
        shown |= set(np.flatnonzero(front["role"] != "").tolist())
    for index in sorted(shown):
        network = front.iloc[index]
        is_recommended = recommended is not None and network["model"] == recommended["model"]
        cells = _expected_cells(network) if has_roles else _observed_cells(network)
        cells[0] = f"{'→ ' if is_recommended else ''}{cells[0]}"
        table.add_row(*(escape(printable(cell)) for cell in cells), style="bold" if is_recommended else None)
    return table


def _place(network: pd.Series) -> str:
    """Returns a network's trial and where it lies between the baseline and that trial's end: "12 at 0.5"."""
    alpha = describe_interpolation(network["alpha"], network.get("alpha_slope", 0.0))
    return str(network["trial"]) if alpha == "1" else f"{network['trial']} at {alpha}"


def _expected_cells(network: pd.Series) -> list[str]:
    """Returns the cells of a network of which is known what to expect."""
    accuracies = [expected_text(network, domain) for domain in DOMAINS]
    probability = f"{format_percent(network['probability'], 0)} %"
    budget = [str(network["rung"]), f"{network['folds']:.0f}"]
    return [_place(network), str(network["strategy"]), *budget, *accuracies, probability]


def _observed_cells(network: pd.Series) -> list[str]:
    """Returns the cells of a network of an older study."""
    hyperparameters = [format_value(network.get(name)) for name in ("frozen_layers", "lr", "fusion_ratio")]
    accuracies = [format_percent(network[objective]) for objective in OBJECTIVES]
    return [_place(network), str(network["strategy"]), *hyperparameters, *accuracies]


def for_terminal(record: StudyRecord, table: pd.DataFrame) -> Group | None:
    """Returns the paper's table of a study in the paper's space with its title, None of any other study."""
    paper = study_paper_table(record, table)
    return None if paper is None else paper_rich_table(paper, title_of(record))


def paper_rich_table(paper: pd.DataFrame, title: str = "") -> Group:
    """Returns the paper's table for the terminal: a table for each dataset, which eighty columns hold.

    Args:
        paper: Of `paper_table.paper_table`.
        title: What is written above, after the dataset's name.
    """
    shown_tables = []
    for _, rows in paper.groupby("domain", sort=True):
        dataset = str(rows["dataset"].iloc[0])
        content = as_table(rows)
        heading = f"{dataset}: {title}" if title else dataset
        shown = Table(title=escape(heading), title_justify="left")

        # The heading names the dataset, so the columns need not.
        for index, head in enumerate(content.head):
            label = SHORT.get(head.removeprefix(f"{dataset}, "), head)
            shown.add_column(escape(label), justify="right" if index else "left", no_wrap=True)
        for row in content.rows:
            shown.add_row(*(escape(cell) for cell in row))
        shown_tables.append(shown)
    return Group(*shown_tables)


def confirmed_rich_table(record: StudyRecord) -> Table:
    """Returns the confirmed points as a table for the terminal.

    Args:
        record: The study's record with its confirmation and the results.
    """
    mark = f" ({SYNTHETIC})" if record.is_synthetic else ""
    seeds = count_seeds(record.confirmation["seeds"])
    title = f"test accuracy in per cent, {seeds}{mark}"

    # Columns; without vertical lines eighty columns of text hold them.
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("point", "strategy", "alpha"):
        shown.add_column(name, overflow="fold", min_width=len(name))
    for domain in DOMAINS:
        shown.add_column(f"{dataset_label(record, domain)},\n{LEVEL:.0%} interval", justify="right", no_wrap=True)
    for name in ("again", "p"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.caption = (
        "again: target validation accuracy of these trainings, which nothing was chosen by; p: of the change from BL "
        "on the target, corrected by Holm"
    )
    shown.caption_justify = "left"

    # Rows.
    for point in record.results.points:
        intervals = [interval_text(point, domain) for domain in DOMAINS]
        again = format_percent(point.get("target_val_again"))
        p_value = f"{point['target_p']:.3g}"
        shown.add_row(point["name"], point["strategy"], point["alpha"], *intervals, again, p_value)
    return shown
