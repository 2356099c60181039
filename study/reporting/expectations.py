"""What a search expects of its networks, in words and tables: the recommended one, its neighbours, luck, the race."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from study.fronts import KEEPS_MORE, LEARNS_MORE, find_recommended
from study.record import DOMAINS, StudyRecord, number
from study.reporting.tables import Table
from study.reporting.wording import (
    IN_DOUBT,
    count_of,
    dataset_label,
    describe_more_race,
    describe_total,
    expected_text,
    format_percent,
    format_points,
    network_name,
    points_text,
    row_name,
    tested_accuracy,
    tested_text,
)
from study.trials import OBJECTIVES
from study.tuning.recommendation_rule import Obstacle
from study.tuning.summary import ExpressionChange, NetworkSummary, RaceCourse, SearchSummary

_ROLES = {KEEPS_MORE: ("source", "keep", "keeps"), LEARNS_MORE: ("target", "learn", "learns")}
"""Of which dataset a neighbour of the recommended network does more, and what."""


def has_expectations(network: pd.Series) -> bool:
    """Returns whether a row of a front says what is expected of the network."""
    return number(network.get("target_lower")) is not None


# The recommended network.

NARROWER = (
    "The interval of a gain is mostly narrower than that of an accuracy: the baseline answers on the same people, and "
    "whom one network finds hard or easy the other mostly does as well, which the difference leaves out."
)
"""Why a gain is known better than the accuracy that it leads to."""


def describe_rule(record: StudyRecord, summary: SearchSummary) -> str:
    """Returns the rule by which a network is recommended."""
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    return (
        "The rule: of the networks that pass three tests, recommended is the one with the best expected accuracy on "
        f"{target}. First, it is 90 % sure that the network keeps at least {100 * summary.keep:g} % of the baseline's "
        f"accuracy on {source} (--keep). Second, its gain on {target} is significant: above 0 even when it is allowed "
        f"for that {summary.networks} networks were compared. Third, no expression has died on validation images: none "
        "that the baseline recognises has fallen to chance there."
    )


def describe_expected(record: StudyRecord, network: pd.Series, summary: SearchSummary) -> str:
    """Returns which accuracies are expected of the recommended network, and what that rests on.

    Args:
        record: The study's record.
        network: Its row of `study.fronts.front_table`.
        summary: What the search found, with a recommended network.
    """
    accuracies = " and ".join(
        f"{expected_text(network, domain)} % on {dataset_label(record, domain)}" for domain in DOMAINS
    )
    words = f"Expected with other people and another training: {accuracies} (90 % intervals)."
    if summary.recommended is not None:
        words += f" {describe_evidence(record, summary.recommended)} {NARROWER}"

    observed = [format_percent(network[f"observed_{objective}"]) for objective in OBJECTIVES]
    return (
        f"{words} On these images it reached {observed[0]} and {observed[1]} %; what is expected leaves out what its "
        f"folds and luck added. It is on the front with a probability of {format_percent(network['probability'], 0)} %."
    )


def describe_evidence(record: StudyRecord, network: NetworkSummary) -> str:
    """Returns from how many trainings, images and people a network's expected accuracies come."""
    target = dataset_label(record, "target")
    trainings = f"{count_of(network.trainings, 'training')} on {count_of(network.folds, 'fold')}"
    images = count_of(network.images, f"{target} image")
    source_images = count_of(network.source_images, f"{dataset_label(record, 'source')} image")
    if network.people is None:
        return (
            f"This comes from {trainings}: {images} of unknown people, and {source_images}. No network was trained on "
            "an image that it answered on."
        )
    people = count_of(network.people, "person", "people")
    words = (
        f"This comes from {trainings}: {images} of {people}, and {source_images}. No network was trained on a person "
        f"of {target} that it answered on."
    )
    if network.people == 1:
        words += " One person says nothing about others: how much people differ is assumed."
    return words


def describe_file(network: pd.Series, summary: SearchSummary) -> str:
    """Returns what the file of the recommended network holds."""
    trainings = summary.recommended.trainings if summary.recommended else number(network.get("trainings")) or 0
    if trainings == 1:
        return "The file holds the network of its only training."
    return f"The file holds the average of the weights of its {trainings:g} trainings."


