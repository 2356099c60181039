"""Ends a study: exports, MLflow, networks, confirmation, summary."""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cli import command_line, python
from study.execution.progress import Progress, front_rich_table
from study.options import (
    DEFAULT_TRACKING,
    StudyOptions,
)
from study.redaction import hide_secrets

if TYPE_CHECKING:
    import optuna

    from study.tracking.follower import Follower


def sync_command(name: str, options: StudyOptions) -> str:
    """Returns the line that adds to MLflow what it lacks of the study, without passwords."""
    words = [name]
    if options.out != "runs":
        words += ["--out", options.out]
    for flag, value in (("--storage", options.storage), ("--tracking-uri", options.tracking_uri)):
        words += [flag, value] if value else []
    return command_line("study.sync", words)


def finish_study(
    study: "optuna.Study",
    record: dict[str, Any],
    options: StudyOptions,
    progress: Progress,
    follower: "Follower",
    networks: bool,
) -> None:
    """Exports a study and adds to MLflow whatever it lacks, the front's networks as well if these are wanted."""
    from study.reporting.export import export
    from study.storage.backend import trials_of
    from study.storage.records import confirmation_of

    folder = Path(options.out) / record["name"]
    networks = networks and options.preset != "tiny" and tracking_uri(options) != "none"
    follower.wait()
    ready = networks and follower.catch_up(study, record)
    logged = partial(logging_networks, record["name"], options, progress, ["--models"], alone=True)
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
    from study.confirmation.runner import run_confirmation
    from study.storage.records import confirmation_of

    if confirmation_of(study).get("confirmation", {}).get("finished"):
        progress.say(f"confirmed before; another opening of the test sets: study.confirm {study.study_name} --again")
        return
    run_confirmation(
        argparse.Namespace(
            study=study.study_name, seeds=options.confirm, again=False, out=options.out, storage=options.storage,
            data=options.data, device=None, workers=None if options.workers == "auto" else int(options.workers),
        )
    )  # fmt: skip


@contextlib.contextmanager
def logging_networks(
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
    from study.fronts import front_table
    from study.storage.backend import trials_of
    from study.trials import trials_table

    leading = {folder / model for model in front_table(trials_table(trials_of(study)))["model"]}
    for path in (folder / "models").glob("trial-*.safetensors"):
        if path not in leading:
            path.unlink()


def count_networks_elsewhere(study: "optuna.Study", folder: Path) -> dict[str, int]:
    """Returns how many networks of the front are not in the study's folder, by the machine that trained them."""
    from study.fronts import front_table
    from study.storage.backend import trials_of
    from study.trials import trials_table

    trials = trials_of(study)
    missing: dict[str, int] = {}
    for row in front_table(trials_table(trials)).to_dict("records"):
        attributes = trials[row["trial"]].user_attrs
        if not (folder / row["model"]).exists() and "twin_of" not in attributes:
            host = str((attributes.get("worker") or {}).get("host", "an unknown machine"))
            missing[host] = missing.get(host, 0) + 1
    return missing


def tracking_uri(options: StudyOptions) -> str:
    """Returns where MLflow's record is, "none" for nowhere."""
    return options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING


def print_summary(
    study: "optuna.Study", record: dict[str, Any], options: StudyOptions, progress: Progress, reason: str
) -> None:
    """Prints the front, the paper's table where that is the space, and where everything is."""
    from study.reporting.terminal import for_terminal
    from study.storage.backend import trials_of
    from study.trials import trials_table

    rows = trials_table(trials_of(study))
    progress.say(reason)
    progress.show(front_rich_table(record, rows))
    paper = for_terminal(record, rows)
    if paper is not None:
        progress.show(paper)
    elsewhere = count_networks_elsewhere(study, Path(options.out) / record["name"])
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
