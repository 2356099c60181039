"""Measures against scikit-learn and hand-computed cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from fer.evaluation import metrics
from fer.expressions import EXPRESSIONS, SEVEN

CHANCE = SEVEN.chance

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(PAIRS)
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label was found")
def test_accuracy_uar_and_f1_agree_with_scikit_learn(pairs):
    labels, predicted = np.array(pairs).T

    assert metrics.accuracy(labels, predicted) == pytest.approx(accuracy_score(labels, predicted))
    assert metrics.unweighted_average_recall(labels, predicted) == pytest.approx(
        balanced_accuracy_score(labels, predicted)
    )
    assert metrics.macro_f1(labels, predicted) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_retention_is_what_counting_by_hand_gives():
    assert metrics.retention(0.6, 0.45) == pytest.approx(0.75)
    assert metrics.retention_above_chance(0.6, CHANCE, CHANCE) == pytest.approx(0.0)
    assert metrics.retention_above_chance(0.6, 0.6, CHANCE) == pytest.approx(1.0)
    assert np.isnan(metrics.retention_above_chance(CHANCE, 0.5, CHANCE))


def test_negative_flips_by_hand():
    labels, before, after = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0]), np.array([0, 2, 1, 3])
    assert metrics.negative_flips(labels, before, after) == 0.5


def test_measures_of_an_unchanged_network():
    rng = np.random.default_rng(1)
    labels = {"source": np.arange(70) % 7, "target": np.zeros(5, int)}
    logits = {domain: rng.normal(size=(len(truth), 7)) for domain, truth in labels.items()}
    logits["source"][np.arange(40), labels["source"][:40]] += 9

    measures = metrics.evaluate(labels, logits, logits, EXPRESSIONS)

    assert measures["retention"] == measures["retention_above_chance"] == 1.0
    assert measures["target_drift"] == 0 and measures["retention_anger"] == 1.0
    assert measures["negative_flips"] == measures["backward_transfer"] == measures["target_gain"] == 0.0
    assert "target_recall_anger" in measures and "target_recall_fear" not in measures
    assert all(np.isfinite(value) for value in measures.values())


def test_confusion_agrees_with_scikit_learn():
    rng = np.random.default_rng(5)
    labels, predicted = rng.integers(0, 7, (2, 100))
    np.testing.assert_array_equal(
        metrics.confusion_matrix(labels, predicted, 7), confusion_matrix(labels, predicted, labels=range(7))
    )


def logits_of(*rows: dict[int, float]) -> np.ndarray:
    """Builds logits (n, 7) from probabilities of some expressions; the others share what is left."""
    shares = [[row.get(k, (1 - sum(row.values())) / (7 - len(row))) for k in range(7)] for row in rows]
    return np.log(np.array(shares))


def test_calibration_error_by_hand():
    # Confidences 0.9, 0.9 and 0.5; the first right, the second wrong, the third right: bins of two and of one image.
    logits = logits_of({0: 0.9}, {0: 0.9}, {1: 0.5})
    expected = 2 / 3 * abs(0.5 - 0.9) + 1 / 3 * abs(1 - 0.5)

    assert metrics.calibration_error(np.array([0, 3, 1]), logits) == pytest.approx(expected)
    assert metrics.calibration_error(np.array([2]), 1000 * np.eye(7)[[2]]) == 0


@given(st.integers(0, 1000))
def test_calibration_error_is_a_sum_over_bins(seed):
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.normal(size=(50, 7)), rng.integers(0, 7, 50)
    shares = softmax(logits, axis=1)
    sure, right = shares.max(1), shares.argmax(1) == labels
    found = 0.0
    for index in range(15):
        inside = (sure > index / 15) & (sure <= (index + 1) / 15)
        if inside.any():
            found += inside.mean() * abs(right[inside].mean() - sure[inside].mean())

    assert metrics.calibration_error(labels, logits) == pytest.approx(found)


def test_drift_is_the_divergence_from_the_baseline():
    rng = np.random.default_rng(2)
    before, after = rng.normal(size=(2, 30, 7))

    expected = entropy(softmax(before, axis=1), softmax(after, axis=1), axis=1).mean()

    assert metrics.drift(before, after) == pytest.approx(expected)
    assert metrics.drift(before, before + 3) == pytest.approx(0, abs=1e-12)  # logits have no absolute level
    assert metrics.drift(1e4 * before, after) < np.inf


def test_retained_recalls_by_hand():
    labels = np.array([0, 0, 1, 1, 2])
    before, after = np.array([0, 0, 1, 0, 0]), np.array([0, 1, 1, 1, 2])

    left = metrics.per_class_retention(labels, before, after, 7)

    assert left[:2].tolist() == [0.5, 2.0] and np.isnan(left[2:]).all()


def test_measures_over_time_by_hand():
    assert metrics.forgetting([0.6, 0.7, 0.5, 0.55]) == pytest.approx(0.15)
    assert metrics.forgetting([0.6, 0.7]) == pytest.approx(-0.1) and metrics.forgetting([0.6]) == 0
    assert metrics.forward_transfer(0.5, 0.2) == pytest.approx(0.3)


@pytest.mark.parametrize("passes", [1.0, 1 - 1e-12, 4.0])
def test_intransigence_is_what_is_missing_to_a_fusion_that_saw_every_target_image(passes):
    assert metrics.intransigence(0.8, 0.7, passes) == pytest.approx(0.1)
    assert metrics.intransigence(0.7, 0.8, passes) == pytest.approx(-0.1)


@pytest.mark.parametrize("passes", [0.0, 0.05, 0.5, 0.99])
def test_a_fusion_that_saw_less_than_one_pass_over_the_target_is_no_reference(passes):
    assert np.isnan(metrics.intransigence(0.8, 0.7, passes))
