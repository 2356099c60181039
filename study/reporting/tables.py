"""The report's tables as data, their Markdown and LaTeX, and the tables of all trials and of the front."""

import re
import textwrap
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from study.fronts import LEVELS, find_recommended, front_table, has_expectations, strategies_table
from study.record import DOMAINS, StudyRecord, number
from study.reporting.distinct_networks import describe_others, find_distinct, find_others
from study.reporting.wording import (
    ON_FRONT,
    TOO_FEW,
    confirmed_name,
    count_seeds,
    dataset_label,
    describe_stand_ins,
    evaluated_before,
    expected_text,
    file_interval_text,
    find_changed,
    format_percent,
    format_points,
    format_value,
    interval_text,
    is_trained_again,
    p_value_text,
    points_text,
    row_name,
    tested_text,
)
from study.stored_results import Row
from study.trials import OBJECTIVES, count_rungs, hyperparameter_names

MOST_REASONS = 30
"""Reasons of trials that did not finish that are shown; trials.csv has them all."""
MOST_NUMBERS = 8
"""Numbers of trials that are shown beside a reason."""


@dataclass(frozen=True)
class Table:
    """One table of the report.

    Attributes:
        name: The name in its LaTeX label.
        caption: What it shows, with units.
        head: Names of the columns.
        rows: Cells as they are printed.
        folded: Further rows, which matter less: a page shows them when it is asked to, a paper does not.
        about_folded: What these rows are, without a full stop; empty where there are none.
        file: That of the study's which has all rows.
    """

    name: str
    caption: str
    head: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    folded: list[list[Any]] = field(default_factory=list)
    about_folded: str = ""
    file: str = "front.csv"

    @property
    def whole_caption(self) -> str:
        """The caption where rows that are folded cannot be shown."""
        return f"{self.caption} {self.about_folded}: in {self.file}." if self.about_folded else self.caption


# Formats.


def to_markdown(table: Table) -> str:
    """Returns a table in Markdown, its caption below."""
    rule = ["---"] * len(table.head)
    lines = [_markdown_row(row) for row in (table.head, rule, *table.rows)]
    return "\n".join([*lines, "", f"*{table.whole_caption}*", ""])


def _markdown_row(row: list[Any]) -> str:
    cells = [str(cell).replace("|", r"\|").replace("\n", " ") for cell in row]
    return f"| {' | '.join(cells)} |"


_LATEX = str.maketrans(
    {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
     "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "≥": r"$\geq$", "–": "--", "−": "$-$",
     "→": r"$\to$", "≠": r"$\neq$", "·": r"$\cdot$", "Δ": r"$\Delta$", "×": r"$\times$", "…": r"\dots{}",
     "≤": r"$\leq$", "<": "$<$", ">": "$>$", "|": "$|$", "†": r"$\dagger$", "±": r"$\pm$", "—": "---",
     "\N{NO-BREAK SPACE}": "~"}
)  # fmt: skip
"""LaTeX of what is special in it and of the report's signs; pandas escapes neither captions nor signs."""


def escape_latex(value: object) -> str:
    """Returns any value as LaTeX text."""
    return str(value).translate(_LATEX)


_NUMBER = re.compile(
    r"[<+\-−]?\s?\d[\d.,]*(e[+-]?\d+)?(\s?%)?( †)?"
    rf"( \[([+\-−]?[\d.]+, [+\-−]?[\d.]+|{TOO_FEW})\])?"
)
"""A cell with a number: with a sign, per cent, a mark or its interval."""
DASH = "–"
"""A cell without a value."""
RECOMMENDED_MARK = "→"
"""What stands before the name of the recommended network."""
MOST_NARROW = 58
"""Characters that a row in one column of a paper holds, one and a half for each space between columns; a wider table
takes both columns."""
LONGEST_HEADING = 14
"""Characters of a heading's line in LaTeX."""


