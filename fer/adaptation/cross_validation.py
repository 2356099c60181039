"""Cross-validation of an adaptation: one training per fold of the target, judged on all of its images together.

Where the target is small, a validation split is a few images of one or two people. Over folds, each image of training
and validation is predicted once, by a network that saw no other image of the same person.
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

Values = dict[str, np.ndarray]


def divide_into_folds(task: AdaptationTask, folds: int, seed: int) -> list[AdaptationTask]:
    """Returns a task per fold: each is validation once; without folds, the task as it is.

    Args:
        task: Whose target is divided, training and validation images together.
        folds: How many; 0 leaves the division as it is.
        seed: Of the folds, the same for all adaptations that are compared.
    """
    if not folds:
        return [task]
    return [replace(task, target=task.target.divided(number, folds, seed)) for number in range(folds)]


def cross_validate(
    tasks: Sequence[AdaptationTask],
    config: AdaptationConfig,
    seed: int,
    on_rung: OnRung | None = None,
    plan: EvaluationPlan | None = None,
) -> Adapted:
    """Adapts the baseline once per fold, each time with the whole budget.

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
    if len(tasks) == 1:
        return adapt(tasks[0], config, seed, on_rung, plan)
    plan_of_fold = replace(plan or EvaluationPlan(), would_join_front=None)
    parts: list[Adapted] = []
    for number, task in enumerate(tasks, 1):
        adapted = adapt(task, config, seed, plan=plan_of_fold)
        parts.append(adapted if number == 1 else _without_networks(adapted, parts[0]))
        share = number / len(tasks)
        is_half = number == math.ceil(len(tasks) / 2)
        if on_rung and is_half and on_rung(share, merge_curves(parts)[-1], _prospects(tasks, parts)):
            return _merged(tasks, parts, stopped=True)
    return _merged(tasks, parts, stopped=False)


def _prospects(tasks: Sequence[AdaptationTask], parts: Sequence[Adapted]) -> Iterator[Prospect]:
    """Yields the interpolated networks of these folds, which have been evaluated already."""
    for interpolated in merge_interpolated(tasks, parts):
        yield Prospect.known([interpolated.measures["source_val"], interpolated.measures["target_val"]])


def _without_networks(adapted: Adapted, first: Adapted) -> Adapted:
    """Puts the first fold's networks in the place of a later fold's, which would only take memory."""
    pairs = zip(adapted.interpolated, first.interpolated, strict=True)
    interpolated = [replace(later, network=earlier.network) for later, earlier in pairs]
    return replace(adapted, network=first.network, interpolated=interpolated)


def join_folds(parts: Iterable[Values]) -> Values:
    """Returns arrays by name, those of all folds in a row."""
    every = list(parts)
    return {name: np.concatenate([part[name] for part in every]) for name in every[0]}


def merge_curves(parts: Sequence[Adapted]) -> list[dict[str, float]]:
    """Returns the mean of the folds' curves, weighted by their numbers of target images where it is an accuracy there.

    That way it is the share of right answers among all folds' images.
    """
    images = [len(part.logits["target"]) for part in parts]
    rows = []
    for step in zip(*(part.curve for part in parts), strict=False):
        names = [name for name in step[0] if all(name in row for row in step)]
        weights = {name: images if name == "target_val" else None for name in names}
        rows.append({name: float(np.average([row[name] for row in step], weights=weights[name])) for name in names})
    return rows


def merge_interpolated(tasks: Sequence[AdaptationTask], parts: Sequence[Adapted]) -> Iterator[Interpolated]:
    """Yields the first fold's interpolated networks, with the measures of all these folds' predictions together."""
    done = tasks[: len(parts)]
    labels, before = join_folds(map(validation_labels, done)), join_folds(map(baseline_logits, done))
    for steps in zip(*(part.interpolated for part in parts), strict=True):
        together = join_folds(step.logits for step in steps)
        yield replace(steps[0], logits=together, measures=evaluate(labels, before, together))


def _merged(tasks: Sequence[AdaptationTask], parts: Sequence[Adapted], stopped: bool) -> Adapted:
    done = tasks[: len(parts)]
    labels, before = join_folds(map(validation_labels, done)), join_folds(map(baseline_logits, done))
    logits, curve = join_folds(part.logits for part in parts), merge_curves(parts)
    measures = evaluate(labels, before, logits)
    course = [row["source_val"] for row in curve if "source_val" in row]
    measures["forgetting"] = forgetting([measures["source_val"] - measures["backward_transfer"], *course])
    between = [] if stopped else list(merge_interpolated(tasks, parts))
    return Adapted(parts[0].network, curve, measures, stopped, between, confusion_matrices(labels, logits), logits)
