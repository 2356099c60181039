"""What a confirmation's tests show: changes from the baseline, differences on the front, what intervals are about."""

import pandas as pd

from study.fronts import front_table
from study.record import DOMAINS, StudyRecord, number
from study.reporting.distinct_networks import find_others
from study.reporting.tables import Table
from study.reporting.wording import (
    confirmed_name,
    count_of,
    count_untested,
    dataset_label,
    describe_interpolation,
    points_text,
)
from study.stored_results import Row
from study.trials import parse_interpolation_name

SIGNIFICANCE = 0.05
"""A corrected p-value below this is called significant; intervals have the level 1 - SIGNIFICANCE."""
FEW_PEOPLE = 5
"""Up to so many people in a test set, the report warns that intervals are wide."""
DIFFERENT, ALIKE = "≠", "·"
"""How a pair of networks is marked that differs significantly, or does not."""
_COUNTS = {2: "two", 3: "three", 4: "four", 5: "five"}
MOST_NAMED = 6
"""Networks that one sentence names; of more, their number."""


# Changes from the baseline.


def describe_confirmed_changes(record: StudyRecord) -> str:
    """Returns the verdict of a confirmation: which networks changed significantly from the baseline, by dataset.

    Args:
        record: The study's record, with a confirmation.

    Returns:
        Empty where no change from the baseline was recorded.
    """
    sentences = []
    without_change = []
    for domain in reversed(DOMAINS):
        label = dataset_label(record, domain)
        compared = [point for point in record.results.points if number(point.get(f"{domain}_change")) is not None]
        changed = [point for point in compared if point[f"{domain}_p"] < SIGNIFICANCE]
        if changed:
            sentences.append(f"On test images of {label}, {_name_changed(changed, domain)} than the baseline.")
        elif compared:
            without_change.append(label + _describe_blindness(record, compared, domain))
    if without_change:
        unchanged = " or of ".join(without_change)
        sentences.append(f"No network differs significantly from the baseline on test images of {unchanged}.")
    return " ".join(sentences)


def _name_changed(changed: list[Row], domain: str) -> str:
    """Returns which confirmed networks are better and which are worse: "FU 3 is significantly better"."""
    better = [point for point in changed if point[f"{domain}_change"] > 0]
    worse = [point for point in changed if point[f"{domain}_change"] < 0]
    parts = []
    for word, points in (("better", better), ("worse", worse)):
        if points:
            are = "is" if len(points) == 1 else "are"
            parts.append(f"{_name_points(points)} {are} significantly {word}")
    return " and ".join(parts)


def _describe_blindness(record: StudyRecord, compared: list[Row], domain: str) -> str:
    """Returns that no test could have found a change, with a space before; empty where one could."""
    detectable = [number(point.get(f"{domain}_detectable")) for point in compared]
    if all(smallest is not None and smallest >= 1 for smallest in detectable):
        return f" (which says nothing: {count_units(record, domain)} would not show even the largest change)"
    return ""


def _name_points(points: list[Row]) -> str:
    """Returns the names of confirmed networks, the first few of many."""
    names = [confirmed_name(point) for point in points[:MOST_NAMED]]
    left_out = len(points) - len(names)
    return ", ".join(names) + (f" and {left_out} more" if left_out else "")


def describe_verdicts(record: StudyRecord, table: pd.DataFrame) -> str:
    """Returns which p-values of a confirmation decide, and why these.

    Args:
        record: The study's record, with a confirmation.
        table: Trials, of `study.trials.trials_table`.
    """
    comparisons = record.results.comparisons
    family = f", all {comparisons} comparisons together" if comparisons else ""
    chosen = (
        "and the networks of this table were chosen before a test image was read: if none of them had truly changed, "
        f"at most one such study in twenty would show a p below {SIGNIFICANCE}."
    )
    if record.confirmation.get("earlier"):
        chosen = (
            "but test images had been read before: where networks were chosen by what these showed, p-values are too "
            "small."
        )
    return (
        "What counts is p in this table: of each network's change from the baseline, on either dataset, corrected by "
        f"Holm{family}. That is the question of the study, whether a network learned the target and what it forgot, "
        f"{chosen} What is said besides, of pairs of networks and of strategies, describes the same images once more "
        f"and decides nothing.{describe_untested(record, table)}"
    )


def describe_untested(record: StudyRecord, table: pd.DataFrame) -> str:
    """Returns how many networks of the front a confirmation did not test, with a space before; empty for none."""
    count = count_untested(record, front_table(table))
    if not count:
        return ""
    subject = "1 network of the front is" if count == 1 else f"{count_of(count, 'network')} of the front are"
    return (
        f" The search went on after this confirmation: {subject} new or trained further, and untested in the present "
        "form."
    )


