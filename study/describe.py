"""How a study's facts are put into words, the same in pictures, pages and MLflow."""

import math
from typing import Any

from fer.errors import printable
from study.redaction import hide_secrets as hide_secrets
from study.redaction import one_line as one_line

SIDES = ("source", "target")
_NAMES = {
    "fer2013": "FER2013", "jaffe": "JAFFE", "tfeid": "TFEID", "mug": "MUG", "ckplus": "CK+", "kdef": "KDEF",
    "rafd": "RaFD", "rafdb": "RAF-DB", "affectnet": "AffectNet", "oulu": "Oulu-CASIA",
}  # fmt: skip
SYNTHETIC = "SYNTHETIC STAND-IN"
SYNTHETIC_SENTENCE = (
    "The faces are drawn by this program, not photographed: the numbers say nothing about the real dataset."
)


def section(info: dict, key: str) -> dict:
    """Returns `info[key]` where it is a dict, else an empty one: reports are tolerant of what is missing."""
    value = info.get(key) if isinstance(info, dict) else None
    return value if isinstance(value, dict) else {}


def is_synthetic(info: dict) -> bool:
    """Says whether any face of the study is a stand-in."""
    kinds = (section(info, side).get("kind") for side in SIDES)
    return bool(info.get("synthetic")) or "synthetic" in kinds


def dataset_label(info: dict, side: str) -> str:
    """Returns the printed name of the study's "source" or "target", a stand-in named as one."""
    data = section(info, side)
    name = str(data.get("name") or side)
    label = _NAMES.get(name, printable(name))
    stand_in = data.get("kind") == "synthetic" or ("kind" not in data and info.get("synthetic"))
    return f"{label} stand-in" if stand_in else label


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


def objective_label(info: dict, side: str) -> str:
    """Returns what an axis with the objective on "source" or "target" is called, with how it was measured."""
    folds = section(info, "options").get("folds")
    over = f", {folds} folds" if folds else ""
    return f"{side.capitalize()} validation accuracy (%){over} — {dataset_label(info, side)}"


def folds_sentence(info: dict) -> str:
    """Returns what is to be said about the method of a study with folds, with a space before; nothing for others."""
    folds = section(info, "options").get("folds")
    if not folds:
        return ""
    return (
        f" Every trial was {folds} trainings, each with the whole budget and another fold of the target's training and "
        "validation images, divided by subject where subjects are known, in validation: target accuracy is the share "
        "of all these images that a network which saw nobody of them got right, source accuracy the mean of the "
        f"{folds} networks. Dominated trials stop after the first half of the folds. The networks kept are those of "
        "the first fold."
    )


def limits_sentence(info: dict) -> str:
    """Returns what a study's user set for the front, why it ended early and what of its storage could not be read.

    With a space before; nothing where there is nothing to say.
    """
    options, words = section(info, "options"), ""
    if corner := options.get("reference"):
        words += f" Hypervolume is measured from ({corner[0]:g}, {corner[1]:g}) and not from chance."
    if share := options.get("min_retention"):
        words += (
            f" Networks that keep less than {share:.0%} of the baseline's source accuracy are left out of the front."
        )
    if info.get("ended"):
        words += f" The search was {info['ended']}."
    if info.get("notice"):
        words += f" {info['notice']}"
    return words


def percent(value: Any, digits: int = 1) -> str:
    """Returns a share as per cent without the sign ("61.2"), a dash when there is none."""
    share = number(value)
    return "–" if share is None else f"{100 * share:.{digits}f}"


def short(value: Any) -> str:
    """Returns a value for a reader: three significant digits, a dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType":
        return "–"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if not value.is_integer() or abs(value) >= 1e6 else f"{value:.0f}"


def way(alpha: float, slope: float) -> str:
    """Returns where a network lies between the baseline (0) and its training's end (1): "0.5", or "0 to 1" by layer."""
    return f"{alpha:g}" + (f" to {alpha + slope:g}" if slope else "")