def describe_neighbours(record: StudyRecord, front: pd.DataFrame, summary: SearchSummary | None = None) -> list[str]:
    """Returns a sentence for each neighbour of the recommended network, which keeps more or learns more.

    Where no network without a dead expression does, the next on the front is named with what it has lost.

    Args:
        record: The study's record.
        front: Of `study.fronts.front_table`.
        summary: What the search found, which knows the dead expressions.
    """
    recommended = find_recommended(front)
    if recommended is None or "role" not in front:
        return []
    sentences = []
    for role, (domain, _, _) in _ROLES.items():
        neighbours = [network for _, network in front[front["role"] == role].iterrows()]
        for network in neighbours:
            sentences.append(_describe_neighbour(record, network, recommended, role))
        passed_over = None if neighbours else _find_passed_over(front, recommended, domain, summary)
        if passed_over is not None:
            network, died = passed_over
            sentences.append(_describe_neighbour(record, network, recommended, role, died))
    return sentences


def _describe_neighbour(
    record: StudyRecord, network: pd.Series, recommended: pd.Series, role: str, died: Sequence[str] = ()
) -> str:
    """Returns what a neighbour does more, which expressions it has lost, its accuracies and its file."""
    domain, do, does = _ROLES[role]

    # What it does more; where both were tested, test images may say otherwise.
    words = f"{does.capitalize()} more of the {domain}"
    point = record.results.find_point(network)
    recommended_point = record.results.find_point(recommended)
    if point is not None and recommended_point is not None:
        is_shown = tested_accuracy(point, domain) > tested_accuracy(recommended_point, domain)
        if not is_shown:
            words = f"Expected to {do} more of the {domain}, which test images do not show"

    # At what price.
    if died:
        words += f", but has lost {' and '.join(died)}"
    changes = [_compare(record, network, recommended, each) for each in DOMAINS]
    return f"{words}: {row_name(network)}, {' and '.join(changes)}. File: {network['model']}."


def _find_passed_over(
    front: pd.DataFrame, recommended: pd.Series, domain: str, summary: SearchSummary | None
) -> tuple[pd.Series, list[str]] | None:
    """Returns the front's next network with more on a domain, and the expressions it has lost; None if it lost none."""
    column = f"{domain}_val"
    more = front[(front[column] > recommended[column]) & (front["strategy"] != "BL")]
    if more.empty or summary is None:
        return None
    network = more.loc[more[column].idxmin()]
    changes = summary.expressions.get(network["model"], ())
    died = list(dict.fromkeys(change.expression for change in changes if change.has_died))
    return (network, died) if died else None


def describe_accuracy(record: StudyRecord, network: pd.Series, domain: str) -> str:
    """Returns "61.2 [58.0, 64.1] % on TFEID": on test images where the network was confirmed, else as expected.

    Args:
        record: The study's record.
        network: A row of `study.fronts.front_table` with what is expected of the network.
        domain: "source" or "target".
    """
    point = record.results.find_point(network)
    accuracy = expected_text(network, domain) if point is None else tested_text(point, domain)
    return f"{accuracy} % on {dataset_label(record, domain)}"


def _compare(record: StudyRecord, network: pd.Series, recommended: pd.Series, domain: str) -> str:
    """Returns a neighbour's accuracy, and how much more it is than that of the recommended network."""
    tested = record.results.find_point(network)
    recommended_tested = record.results.find_point(recommended)
    if tested is not None and recommended_tested is not None:
        change = tested_accuracy(tested, domain) - tested_accuracy(recommended_tested, domain)
    else:
        change = network[f"{domain}_val"] - recommended[f"{domain}_val"]
    return f"{describe_accuracy(record, network, domain)} ({format_points(change)} points)"


def describe_search_gain(table: pd.DataFrame) -> str:
    """Returns what the two hypervolumes are between which a search's gain lies.

    Args:
        table: Trials, of `study.trials.trials_table`.
    """
    return (
        "the hypervolume that the paper's five strategies reach alone, with their interpolated networks, and that of "
        f"all {describe_total(table)}; both by expected accuracies"
    )


# What nothing being recommended means.