def describe_change(record: StudyRecord, point: Row, domain: str) -> str:
    """Returns how a confirmed network differs from the baseline, and which difference could not have been detected.

    Args:
        record: The study's record.
        point: A confirmed point of the record.
        domain: "source" or "target".
    """
    label = dataset_label(record, domain)
    change = number(point.get(f"{domain}_change"))
    if change is None:
        return f"On {label} its change from the baseline was not recorded."

    comparisons = record.results.comparisons
    corrected = "corrected" if comparisons is None else f"corrected for {comparisons} comparisons"
    p_corrected = point[f"{domain}_p"]
    p_alone = point[f"{domain}_p_alone"]
    values = f"p = {p_corrected:.2g} {corrected}, {p_alone:.2g} alone"
    words = f"On {label} that is {change_text(point, domain)} points from the baseline"

    if p_corrected < SIGNIFICANCE:
        direction = "better" if change > 0 else "worse"
        return f"{words}, significantly {direction} ({values})."
    power = describe_power(record, domain, point.get(f"{domain}_detectable"))
    words += f", not significantly different ({values})"
    return f"{words}; {power}." if power else f"{words}."


def change_text(point: Row, domain: str) -> str:
    """Returns "+5.0 [-3.0, +13.0]", a confirmed network's change from the baseline in points."""
    mean = point[f"{domain}_change"]
    return points_text(mean, point[f"{domain}_change_lower"], point[f"{domain}_change_upper"])


def count_units(record: StudyRecord, domain: str) -> str:
    """Returns the size of a domain's test set: "3 test people", or "67 test images" where people are unknown."""
    tested = record.results.tested.get(domain, {})
    people = tested.get("people")
    if people is None:
        return f"{tested['images']:,} test images" if "images" in tested else "this test set"
    return "1 test person" if people == 1 else f"{people:,} test people"


def describe_power(record: StudyRecord, domain: str, detectable: object) -> str:
    """Returns how large a true difference must be for a test to find it in four of five cases (a power of 80 %).

    Args:
        record: The study's record.
        domain: "source" or "target".
        detectable: The smallest difference that is found with a power of 80 %, as a share.

    Returns:
        An empty text where `detectable` is no number.
    """
    smallest = number(detectable)
    if smallest is None:
        return ""
    units = f"with {count_units(record, domain)}"
    if smallest >= 1:
        return f"{units} even the largest true difference would not be found four times in five"
    points = f"{100 * smallest:.2g} points"
    return f"{units} a true difference would have to be about {points} to be found four times in five"


# Differences between the points of the front.


def describe_front_differences(record: StudyRecord) -> str:
    """Returns which points of the front differ significantly on test images, and what tests could not have found."""
    indistinguishable = record.results.indistinguishable
    count = len(indistinguishable)
    if count < 2:
        return "The front has one point, so there is nothing to compare."
    if not any(indistinguishable.values()):
        return f"All {count} tested points of the front differ significantly from each other on test images."

    power = _describe_power_of_pairs(record)
    if all(len(others) == count - 1 for others in indistinguishable.values()):
        return f"No two of the front's {count} tested points differ significantly on test images.{power}"

    distinct = sum(not others for others in indistinguishable.values())
    of_front = f"of the front's {count} tested points"
    if not distinct:
        start = f"Some pairs {of_front} differ significantly on test images, but no point differs from all others"
    elif distinct == 1:
        start = f"1 {of_front} differs significantly from all others on test images"
    else:
        start = f"{distinct} {of_front} differ significantly from all others on test images"
    return f"{start}; the table of pairs shows which differ.{power}"


def number_points(record: StudyRecord, front: pd.DataFrame) -> dict[str, int]:
    """Returns the numbers of confirmed networks by file: those of their figure, then those that have none there.

    Args:
        record: The study's record, with a confirmation.
        front: Of `study.fronts.front_table`.
    """
    # The figure numbers all rows, also the named strategies, which have no file; it leaves out what hardly differs.
    without_number = find_others(front, record)
    models = [point.get("model") for point in record.results.points]
    in_figure = [model for model in models if model not in without_number]
    rest = [model for model in models if model in without_number]
    return {str(model): index + 1 for index, model in enumerate([*in_figure, *rest]) if model}


def build_pairs_table(record: StudyRecord, table: pd.DataFrame) -> Table | None:
    """Returns which pairs of the front's points differ significantly on test images, as a matrix.

    None where all pairs do or none does, which a sentence says.

    Args:
        record: The study's record, with a confirmation.
        table: Trials, of `study.trials.trials_table`.
    """
    indistinguishable = record.results.indistinguishable
    models = list(indistinguishable)
    counts = {len(others) for others in indistinguishable.values()}
    if counts <= {0} or counts == {len(models) - 1}:
        return None

    # Columns have the numbers of the rows, since names are too wide for a matrix.
    numbers = number_points(record, front_table(table))
    names = {str(point["model"]): confirmed_name(point) for point in record.results.points if point.get("model")}
    if all(model in numbers for model in models):
        models.sort(key=lambda model: numbers[model])
    else:
        numbers = {model: index + 1 for index, model in enumerate(models)}
    rows = []
    for model in models:
        cells = []
        for other in models:
            differs = other not in indistinguishable[model]
            sign = DIFFERENT if differs else ALIKE
            cells.append("" if other == model else sign)
        rows.append([f"{numbers[model]}", names.get(model) or _short_name(model), *cells])
    head = ["", "Network", *(f"{numbers[model]}" for model in models)]
    caption = (
        f"Pairs of the front's networks on test images: {DIFFERENT} differ significantly on at least one dataset, "
        f"after correction for all pairs; {ALIKE} were not found to. Numbers are those of the figure of the confirmed "
        "networks; what has none there has the next ones."
    )
    return Table("pairs", caption, head, rows)


