"""Trains a configuration again with another seed, and lets its networks answer. Imports torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fer.adaptation.evaluation import logits_on_test, validation_labels
from fer.adaptation.plan import Adapted, EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.errors import InputError
from fer.seeding import seed_from
from fer.training.loop import Diverged
from study.confirmation.answers import Arrays
from study.confirmation.jobs import END, ConfirmationJob
from study.confirmation.similarity import measure_similarity
from study.confirmation.test_sets import count_divisions, count_test_images
from study.record import DOMAINS

if TYPE_CHECKING:
    from torch import nn

    from fer.adaptation.task import AdaptationTask
    from study.execution.trial_context import TrialContext


def divide_target(context: "TrialContext", seed: int) -> "AdaptationTask":
    """Returns the task of one seed: the target's training and validation images divided again, the test set kept.

    Seeds take the folds of one subject-wise division in turn, the same for all strategies, so that differences are
    paired.
    """
    task = context.task
    count = count_divisions(task.target, context.plan.folds)
    rounds, fold = divmod(seed, count)
    return replace(task, target=task.target.divided(fold, count, context.seed + rounds))


def retrain(context: "TrialContext", job: ConfirmationJob, seed: int) -> Adapted | None:
    """Trains a job's configuration with one seed.

    Returns:
        The adapted network and those interpolated between it and the baseline; None where the training diverged.
    """
    places = [(point.alpha, point.slope) for point in job.interpolation_points if not point.is_end]
    task = divide_target(context, seed)
    try:
        plan = EvaluationPlan(interpolation_points=places)
        return adapt(task, job.adaptation, seed_from(context.seed, "confirm", seed), plan=plan)
    except Diverged:
        return None


def evaluate(context: "TrialContext", job: ConfirmationJob, seed: int, adapted: Adapted | None) -> Arrays:
    """Evaluates a job's networks on test images, and on the validation images of the seed's division.

    Args:
        context: Of the study.
        job: What was trained.
        seed: Of the training.
        adapted: What the training gave; None where it diverged, which gives NaN.

    Returns:
        Arrays by name. For the target, and likewise for the source:

        - "target-val-labels" (m,), the labels of the validation images;
        - "target-0", "target-1", ...: for each interpolation point by its number, logits (n, classes) on test images;
        - "target-val-0", "target-val-1", ...: the same (m, classes) on the validation images.

        With the first seed also "cka-0" and "probe-0" of each network, see `measure_similarity`, and of each whose file
        is there "target-file-0", the logits of the network that the study hands over, on the test images.
    """
    task = divide_target(context, seed)
    labels = validation_labels(task)
    networks = _networks_by_place(adapted)
    classes = len(task.source.expressions)
    answers: Arrays = {f"{domain}-val-labels": labels[domain] for domain in DOMAINS}
    for number, point in enumerate(job.interpolation_points):
        # A training that diverged has no networks.
        if (point.alpha, point.slope) not in networks:
            for domain in DOMAINS:
                tested = count_test_images(task.dataset(domain))
                answers[f"{domain}-{number}"] = _missing_logits(tested, classes)
                answers[f"{domain}-val-{number}"] = _missing_logits(len(labels[domain]), classes)
            continue

        network, validation_logits = networks[(point.alpha, point.slope)]
        for domain in DOMAINS:
            answers[f"{domain}-{number}"] = logits_on_test(task, network, domain)
            answers[f"{domain}-val-{number}"] = validation_logits[domain]
        if seed == 0:
            for name, values in measure_similarity(task, network).items():
                answers[f"{name}-{number}"] = values
    if seed == 0:
        answers |= _answers_of_files(context, job)
    return answers


def _answers_of_files(context: "TrialContext", job: ConfirmationJob) -> Arrays:
    """Returns the logits (n, classes) on test images of the networks that are handed over, as far as they are here."""
    answers: Arrays = {}
    for number, point in enumerate(job.interpolation_points):
        if not point.model:
            continue
        try:
            saved = context.open_network(point.model)
        except InputError:  # it lies on another machine, or is damaged: the report says so
            continue
        for domain, logits in answer_test_images(context, saved).items():
            answers[f"{domain}-file-{number}"] = logits
    return answers


def answer_test_images(context: "TrialContext", network: "nn.Sequential") -> Arrays:
    """Returns the logits (n, classes) of a network as it is on the test images of each domain."""
    return {domain: logits_on_test(context.task, network, domain) for domain in DOMAINS}


def _networks_by_place(
    adapted: Adapted | None,
) -> "dict[tuple[float, float], tuple[nn.Sequential, Mapping[str, np.ndarray]]]":
    """Returns each network of a training and its logits on validation images, by alpha and slope."""
    if adapted is None:
        return {}
    networks = {(step.alpha, step.slope): (step.network, step.logits) for step in adapted.interpolated}
    return networks | {END: (adapted.network, adapted.logits)}


def _missing_logits(images: int, classes: int) -> np.ndarray:
    """Returns the logits (images, classes) of a training that diverged, all NaN."""
    return np.full((images, classes), np.nan, np.float32)