def to_latex(table: Table) -> str:
    """Returns a table in LaTeX, for the package booktabs: numbers to the right, wide tables over two columns."""
    widths = [_width_in_latex(table, column) for column in range(len(table.head))]
    is_wide = sum(widths) + 1.5 * len(widths) > MOST_NARROW

    # Names of columns may repeat, which pandas cannot style, so columns are numbers until they are printed.
    cells = pd.DataFrame(table.rows, columns=range(len(table.head)), dtype=object)
    sides = ["r" if _is_numeric(cells[column]) else "l" for column in cells.columns]
    titles = [_latex_heading(*heading) for heading in zip(table.head, widths, sides, strict=True)]
    styler = cells.style.hide(axis="index").format(_latex_cell)
    styler = styler.format_index(lambda column: titles[int(str(column))], axis="columns")
    source = styler.to_latex(
        caption=escape_latex(table.whole_caption),
        label=f"tab:{table.name}",
        column_format="".join(sides),
        position_float="centering",
        hrules=True,
        environment="table*" if is_wide else "table",
    )
    smaller = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{3pt}\n"
    return source.replace("\\centering\n", smaller, 1)


def _width_in_latex(table: Table, column: int) -> int:
    """Returns how many characters a column is wide, its heading in lines."""
    lines = textwrap.wrap(_keep_units(table.head[column]), LONGEST_HEADING, break_on_hyphens=False) or [""]
    texts = [*lines, *(str(row[column]) for row in table.rows)]
    return max(len(text) for text in texts)


def _keep_units(title: str) -> str:
    """Returns a heading in whose lines a number stays with its signs: "≥ 95 %"."""
    return title.replace(" %", "\N{NO-BREAK SPACE}%").replace("≥ ", "≥\N{NO-BREAK SPACE}")


def _is_numeric(cells: pd.Series) -> bool:
    """Returns whether a column holds numbers alone, or nothing where it has no value."""
    texts = [str(cell) for cell in cells]
    values = [text for text in texts if text not in ("", DASH)]
    return bool(values) and all(_NUMBER.fullmatch(text) for text in values)


def _latex_cell(value: object) -> str:
    """Returns a cell as LaTeX; minus signs of numbers are as long as plus signs."""
    text = str(value)
    if _NUMBER.fullmatch(text):
        text = text.replace("-", "−")
    return escape_latex(text)


def _latex_heading(title: str, width: int, side: str) -> str:
    """Returns a column's heading as LaTeX, in lines where it is wider than its column."""
    lines = textwrap.wrap(_keep_units(title), max(width, 1), break_on_hyphens=False)
    if len(title) <= LONGEST_HEADING or len(lines) < 2:
        return escape_latex(title)
    escaped = r" \\ ".join(escape_latex(line) for line in lines)
    return rf"\shortstack[{side}]{{{escaped}}}"


# Trials.


def varied_hyperparameters(table: pd.DataFrame) -> list[str]:
    """Returns the hyperparameters that differ between trials.

    Args:
        table: Trials, of `study.trials.trials_table`.
    """
    return [name for name in hyperparameter_names(table) if table[name].nunique(dropna=False) > 1]


def build_strategies_table(record: StudyRecord, table: pd.DataFrame) -> Table:
    """Returns per strategy how many trials ended how, and what it reached on validation images."""
    baseline = record.baseline.accuracies
    baseline_source = None if baseline is None else baseline[0]
    strategies = strategies_table(table, baseline_source, LEVELS)
    head = [_strategy_heading(str(column)) for column in strategies.columns]
    rows = [[_strategy_cell(value) for value in row] for row in strategies.itertuples(index=False)]
    caption = (
        "On validation images, interpolated networks included; each is the best of its strategy's, and the best of "
        "more is higher."
    )
    if has_expectations(table):
        caption = (
            "Expected accuracies, interpolated networks included; each is the best of its strategy's, and the best of "
            "more is higher."
        )
    if table["rung"].nunique() > 1:
        caption += " Networks of all rungs count, whose budgets differ."
    return Table("strategies", caption, head, rows)


def _strategy_heading(column: str) -> str:
    if column.startswith("target_at_"):
        level = float(column.removeprefix("target_at_"))
        return f"Target %, source kept ≥ {100 * level:g} %"
    headings = {"best_target": "Best target %", "source_there": "Source % there"}
    return headings.get(column, column.capitalize())


def _strategy_cell(value: object) -> object:
    """Returns an accuracy in per cent; a name or a count stays."""
    return format_percent(value) if isinstance(value, float) else value


