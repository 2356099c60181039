"""Which expressions a network no longer recognises, as its figures per expression show."""

from collections.abc import Mapping
from typing import Any

from scipy.special import bdtrc

from study.record import DOMAINS, StudyRecord, number
from study.reporting.result_tables import find_recalls
from study.reporting.wording import dataset_label, format_percent
from study.stored_results import Row

RECOGNISED = 0.05
"""An expression counts as recognised where guessing would reach its recall with at most this probability."""


def describe_dead_expressions(record: StudyRecord, model: str, trial: Row) -> str:
    """Returns which expressions the baseline recognises and a network does not, with both recalls; empty for none.

    Args:
        record: The study's record.
        model: The network's file, which finds its confirmation.
        trial: Its trial's row of `study.trials.trials_table` by column, whose measures are on validation images.
    """
    before, after, images = find_recalls(record, model, trial)
    chance = record.expressions.chance
    sentences = []
    for domain in DOMAINS:
        for name in record.expressions.names:
            first = number(before.get(domain, {}).get(name))
            last = number(after.get(domain, {}).get(name))
            if first is None or last is None:
                continue
            count = _count_images(record, domain, name) if images == "test" else None
            if last <= chance and _is_recognised(first, count, chance):
                shown = f"{format_percent(first)} % with the baseline, {format_percent(last)} % now"
                sentences.append(f"{name} has died on {dataset_label(record, domain)} {images} images ({shown})")
    return f"Beware: {'; '.join(sentences)}. Guessing has {format_percent(chance)} %." if sentences else ""


def _is_recognised(recall: float, images: int | None, chance: float) -> bool:
    """Returns whether a recall is more than guessing reaches; where images were not counted, more than twice chance."""
    if images is None:
        return recall > 2 * chance
    return bool(bdtrc(round(recall * images) - 1, images, chance) < RECOGNISED)


def _count_images(record: StudyRecord, domain: str, name: str) -> int | None:
    """Returns how many test images show an expression, None where that was not recorded."""
    results = record.results.class_results
    confusion: Mapping[str, Any] = results[0].get("confusion") or {} if results else {}
    matrix = confusion.get(domain)
    return round(sum(matrix[record.expressions.names.index(name)])) if matrix else None
