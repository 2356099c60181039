"""The paper's table: this study's accuracies in its layout, and beside them, on real data, the published ones."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from fer.expressions import SEVEN
from search_spaces.paper import ADAPTING, AMOUNTS, FROM_BASELINE
from study.fronts import first_rung_networks
from study.record import DOMAINS, StudyRecord, number
from study.reporting.tables import Table
from study.reporting.wording import SYNTHETIC
from study.stored_results import Row

PUBLISHED_FILE = Path(__file__).with_name("paper.csv")
PUBLISHED_SOURCE = "fer2013"
"""The paper's only source."""

# What a row's figures are: the column "figures".
OURS = "this study (validation)"
TESTED = "this study (test)"
LOWER = "this study (test), lower"
UPPER = "this study (test), upper"
PUBLISHED = "published (test, arXiv 1905.12082)"
DIFFERENCE = "this study (test) − published"
SHORT = {OURS: "validation", TESTED: "test [95 %]", PUBLISHED: "published", DIFFERENCE: "test − published"}
"""What they are called where columns are narrow."""

ABOUT_ROW = ["figures", "domain", "dataset"]
"""The columns before those of the table's points."""


def column(strategy: str, share: float) -> str:
    """Returns the name of a point's column, such as "FC_50"; the baseline adapts to nothing and has no share."""
    return strategy if strategy == "BL" else f"{strategy}_{100 * share:.0f}"


def study_paper_table(record: StudyRecord, table: pd.DataFrame) -> pd.DataFrame | None:
    """Returns the paper's table of a study in the paper's space, or of what was confirmed in another; else None.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
    """
    is_paper_space = record.options.get("space") == "paper"
    points = record.results.points
    if not is_paper_space and not points:
        return None

    # The confirmed strategies, by the column that each fills.
    own_amount = number(record.options.get("amount")) or 1.0
    tested = {_column_of(point["named"], own_amount): point for point in points if point.get("named")}

    # Beside synthetic data, another source or other expressions, published figures would look comparable without being
    # so.
    source = record.source.name or "source"
    target = record.target.name or "target"
    is_alike = source == PUBLISHED_SOURCE and record.expressions == SEVEN
    is_comparable = is_alike and not record.is_synthetic
    paper = paper_table(table, target, source, is_comparable, tested)

    # In another space a strategy's trials differ in more than the paper's.
    if is_paper_space:
        return paper
    return paper[paper["figures"] != OURS].reset_index(drop=True)


def _column_of(name: str, own_amount: float) -> str:
    """Returns the column of a confirmed strategy: "FC 50 %", or "FC" with the study's own amount."""
    strategy, _, percent = name.partition(" ")
    share = float(percent.removesuffix(" %")) / 100 if percent else own_amount
    return column(strategy, share)


# The table with all its figures, which paper_table.csv holds.


