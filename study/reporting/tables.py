"""The report's tables as data, written as HTML by `page`, as Markdown and LaTeX here."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fer.expressions import EXPRESSIONS
from fer.layers import LAYERS
from study.fronts import candidate_networks, front_table, model_names
from study.record import baseline_point, confirmed_points, number, section
from study.reporting.wording import (
    dataset_label,
    describe_interpolation,
    evaluated_before,
    format_percent,
    format_value,
    interval_text,
    points_text,
)
from study.trials import OBJECTIVES, RUNG_COLUMN, finished_trials, hyperparameter_names, interpolation_name, rung_shares

LEVELS = (0.98, 0.95, 0.9, 0.8)
_SHOWN_LAYERS = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "fc2")


@dataclass(frozen=True)
class Table:
    """One table of the report.

    Attributes:
        name: Of its LaTeX label.
        caption: What it shows, with units.
        head: Names of the columns.
        rows: Cells as they are printed.
    """

    name: str
    caption: str
    head: list[str]
    rows: list[list[Any]] = field(default_factory=list)


def markdown(table: Table) -> str:
    """Returns a table in Markdown, its caption below."""
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    cells = (
        "| " + " | ".join(str(cell).replace("|", r"\|").replace("\n", " ") for cell in row) + " |" for row in lines
    )
    return "\n".join([*cells, "", f"*{table.caption}*", ""])


_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
          "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "≥": r"$\geq$", "–": "--", "−": "$-$",
          "→": r"$\to$", "Δ": r"$\Delta$", "×": r"$\times$", "…": r"\dots{}"}  # fmt: skip


def latex_text(value: object) -> str:
    """Returns any value as LaTeX text."""
    return "".join(_LATEX.get(letter, letter) for letter in str(value))


def latex(table: Table) -> str:
    """Returns a table in LaTeX, for the package booktabs."""
    lines = [" & ".join(latex_text(cell) for cell in row) + r" \\" for row in table.rows]
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{latex_text(table.caption)}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{{'l' * len(table.head)}}}", r"\toprule",
            " & ".join(latex_text(cell) for cell in table.head) + r" \\", r"\midrule", *lines, r"\bottomrule",
            r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


def build_front_table(info: dict, table: pd.DataFrame) -> Table:
    """Returns the front on validation, with the knobs that vary over the study."""
    front = front_table(table)
    varied = [name for name in hyperparameter_names(front) if name in table and table[name].nunique(dropna=False) > 1]
    labels = [f"{dataset_label(info, side)} %" for side in ("source", "target")]
    rows = [
        [row["trial"], row["strategy"], describe_interpolation(row["alpha"], row.get("alpha_slope", 0.0)),
         *(format_percent(row[name]) for name in OBJECTIVES), *(format_value(row[name]) for name in varied)]
        for row in front.to_dict("records")
    ]  # fmt: skip
    head = ["Trial", "Strategy", "Alpha", *labels, *(name.replace("_", " ") for name in varied)]
    return Table("front", "The front: accuracy on validation images, and the knobs that varied.", head, rows)


def build_confirmed_table(info: dict) -> Table:
    """Returns what test images say of the front and of the named strategies."""
    labels = [f"{dataset_label(info, side)} %" for side in ("source", "target")]
    head = ["Point", "Strategy", "Alpha", *labels, "Source change", "p alone", "p", "Target change", "p alone", "p",
            "Retention %", "Flips %", "Target UAR %", "Target ECE %", "Target optimism",
            "Target % again, validation"]  # fmt: skip
    rows = [
        [point["name"], point["strategy"], point["alpha"],
         *(interval_text(point, domain) for domain in ("source", "target")),
         *(cell for domain in ("source", "target") for cell in _change_cells(point, domain)),
         *(format_percent(point.get(name)) for name in ("retention", "negative_flips", "target_uar", "target_ece")),
         "–" if "target_optimism" not in point else f"{100 * point['target_optimism']:+.1f}",
         format_percent(point.get("target_val_again"))]
        for point in confirmed_points(info)
    ]  # fmt: skip
    seeds = section(info, "confirmation").get("seeds", "several")
    caption = (
        f"Accuracy on test images in per cent, mean over {seeds} seeds, and its change from the baseline in points, "
        "with 95 % intervals for other people and seeds; p of the change alone, and corrected for all comparisons "
        "(Holm). Again: validation accuracy of the new trainings, which nothing was chosen by."
        f"{evaluated_before(info)}"
    )
    return Table("confirmed", caption, head, rows)


def _change_cells(point: dict, domain: str) -> list[str]:
    """Returns a point's change from the baseline, its p-value alone and corrected; dashes for the baseline itself."""
    if number(point.get(f"{domain}_change")) is None:
        return ["–", "–", "–"]
    change = points_text(*(point[f"{domain}_{name}"] for name in ("change", "change_lower", "change_upper")))
    return [change, f"{point[f'{domain}_p_alone']:.2g}", f"{point[f'{domain}_p']:.2g}"]


