"""The report's tables for the terminal."""

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fer.errors import printable, shorten
from study.fronts import count_non_dominated, find_recommended, front_table
from study.options import LEVEL
from study.record import DOMAINS, StudyRecord
from study.reporting.dead_expressions import warn_of_expressions
from study.reporting.distinct_networks import choose_rows
from study.reporting.expectations import describe_evidence, describe_neighbours
from study.reporting.findings import describe_nothing
from study.reporting.paper_table import SHORT, as_table, study_paper_table, title_of
from study.reporting.wording import (
    INTERPOLATION_SENTENCE,
    SYNTHETIC,
    confirmed_name,
    count_of,
    count_seeds,
    dataset_label,
    describe_stand_ins,
    expected_text,
    file_interval_text,
    format_percent,
    format_points,
    interval_text,
    is_trained_again,
    row_name,
    tested_text,
)
from study.tuning.summary import SearchSummary

MOST_ROWS = 15
"""Networks of a front that the terminal shows; front.csv has them all."""
TABLE_WIDTH = 80
"""Columns that a table has."""
GAP = 2
"""Columns before and after each cell, together."""
MARK_WIDTH = 6
"""Columns of the mark of the recommended network, and of the gaps around it and the names."""
LEAST_NAME, LEAST_STRATEGY = 12, 8
"""Characters of a network's name, and of its strategy, that are left of longer ones."""
LONGEST_NAME = 30
"""Characters of a network's name in the confirmed table."""
LONGEST_LABEL = 16
"""Characters of a dataset's name above a column."""


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
        return [f"No network is recommended. {describe_nothing(record, rows, summary)}"]
    lines = [f"recommended: {row_name(network)}, {network['model']}"]
    if summary is None or summary.recommended is None:
        return lines
    accuracies = [f"{expected_text(network, domain)} % on {dataset_label(record, domain)}" for domain in DOMAINS]
    lines.append(f"  expected with other people: {' and '.join(accuracies)} (90 % intervals)")
    lines.append(f"  {describe_evidence(record, summary.recommended)}")
    warning = warn_of_expressions(record, rows, network, summary)
    if warning:
        lines.append(f"  {warning}")
    return [*lines, *(f"  {neighbour}" for neighbour in describe_neighbours(record, front, summary))]


def describe_tested(record: StudyRecord, rows: pd.DataFrame, summary: SearchSummary | None) -> list[str]:
    """Returns in a line or two which network is recommended, and which expressions it lost on test images.

    Args:
        record: The study's record, with a confirmation.
        rows: The table of its trials, `study.tuning.expected_table.expected_table`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    network = find_recommended(front_table(rows))
    if network is None:
        return []
    warning = warn_of_expressions(record, rows, network, summary)
    lines = [f"recommended: {row_name(network)}, {network['model']}"]
    return [*lines, f"  {warning}"] if warning else lines


def front_rich_table(record: StudyRecord, rows: pd.DataFrame, most: int = MOST_ROWS) -> Table:
    """Returns the front of a study as a table for the terminal, which eighty columns hold.

    The baseline comes last where it is not on the front; an arrow marks the recommended network.

    Args:
        record: The study's record.
        rows: The table of its trials, `study.trials.trials_table`.
        most: Rows to show, of a front that is longer by more than a few (`distinct_networks.choose_rows`).
    """
    front = front_table(rows)
    recommended = find_recommended(front)
    has_roles = "role" in front
    baselines = record.baseline.accuracies or (None, None)

    # Columns, without vertical lines.
    title = f"{count_of(count_non_dominated(front), 'non-dominated network')}"
    if record.is_synthetic:
        title += f" ({SYNTHETIC})"
    table = _plain_table(title)
    table.add_column("", no_wrap=True)
    table.add_column("\nnetwork", no_wrap=True)
    for domain, change in zip(DOMAINS, ("kept", "gain"), strict=True):
        label = shorten(dataset_label(record, domain), LONGEST_LABEL)
        table.add_column(escape(f"{label}\n{domain} %"), justify="right", no_wrap=True)
        table.add_column(f"\n{change}", justify="right", no_wrap=True)

    # Rows; names have the room that the figures leave.
    shown = choose_rows(front, record, most)
    rows_of_figures = [_figures_of(front.iloc[index], has_roles, baselines) for index in shown]
    room = _room_for_names(rows_of_figures)
    names = []
    for index, figures in zip(shown, rows_of_figures, strict=True):
        network = front.iloc[index]
        is_recommended = recommended is not None and network["model"] == recommended["model"]
        names.append(_short_name(network, room))
        cells = ["→" if is_recommended else "", names[-1], *figures]
        table.add_row(*(escape(printable(cell)) for cell in cells), style="bold" if is_recommended else None)
    if None not in baselines and "BL" not in set(front["strategy"]):
        accuracies = [format_percent(baseline) for baseline in baselines]
        table.add_row("", "baseline", accuracies[0], "", accuracies[1], "", style="dim")

    table.caption = _caption_of_front(has_roles, len(front) - len(shown), any(" at " in name for name in names))
    return table


def _figures_of(network: pd.Series, is_expected: bool, baselines: tuple[float | None, float | None]) -> list[str]:
    """Returns a network's source accuracy, what it keeps, its target accuracy and what it gains.

    Args:
        network: A row of `study.fronts.front_table`.
        is_expected: Whether it says what is expected of the network.
        baselines: The baseline's accuracies on source and target, where they are known.
    """
    return [
        _accuracy_cell(network, "source", is_expected),
        _kept_cell(network, baselines[0]),
        _accuracy_cell(network, "target", is_expected),
        _gain_cell(network, baselines[1]),
    ]


def _room_for_names(rows_of_figures: list[list[str]]) -> int:
    """Returns how many characters a name may have, so that a table of names and figures fits the terminal."""
    widths = [max(map(len, cells)) for cells in zip(*rows_of_figures, strict=True)]
    of_figures = sum(width + GAP for width in widths)
    return max(LEAST_NAME, TABLE_WIDTH - of_figures - MARK_WIDTH)


def _short_name(network: pd.Series, room: int) -> str:
    """Returns a network's name; in one that is too long the strategy loses its middle, never the number."""
    name = row_name(network, short=True)
    excess = len(name) - room
    if excess <= 0:
        return name
    strategy = str(network["strategy"])
    shorter = shorten(strategy, max(LEAST_STRATEGY, len(strategy) - excess))
    return row_name(network.to_dict() | {"strategy": shorter}, short=True)