def paper_table(
    table: pd.DataFrame,
    target: str,
    source: str = PUBLISHED_SOURCE,
    published: bool = False,
    tested: Mapping[str, Row] = MappingProxyType({}),
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
    names = {"source": source, "target": target}

    # This study's figures: on validation images, and where it was confirmed on test images.
    rows = [_about_row(OURS, domain, names) | _validation_accuracies(table, domain) for domain in DOMAINS]
    if tested:
        for figures, end in ((TESTED, "test"), (LOWER, "lower"), (UPPER, "upper")):
            rows += [_about_row(figures, domain, names) | _test_accuracies(tested, domain, end) for domain in DOMAINS]
    result = pd.DataFrame(rows)

    # The published ones, and what differs from them.
    published_rows = _read_published(target, list(result.columns)) if published else None
    if published_rows is not None:
        result = pd.concat([result, published_rows], ignore_index=True)
        if tested:
            result = pd.concat([result, _differences(result)], ignore_index=True)
    return result.round(6)


def _about_row(figures: str, domain: str, names: Mapping[str, str]) -> Row:
    return {"figures": figures, "domain": domain, "dataset": names[domain]}


def _validation_accuracies(table: pd.DataFrame, domain: str) -> dict[str, float]:
    """Returns the mean accuracy in per cent of each point's finished trials, by column; NaN where there are none.

    Of trainings that validate on different folds it is the baseline's accuracy on all of them plus the mean difference
    from it that was observed on the same images.
    """
    # A promoted trial is the same point with another budget.
    finished = first_rung_networks(table)
    observed = f"observed_{domain}_val"
    accuracy = 100 * finished[observed if observed in finished else f"{domain}_val"]
    all_of_it = pd.Series(1.0, index=finished.index)
    amount = pd.to_numeric(finished["amount"]) if "amount" in finished else all_of_it

    # The paper's table has one FU, from scratch; the other, from the baseline, gets rows where it was tried.
    strategies = list(ADAPTING)
    if FROM_BASELINE in set(finished["strategy"]):
        strategies.append(FROM_BASELINE)

    accuracies = {"BL": accuracy[finished["strategy"] == "BL"].mean()}
    for strategy in strategies:
        for share in AMOUNTS:
            is_point = (finished["strategy"] == strategy) & (amount == share)
            accuracies[column(strategy, share)] = accuracy[is_point].mean()
    return accuracies


def _test_accuracies(tested: Mapping[str, Row], domain: str, end: str) -> dict[str, float]:
    """Returns test accuracies in per cent by column.

    Args:
        tested: Confirmed points by column.
        domain: "source" or "target".
        end: "test" for the means, "lower" and "upper" for the ends of their intervals.
    """
    return {name: 100 * point[f"{domain}_{end}"] for name, point in tested.items()}


def _read_published(target: str, columns: list[str]) -> pd.DataFrame | None:
    """Returns the paper's rows for a target, None where it does not have this target.

    Args:
        target: The target's name.
        columns: Of the table that the rows are for; what the paper does not have is missing.
    """
    paper = pd.read_csv(PUBLISHED_FILE)
    rows = paper[paper["target"] == target].drop(columns="target")
    if rows.empty:
        return None
    domains = rows["dataset"].map(lambda name: "target" if name == target else "source")
    return rows.assign(figures=PUBLISHED, domain=domains).reindex(columns=columns)


def _differences(result: pd.DataFrame) -> pd.DataFrame:
    """Returns rows of test accuracies minus published ones, in points."""
    columns = list(result.columns)
    accuracies = columns[len(ABOUT_ROW) :]
    ours = result[result["figures"] == TESTED].set_index("domain")
    published = result[result["figures"] == PUBLISHED].set_index("domain")
    differences = (ours[accuracies] - published.loc[ours.index, accuracies]).reset_index()
    return differences.assign(figures=DIFFERENCE, dataset=ours["dataset"].to_numpy())[columns]


# The table as a reader sees it.


def as_table(paper: pd.DataFrame, title: str = "") -> Table:
    """Returns the paper's table for a reader: a row for each strategy and amount, intervals beside their means.

    Args:
        paper: Of `paper_table`.
        title: Its caption; a general one where it is empty.
    """
    # Ends of intervals stand in the cells of their means.
    is_end = paper["figures"].isin((LOWER, UPPER))
    shown = paper[~is_end].sort_values("domain", kind="stable")
    head = ["Strategy", *(f"{row.dataset}, {row.figures}" for row in shown.itertuples())]

    # In another space than the paper's, only what was confirmed has a row.
    has_validation = OURS in set(paper["figures"])
    rows: list[list[Any]] = []
    for name in paper.columns[len(ABOUT_ROW) :]:
        is_tested = paper.loc[paper["figures"] == TESTED, name].notna().any()
        if not has_validation and not is_tested:
            continue
        strategy, _, amount = name.partition("_")
        label = f"{strategy} {amount} %" if amount else strategy
        cells = [_cell(paper, row, name) for row in shown.to_dict("records")]
        rows.append([label, *cells])

    caption = title or "Accuracy in per cent, by strategy and share of the target's training set."
    return Table("paper", caption, head, rows)


def _cell(paper: pd.DataFrame, row: Mapping[Any, Any], name: str) -> str:
    """Returns what a cell shows: a difference with its sign, a tested accuracy with its interval, else the number.

    Args:
        paper: Of `paper_table`, whose rows also hold the ends of the intervals.
        row: The row of `paper_table`.
        name: Its column: a strategy, such as "FC_50".
    """
    value = number(row[name])
    if value is None:
        return "–"
    if row["figures"] == DIFFERENCE:
        return f"{value:+.2f}"
    if row["figures"] != TESTED:
        return f"{value:.2f}"

    # The interval's ends are rows of the same domain.
    of_domain = paper[paper["domain"] == row["domain"]]
    lower, upper = (of_domain.loc[of_domain["figures"] == end, name].iloc[0] for end in (LOWER, UPPER))
    return f"{value:.1f} [{lower:.1f}, {upper:.1f}]"


def title_of(record: StudyRecord) -> str:
    """Returns the table's title, which says where faces are synthetic."""
    mark = f"{SYNTHETIC}: " if record.is_synthetic else ""
    return f"{mark}accuracy in per cent, by strategy and share of the target's training set"
