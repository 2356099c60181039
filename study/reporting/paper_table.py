"""The paper's table: this study's accuracies in its layout, and beside them, on real data, the published ones."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from search_spaces.paper import FROM_SCRATCH
from study.record import DOMAINS, confirmed_points, is_synthetic, number, section
from study.reporting.tables import Table
from study.reporting.wording import SYNTHETIC
from study.trials import finished_trials

PAPER = Path(__file__).with_name("paper.csv")
OURS = "this study (validation)"
TESTED, LOWER, UPPER = "this study (test)", "this study (test), lower", "this study (test), upper"
PUBLISHED = "published (test, arXiv 1905.12082)"
DIFFERENCE = "this study (test) − published"
SHORT = {OURS: "validation", TESTED: "test [95 %]", PUBLISHED: "published", DIFFERENCE: "test − published"}
STRATEGIES, AMOUNTS = ("FC", "FC+CL", "RE", "FU"), (0.5, 1.0)


def column(strategy: str, share: float) -> str:
    """Returns the name of a point of the table's columns."""
    return strategy if strategy == "BL" else f"{strategy}_{100 * share:.0f}"


def study_paper_table(info: dict, table: pd.DataFrame) -> pd.DataFrame | None:
    """Returns the paper's table of a study in the paper's space, or of what was confirmed in another; else None."""
    options, confirmed = section(info, "options"), confirmed_points(info)
    if options.get("space") != "paper" and not confirmed:
        return None
    source, target = (str(section(info, domain).get("name", domain)) for domain in DOMAINS)
    tested = {_column_of(point["named"], number(options.get("amount")) or 1.0): point for point in confirmed
              if point.get("named")}  # fmt: skip
    # Beside invented data, or another source, published figures would look comparable without being so.
    real = not is_synthetic(info) and source == "fer2013"
    paper = paper_table(table, target, source, real, tested)
    # In another space a strategy's trials differ in more than the paper's.
    return paper if options.get("space") == "paper" else paper[paper["figures"] != OURS].reset_index(drop=True)


def _column_of(name: str, amount: float) -> str:
    """Returns the column of a confirmed strategy: "FC 50 %", or "FC" with the study's own amount."""
    strategy, _, share = name.partition(" ")
    return column(strategy, float(share.removesuffix(" %")) / 100 if share else amount)


def paper_table(
    table: pd.DataFrame,
    target: str,
    source: str = "fer2013",
    published: bool = False,
    tested: Mapping[str, dict] = MappingProxyType({}),
) -> pd.DataFrame:
    """Returns accuracies in per cent laid out as the paper's table.

    Columns: figures (whose), domain, dataset, BL, FC_50, FC_100, FC+CL_50, …, FU_100. Repeated trials of one
    point are averaged; a point without a finished trial is missing.

    Args:
        table: Of `study.trials.trials_table`.
        target: The target's name, which finds the published rows.
        source: The source's name.
        published: Adds the paper's test figures, where it has this target.
        tested: Points of `study.confirm` by column: adds means, ends of intervals, differences from the published.
    """
    domains = (("source", source), ("target", target))
    rows = [
        {"figures": OURS, "domain": domain, "dataset": name} | _validation(table, domain) for domain, name in domains
    ]
    for figures, end in ((TESTED, "test"), (LOWER, "lower"), (UPPER, "upper")) if tested else ():
        for domain, name in domains:
            values = {key: 100 * point[f"{domain}_{end}"] for key, point in tested.items()}
            rows.append({"figures": figures, "domain": domain, "dataset": name} | values)
    result = pd.DataFrame(rows)
    theirs = _published(target, list(result.columns)) if published else None
    if theirs is not None:
        result = pd.concat([result, theirs], ignore_index=True)
        if tested:
            own, paper = (result[result["figures"] == name].set_index("domain") for name in (TESTED, PUBLISHED))
            numbers = list(result.columns[3:])
            gap = (own[numbers] - paper.loc[own.index, numbers]).reset_index()
            gap = gap.assign(figures=DIFFERENCE, dataset=own["dataset"].to_numpy())[list(result.columns)]
            result = pd.concat([result, gap], ignore_index=True)
    return result.round(6)


def _validation(table: pd.DataFrame, domain: str) -> dict[str, float]:
    done = finished_trials(table)
    amount = pd.to_numeric(done["amount"]) if "amount" in done else pd.Series(1.0, index=done.index)
    accuracy = 100 * done[f"{domain}_val"]
    row = {"BL": accuracy[done["strategy"] == "BL"].mean()}
    # The paper's table has one FU; the other reading of it gets a row of its own where it was tried.
    beside = [FROM_SCRATCH] if FROM_SCRATCH in set(done["strategy"]) else []
    for strategy in (*STRATEGIES, *beside):
        for share in AMOUNTS:
            row[column(strategy, share)] = accuracy[(done["strategy"] == strategy) & (amount == share)].mean()
    return row


def _published(target: str, columns: list[str]) -> pd.DataFrame | None:
    paper = pd.read_csv(PAPER)
    paper = paper[paper["target"] == target].drop(columns="target")
    domains = paper["dataset"].map(lambda name: "target" if name == target else "source")
    return paper.assign(figures=PUBLISHED, domain=domains).reindex(columns=columns) if len(paper) else None


def as_table(paper: pd.DataFrame, title: str = "") -> Table:
    """Returns `paper_table` for a reader: a row for each strategy and amount, intervals beside their means."""
    shown = paper[~paper["figures"].isin((LOWER, UPPER))].sort_values("domain", kind="stable")
    head = ["Strategy", *(f"{row.dataset}, {row.figures}" for row in shown.itertuples())]
    rows: list[list[Any]] = []
    for name in paper.columns[3:]:
        strategy, _, amount = name.partition("_")
        cells = [_cell(paper, row, name) for row in shown.to_dict("records")]
        if OURS in set(paper["figures"]) or paper.loc[paper["figures"] == TESTED, name].notna().any():
            rows.append([f"{strategy} {amount} %" if amount else strategy, *cells])
    caption = title or "Accuracy in per cent, by strategy and share of the target's training set."
    return Table("paper", caption, head, rows)


def _cell(paper: pd.DataFrame, row: dict, name: str) -> str:
    value = number(row[name])
    if value is None:
        return "–"
    if row["figures"] == DIFFERENCE:
        return f"{value:+.2f}"
    if row["figures"] != TESTED:
        return f"{value:.2f}"
    ends = [paper.loc[(paper["figures"] == end) & (paper["domain"] == row["domain"]), name] for end in (LOWER, UPPER)]
    return f"{value:.1f} [{ends[0].iloc[0]:.1f}, {ends[1].iloc[0]:.1f}]"


def title_of(info: dict) -> str:
    """Returns the table's title, which says of the stand-in that it is one."""
    mark = f"{SYNTHETIC}: " if is_synthetic(info) else ""
    return f"{mark}accuracy in per cent, by strategy and share of the target's training set"
