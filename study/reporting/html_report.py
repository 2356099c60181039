"""report.html: one file that needs nothing else, for a screen, a phone, day and night."""

import base64
import json
from pathlib import Path
from typing import Any

import pandas as pd

from study.fronts import candidate_networks, find_knee, front_table, hypervolume_over_trials, strategies_table
from study.record import baseline_point, confirmed_points, is_synthetic, section
from study.reporting import plotly_charts
from study.reporting.findings import (
    about_intervals,
    change_text,
    describe_certainty,
    differing_points,
    find_confirmed_point,
    list_findings,
)
from study.reporting.markup import CSS, grid, text, tree
from study.reporting.paper_table import as_table
from study.reporting.tables import LEVELS, Table, build_confirmed_table, build_front_table
from study.reporting.wording import (
    SYNTHETIC,
    SYNTHETIC_SENTENCE,
    dataset_label,
    describe_interpolation,
    folds_sentence,
    format_percent,
    format_value,
    limits_sentence,
)
from study.trials import STATES, hyperparameter_names, hypervolume_reference

SCRIPT = Path(__file__).with_name("page.js")


def render_html(
    info: dict,
    table: pd.DataFrame,
    vectors: dict[str, str],
    notes: dict[str, str],
    paper: pd.DataFrame | None,
    details: dict[str, Any] | None = None,
) -> str:
    """Returns the report.

    Args:
        info: The study's record, without passwords.
        table: Of `front.table`.
        vectors: The pictures as SVG, by name.
        notes: What could not be drawn, and why, by name of picture.
        paper: The paper's table, where the study has one.
        details: Of `details.details`, what a click on the front shows.
    """
    name = text(info.get("name", "study"))
    banner = f'<p class="banner"><b>{SYNTHETIC}.</b> {SYNTHETIC_SENTENCE}</p>' if is_synthetic(info) else ""
    sections = [
        ("Recommendation", _recommendation(info, table)),
        ("Front", _front_chart(info, table, notes, details or {}) + _front_table(info, table)),
        ("Confirmed on test images", _confirmed(info, vectors, notes)),
        ("Answers", _answers(info, table)),
        ("Strategies", _strategies(info, table) + _picture(vectors, notes, "strategies")),
        ("The paper's table", _paper(paper, is_synthetic(info))),
        ("Baseline", tree(section(info, "baseline")) or "<p>Nothing is recorded about the baseline.</p>"),
        ("Progress of the search", _picture(vectors, notes, "hypervolume")),
        ("Which knob matters", _picture(vectors, notes, "importance")),
        ("Every finished trial", _picture(vectors, notes, "parallel")),
        ("Trials that did not finish", _unfinished(table)),
        ("Data and hazards", _data(info)),
        ("Method", METHOD + (f"<p>{text(more)}</p>" if (more := folds_sentence(info) + limits_sentence(info)) else "")),
        ("Options, network, versions, hardware", _rest(info)),
    ]
    body = "".join(f"<section><h2>{title}</h2>{content}</section>" for title, content in sections if content)
    target, source = (text(dataset_label(info, side)) for side in ("target", "source"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name}</title><style>{CSS}</style></head><body><main>{banner}<h1>{source} to {target}</h1>"
        f'<p class="quiet">Study <code>{name}</code>{_created(info)}</p>{body}</main></body></html>\n'
    )


def _created(info: dict) -> str:
    return f", begun {text(info['created'])}" if info.get("created") else ""


def _settings(row: pd.Series, table: pd.DataFrame) -> str:
    """Names the knobs of a trial that vary over the study; the others are no choice."""
    names = [name for name in hyperparameter_names(table) if table[name].nunique(dropna=False) > 1]
    return (
        ", ".join(f"{text(name)} {text(format_value(row[name]))}" for name in names if name in row) or "no knob varied"
    )


