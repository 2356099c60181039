"""`python -m study.run`: the main job, from the data to the report."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.config import (
    DEFAULT_TRACKING,
    DONE,
    FAILED,
    INTERRUPTED,
    WRONG_USE,
    StudyOptions,
    identity,
    parse,
    study_name,
)
from study.machine import cores, gpu_count, hardware, versions, worker_environment
from study.progress import Progress, front_rich

if TYPE_CHECKING:
    import optuna

    from fer.datasets import Dataset
    from study.following import Follower

MOST_CRASHES_IN_A_ROW = 3
MOST_FAILURES_IN_A_ROW = 20


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    try:
        options = resolve(parse(arguments))
        progress = Progress(quiet=options.quiet)
        progress.say(f"{options.source} → {options.target}: {options.wanted} trials, space {options.space}")
        return run(options, progress)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here:", file=sys.stderr)
        print(f"  {same_command(arguments)}", file=sys.stderr)
        return INTERRUPTED


def same_command(arguments: list[str] | None) -> str:
    """Returns the line that resumes the study."""
    import shlex

    return shlex.join(["python", "-m", "study.run", *(sys.argv[1:] if arguments is None else arguments)])


def resolve(options: StudyOptions) -> StudyOptions:
    """Settles what "auto" means on this machine."""
    device = options.device if options.device != "auto" else ("cuda" if gpu_count() else "cpu")
    if device.startswith("cuda") and not gpu_count():
        raise InputError("--device cuda needs a GPU that its driver shows", options.device, "Use --device cpu.")
    preset = options.preset if options.preset != "auto" else ("paper" if device != "cpu" else "laptop")
    workers = options.workers if options.workers != "auto" else str(min(4, cores()) if device != "cpu" else cores())
    return dataclasses.replace(options, device=device, preset=preset, workers=workers)


def run(options: StudyOptions, progress: Progress) -> int:
    """Prepares, searches, exports."""
    from study.following import Follower
    from study.search import open_storage

    # Connecting takes seconds, so it begins now; a server that the user named must answer.
    follower = Follower(options.tracking_uri, required=options.tracking_uri is not None)
    source, target = read_data(options, progress)
    synthetic = "synthetic" in (source.kind, target.kind)
    name = study_name(options, source.name, target.name, synthetic)
    folder = Path(options.out) / name
    with only_parent(folder):
        record = make_record(name, options, source, target, synthetic)
        open_storage(options.storage, folder)  # before minutes of training: a server that is not there ends it here
        study = find_study(record, options, progress)
        if study is None:
            record["baseline"] = obtain_baseline(record, progress)
            follower.check()
            study = create_study(record, options, folder)
        else:
            record = study.user_attrs["study"]
        show_setting(record, options, progress)
        return search(study, record, options, folder, progress, follower)


def read_data(options: StudyOptions, progress: Progress) -> tuple["Dataset", "Dataset"]:
    """Reads source and target; says loudly where a stand-in takes their place."""
    from study.lab import prepare

    asked = dataclasses.asdict(options)
    source = prepare(options.source, asked, options.data_kind)
    target = prepare(options.target, asked, options.data_kind)
    for dataset in (source, target):
        sizes = " / ".join(f"{len(dataset.open(split)):,}" for split in ("train", "validation"))
        progress.say(f"  {dataset.name}: {dataset.kind}, {sizes} training / validation images, hash {dataset.digest}")
        if dataset.kind == "synthetic":
            progress.warn(
                f"no copy of {dataset.name} was found: DRAWN STAND-IN FACES take its place, and its numbers say "
                f"nothing about {dataset.name} (put yours under --data DIR/{dataset.name})"
            )
    if source.kind != target.kind:
        progress.warn("one dataset is real and the other a stand-in: fit to try the tool, not to learn about faces")
    return source, target


@contextlib.contextmanager
def only_parent(folder: Path) -> Iterator[None]:
    """Holds the study's folder, so that two parents on one machine cannot run one study."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        with lock.acquire(blocking=False):
            yield
    except Timeout:
        raise InputError(
            "a study has one parent",
            f"{folder}, which another study.run holds",
            "Wait for it, or help it with python -m study.worker.",
        ) from None


def make_record(
    name: str, options: StudyOptions, source: "Dataset", target: "Dataset", synthetic: bool
) -> dict[str, Any]:
    """Returns the study's record, which study.json holds, all but its baseline."""
    from study.describe import hide_secrets
    from study.lab import budget, reference

    asked = dataclasses.asdict(options) | {"trials": options.wanted}
    return {
        "name": name,
        "id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": reference(source),
        "target": reference(target),
        "synthetic": synthetic,
        "options": hide_secrets(asked),
        "budget_epochs": budget(asked, len(source.open("train")), len(target.open("train"))),
        "network": {"name": "VGG-13, 48×48 grey (arXiv 1905.12082)"},
        "versions": versions(),
        "hardware": hardware(),
    }


