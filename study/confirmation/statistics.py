"""What test answers say: accuracies with intervals, differences from the baseline, and which are significant."""

from typing import Any

import numpy as np

from fer.evaluation.intervals import estimate, holm, one_per_image
from fer.evaluation.metrics import confusion_matrix, evaluate, intransigence, per_class_recall
from fer.expressions import EXPRESSIONS
from study.record import DOMAINS
from study.reporting.wording import describe_interpolation


def judge_points(points: list[dict[str, Any]], subjects: dict[str, np.ndarray], level: float) -> dict[str, Any]:
    """Judges networks by their answers on the test images.

    Args:
        points: The baseline first; each with its name, strategy, alpha, slope, model, front, for points of the front
            source_val and target_val, and right: for each domain bool (seeds, n). Also passed on: named, divisions.
        subjects: For each domain whose image each is (n,), -1 where unknown.
        level: Of confidence.

    Returns:
        points: A flat dict each. For both domains: mean, lower and upper test accuracy; but for the baseline the mean,
            lower and upper change from it, the p-value of that change alone (p_alone) and corrected by Holm over all
            comparisons (p), and the true change that the corrected test would find four times in five (detectable); on
            the front, the optimism of validation over test.
        alike: For each point of the front, the names of those that do not differ significantly from it on either
            domain.
        pairs: How many pairs of the front were compared, and for each domain the median of the true differences that
            these tests would find four times in five (detectable).
        tested: For each domain the images and people of the test set; people is None where nobody knows them.
        comparisons: How many p-values Holm's correction is over.
        level: Of confidence.
    """
    people = {domain: one_per_image(numbers) for domain, numbers in subjects.items()}
    before, others = points[0], points[1:]
    comparisons = len(others) * len(DOMAINS)
    strict = 1 - (1 - level) / max(1, comparisons)

    rows = [_accuracies(point, people, level) for point in points]
    for row, point in zip(rows[1:], others, strict=True):
        row |= _changes(point, before, people, level, strict)

    # The baseline is not compared with itself.
    rows[0] |= {f"{domain}_p": 1.0 for domain in DOMAINS}
    corrected = iter(holm([row[f"{domain}_p_alone"] for row in rows[1:] for domain in DOMAINS]))
    for row in rows[1:]:
        row |= {f"{domain}_p": next(corrected) for domain in DOMAINS}

    alike, pairs = _compare_pairs([point for point in points if point["front"]], people, level)
    return {
        "points": rows,
        "alike": alike,
        "pairs": pairs,
        "tested": {domain: _counts(numbers) for domain, numbers in subjects.items()},
        "comparisons": comparisons,
        "level": level,
    }


def _counts(subjects: np.ndarray) -> dict[str, int | None]:
    """Returns how many images and how many people a test set has; people is None where some are unknown."""
    unknown = bool((subjects < 0).any())
    return {"images": len(subjects), "people": None if unknown else len(np.unique(subjects))}


def _accuracies(point: dict[str, Any], people: dict[str, np.ndarray], level: float) -> dict[str, Any]:
    """Returns what is known of one point, and its test accuracies with their intervals."""
    about = ("name", "named", "strategy", "front", "model", "divisions")
    row: dict[str, Any] = {name: point[name] for name in about if name in point}
    row |= {"alpha": describe_interpolation(point["alpha"], point["slope"]), "seeds": len(point["right"]["target"])}
    for domain in DOMAINS:
        found = estimate(point["right"][domain], people[domain])
        low, high = found.interval_of_share(level)
        row |= {f"{domain}_test": found.mean, f"{domain}_lower": low, f"{domain}_upper": high}
        if f"{domain}_val" in point:
            row[f"{domain}_optimism"] = point[f"{domain}_val"] - found.mean
    return row


def _changes(
    point: dict[str, Any], before: dict[str, Any], people: dict[str, np.ndarray], level: float, strict: float
) -> dict[str, float]:
    """Returns by how much a point differs from the baseline, image by image, and how sure that is.

    Args:
        point: Compared with the baseline.
        before: The baseline.
        people: For each domain whose image each is (n,).
        level: Of the interval.
        strict: One minus the level of significance that Bonferroni leaves to each of all comparisons.
    """
    row: dict[str, float] = {}
    for domain in DOMAINS:
        found = estimate(_gap(point["right"][domain], before["right"][domain]), people[domain])
        low, high = found.interval_of_difference(level)
        row |= {f"{domain}_change": found.mean, f"{domain}_change_lower": low, f"{domain}_change_upper": high}
        row |= {f"{domain}_p_alone": found.p_value, f"{domain}_detectable": min(1.0, found.detectable(strict))}
    return row


