"""`python -m study.confirm`: trains the front and the named strategies again and reads the test sets, once.

The best of many trials on few validation images looks better than it is. Here every point of the front, and every
named strategy, is trained anew with several seeds, each with its own order, draw of views, new weights and division of
the target into training and validation, and judged on test images that nothing before has read. A second reading is
refused unless asked for with --again, and is then recorded.
"""

import argparse
import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.arguments import Parser, integer
from study.cli import DONE, leave, run_command
from study.config import check_places, joining_parent
from study.describe import SIDES
from study.machine import required_device, usual_workers, worker_environment
from study.retrain import ATTRIBUTE, describe_test_set, kept_answers, truth_of, varies

if TYPE_CHECKING:
    import numpy as np
    import optuna

    from fer.adaptation import AdaptationConfig
    from fer.datasets import Dataset
    from study.retrain import Truth

SEEDS = 5
MOST_SEEDS, MOST_WORKERS = 1000, 1024
LEVEL = 0.95

Job = dict[str, Any]
Training = tuple[int, int]
"""The number of a job, and a seed."""


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `python -m study.confirm`."""
    parser = Parser(
        prog="python -m study.confirm",
        description=(__doc__ or "").split("\n\n")[1],
        parents=[joining_parent()],
    )
    parser.add_argument("study", metavar="STUDY", help="name of the study")
    parser.add_argument(
        "--seeds", type=integer, default=SEEDS, metavar="K", help="trainings of each (default: %(default)s)"
    )
    parser.add_argument("--again", action="store_true", help="open the test sets a second time, which is recorded")
    parser.add_argument("--workers", type=integer, metavar="N", help="processes (default: cores, 4 at most on a GPU)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(check_and_confirm, arguments, resume="study.confirm")


def check_and_confirm(arguments: list[str] | None) -> int:
    """Checks the command line, then confirms the study."""
    args = build_parser().parse_args(arguments)
    check_places(args)
    confirm(args)
    return DONE


def confirm(args: argparse.Namespace) -> None:
    """Confirms a study and writes its exports anew.

    The opening of the test sets is recorded when everything else has proved right: arguments, record, data, baseline,
    and the first training of each process on its device. A command that is refused before leaves them closed.
    """
    import rich

    from study.front import table
    from study.paper import for_terminal
    from study.reading import required_record
    from study.report import confirmation_of, export, require_folders
    from study.storage import load_study, trials_of

    # What can be refused at once.
    check_arguments(args)
    study = load_study(args.study, Path(args.out), args.storage)
    record = required_record(study.user_attrs.get("study"), args.study)
    device = required_device(record["baseline"]["device"] if args.device is None else args.device)
    folder = Path(args.out) / args.study
    require_folders(folder)

    with only_confirmation(folder):
        # What is left to train, with which data.
        opening = begin(study, args.seeds, args.again)
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
        found = results(opening, folder, truth)
        opening = opening | {"finished": _now(), "results": found}
        study.set_user_attr(ATTRIBUTE, opening)
    export(record | confirmation_of(study), trials_of(study), folder)
    rich.print(as_rich(record, opening))
    paper = for_terminal(record | {ATTRIBUTE: opening}, table(trials_of(study)))
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
    from study.lab import reopen

    options = record["options"] | {"out": args.out, "data": data_folder(record, args)}
    return {domain: reopen(record[domain], options) for domain in SIDES}


# The opening.


def begin(study: "optuna.Study", seeds: int, again: bool) -> dict[str, Any]:
    """Returns what is confirmed: a new opening, not recorded yet, or one that was cut off and goes on.

    Raises:
        InputError: The test sets were opened before, and a second time was not asked for.
    """
    known = study.user_attrs.get(ATTRIBUTE)
    if known is None:
        return {"seeds": seeds, "jobs": plan(study), "earlier": []}

    opening = known if isinstance(known, Mapping) else {}
    opened, finished = str(opening.get("opened", "at an unknown time")), opening.get("finished")
    if not finished and opening.get("seeds") == seeds and are_jobs(opening.get("jobs")):
        return dict(opening)
    if not again:
        raise InputError(
            "a study's test sets are opened once",
            f"opened {opened} with {opening.get('seeds', 'an unknown number of')} seeds",
            "Read its report, or open them a second time with --again, which is recorded.",
        )
    earlier = opening.get("earlier")
    before = [str(time) for time in earlier] if isinstance(earlier, list) else []
    return {"seeds": seeds, "jobs": plan(study), "earlier": [*before, opened]}


def are_jobs(jobs: Any) -> bool:
    """Returns whether the jobs of an opening are what `plan` returns, so that it can go on."""
    from fer.adaptation import from_knobs
    from study.reading import is_number

    try:
        for job in jobs:
            from_knobs(job["config"])
            named = all(isinstance(job[name], str) for name in ("name", "named", "strategy"))
            placed = all(is_number(way["alpha"]) and is_number(way["slope"]) for way in job["ways"])
            told = all(isinstance(way["model"], str) and isinstance(way["front"], bool) for way in job["ways"])
            if not (named and placed and told and job["ways"]):
                return False
    except (TypeError, KeyError, ValueError):
        return False
    return isinstance(jobs, list) and bool(jobs)


def record_opening(
    study: "optuna.Study", record: dict[str, Any], opening: dict[str, Any], datasets: dict[str, "Dataset"], out: str
) -> dict[str, Any]:
    """Records that the test sets are opened and for what, then who evaluated the same images before; returns it all.

    The study's record comes first: nothing reads a test image, not even for its digest, before that is written.
    """
    from study.evaluations import evaluated_before, note_evaluation

    if "opened" not in opening:
        opening = opening | {"opened": _now()}
        study.set_user_attr(ATTRIBUTE, opening)
    if "test_sets" not in opening:
        sets = {}
        mine = {"study": record["name"], "id": record["id"], "opened": opening["opened"]}
        for domain in SIDES:
            described = describe_test_set(datasets[domain])
            before = note_evaluation(out, described["digest"], mine)
            sets[domain] = described | {"evaluated_before": before}
        opening = opening | {"test_sets": sets}
        study.set_user_attr(ATTRIBUTE, opening)
    said = evaluated_before(record | {ATTRIBUTE: opening})
    print(f"the test sets are opened.{said}", flush=True)
    return opening


def plan(study: "optuna.Study") -> list[Job]:
    """Returns what is trained again: a job per configuration, with the places on its way that count.

    The baseline comes first, because all others are compared with it; then the front, then the named strategies that
    are not on it.
    """
    from fer.adaptation import fingerprint, knobs
    from study.front import front, models_of, points, table
    from study.storage import trials_of

    record = study.user_attrs["study"]
    trials = trials_of(study)
    rows = table(trials)
    configs = readable_configs(trials)
    leading = front(rows)
    if leading.empty:
        raise InputError("a study to confirm has a finished trial", study.study_name, "Let it go on with study.run.")
    end = {"alpha": 1.0, "slope": 0.0, "model": "", "front": False}
    jobs: dict[str, Job] = {}
    images = [training_images(record, domain) for domain in SIDES]
    for name, strategy, config in references(record):
        jobs[fingerprint(config)] = {
            "name": name, "named": name, "strategy": strategy, "config": knobs(config), "ways": [end],
            "target_passes": config.target_passes(*images),
        }  # fmt: skip
    every = points(rows)
    every["model"] = models_of(every)
    for row in every[every["model"].isin(leading["model"])].to_dict("records"):
        number = row["number"]
        if number not in configs:
            print(f"warning: trial {number} cannot be confirmed: its configuration cannot be read", file=sys.stderr)
            continue
        config = configs[number]
        new = {"name": "", "named": "", "strategy": row["strategy"], "config": knobs(config), "ways": []}
        job = jobs.setdefault(fingerprint(config), new)
        job["name"] = job["name"] if job["name"].startswith("trial") else f"trial {number}"
        way = {"alpha": row["share"], "slope": row["slope"], "model": row["model"], "front": True}
        way |= {f"{domain}_val": row[f"{domain}_val"] for domain in SIDES}
        job["ways"] = [*(kept for kept in job["ways"] if kept is not end or way["alpha"] != 1), way]
    first, *others = jobs.values()
    others.sort(key=lambda job: not any(way["front"] for way in job["ways"]))
    return [first, *others]


def readable_configs(trials: "Sequence[optuna.trial.FrozenTrial]") -> dict[int, "AdaptationConfig"]:
    """Returns the configurations of the trials that count, by number; what cannot be read is left out."""
    from fer.adaptation import from_knobs
    from study.front import readable

    configs = {}
    for trial in readable(trials).value:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            configs[trial.number] = from_knobs(trial.user_attrs["config"])
    return configs


def references(record: dict[str, Any]) -> list[tuple[str, str, "AdaptationConfig"]]:
    """Returns what every front is confirmed beside, as name, strategy, configuration: the paper's five.

    In the paper's space that is its whole table, with both shares of the target's training set.
    """
    from fer.adaptation import STRATEGIES
    from search_spaces import named_in
    from study.lab import base_config
    from study.paper import AMOUNTS

    space, base, found = record["options"]["space"], base_config(record), []
    for strategy in STRATEGIES:
        if space == "paper" and strategy != "BL":
            shares = [(f"{strategy} {share:.0%}".replace("%", " %"), share) for share in AMOUNTS]
        else:
            shares = [(strategy, base.amount)]
        config = named_in(space, strategy, base)
        found += [(name, strategy, replace(config, amount=share)) for name, share in shares]
    return found


def training_images(record: dict[str, Any], domain: str) -> int:
    """Returns how many training images a dataset of the study has, 0 where its record does not say."""
    sizes = (record[domain].get("report") or {}).get("sizes") or {}
    return int(sizes.get("train", 0))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# Trainings.


def trainings_left(opening: Mapping[str, Any], folder: Path) -> list[Training]:
    """Returns the trainings whose answers are not kept, or not whole, those that no seed changes last.

    These train nothing, so that the first training of each process tells whether its device and memory suffice.
    """
    from fer.adaptation import from_knobs

    changing, unchanging = [], []
    configs = [from_knobs(job["config"]) for job in opening["jobs"]]
    for seed in range(opening["seeds"]):
        for index, config in enumerate(configs):
            if varies(config):
                changing.append((index, seed))
            elif seed == 0:
                unchanging.append((index, seed))
    every = [*changing, *unchanging]
    if "opened" not in opening:
        return every
    return [training for training in every if kept_answers(folder, opening, *training) is None]


def train_and_evaluate(
    assignment: Mapping[str, Any], trainings: Sequence[Training], workers: int, open_test_sets: Callable[[], Any]
) -> None:
    """Lets processes train their parts, opens the test sets when all are ready, and lets them evaluate.

    Args:
        assignment: What all processes are told, see `study.retrain.work`.
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
        [sys.executable, "-m", "study.retrain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
        env=worker_environment(), start_new_session=True,
    )  # fmt: skip

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


