"""What the stored answers of a confirmation say, as the report shows it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fer.evaluation.intervals import Estimate, estimate, one_per_image
from study.confirmation.answers import Arrays, read_answers
from study.confirmation.jobs import Confirmation, ConfirmationJob, Training
from study.confirmation.points import ConfirmedPoint
from study.confirmation.statistics import (
    judge_points,
    measures_on_test,
    per_class_results,
    predicted_expressions,
    strategy_differences,
)
from study.confirmation.test_sets import GroundTruth
from study.confirmed_results import ConfirmationResults
from study.options import LEVEL
from study.record import DOMAINS

if TYPE_CHECKING:
    from fer.config import AdaptationConfig


def collect_results(confirmation: Confirmation, folder: Path, truth: GroundTruth) -> ConfirmationResults:
    """Turns the stored answers into what the report says; a pure function of its arguments and the stored files.

    Args:
        confirmation: Whose evaluation is recorded.
        folder: The study's.
        truth: Of the test images.

    Raises:
        RuntimeError: Answers of a job are missing.
    """
    missing = trainings_left(confirmation, folder)
    if missing:
        index, seed = missing[0]
        raise RuntimeError(
            f"the answers of {confirmation.jobs[index].name} with seed {seed} are missing; the same command trains it "
            "again"
        )

    # The answers, network by network.
    points: list[ConfirmedPoint] = []
    validations: list[dict[str, float]] = []
    handed_over: list[dict[str, Estimate]] = []
    for index, job in enumerate(confirmation.jobs):
        stored = [read_answers(folder, confirmation, index, seed) for seed in range(confirmation.seeds)]
        answers = [training for training in stored if training is not None]
        for place in range(len(job.interpolation_points)):
            points.append(collect_point(job, place, answers, truth))
            handed_over.append(_judge_file(job, place, answers[0], truth))
            # What no seed changes was validated on the first seed's division alone: no match for means over all.
            has_every_seed = len(answers) == confirmation.seeds
            validations.append(validation_accuracies(answers, place) if has_every_seed else {})

    # The baseline, the front from the least source accuracy on, the named strategies that are not on it.
    order = order_points(points)
    points = [points[index] for index in order]
    validations = [validations[index] for index in order]
    handed_over = [handed_over[index] for index in order]

    # What they say, point by point and compared.
    results = judge_points(points, truth.subjects, LEVEL)
    measures = measures_on_test(points, truth.labels, truth.expressions)
    rows = []
    found = zip(results.points, measures, validations, handed_over, strict=True)
    for row, row_measures, validation, of_file in found:
        figures = {domain: replace(row.figures[domain], val_again=validation.get(domain)) for domain in DOMAINS}
        for domain, accuracy in of_file.items():
            low, high = accuracy.interval_of_share(LEVEL)
            figures[domain] = replace(
                figures[domain], handed_over=accuracy.mean, handed_over_lower=low, handed_over_upper=high
            )
        rows.append(replace(row, figures=figures, measures=row_measures))
    return replace(
        results,
        points=tuple(rows),
        class_results=tuple(per_class_results(point, points[0], truth.labels, truth.expressions) for point in points),
        differences=tuple(strategy_differences(points, truth.subjects, LEVEL)),
    )


def order_points(points: Sequence[ConfirmedPoint]) -> list[int]:
    """Returns the numbers of confirmed networks in the order in which tables and figures show them.

    Args:
        points: The baseline first.
    """

    def source_accuracy(index: int) -> float:
        return float(points[index].right["source"].mean())

    baseline, *others = range(len(points))
    on_front = sorted((index for index in others if points[index].front), key=source_accuracy)
    off_front = [index for index in others if not points[index].front]
    return [baseline, *on_front, *off_front]


def collect_point(job: ConfirmationJob, place: int, answers: Sequence[Arrays], truth: GroundTruth) -> ConfirmedPoint:
    """Returns one network with its answers on the test images.

    Args:
        job: That trained it.
        place: The number of its interpolation point.
        answers: Of each training of the job, see `study.confirmation.retrain.evaluate`.
        truth: Of the test images.
    """
    network = job.interpolation_points[place]
    logits = {}
    right = {}
    for domain in DOMAINS:
        logits[domain] = np.stack([training[f"{domain}-{place}"] for training in answers])
        right[domain] = predicted_expressions(logits[domain]) == truth.labels[domain]

    # Similarity was measured for the first seed.
    probe = answers[0].get(f"probe-{place}")
    return ConfirmedPoint(
        name=job.name,
        # A named strategy is the network at its end; those interpolated towards it are points of the front alone.
        named=job.named if network.is_end else "",
        strategy=job.strategy,
        alpha=network.alpha,
        slope=network.slope,
        model=network.model,
        front=network.front,
        right=right,
        logits=logits,
        validation=network.validation or {},
        averaged=network.averaged,
        divisions=min(len(answers), truth.divisions),
        target_passes=job.target_passes or 0.0,
        cka=answers[0].get(f"cka-{place}"),
        probe=None if probe is None else float(probe),
    )


def _judge_file(job: ConfirmationJob, place: int, answers: Arrays, truth: GroundTruth) -> dict[str, Estimate]:
    """Returns by domain the test accuracy of the network that the study hands over; nothing where it was not here.

    A network that no seed changes is its file, so it has one test accuracy.

    Args:
        job: What was trained.
        place: The number of its interpolation point.
        answers: Of the job's first training.
        truth: Of the test images.
    """
    judged = {}
    for domain in DOMAINS:
        logits = answers.get(f"{domain}-file-{place}")
        if logits is not None:
            if not depends_on_seed(job.adaptation):
                logits = answers[f"{domain}-{place}"]
            right = predicted_expressions(logits) == truth.labels[domain]
            judged[domain] = estimate(right, one_per_image(truth.subjects[domain]))
    return judged


def validation_accuracies(answers: Sequence[Arrays], place: int) -> dict[str, float]:
    """Returns the accuracy of a network's new trainings on validation images, the mean over seeds.

    The search chose a point because of its validation accuracy, which therefore is too high in the mean. These
    trainings were chosen by nothing. The target's images are those of each seed's division; the source's are the ones
    that the search evaluated, so that the choice may still suit these images.

    Args:
        answers: Of each training, see `study.confirmation.retrain.evaluate`.
        place: The number of its interpolation point.

    Returns:
        The accuracy by domain, 0 to 1; a training that diverged counts as 0.
    """
    means = {}
    for domain in DOMAINS:
        accuracies = []
        for training in answers:
            predicted = predicted_expressions(training[f"{domain}-val-{place}"])
            accuracies.append(np.mean(predicted == training[f"{domain}-val-labels"]))
        means[domain] = float(np.mean(accuracies))
    return means


def depends_on_seed(config: "AdaptationConfig") -> bool:
    """Returns whether another seed can give another network."""
    recomputes_statistics = bool(config.trained) and config.bn == "recompute"
    return config.trains or recomputes_statistics


def trainings_left(confirmation: Confirmation, folder: Path) -> list[Training]:
    """Returns the trainings whose answers are not stored, or not completely, those that no seed changes last.

    These train nothing, so that the first training of each process tells whether its device and memory suffice.
    """
    changing: list[Training] = []
    unchanging: list[Training] = []
    seed_matters = [depends_on_seed(job.adaptation) for job in confirmation.jobs]
    for seed in range(confirmation.seeds):
        for index, matters in enumerate(seed_matters):
            if matters:
                changing.append((index, seed))
            elif seed == 0:
                unchanging.append((index, seed))

    trainings = [*changing, *unchanging]
    if confirmation.evaluated is None:
        return trainings
    return [training for training in trainings if read_answers(folder, confirmation, *training) is None]
