"""The report's tables for the terminal."""

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from study.options import LEVEL
from study.record import DOMAINS, StudyRecord
from study.reporting.paper_table import SHORT, as_table, study_paper_table, title_of
from study.reporting.wording import SYNTHETIC, count_seeds, dataset_label, format_percent, interval_text


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
