"""Runs a confirmation: plans it, trains in processes, evaluates once, collects the results and exports them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fer.errors import InputError
from fer.files import holding_lock
from study.cli import command_line
from study.confirmation.course import ConfirmationCourse
from study.confirmation.evaluations import note_evaluation
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE, Confirmation, Training
from study.confirmation.plan import begin_confirmation, time_now
from study.confirmation.process_pool import train_and_evaluate
from study.confirmation.results import collect_results, depends_on_seed, trainings_left
from study.confirmation.test_sets import describe_test_set, read_ground_truth
from study.confirmation.training_process import Assignment
from study.execution.phase import Phase, counting
from study.execution.progress import Progress
from study.fronts import find_recommended, front_table
from study.inputs import reopen_dataset
from study.machine import required_device, usual_workers
from study.options import SEEDS, StudyOptions
from study.reading_record import required_record
from study.record import DOMAINS, StudyRecord
from study.reporting.certainty import describe_stronger_strategies
from study.reporting.commands import place_words
from study.reporting.export import export, require_folders
from study.reporting.significance import describe_confirmed_changes
from study.reporting.terminal import confirmed_rich_table, describe_tested, for_terminal
from study.reporting.wording import count_of, count_seeds, dataset_label, evaluated_before
from study.storage.backend import load_study, trials_of
from study.storage.records import confirmation_of
from study.tuning.summary import read_search

if TYPE_CHECKING:
    import optuna

    from fer.datasets import Dataset

AFTER_EXPORT = "the results are stored, and study.report writes them into the report"
"""What Ctrl-C does to the export of a confirmation."""
TOO_FEW_PEOPLE = 2
"""So many people in the target's test set cannot show a difference of any size."""
MOST_SEEDS = 1000
MOST_WORKERS = 1024


@dataclass(frozen=True)
class ConfirmationOptions:
    """What is confirmed and where.

    Attributes:
        study: Its name.
        seeds: Trainings of each configuration.
        again: Whether the test images may be evaluated once more.
        out: The output folder.
        storage: The URL of the study's storage; None for the journal in its folder.
        data: Where the user's copies of the datasets are; None for where the study read them.
        device: What to train on; None for the study's.
        workers: How many processes; None for the usual number.
    """

    study: str
    seeds: int = SEEDS
    again: bool = False
    out: str = "runs"
    storage: str | None = None
    data: str | None = None
    device: str | None = None
    workers: int | None = None


def run_confirmation(options: ConfirmationOptions, progress: Progress | None = None) -> None:
    """Confirms a study and writes its exports again.

    The evaluation of the test images is recorded when everything else has proved right: arguments, record, data,
    baseline, and the first training of each process on its device. A command that is refused before leaves them unread.

    Args:
        options: What is confirmed and where.
        progress: Shows how far it is; None for one of its own.

    Raises:
        InputError: An option is out of its range, there is no such study, or it cannot be confirmed.
        RuntimeError: A training could not be done; the same call goes on.
    """
    # What can be refused at once.
    check_options(options)
    study = load_study(options.study, Path(options.out), options.storage)
    record = StudyRecord.from_json(required_record(study.user_attrs.get("study"), options.study))
    if record.options.get("outer") is not None:
        raise InputError(
            "a search of --outer is tested on its own part of the people, once, by that command",
            options.study,
            "Read the results of --outer, or confirm a study without it.",
        )
    folder = Path(options.out) / options.study
    require_folders(folder)

    # How far it is, and what Ctrl-C says.
    places = {"out": options.out, "storage": options.storage}
    if progress is None:
        progress = Progress()
        progress.report_command = command_line("study.report", place_words(options.study, places))

    # The confirmation.
    with exclusive_confirmation(folder):
        confirmation = _confirm(study, record, options, progress)
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, confirmation.to_json())

    # What the user sees of it.
    phase = Phase("export", counted="writing tables, figures and the report", after_interrupt=AFTER_EXPORT)
    with progress.phase(phase), counting(phase, "parts of the report", progress.tell_state):
        export(record.to_json() | confirmation_of(study), trials_of(study), folder)
    print_results(study, dataclasses.replace(record, confirmation=confirmation.to_json()), progress)
    progress.say(f"report: {folder / 'report.html'}")
    tracking_uri = StudyOptions.from_json(record.options).tracking_uri
    if tracking_uri != "none":
        tracked = places | {"tracking_uri": tracking_uri}
        progress.say("MLflow has it after:")
        progress.show_command(f"  {command_line('study.sync', place_words(options.study, tracked, 'tracking_uri'))}")