def build_rungs_table(table: pd.DataFrame) -> Table | None:
    """Returns how well each rung told the end: Spearman's rank correlation over the trials that came to theirs.

    Those that stopped have no end, so the worst are missing, which makes a correlation smaller than it is.
    """
    done, rows = finished_trials(table), []
    for share in rung_shares(table):
        names = {side: RUNG_COLUMN.format(side, share) for side in OBJECTIVES}
        reached = done.dropna(subset=list(names.values()))
        found = [number(reached[name].rank().corr(reached[side].rank())) for side, name in names.items()]
        last = (table["state"] == "stopped") & table[list(names.values())].notna().all(axis=1)
        later = [RUNG_COLUMN.format(side, other) for other in rung_shares(table) if other > share
                 for side in OBJECTIVES]  # fmt: skip
        stopped = last & table[later].isna().all(axis=1)
        cells = ["–" if one is None else f"{one:.2f}" for one in found]
        rows.append([f"{100 * float(share):.0f} %", len(reached), *cells, int(stopped.sum())])
    caption = (
        "Spearman's rank correlation of accuracies at a share of the budget with those at its end, over the finished "
        "trials that were looked at there. Stopped trials have no end: the correlation over all would differ."
    )
    head = ["Budget spent", "Finished trials", "Source", "Target", "Stopped there"]
    return Table("rungs", caption, head, rows) if rows else None


def build_retention_table(info: dict, table: pd.DataFrame) -> Table | None:
    """Returns the best network on the target for each share of the source accuracy that must stay."""
    start = baseline_point(info)
    if start is None or finished_trials(table).empty:
        return None
    done = candidate_networks(table)
    done["model"] = model_names(done)
    tested = {point["model"]: point for point in confirmed_points(info) if point["model"]}
    rows: list[list[Any]] = []
    for level in LEVELS:
        kept = done[done["source_val"] >= level * start[0]].sort_values(
            ["target_val", "source_val"], ascending=False, kind="stable"
        )
        cells: list[Any] = [f"{100 * level:.0f} %"]
        if kept.empty:
            rows.append([*cells, "none", *["–"] * (4 + bool(tested))])
            continue
        best = kept.iloc[0]
        cells += [best["strategy"], best["number"], interpolation_name(best["share"], best["slope"])]
        cells += [format_percent(best["source_val"]), format_percent(best["target_val"])]
        if tested:
            cells.append(interval_text(tested[best["model"]], "target") if best["model"] in tested else "not confirmed")
        rows.append(cells)
    head = ["Source kept, at least", "Strategy", "Trial", "Alpha", "Source %", "Target %"]
    caption = (
        "The best on the target by how much of the source accuracy must stay, chosen on validation images, which "
        "flatters what is chosen."
    )
    return Table("retention", caption, head + ["Target % on test"] * bool(tested), rows)


def build_expressions_table(info: dict, model: str, row: Any) -> Table | None:
    """Returns each expression's recall before and after, on test images where the network was confirmed.

    Args:
        info: The study's record.
        model: The network's file, which finds its confirmation.
        row: Its trial's row of `front.table`, whose measures are on validation images.
    """
    found, where = find_confirmed_recalls(info, model), "test"
    if found is None:
        measures = section(section(info, "baseline"), "measures")
        found = [
            {side: {name: source.get(f"{side}_recall_{name}") for name in EXPRESSIONS} for side in ("source", "target")}
            for source in (measures, row)
        ]
        where = "validation"
    before, after = found
    rows = []
    for name in EXPRESSIONS:
        cells: list[Any] = [name]
        for side in ("source", "target"):
            first, last = (number(recalls.get(side, {}).get(name)) for recalls in (before, after))
            cells += [format_percent(first), format_percent(last)]
            cells += ["–" if first is None or last is None else f"{100 * (last - first):+.1f}"]
        rows.append(cells)
    if all(cell == "–" for cells in rows for cell in cells[1:]):
        return None
    labels = [
        f"{dataset_label(info, side)} {word}" for side in ("source", "target") for word in ("before %", "after %", "Δ")
    ]
    caption = (
        f"Recall of each expression before and after adaptation, on {where} images, and the change in points, which "
        "was not tested."
    )
    return Table("expressions", caption, ["Expression", *labels], rows)


