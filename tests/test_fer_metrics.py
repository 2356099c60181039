"""Measures against scikit-learn and hand-computed cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from fer import metrics
from fer.expressions import CHANCE

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(PAIRS)
@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label was found")
def test_accuracy_uar_and_f1_agree_with_scikit_learn(pairs):
    labels, predicted = np.array(pairs).T
    assert metrics.accuracy(labels, predicted) == pytest.approx(accuracy_score(labels, predicted))
    assert metrics.uar(labels, predicted) == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert metrics.macro_f1(labels, predicted) == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_retention_by_hand():
    assert metrics.retention(0.6, 0.45) == pytest.approx(0.75)
    assert metrics.retention_above_chance(0.6, CHANCE) == pytest.approx(0.0)
    assert metrics.retention_above_chance(0.6, 0.6) == pytest.approx(1.0)
    assert np.isnan(metrics.retention_above_chance(CHANCE, 0.5))


def test_negative_flips_by_hand():
    labels, before, after = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0]), np.array([0, 2, 1, 3])
    assert metrics.negative_flips(labels, before, after) == 0.5


def test_measures_of_an_unchanged_network():
    rng = np.random.default_rng(1)
    labels = {"source": np.arange(70) % 7, "target": np.zeros(5, int)}
    logits = {domain: rng.normal(size=(len(truth), 7)) for domain, truth in labels.items()}
    logits["source"][np.arange(40), labels["source"][:40]] += 9
    measures = metrics.measure(labels, logits, logits)
    assert measures["retention"] == measures["retention_above_chance"] == 1.0
    assert measures["negative_flips"] == measures["backward_transfer"] == measures["target_gain"] == 0.0
    assert "target_recall_anger" in measures and "target_recall_fear" not in measures
    assert all(np.isfinite(value) for value in measures.values())
