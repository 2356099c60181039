"""Tests what a search of nested cross-validation recommends, once, on the part of the people that it never saw.

It is recorded as a confirmation is: a study's test images are opened once, and every output folder notes who did.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fer.errors import InputError
from study.confirmation.child_process import error_of, read_messages, start_child, write_line
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE, END, Confirmation, InterpolationPoint
from study.confirmation.outer_part import (
    OUTER_ATTRIBUTE,
    PartAnswers,
    PartResult,
    RecommendedNetwork,
    read_part,
)
from study.confirmation.plan import plan_jobs, time_now
from study.confirmation.runner import exclusive_confirmation, record_evaluation, reopen_datasets
from study.confirmation.test_sets import read_ground_truth
from study.fronts import find_recommended, front_table
from study.inputs import OuterPart, part_of
from study.options import StudyOptions
from study.reading_record import required_record
from study.record import DOMAINS, StudyRecord
from study.reporting.dates import describe_opening
from study.storage.backend import trials_of
from study.tuning.expected_table import expected_table

if TYPE_CHECKING:
    import optuna

PREDICTIONS = Mapping[str, Mapping[str, list[int]]]
"""The expressions that "baseline" and "network" take the test images for, by domain; -1 where logits are no numbers."""


def evaluate_part(study: "optuna.Study", options: StudyOptions) -> PartResult:
    """Tests a search's recommended network on its part of the people, or returns what was found before.

    Args:
        study: The search, at its end.
        options: Of the command: where it works, and on which device.

    Raises:
        InputError: Its test images were opened for something else, or the network, data or baseline is not the study's.
        RuntimeError: The network could not be tested; the same command goes on.
    """
    record = StudyRecord.from_json(required_record(study.user_attrs.get("study"), study.study_name))
    part = part_of(record.target)
    assert part is not None, "a search of nested cross-validation has a part"
    folder = Path(options.out) / record.name
    with exclusive_confirmation(folder):
        result = read_part(study)
        if result is None:
            result = _evaluate(study, record, part, options)
        _finish(study, result)
    return result


def _finish(study: "optuna.Study", result: PartResult) -> None:
    """Records that a part's evaluation has ended, once its result is stored."""
    stored = study.user_attrs.get(CONFIRMATION_ATTRIBUTE)
    if not isinstance(stored, Mapping):
        return
    is_of_part = stored.get("opened") == result.evaluated
    if is_of_part and not stored.get("finished"):
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, {**stored, "finished": time_now()})


def is_opened(study: "optuna.Study") -> bool:
    """Returns whether the study's test images were opened, after which its search has ended."""
    return bool(study.user_attrs.get(CONFIRMATION_ATTRIBUTE))


def _evaluate(study: "optuna.Study", record: StudyRecord, part: OuterPart, options: StudyOptions) -> PartResult:
    """Tests a search's recommended network, stores the result and returns it."""
    # What is tested.
    recommended = find_network(study, record)
    confirmation = begin_evaluation(study, recommended)
    datasets = reopen_datasets(record, options.out, options.data)

    # Its answers, once their evaluation is recorded.
    assignment = {
        "record": record.to_json(),
        "out": options.out,
        "data": options.data,
        "device": options.device,
        "model": None if recommended is None else recommended.model,
    }
    record_now = partial(record_evaluation, study, record, confirmation, datasets, options.out)
    confirmation, predictions = _let_answer(assignment, record_now)

    # On which images it is right.
    truth = read_ground_truth(datasets, 1)
    answers = {}
    for domain in DOMAINS:
        right = {name: np.array(values[domain]) == truth.labels[domain] for name, values in predictions.items()}
        network = right.get("network", right["baseline"])
        answers[domain] = PartAnswers(truth.subjects[domain].astype(np.int64), right["baseline"], network)

    result = PartResult(record.name, part, str(confirmation.evaluated), recommended, answers)
    study.set_user_attr(OUTER_ATTRIBUTE, result.to_json())
    return result


def find_network(study: "optuna.Study", record: StudyRecord) -> RecommendedNetwork | None:
    """Returns the network that a study recommends, as it is handed over; None where it recommends none."""
    row = find_recommended(front_table(expected_table(record, trials_of(study))))
    if row is None:
        return None
    return RecommendedNetwork(
        model=str(row["model"]),
        trial=int(row["trial"]),
        strategy=str(row["strategy"]),
        rung=int(row.get("rung", 1)),
        frozen_layers=int(row.get("frozen_layers", 0)),
        alpha=float(row["alpha"]),
        expected={domain: float(row[f"{domain}_val"]) for domain in DOMAINS},
        layers=record.architecture.depth.blocks,
    )


def begin_evaluation(study: "optuna.Study", recommended: RecommendedNetwork | None) -> Confirmation:
    """Returns the confirmation of the baseline and the recommended network: new, or one that was cut off and goes on.

    Raises:
        InputError: The study's test images were opened for something else.
    """
    # The baseline, and the recommended network's configuration with this network alone.
    baseline, *others = plan_jobs(study)
    jobs = [replace(baseline, interpolation_points=(InterpolationPoint(*END),))]
    if recommended is not None:
        for job in (baseline, *others):
            points = tuple(point for point in job.interpolation_points if point.model == recommended.model)
            if points:
                jobs.append(replace(job, interpolation_points=points))
    planned = Confirmation(1, tuple(jobs))

    stored = study.user_attrs.get(CONFIRMATION_ATTRIBUTE)
    if stored is None:
        return planned
    with contextlib.suppress(KeyError, TypeError, ValueError):
        cut_off = Confirmation.from_json(stored)
        if cut_off.finished is None and (cut_off.seeds, cut_off.jobs) == (planned.seeds, planned.jobs):
            return cut_off
    opened = stored.get("opened") if isinstance(stored, Mapping) else None
    raise InputError(
        "a study's test sets are opened once, for what it recommends in --outer",
        f"{study.study_name}, whose test sets were opened {describe_opening(opened)} for something else",
        "Give the new searches a name with --study NAME.",
    )


def _let_answer(
    assignment: Mapping[str, Any], record_now: Callable[[], Confirmation]
) -> tuple[Confirmation, PREDICTIONS]:
    """Lets a process open the networks, records the evaluation of the test images, and returns its answers.

    Args:
        assignment: Of `study.confirmation.outer_process`.
        record_now: Records the evaluation and returns the confirmation; called when the process is ready.

    Raises:
        InputError: The process found the device, the data, the baseline or the network wrong.
        RuntimeError: It could not go on.
    """
    with start_child("study.confirmation.outer_process", assignment) as process:
        messages = read_messages(process)
        try:
            message = next(messages, None)
            if message is None or "ready" not in message:
                raise error_of(message, process)

            # From here on the test images are read.
            confirmation = record_now()
            write_line(process, {"evaluate": True})
            message = next(messages, None)
            if message is None or "answers" not in message:
                raise error_of(message, process)
            return confirmation, message["answers"]
        finally:
            process.kill()
