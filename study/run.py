"""`python -m study.run`: the main job, from the data to the report."""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from fer.tensor_files import damage_of
from study.arguments import check_device, check_study_name
from study.cli import DONE, command_line, leave, python, run_command
from study.config import (
    CHANGEABLE,
    DEFAULT_TRACKING,
    StudyOptions,
    cache_folder,
    current_sampler,
    identity,
    parse,
    study_name,
)
from study.describe import SIDES
from study.machine import cores, exit_text, gpu_count, hardware, usual_workers, versions, worker_environment
from study.progress import Progress, front_rich
from study.redaction import hide_secrets

# Packages whose version numbers and suggestions depend on; others change no result.
DECISIVE = ("torch", "numpy", "optuna", "opencv-python-headless")

if TYPE_CHECKING:
    import optuna

    from fer.datasets import Dataset
    from study.following import Follower


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return run_command(prepare_and_run, arguments, resume="study.run")


def prepare_and_run(arguments: list[str] | None) -> int:
    """Checks the command line, then does the main job."""
    options = resolve(parse(arguments))
    progress = Progress(quiet=options.quiet)
    progress.say(f"{options.source} → {options.target}: {options.wanted} trials, space {options.space}")
    return run(options, progress)


def sync_command(name: str, options: StudyOptions) -> str:
    """Returns the line that adds to MLflow what it lacks of the study, without passwords."""
    words = [name]
    if options.out != "runs":
        words += ["--out", options.out]
    for flag, value in (("--storage", options.storage), ("--tracking-uri", options.tracking_uri)):
        words += [flag, value] if value else []
    return command_line("study.sync", words)


def resolve(options: StudyOptions) -> StudyOptions:
    """Settles what "auto" means on this machine."""
    device = options.device if options.device != "auto" else ("cuda" if gpu_count() else "cpu")
    check_device(device, gpu_count())
    preset = options.preset if options.preset != "auto" else ("paper" if device != "cpu" else "laptop")
    return dataclasses.replace(options, device=device, preset=preset)


def run(options: StudyOptions, progress: Progress) -> int:
    """Prepares, searches, exports."""
    from study.following import Follower
    from study.lab import trim_features
    from study.leases import only_lead
    from study.report import confirmation_of, require_folders

    # Connecting takes seconds, so it begins now; a server that the user named must answer.
    follower = Follower(options.tracking_uri, required=options.tracking_uri is not None)
    try:
        freed = trim_features(options.out, options.cache_gib)
        if freed:
            progress.say(f"  {freed:.1f} GiB of features that no study used for long were deleted (--cache-gib)")
        source, target = read_data(options, progress)
        synthetic = "synthetic" in (source.kind, target.kind)
        name = study_name(options, source.name, target.name, synthetic)
        check_study_name(name)
        with only_parent(Path(options.out) / name):
            require_folders(Path(options.out) / name)
            record = make_record(name, options, source, target, synthetic)
            study = begin_or_resume(record, options, progress, follower)
            with only_lead(study, progress.say) if options.storage else contextlib.nullcontext():
                write_record(study, record)
                options = settle_workers(study, record, options, progress)
                show_setting(record, options, progress)
                code = search(study, record, options, progress, follower)
                if options.confirm:
                    confirm_once(study, options, progress)
                    follower.finish(study, record | confirmation_of(study), Path(options.out) / name)
                if options.register:
                    with networks_logged(name, options, progress, ["--register", options.register]):
                        pass
                return code
    finally:
        follower.wait()  # a database whose making is cut off stays unusable


