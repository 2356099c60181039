"""How a study's facts are put into words, the same in figures, pages, on the terminal and in MLflow."""

import math
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pandas as pd

from fer.datasets.data_folder import normalise, without_suffix
from fer.datasets.report import DatasetReport
from fer.errors import printable, shorten
from fer.expressions import ExpressionSet
from study.options import is_on_every_fold
from study.presets import budget_factor
from study.record import DOMAINS, StudyRecord, number
from study.search_options import DEFAULT_RACE
from study.stored_results import Row, has_changed
from study.trials import count_rungs
from study.tuning.stored_answers import ValidationImages

_LABELS = {
    "fer2013": "FER2013",
    "jaffe": "JAFFE",
    "tfeid": "TFEID",
    "tfeid-high": "TFEID high",
    "mug": "MUG",
    "ckplus": "CK+",
    "kdef": "KDEF",
    "rafd": "RaFD",
    "rafdb": "RAF-DB",
    "affectnet": "AffectNet",
    "oulu": "Oulu-CASIA",
}
"""How the datasets' authors write their names, by the names that options take."""

_LABELS_OF_COPIES = {"ck48": "CK+48", "ckplus48": "CK+48"}
"""How datasets are called that are read as another is, by their names in lower case letters and digits."""

OTHER_SPELLINGS = {"ckplus": ("ck+", "ck+48")}
"""What users call datasets whose own names, which are those of folders, say it otherwise; every spelling is understood.
"""

_HYPERPARAMETERS = {"lr": "learning rate", "fusion_frozen_layers": "frozen layers of FU"}
"""What hyperparameters are called whose names do not say it."""

SYNTHETIC = "SYNTHETIC STAND-IN"
"""What marks every figure, table and page of a study with synthetic faces."""
UNKNOWN = "a study whose entry is damaged"
"""What stands for the name of a study that evaluated a test set before and cannot be read."""
LEAST_SAYING = 1.0
"""Width of a difference's interval, as a share, from which it says next to nothing: differences lie from -1 to 1."""
TOO_FEW = "too few to tell"
"""What stands for such an interval, which few people, images or seeds give."""
IN_DOUBT = "So many mistakes are expected where each network is called what is likelier: on the front, or off it."
"""What the number of networks in doubt means."""
SAME_DIGITS = 9
"""Decimals after which two figures are one: what two ways of computing a mean leave is noise of arithmetic."""
MOST_LABELS = 5
"""Labels of a user's file in one sentence; of more, their number."""
LONGEST_LABEL = 40
"""Characters of each of them."""
MOST_STUDIES = 5
"""Names of studies in one sentence; of more, their number."""


# Datasets and objectives.


def describe_unmet_labels(expressions: ExpressionSet, reports: Mapping[str, DatasetReport], file: str) -> str:
    """Returns which labels of a user's file no image of some datasets has; empty where each is met, or nobody knows.

    Args:
        expressions: What the file says.
        reports: Of the datasets, by what they are called.
        file: The file's name.
    """
    # A dataset that an earlier version prepared does not say what labels it has.
    if not all(report.labels for report in reports.values()):
        return ""
    unmet = expressions.find_unmet(label for report in reports.values() for label in report.labels)
    if not unmet:
        return ""

    shown = []
    for label, meant in list(unmet.items())[:MOST_LABELS]:
        question = f" (did you mean {meant}?)" if meant else ""
        shown.append(f"{shorten(label, LONGEST_LABEL)}{question}")
    if len(unmet) > MOST_LABELS:
        shown.append(f"and {len(unmet) - MOST_LABELS:,} more")
    labels = "this label" if len(unmet) == 1 else "these labels"
    return f"no image of {' or '.join(reports)} has {labels} of {printable(Path(file).name)}: {', '.join(shown)}"


