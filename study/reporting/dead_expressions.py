"""Which expressions a network no longer recognises, or recognises much less, as its figures per expression show."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy.special import bdtrc

from study.record import DOMAINS, StudyRecord, number
from study.reporting.result_tables import find_recalls
from study.reporting.wording import dataset_label, format_percent
from study.stored_results import Row
from study.trials import model_file
from study.tuning.summary import SearchSummary

RECOGNISED = 0.05
"""An expression counts as recognised where guessing would reach its recall with at most this probability."""

FALLEN = 0.2
"""By how much recall on the source falls where the report's top says so; a share."""


def warn_of_expressions(
    record: StudyRecord, table: pd.DataFrame, network: pd.Series, summary: SearchSummary | None
) -> str:
    """Returns which expressions the recommended network forgot, by the best evidence there is; empty for none.

    Those are the ones that have died on either dataset, and those whose recall on the source fell by FALLEN.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        network: The network's row of `study.fronts.front_table`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    model = str(network["model"])
    trial = table[table["number"] == network["trial"]].iloc[0].to_dict()
    is_tested = record.results.find_recalls(model) is not None

    # Before a confirmation the rule of the search has seen to what died.
    if not is_tested and summary is not None:
        changes = [change for change in summary.expressions.get(model, ()) if change.domain == "source"]
        recalls = {change.expression: (change.before, change.after) for change in changes}
        return _describe_fallen(record, recalls, "validation")

    # A trial's own recalls are its adapted network's.
    if not is_tested and model != model_file(network["trial"]):
        return ""
    dead = describe_dead_expressions(record, model, trial)
    before, after, images = find_recalls(record, model, trial)
    alive = {}
    for name, share in before.get("source", {}).items():
        first, last = number(share), number(after.get("source", {}).get(name))
        if first is not None and last is not None and last > record.expressions.chance:
            alive[name] = first, last
    return " ".join(text for text in (dead, _describe_fallen(record, alive, images)) if text)


def _describe_fallen(record: StudyRecord, recalls: Mapping[str, tuple[float, float]], images: str) -> str:
    """Returns of which expressions recall on the source fell by FALLEN; empty for none.

    Args:
        record: The study's record.
        recalls: The baseline's and the network's by expression.
        images: What images they are on: "validation" or "test".
    """
    fallen = [
        f"{name} from {format_percent(first)} to {format_percent(last)} %"
        for name, (first, last) in recalls.items()
        if first - last >= FALLEN
    ]
    if not fallen:
        return ""
    source = dataset_label(record, "source")
    return f"Beware: recall on {source} {images} images falls: {', '.join(fallen)}."


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
