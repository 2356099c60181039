"""What is measured of a network's predictions, each measure defined once.

All functions take labels and predicted classes as int arrays (n,), and logits as float arrays (n, classes). What is
measured inside a network is in `fer.evaluation.similarity`.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, softmax


def accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the share of right predictions."""
    return float(np.mean(labels == predicted))


def per_class_recall(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Returns each expression's recall, shape (classes,); NaN where the split has no image of it."""
    right = np.bincount(labels[labels == predicted], minlength=classes).astype(float)
    count = np.bincount(labels, minlength=classes).astype(float)
    return np.divide(right, count, out=np.full(classes, np.nan), where=count > 0)


def unweighted_average_recall(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the unweighted average recall over the expressions present (macro recall)."""
    return float(np.nanmean(per_class_recall(labels, predicted, int(labels.max(initial=0)) + 1)))


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the mean F1 over the expressions that occur among the labels or the predictions."""
    # How many images of each expression there are, are predicted, and are recognised.
    highest = max(labels.max(initial=0), predicted.max(initial=0))
    classes = int(highest) + 1
    true = np.bincount(labels, minlength=classes)
    claimed = np.bincount(predicted, minlength=classes)
    right = np.bincount(labels[labels == predicted], minlength=classes)

    # F1 of each expression that occurs: the harmonic mean of right / true and right / claimed.
    occurs = true + claimed > 0
    f1 = 2 * right[occurs] / (true + claimed)[occurs]
    return float(np.mean(f1))


def retention(before: float, after: float) -> float:
    """Returns the share of the source accuracy that is left after adaptation."""
    return after / before if before else float("nan")


def retention_above_chance(before: float, after: float, chance: float) -> float:
    """Returns the share left of what the baseline had above chance; below 0 when it fell under chance.

    Args:
        before: The baseline's source accuracy.
        after: The adapted network's.
        chance: The accuracy of guessing, one over the number of expressions.
    """
    return (after - chance) / (before - chance) if before > chance else float("nan")


def negative_flips(labels: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Returns the share of images that were right before and are wrong after (Yan et al. 2021, arXiv 2011.09161).

    Args:
        labels: The true classes.
        before: The classes that the baseline predicts.
        after: The classes that the adapted network predicts.
    """
    return float(np.mean((before == labels) & (after != labels)))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Returns how many images of each expression (rows) were taken for which (columns), int (classes, classes)."""
    return np.bincount(classes * labels + predicted, minlength=classes * classes).reshape(classes, classes)


def confusion_matrices(labels: dict[str, np.ndarray], logits: dict[str, np.ndarray]) -> dict[str, list[list[int]]]:
    """Returns `confusion_matrix` of both domains' logits (n, classes), JSON-able, as records keep it."""
    matrices = {}
    for domain, truth in labels.items():
        classes = logits[domain].shape[1]
        matrices[domain] = confusion_matrix(truth, logits[domain].argmax(1), classes).tolist()
    return matrices


def per_class_retention(labels: np.ndarray, before: np.ndarray, after: np.ndarray, classes: int) -> np.ndarray:
    """Returns the share of each expression's recall that is left, (classes,); NaN where the baseline had none.

    Args:
        labels: The true classes.
        before: The classes that the baseline predicts.
        after: The classes that the adapted network predicts.
        classes: Number of expressions.
    """
    recall_before = per_class_recall(labels, before, classes)
    recall_after = per_class_recall(labels, after, classes)
    is_defined = np.nan_to_num(recall_before) > 0
    undefined = np.full(classes, np.nan)
    return np.divide(recall_after, recall_before, out=undefined, where=is_defined)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax (n, classes), in double precision."""
    return softmax(logits.astype(float), 1)


def calibration_error(labels: np.ndarray, logits: np.ndarray, bins: int = 15) -> float:
    """Returns the expected calibration error (Guo et al. 2017, arXiv 1706.04599).

    It is Σ n_b / n · |accuracy_b − confidence_b| over equally wide bins b of the largest probability. A bin includes
    its upper limit, not its lower one.

    Args:
        labels: The true classes (n,).
        logits: A network's logits (n, classes).
        bins: Number of bins.
    """
    shares = probabilities(logits)
    confidence = shares.max(1)
    is_right = shares.argmax(1) == labels
    bin_of_image = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)

    # n_b · (accuracy_b − confidence_b) is the sum of the differences of a bin's images.
    gaps = np.bincount(bin_of_image, is_right - confidence, bins)
    return float(np.abs(gaps).sum() / len(labels))


def drift(before: np.ndarray, after: np.ndarray) -> float:
    """Returns KL(p0 ‖ p1), the mean over images, in nats: forgetting seen without source data (arXiv 2509.04259).

    Args:
        before: The baseline's logits, of p0.
        after: The adapted network's logits, of p1.
    """
    log_before = log_softmax(before.astype(float), 1)
    log_after = log_softmax(after.astype(float), 1)
    return float(np.mean(np.sum(np.exp(log_before) * (log_before - log_after), 1)))


def forgetting(accuracies: Sequence[float]) -> float:
    """Returns the best earlier accuracy minus the last one (Chaudhry et al. 2018, arXiv 1801.10112); 0 of one alone.

    Args:
        accuracies: On the source, in order of time, the baseline's first.
    """
    if len(accuracies) < 2:
        return 0.0
    return max(accuracies[:-1]) - accuracies[-1]


def forward_transfer(before: float, untrained: float) -> float:
    """Returns what training on the source gives on the target before any adaptation.

    Args:
        before: The baseline's target accuracy.
        untrained: The target accuracy of an untrained network.
    """
    return before - untrained


def intransigence(fusion: float, after: float, target_passes: float) -> float:
    """Returns how far a network stays behind one that was trained on both datasets together, on the target.

    After Chaudhry et al. 2018 (arXiv 1801.10112), whose reference has seen all data. Here the reference is the study's
    own FU, on the same images: in the spaces `card` and `full` it has the network's budget, and half of its samples are
    the target's; in `paper` it is trained from scratch on both datasets together, for as many passes as the baseline.

    Args:
        fusion: The reference's target accuracy.
        after: The network's.
        target_passes: How often the reference drew each target image (`fer.config.AdaptationConfig.target_passes`).

    Returns:
        The difference of both accuracies; NaN where the reference saw less than one pass over the target, because such
        a network says nothing about what there was to learn.
    """
    saw_every_image = round(target_passes, 2) >= 1  # one pass is not always 1 to the last digit
    return fusion - after if saw_every_image else float("nan")


def evaluate(
    labels: dict[str, np.ndarray],
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
    expressions: Sequence[str],
) -> dict[str, float]:
    """Compares the adapted network with the baseline.

    Args:
        labels: For "source" and "target", the validation labels (n,).
        before: The baseline's logits (n, classes) on both.
        after: The adapted network's logits (n, classes) on both.
        expressions: The names of the classes.

    Returns:
        Flat measures by name; accuracies are source_val and target_val. What is not defined here (an expression
        without images, retention of a baseline at chance) is left out.
    """
    classes = len(expressions)
    measures: dict[str, float] = {}
    guess = {domain: logits.argmax(1) for domain, logits in after.items()}
    guess_before = {domain: logits.argmax(1) for domain, logits in before.items()}
    for domain, truth in labels.items():
        measures[f"{domain}_val"] = accuracy(truth, guess[domain])
        measures[f"{domain}_uar"] = unweighted_average_recall(truth, guess[domain])
        measures[f"{domain}_f1"] = macro_f1(truth, guess[domain])
        measures[f"{domain}_ece"] = calibration_error(truth, after[domain])

    # What the adaptation kept of the source and gained on the target.
    source_before = accuracy(labels["source"], guess_before["source"])
    target_before = accuracy(labels["target"], guess_before["target"])
    measures["retention"] = retention(source_before, measures["source_val"])
    measures["retention_above_chance"] = retention_above_chance(source_before, measures["source_val"], 1 / classes)
    measures["backward_transfer"] = measures["source_val"] - source_before
    measures["target_gain"] = measures["target_val"] - target_before
    measures["negative_flips"] = negative_flips(labels["source"], guess_before["source"], guess["source"])
    measures["target_drift"] = drift(before["target"], after["target"])

    # The same for each expression.
    retained = per_class_retention(labels["source"], guess_before["source"], guess["source"], classes)
    measures |= {f"retention_{name}": float(share) for name, share in zip(expressions, retained, strict=True)}
    for domain, truth in labels.items():
        for name, recall in zip(expressions, per_class_recall(truth, guess[domain], classes), strict=True):
            measures[f"{domain}_recall_{name}"] = float(recall)
    return {name: value for name, value in measures.items() if np.isfinite(value)}
