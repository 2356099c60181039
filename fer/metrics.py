"""What is measured of a network's predictions, each measure defined once.

All take labels as int arrays (n,) and logits as float arrays (n, 7).
"""

import numpy as np

from fer.expressions import CHANCE, EXPRESSIONS


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the share of right predictions."""
    return float(np.mean(labels == predicted))


def recalls(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Returns each expression's recall, shape (7,); NaN where the split has no image of it."""
    right = np.bincount(labels[labels == predicted], minlength=len(EXPRESSIONS)).astype(float)
    count = np.bincount(labels, minlength=len(EXPRESSIONS)).astype(float)
    return np.divide(right, count, out=np.full(len(EXPRESSIONS), np.nan), where=count > 0)


def uar(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the unweighted average recall over the expressions present (macro recall)."""
    return float(np.nanmean(recalls(labels, predicted)))


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the mean F1 over the expressions that occur among the labels or the predictions."""
    size = len(EXPRESSIONS)
    right = np.bincount(labels[labels == predicted], minlength=size)
    both = np.bincount(labels, minlength=size) + np.bincount(predicted, minlength=size)
    return float(np.mean(2 * right[both > 0] / both[both > 0]))


def retention(before: float, after: float) -> float:
    """Returns the share of the source accuracy that is left after adaptation."""
    return after / before if before else float("nan")


def retention_above_chance(before: float, after: float) -> float:
    """Returns the share left of what the baseline had above chance; below 0 when it fell under chance."""
    return (after - CHANCE) / (before - CHANCE) if before > CHANCE else float("nan")


def negative_flips(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Returns the share of images that were right before and are wrong after (Yan et al. 2021, arXiv 2011.09161)."""
    return float(np.mean((before == labels) & (after != labels)))


def measure(
    labels: dict[str, np.ndarray], before: dict[str, np.ndarray], after: dict[str, np.ndarray]
) -> dict[str, float]:
    """Compares the adapted network with the baseline.

    Args:
        labels: For "source" and "target", the validation labels (n,).
        before: The baseline's logits (n, 7) on both.
        after: The adapted network's logits (n, 7) on both.

    Returns:
        Flat measures by name; accuracies are source_val and target_val. What is not defined here (an expression
        without images, retention of a baseline at chance) is left out.
    """
    measures: dict[str, float] = {}
    guess = {domain: logits.argmax(1) for domain, logits in after.items()}
    guess_before = {domain: logits.argmax(1) for domain, logits in before.items()}
    for domain, truth in labels.items():
        measures[f"{domain}_val"] = accuracy(truth, guess[domain])
        measures[f"{domain}_uar"] = uar(truth, guess[domain])
        measures[f"{domain}_f1"] = macro_f1(truth, guess[domain])
    kept = accuracy(labels["source"], guess_before["source"]), measures["source_val"]
    gained = accuracy(labels["target"], guess_before["target"]), measures["target_val"]
    measures["retention"] = retention(*kept)
    measures["retention_above_chance"] = retention_above_chance(*kept)
    measures["backward_transfer"] = kept[1] - kept[0]
    measures["target_gain"] = gained[1] - gained[0]
    measures["negative_flips"] = negative_flips(labels["source"], guess_before["source"], guess["source"])
    for domain, truth in labels.items():
        for name, recall in zip(EXPRESSIONS, recalls(truth, guess[domain]), strict=True):
            measures[f"{domain}_recall_{name}"] = float(recall)
    return {name: value for name, value in measures.items() if np.isfinite(value)}