def find_study(record: dict[str, Any], options: StudyOptions, progress: Progress) -> "optuna.Study | None":
    """Returns the study of this name to resume it, or None when it is new.

    Raises:
        InputError: There is one that was started with other options or other data.
    """
    import optuna

    from study.search import JOURNAL, open_storage

    folder = Path(options.out) / record["name"]
    if options.storage is None and not (folder / JOURNAL).exists():
        return None
    try:
        study = optuna.load_study(study_name=record["name"], storage=open_storage(options.storage, folder))
    except KeyError:
        return None
    known = study.user_attrs.get("study")
    if known is None:
        return None
    before = {name: known["options"].get(name) for name in identity(options)} | {
        side: known[side]["digest"] for side in ("source", "target")
    }
    now = identity(options) | {side: record[side]["digest"] for side in ("source", "target")}
    changed = [f"{name} {before[name]} → {now[name]}" for name in now if before[name] != now[name]]
    if changed:
        raise InputError(
            f"study {record['name']} can only go on as it was started",
            "; ".join(changed),
            "Use the same options, or give the new study a name with --study NAME.",
        )
    progress.say(f"resuming {record['name']}, started {known['created']}")
    return study


def obtain_baseline(record: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Finds or trains the baseline in a process that has the environment for it."""
    progress.say("baseline: looking for it by its hash, else training it once for all studies")
    command = [sys.executable, "-m", "study.baseline", json.dumps(record)]
    started = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=worker_environment()) as process:
        try:
            assert process.stdout is not None
            for text in process.stdout:
                line = json.loads(text)
                if "baseline" in line:
                    return line["baseline"]
                if "error" in line:
                    raise InputError(*line["error"])
                if "epoch" in line:
                    seconds = time.monotonic() - started
                    progress.say(
                        f"  baseline epoch {line['epoch']}/{line['of']}: loss {line['loss']:.3f}, {seconds:.0f} s"
                    )
        except BaseException:
            process.terminate()
            raise
    raise RuntimeError(f"the baseline's process ended with code {process.returncode}; its messages are above")


def create_study(record: dict[str, Any], options: StudyOptions, folder: Path) -> "optuna.Study":
    """Creates the study in its storage, with its record."""
    import optuna

    from study.search import open_storage

    study = optuna.create_study(
        study_name=record["name"],
        storage=open_storage(options.storage, folder),
        directions=["maximize", "maximize"],
        load_if_exists=True,
    )
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        study.set_metric_names(["source_val", "target_val"])
    record["network"] |= {key: record["baseline"][key] for key in ("width", "parameters")}
    study.set_user_attr("study", record)
    return study


def show_setting(record: dict[str, Any], options: StudyOptions, progress: Progress) -> None:
    """Tells what the study works with."""
    from study.describe import hide_secrets

    baseline = record["baseline"]
    progress.say(
        f"  network: {baseline['parameters'] / 1e6:.2f} M parameters (preset {options.preset}), "
        f"{baseline['device']} {baseline['precision']}"
    )
    seconds = f", trained in {baseline['seconds']:.0f} s" if baseline.get("seconds") else ""
    progress.say(
        f"  baseline: validation accuracy {baseline['source_val']:.1%} on {record['source']['name']}, "
        f"{baseline['target_val']:.1%} on {record['target']['name']}{seconds}"
    )
    where = hide_secrets(options.storage) if options.storage else Path(options.out) / record["name"] / "journal.log"
    progress.say(f"  storage: {where}; workers: {options.workers}; study: {record['name']}")


def search(
    study: "optuna.Study",
    record: dict[str, Any],
    options: StudyOptions,
    folder: Path,
    progress: Progress,
    follower: "Follower",
) -> int:
    """Runs the workers until the study has its trials, with MLflow following; then exports."""
    from study.lab import base_config
    from study.report import export
    from study.search import reap, top_up, trials_of

    reap(study)
    left = top_up(study, options.wanted, options.space, base_config(record))
    if not left and (folder / "report.html").exists():
        summarise(study, record, options, folder, progress, "nothing to do: all trials are there")
        return DONE
    follower.check()
    follower.follow(study, record)
    try:
        reason = supervise(study, options, progress)
    finally:
        stop_workers(study)
        follower.pause(study, record)
        export(record, trials_of(study), folder)
        prune_models(study, folder)
        if not follower.finish(record, folder):
            progress.warn(f"MLflow lacks a part of the study; add it later: python -m study.sync {record['name']}")
    summarise(study, record, options, folder, progress, reason)
    return FAILED if reason.startswith("gave up") else DONE


WORKERS: list[subprocess.Popen] = []


def spawn_worker(options: StudyOptions, name: str, until: float) -> subprocess.Popen:
    """Starts one worker process of one thread."""
    command = [sys.executable, "-m", "study.worker", "--study", name, "--out", options.out]
    command += ["--parent", str(os.getpid()), "--until", str(until)]
    command += ["--data", options.data] if options.data else []
    environment = worker_environment() | ({"STUDY_STORAGE": options.storage} if options.storage else {})
    # In a session of its own: Ctrl-C reaches the parent alone, which then ends its workers in order.
    return subprocess.Popen(command, env=environment, start_new_session=True)


def supervise(study: "optuna.Study", options: StudyOptions, progress: Progress) -> str:
    """Keeps the workers going until nothing is left to claim; returns why it ended."""
    from optuna.trial import TrialState

    from study.front import counted
    from study.search import reap, trials_of

    until = time.time() + options.timeout if options.timeout else float("inf")
    before, crashes, known = len(counted(trials_of(study))), 0, -1
    progress.begin(options.wanted, before)
    with progress:
        while True:
            trials = trials_of(study)
            done = counted(trials)
            progress.update(done)
            crashes = 0 if len(done) > known else crashes
            known = len(done)
            for process in [process for process in WORKERS if process.poll() is not None]:
                WORKERS.remove(process)
                if process.returncode:
                    crashes += 1
                    progress.warn(f"a worker ended with code {process.returncode}")
                    reap(study)
            if crashes >= MOST_CRASHES_IN_A_ROW:
                return f"gave up: {crashes} workers in a row ended without finishing a trial; their messages are above"
            if len(done) >= MOST_FAILURES_IN_A_ROW and all(
                trial.state == TrialState.FAIL for trial in done[-MOST_FAILURES_IN_A_ROW:]
            ):
                return f"gave up: the last {MOST_FAILURES_IN_A_ROW} trials failed: {done[-1].user_attrs.get('reason')}"
            waiting = sum(trial.state == TrialState.WAITING for trial in trials)
            if waiting and time.time() < until:
                while len(WORKERS) < min(int(options.workers), waiting + len(WORKERS)):
                    WORKERS.append(spawn_worker(options, study.study_name, until))
                    waiting -= 1
            if not WORKERS:
                return "done" if not waiting else f"stopped by --timeout {options.timeout:g}"
            time.sleep(0.3)


def stop_workers(study: "optuna.Study") -> None:
    """Ends the workers of this parent and gives their unfinished trials back."""
    from study.search import reap

    for process in WORKERS:
        process.terminate()
    for process in WORKERS:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if WORKERS:
        reap(study)
    WORKERS.clear()


def prune_models(study: "optuna.Study", folder: Path) -> None:
    """Deletes the networks of trials that later ones dominate."""
    from study.front import front, table
    from study.search import trials_of

    leading = {f"trial-{number:04d}.safetensors" for number in front(table(trials_of(study)))["trial"]}
    for path in (folder / "models").glob("trial-*.safetensors"):
        if path.name not in leading:
            path.unlink()


def tracking_uri(options: StudyOptions) -> str:
    """Returns where MLflow's record is, "none" for nowhere."""
    return options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING


def summarise(
    study: "optuna.Study", record: dict[str, Any], options: StudyOptions, folder: Path, progress: Progress, reason: str
) -> None:
    """Prints the front, the paper's table where that is the space, and where everything is."""
    from study.describe import hide_secrets
    from study.front import table
    from study.report import paper_rich, study_paper_table
    from study.search import trials_of

    rows = table(trials_of(study))
    progress.say(reason)
    progress.show(front_rich(record, rows))
    paper = study_paper_table(record, rows)
    if paper is not None:
        progress.show(paper_rich(paper))
    progress.say(f"report: {folder / 'report.html'}")
    uri = tracking_uri(options)
    if uri != "none":
        where = f"--backend-store-uri {hide_secrets(uri)}" if "://" in uri and not uri.startswith("http") else uri
        progress.say(f"MLflow: open {uri}" if uri.startswith("http") else f"MLflow: mlflow ui {where}")


if __name__ == "__main__":
    sys.exit(main())
