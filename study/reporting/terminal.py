"""TODO"""

from typing import TYPE_CHECKING, Any

from study.options import LEVEL
from study.record import DOMAINS

if TYPE_CHECKING:
    pass

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import rich.console
from study.reporting.paper_table import paper_rich_table, study_paper_table, title_of


def for_terminal(info: dict, table: pd.DataFrame) -> "rich.console.Group | None":
    """Returns the paper's table of a study in the paper's space with its title, None of any other study."""
    paper = study_paper_table(info, table)
    return None if paper is None else paper_rich_table(paper, title_of(info))


def confirmed_rich_table(record: dict[str, Any], opening: dict[str, Any]) -> Any:
    """Returns the confirmed points as a table for the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from study.record import is_synthetic
    from study.reporting.wording import SYNTHETIC, dataset_label, format_percent, interval_text

    mark = f" ({SYNTHETIC})" if is_synthetic(record) else ""
    # Without vertical lines eighty columns hold it.
    seeds = "1 seed" if opening["seeds"] == 1 else f"{opening['seeds']} seeds"
    title = f"test accuracy in per cent, {seeds}{mark}"
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
    for point in opening["results"]["points"]:
        cells = [interval_text(point, domain) for domain in DOMAINS]
        cells.append(format_percent(point.get("target_val_again")))
        shown.add_row(point["name"], point["strategy"], point["alpha"], *cells, f"{point['target_p']:.3g}")
    return shown