def begin_or_resume(
    record: dict[str, Any], options: StudyOptions, progress: Progress, follower: "Follower"
) -> "optuna.Study":
    """Returns the study, with its baseline in place; `record` becomes its whole record."""
    from study.lab import base_config
    from study.priors import initial_trials
    from study.storage import open_storage

    # Before minutes of training: wrong guesses, or a server that is not there, end it here.
    initial_trials(dataclasses.asdict(options), base_config(record))
    storage = open_storage(options.storage, Path(options.out) / record["name"])
    if options.tracking_uri is not None:
        follower.check()
    known = find_record(record, options, storage)
    if known is None:
        record["baseline"] = obtain_baseline(record, progress)
        record["network"] |= {key: record["baseline"][key] for key in ("width", "parameters")}
    else:
        progress.say(f"resuming {record['name']}, started {known['created']}")
        if damage_of(known["baseline"]["file"]) is not None:
            same = obtain_baseline(record, progress)["digest"] == known["baseline"]["digest"]
            if not same:
                raise InputError(
                    "a study goes on with its own baseline",
                    f"{known['baseline']['file']}, which is gone or damaged, and trained again it came out different",
                    "Put the file back, or start a new study with --study NAME.",
                )
        now = {name: record["options"][name] for name in CHANGEABLE}
        changes = drift(known, record)
        if changes:
            progress.warn(f"goes on although this changed: {'; '.join(changes)}")
        today = {name: record[name] for name in ("source", "target", "versions")}
        record.update(known | today | {"options": known["options"] | now})
        record["changes"] = [*known.get("changes", []), *changes]
    return create_study(record["name"], storage)


def read_data(options: StudyOptions, progress: Progress) -> tuple["Dataset", "Dataset"]:
    """Reads source and target; says loudly where a stand-in takes their place."""
    from study.lab import note_copies, prepare

    asked = dataclasses.asdict(options)
    source = prepare(options.source, asked, options.data_kind)
    target = prepare(options.target, asked, options.data_kind)
    check_folds(target, options)
    check_two(source, target, options)
    for dataset in (source, target):
        sizes = " / ".join(f"{len(dataset.open(split)):,}" for split in ("train", "validation"))
        progress.say(f"  {dataset.name}: {dataset.kind}, {sizes} training / validation images, hash {dataset.digest}")
        if dataset.kind == "synthetic":
            progress.warn(
                f"no copy of {dataset.name} was found: DRAWN STAND-IN FACES take its place, and its numbers say "
                f"nothing about {dataset.name} (put yours under --data DIR/{dataset.name})"
            )
    source = note_copies(source, target, progress.warn)
    if source.kind != target.kind:
        progress.warn("one dataset is real and the other a stand-in: fit to try the tool, not to learn about faces")
    return source, target


def check_folds(target: "Dataset", options: StudyOptions) -> None:
    """Raises InputError where a fold of the target would be empty, in training or in validation."""
    for number in range(options.folds):
        fold = target.divided(number, options.folds, options.seed)
        sizes = {split: len(fold.open(split)) for split in ("train", "validation")}
        if not all(sizes.values()):
            raise InputError(
                "--folds leaves every fold images for training and for validation",
                f"{sizes['train']} and {sizes['validation']} of {target.name} in fold {number + 1} of {options.folds}",
                "Ask for fewer folds, or leave --folds out.",
            )


def check_two(source: "Dataset", target: "Dataset", options: StudyOptions) -> None:
    """Raises InputError where source and target are one dataset, by its name, its folder or its content."""
    from fer.datasets import same_files

    if source.name == target.name or same_files(source, target):
        raise InputError(
            "--target and --source are two datasets",
            f"{options.source} and {options.target}, which are one",
            "Choose another target.",
        )


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
    from study.lab import budget, reference

    asked = dataclasses.asdict(options) | {"trials": options.wanted}
    return {
        "name": name,
        "id": uuid.uuid4().hex,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "source": writable(reference(source)),
        "target": writable(reference(target)),
        "synthetic": synthetic,
        "options": asked | {name: hide_secrets(asked[name]) for name in ("storage", "tracking_uri", "ray")},
        "budget_epochs": budget(asked, len(source.open("train")), len(target.open("train"))),
        "network": {"name": "VGG-13, 48×48 grey (arXiv 1905.12082)"},
        "versions": versions(),
        "hardware": hardware(),
    }