def dataset_label(record: StudyRecord, domain: str) -> str:
    """Returns the printed name of the study's "source" or "target"; that of a synthetic one says so."""
    dataset = record.dataset(domain)
    label = name_as_printed(dataset.name or domain, dataset.report, record.options.get(domain))
    is_synthetic = dataset.kind == "synthetic" or (not dataset.kind and record.synthetic)
    return f"{label} stand-in" if is_synthetic else label


def has_unknown_people(record: StudyRecord, domain: str) -> bool:
    """Returns whether a dataset's reader found whom no image shows; False where the record does not say."""
    dataset = record.dataset(domain)
    is_counted = isinstance(dataset.report.get("subjects"), Mapping)
    return is_counted and not any(dataset.count_people(split) for split in ("train", "validation", "test"))


def describe_unknown_people(record: StudyRecord) -> str:
    """Returns what follows where nobody knows whom the target's images show; empty where that is known."""
    if not has_unknown_people(record, "target"):
        return ""
    label = dataset_label(record, "target")
    return (
        f"Whom the images of {label} show is not known, so each counts as another person. Where several show one "
        f"person, networks are judged on people whom they saw in training: accuracies on {label} are then too high "
        "and intervals too narrow."
    )


def describe_subjects(record: StudyRecord) -> str:
    """Returns half a sentence about people and splits, for the method: "subjects never cross splits"."""
    unknown = [dataset_label(record, domain) for domain in DOMAINS if has_unknown_people(record, domain)]
    if not unknown:
        return "Subjects never cross splits"
    return f"Subjects, where they are known, never cross splits (those of {' and '.join(unknown)} are not known)"


def name_as_printed(name: str, report: Mapping[str, Any], asked: object = None) -> str:
    """Returns the printed name of a dataset: as its authors write it, of a copy that is called otherwise the copy's.

    Args:
        name: Of the layout by which it is read, which several datasets may share.
        report: What the reader found in it, with the path of the copy where there is one.
        asked: What the user calls it, for where there is no copy.
    """
    copy = report.get("copy")
    called = Path(copy).name if copy and isinstance(copy, str) else asked
    plain = normalise(without_suffix(called) or called) if isinstance(called, str) else ""
    return _LABELS_OF_COPIES.get(plain, _LABELS.get(name, printable(name)))


def describe_drawn_faces(record: StudyRecord) -> str:
    """Returns which faces of a study with synthetic ones were drawn, and what its numbers therefore do not say."""
    domain_of = {record.dataset(domain).kind: domain for domain in DOMAINS}
    if set(domain_of) != {"synthetic", "real"}:
        return "The faces are drawn by this program, not photographed: the numbers say nothing about the real dataset."
    drawn, real = (dataset_label(record, domain_of[kind]) for kind in ("synthetic", "real"))
    return (
        f"The faces of {drawn} are drawn by this program, not photographed; those of {real} are a real copy's. Every "
        "network learned from drawn faces as well, so the numbers say nothing about the real datasets."
    )


def objective_label(record: StudyRecord, domain: str) -> str:
    """Returns what an axis with the objective on "source" or "target" is called, with how it was measured."""
    label = dataset_label(record, domain)
    if has_stored_answers(record):
        return f"Expected {domain} accuracy (%) — {label}"
    folds = record.options.get("folds")
    over = f", {folds} folds" if folds else ""
    return f"{domain.capitalize()} validation accuracy (%){over} — {label}"


# Sentences about a study.


def has_stored_answers(record: StudyRecord) -> bool:
    """Returns whether a study's networks are judged by their answers to each image; those of older studies are not."""
    return ValidationImages.from_json(record.baseline.answers) is not None


