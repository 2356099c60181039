"""What test answers say: accuracies with intervals, differences from the baseline, and what cannot be told apart."""

from typing import Any

import numpy as np

from fer.expressions import EXPRESSIONS
from fer.intervals import holm, mcnemar, over_subjects, wilson
from fer.metrics import confusion, intransigence, measure, recalls
from fer.seeding import generator
from study.describe import SIDES, way


def judge(points: list[dict[str, Any]], subjects: dict[str, np.ndarray], seed: int, level: float) -> dict[str, Any]:
    """Judges networks by their answers on the test images.

    Args:
        points: The baseline first; each with its name, strategy, alpha, slope, model, front, for points of the front
            source_val and target_val, and right: for each domain bool (seeds, n). Also passed on: named, divisions.
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
        about = ("name", "named", "strategy", "front", "model", "divisions")
        row: dict[str, Any] = {name: point[name] for name in about if name in point}
        row |= {"alpha": way(point["alpha"], point["slope"]), "seeds": len(point["right"]["target"])}
        for domain in SIDES:
            right = point["right"][domain]
            rng = generator(seed, "bootstrap", point["name"], row["alpha"], domain)
            low, high = over_subjects(right, people[domain], rng, level)
            # Subjects that are all alike say nothing about others, nor does one network about other seeds.
            if len(right) == 1 or high - low < 1e-9:
                low, high = wilson(round(right.mean() * right.shape[1]), right.shape[1], level)
            # An interval by Student's t may reach beyond what an accuracy can be.
            low, high = max(0.0, low), min(1.0, high)
            row |= {f"{domain}_test": float(right.mean()), f"{domain}_lower": low, f"{domain}_upper": high}
            row[f"{domain}_p"] = against(before[domain][0], right)
            if f"{domain}_val" in point:
                row[f"{domain}_optimism"] = point[f"{domain}_val"] - row[f"{domain}_test"]
        judged.append(row)
    others = judged[1:]
    corrected = holm([row[f"{domain}_p"] for row in others for domain in SIDES])
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
        for domain in SIDES:
            gap = _gap(points[i]["right"][domain], points[j]["right"][domain])
            rng = generator(seed, "pairs", labels[i], labels[j], domain)
            low, high = over_subjects(gap, people[domain], rng, strict, repeats=1000)
            apart |= low > 0 or high < 0
        if not apart:
            alike[labels[i]].append(labels[j])
            alike[labels[j]].append(labels[i])
    return alike


def _gap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the difference of two networks' answers, seed by seed; a network that no seed changes is one row."""
    return one.astype(float) - other.astype(float)


def predicted(logits: np.ndarray) -> np.ndarray:
    """Returns the expressions (…) that logits (…, 7) stand for; -1, which is never right, where a training diverged."""
    return np.where(np.isfinite(logits).all(-1), np.argmax(logits, -1), -1)


def measured(points: list[dict[str, Any]], labels: dict[str, np.ndarray]) -> list[dict[str, float]]:
    """Returns for each point the measures of `fer.metrics` on the test images, means over seeds.

    Args:
        points: The baseline first; each with logits: for each domain (seeds, n, 7), NaN where a training diverged; a
            fusion also with target_passes, how often it drew each target image.
        labels: For each domain (n,).

    Returns:
        Flat dicts. What is undefined for a seed is left out of its mean; accuracies are told elsewhere, with intervals.
    """
    before = {domain: points[0]["logits"][domain][0] for domain in SIDES}
    fusion = [p for p in points if p.get("named", "").startswith("FU")][-1:]
    found = []
    for point in points:
        rows = []
        for seed in range(len(point["logits"]["target"])):
            after = {domain: point["logits"][domain][seed] for domain in SIDES}
            if all(np.isfinite(logits).all() for logits in after.values()):
                rows.append(measure(labels, before, after))
        names = dict.fromkeys(name for row in rows for name in row if not name.endswith("_val"))
        means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
        if fusion:
            reference, own = (float(p["right"]["target"].mean()) for p in (fusion[0], point))
            behind = intransigence(reference, own, fusion[0].get("target_passes", 0.0))
            means |= {"intransigence": behind} if np.isfinite(behind) else {}
        found.append(means)
    return found


def within(point: dict[str, Any], first: dict[str, Any], labels: dict[str, np.ndarray]) -> dict[str, Any]:
    """Returns what the report shows of one point beyond numbers in a row.

    confusion: for each domain, images of each expression (rows) taken for which (columns), and recall, means over
    seeds; cka: of each layer, and probe_change: ΔLP, the linear probe's accuracy on the source after − before, both of
    one training.
    """
    rows: dict[str, Any] = {"confusion": {}, "recall": {}}
    for domain in SIDES:
        guesses = predicted(point["logits"][domain])
        sound = guesses[(guesses >= 0).all(1)]
        tables = [confusion(labels[domain], guess) for guess in sound]
        if tables:
            rows["confusion"][domain] = np.mean(tables, 0).round(2).tolist()
            recall = np.mean([recalls(labels[domain], guess) for guess in sound], 0)
            rows["recall"][domain] = dict(zip(EXPRESSIONS, recall.tolist(), strict=True))
    if "cka" in point:
        rows["cka"] = [round(float(value), 4) for value in point["cka"]]
    if "probe" in point and "probe" in first:
        rows["probe_change"] = float(point["probe"] - first["probe"])
    return rows


PAIRS = (("FC", "RE"), ("FC+CL", "RE"), ("FU", "RE"), ("RE", "BL"))
"""Which named strategies are compared, seed by seed: what freezing and what fusion change, and what adapting does."""


def differences(
    points: list[dict[str, Any]], subjects: dict[str, np.ndarray], seed: int, level: float
) -> list[dict[str, Any]]:
    """Returns the paired differences of named strategies in test accuracy, with intervals over subjects and seeds.

    In the paper's space the strategies on the whole target training set are meant.
    """
    of_name = {p["named"].removesuffix(" 100 %"): p for p in points if p.get("named")}
    people = {domain: _people(numbers) for domain, numbers in subjects.items()}
    found = []
    for one, other in PAIRS:
        if one not in of_name or other not in of_name:
            continue
        row: dict[str, Any] = {"one": one, "other": other}
        for domain in SIDES:
            gap = _gap(of_name[one]["right"][domain], of_name[other]["right"][domain])
            low, high = over_subjects(gap, people[domain], generator(seed, "difference", one, other, domain), level)
            row |= {f"{domain}_mean": float(gap.mean()), f"{domain}_lower": low, f"{domain}_upper": high}
        found.append(row)
    return found


def interval_text(point: dict[str, Any], domain: str) -> str:
    """Returns "61.2 [58.0, 64.1]", in per cent."""
    mean, low, high = (100 * point[f"{domain}_{name}"] for name in ("test", "lower", "upper"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"