def _compare_pairs(
    points: list[dict[str, Any]], people: dict[str, np.ndarray], level: float
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Returns for each point which others do not differ significantly from it, and what the tests would find.

    Two differ significantly where the p-value of the paired difference is small enough on one domain, corrected for the
    number of pairs and domains (Bonferroni).
    """
    labels = [point["model"] or point["name"] for point in points]
    alike: dict[str, list[str]] = {label: [] for label in labels}
    pairs = [(i, j) for i in range(len(points)) for j in range(i)]
    allowed = (1 - level) / max(1, len(pairs) * len(DOMAINS))
    detectable: dict[str, list[float]] = {domain: [] for domain in DOMAINS}
    for i, j in pairs:
        differ = False
        for domain in DOMAINS:
            found = estimate(_gap(points[i]["right"][domain], points[j]["right"][domain]), people[domain])
            differ |= found.p_value < allowed
            detectable[domain].append(min(1.0, found.detectable(1 - allowed)))
        if not differ:
            alike[labels[i]].append(labels[j])
            alike[labels[j]].append(labels[i])
    medians = {domain: float(np.median(values)) for domain, values in detectable.items() if values}
    return alike, {"count": len(pairs), "detectable": medians}


def _gap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the difference of two networks' answers, seed by seed; a network that no seed changes is one row."""
    return one.astype(float) - other.astype(float)


def predicted_expressions(logits: np.ndarray) -> np.ndarray:
    """Returns the expressions (…) that logits (…, 7) stand for; -1, which is never right, where a training diverged."""
    return np.where(np.isfinite(logits).all(-1), np.argmax(logits, -1), -1)


def measures_on_test(points: list[dict[str, Any]], labels: dict[str, np.ndarray]) -> list[dict[str, float]]:
    """Returns for each point the measures of `fer.evaluation.metrics` on the test images, means over seeds.

    Args:
        points: The baseline first; each with logits: for each domain (seeds, n, 7), NaN where a training diverged; a
            fusion also with target_passes, how often it drew each target image.
        labels: For each domain (n,).

    Returns:
        Flat dicts. What is undefined for a seed is left out of its mean; accuracies are told elsewhere, with intervals.
    """
    before = {domain: points[0]["logits"][domain][0] for domain in DOMAINS}
    # Of the paper's two, on half and on all of the target, the one on all.
    fusions = [p for p in points if p.get("named", "").removesuffix(" 100 %") == "FU"]
    found = []
    for point in points:
        rows = []
        for seed in range(len(point["logits"]["target"])):
            after = {domain: point["logits"][domain][seed] for domain in DOMAINS}
            if all(np.isfinite(logits).all() for logits in after.values()):
                rows.append(evaluate(labels, before, after))
        names = dict.fromkeys(name for row in rows for name in row if not name.endswith("_val"))
        means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
        if fusions:
            reference, own = (float(p["right"]["target"].mean()) for p in (fusions[0], point))
            behind = intransigence(reference, own, fusions[0].get("target_passes", 0.0))
            means |= {"intransigence": behind} if np.isfinite(behind) else {}
        found.append(means)
    return found


def per_class_results(point: dict[str, Any], first: dict[str, Any], labels: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns what the report shows of one point beyond numbers in a row.

    confusion: for each domain, images of each expression (rows) taken for which (columns), and recall, means over
    seeds; cka: of each layer, and probe_change: ΔLP, the linear probe's accuracy on the source after − before, both of
    one training.
    """
    rows: dict[str, Any] = {"confusion": {}, "recall": {}}
    for domain in DOMAINS:
        guesses = predicted_expressions(point["logits"][domain])
        sound = guesses[(guesses >= 0).all(1)]
        tables = [confusion_matrix(labels[domain], guess) for guess in sound]
        if tables:
            rows["confusion"][domain] = np.mean(tables, 0).round(2).tolist()
            recall = np.mean([per_class_recall(labels[domain], guess) for guess in sound], 0)
            rows["recall"][domain] = dict(zip(EXPRESSIONS, recall.tolist(), strict=True))
    if "cka" in point:
        rows["cka"] = [round(float(value), 4) for value in point["cka"]]
    if "probe" in point and "probe" in first:
        rows["probe_change"] = float(point["probe"] - first["probe"])
    return rows


PAIRS = (("FC", "RE"), ("FC+CL", "RE"), ("FU", "RE"), ("RE", "BL"))
"""Which named strategies are compared, seed by seed: what freezing and what fusion change, and what adapting does."""


def strategy_differences(
    points: list[dict[str, Any]], subjects: dict[str, np.ndarray], level: float
) -> list[dict[str, Any]]:
    """Returns the paired differences of named strategies in test accuracy.

    In the paper's space the strategies on the whole target training set are meant.

    Returns:
        Flat dicts: one, other, and for both domains the mean difference, its lower and upper end, its p-value alone
        (p_alone) and corrected (p), and the true difference that the corrected test would find four times in five
        (detectable). Intervals and p-values are corrected for all comparisons of the list together (Bonferroni), so
        that an interval excludes 0 exactly where p is below 1 - level.
    """
    of_name = {p["named"].removesuffix(" 100 %"): p for p in points if p.get("named")}
    people = {domain: one_per_image(numbers) for domain, numbers in subjects.items()}
    compared = [(one, other) for one, other in PAIRS if one in of_name and other in of_name]
    comparisons = max(1, len(compared) * len(DOMAINS))
    strict = 1 - (1 - level) / comparisons
    found = []
    for one, other in compared:
        row: dict[str, Any] = {"one": one, "other": other}
        for domain in DOMAINS:
            difference = estimate(_gap(of_name[one]["right"][domain], of_name[other]["right"][domain]), people[domain])
            low, high = difference.interval_of_difference(strict)
            row |= {f"{domain}_mean": difference.mean, f"{domain}_lower": low, f"{domain}_upper": high}
            row |= {f"{domain}_p_alone": difference.p_value, f"{domain}_p": min(1.0, comparisons * difference.p_value)}
            row[f"{domain}_detectable"] = min(1.0, difference.detectable(strict))
        found.append(row)
    return found