def find_confirmed_recalls(info: dict, model: str) -> list[dict] | None:
    """Returns the recalls of the baseline and of a network on test images, None where it was not confirmed."""
    inside = section(section(info, "confirmation"), "results").get("inside") or []
    for point, found in zip(confirmed_points(info), inside, strict=False):
        if point.get("model") == model and found.get("recall") and inside[0].get("recall"):
            return [inside[0]["recall"], found["recall"]]
    return None


def build_freezing_table(info: dict, table: pd.DataFrame) -> Table | None:
    """Returns what trials reached by how many layers they froze."""
    done = finished_trials(table)
    if "frozen_layers" not in done or done["frozen_layers"].nunique() < 2:
        return None
    frozen = pd.to_numeric(done["frozen_layers"])
    bins = pd.cut(frozen, [-1, 0, 4, 8, 10, len(LAYERS) - 1, len(LAYERS)])
    rows: list[list[Any]] = []
    for _, group in done.groupby(bins, observed=True):
        layers = pd.to_numeric(group["frozen_layers"])
        name = f"{layers.min()}" if layers.min() == layers.max() else f"{layers.min()}–{layers.max()}"
        accuracies = [
            format_percent(accuracy)
            for objective in ("source_val", "target_val")
            for accuracy in (group[objective].median(), group[objective].max())
        ]
        rows.append([name, len(group), *accuracies])
    head = ["Frozen layers", "Trials", "Source % median", "best", "Target % median", "best"]
    caption = (
        "Accuracy on validation images by how many layers were frozen; trials differ in other hyperparameters as well, "
        "and the best of more trials is higher."
    )
    return Table("freezing", caption, head, rows)


def build_differences_table(info: dict) -> Table | None:
    """Returns the paired differences of the named strategies on test images."""
    found = section(section(info, "confirmation"), "results").get("differences") or []
    rows = [
        [f"{row['one']} − {row['other']}", *(cell for side in ("source", "target") for cell in _gap_cells(row, side))]
        for row in found
    ]
    head = ["Difference"]
    for side in ("source", "target"):
        head += [f"{dataset_label(info, side)}, points", "p alone", "p"]
    caption = (
        "Paired differences in test accuracy, seed by seed, for other people and seeds; the intervals hold together "
        f"with 95 %, p is corrected for all {2 * len(rows)} comparisons (Bonferroni)."
    )
    return Table("differences", caption, head, rows) if rows else None


def _gap_cells(row: dict, side: str) -> list[str]:
    """Returns a difference with its interval, its p-value alone and corrected, dashes where none was recorded."""
    difference = points_text(*(row[f"{side}_{name}"] for name in ("mean", "lower", "upper")))
    p_values = (number(row.get(f"{side}_{name}")) for name in ("p_alone", "p"))
    return [difference, *("–" if value is None else f"{value:.2g}" for value in p_values)]


def build_similarity_table(info: dict) -> Table | None:
    """Returns what one training of each confirmed point did inside the network."""
    inside = section(section(info, "confirmation"), "results").get("inside") or []
    rows = []
    for point, found in zip(confirmed_points(info), inside, strict=False):
        if found.get("cka"):
            values = dict(zip(LAYERS, found["cka"], strict=False))
            layers = [f"{values[name]:.2f}" for name in _SHOWN_LAYERS]
            change = number(found.get("probe_change"))
            drifted = number(point.get("target_drift"))
            cells = ["–" if change is None else f"{100 * change:+.1f}", "–" if drifted is None else f"{drifted:.2f}"]
            rows.append([point["name"], point["strategy"], point["alpha"], *layers, *cells])
    head = [
        "Point",
        "Strategy",
        "Alpha",
        *(f"CKA {name}" for name in _SHOWN_LAYERS),
    ]
    head += ["Linear probe, points", "Drift, nats"]
    caption = (
        "Inside one training of each: linear CKA of layers with the baseline's and the change of a fresh linear probe, "
        "on source images; KL divergence from the baseline on target images, mean over seeds."
    )
    return Table("inside", caption, head, rows) if rows else None
