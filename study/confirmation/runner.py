"""Runs a confirmation: plans it, trains in processes, evaluates once, collects the results and exports them."""

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich

from fer.errors import InputError
from fer.files import holding_lock
from study.confirmation.evaluations import note_evaluation
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE, Confirmation
from study.confirmation.plan import begin_confirmation, time_now
from study.confirmation.process_pool import train_and_evaluate
from study.confirmation.results import collect_results, trainings_left
from study.confirmation.test_sets import describe_test_set, read_ground_truth
from study.confirmation.training_process import Assignment
from study.inputs import reopen_dataset
from study.machine import required_device, usual_workers
from study.options import SEEDS
from study.reading_record import required_record
from study.record import DOMAINS, StudyRecord
from study.reporting.export import export, require_folders
from study.reporting.terminal import confirmed_rich_table, for_terminal
from study.reporting.wording import evaluated_before
from study.storage.backend import load_study, trials_of
from study.storage.records import confirmation_of
from study.trials import trials_table

if TYPE_CHECKING:
    import optuna

    from fer.datasets import Dataset

MOST_SEEDS = 1000
MOST_WORKERS = 1024


def run_confirmation(args: argparse.Namespace) -> None:
    """Confirms a study and writes its exports again.

    The evaluation of the test images is recorded when everything else has proved right: arguments, record, data,
    baseline, and the first training of each process on its device. A command that is refused before leaves them unread.

    Args:
        args: The command's: study, seeds, again, out, storage, data, device, workers.
    """
    # What can be refused at once.
    check_arguments(args)
    study = load_study(args.study, Path(args.out), args.storage)
    stored_record = required_record(study.user_attrs.get("study"), args.study)
    record = StudyRecord.from_json(stored_record)
    device = required_device(record.baseline.device if args.device is None else args.device)
    folder = Path(args.out) / args.study
    require_folders(folder)

    with exclusive_confirmation(folder):
        # What is left to train, with which data.
        confirmation = begin_confirmation(study, args.seeds, args.again)
        datasets = reopen_datasets(stored_record, args)
        trainings = trainings_left(confirmation, folder)
        workers = min(args.workers or usual_workers(device), len(trainings))
        jobs = f"{len(confirmation.jobs)} jobs with {args.seeds} seeds"
        print(f"confirming {args.study}: {jobs}, {len(trainings)} trainings in {workers} processes", flush=True)

        # Training, and evaluation when it is recorded.
        data = data_folder(record, args)
        assignment = Assignment(stored_record, args.out, data, device, str(folder), confirmation.jobs)

        def record_this_evaluation() -> Confirmation:
            nonlocal confirmation
            confirmation = record_evaluation(study, record, confirmation, datasets, args.out)
            return confirmation

        train_and_evaluate(assignment, trainings, workers, record_this_evaluation)

        # What the answers say.
        truth = read_ground_truth(datasets, record.options.get("folds", 0))
        results = collect_results(confirmation, folder, truth)
        confirmation = dataclasses.replace(confirmation, finished=time_now(), results=results)
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, confirmation.to_json())

    export(stored_record | confirmation_of(study), trials_of(study), folder)
    print_results(study, stored_record, confirmation)
    print(f"report: {folder / 'report.html'}; for MLflow: python -m study.sync {args.study}")


def print_results(study: "optuna.Study", stored_record: dict[str, Any], confirmation: Confirmation) -> None:
    """Prints the confirmed points, and the paper's table where that is the space."""
    record = StudyRecord.from_json(stored_record | {CONFIRMATION_ATTRIBUTE: confirmation.to_json()})
    rich.print(confirmed_rich_table(record))
    paper = for_terminal(record, trials_table(trials_of(study)))
    if paper is not None:
        rich.print(paper)


def check_arguments(args: argparse.Namespace) -> None:
    """Refuses numbers that no confirmation can have."""
    if not 1 <= args.seeds <= MOST_SEEDS:
        raise InputError(f"--seeds is between 1 and {MOST_SEEDS}", args.seeds, f"Give {SEEDS}, or leave it out.")
    if args.workers is not None and not 1 <= args.workers <= MOST_WORKERS:
        raise InputError(f"--workers is between 1 and {MOST_WORKERS}", args.workers, "Leave it out.")


@contextlib.contextmanager
def exclusive_confirmation(folder: Path) -> Iterator[None]:
    """Holds the study's folder, so that two confirmations of one study cannot evaluate its test images twice."""
    refusal = InputError(
        "a study is confirmed by one process at a time", f"{folder}, which another holds", "Wait for it."
    )
    with holding_lock(folder / ".confirm.lock", refusal):
        yield


def data_folder(record: StudyRecord, args: argparse.Namespace) -> str | None:
    """Returns where the user's copies of the datasets are: where the command says, or where the study read them."""
    return args.data or record.options.get("data")


def reopen_datasets(stored_record: Mapping[str, Any], args: argparse.Namespace) -> dict[str, "Dataset"]:
    """Opens the study's datasets; what is missing or damaged is prepared again."""
    record = StudyRecord.from_json(stored_record)
    options = record.options | {"out": args.out, "data": data_folder(record, args)}
    return {domain: reopen_dataset(record.dataset(domain), options) for domain in DOMAINS}


def record_evaluation(
    study: "optuna.Study",
    record: StudyRecord,
    confirmation: Confirmation,
    datasets: Mapping[str, "Dataset"],
    out: str,
) -> Confirmation:
    """Records that the test images are evaluated and for what, then who evaluated the same images before.

    The study's record comes first: nothing reads a test image, not even for its digest, before that is written.

    Args:
        study: Whose confirmation it is.
        record: Of the study.
        confirmation: Planned, or cut off after its evaluation was recorded.
        datasets: By domain.
        out: The output folder.

    Returns:
        The confirmation with what was recorded.
    """
    if confirmation.evaluated is None:
        confirmation = dataclasses.replace(confirmation, evaluated=time_now())
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, confirmation.to_json())

    if confirmation.test_sets is None:
        evaluation = {"study": record.name, "id": record.id, "opened": str(confirmation.evaluated)}
        test_sets = {}
        for domain in DOMAINS:
            described = describe_test_set(datasets[domain])
            earlier = note_evaluation(out, described["digest"], evaluation)
            test_sets[domain] = described | {"evaluated_before": earlier}
        confirmation = dataclasses.replace(confirmation, test_sets=test_sets)
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, confirmation.to_json())

    said = evaluated_before(dataclasses.replace(record, confirmation=confirmation.to_json()))
    print(f"the test sets are opened.{said}", flush=True)
    return confirmation
