"""How a study's facts are put into words, the same in pictures, pages and MLflow."""

import math
from collections.abc import Iterable
from typing import Any

from fer.errors import printable, shorten
from study.record import DOMAINS, number, section
from study.redaction import hide_secrets as hide_secrets
from study.redaction import one_line as one_line

_NAMES = {
    "fer2013": "FER2013", "jaffe": "JAFFE", "tfeid": "TFEID", "mug": "MUG", "ckplus": "CK+", "kdef": "KDEF",
    "rafd": "RaFD", "rafdb": "RAF-DB", "affectnet": "AffectNet", "oulu": "Oulu-CASIA",
}  # fmt: skip


SYNTHETIC = "SYNTHETIC STAND-IN"


SYNTHETIC_SENTENCE = (
    "The faces are drawn by this program, not photographed: the numbers say nothing about the real dataset."
)


def dataset_label(info: dict, domain: str) -> str:
    """Returns the printed name of the study's "source" or "target", a stand-in named as one."""
    data = section(info, domain)
    name = str(data.get("name") or domain)
    label = _NAMES.get(name, printable(name))
    is_stand_in = data.get("kind") == "synthetic" or ("kind" not in data and info.get("synthetic"))
    return f"{label} stand-in" if is_stand_in else label


def objective_label(info: dict, domain: str) -> str:
    """Returns what an axis with the objective on "source" or "target" is called, with how it was measured."""
    folds = section(info, "options").get("folds")
    over = f", {folds} folds" if folds else ""
    return f"{domain.capitalize()} validation accuracy (%){over} — {dataset_label(info, domain)}"


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


def format_percent(value: Any, digits: int = 1) -> str:
    """Returns a share as per cent without the sign ("61.2"), a dash when there is none."""
    share = number(value)
    return "–" if share is None else f"{100 * share:.{digits}f}"


def format_value(value: Any) -> str:
    """Returns a value for a reader: three significant digits, a dash for nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType":
        return "–"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if not value.is_integer() or abs(value) >= 1e6 else f"{value:.0f}"


def describe_interpolation(alpha: float, slope: float) -> str:
    """Returns where a network lies between the baseline (0) and its training's end (1): "0.5", or "0 to 1" by layer."""
    return f"{alpha:g}" + (f" to {alpha + slope:g}" if slope else "")


def evaluated_before(info: dict[str, Any]) -> str:
    """Returns a sentence for each test set of a confirmation that was evaluated before, with a space before each.

    Args:
        info: The study's record with its confirmation.
    """
    sets = section(section(info, "confirmation"), "test_sets")
    words = ""
    for domain in DOMAINS:
        before = section(sets, domain).get("evaluated_before")
        if not isinstance(before, list) or not before:
            continue
        label = dataset_label(info, domain)
        times = "once" if len(before) == 1 else f"{len(before)} times"
        words += f" These {label} test images were evaluated {times} before in this output folder"
        words += f", by {_studies(before)}."
    if words:
        words += " Choosing among studies by test figures makes the chosen ones look better than they are."
    return words


def _studies(entries: Iterable[Any], most: int = 5) -> str:
    """Returns the names of studies, each once, the first few of many."""
    names = [str(entry.get("study", UNKNOWN)) if isinstance(entry, dict) else UNKNOWN for entry in entries]
    shown = [shorten(printable(name), 80) for name in dict.fromkeys(names)]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    word = "the study" if len(shown) == 1 else "the studies"
    return f"{word} {', '.join(shown[:most])}{more}"


def points_text(mean: float, low: float, high: float) -> str:
    """Returns "+5.0 [-3.0, +13.0]", a difference between shares in points with its interval."""
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def interval_text(point: dict[str, Any], domain: str) -> str:
    """Returns "61.2 [58.0, 64.1]", in per cent."""
    mean, low, high = (100 * point[f"{domain}_{name}"] for name in ("test", "lower", "upper"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


UNKNOWN = "a study whose entry is damaged"