def _confirm(
    study: "optuna.Study", record: StudyRecord, options: ConfirmationOptions, progress: Progress
) -> Confirmation:
    """Trains and evaluates what is left to do, and returns the confirmation with its results.

    Args:
        study: Whose.
        record: Of the study.
        options: What is confirmed and where.
        progress: Shows how far it is.
    """
    study_options = StudyOptions.from_json(record.options)
    device = required_device(record.baseline.device if options.device is None else options.device)
    folder = Path(options.out) / options.study

    # What is left to train, with which data.
    confirmation = begin_confirmation(study, options.seeds, options.again)
    data = options.data or study_options.data
    datasets = reopen_datasets(record, options.out, data)
    trainings = trainings_left(confirmation, folder)
    workers = min(options.workers or usual_workers(device), len(trainings))
    progress.say(f"confirming {options.study}: {describe_trainings(confirmation, trainings, workers)}")
    if confirmation.evaluated is None:
        tell_test_sets(record, progress)

    # Training, and evaluation once it is recorded.
    assignment = Assignment(record, options.out, data, device, str(folder), confirmation.jobs)
    record_now = partial(record_evaluation, study, record, confirmation, datasets, options.out, progress.say)
    phase = Phase("confirmation", after_interrupt="trainings stop, those that have ended stay")
    course = ConfirmationCourse(phase, confirmation, trainings, workers)

    def begin(training: Training) -> None:
        course.begin(training)
        progress.tell_state()

    def end(training: Training, seconds: float) -> None:
        course.end(training, seconds)
        progress.tell_state()

    with progress.phase(phase):
        confirmation = train_and_evaluate(assignment, trainings, workers, record_now, begin, end)

    # What the answers say.
    truth = read_ground_truth(datasets, study_options.folds or 1)
    results = collect_results(confirmation, folder, truth)
    return dataclasses.replace(confirmation, finished=time_now(), results=results.to_json())


def tell_test_sets(record: StudyRecord, progress: Progress) -> None:
    """Prints how many people and images the test sets have, and warns of one that can decide nothing.

    Their sizes were counted when the datasets were prepared: no test image is read.

    Args:
        record: Of the study.
        progress: Prints it.
    """
    sizes = [f"{dataset_label(record, domain)}: {describe_test_size(record, domain)}" for domain in DOMAINS]
    progress.say(f"test sets, which stay closed until all else has proved right: {'; '.join(sizes)}")
    people = record.target.count_people("test")
    if 0 < people <= TOO_FEW_PEOPLE:
        progress.warn(
            f"{count_of(people, 'test person', 'test people')} of {dataset_label(record, 'target')} can decide nothing "
            "about others: a search with --outer, which tests on everybody in turn, or more people would"
        )


def describe_test_size(record: StudyRecord, domain: str) -> str:
    """Returns the size of a test set: "14 images of 1 person", or "15 images of unknown people"."""
    dataset = record.dataset(domain)
    people = dataset.count_people("test")
    whom = count_of(people, "person", "people") if people else "unknown people"
    return f"{count_of(dataset.count_images('test'), 'image')} of {whom}"


def describe_trainings(confirmation: Confirmation, left: Sequence[Training], workers: int) -> str:
    """Returns what a confirmation trains: "7 configurations with 2 seeds each and 1 that no seed changes: 15 …".

    Args:
        confirmation: Has the configurations.
        left: The trainings that are still to be done.
        workers: In how many processes.
    """
    changing = sum(depends_on_seed(job.adaptation) for job in confirmation.jobs)
    unchanging = len(confirmation.jobs) - changing
    words = f"{count_of(changing, 'configuration')} with {count_seeds(confirmation.seeds)} each"
    if unchanging:
        words += f" and {unchanging} that no seed changes, as the baseline"
    total = changing * confirmation.seeds + unchanging
    done = f", {total - len(left)} of which are done" if len(left) < total else ""
    return f"{words}, so {count_of(total, 'network')}{done}; {count_of(workers, 'process', 'processes')}"