def describe_obstacle(record: StudyRecord, summary: SearchSummary, strategies: dict[int, str]) -> str:
    """Returns why nothing is recommended, and what to do.

    Args:
        record: The study's record.
        summary: What the search found, with an obstacle.
        strategies: The strategy of each trial by its number.
    """
    source, target = (dataset_label(record, domain) for domain in DOMAINS)
    keep = f"{100 * summary.keep:g} %"
    nearest = summary.nearest
    if nearest is None or summary.obstacle in (None, Obstacle.NOT_EVALUATED):
        return "No network has been evaluated yet. Go on with the command that started the study."
    name = network_name(nearest.trial, strategies.get(nearest.trial, "unknown"), nearest.alpha, nearest.slope)
    of_target = nearest.gains["target"]
    gain = points_text(of_target.mean, of_target.lower, of_target.upper)

    # Why, and who came nearest.
    if summary.obstacle == Obstacle.FORGETS:
        words = (
            f"No network keeps {keep} of the baseline's accuracy on {source} as surely as the rule asks (90 %), so use "
            "the baseline."
        )
        near = f"The likeliest to keep it is {name}, with a probability of {format_percent(nearest.kept, 0)} %."
        remedies = "Let the search go on with more --trials."
    elif summary.obstacle == Obstacle.DIED:
        dead = sorted({change.expression for change in nearest.expressions if change.has_died})
        words = (
            f"Each network that keeps {keep} of the baseline's accuracy on {source} has lost an expression that the "
            "baseline recognises. So use the baseline, or a network of the front where that expression does not matter."
        )
        near = f"{name[0].upper()}{name[1:]} no longer recognises {' and '.join(dead)}." if dead else ""
        remedies = f"More images of it in {target}, or more --trials, may help."
    else:
        words = (
            f"No network that surely (90 %) keeps {keep} of the baseline's accuracy on {source} surely gains on "
            f"{target}, so use the baseline."
        )
        near = (
            f"Nearest comes {name}: of the networks that keep it, its gain on {target} is the surest, {gain} points "
            f"(90 % interval), but not significant among the {summary.networks} networks that were compared."
        )
        most = "More images" if nearest.people is None else "Images of more people"
        remedies = f"{most} would tell most; else {describe_more_race(record)}, or more --trials."

    # Which share would suffice.
    judged = _describe_evidence_shortly(nearest)
    if summary.sufficient_keep is None:
        texts = [words, near, judged, "No lower --keep would change that.", remedies]
    else:
        sufficient = f"{summary.sufficient_keep:g}"
        near = (
            f"With --keep {sufficient} recommended would be {name}: it surely keeps "
            f"{100 * summary.sufficient_keep:g} % on {source}, and {gain} points are expected on {target} (90 % "
            "interval)."
        )
        anew = (
            "If that is enough for you, give the command that started the study once more, with --keep "
            f"{sufficient}: that searches no further, and mostly takes seconds."
        )
        texts = [words, near, judged, anew, f"Otherwise {remedies[0].lower()}{remedies[1:]}"]
    return " ".join(text for text in texts if text)


def _describe_evidence_shortly(network: NetworkSummary) -> str:
    images = count_of(network.images, "image")
    if network.people is None:
        return f"It was judged by {images}."
    return f"It was judged by {images} of {count_of(network.people, 'person', 'people')}."


# Expressions.


def build_expressions_table(record: StudyRecord, changes: tuple[ExpressionChange, ...]) -> Table | None:
    """Returns what a network gained and lost on each expression of both domains; None without images.

    Args:
        record: The study's record.
        changes: Of `study.tuning.summary.compare_expressions`.
    """
    if not changes:
        return None
    by_expression: dict[str, dict[str, ExpressionChange]] = {}
    for change in changes:
        by_expression.setdefault(change.expression, {})[change.domain] = change

    rows = []
    for name, of_domain in by_expression.items():
        cells = [name]
        for domain in DOMAINS:
            cells += _expression_cells(of_domain.get(domain))
        rows.append(cells)

    head = ["Expression"]
    for domain in DOMAINS:
        label = dataset_label(record, domain)
        head += [f"{label} before %", f"{label} after %", f"{label} Δ", f"{label} images"]
    caption = (
        "Share of each expression's images that the baseline and the recommended network have right, and the change in "
        "points, over the validation images of the folds that it was trained on; over all folds the baseline's may "
        "differ. † has died: recognised by the baseline, at chance now."
    )
    return Table("expressions", caption, head, rows)


def _expression_cells(change: ExpressionChange | None) -> list[str]:
    if change is None:
        return ["–", "–", "–", "0"]
    mark = " †" if change.has_died else ""
    difference = format_points(change.after - change.before)
    before, after = (format_percent(share) for share in (change.before, change.after))
    return [before, after + mark, difference, str(change.images)]


