"""What test answers say: accuracies with intervals, differences from the baseline, and which are significant."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fer.evaluation.intervals import Estimate, estimate, holm, one_per_image
from fer.evaluation.metrics import confusion_matrix, evaluate, intransigence, per_class_recall
from study.confirmation.points import ConfirmedPoint
from study.confirmed_results import (
    ConfirmationResults,
    ConfirmedRow,
    DifferenceFigures,
    DomainFigures,
    StrategyDifference,
)
from study.record import DOMAINS
from study.reporting.wording import describe_interpolation

Subjects = Mapping[str, np.ndarray]
"""For each domain whose image each is (n,)."""


def judge_points(points: Sequence[ConfirmedPoint], subjects: Subjects, level: float) -> ConfirmationResults:
    """Judges networks by their answers on the test images.

    Args:
        points: The baseline first.
        subjects: For each domain whose image each is (n,), -1 where unknown.
        level: Of confidence.

    Returns:
        What these answers say of each network and of all together; measures, class results and differences of named
        strategies are left to others.
    """
    people = {domain: one_per_image(numbers) for domain, numbers in subjects.items()}
    baseline, *others = points
    comparisons = len(others) * len(DOMAINS)
    strict = 1 - (1 - level) / max(1, comparisons)

    # Each point alone, then its change from the baseline, which is not compared with itself.
    figures = [_accuracies(point, people, level) for point in points]
    p_values: list[float] = []
    for point, point_figures in zip(others, figures[1:], strict=True):
        for domain in DOMAINS:
            change = _difference(point, baseline, domain, people)
            point_figures[domain] = _with_change(point_figures[domain], change, level, strict)
            p_values.append(change.p_value)

    # p-values corrected over all points and domains.
    corrected = iter(holm(p_values))
    for point_figures in figures[1:]:
        for domain in DOMAINS:
            point_figures[domain] = replace(point_figures[domain], p=next(corrected))

    alike, pairs = _compare_pairs([point for point in points if point.front], people, level)
    return ConfirmationResults(
        points=tuple(_row(point, own_figures) for point, own_figures in zip(points, figures, strict=True)),
        alike=alike,
        pairs=pairs,
        tested={domain: _counts(numbers) for domain, numbers in subjects.items()},
        comparisons=comparisons,
        level=level,
    )


def _counts(subjects: np.ndarray) -> dict[str, int | None]:
    """Returns how many images and how many people a test set has; people is None where some are unknown."""
    unknown = bool((subjects < 0).any())
    return {"images": len(subjects), "people": None if unknown else len(np.unique(subjects))}


def _accuracies(point: ConfirmedPoint, people: Subjects, level: float) -> dict[str, DomainFigures]:
    """Returns a point's test accuracies with their intervals, and the optimism of its validation accuracies."""
    figures = {}
    for domain in DOMAINS:
        accuracy = estimate(point.right[domain], people[domain])
        low, high = accuracy.interval_of_share(level)
        optimism = point.validation[domain] - accuracy.mean if domain in point.validation else None
        figures[domain] = DomainFigures(test=accuracy.mean, lower=low, upper=high, optimism=optimism)
    return figures


def _with_change(figures: DomainFigures, change: Estimate, level: float, strict: float) -> DomainFigures:
    """Returns a point's figures with by how much it differs from the baseline, image by image, and how sure that is.

    Args:
        figures: Of the point.
        change: From the baseline.
        level: Of the interval.
        strict: One minus the level of significance that Bonferroni leaves to each of all comparisons.
    """
    low, high = change.interval_of_difference(level)
    return replace(
        figures,
        change=change.mean,
        change_lower=low,
        change_upper=high,
        p_alone=change.p_value,
        detectable=min(1.0, change.detectable(strict)),
    )


def _row(point: ConfirmedPoint, figures: Mapping[str, DomainFigures]) -> ConfirmedRow:
    """Returns a point with its figures by domain."""
    return ConfirmedRow(
        name=point.name,
        named=point.named,
        strategy=point.strategy,
        front=point.front,
        model=point.model,
        alpha=describe_interpolation(point.alpha, point.slope),
        seeds=point.seeds,
        averaged=point.averaged,
        divisions=point.divisions,
        figures=figures,
    )