# Results.


def results(opening: Mapping[str, Any], folder: Path, truth: "Truth") -> dict[str, Any]:
    """Turns the kept answers into what the report says; a pure function of its arguments and the kept files.

    Raises:
        RuntimeError: Answers of a job are missing.
    """
    import numpy as np

    from study.evidence import differences, judge, measured, predicted, within

    missing = trainings_left(opening, folder)
    if missing:
        index, seed = missing[0]
        raise RuntimeError(
            f"the answers of {opening['jobs'][index]['name']} with seed {seed} are missing; the same command trains it "
            "again"
        )

    labels, subjects = truth.labels, truth.subjects
    points: list[dict[str, Any]] = []
    again: list[dict[str, float]] = []
    for index, job in enumerate(opening["jobs"]):
        found = [kept_answers(folder, opening, index, k) for k in range(opening["seeds"])]
        kept = [answers for answers in found if answers is not None]
        for place, way in enumerate(job["ways"]):
            logits = {domain: np.stack([answers[f"{domain}-{place}"] for answers in kept]) for domain in SIDES}
            right = {domain: predicted(logits[domain]) == labels[domain] for domain in SIDES}
            about = {"name": job["name"], "strategy": job["strategy"]} | way | {"logits": logits, "right": right}
            about["target_passes"] = job.get("target_passes", 0.0)
            # A named strategy is the network at its end; those on the way to it are points of the front alone.
            about["named"] = job["named"] if (way["alpha"], way["slope"]) == (1.0, 0.0) else ""
            inside = {name: kept[0][f"{name}-{place}"] for name in ("cka", "probe") if f"{name}-{place}" in kept[0]}
            points.append(about | {"divisions": min(len(kept), truth.divisions)} | inside)
            # What no seed changes was validated on the first seed's division alone: no match for means over all.
            again.append(validated_again(kept, place) if len(kept) == opening["seeds"] else {})
    judged = judge(points, subjects, LEVEL)
    more = measured(points, labels)
    rows = zip(judged["points"], more, again, strict=True)
    judged["points"] = [row | measures | validation for row, measures, validation in rows]
    judged["inside"] = [within(point, points[0], labels) for point in points]
    return judged | {"differences": differences(points, subjects, LEVEL)}