def _recommendation(info: dict, table: pd.DataFrame) -> str:
    counts = ", ".join(f"{int((table['state'] == state).sum())} {state}" for state in STATES.values())
    knee = find_knee(front_table(table))
    if knee is None:
        return f"<p class='lead'>No trial has finished yet, so there is nothing to recommend.</p><p>{counts}.</p>"
    source, target = dataset_label(info, "source"), dataset_label(info, "target")
    alpha = describe_interpolation(knee["alpha"], knee.get("alpha_slope", 0.0))
    between = "" if alpha == "1" else f", between the baseline and it at alpha {alpha}"
    lead = f"<p class='lead'><b>{text(knee['strategy'])}</b> (trial {knee['trial']}{between})</p>"
    lead += f"<p>{_settings(knee, table)}</p>"
    start, point = baseline_point(info), find_confirmed_point(info, knee["model"])
    after = f"{format_percent(knee['source_val'])} %", f"{format_percent(knee['target_val'])} %"
    if point is not None and "target_change" in point:
        cards = "".join(_tested_card(info, point, side) for side in ("source", "target"))
    elif start is None:
        cards = _card(source, after[0], "after adaptation") + _card(target, after[1], "after adaptation")
    else:
        kept = knee["source_val"] / start[0] if start[0] else None
        change = 100 * (knee["target_val"] - start[1])
        cards = _card(f"{source} kept, on validation", f"{format_percent(kept)} %",
                      f"{after[0]} of the baseline's {format_percent(start[0])} %; not tested")  # fmt: skip
        cards += _card(f"{target} on validation", f"{change:+.1f} points",
                       f"{after[1]}, from the baseline's {format_percent(start[1])} %; not tested")  # fmt: skip
    cards += _card("Search", f"{len(table)} trials", f"{counts}; {len(front_table(table))} on the front")
    if (candidate_networks(table)["share"] < 1).any():
        whole, ends = (
            hypervolume_over_trials(table, hypervolume_reference(info), between)[-1] for between in (True, False)
        )
        cards += _card(
            "Interpolation added",
            f"{whole - ends:.4f}",
            f"to the hypervolume of {ends:.4f} of the trials' ends, on validation",
        )
    tested = (
        "how it and the rest of the front did on test images is told below"
        if confirmed_points(info)
        else "nothing here has been confirmed on a test set"
    )
    return (
        f"{lead}<p>{text(describe_certainty(info, table, knee))}</p><div class='cards'>{cards}</div>"
        "<p class='quiet'>The recommendation is the knee of the front: the trial that stands out furthest above the "
        "line between the front's two ends, or, where none does, dominates most. It is a single training, chosen as "
        f"the best of many on validation images, and so tends to look better than it is; {tested}.</p>"
    )


def _tested_card(info: dict, point: dict, side: str) -> str:
    """Returns what the recommended network changed on test images, with the interval and both p-values."""
    detail = f"95 % interval; p = {point[f'{side}_p']:.2g} corrected, {point[f'{side}_p_alone']:.2g} alone"
    return _card(f"{dataset_label(info, side)} on test", f"{change_text(point, side)} points", detail)


def _card(title: str, value: str, detail: str) -> str:
    return f"<div class='card'><span>{text(title)}</span><b>{text(value)}</b><span>{text(detail)}</span></div>"