def _describe_power_of_pairs(record: StudyRecord) -> str:
    """Returns the difference that tests of pairs would have found, with a space before; empty where not recorded."""
    detectable = record.results.detectable
    sentences = []
    for domain in DOMAINS:
        smallest = number(detectable.get(domain))
        if smallest is None:
            continue
        where = f"On {dataset_label(record, domain)}, with {count_units(record, domain)},"
        if smallest >= 1:
            sentences.append(
                f"{where} even the largest true difference would not be found four times in five for half of the "
                "pairs: that such a pair is not found to differ says nothing."
            )
        else:
            sentences.append(
                f"{where} a true difference would have to be about {100 * smallest:.2g} points to be found four times "
                "in five, for half of the pairs even larger."
            )
    return "".join(f" {sentence}" for sentence in sentences)


def _short_name(model: str) -> str:
    """Returns "trial 3 at 0.5" for a network's file, by layer "trial 3 at 0 to 1"."""
    stem = model.removeprefix("models/trial-").removesuffix(".safetensors")
    trial, _, interpolation = stem.partition("-at-")
    name = f"trial {int(trial)}" if trial.isdigit() else model
    if not interpolation:
        return name
    alpha, slope = parse_interpolation_name(interpolation)
    return f"{name} at {describe_interpolation(alpha, slope)}"


# Intervals and the people in test sets.


def describe_intervals(record: StudyRecord) -> str:
    """Returns what the intervals and p-values of a confirmation are about, and how they are computed."""
    seeds = record.confirmation.get("seeds")
    comparisons = record.results.comparisons
    family = f" over all {comparisons} comparisons of both datasets" if comparisons else ""

    # What they are about.
    sentences = []
    if seeds == 1:
        sentences.append(_population("other people, with this one training of each"))
    else:
        sentences.append(_population("other people and other seeds"))
        sentences.append(f"{_seed_differences(record)}; the test images are the same for all.")
    if seeds == 2:
        sentences.append("Two seeds hardly show what seeds do, so these intervals are wider than those of three.")

    # How they are computed.
    sentences += [
        "What no seed changes, as the baseline, is a single network, whose interval is about other people.",
        "All images of a person count together (jackknife over people, seeds as a second cluster, Student's t; "
        "accuracies in Wilson's form).",
        "A change is the difference from the baseline, image by image; its interval is for one comparison alone "
        "and excludes 0 exactly where p alone is below 0.05.",
        "Both networks of a change answer on the same images of the same people, and whom one finds hard the other "
        "mostly does as well: so the interval of a change is often narrower than that of an accuracy.",
        f"Significant is a change whose p is below 0.05 after Holm's correction{family}; pairs of the front are marked "
        "after Bonferroni's over all pairs.",
        describe_test_people(record),
    ]
    return " ".join(sentences)


def _population(whom: str) -> str:
    return (
        f"Intervals and p-values are about {whom}, with this one baseline and these people to train on: another "
        "baseline or other training people could move all results together."
    )


def _seed_differences(record: StudyRecord) -> str:
    divisions = max((int(point.get("divisions") or 0) for point in record.results.points), default=0)
    words = "Seeds differ in the order of images, their views and new weights"
    if divisions > 1:
        words += f", and take {divisions} divisions of the target into training and validation images in turn"
    return words


def describe_test_people(record: StudyRecord) -> str:
    """Returns how many people the test sets show, and what follows."""
    tested = record.results.tested
    sentences = []
    for domain in DOMAINS:
        counts = tested.get(domain)
        if counts:
            sentences.append(f"{dataset_label(record, domain)}: {_describe_people_of(counts)}")
    return " ".join(sentences)


def _describe_people_of(counts: Row) -> str:
    people = counts.get("people")
    if people is None:
        return (
            f"{counts['images']:,} test images of unknown people, each counted as a person; where several "
            "show one person, intervals are too narrow."
        )
    if people == 1:
        return "one person in the test set, who says nothing about others."
    if people <= FEW_PEOPLE:
        return (
            f"{_COUNTS.get(people, people)} people in the test set ({counts['images']:,} images), so few that "
            "intervals are wide and only large differences can be significant."
        )
    return f"{people:,} people in the test set ({counts['images']:,} images)."
