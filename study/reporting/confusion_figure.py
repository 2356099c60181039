"""What the figure of confusion matrices shows: the baseline beside the recommended network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from study.fronts import find_recommended, front_table
from study.record import DOMAINS, StudyRecord
from study.reporting.wording import dataset_label, row_name
from study.trial_attributes import TrialAttributes
from study.trials import model_file


@dataclass(frozen=True)
class ConfusionPanel:
    """One network's confusion matrix on one domain.

    Attributes:
        title: Of the network.
        dataset: The dataset's printed name.
        counts: Images of each expression (rows) that the network took for each (columns), mean over seeds (classes,
            classes).
        expressions: Their names.
    """

    title: str
    dataset: str
    counts: np.ndarray
    expressions: tuple[str, ...]

    @property
    def percent(self) -> np.ndarray:
        """Per cent of each expression's images (classes, classes); NaN where it has none."""
        images = self.counts.sum(axis=1, keepdims=True)
        return 100 * np.divide(self.counts, images, out=np.full_like(self.counts, np.nan), where=images > 0)


@dataclass(frozen=True)
class ConfusionFigure:
    """The confusion matrices of two networks.

    Attributes:
        rows: The baseline's and the recommended network's panel, for each domain.
        images: "test" or "validation".
        network: The recommended network's name.
    """

    rows: list[tuple[ConfusionPanel, ConfusionPanel]]
    images: str
    network: str


def build_confusion_figure(
    record: StudyRecord, table: pd.DataFrame, trials: list[FrozenTrial]
) -> ConfusionFigure | None:
    """Returns the confusion matrices of the baseline and of the recommended network.

    They are those on test images where the network was confirmed, else those on validation images; None where both
    networks' matrices on the same images are not known: a trial stores those of its adapted network and of its fold.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        trials: The Optuna trials themselves.
    """
    network = find_recommended(front_table(table))
    if network is None:
        return None
    images = "test"
    matrices = _tested_matrices(record, network["model"])
    if matrices is None:
        images = "validation"
        matrices = _validated_matrices(record, network, trials)
    if matrices is None:
        return None

    baseline, recommended = matrices
    names = record.expressions.names
    rows = []
    for domain in DOMAINS:
        label = dataset_label(record, domain)
        before = _as_counts(baseline.get(domain), len(names))
        after = _as_counts(recommended.get(domain), len(names))
        if before is None or after is None or not np.allclose(before.sum(axis=1), after.sum(axis=1), atol=0.1):
            continue
        panels = (
            ConfusionPanel("Baseline", label, before, names),
            ConfusionPanel("Recommended", label, after, names),
        )
        rows.append(panels)
    return ConfusionFigure(rows, images, row_name(network)) if rows else None


def _tested_matrices(record: StudyRecord, model: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Returns the baseline's and a network's matrices on test images by domain, None where it was not confirmed."""
    results = record.results
    for point, details in results.pair_with_class_results():
        if point.get("model") == model and details.get("confusion"):
            # The first point is the baseline.
            return results.class_results[0].get("confusion") or {}, details["confusion"]
    return None


def _validated_matrices(
    record: StudyRecord, network: pd.Series, trials: list[FrozenTrial]
) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Returns the baseline's and a network's matrices on validation images by domain, None where none are stored."""
    is_adapted = network["model"] == model_file(network["trial"])
    if not is_adapted:
        return None
    for trial in trials:
        if trial.number == network["trial"]:
            confusion = TrialAttributes.of(trial).confusion
            return (record.baseline.confusion, confusion) if confusion else None
    return None


def _as_counts(stored: object, classes: int) -> np.ndarray | None:
    """Returns a stored matrix as floats (classes, classes), None for anything else."""
    if not isinstance(stored, list):
        return None
    try:
        counts = np.array(stored, dtype=float)
    except (TypeError, ValueError):
        return None
    is_matrix = counts.shape == (classes, classes) and bool(np.isfinite(counts).all())
    return counts if is_matrix else None
