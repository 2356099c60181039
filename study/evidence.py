"""What test answers say: accuracies with intervals, differences from the baseline, and what cannot be told apart."""

from typing import Any

import numpy as np

from fer.intervals import holm, mcnemar, over_subjects, wilson
from fer.seeding import generator

DOMAINS = ("source", "target")


def judge(points: list[dict[str, Any]], subjects: dict[str, np.ndarray], seed: int, level: float) -> dict[str, Any]:
    """Judges networks by their answers on the test images.

    Args:
        points: The baseline first; each with its name, strategy, alpha, slope, model, front, for points of the front
            source_val and target_val, and right: for each domain bool (seeds, n).
        subjects: For each domain whose image each is (n,), -1 where unknown.
        seed: Of the bootstrap.
        level: Of confidence.

    Returns:
        points: a flat dict each, with mean, lower and upper accuracy on both domains, p-values against the baseline
        (corrected by Holm over all comparisons) and, on the front, the optimism of validation over test;
        alike: for each point of the front the names of those it cannot be told from.
    """
    people = {domain: _people(numbers) for domain, numbers in subjects.items()}
    before = points[0]["right"]
    judged = []
    for point in points:
        way = f"{point['alpha']:g}" + (f" to {point['alpha'] + point['slope']:g}" if point["slope"] else "")
        row: dict[str, Any] = {name: point[name] for name in ("name", "strategy", "front", "model")} | {"alpha": way}
        for domain in DOMAINS:
            right = point["right"][domain]
            rng = generator(seed, "bootstrap", point["name"], way, domain)
            if len(right) > 1:
                low, high = over_subjects(right, people[domain], rng, level)
            else:
                low, high = wilson(int(right.sum()), right.shape[1], level)
            # An interval by Student's t may reach beyond what an accuracy can be.
            low, high = max(0.0, low), min(1.0, high)
            row |= {f"{domain}_test": float(right.mean()), f"{domain}_lower": low, f"{domain}_upper": high}
            row[f"{domain}_p"] = against(before[domain][0], right)
            if f"{domain}_val" in point:
                row[f"{domain}_optimism"] = point[f"{domain}_val"] - row[f"{domain}_test"]
        judged.append(row)
    others = judged[1:]
    corrected = holm([row[f"{domain}_p"] for row in others for domain in DOMAINS])
    for index, row in enumerate(others):
        row["source_p"], row["target_p"] = corrected[2 * index : 2 * index + 2]
    return {"points": judged, "alike": _alike([p for p in points if p["front"]], people, seed, level)}


def _people(subjects: np.ndarray) -> np.ndarray:
    """Returns subjects with each image of an unknown one as a subject of its own."""
    return np.where(subjects < 0, -1 - np.arange(len(subjects)), subjects)


def against(before: np.ndarray, right: np.ndarray) -> float:
    """Returns one p-value of several seeds (k, n) against the baseline (n,): twice the median of McNemar's.

    Twice the median is a valid combination of p-values however they depend on each other (Rüger 1978).
    """
    values = [mcnemar(before, row) for row in right]
    return values[0] if len(values) == 1 else min(1.0, 2 * float(np.median(values)))


def _alike(
    points: list[dict[str, Any]], people: dict[str, np.ndarray], seed: int, level: float
) -> dict[str, list[str]]:
    """Returns for each point which others it cannot be told from on either domain.

    Two are told apart where the interval of the paired difference excludes 0, corrected for the number of pairs and
    domains (Bonferroni).
    """
    pairs = [(i, j) for i in range(len(points)) for j in range(i)]
    strict = 1 - (1 - level) / max(1, 2 * len(pairs))
    labels = [point["model"] or point["name"] for point in points]
    alike: dict[str, list[str]] = {label: [] for label in labels}
    for i, j in pairs:
        apart = False
        for domain in DOMAINS:
            one, other = (points[k]["right"][domain].astype(float) for k in (i, j))
            seeds = min(len(one), len(other))
            rng = generator(seed, "pairs", labels[i], labels[j], domain)
            low, high = over_subjects(one[:seeds] - other[:seeds], people[domain], rng, strict, repeats=1000)
            apart |= low > 0 or high < 0
        if not apart:
            alike[labels[i]].append(labels[j])
            alike[labels[j]].append(labels[i])
    return alike


def interval_text(point: dict[str, Any], domain: str) -> str:
    """Returns "61.2 [58.0, 64.1]", in per cent."""
    mean, low, high = (100 * point[f"{domain}_{name}"] for name in ("test", "lower", "upper"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"
