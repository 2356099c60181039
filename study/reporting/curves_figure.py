"""What the figure of training curves shows: the recommended network's training, and those of the front's trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from optuna.trial import FrozenTrial

from study.fronts import find_recommended, front_table
from study.record import StudyRecord, number
from study.reporting.wording import dataset_label
from study.trial_attributes import TrialAttributes
from study.tuning.plan import SearchPlan


@dataclass(frozen=True)
class TrainingCurve:
    """What was measured while one trial was trained.

    Attributes:
        trial: The trial's number.
        strategy: Its strategy.
        passes: Passes over the target's training images (n,) at which it was measured; 0 is the baseline.
        loss: Loss on training images (n,); NaN where it was not measured.
        source: Source accuracy on validation images in per cent (n,), NaN where it was not measured.
        target: Target accuracy likewise.
    """

    trial: int
    strategy: str
    passes: np.ndarray
    loss: np.ndarray
    source: np.ndarray
    target: np.ndarray


@dataclass(frozen=True)
class CurvesFigure:
    """The curves of the front's trials.

    Attributes:
        recommended: Of the trial of the recommended network; None where nothing is recommended, or it has no curve.
        others: Of the front's other trials.
        datasets: Printed names of source and target.
    """

    recommended: TrainingCurve | None
    others: list[TrainingCurve]
    datasets: tuple[str, str]


def build_curves_figure(record: StudyRecord, table: pd.DataFrame, trials: list[FrozenTrial]) -> CurvesFigure | None:
    """Returns the curves of the front's trials, None where none was measured more than once.

    Args:
        record: The study's record.
        table: Trials, of `study.trials.trials_table`.
        trials: The Optuna trials themselves, whose curves no table has.
    """
    front = front_table(table)
    network = find_recommended(front)
    recommended_trial = None if network is None else int(network["trial"])
    on_front = {int(trial) for trial in front["trial"]}

    plan = SearchPlan.of(record)
    recommended = None
    others = []
    for trial in trials:
        if trial.number not in on_front:
            continue
        curve = _read_curve(trial, _baseline_before(record, plan, trial))
        if curve is None:
            continue
        if trial.number == recommended_trial:
            recommended = curve
        else:
            others.append(curve)
    if recommended is None and not others:
        return None
    return CurvesFigure(recommended, others, (dataset_label(record, "source"), dataset_label(record, "target")))


def _baseline_before(record: StudyRecord, plan: SearchPlan, trial: FrozenTrial) -> Mapping[str, object]:
    """Returns the first point of a trial's curve: the baseline on the images by which the trial was judged."""
    target = record.baseline.target_val
    fold = TrialAttributes.of(trial).fold or 0
    if plan.images is not None:
        target = number(plan.baseline_at(fold))
    return {"epoch": 0.0, "source_val": record.baseline.source_val, "target_val": target}


def _read_curve(trial: FrozenTrial, baseline: Mapping[str, object]) -> TrainingCurve | None:
    """Returns a trial's curve, None where it has fewer than two points.

    Args:
        trial: The trial.
        baseline: Its first point, of `_baseline_before`.
    """
    attributes = TrialAttributes.of(trial)
    stored: list[Mapping[str, object]] = [point for point in attributes.curve or [] if isinstance(point, Mapping)]
    points = [point for point in stored if number(point.get("epoch")) is not None]
    if len(points) < 2:
        return None
    points = [baseline, *points]
    return TrainingCurve(
        trial=trial.number,
        strategy=str(attributes.strategy or "unknown"),
        passes=_read_column(points, "epoch"),
        loss=_read_column(points, "loss"),
        source=100 * _read_column(points, "source_val"),
        target=100 * _read_column(points, "target_val"),
    )


def _read_column(points: Sequence[Mapping[str, object]], name: str) -> np.ndarray:
    """Returns one of a curve's columns (n,), NaN where a point does not have it."""
    values = [number(point.get(name)) for point in points]
    return np.array([np.nan if value is None else value for value in values], dtype=float)
