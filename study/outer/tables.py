"""What nested cross-validation found, as rows, sentences and tables for pages and the terminal."""

from dataclasses import asdict
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table as RichTable

from study.options import LEVEL
from study.outer.summary import DomainSummary, Interval, OuterSummary
from study.record import DOMAINS, StudyRecord, number
from study.reporting.tables import Table
from study.reporting.wording import SYNTHETIC, dataset_label, format_percent, format_points

NOTHING = "nothing"
"""What stands for the network where a search recommended none, and the baseline was tested."""

METHOD = (
    "The target's people were divided into parts, by image where subjects are unknown. For each part a whole search "
    "ran on the others, and what it recommended, as it is handed over, answered once on the part; where a search "
    "recommended nothing, the baseline did. Gains are paired with the baseline, image by image. Intervals are for "
    "other people, on the source for other searches as well. The searches share most of their people, for which no "
    "interval of cross-validation accounts."
)


# Rows.


def summary_rows(summary: OuterSummary) -> pd.DataFrame:
    """Returns a row per part: who was tested, what was recommended, and what it reached in each domain."""
    rows = []
    for result, domains in zip(summary.results, summary.parts, strict=True):
        network = result.recommended
        row: dict[str, Any] = {
            "part": result.part.number,
            "study": result.study,
            "evaluated": result.evaluated,
            "people": domains["target"].people,
            "images": domains["target"].images,
            "recommended": NOTHING if network is None else network.kind,
            "strategy": None if network is None else network.strategy,
            "trial": None if network is None else network.trial,
            "rung": None if network is None else network.rung,
            "frozen_layers": None if network is None else network.frozen_layers,
            "alpha": None if network is None else network.alpha,
            "model": None if network is None else network.model,
        }
        for domain in DOMAINS:
            row[f"{domain}_expected"] = None if network is None else network.expected[domain]
            row |= _figures(domains[domain], domain)
        rows.append(row)
    table = pd.DataFrame(rows)
    whole = ["people", "trial", "rung", "frozen_layers"]
    return table.astype(dict.fromkeys(whole, "Int64"))


def _figures(summary: DomainSummary, domain: str) -> dict[str, float | None]:
    """Returns what was reached in one domain, by column."""
    accuracy, gain = summary.accuracy, summary.gain
    return {
        f"{domain}_baseline": summary.baseline,
        f"{domain}_test": accuracy.mean,
        f"{domain}_lower": accuracy.lower,
        f"{domain}_upper": accuracy.upper,
        f"{domain}_gain": gain.mean,
        f"{domain}_gain_lower": gain.lower,
        f"{domain}_gain_upper": gain.upper,
    }


def summary_json(summary: OuterSummary) -> dict[str, Any]:
    """Returns what was found over all parts, as JSON takes it."""
    return {
        "level": LEVEL,
        "parts": len(summary.results),
        "pooled": {domain: asdict(pooled) for domain, pooled in summary.pooled.items()},
        "recommended": dict(summary.kinds),
        "nothing_recommended": summary.without,
        "target_optimism": summary.optimism,
    }


# Sentences.


def describe_findings(summary: OuterSummary, record: StudyRecord) -> list[str]:
    """Returns what was found, a sentence each.

    Args:
        summary: What was found.
        record: Of one of the searches, for the names of the datasets.
    """
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    on_target = summary.pooled["target"]
    tested = f"{on_target.images:,} images"
    if on_target.people is not None:
        tested = f"{on_target.people:,} people, {tested}"
    searches = len(summary.results)
    return [
        f"{target} ({tested}, each tested once by a search that never saw it): {_accuracy_and_gain(on_target)}.",
        f"{source}, over the {searches} networks: {_accuracy_and_gain(summary.pooled['source'])}.",
        *_describe_kept(summary, record, source),
        f"Recommended: {_describe_kinds(summary)}.",
        *_describe_optimism(summary, target),
    ]


def _accuracy_and_gain(summary: DomainSummary) -> str:
    return f"{_percent(summary.accuracy)} %, {_points(summary.gain)} points from the baseline's test accuracy"