def _front_chart(info: dict, table: pd.DataFrame, notes: dict[str, str], details: dict[str, Any]) -> str:
    if "pareto" in notes:
        return f"<p class='quiet'>No picture of the front: {text(notes['pareto'])}.</p>"
    chart = plotly_charts.draw_chart("pareto", info, table)
    chart.update_layout(template="plotly_white", margin={"t": 40, "l": 56, "r": 12, "b": 40}, height=560,
                        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")  # fmt: skip
    drawn = chart.to_html(full_html=False, include_plotlyjs=True, config=plotly_charts.CONFIG, div_id="front")
    content = json.dumps({"trials": {}, "first": None} | details, allow_nan=False).replace("<", "\\u003c")
    script = SCRIPT.read_text(encoding="utf-8")
    return (
        "<p>Accuracy on validation images. Hover a point for its knobs, click it for its trial.</p>"
        f"{drawn}<p><label>Trial <select id='pick'></select></label></p><div id='detail' aria-live='polite'></div>"
        f"<script type='application/json' id='details'>{content}</script><script>{script}</script>"
    )


def _shown(table: Table | None) -> str:
    return "" if table is None else grid(table.head, table.rows) + f"<p class='quiet'>{text(table.caption)}</p>"


def _front_table(info: dict, table: pd.DataFrame) -> str:
    front = front_table(table)
    if front.empty:
        return ""
    fixed = [
        name for name in hyperparameter_names(front) if name not in table or table[name].nunique(dropna=False) <= 1
    ]
    same = ", ".join(f"{text(name)} {text(format_value(front[name].iloc[0]))}" for name in fixed)
    note = f"<details><summary>The same in every trial</summary><p class='quiet'>{same}</p></details>" if same else ""
    return _shown(build_front_table(info, table)) + note


def _answers(info: dict, table: pd.DataFrame) -> str:
    return "".join(
        f"<h3>{text(answer.question)}</h3><p>{text(answer.words)}</p>{_shown(answer.table)}"
        for answer in list_findings(info, table)
        if answer.table is not None
    )


def _confirmed(info: dict, vectors: dict[str, str], notes: dict[str, str]) -> str:
    opening, points = section(info, "confirmation"), confirmed_points(info)
    if not points:
        name = text(info.get("name", "STUDY"))
        return (
            f"<p>Not confirmed: the test sets are closed. <code>python -m study.confirm {name}</code> trains the front "
            "and the named strategies again with several seeds and opens them once.</p>"
        )
    again = f", after {len(opening['earlier'])} earlier openings" if opening.get("earlier") else ""
    note = (
        f"{text(about_intervals(info))} Flips: source images that the baseline had right and the network has wrong. "
        "Optimism: what the search saw on validation minus the test mean, in points. The test sets were opened "
        f"{text(opening['opened'])}{again}."
    )
    return (
        f"<p>{text(differing_points(info))}</p>{_picture(vectors, notes, 'confirmed')}"
        f"{_shown(build_confirmed_table(info))}<p class='quiet'>{note}</p>"
    )


def _strategies(info: dict, table: pd.DataFrame) -> str:
    if table.empty:
        return ""
    start = baseline_point(info)
    found = strategies_table(table, start[0] if start else None, LEVELS)
    names = {"strategy": "Strategy", "best_target": "Best target %", "source_there": "Source % there"}
    head = [
        names.get(c, f"Target % at source kept ≥ {c[10:]}" if c.startswith("target_at_") else c) for c in found.columns
    ]
    rows = [[format_percent(v) if isinstance(v, float) else v for v in row] for row in found.itertuples(index=False)]
    note = "On validation images; each is the best of its strategy's trials, and the best of more trials is higher."
    return f"{grid(head, rows)}<p class='quiet'>{note}</p>"


def _paper(paper: pd.DataFrame | None, synthetic: bool) -> str:
    if paper is None:
        return ""
    note = "The published figures are not shown: they were measured on photographs." if synthetic else (
        "50 and 100 are the share of the target's training set. Published figures are on test sets (arXiv 1905.12082), "
        "of another network, baseline and split; differences from them were not tested.")  # fmt: skip
    return _shown(as_table(paper)) + f"<p class='quiet'>{note}</p>"


def _picture(vectors: dict[str, str], notes: dict[str, str], name: str) -> str:
    note = f"<p class='quiet'>{text(notes[name])}.</p>" if name in notes else ""
    if name not in vectors:
        return note
    data = base64.b64encode(vectors[name].encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{name} of the study">{note}'


def _unfinished(table: pd.DataFrame) -> str:
    rows = table[table["state"] != "finished"]
    if rows.empty:
        return ""
    reasons = rows.assign(reason=rows["reason"].fillna("no reason recorded").astype(str))
    groups = sorted(reasons.groupby(["state", "reason"]), key=lambda group: -len(group[1]))
    cells = [[state, reason, len(g), ", ".join(map(str, g["number"].head(8))) + (" …" if len(g) > 8 else "")]
             for (state, reason), g in groups[:30]]  # fmt: skip
    more = f"<p class='quiet'>and {len(groups) - 30} further reasons, in trials.csv.</p>" if len(groups) > 30 else ""
    return grid(["State", "Reason", "Trials", "Numbers"], cells) + more


def _data(info: dict) -> str:
    parts = []
    for side in ("source", "target"):
        data = section(info, side)
        if data:
            facts = {key: value for key, value in data.items() if key != "report"} | section(data, "report")
            parts.append(f"<h3>{side.capitalize()}: {text(dataset_label(info, side))}</h3>{tree(facts)}")
    return "".join(parts) or "<p>Nothing is recorded about the data.</p>"


def _rest(info: dict) -> str:
    names = ("options", "network", "versions", "hardware")
    return "".join(
        f"<details><summary>{name.capitalize()}</summary>{tree(section(info, name))}</details>"
        for name in names
        if section(info, name)
    )


METHOD = """
<p>Each trial adapts the same source-trained network to the target with one configuration, and is judged by two
objectives, both maximised: accuracy on the source's and on the target's validation images. Networks on the straight
way in weight space from the baseline (alpha 0) to an adapted network (alpha 1) compete as well, with batch-norm
statistics estimated anew (arXiv 2109.01903, 2211.08403); they cost no training. The front holds the networks of
finished trials that no other equals or betters in both. Hypervolume is the area the front dominates above chance
(1/7 on both axes), unless something else is said below. Knob importance is PED-ANOVA (arXiv 2304.10255) for reaching
the best tenth of finished trials. Subjects never cross splits, every strategy has the same budget, and seeds derive
from names. The search reads no test set.</p>
<p class="quiet">Question and strategies: Tannugi, Britto Jr., Koerich, Memory Integrity of CNNs for Cross-Dataset
Facial Expression Recognition, arXiv 1905.12082, 2019.</p>
"""