def folds_sentence(record: StudyRecord) -> str:
    """Returns what is to be said about the method of a study with folds, with a space before; nothing for others."""
    folds = record.options.get("folds")
    if has_stored_answers(record):
        return _expectations_sentence(folds if isinstance(folds, int) else 1, is_on_every_fold(record.options))
    if not folds:
        return ""
    # An older study, each of whose trials was trained on every fold.
    return (
        f" Every trial was {folds} trainings, each with the whole budget and another fold of the target's training and "
        "validation images, divided by subject where subjects are known, in validation: target accuracy is the share "
        "of all these images that a network which saw nobody of them got right, source accuracy the mean of the "
        f"{folds} networks. Dominated trials stop after the first half of the folds. The networks kept are those of "
        "the first fold."
    )


def _expectations_sentence(folds: int, on_every_fold: bool) -> str:
    """Returns how a study with answers to each image judges its networks, with a space before.

    Args:
        folds: Of the target; 1 where its own validation images judge.
        on_every_fold: Whether a trial is trained on each of them.
    """
    divided = ""
    if folds > 1:
        of_trial = "Every trial is one training, which leaves one fold out and is judged by it; the folds take turns."
        if on_every_fold:
            of_trial = (
                f"Every trial is {folds} trainings, each of which leaves one fold out; each image of the target is "
                "answered by the network that did not see it, and the source's images by the average of the networks."
            )
        divided = (
            f" The target's training and validation images are divided into {folds} folds, by subject where subjects "
            f"are known. {of_trial} A configuration on a rung is one recipe, whatever folds and seeds it was trained "
            "on. The baseline's accuracy on the target is that on the images of all folds."
        )
    return (
        f"{divided} The expected accuracy of a network is the baseline's plus the network's gain over it on the same "
        "images. Two things are taken out of that gain. Some folds are easier than others for every network: that part "
        "does not count. And the best of many gains on few images is partly luck: each gain is moved towards those of "
        "the other networks, the further the less its images tell, up where a network had bad luck and down where it "
        "had good luck. Intervals (90 %) are about other people and other trainings. The front, its hypervolume and "
        "the recommendation are those of expected accuracies. The network in a file is the average of the weights of "
        "its recipe's trainings."
    )


def rungs_sentence(record: StudyRecord) -> str:
    """Returns what is to be said about the method of a study with rungs, with a space before; nothing for others."""
    rungs = count_rungs(record)
    if rungs == 1:
        return ""
    factors = ", ".join(str(budget_factor(rung)) for rung in range(2, rungs + 1))
    return (
        " Every configuration was trained with the budget of the first rung; whatever was among the best third of a "
        f"rung, by non-domination, was trained again on the next (rungs of {factors} times that budget). Networks of "
        "all rungs compete for the front, and only trainings of one rung had equal budgets, so comparisons of "
        "strategies, freezing and the importance of hyperparameters are those of the first rung, which every "
        "configuration was trained on. A confirmation trains a network of the front with the budget that it had, and a "
        "named strategy with the largest budget on the front."
    )


def describe_total(table: pd.DataFrame) -> str:
    """Returns how many trials a table has, and of how many configurations where these are fewer.

    Args:
        table: Of `study.trials.trials_table`.
    """
    configurations = count_configurations(table)
    if configurations == len(table):
        return f"{len(table)} trials"
    return f"{len(table)} trials of {configurations} configurations"


def count_configurations(table: pd.DataFrame) -> int:
    """Returns how many configurations were tried: each has one trial on the first rung that no race asked for.

    Args:
        table: Of `study.trials.trials_table`.
    """
    return int(((table["rung"] == 1) & ~table["race"].astype(bool)).sum())


def describe_more_race(record: StudyRecord) -> str:
    """Returns the advice to train doubtful networks further: by a longer race, or by one where there was none."""
    if number(record.options.get("race")):
        return "a longer race (--race)"
    return f"a race, which this study does without (--race {DEFAULT_RACE:g})"