def describe_expressions(record: StudyRecord, changes: tuple[ExpressionChange, ...]) -> str:
    """Returns on which expression the recommended network gained and lost most, on each domain."""
    sentences = []
    for domain in DOMAINS:
        of_domain = [change for change in changes if change.domain == domain]
        if not of_domain:
            continue
        differences = {change.expression: change.after - change.before for change in of_domain}
        best = max(differences, key=lambda name: differences[name])
        worst = min(differences, key=lambda name: differences[name])
        parts = []
        if differences[best] > 0:
            parts.append(f"gained most on {best} ({format_points(differences[best])} points)")
        if differences[worst] < 0:
            parts.append(f"lost most on {worst} ({format_points(differences[worst])} points)")
        found = " and ".join(parts) or "changed on no expression"
        sentences.append(f"On {dataset_label(record, domain)} the recommended network {found}.")
    sentences.append("An expression with few images moves by many points by chance; these changes were not tested.")
    return " ".join(sentences)


# Expected beside observed.


def build_optimism_table(record: StudyRecord, front: pd.DataFrame, summary: SearchSummary) -> Table:
    """Returns observed beside expected figures, of the hypervolume and of the recommended network.

    Args:
        record: The study's record.
        front: Of `study.fronts.front_table`.
        summary: What the search found.
    """
    volumes = [f"{value:.4f}" for value in (summary.observed_hypervolume, summary.hypervolume)]
    rows: list[list[Any]] = [["Hypervolume of the front", *volumes, f"{summary.optimism:+.4f}"]]
    recommended = find_recommended(front)
    if recommended is not None:
        for domain in DOMAINS:
            observed = recommended[f"observed_{domain}_val"]
            expected = recommended[f"{domain}_val"]
            cells = [format_percent(observed), format_percent(expected), f"{format_points(observed - expected)}"]
            rows.append([f"Recommended network, {dataset_label(record, domain)} %", *cells])
    caption = (
        "Observed: what validation images showed, with the luck for which networks were chosen. Expected: with other "
        "people and other trainings. Their difference is optimism; accuracies in per cent and points."
    )
    return Table("optimism", caption, ["", "Observed", "Expected", "Optimism"], rows)


# The race.


def describe_race(race: RaceCourse) -> str:
    """Returns what a race did and why it ended."""
    trained = f"{count_of(race.trainings, 'training')} of {count_of(race.configurations, 'configuration')}"
    words = (
        "After the search a race trained networks again of which it was not clear whether they belong to the front, on "
        f"folds they lacked or with new seeds, always where one more training tells most: {trained}. These and what "
        f"followed cost {format_percent(race.cost, 0)} % of what the search had cost."
    )
    if not race.trainings:
        words = "The race chose no training."
    else:
        words += f" {_describe_front_of_race(race)}"
    words += f" The race ended because {race.end}."
    if race.finalists:
        words += (
            f" Then {count_of(race.finalists, 'training')} gave the recommended network and its neighbours the folds "
            "they lacked."
        )
    return words


def _describe_front_of_race(race: RaceCourse) -> str:
    """Returns how sure the front was by which a race decides, when it began and when it ended."""
    if race.decided_in_whole_points:
        front = (
            "It decides about the front in whole points of accuracy: networks that differ by less count as equal, and "
            "a network belongs to it only if it is a whole point better than the baseline on at least one dataset."
        )
    else:
        front = "It decides about the front of expected accuracies."
    on_front, misplaced = race.deciding_front(race.states[0])
    last_on_front, last_misplaced = race.deciding_front(race.states[race.trainings])
    return (
        f"{front} When the race began, {on_front:.1f} networks were expected on this front and {misplaced:.1f} were in "
        f"doubt. {IN_DOUBT} When the race ended, {last_on_front:.1f} were expected on it and {last_misplaced:.1f} were "
        f"in doubt; a tenth of the front in doubt would settle it. {_describe_trust(race, misplaced, last_misplaced)}"
    )


def _describe_trust(race: RaceCourse, misplaced: float, last_misplaced: float) -> str:
    """Returns whether the front can be relied on after a race, and why it may be less clear than before.

    Args:
        race: The race.
        misplaced: Networks on the wrong side of the front when it began.
        last_misplaced: The same when it ended.
    """
    if race.states[race.trainings].has_settled:
        return "So the front can be relied on, each of its networks as far as its probability says (On front)."
    words = (
        "So which networks are on the front is not settled, and a network may turn out as good as its neighbour: take "
        "them by their probability (On front). Accuracies and the recommendation do not depend on that, and every "
        "training made them more exact."
    )
    if last_misplaced > misplaced:
        words += (
            " That more are in doubt than before does not mean that the race did harm: its trainings bring networks "
            "near the front that had looked clearly worse, or were not known."
        )
    return words