def build_unfinished_table(table: pd.DataFrame) -> Table | None:
    """Returns why trials stopped or failed, the most frequent reasons first."""
    unfinished = table[table["state"] != "finished"]
    if unfinished.empty:
        return None
    reasons = unfinished["reason"].fillna("no reason recorded").astype(str)
    groups = list(unfinished.assign(reason=reasons).groupby(["state", "reason"]))
    groups.sort(key=lambda group: -len(group[1]))

    rows: list[list[Any]] = []
    for (state, reason), group in groups[:MOST_REASONS]:
        numbers = ", ".join(str(number) for number in group["number"].head(MOST_NUMBERS))
        more = " …" if len(group) > MOST_NUMBERS else ""
        rows.append([state, reason, len(group), numbers + more])
    left_out = len(groups) - MOST_REASONS
    caption = ""
    if (unfinished["state"] == "stopped").any():
        caption = "Dominated: other trials were at least as good on both datasets after as many passes over the target."
    if left_out > 0:
        caption += f" And {left_out} further reasons, in trials.csv."
    return Table("unfinished", caption.strip(), ["State", "Reason", "Trials", "Numbers"], rows)


# The front.


def build_front_table(record: StudyRecord, table: pd.DataFrame) -> Table:
    """Returns the front with the hyperparameters that vary over the study; with what is expected of its networks."""
    front = front_table(table)
    on_front = hyperparameter_names(front)
    varied = [name for name in on_front if name in varied_hyperparameters(table)]
    if "role" in front:
        return _expected_front_table(record, front, varied)

    rows: list[list[Any]] = []
    for network in front.to_dict("records"):
        accuracies = [format_percent(network[objective]) for objective in OBJECTIVES]
        values = [format_value(network[name]) for name in varied]
        rows.append([row_name(network, short=True), *accuracies, *values])

    accuracy_labels = [f"{dataset_label(record, domain)} %" for domain in DOMAINS]
    head = ["Network", *accuracy_labels, *(name.replace("_", " ") for name in varied)]
    return Table("front", "The front: accuracy on validation images, and the hyperparameters that varied.", head, rows)


def _expected_front_table(record: StudyRecord, front: pd.DataFrame, varied: list[str]) -> Table:
    """Returns a front with expected accuracies, their intervals and how sure each network's place is.

    Args:
        record: The study's record.
        front: Of `study.fronts.front_table`.
        varied: The hyperparameters that vary over the study.
    """
    rows: list[list[Any]] = []
    folded: list[list[Any]] = []
    is_distinct = find_distinct(front, record)
    for network, is_shown in zip(front.to_dict("records"), is_distinct, strict=True):
        accuracies = [expected_text(network, domain) for domain in DOMAINS]
        probability = format_percent(network["probability"], 0)
        is_trained = network["strategy"] != "BL"
        rung = network["rung"] if is_trained else DASH
        counts = [rung, int(network["folds"]), int(network["trainings"])]
        values = [format_value(network[name]) if is_trained else DASH for name in varied]
        role = network["role"] or "–"
        cells = [row_name(network, short=True), role, *accuracies, probability, *counts, *values]
        (rows if is_shown else folded).append(cells)

    accuracy_labels = [f"{dataset_label(record, domain)} %" for domain in DOMAINS]
    head = ["Network", "Role", *accuracy_labels, "On front %", "Rung", "Folds", "Trainings"]
    head += [name.replace("_", " ") for name in varied]
    caption = (
        "The front of expected accuracies, with 90 % intervals for other people and trainings. Role: the recommended "
        "network, and its neighbours, which keep more of the source or learn more of the target; where none is "
        "recommended, the one that came nearest. On front: the "
        f"{ON_FRONT}; it is shared among networks that hardly differ. Rung: how large the training budget was, from 1. "
        "Folds: of how many parts of the target's people a network answered on images; trainings: how many of it these "
        "accuracies come from (the baseline, BL, needs none). Then the hyperparameters that varied."
    )
    return Table("front", caption, head, rows, folded, describe_others(len(folded), front))