def limits_sentence(record: StudyRecord) -> str:
    """Returns what a study's user set for the front, why it ended early and what of its storage could not be read.

    With a space before; nothing where there is nothing to say.
    """
    words = ""
    reference = record.options.get("reference")
    if reference:
        words += f" Hypervolume is measured from ({reference[0]:g}, {reference[1]:g}) and not from chance."
    min_retention = record.options.get("min_retention")
    if min_retention:
        words += (
            f" Networks that keep less than {min_retention:.0%} of the baseline's source accuracy are left out of the "
            "front."
        )
    if record.ended:
        words += f" The search was {record.ended}."
    # Not stored: `export` adds it.
    notice = record.more.get("notice")
    if notice:
        words += f" {notice}"
    return words


def evaluated_before(record: StudyRecord) -> str:
    """Returns a sentence for each test set of a confirmation that was evaluated before, with a space before each.

    Args:
        record: The study's record with its confirmation.
    """
    words = ""
    for domain in DOMAINS:
        earlier = record.earlier_evaluations(domain)
        if not earlier:
            continue
        label = dataset_label(record, domain)
        times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
        words += f" These {label} test images were evaluated {times} before in this output folder"
        words += f", by {_name_studies(earlier)}."
    if words:
        words += " Choosing among studies by test figures makes the chosen ones look better than they are."
    return words


def describe_stand_ins(record: StudyRecord) -> str:
    """Returns which trials stand for named strategies, with a space before; empty where none does.

    A trial whose configuration is a named strategy's is trained again once, under the trial's name.
    """
    pairs = []
    for point in record.results.points:
        named = point.get("named")
        if named and named != "BL" and point["name"] != named and not point.get("front"):
            pairs.append(f"{confirmed_name(point)} is the paper's {named}")
    return f" Not on the front: {', '.join(pairs)}." if pairs else ""


def _name_studies(entries: Iterable[object]) -> str:
    """Returns the names of the studies in entries of evaluations, each once, the first few of many."""
    names = [str(entry.get("study", UNKNOWN)) if isinstance(entry, dict) else UNKNOWN for entry in entries]
    shown = [shorten(printable(name), 80) for name in dict.fromkeys(names)]
    left_out = len(shown) - MOST_STUDIES
    more = f" and {left_out} more" if left_out > 0 else ""
    word = "the study" if len(shown) == 1 else "the studies"
    return f"{word} {', '.join(shown[:MOST_STUDIES])}{more}"


# Values.


def round_decimal(value: float, digits: int = 1) -> Decimal:
    """Rounds a number as a reader does, a half away from zero, so that one figure is the same wherever it stands.

    A float's own digits say otherwise: 71.05 is a little less than that, and one mean of the same images may be
    71.04999999999.

    Args:
        value: A finite number.
        digits: Decimals that are left.

    >>> str(round_decimal(71.05)), str(round_decimal(71.0499999999999)), str(round_decimal(-0.04))
    ('71.1', '71.1', '0.0')
    """
    exact = Decimal(f"{value:.{SAME_DIGITS}f}")
    return exact.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP) + 0  # of zeros, the one without a sign


def format_percent(value: object, digits: int = 1) -> str:
    """Returns a share as per cent without the sign ("61.2"), a dash when there is none."""
    share = number(value)
    return "–" if share is None else f"{round_decimal(100 * share, digits)}"


def format_points(difference: float) -> str:
    """Returns a difference between shares in points, with its sign: "+5.0"."""
    return f"{round_decimal(100 * difference):+}"


def format_value(value: object) -> str:
    """Returns a value for a reader: three significant digits, a dash for nothing."""
    is_missing = value is None or type(value).__name__ == "NAType"
    if is_missing:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    is_whole = value.is_integer() and abs(value) < 1e6
    return f"{value:.0f}" if is_whole else f"{value:.3g}"


def hyperparameter_label(name: str) -> str:
    """Returns what a hyperparameter is called on an axis: "learning rate" for "lr"."""
    return _HYPERPARAMETERS.get(name, name.replace("_", " "))


def describe_interpolation(alpha: float, slope: float) -> str:
    """Returns where a network lies between the baseline (0) and its training's end (1): "0.5", or "0 to 1" by layer."""
    return f"{alpha:g} to {alpha + slope:g}" if slope else f"{alpha:g}"


