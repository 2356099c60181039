"""The recommended network as report.html shows it: what it is, how sure that is, and its figures on cards."""

from dataclasses import dataclass, field

import pandas as pd

from study.fronts import (
    candidate_networks,
    count_non_dominated,
    find_recommended,
    front_table,
    hypervolume_over_trials,
)
from study.record import DOMAINS, StudyRecord
from study.reporting.certainty import describe_certainty
from study.reporting.commands import (
    AGAIN_TITLE,
    Snippet,
    as_snippet,
    confirm_again_command,
    confirm_command,
    network_path,
    predict_command,
    python_lines,
    sync_command,
)
from study.reporting.dead_expressions import warn_of_expressions
from study.reporting.expectations import (
    describe_file,
    describe_neighbours,
    describe_rule,
    describe_search_gain,
    has_expectations,
)
from study.reporting.findings import describe_nothing
from study.reporting.significance import change_text, count_units
from study.reporting.tables import varied_hyperparameters
from study.reporting.wording import (
    ON_FRONT,
    count_of,
    count_untested,
    dataset_label,
    describe_total,
    file_interval_text,
    format_percent,
    format_points,
    format_value,
    interval_text,
    points_text,
    row_name,
)
from study.stored_results import Row
from study.trials import STATES, hypervolume_reference
from study.tuning.recommendation_rule import Obstacle
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
        name: Its trial, strategy and interpolation point; where nothing is recommended, that in a sentence.
        is_tested: Whether its figures are those of test images, after a confirmation.
        certainty: How much it can be relied on, in sentences; where nothing is recommended, why and what to do.
        cards: Its figures by the best evidence there is.
        search_cards: What the search cost, and what it expected on validation images.
        rule: The rule by which it is chosen.
        snippets: Commands and lines of Python to copy: first of its use, then what comes next.
        hyperparameters: Those that vary over the study, with their values, in a line.
        file: Its file, relative to the study's folder; empty where nothing is recommended.
        about_file: What the file holds, in a sentence; empty where that is not known.
        warning: Which expressions it no longer recognises, or much less; empty where there are none.
        neighbours: A sentence for each of its neighbours on the front.
    """

    name: str
    is_tested: bool
    certainty: str
    cards: list[Card]
    search_cards: list[Card]
    rule: str
    snippets: list[Snippet]
    hyperparameters: str = ""
    file: str = ""
    about_file: str = ""
    warning: str = ""
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
        return Recommendation(
            name=_name_nothing(summary),
            is_tested=False,
            certainty=describe_nothing(record, table, summary),
            cards=[],
            search_cards=search_cards,
            rule=rule,
            snippets=[*_use_snippets(record, record.baseline.file), *_next_snippets(record, front)],
        )

    name = row_name(network)
    return Recommendation(
        name=name[0].upper() + name[1:],
        is_tested=record.results.find_point(network) is not None,
        certainty=describe_certainty(record, table, network, summary),
        cards=_accuracy_cards(record, network, summary),
        search_cards=search_cards,
        rule=rule,
        snippets=[*_use_snippets(record, network_path(record, network["model"])), *_next_snippets(record, front)],
        hyperparameters=_varied_hyperparameters(network, table),
        file=network["model"],
        about_file="" if summary is None else describe_file(network, summary),
        warning=warn_of_expressions(record, table, network, summary),
        neighbours=describe_neighbours(record, front, summary),
    )


def _name_nothing(summary: SearchSummary | None) -> str:
    """Returns in a sentence that nothing is recommended."""
    if summary is not None and summary.obstacle == Obstacle.NO_GAIN:
        return "Nothing surely beats the baseline"
    return "No network is recommended"


def _use_snippets(record: StudyRecord, path: str) -> list[Snippet]:
    """Returns how a network is used, from the command line and in Python; nothing where its path is not known."""
    if not path:
        return []
    return [
        as_snippet("Recognise expressions in your images", predict_command(record, path)),
        as_snippet("The same in Python", python_lines(record, path)),
    ]


def _next_snippets(record: StudyRecord, front: pd.DataFrame) -> list[Snippet]:
    """Returns the command that comes next: the confirmation, or after it the copy for MLflow.

    A search of `--outer` is tested on its own part by that command, once.

    Args:
        record: The study's record.
        front: Of `study.fronts.front_table`.
    """
    if record.options.get("outer") is not None:
        return []
    if not record.results.points:
        title = "Next: test the front on images that the search never saw"
        return [as_snippet(title, confirm_command(record))]
    if count_untested(record, front):
        return [as_snippet(f"Next: {AGAIN_TITLE}", confirm_again_command(record))]
    command = sync_command(record)
    return [as_snippet("Bring the confirmation into MLflow, unless that was done", command)] if command else []


def count_states(table: pd.DataFrame) -> str:
    """Returns how many trials ended how: "27 finished, 2 stopped, 1 failed"."""
    counts = [f"{int((table['state'] == state).sum())} {state}" for state in STATES.values()]
    return ", ".join(counts)


def _varied_hyperparameters(network: pd.Series, table: pd.DataFrame) -> str:
    """Returns the hyperparameters that vary over the study; the others are no choice."""
    names = varied_hyperparameters(table)
    values = [f"{name.replace('_', ' ')} {format_value(network[name])}" for name in names if name in network]
    return ", ".join(values) or "no hyperparameter varied"


def _accuracy_cards(record: StudyRecord, network: pd.Series, summary: SearchSummary | None) -> list[Card]:
    """Returns a card for each domain: on test images where the network was confirmed, else what validation says."""
    point = record.results.find_point(network)
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
    change = format_points(network["target_val"] - baseline_target)
    return [
        Card(
            f"{source} kept, on validation",
            f"{format_percent(retention)} %",
            f"{source_accuracy} of the baseline's {format_percent(baseline_source)} %; not yet seen on test images",
        ),
        Card(
            f"{target} on validation",
            f"{change} points",
            f"{target_accuracy}, from the baseline's {format_percent(baseline_target)} %; not yet seen on test images",
        ),
    ]


def _tested_card(record: StudyRecord, point: Row, domain: str) -> Card:
    """Returns what the recommended network's file reaches on test images, what it changed, and both p-values."""
    p_corrected = point[f"{domain}_p"]
    p_alone = point[f"{domain}_p_alone"]
    title = f"{dataset_label(record, domain)} on test"
    tested = f"; {count_units(record, domain)}" if record.results.tested.get(domain) else ""
    change = f"{change_text(point, domain)} points"
    p_values = f"p = {p_corrected:.2g} corrected, {p_alone:.2g} alone"
    again = f"{interval_text(point, domain)} %"
    of_file = file_interval_text(point, domain)
    if of_file:
        # What is deployed comes first.
        trainings = f"trained again {again}, from the baseline {change}, {p_values}"
        return Card(title, f"{of_file} %", f"the file itself (95 % intervals{tested}); {trainings}")
    return Card(title, change, f"from the baseline, to {again} (95 % intervals{tested}); {p_values}")


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
            if domain == "target" and summary.recommended.people is not None:
                detail += f", {count_of(summary.recommended.people, 'person', 'people')}"
        title = f"{dataset_label(record, domain)} expected"
        cards.append(
            Card(title, f"{format_percent(network[f'{domain}_val'])} %", f"{detail}; not yet seen on test images")
        )
    probability = f"{format_percent(network['probability'], 0)} %"
    cards.append(Card("On the front", probability, ON_FRONT))
    return cards