def validated_again(kept: "Sequence[dict[str, np.ndarray]]", place: int) -> dict[str, float]:
    """Returns the accuracy of a job's fresh trainings on validation images, the mean over seeds.

    The search chose a point because of its validation accuracy, which therefore is too high in the mean. These
    trainings were chosen by nothing. The target's images are those of each seed's own division; the source's are the
    ones that the search saw, so that the choice may still suit these images.

    Args:
        kept: A training's answers each, see `study.retrain.evaluate`.
        place: On the job's way.

    Returns:
        source_val_again and target_val_again; a training that diverged counts as 0.
    """
    import numpy as np

    from study.evidence import predicted

    found = {}
    for domain in SIDES:
        accuracies = [
            np.mean(predicted(answers[f"{domain}-val-{place}"]) == answers[f"{domain}-val-labels"]) for answers in kept
        ]
        found[f"{domain}_val_again"] = float(np.mean(accuracies))
    return found


def as_rich(record: dict[str, Any], opening: dict[str, Any]) -> Any:
    """Returns the confirmed points as a table for the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from study.describe import SYNTHETIC, dataset_label, is_synthetic, percent
    from study.evidence import interval_text

    mark = f" ({SYNTHETIC})" if is_synthetic(record) else ""
    # Without vertical lines eighty columns hold it.
    seeds = "1 seed" if opening["seeds"] == 1 else f"{opening['seeds']} seeds"
    title = f"test accuracy in per cent, {seeds}{mark}"
    shown = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("point", "strategy", "alpha"):
        shown.add_column(name, overflow="fold", min_width=len(name))
    for domain in SIDES:
        shown.add_column(f"{dataset_label(record, domain)},\n{LEVEL:.0%} interval", justify="right", no_wrap=True)
    for name in ("again", "p"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.caption = (
        "again: target validation accuracy of these trainings, which nothing was chosen by; p: of the change from BL "
        "on the target, corrected by Holm"
    )
    shown.caption_justify = "left"
    for point in opening["results"]["points"]:
        cells = [interval_text(point, domain) for domain in SIDES]
        cells.append(percent(point.get("target_val_again")))
        shown.add_row(point["name"], point["strategy"], point["alpha"], *cells, f"{point['target_p']:.3g}")
    return shown


if __name__ == "__main__":
    leave(main())