def print_results(study: "optuna.Study", record: StudyRecord, progress: Progress) -> None:
    """Prints the confirmed points, the paper's table where that is the space, and then the verdict.

    Args:
        study: The study.
        record: Its record with its confirmation.
        progress: Prints them.
    """
    rows, summary = read_search(record, trials_of(study))
    network = find_recommended(front_table(rows))
    recommended = "" if network is None else str(network["model"])
    progress.show(confirmed_rich_table(record, recommended))
    for line in describe_tested(record, rows, summary):
        progress.say(line)
    paper = for_terminal(record, rows)
    if paper is not None:
        progress.show(paper)

    # What follows from it.
    for verdict in (describe_confirmed_changes(record), describe_stronger_strategies(record, network)):
        if verdict:
            progress.say(verdict)


def check_options(options: ConfirmationOptions) -> None:
    """Raises InputError for numbers that no confirmation can have."""
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise InputError(f"--seeds is between 1 and {MOST_SEEDS}", options.seeds, f"Give {SEEDS}, or leave it out.")
    if options.workers is not None and not 1 <= options.workers <= MOST_WORKERS:
        raise InputError(f"--workers is between 1 and {MOST_WORKERS}", options.workers, "Leave it out.")


@contextlib.contextmanager
def exclusive_confirmation(folder: Path) -> Iterator[None]:
    """Holds the study's folder, so that two confirmations of one study cannot evaluate its test images twice."""
    refusal = InputError(
        "a study is confirmed by one process at a time", f"{folder}, which another holds", "Wait for it."
    )
    with holding_lock(folder / ".confirm.lock", refusal):
        yield


def reopen_datasets(record: StudyRecord, out: str, data: str | None) -> dict[str, "Dataset"]:
    """Opens the study's datasets by domain; what is missing or damaged is prepared again.

    Args:
        record: Of the study.
        out: The output folder.
        data: Where the user's copies of the datasets are.
    """
    options = record.options | {"out": out, "data": data}
    return {domain: reopen_dataset(record.dataset(domain), options) for domain in DOMAINS}


def record_evaluation(
    study: "optuna.Study",
    record: StudyRecord,
    confirmation: Confirmation,
    datasets: Mapping[str, "Dataset"],
    out: str,
    say: Callable[[str], None] = print,
) -> Confirmation:
    """Records that the test images are about to be evaluated, and finds out which studies evaluated them before.

    The study's own record is written first: before that nothing reads a test image, not even for its digest.

    Args:
        study: Whose confirmation it is.
        record: Of the study.
        confirmation: Planned, or cut off after its evaluation was recorded.
        datasets: By domain.
        out: The output folder.
        say: Prints which studies these are.

    Returns:
        The confirmation with what was recorded.
    """
    # The study's record: when its test images are evaluated. A confirmation that was cut off has it.
    if confirmation.evaluated is None:
        confirmation = dataclasses.replace(confirmation, evaluated=time_now())
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, confirmation.to_json())

    # The output folder's record: each test set by its digest, with all studies that evaluated it.
    if confirmation.test_sets is None:
        evaluation = {"study": record.name, "id": record.id, "opened": str(confirmation.evaluated)}
        test_sets = {}
        for domain in DOMAINS:
            described = describe_test_set(datasets[domain])
            earlier = note_evaluation(out, described["digest"], evaluation)
            test_sets[domain] = described | {"evaluated_before": earlier}
        confirmation = dataclasses.replace(confirmation, test_sets=test_sets)
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, confirmation.to_json())

    with_confirmation = dataclasses.replace(record, confirmation=confirmation.to_json())
    say(f"the test sets are opened.{evaluated_before(with_confirmation)}")
    return confirmation