def _compare_pairs(
    points: Sequence[ConfirmedPoint], people: Subjects, level: float
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """Returns for each point which others do not differ significantly from it, and what the tests would find.

    Two differ significantly where the p-value of the paired difference is small enough on one domain, corrected for the
    number of pairs and domains (Bonferroni).
    """
    alike: dict[str, list[str]] = {point.label: [] for point in points}
    pairs = [(first, second) for index, first in enumerate(points) for second in points[:index]]
    allowed = (1 - level) / max(1, len(pairs) * len(DOMAINS))
    detectable: dict[str, list[float]] = {domain: [] for domain in DOMAINS}
    for first, second in pairs:
        differ = False
        for domain in DOMAINS:
            difference = _difference(first, second, domain, people)
            differ |= difference.p_value < allowed
            detectable[domain].append(min(1.0, difference.detectable(1 - allowed)))
        if not differ:
            alike[first.label].append(second.label)
            alike[second.label].append(first.label)

    medians = {domain: float(np.median(values)) for domain, values in detectable.items() if values}
    return alike, {"count": len(pairs), "detectable": medians}


def _difference(first: ConfirmedPoint, second: ConfirmedPoint, domain: str, people: Subjects) -> Estimate:
    """Estimates by how much the first network is more accurate than the second, image by image and seed by seed.

    A network that no seed changes has one row, which is compared with each seed of the other.
    """
    gap = first.right[domain].astype(float) - second.right[domain].astype(float)
    return estimate(gap, people[domain])


def predicted_expressions(logits: np.ndarray) -> np.ndarray:
    """Returns the expressions (…) that logits (…, classes) stand for; -1, never right, where a training diverged."""
    return np.where(np.isfinite(logits).all(-1), np.argmax(logits, -1), -1)


def measures_on_test(
    points: Sequence[ConfirmedPoint], labels: dict[str, np.ndarray], expressions: Sequence[str]
) -> list[dict[str, float]]:
    """Returns for each point the measures of `fer.evaluation.metrics` on the test images, means over seeds.

    Args:
        points: The baseline first.
        labels: For each domain (n,).
        expressions: What the labels are indices of.

    Returns:
        Flat dicts. What is undefined for a seed is left out of its mean; accuracies stand elsewhere, with intervals.
    """
    baseline_logits = {domain: points[0].logits[domain][0] for domain in DOMAINS}
    # Of the paper's two fusions, on half and on all of the target, the one on all.
    fusion = next((point for point in points if point.reference_name == "FU"), None)
    all_means = []
    for point in points:
        means = _mean_measures(point, baseline_logits, labels, expressions)
        if fusion is not None:
            reference_accuracy = float(fusion.right["target"].mean())
            accuracy = float(point.right["target"].mean())
            behind = intransigence(reference_accuracy, accuracy, fusion.target_passes)
            if np.isfinite(behind):
                means["intransigence"] = behind
        all_means.append(means)
    return all_means


def _mean_measures(
    point: ConfirmedPoint,
    baseline_logits: dict[str, np.ndarray],
    labels: dict[str, np.ndarray],
    expressions: Sequence[str],
) -> dict[str, float]:
    """Returns the measures of one point, each the mean over the seeds for which it is defined."""
    rows = []
    for seed in range(len(point.logits["target"])):
        logits = {domain: point.logits[domain][seed] for domain in DOMAINS}
        if all(np.isfinite(values).all() for values in logits.values()):
            rows.append(evaluate(labels, baseline_logits, logits, expressions))

    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if not name.endswith("_val"):
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(of_seeds)) for name, of_seeds in values.items()}


def per_class_results(
    point: ConfirmedPoint, baseline: ConfirmedPoint, labels: dict[str, np.ndarray], expressions: Sequence[str]
) -> dict[str, Any]:
    """Returns what the report shows of one point beyond numbers in a row.

    Args:
        point: With logits.
        baseline: With which it is compared.
        labels: For each domain (n,).
        expressions: What the labels are indices of.

    Returns:
        confusion: For each domain, images of each expression (rows) taken for which (columns), mean over seeds.
        recall: For each domain, of each expression, mean over seeds.
        cka: Of each block, of one training.
        probe_change: ΔLP, the linear probe's accuracy on the source after − before, of one training.
    """
    classes = len(expressions)
    results: dict[str, Any] = {"confusion": {}, "recall": {}}
    for domain in DOMAINS:
        predictions = predicted_expressions(point.logits[domain])
        converged = predictions[(predictions >= 0).all(1)]
        if not len(converged):
            continue
        matrices = [confusion_matrix(labels[domain], predicted, classes) for predicted in converged]
        results["confusion"][domain] = np.mean(matrices, 0).round(2).tolist()
        recall = np.mean([per_class_recall(labels[domain], predicted, classes) for predicted in converged], 0)
        results["recall"][domain] = dict(zip(expressions, recall.tolist(), strict=True))

    if point.cka is not None:
        results["cka"] = [round(float(value), 4) for value in point.cka]
    if point.probe is not None and baseline.probe is not None:
        results["probe_change"] = point.probe - baseline.probe
    return results


PAIRS = (("FC", "RE"), ("FC+CL", "RE"), ("FU", "RE"))
"""Which named strategies are compared, seed by seed: what freezing and what fusion change. What adapting changes, a
strategy against the baseline, is among the points' changes, which have a correction of their own."""


def strategy_differences(
    points: Sequence[ConfirmedPoint], subjects: Subjects, level: float
) -> list[StrategyDifference]:
    """Returns the paired differences of named strategies in test accuracy.

    In the paper's space the strategies on all of the target's training set are meant. Intervals and p-values are
    corrected for all comparisons of the list together (Bonferroni), so that an interval excludes 0 exactly where p is
    below 1 - level.

    Args:
        points: The baseline first.
        subjects: For each domain whose image each is (n,), -1 where unknown.
        level: Of confidence.
    """
    named = {point.reference_name: point for point in points if point.named}
    people = {domain: one_per_image(numbers) for domain, numbers in subjects.items()}
    compared = [(first, second) for first, second in PAIRS if first in named and second in named]
    comparisons = max(1, len(compared) * len(DOMAINS))
    strict = 1 - (1 - level) / comparisons

    differences = []
    for first, second in compared:
        figures = {}
        for domain in DOMAINS:
            difference = _difference(named[first], named[second], domain, people)
            low, high = difference.interval_of_difference(strict)
            figures[domain] = DifferenceFigures(
                mean=difference.mean,
                lower=low,
                upper=high,
                p_alone=difference.p_value,
                p=min(1.0, comparisons * difference.p_value),
                detectable=min(1.0, difference.detectable(strict)),
            )
        differences.append(StrategyDifference(first, second, figures))
    return differences
