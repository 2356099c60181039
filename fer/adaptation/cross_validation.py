"""Cross-validation of an adaptation: one training per fold of the target, evaluated on all of its images.

Where the target is small, a validation split is a few images of one or two people. Over folds, each training and
validation image is predicted once, by a network that saw no other image of the same person.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fer.adaptation.evaluation import baseline_logits, validation_labels
from fer.adaptation.plan import Adapted, EvaluationPlan, Interpolated, OnRung, Prospect
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig
from fer.evaluation.metrics import confusion_matrices, evaluate, forgetting

Arrays = dict[str, np.ndarray]


def divide_into_folds(task: AdaptationTask, folds: int, seed: int) -> list[AdaptationTask]:
    """Returns a task per fold, in which the fold is validation; without folds, the task as it is.

    Args:
        task: Whose target is divided, training and validation images together.
        folds: The number of folds; 0 leaves the division as it is.
        seed: Of the folds, the same for all adaptations that are compared.
    """
    if not folds:
        return [task]
    return [replace(task, target=task.target.divided(fold, folds, seed)) for fold in range(folds)]


def cross_validate(
    tasks: Sequence[AdaptationTask],
    config: AdaptationConfig,
    seed: int,
    on_rung: OnRung | None = None,
    plan: EvaluationPlan | None = None,
) -> Adapted:
    """Adapts the baseline once per fold, each time with the full budget.

    Args:
        tasks: Of `divide_into_folds`. With one, this is `fer.adaptation.procedure.adapt`.
        config: Hyperparameters of the adaptation.
        seed: Seed of order, views, dropout and new weights, the same in each fold.
        on_rung: Called once, after the first half of the folds, with their share, their row of the curve, and the
            interpolated networks, which have been evaluated already; True stops.
        plan: See `fer.adaptation.procedure.adapt`, with rungs as shares of each fold's budget. Over several folds all
            interpolation points are evaluated, since no fold alone says whether a network would join the front.

    Returns:
        The first fold's networks, with the measures of all folds' predictions together: those on the target are of
        every image once, those on the source of every image once per fold. Losses are means.

    Raises:
        Diverged: In one of the folds, see `fer.adaptation.procedure.adapt`.
    """
    # Without folds there is nothing to merge.
    if len(tasks) == 1:
        return adapt(tasks[0], config, seed, on_rung, plan)

    # One training after the other.
    plan_of_fold = replace(plan or EvaluationPlan(), would_join_front=None)
    folds: list[Adapted] = []
    for number, task in enumerate(tasks, 1):
        adapted = adapt(task, config, seed, plan=plan_of_fold)
        folds.append(adapted if number == 1 else _without_networks(adapted, folds[0]))

        # After the first half of the folds, the trial may stop.
        is_half = number == math.ceil(len(tasks) / 2)
        if on_rung and is_half:
            share = number / len(tasks)
            if on_rung(share, merge_curves(folds)[-1], _prospects(tasks[:number], folds)):
                return _merge(tasks[:number], folds, stopped=True)
    return _merge(tasks, folds, stopped=False)


def _prospects(tasks: Sequence[AdaptationTask], folds: Sequence[Adapted]) -> Iterator[Prospect]:
    """Yields the interpolated networks of these folds, which have been evaluated already."""
    for interpolated in merge_interpolated(tasks, folds):
        yield Prospect.of_evaluated([interpolated.measures["source_val"], interpolated.measures["target_val"]])


def _without_networks(adapted: Adapted, first: Adapted) -> Adapted:
    """Puts the first fold's networks in the place of a later fold's, which would only take memory."""
    pairs = zip(adapted.interpolated, first.interpolated, strict=True)
    interpolated = [replace(later, network=earlier.network) for later, earlier in pairs]
    return replace(adapted, network=first.network, interpolated=interpolated)


def join_folds(arrays_of_folds: Iterable[Arrays]) -> Arrays:
    """Concatenates the arrays of several folds, name by name."""
    folds = list(arrays_of_folds)
    return {name: np.concatenate([arrays[name] for arrays in folds]) for name in folds[0]}


def merge_curves(folds: Sequence[Adapted]) -> list[dict[str, float]]:
    """Returns the mean of the folds' curves, row by row.

    Accuracies on the target are weighted by the folds' numbers of target images, so that their mean is the share of
    right answers among all folds' images.
    """
    images = [len(fold.logits["target"]) for fold in folds]
    merged = []
    for rows in zip(*(fold.curve for fold in folds), strict=False):
        means = {}
        for name in rows[0]:
            if all(name in row for row in rows):
                weights = images if name == "target_val" else None
                means[name] = float(np.average([row[name] for row in rows], weights=weights))
        merged.append(means)
    return merged


def merge_interpolated(tasks: Sequence[AdaptationTask], folds: Sequence[Adapted]) -> Iterator[Interpolated]:
    """Yields the first fold's interpolated networks, with the measures of all folds' predictions together.

    Args:
        tasks: The folds' tasks.
        folds: What the adaptation of each left behind; there may be fewer of them than tasks.
    """
    labels, before = _labels_and_baseline(tasks[: len(folds)])
    interpolated_of_folds = [fold.interpolated for fold in folds]

    # Each step has the networks of all folds at one interpolation point.
    for networks in zip(*interpolated_of_folds, strict=True):
        logits = join_folds(network.logits for network in networks)
        measures = evaluate(labels, before, logits)
        yield replace(networks[0], logits=logits, measures=measures)


def _merge(tasks: Sequence[AdaptationTask], folds: Sequence[Adapted], stopped: bool) -> Adapted:
    """Returns the first fold's networks, with what was measured of all folds' predictions together."""
    labels, before = _labels_and_baseline(tasks)
    logits = join_folds(fold.logits for fold in folds)
    curve = merge_curves(folds)

    measures = evaluate(labels, before, logits)
    baseline_accuracy = measures["source_val"] - measures["backward_transfer"]
    accuracies = [row["source_val"] for row in curve if "source_val" in row]
    measures["forgetting"] = forgetting([baseline_accuracy, *accuracies])

    interpolated = [] if stopped else list(merge_interpolated(tasks, folds))
    confusion = confusion_matrices(labels, logits)
    return Adapted(folds[0].network, curve, measures, stopped, interpolated, confusion, logits)


def _labels_and_baseline(tasks: Sequence[AdaptationTask]) -> tuple[Arrays, Arrays]:
    """Returns the labels and the baseline's logits on the validation splits, those of all folds in a row."""
    return join_folds(map(validation_labels, tasks)), join_folds(map(baseline_logits, tasks))
