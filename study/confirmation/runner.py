"""Runs a confirmation: its trainings in processes, its results, its exports."""

import argparse
import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.confirmation.plan import Training, begin_confirmation, time_now
from study.confirmation.results import trainings_left
from study.confirmation.retrain import (
    CONFIRMATION_ATTRIBUTE,
    describe_test_set,
    truth_of,
)
from study.machine import (
    required_device,
    usual_workers,
    worker_environment,
)
from study.options import SEEDS
from study.record import DOMAINS

if TYPE_CHECKING:
    import optuna

    from fer.datasets import Dataset
from study.confirmation.plan import MOST_SEEDS, MOST_WORKERS
from study.confirmation.results import collect_results
from study.reporting.terminal import confirmed_rich_table


def run_confirmation(args: argparse.Namespace) -> None:
    """Confirms a study and writes its exports anew.

    The opening of the test sets is recorded when everything else has proved right: arguments, record, data, baseline,
    and the first training of each process on its device. A command that is refused before leaves them closed.
    """
    import rich

    from study.reading_record import required_record
    from study.reporting.export import export, require_folders
    from study.reporting.terminal import for_terminal
    from study.storage.backend import load_study, trials_of
    from study.storage.records import confirmation_of
    from study.trials import trials_table

    # What can be refused at once.
    check_arguments(args)
    study = load_study(args.study, Path(args.out), args.storage)
    record = required_record(study.user_attrs.get("study"), args.study)
    device = required_device(record["baseline"]["device"] if args.device is None else args.device)
    folder = Path(args.out) / args.study
    require_folders(folder)

    with only_confirmation(folder):
        # What is left to train, with which data.
        opening = begin_confirmation(study, args.seeds, args.again)
        datasets = reopen_datasets(record, args)
        left = trainings_left(opening, folder)
        workers = min(args.workers or usual_workers(device), len(left))
        print(
            f"confirming {args.study}: {len(opening['jobs'])} jobs with {args.seeds} seeds, {len(left)} trainings in "
            f"{workers} processes",
            flush=True,
        )

        # Training, and evaluation once the test sets are opened.
        assignment = {
            "record": record, "out": args.out, "data": data_folder(record, args), "device": device,
            "folder": str(folder), "jobs": opening["jobs"],
        }  # fmt: skip

        def open_test_sets() -> dict[str, Any]:
            nonlocal opening
            opening = record_opening(study, record, opening, datasets, args.out)
            return opening

        train_and_evaluate(assignment, left, workers, open_test_sets)

        # What the answers say.
        truth = truth_of(datasets, record["options"].get("folds", 0))
        found = collect_results(opening, folder, truth)
        opening = opening | {"finished": time_now(), "results": found}
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, opening)
    export(record | confirmation_of(study), trials_of(study), folder)
    rich.print(confirmed_rich_table(record, opening))
    paper = for_terminal(record | {CONFIRMATION_ATTRIBUTE: opening}, trials_table(trials_of(study)))
    if paper is not None:
        rich.print(paper)
    print(f"report: {folder / 'report.html'}; for MLflow: python -m study.sync {args.study}")


def check_arguments(args: argparse.Namespace) -> None:
    """Refuses numbers that no confirmation can have."""
    if not 1 <= args.seeds <= MOST_SEEDS:
        raise InputError(f"--seeds is between 1 and {MOST_SEEDS}", args.seeds, f"Give {SEEDS}, or leave it out.")
    if args.workers is not None and not 1 <= args.workers <= MOST_WORKERS:
        raise InputError(f"--workers is between 1 and {MOST_WORKERS}", args.workers, "Leave it out.")


@contextlib.contextmanager
def only_confirmation(folder: Path) -> Iterator[None]:
    """Holds the study's folder, so that two confirmations of one study cannot open its test sets twice."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".confirm.lock")
    try:
        with lock.acquire(blocking=False):
            yield
    except Timeout:
        raise InputError(
            "a study is confirmed by one process at a time", f"{folder}, which another holds", "Wait for it."
        ) from None


def data_folder(record: Mapping[str, Any], args: argparse.Namespace) -> str | None:
    """Returns where the user's copies of the datasets are: where the command says, or where the study read them."""
    return args.data or record["options"].get("data")