def build_confirmed_table(record: StudyRecord, table: pd.DataFrame) -> Table:
    """Returns what test images show of the front and of the named strategies: accuracies and their changes.

    Args:
        record: The study's record, with a confirmation.
        table: Trials, of `study.trials.trials_table`.
    """
    labels = [dataset_label(record, domain) for domain in DOMAINS]
    changes = ["Source change", "p alone", "p", "Target change", "p alone", "p"]
    seeds = record.confirmation.get("seeds")
    trained = count_seeds(seeds) if isinstance(seeds, int) else "several seeds"
    has_files = any(file_interval_text(point, domain) for point in record.results.points for domain in DOMAINS)
    if has_files:
        head = ["Network", *(f"{label} %, file" for label in labels), *(f"{label} %, again" for label in labels)]
        measured = (
            "Accuracy on test images in per cent. File: of the very network that the study hands over. Again: mean of "
            f"new trainings with {trained}, as another training would give it, and its change from the baseline, which "
            "trains nothing, in points,"
        )
    else:
        head = ["Network", *(f"{label} %" for label in labels)]
        measured = (
            f"Accuracy on test images in per cent, mean over {trained}, and its change from the baseline in points,"
        )
    head += changes
    caption = (
        f"{measured} with 95 % intervals for other people and seeds; p of the change alone, and corrected for all "
        f"comparisons (Holm).{describe_stand_ins(record)}{_budget_note(record)}{evaluated_before(record)}"
    )
    front = front_table(table)
    others = find_others(front, record)
    changed = find_changed(record, front)
    recommended = find_recommended(front)
    handed_over = "" if recommended is None else recommended["model"]
    if any(point.get("model") == handed_over for point in record.results.points if handed_over):
        caption += f" {RECOMMENDED_MARK}: the recommended network."
    if has_files and changed:
        caption += (
            f" {DASH}: the search went on, and the file averages other trainings now than those that were tested."
        )
    rows: list[list[Any]] = []
    folded: list[list[Any]] = []
    for point in record.results.points:
        row = _confirmed_row(point, has_files, point.get("model") in changed)
        if handed_over and point.get("model") == handed_over:
            row[0] = f"{RECOMMENDED_MARK} {row[0]}"
        (folded if point.get("model") in others else rows).append(row)
    about = f"{describe_others(len(folded), front)}, as the search expected" if folded else ""
    return Table("confirmed", caption, head, rows, folded, about, "confirm.csv")


def build_confirmed_details_table(record: StudyRecord) -> Table:
    """Returns what else test images show of the confirmed networks, and what the search had expected."""
    head = ["Network", "Retention %", "Flips %", "Target UAR %", "Target ECE %", "Target optimism"]
    head.append("Target % again, validation")
    rows = [_confirmed_details_row(point) for point in record.results.points]
    caption = (
        "Further figures of the confirmed networks on test images. Again: validation accuracy of the new trainings, "
        "which nothing was chosen by."
    )
    return Table("confirmed-details", caption, head, rows)


def _budget_note(record: StudyRecord) -> str:
    """Returns whose budgets differ in a confirmation, with a space before; nothing for a study with one rung."""
    if count_rungs(record) == 1:
        return ""
    return " Named strategies have the largest budget on the front; trials have that of the rung they were trained on."


def _confirmed_row(point: Row, with_files: bool, has_changed: bool) -> list[Any]:
    """Returns a row of the table of confirmed networks.

    Args:
        point: A row of the confirmation's results.
        with_files: Whether the table has columns of the files that are handed over.
        has_changed: Whether the network's file is another now than the one that was tested.
    """
    accuracies = [interval_text(point, domain) for domain in DOMAINS]
    if with_files and is_trained_again(point):
        of_file = [DASH if has_changed else file_interval_text(point, domain) or DASH for domain in DOMAINS]
        accuracies = [*of_file, *accuracies]
    elif with_files:
        accuracies = [*(tested_text(point, domain) for domain in DOMAINS), DASH, DASH]
    return [
        confirmed_name(point),
        *accuracies,
        *_change_cells(point, "source"),
        *_change_cells(point, "target"),
    ]


def _confirmed_details_row(point: Row) -> list[Any]:
    optimism = "–" if "target_optimism" not in point else format_points(point["target_optimism"])
    return [
        confirmed_name(point),
        *(format_percent(point.get(name)) for name in ("retention", "negative_flips", "target_uar", "target_ece")),
        optimism,
        format_percent(point.get("target_val_again")),
    ]


def _change_cells(point: Row, domain: str) -> list[str]:
    """Returns a point's change from the baseline, its p-value alone and corrected; dashes for the baseline itself."""
    if number(point.get(f"{domain}_change")) is None:
        return ["–", "–", "–"]
    mean = point[f"{domain}_change"]
    change = points_text(mean, point[f"{domain}_change_lower"], point[f"{domain}_change_upper"])
    return [change, p_value_text(point[f"{domain}_p_alone"]), p_value_text(point[f"{domain}_p"])]