def _plain_table(title: str) -> Table:
    """Returns an empty table without vertical lines, its title and caption on the left."""
    return Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def _accuracy_cell(network: pd.Series, domain: str, is_expected: bool) -> str:
    """Returns an accuracy in per cent, with its interval where one is known."""
    return expected_text(network, domain) if is_expected else format_percent(network[f"{domain}_val"])


def _kept_cell(network: pd.Series, baseline: float | None) -> str:
    """Returns the share of the baseline's source accuracy that a network keeps: "97.2 %"."""
    return "–" if not baseline else f"{format_percent(network['source_val'] / baseline)} %"


def _gain_cell(network: pd.Series, baseline: float | None) -> str:
    """Returns how many points a network is better on the target than the baseline: "+16.9"."""
    return "–" if baseline is None else format_points(network["target_val"] - baseline)


def _caption_of_front(has_roles: bool, left_out: int, has_interpolated: bool) -> str:
    """Returns what explains a table of a front.

    Args:
        has_roles: Whether it shows what is expected of networks.
        left_out: How many networks of the front it does not show.
        has_interpolated: Whether it shows any between the baseline and a trial's end.
    """
    sentences = []
    if has_roles:
        sentences.append("Expected with other people and trainings, 90 % intervals.")
        sentences.append("Kept: the expected share of the baseline's source accuracy.")
        sentences.append("Gain: points on the target.")
    else:
        sentences.append("On validation images.")
        sentences.append("Kept: share of the baseline's source accuracy; gain: points on the target.")
    if has_interpolated:
        sentences.append(INTERPOLATION_SENTENCE)
    if left_out:
        sentences.append(f"{count_of(left_out, 'more network')}: front.csv.")
    return " ".join(sentences)


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
    shown_tables: list[Text | Table] = []
    for _, rows in paper.groupby("domain", sort=True):
        dataset = str(rows["dataset"].iloc[0])
        content = as_table(rows)
        heading = f"{dataset}: {title}" if title else dataset
        shown = Table()

        # The heading names the dataset, so the columns need not.
        for index, head in enumerate(content.head):
            label = SHORT.get(head.removeprefix(f"{dataset}, "), head)
            shown.add_column(escape(label), justify="right" if index else "left", no_wrap=True)
        for row in content.rows:
            shown.add_row(*(escape(cell) for cell in row))
        # The heading is wider than its table, and a table's title would be broken to its width.
        shown_tables += [Text(heading), shown]
    return Group(*shown_tables)


def confirmed_rich_table(record: StudyRecord, recommended: str = "") -> Table:
    """Returns the confirmed points as a table for the terminal.

    Args:
        record: The study's record with its confirmation and the results.
        recommended: The file of the recommended network, which an arrow marks; empty where there is none.
    """
    synthetic = f" ({SYNTHETIC})" if record.is_synthetic else ""
    seeds = count_seeds(record.confirmation["seeds"])

    # Columns.
    shown = _plain_table(f"test accuracy in per cent, {seeds}{synthetic}")
    shown.add_column("\nnetwork", no_wrap=True)
    for domain in DOMAINS:
        label = shorten(dataset_label(record, domain), LONGEST_LABEL)
        shown.add_column(escape(f"{label},\n{LEVEL:.0%} interval"), justify="right", no_wrap=True)
    shown.add_column("\np", justify="right", no_wrap=True)

    # Rows: the network that is handed over first, then what training it again gives.
    names = [confirmed_name(point) for point in record.results.points]
    has_files = False
    for name, point in zip(names, record.results.points, strict=True):
        mark = "→ " if recommended and point.get("model") == recommended else ""
        label = escape(printable(shorten(f"{mark}{name}", LONGEST_NAME)))
        p_value = f"{point['target_p']:.2g}" if is_trained_again(point) else "–"
        of_file = [file_interval_text(point, domain) for domain in DOMAINS]
        if not is_trained_again(point):
            shown.add_row(label, *(tested_text(point, domain) for domain in DOMAINS), p_value)
            continue
        if all(of_file):
            has_files = True
            shown.add_row(label, *of_file, "", style="bold")
            label = "  trained again"
        shown.add_row(label, *(interval_text(point, domain) for domain in DOMAINS), p_value)

    shown.caption = "p: of the change from BL on the target, of new trainings, corrected by Holm; it is what counts."
    if has_files:
        shown.caption += " Bold: the very file that the study hands over; below it what another training would give."
    if any(recommended and point.get("model") == recommended for point in record.results.points):
        shown.caption += " →: the recommended network."
    shown.caption += escape(describe_stand_ins(record))
    if any(" at " in name for name in names):
        shown.caption += f" {INTERPOLATION_SENTENCE}"
    return shown