def reopen_datasets(record: Mapping[str, Any], args: argparse.Namespace) -> dict[str, "Dataset"]:
    """Opens the study's datasets; what is missing or damaged is prepared again."""
    from study.inputs import reopen_dataset

    options = record["options"] | {"out": args.out, "data": data_folder(record, args)}
    return {domain: reopen_dataset(record[domain], options) for domain in DOMAINS}


def record_opening(
    study: "optuna.Study", record: dict[str, Any], opening: dict[str, Any], datasets: dict[str, "Dataset"], out: str
) -> dict[str, Any]:
    """Records that the test sets are opened and for what, then who evaluated the same images before; returns it all.

    The study's record comes first: nothing reads a test image, not even for its digest, before that is written.
    """
    from study.confirmation.evaluations import note_evaluation
    from study.reporting.wording import evaluated_before

    if "opened" not in opening:
        opening = opening | {"opened": time_now()}
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, opening)
    if "test_sets" not in opening:
        sets = {}
        mine = {"study": record["name"], "id": record["id"], "opened": opening["opened"]}
        for domain in DOMAINS:
            described = describe_test_set(datasets[domain])
            before = note_evaluation(out, described["digest"], mine)
            sets[domain] = described | {"evaluated_before": before}
        opening = opening | {"test_sets": sets}
        study.set_user_attr(CONFIRMATION_ATTRIBUTE, opening)
    said = evaluated_before(record | {CONFIRMATION_ATTRIBUTE: opening})
    print(f"the test sets are opened.{said}", flush=True)
    return opening


def train_and_evaluate(
    assignment: Mapping[str, Any], trainings: Sequence[Training], workers: int, open_test_sets: Callable[[], Any]
) -> None:
    """Lets processes train their parts, opens the test sets when all are ready, and lets them evaluate.

    Args:
        assignment: What all processes are told, see `study.confirmation.retrain.run_part`.
        trainings: What there is to do.
        workers: How many processes, no more than trainings.
        open_test_sets: Records the opening and returns it; called once.

    Raises:
        InputError: A process found the device, the data or the baseline wrong.
        RuntimeError: A process could not go on.
    """
    messages: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
    parts: list[subprocess.Popen] = []
    try:
        for number in range(workers):
            mine = {**assignment, "trainings": trainings[number::workers]}
            parts.append(start_part(mine, number, messages))

        # Each is ready, or has ended because it cannot be.
        waiting = set(range(workers))
        while waiting:
            number, message = messages.get()
            if message is None or "ready" not in message:
                raise trouble(message, parts[number])
            waiting.discard(number)

        opening = open_test_sets()
        for part in parts:
            tell(part, opening)

        running = set(range(workers))
        while running:
            number, message = messages.get()
            if message is not None or parts[number].wait():
                raise trouble(message, parts[number])
            running.discard(number)
    finally:
        for part in parts:
            part.kill()
            part.wait()


def start_part(
    assignment: Mapping[str, Any], number: int, messages: "queue.Queue[tuple[int, dict[str, Any] | None]]"
) -> subprocess.Popen:
    """Starts one process and tells it its assignment, by a pipe: a record has no largest size, a command line has.

    Its messages come into the queue, with None at its end.
    """
    part = subprocess.Popen(
        [sys.executable, "-m", "study.confirmation.retrain"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env=worker_environment(),
        start_new_session=True,
    )

    def listen() -> None:
        assert part.stdout is not None
        for line in part.stdout:
            with contextlib.suppress(ValueError):  # a line that a library printed
                message = json.loads(line)
                if isinstance(message, dict):
                    messages.put((number, message))
        messages.put((number, None))

    threading.Thread(target=listen, daemon=True).start()
    tell(part, assignment)
    return part


def tell(part: subprocess.Popen, what: Mapping[str, Any]) -> None:
    """Writes a JSON line to a process; one that has ended says why itself."""
    assert part.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        part.stdin.write(json.dumps(what) + "\n")
        part.stdin.flush()


def trouble(message: Mapping[str, Any] | None, part: subprocess.Popen) -> Exception:
    """Returns the error that a process told, or that it ended without telling one."""
    if message is not None and "error" in message:
        return InputError(*message["error"])
    if message is not None and "stuck" in message:
        return RuntimeError(f"{message['stuck']}. Mended, the same command goes on")
    return RuntimeError(
        f"a process of the confirmation ended with code {part.wait()}; its messages are above, and the same command "
        "goes on"
    )
