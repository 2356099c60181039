"""The recommended network as report.html shows it: what it is, how sure that is, and its figures on cards."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from study.cli import command_line
from study.fronts import (
    candidate_networks,
    count_non_dominated,
    find_recommended,
    front_table,
    hypervolume_over_trials,
)
from study.record import DOMAINS, StudyRecord
from study.reporting.certainty import describe_certainty
from study.reporting.expectations import describe_file, describe_neighbours, describe_rule, has_expectations
from study.reporting.findings import describe_nothing
from study.reporting.significance import change_text
from study.reporting.tables import varied_hyperparameters
from study.reporting.wording import (
    dataset_label,
    describe_interpolation,
    describe_total,
    format_percent,
    format_value,
    points_text,
)
from study.stored_results import Row
from study.trials import STATES, hypervolume_reference
from study.tuning.summary import SearchSummary

KNEE_RULE = (
    "The recommendation is the knee of the front: the trial that stands out furthest above the line between the "
    "front's two ends, or, where none does, dominates most. It is a single training, chosen as the best of many on "
    "validation images, and so tends to look better than it is."
)
"""The rule of a study whose trials stored no answers."""


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
    """The network that the report tells the user to take, or why it names none.

    Attributes:
        strategy: Its strategy; empty where nothing is recommended, as are the next three.
        trial: Number of the trial that trained it; None where nothing is recommended.
        interpolation: Where it lies between the baseline and the trial's end; empty at the end.
        hyperparameters: Those that vary over the study, with their values, in a line.
        certainty: How much it can be relied on, in sentences; where nothing is recommended, why and what to do.
        cards: Its figures, and the study's.
        rule: The rule by which it is chosen.
        file: Its file, relative to the study's folder; empty where nothing is recommended.
        about_file: What the file holds, in a sentence; empty where that is not known.
        command: The command that has it recognise expressions; empty where nothing is recommended.
        neighbours: A sentence for each of its neighbours on the front.
    """

    strategy: str
    trial: int | None
    interpolation: str
    hyperparameters: str
    certainty: str
    cards: list[Card]
    rule: str
    file: str = ""
    about_file: str = ""
    command: str = ""
    neighbours: list[str] = field(default_factory=list)


def build_recommendation(
    record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None = None
) -> Recommendation | None:
    """Returns the recommended network, or why there is none; None where no trial has finished.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        summary: What the search found; None for a study whose trials stored no answers.
    """
    front = front_table(table)
    if front.empty:
        return None
    rule = KNEE_RULE if summary is None else describe_rule(record, summary)
    search_cards = _search_cards(record, table, summary)
    network = find_recommended(front)
    if network is None:
        why = describe_nothing(record, table, summary)
        return Recommendation("", None, "", "", why, search_cards, rule)

    alpha = describe_interpolation(network["alpha"], network.get("alpha_slope", 0.0))
    return Recommendation(
        strategy=network["strategy"],
        trial=network["trial"],
        interpolation="" if alpha == "1" else alpha,
        hyperparameters=_varied_hyperparameters(network, table),
        certainty=describe_certainty(record, table, network, summary),
        cards=[*_accuracy_cards(record, network, summary), *search_cards],
        rule=rule,
        file=network["model"],
        about_file="" if summary is None else describe_file(network, summary),
        command=_predict_command(record, network["model"]),
        neighbours=describe_neighbours(record, front),
    )


def _predict_command(record: StudyRecord, model: str) -> str:
    """Returns the command by which a network recognises expressions, from where the study was run."""
    out = record.options.get("out")
    folder = Path(out if isinstance(out, str) else "runs") / (record.name or "STUDY")
    words = [str(folder / model), "FACE.png"]
    if record.options.get("equalise") is True:
        words.append("--equalise")
    return command_line("study.predict", words)


def count_states(table: pd.DataFrame) -> str:
    """Returns how many trials ended how: "27 finished, 2 stopped, 1 failed"."""
    counts = [f"{int((table['state'] == state).sum())} {state}" for state in STATES.values()]
    return ", ".join(counts)


def _varied_hyperparameters(network: pd.Series, table: pd.DataFrame) -> str:
    """Returns the hyperparameters that vary over the study; the others are no choice."""
    names = varied_hyperparameters(table)
    values = [f"{name} {format_value(network[name])}" for name in names if name in network]
    return ", ".join(values) or "no hyperparameter varied"


def _accuracy_cards(record: StudyRecord, network: pd.Series, summary: SearchSummary | None) -> list[Card]:
    """Returns a card for each domain: on test images where the network was confirmed, else what validation says."""
    point = record.results.find_point(network["model"])
    if point is not None and "target_change" in point:
        return [_tested_card(record, point, domain) for domain in DOMAINS]
    if summary is not None and has_expectations(network):
        return _expected_cards(record, network, summary)

    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    source_accuracy = f"{format_percent(network['source_val'])} %"
    target_accuracy = f"{format_percent(network['target_val'])} %"
    baseline = record.baseline.accuracies
    if baseline is None:
        return [
            Card(source, source_accuracy, "after adaptation"),
            Card(target, target_accuracy, "after adaptation"),
        ]

    baseline_source, baseline_target = baseline
    retention = network["source_val"] / baseline_source if baseline_source else None
    change = 100 * (network["target_val"] - baseline_target)
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


def _expected_cards(record: StudyRecord, network: pd.Series, summary: SearchSummary) -> list[Card]:
    """Returns what is expected of the recommended network on both domains, and how sure its place on the front is."""
    cards = []
    baselines = {"source": record.baseline.source_val, "target": record.baseline.target_val}
    for domain in DOMAINS:
        low, high = (format_percent(network[f"{domain}_{end}"]) for end in ("lower", "upper"))
        detail = f"{low} to {high} % (90 % interval); baseline {format_percent(baselines[domain])} %"
        if summary.recommended is not None:
            gain = summary.recommended.gains[domain]
            detail += f", change {points_text(gain.mean, gain.lower, gain.upper)} points"
        title = f"{dataset_label(record, domain)} expected"
        cards.append(Card(title, f"{format_percent(network[f'{domain}_val'])} %", f"{detail}; not tested"))
    probability = f"{format_percent(network['probability'], 0)} %"
    cards.append(Card("On the front", probability, "probability that no other network is better on both"))
    return cards


def _search_cards(record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None) -> list[Card]:
    """Returns what the search cost and reached, and what interpolated networks added where there are any."""
    front_size = count_non_dominated(front_table(table))
    cards = [Card("Search", describe_total(table), f"{count_states(table)}; {front_size} on the front")]
    if summary is not None:
        detail = f"observed {summary.observed_hypervolume:.4f}: {summary.optimism:+.4f} of optimism"
        cards.append(Card("Hypervolume of the expected front", f"{summary.hypervolume:.4f}", detail))

    has_interpolated = (candidate_networks(table)["search_alpha"] < 1).any()
    if has_interpolated:
        reference = hypervolume_reference(record)
        of_all = hypervolume_over_trials(table, reference)[-1]
        of_ends = hypervolume_over_trials(table, reference, with_interpolated=False)[-1]
        measured = "on validation" if summary is None else "as expected"
        detail = f"to the hypervolume of {of_ends:.4f} of the trials' ends, {measured}"
        cards.append(Card("Interpolation added", f"{of_all - of_ends:.4f}", detail))
    return cards