def _search_cards(record: StudyRecord, table: pd.DataFrame, summary: SearchSummary | None) -> list[Card]:
    """Returns what the search cost and reached, and what interpolated networks added where there are any."""
    front_size = count_non_dominated(front_table(table))
    cards = [Card("Search", describe_total(table), f"{count_states(table)}; {front_size} on the front")]
    if summary is not None:
        detail = f"observed {summary.observed_hypervolume:.4f}: {summary.optimism:+.4f} of optimism"
        cards.append(Card("Hypervolume of the expected front", f"{summary.hypervolume:.4f}", detail))
        if summary.named_hypervolume is not None:
            value = f"{summary.named_hypervolume:.4f} to {summary.hypervolume:.4f}"
            cards.append(Card("Bought by the search", value, describe_search_gain(table)))

    has_interpolated = (candidate_networks(table)["search_alpha"] < 1).any()
    if has_interpolated:
        reference = hypervolume_reference(record)
        of_all = hypervolume_over_trials(table, reference)[-1]
        of_ends = hypervolume_over_trials(table, reference, with_interpolated=False)[-1]
        measured = "on validation" if summary is None else "as expected"
        detail = f"to the hypervolume of {of_ends:.4f} of the adapted networks, {measured}"
        cards.append(Card("Interpolated networks added", f"{of_all - of_ends:.4f}", detail))
    return cards
