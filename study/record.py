"""How a study's facts are put into words, the same in pictures, pages and MLflow."""

import math
from typing import Any

from study.redaction import hide_secrets as hide_secrets
from study.redaction import one_line as one_line

DOMAINS = ("source", "target")


def section(info: dict, key: str) -> dict:
    """Returns `info[key]` where it is a dict, else an empty one: reports are tolerant of what is missing."""
    value = info.get(key) if isinstance(info, dict) else None
    return value if isinstance(value, dict) else {}


def is_synthetic(info: dict) -> bool:
    """Says whether any face of the study is a stand-in."""
    kinds = (section(info, side).get("kind") for side in DOMAINS)
    return bool(info.get("synthetic")) or "synthetic" in kinds


def confirmed_points(info: dict) -> list[dict]:
    """Returns what `study.confirm` found of each network on test images; nothing where it was not run to its end."""
    return section(section(info, "confirmation"), "results").get("points") or []


def number(value: Any) -> float | None:
    """Returns a finite float, or None for everything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def baseline_point(info: dict) -> tuple[float, float] | None:
    """Returns the baseline's (source, target) validation accuracy, or None when it is not known."""
    baseline = section(info, "baseline")
    measures = section(baseline, "measures")
    source = number(baseline.get("source_val", measures.get("source_val")))
    target = number(baseline.get("target_val", measures.get("target_val")))
    return None if source is None or target is None else (source, target)
