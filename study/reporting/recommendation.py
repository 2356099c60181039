"""The recommended network as report.html shows it: what it is, how sure that is, and its figures on cards."""

from dataclasses import dataclass

import pandas as pd

from study.fronts import candidate_networks, find_recommended, front_table, hypervolume_over_trials
from study.record import DOMAINS, StudyRecord
from study.reporting.certainty import describe_certainty
from study.reporting.significance import change_text
from study.reporting.tables import varied_hyperparameters
from study.reporting.wording import dataset_label, describe_interpolation, describe_total, format_percent, format_value
from study.stored_results import Row
from study.trials import STATES, hypervolume_reference


@dataclass(frozen=True)
class Card:
    """A figure with what it is about.

    Attributes:
        title: What was measured, on which dataset.
        value: The figure with its unit.
        detail: How it was measured or what it is compared with.
    """

    title: str
    value: str
    detail: str


@dataclass(frozen=True)
class Recommendation:
    """The network that the report tells the user to take.

    Attributes:
        strategy: Its strategy.
        trial: Number of the trial that trained it.
        interpolation: Where it lies between the baseline and the trial's end; empty at the end.
        hyperparameters: Those that vary over the study, with their values, in a line.
        certainty: How much it can be relied on, in sentences.
        cards: Its figures, and the study's.
    """

    strategy: str
    trial: int
    interpolation: str
    hyperparameters: str
    certainty: str
    cards: list[Card]


def build_recommendation(record: StudyRecord, table: pd.DataFrame) -> Recommendation | None:
    """Returns the recommended network, None where no trial has finished.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
    """
    knee = find_recommended(front_table(table))
    if knee is None:
        return None
    alpha = describe_interpolation(knee["alpha"], knee.get("alpha_slope", 0.0))
    return Recommendation(
        strategy=knee["strategy"],
        trial=knee["trial"],
        interpolation="" if alpha == "1" else alpha,
        hyperparameters=_varied_hyperparameters(knee, table),
        certainty=describe_certainty(record, table, knee),
        cards=[*_accuracy_cards(record, knee), *_search_cards(record, table)],
    )


def count_states(table: pd.DataFrame) -> str:
    """Returns how many trials ended how: "27 finished, 2 stopped, 1 failed"."""
    counts = [f"{int((table['state'] == state).sum())} {state}" for state in STATES.values()]
    return ", ".join(counts)


def _varied_hyperparameters(knee: pd.Series, table: pd.DataFrame) -> str:
    """Returns the hyperparameters that vary over the study; the others are no choice."""
    names = varied_hyperparameters(table)
    values = [f"{name} {format_value(knee[name])}" for name in names if name in knee]
    return ", ".join(values) or "no hyperparameter varied"


def _accuracy_cards(record: StudyRecord, knee: pd.Series) -> list[Card]:
    """Returns a card for each domain: on test images where the network was confirmed, else on validation images."""
    point = record.results.find_point(knee["model"])
    if point is not None and "target_change" in point:
        return [_tested_card(record, point, domain) for domain in DOMAINS]

    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    source_accuracy = f"{format_percent(knee['source_val'])} %"
    target_accuracy = f"{format_percent(knee['target_val'])} %"
    baseline = record.baseline.accuracies
    if baseline is None:
        return [
            Card(source, source_accuracy, "after adaptation"),
            Card(target, target_accuracy, "after adaptation"),
        ]

    baseline_source, baseline_target = baseline
    retention = knee["source_val"] / baseline_source if baseline_source else None
    change = 100 * (knee["target_val"] - baseline_target)
    return [
        Card(
            f"{source} kept, on validation",
            f"{format_percent(retention)} %",
            f"{source_accuracy} of the baseline's {format_percent(baseline_source)} %; not tested",
        ),
        Card(
            f"{target} on validation",
            f"{change:+.1f} points",
            f"{target_accuracy}, from the baseline's {format_percent(baseline_target)} %; not tested",
        ),
    ]


def _tested_card(record: StudyRecord, point: Row, domain: str) -> Card:
    """Returns what the recommended network changed on test images, with the interval and both p-values."""
    p_corrected = point[f"{domain}_p"]
    p_alone = point[f"{domain}_p_alone"]
    return Card(
        f"{dataset_label(record, domain)} on test",
        f"{change_text(point, domain)} points",
        f"95 % interval; p = {p_corrected:.2g} corrected, {p_alone:.2g} alone",
    )


def _search_cards(record: StudyRecord, table: pd.DataFrame) -> list[Card]:
    """Returns what the search cost, and what interpolated networks added where there are any."""
    front_size = len(front_table(table))
    cards = [Card("Search", describe_total(table), f"{count_states(table)}; {front_size} on the front")]

    has_interpolated = (candidate_networks(table)["search_alpha"] < 1).any()
    if has_interpolated:
        reference = hypervolume_reference(record)
        of_all = hypervolume_over_trials(table, reference)[-1]
        of_ends = hypervolume_over_trials(table, reference, with_interpolated=False)[-1]
        detail = f"to the hypervolume of {of_ends:.4f} of the trials' ends, on validation"
        cards.append(Card("Interpolation added", f"{of_all - of_ends:.4f}", detail))
    return cards