def writable(value: Any) -> Any:
    """Returns text, dicts and lists with bytes that are no UTF-8 as escapes: no report or database takes them."""
    if isinstance(value, dict):
        return {writable(key): writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [writable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def find_record(
    record: dict[str, Any], options: StudyOptions, storage: "optuna.storages.BaseStorage"
) -> dict[str, Any] | None:
    """Returns the record of the study of this name to resume it, or None when it is new.

    Raises:
        InputError: It was started with other options, in an earlier form of its search space, or with other data or
            versions and --force was not given.
    """
    import optuna

    from study.compatibility import fits
    from study.reading import required_record
    from study.storage import trials_of

    try:
        study = optuna.load_study(study_name=record["name"], storage=storage)
    except KeyError:
        return None
    known = study.user_attrs.get("study")
    if known is None:
        return None
    required_record(known, record["name"])
    known["options"]["sampler"] = current_sampler(known["options"].get("sampler", StudyOptions.sampler))
    now = identity(options)
    # An option that is younger than the study has had its default there.
    before = {name: known["options"].get(name, getattr(StudyOptions, name, None)) for name in now}
    changed = [f"{name} {before[name]} → {now[name]}" for name in now if before[name] != now[name]]
    if changed:
        raise InputError(
            f"study {record['name']} can only go on as it was started",
            "; ".join(changed),
            "Use the same options, or give the new study a name with --study NAME.",
        )
    older = [trial.number for trial in trials_of(study) if not fits(trial, options.space)]
    if older:
        raise InputError(
            f"the search space {options.space} has changed since study {record['name']} began, so its trials cannot be "
            "compared with new ones",
            f"trial {older[0]}, which chose what is no longer asked for, and {len(older) - 1} more",
            "Start a new study with --study NAME, or go on with the version of this program that began it.",
        )
    drifted = drift(known, record)
    if drifted and not options.force:
        raise InputError(
            f"the trials of {record['name']} are comparable while data and versions stay the same",
            "; ".join(drifted),
            "Restore them, go on nevertheless with --force, or start a new study with --study NAME.",
        )
    return known


def drift(known: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns what has changed around a study since its last run, of all that its numbers depend on."""
    before = {side: known[side]["digest"] for side in SIDES}
    after = {side: now[side]["digest"] for side in SIDES}
    before |= {name: known["versions"].get(name) for name in DECISIVE}
    after |= {name: now["versions"].get(name) for name in DECISIVE}
    return [f"{name} {before[name]} → {after[name]}" for name in after if before[name] != after[name]]


def obtain_baseline(record: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Finds or trains the baseline in a process that has the environment for it."""
    progress.say("baseline: looking for it by its hash, else training it once for all studies")
    started = time.monotonic()
    with tempfile.TemporaryFile() as sent:
        # By a file, because a record may be longer than a command line takes.
        sent.write(json.dumps(record).encode())
        sent.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", "study.baseline"],
            stdin=sent,
            stdout=subprocess.PIPE,
            env=worker_environment(),
            start_new_session=True,
        )
    with process:
        assert process.stdout is not None
        try:
            for text in process.stdout:
                if not text.startswith(b"{"):
                    continue
                line = json.loads(text)
                if "baseline" in line:
                    return line["baseline"]
                if "error" in line:
                    raise InputError(*line["error"])
                if "stuck" in line:
                    raise RuntimeError(f"the baseline cannot be had: {line['stuck']}")
                if "epoch" in line:
                    seconds = time.monotonic() - started
                    progress.say(
                        f"  baseline epoch {line['epoch']}/{line['of']}: loss {line['loss']:.3f}, {seconds:.0f} s"
                    )
        except BaseException:
            process.terminate()
            raise
    raise RuntimeError(f"the baseline's process {exit_text(process.returncode)}")


def create_study(name: str, storage: "optuna.storages.BaseStorage") -> "optuna.Study":
    """Creates the study in its storage, or finds it there."""
    import optuna

    study = optuna.create_study(
        study_name=name, storage=storage, directions=["maximize", "maximize"], load_if_exists=True
    )
    with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
        study.set_metric_names(["source_val", "target_val"])
    return study


def settle_workers(
    study: "optuna.Study", record: dict[str, Any], options: StudyOptions, progress: Progress
) -> StudyOptions:
    """Settles how many workers there are, of how many threads, by measurement where the user left it open.

    A GPU has four at most, which share it. With `tiny`, measuring would take longer than the study.
    """
    if options.ray:  # how many a cluster has, it says later
        return options
    if options.workers != "auto":
        return dataclasses.replace(options, workers=str(min(int(options.workers), options.wanted)))
    from study.calibration import candidates, obtain

    device = record["baseline"]["device"]
    if device != "cpu" or options.preset == "tiny" or options.threads > 1 or len(candidates(cores())) == 1:
        few = min(cores() // options.threads, options.wanted)  # no more threads than cores, nor workers than trials
        return dataclasses.replace(options, workers=str(max(1, min(usual_workers(device), few))))
    found = record["calibration"] = obtain(
        cache_folder(options.out), record["network"]["width"], record["baseline"]["precision"]
    )
    study.set_user_attr("study", record)
    if any(found["images_per_second"].values()):
        show_calibration(found["images_per_second"], progress)
    workers = min(found["workers"], options.wanted)
    return dataclasses.replace(options, workers=str(workers), threads=found["threads"])


def write_record(study: "optuna.Study", record: dict[str, Any]) -> None:
    """Writes the study's record into its storage; only its one parent may.

    Raises:
        InputError: Another parent began the study while this one trained the baseline.
    """
    begun = study.user_attrs.get("study", record)
    if begun["id"] != record["id"]:
        raise InputError(
            "a study begins once",
            f"{record['name']}, which another study.run began at {begun['created']}",
            "Give the same command again: it goes on with that study.",
        )
    study.set_user_attr("study", record)


def show_calibration(rates: dict[str, float], progress: Progress) -> None:
    """Tells what each number of workers and threads trained."""
    pairs = ((*pair.split("x"), rate) for pair, rate in rates.items())
    said = ", ".join(f"{n} workers of {threads} thread(s) {rate:.0f}" for n, threads, rate in pairs)
    progress.say(f"  calibration, images per second of training: {said}")


def show_setting(record: dict[str, Any], options: StudyOptions, progress: Progress) -> None:
    """Tells what the study works with."""
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
    passes = record["budget_epochs"]
    folds = f", in each of {options.folds} folds" if options.folds else ""
    progress.say(f"  budget of every trial: {passes:g} passes over {record['target']['name']}'s training images{folds}")
    where = hide_secrets(options.storage) if options.storage else Path(options.out) / record["name"] / "journal.log"
    progress.say(
        f"  storage: {where}; workers: {options.workers} of {options.threads} thread(s); study: {record['name']}"
    )


def search(
    study: "optuna.Study", record: dict[str, Any], options: StudyOptions, progress: Progress, follower: "Follower"
) -> int:
    """Runs the workers until the study has its trials, with MLflow following; then exports."""
    from study.front import counted
    from study.lab import base_config
    from study.leases import reap
    from study.priors import initial_trials
    from study.report import is_exported
    from study.slots import top_up
    from study.storage import trials_of
    from study.supervise import out_of_patience, supervise

    folder = Path(options.out) / record["name"]
    base = base_config(record)
    reap(study)
    left, priors = 0, initial_trials(dataclasses.asdict(options), base)
    ended = out_of_patience(counted(trials_of(study)), options)
    if not ended:
        study.set_user_attr("ended", None)  # what a shorter patience ended before goes on
        left = top_up(study, options.wanted, options.space, base, priors)
    if not left and is_exported(trials_of(study), folder):
        summarise(study, record, options, progress, ended or "nothing to do: all trials are there")
        return DONE
    follower.check()
    follower.follow(study, record)
    fleet = reason = None
    try:
        if options.ray:
            from study.fleet import Fleet

            fleet = Fleet(options, record)
            options = dataclasses.replace(options, workers=str(fleet.workers))
        reason = supervise(study, options, base, progress, fleet.spawn if fleet else None)
    finally:
        if fleet:
            fleet.close()
        finish(study, record, options, progress, follower, networks=reason is not None)
    summarise(study, record, options, progress, reason)
    return DONE


def finish(
    study: "optuna.Study",
    record: dict[str, Any],
    options: StudyOptions,
    progress: Progress,
    follower: "Follower",
    networks: bool,
) -> None:
    """Exports a study and adds to MLflow whatever it lacks, the front's networks as well if these are wanted."""
    from study.report import confirmation_of, export
    from study.storage import trials_of

    folder = Path(options.out) / record["name"]
    networks = networks and options.preset != "tiny" and tracking_uri(options) != "none"
    follower.wait()
    ready = networks and follower.catch_up(study, record)
    logged = partial(networks_logged, record["name"], options, progress, ["--models"], alone=True)
    with logged() if ready else contextlib.nullcontext():
        export(record | confirmation_of(study), trials_of(study), folder)
        prune_models(study, folder)
        complete = follower.finish(study, record, folder)
    if not complete:
        progress.warn(f"MLflow lacks a part of the study; add it later: {sync_command(record['name'], options)}")
    elif networks and not ready:  # MLflow was away before the export and is there again
        with logged():
            pass


def confirm_once(study: "optuna.Study", options: StudyOptions, progress: Progress) -> None:
    """Confirms the study, unless that was done."""
    from study.confirm import confirm
    from study.report import confirmation_of

    if confirmation_of(study).get("confirmation", {}).get("finished"):
        progress.say(f"confirmed before; another opening of the test sets: study.confirm {study.study_name} --again")
        return
    confirm(
        argparse.Namespace(
            study=study.study_name, seeds=options.confirm, again=False, out=options.out, storage=options.storage,
            data=options.data, device=None, workers=None if options.workers == "auto" else int(options.workers),
        )
    )  # fmt: skip


@contextlib.contextmanager
def networks_logged(
    name: str, options: StudyOptions, progress: Progress, how: list[str], alone: bool = False
) -> Iterator[None]:
    """Logs the front's networks as MLflow models while something else is done; waits for it, or says what it lacks.

    In a process of its own, which imports torch: that and the logging take as long as a study's export. It leaves
    everything else in MLflow to this one if it is to log them `alone`.
    """
    words = [sys.executable, "-m", "study.sync", name, "--out", options.out, *how, *["--alone"] * alone]
    # Both may hold a password, and everybody on a machine reads command lines.
    places = {"STUDY_STORAGE": options.storage, "MLFLOW_TRACKING_URI": options.tracking_uri}
    environment = os.environ | {name: place for name, place in places.items() if place}
    with subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield
        finally:
            try:
                _, said = process.communicate()
            except BaseException:  # interrupted once more
                process.kill()
                raise
    if process.returncode:
        for line in said.splitlines():
            if line.startswith(("warning: ", "error: ")):
                progress.warn(line.partition(": ")[2])
        progress.warn(f"MLflow lacks networks; again: {sync_command(name, options)} {' '.join(how)}")


def prune_models(study: "optuna.Study", folder: Path) -> None:
    """Deletes the networks of trials that later ones dominate."""
    from study.front import front, table
    from study.storage import trials_of

    leading = {folder / model for model in front(table(trials_of(study)))["model"]}
    for path in (folder / "models").glob("trial-*.safetensors"):
        if path not in leading:
            path.unlink()


def networks_elsewhere(study: "optuna.Study", folder: Path) -> dict[str, int]:
    """Returns how many networks of the front are not in the study's folder, by the machine that trained them."""
    from study.front import front, table
    from study.storage import trials_of

    trials = trials_of(study)
    missing: dict[str, int] = {}
    for row in front(table(trials)).to_dict("records"):
        attributes = trials[row["trial"]].user_attrs
        if not (folder / row["model"]).exists() and "twin_of" not in attributes:
            host = str((attributes.get("worker") or {}).get("host", "an unknown machine"))
            missing[host] = missing.get(host, 0) + 1
    return missing


def tracking_uri(options: StudyOptions) -> str:
    """Returns where MLflow's record is, "none" for nowhere."""
    return options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING


def summarise(
    study: "optuna.Study", record: dict[str, Any], options: StudyOptions, progress: Progress, reason: str
) -> None:
    """Prints the front, the paper's table where that is the space, and where everything is."""
    from study.front import table
    from study.paper import for_terminal
    from study.storage import trials_of

    rows = table(trials_of(study))
    progress.say(reason)
    progress.show(front_rich(record, rows))
    paper = for_terminal(record, rows)
    if paper is not None:
        progress.show(paper)
    elsewhere = networks_elsewhere(study, Path(options.out) / record["name"])
    if elsewhere:
        progress.warn(
            f"{sum(elsewhere.values())} networks of the front are where they were trained: models/ on "
            f"{', '.join(elsewhere)}"
        )
    progress.say(f"report: {Path(options.out) / record['name'] / 'report.html'}")
    uri = hide_secrets(tracking_uri(options))
    if uri.startswith("http"):
        progress.say(f"MLflow: open {uri}")
    elif uri != "none":
        progress.say(f"MLflow: {python()} -m mlflow ui --backend-store-uri {uri}")


if __name__ == "__main__":
    leave(main())