def describe_interpolations(front: pd.DataFrame) -> "pd.Series[Any]":
    """Returns where each network of a `study.fronts.front_table` lies, in words: "1", "0.5", "0 to 1"."""
    alphas = front["alpha"].astype(float)
    slopes = pd.Series(0.0, index=front.index)
    if "alpha_slope" in front:
        slopes = pd.to_numeric(front["alpha_slope"]).fillna(0.0)
    words = [describe_interpolation(alpha, slope) for alpha, slope in zip(alphas, slopes, strict=True)]
    return pd.Series(words, index=front.index, dtype="object")


ON_FRONT = "probability that no other network is at least as good on both datasets"
"""What a network's probability of being on the front is, wherever it is explained."""


INTERPOLATION_SENTENCE = (
    "A network at 0.5 lies half-way between the baseline (0) and its trial's end (1); at 0 to 1 its share of the "
    "trained weights grows from the first layer to the last."
)
"""What the names of interpolated networks mean, for where they first appear."""


def network_name(trial: int, strategy: str, alpha: float = 1.0, slope: float = 0.0, short: bool = False) -> str:
    """Returns what a network is called wherever one is named.

    Args:
        trial: The number of the trial that trained it.
        strategy: The trial's strategy.
        alpha: Where the first layer lies between the baseline's, 0, and that of the training's end, 1.
        slope: How much further the last layer lies; alpha 1 and slope 0 are the adapted network itself.
        short: Whether it stands in a column of a table: "FU 12 at 0.5".

    Returns:
        "trial 12 (FU)", of an interpolated network "trial 12 (FU) at alpha 0.5", by layer "… at alpha 0 to 1".
    """
    is_adapted = (alpha, slope) == (1, 0)
    where = describe_interpolation(alpha, slope)
    if short:
        name = f"{strategy} {trial}"
        return name if is_adapted else f"{name} at {where}"
    name = f"trial {trial} ({strategy})"
    return name if is_adapted else f"{name} at alpha {where}"


def row_name(network: Mapping[Any, Any] | pd.Series, short: bool = False) -> str:
    """Returns the name of a network by its row of `study.fronts.front_table`.

    Args:
        network: The row.
        short: Whether it stands in a column of a table.
    """
    slope = number(network.get("alpha_slope")) or 0.0
    return network_name(network["trial"], network["strategy"], network["alpha"], slope, short)


def candidate_name(network: Mapping[Any, Any] | pd.Series, short: bool = False) -> str:
    """Returns the name of a network by its row of `study.fronts.candidate_networks`.

    A row of a table of trials, which has no interpolation point, stands for the adapted network.

    Args:
        network: The row.
        short: Whether it stands in a column of a table.
    """
    alpha = network.get("search_alpha", 1.0)
    slope = network.get("search_slope", 0.0)
    return network_name(network["number"], network["strategy"] or "unknown", alpha, slope, short)


def confirmed_name(point: Mapping[Any, Any]) -> str:
    """Returns the name of a confirmed network: "FU 12 at 0.5", or that of a named strategy, "RE".

    Args:
        point: A row of a confirmation's results.
    """
    label, strategy, alpha = (str(point[name]) for name in ("name", "strategy", "alpha"))
    trial = label.removeprefix("trial ")
    name = label if trial == label else f"{strategy} {trial}"
    return name if alpha == "1" else f"{name} at {alpha}"


def p_value_text(p_value: float) -> str:
    """Returns a p-value with two significant digits: "0.50", "0.034", "0.0012", "< 0.001"."""
    if p_value < 0.001:
        return "< 0.001"
    decimals = 2
    while decimals < 4 and p_value < 10.0 ** (1 - decimals):
        decimals += 1
    return f"{p_value:.{decimals}f}"