def _describe_kept(summary: OuterSummary, record: StudyRecord, source: str) -> list[str]:
    """Returns which share of the baseline's source accuracy was kept, beside what was asked for."""
    on_source = summary.pooled["source"]
    asked = number(record.options.get("keep"))
    if asked is None or not on_source.baseline:
        return []
    kept = format_percent(on_source.accuracy.mean / on_source.baseline)
    wanted = format_percent(asked)
    return [f"That keeps {kept} % of the baseline's accuracy on {source}; --keep asked for {wanted} %."]


def _describe_kinds(summary: OuterSummary) -> str:
    """Returns how often what was recommended: "FU, rung 3, 50 % frozen in 2 of 3 searches; nothing in 1"."""
    counts = [*summary.kinds]
    if summary.without:
        counts.append((NOTHING, summary.without))
    first, *others = [f"{kind} in {count}" for kind, count in counts]
    return "; ".join([f"{first} of {len(summary.results)} searches", *others])


def _describe_optimism(summary: OuterSummary, target: str) -> list[str]:
    if summary.optimism is None:
        return []
    more = "more" if summary.optimism >= 0 else "less"
    points = format_percent(abs(summary.optimism))
    return [f"What was recommended had been expected to reach {points} points {more} on {target}."]


# Tables.


def build_outer_table(summary: OuterSummary, record: StudyRecord) -> Table:
    """Returns the table of all parts for a page, the last row over all of them."""
    labels = [dataset_label(record, domain) for domain in DOMAINS]
    head = ["Part", "People", "Images", *(f"{label} {what}" for label in labels for what in ("%", "gain"))]
    rows: list[list[Any]] = []
    for result, domains in zip(summary.results, summary.parts, strict=True):
        kind = NOTHING if result.recommended is None else result.recommended.kind
        rows.append([result.part.number, *_cells(domains), kind])
    rows.append(["all", *_cells(summary.pooled), ""])
    caption = (
        f"Accuracy on test images in per cent and its gain over the baseline in points, with {LEVEL:.0%} intervals; "
        "a part with one person has none."
    )
    return Table("outer", caption, [*head, "Recommended"], rows)


def _cells(domains: dict[str, DomainSummary]) -> list[Any]:
    """Returns people and images of the target, then accuracy and gain of each domain."""
    people = domains["target"].people
    figures = []
    for domain in DOMAINS:
        figures += [_percent(domains[domain].accuracy), _points(domains[domain].gain)]
    return ["–" if people is None else people, domains["target"].images, *figures]


def outer_rich_table(summary: OuterSummary, record: StudyRecord) -> RichTable:
    """Returns the table of all parts for a terminal of eighty columns: accuracy above, gain below."""
    mark = f" ({SYNTHETIC})" if record.is_synthetic else ""
    shown = RichTable(
        title=f"test accuracy in per cent, gain below, {LEVEL:.0%} intervals{mark}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    shown.add_column("part", justify="right")
    shown.add_column("people", justify="right")
    for domain in DOMAINS:
        shown.add_column(escape(dataset_label(record, domain)), justify="right", overflow="fold")
    shown.add_column("recommended", overflow="fold")

    for result, domains in zip(summary.results, summary.parts, strict=True):
        kind = NOTHING if result.recommended is None else result.recommended.kind
        shown.add_row(str(result.part.number), *_terminal_cells(domains), escape(kind.replace(", ", "\n", 1)))
    shown.add_section()
    shown.add_row("all", *_terminal_cells(summary.pooled), "")
    return shown


def _terminal_cells(domains: dict[str, DomainSummary]) -> list[str]:
    people = domains["target"].people
    figures = [f"{_percent(domains[domain].accuracy)}\n{_points(domains[domain].gain)}" for domain in DOMAINS]
    return ["–" if people is None else str(people), *(escape(figure) for figure in figures)]


def _percent(interval: Interval) -> str:
    """Returns "61.2 [58.0, 64.1]", in per cent; the mean alone where there is no interval."""
    mean = format_percent(interval.mean)
    if interval.lower is None:
        return mean
    return f"{mean} [{format_percent(interval.lower)}, {format_percent(interval.upper)}]"


def _points(interval: Interval) -> str:
    """Returns "+5.0 [-3.0, +13.0]", in points; the mean alone where there is no interval."""
    mean = format_points(interval.mean)
    if interval.lower is None or interval.upper is None:
        return mean
    return f"{mean} [{format_points(interval.lower)}, {format_points(interval.upper)}]"