def points_text(mean: float, low: float, high: float) -> str:
    """Returns "+5.0 [-3.0, +13.0]", a difference between shares in points with its interval.

    An interval that spans LEAST_SAYING says nothing, and "+0.0 [too few to tell]" says so.
    """
    interval = f"{format_points(low)}, {format_points(high)}"
    if high - low >= LEAST_SAYING:
        interval = TOO_FEW
    return f"{format_points(mean)} [{interval}]"


def interval_text(point: Row, domain: str) -> str:
    """Returns "61.2 [58.0, 64.1]", a confirmed point's test accuracy in per cent with its interval."""
    mean, low, high = (format_percent(point[f"{domain}_{name}"]) for name in ("test", "lower", "upper"))
    return f"{mean} [{low}, {high}]"


def file_interval_text(point: Row, domain: str) -> str:
    """Returns "61.2 [58.0, 64.1]", the test accuracy of the very network that is handed over; empty if not tested."""
    names = ("handed_over", "handed_over_lower", "handed_over_upper")
    values = [number(point.get(f"{domain}_{name}")) for name in names]
    if any(value is None for value in values):
        return ""
    mean, low, high = (format_percent(value) for value in values)
    return f"{mean} [{low}, {high}]"


def count_untested(record: StudyRecord, front: pd.DataFrame) -> int:
    """Returns how many networks of a front a confirmation did not test as they are now.

    A search that goes on after it finds others, and averages those of the front with further trainings.

    Args:
        record: The study's record.
        front: Of `study.fronts.front_table`.

    Returns:
        0 before a confirmation.
    """
    if not record.results.points:
        return 0
    # The baseline is always tested, also where it joined the front later.
    adapted = front[front["strategy"] != "BL"]
    return sum(record.results.find_point(network) is None for _, network in adapted.iterrows())


def find_changed(record: StudyRecord, front: pd.DataFrame) -> set[str]:
    """Returns the files of a front's networks that were tested, and average other trainings now.

    Args:
        record: The study's record.
        front: Of `study.fronts.front_table`.
    """
    networks = {network["model"]: network for network in front.to_dict("records")}
    tested = {point.get("model"): point for point in record.results.points}
    return {model for model, network in networks.items() if model in tested and has_changed(tested[model], network)}


def is_trained_again(point: Row) -> bool:
    """Returns whether a confirmation trained a network again; the baseline it did not."""
    return point.get("strategy") != "BL"


def tested_accuracy(point: Row, domain: str) -> float:
    """Returns the accuracy that `tested_text` shows, a share."""
    of_file = number(point.get(f"{domain}_handed_over"))
    return point[f"{domain}_test"] if of_file is None else of_file


def tested_text(point: Row, domain: str) -> str:
    """Returns a confirmed network's test accuracy: that of its file, where it was tested, else that of new trainings.

    Args:
        point: A row of a confirmation's results.
        domain: "source" or "target".
    """
    return file_interval_text(point, domain) or interval_text(point, domain)


def expected_text(network: Mapping[Any, Any] | pd.Series, domain: str) -> str:
    """Returns "61.2 [58.0, 64.1]", a network's expected accuracy in per cent with its 90 % interval.

    Args:
        network: A row of `study.fronts.front_table` with what is expected of the network.
        domain: "source" or "target".
    """
    mean, low, high = (format_percent(network[f"{domain}_{name}"]) for name in ("val", "lower", "upper"))
    return f"{mean} [{low}, {high}]"


def count_seeds(seeds: int) -> str:
    """Returns "1 seed", or "5 seeds"."""
    return count_of(seeds, "seed")


def count_of(number_of: int, noun: str, plural: str | None = None) -> str:
    """Returns a number with its noun: "1 seed", "1,200 images", "2 people".

    Args:
        number_of: How many.
        noun: What one is called.
        plural: What several are called; by default the noun with an s.
    """
    return f"1 {noun}" if number_of == 1 else f"{number_of:,} {plural or noun + 's'}"
