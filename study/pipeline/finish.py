"""Ends a study: exports, MLflow, networks, confirmation, summary."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from study.cli import ERROR, command_line
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE
from study.confirmation.runner import ConfirmationOptions, run_confirmation
from study.execution.phase import Phase, counting
from study.execution.progress import Progress
from study.execution.report_time import note_report_seconds
from study.fronts import find_recommended, front_table
from study.options import StudyOptions
from study.pipeline.running_study import RunningStudy
from study.record import StudyRecord, section
from study.reporting.commands import list_next_commands, place_words
from study.reporting.export import export
from study.reporting.terminal import describe_outcome, for_terminal, front_rich_table
from study.reporting.wording import count_untested, describe_total
from study.storage.backend import trials_of
from study.storage.records import confirmation_of
from study.storage.slots import DELETED, ENDED, PARTS, RACE_ENDED
from study.tracking.pages import list_pages
from study.training_options import DEFAULT_TRACKING
from study.trial_attributes import TrialAttributes
from study.trials import find_failed_networks, model_file
from study.tuning.expected_table import expected_table
from study.tuning.summary import read_search

if TYPE_CHECKING:
    pass

WRITTEN = "writing tables, figures and the report"
"""What an export does."""
WARNING = "warning: "
"""How the line of a warning begins, as `study.cli.ERROR` of an error."""


# Export.


def finish_study(running: RunningStudy, networks: bool) -> None:
    """Exports a study and adds to MLflow whatever it lacks.

    Args:
        running: The study.
        networks: Whether the front's networks are to be logged in MLflow as well; those of preset `tiny` never are.
    """
    study = running.study
    options = running.options
    record = running.record.to_json()
    wants_networks = networks and options.preset != "tiny" and tracking_uri(options) != "none"

    # Networks are logged to the study's run while the exports are written, if MLflow answers and has the run.
    running.follower.wait()
    ready = wants_networks and running.follower.catch_up(study, record)
    logging = _logging_front(running) if ready else contextlib.nullcontext()
    phase = Phase("export", counted=WRITTEN, after_interrupt="files that are written stay")
    if ready:
        phase.facts = [("beside it", "logging the front's networks in MLflow")]
    with running.progress.phase(phase), logging:
        # The study's files, then MLflow's copies of them.
        with counting(phase, "parts of the report", running.progress.tell_state):
            export(record | confirmation_of(study), trials_of(study), running.folder)
        note_report_seconds(options.out, phase.elapsed)
        if networks:
            delete_other_networks(running)
        complete = running.follower.finish(study, record, running.folder)

    # What MLflow lacks.
    if not complete:
        command = sync_command(running.name, options)
        running.progress.warn("MLflow lacks a part of the study; add it later:")
        running.progress.show_command(f"  {command}")
    elif wants_networks and not ready:  # MLflow was away before the export and is there again
        with _logging_front(running):
            pass


def delete_other_networks(running: RunningStudy) -> None:
    """Deletes the networks of a complete study that are not on its front, and those that were averaged.

    The storage keeps which of those that were handed over are gone: a study that goes on makes them again where they
    come back to the front.
    """
    study = running.study
    trials = trials_of(study)
    front = front_table(expected_table(running.record, trials))
    others = set((running.folder / "models").glob("trial-*.safetensors"))
    others -= {running.folder / model for model in front["model"]}
    # The baseline's, which no hand-over makes again, may come back to the front.
    baselines = [trial.number for trial in trials if TrialAttributes.of(trial).strategy == "BL"]
    others -= {running.folder / model_file(number) for number in baselines}

    # Noted before they are deleted: a network that is noted and there is made once more, one that is gone must be.
    deleted = list(study.user_attrs.get(DELETED) or [])
    for trial in trials:
        attributes = TrialAttributes.of(trial)
        for alpha, slope in attributes.handed_over or []:
            network = [trial.number, alpha, slope]
            is_other = running.folder / model_file(attributes.recipe_of or 0, alpha, slope) in others
            if is_other and network not in deleted:
                deleted.append(network)
    study.set_user_attr(DELETED, deleted)

    for path in others:
        path.unlink()

    # A study that a time limit cut short averages them again when it goes on.
    limited = study.user_attrs.get(RACE_ENDED) or "--timeout" in (study.user_attrs.get(ENDED) or "")
    if not limited:
        shutil.rmtree(running.folder / PARTS, ignore_errors=True)


# MLflow.


def tracking_uri(options: StudyOptions) -> str:
    """Returns where MLflow's record is, "none" for nowhere."""
    return options.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING


def sync_command(name: str, options: StudyOptions) -> str:
    """Returns the line that adds to MLflow what it lacks of the study, without passwords."""
    return command_line("study.sync", place_words(name, dataclasses.asdict(options), "tracking_uri"))


def register_networks(running: RunningStudy) -> None:
    """Puts the front's networks in MLflow's registry under the name that the user gave."""
    name = str(running.options.register)
    with logging_networks(running.name, running.options, running.progress, ["--register", name]):
        pass


def _logging_front(running: RunningStudy) -> contextlib.AbstractContextManager[None]:
    """Logs the front's networks, and nothing else, while something else is done."""
    return logging_networks(running.name, running.options, running.progress, ["--models"], alone=True)


@contextlib.contextmanager
def logging_networks(
    name: str, options: StudyOptions, progress: Progress, arguments: list[str], alone: bool = False
) -> Iterator[None]:
    """Logs the front's networks as MLflow models while something else is done; waits for it, or says what it lacks.

    In a process of its own, which imports torch: that and the logging take as long as a study's export.

    Args:
        name: The study's name.
        options: The study's places.
        progress: Prints what could not be logged.
        arguments: Of `study.sync`: what it does with the networks.
        alone: Whether it leaves everything else in MLflow to this process.
    """
    words = [sys.executable, "-m", "study.sync", name, "--out", options.out, *arguments]
    if alone:
        words.append("--alone")

    # By the environment: both may hold a password, and everybody on a machine reads command lines.
    environment = dict(os.environ)
    if options.storage:
        environment["STUDY_STORAGE"] = options.storage
    if options.tracking_uri:
        environment["MLFLOW_TRACKING_URI"] = options.tracking_uri

    with subprocess.Popen(
        words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield
        finally:
            try:
                _, messages = process.communicate()
            except BaseException:  # interrupted once more
                process.kill()
                raise

    if process.returncode:
        for line in messages.splitlines():
            if line.startswith((WARNING, ERROR)):
                progress.warn(line.partition(": ")[2])
        progress.warn(f"MLflow lacks networks; again: {sync_command(name, options)} {' '.join(arguments)}")


# Confirmation.


def confirm_once(running: RunningStudy) -> None:
    """Confirms the study and adds the result to MLflow, unless it was confirmed before."""
    study = running.study
    options = running.options
    confirmation = section(confirmation_of(study), CONFIRMATION_ATTRIBUTE)
    if confirmation.get("finished"):
        if not (running.folder / "confirm.csv").exists():  # it was interrupted while it wrote its results
            export(running.record.to_json() | confirmation_of(study), trials_of(study), running.folder)
        words = [*place_words(running.name, dataclasses.asdict(options), "data"), "--again"]
        running.progress.say("confirmed before; to evaluate the test images again:")
        running.progress.show_command(f"  {command_line('study.confirm', words)}")
    else:
        asked = ConfirmationOptions(
            study=study.study_name,
            seeds=options.confirm,
            out=options.out,
            storage=options.storage,
            data=options.data,
            workers=None if options.workers == "auto" else int(options.workers),
        )
        run_confirmation(asked, running.progress)
    running.follower.finish(study, running.record.to_json() | confirmation_of(study), running.folder)


# Summary.


def print_summary(running: RunningStudy, reason: str) -> None:
    """Prints the front, the paper's table where that is the space, and where everything is.

    Args:
        running: The study.
        reason: Why it ended.
    """
    progress = running.progress
    rows, summary = read_search(running.record, trials_of(running.study))

    # Results.
    progress.say(f"{reason} ({describe_total(rows)})" if reason else describe_total(rows))
    progress.show(front_rich_table(running.record, rows))
    for line in describe_outcome(running.record, rows, summary):
        progress.say(line)
    paper_table = for_terminal(running.record, rows)
    if paper_table is not None:
        progress.show(paper_table)

    # What the user should know of places.
    for name, why in find_failed_networks(trials_of(running.study)).items():
        if name in set(front_table(rows)["model"]) and not (running.folder / name).exists():
            progress.warn(f"{name} could not be made, so front.csv names no file for it: {why}")
    elsewhere = count_networks_elsewhere(running, front_table(rows))
    if elsewhere:
        hosts = ", ".join(elsewhere)
        progress.warn(f"{elsewhere.total()} networks of the front are where they were trained: models/ on {hosts}")
    progress.say(f"report: {running.report}")

    # What follows, to copy.
    recommended = find_recommended(front_table(rows))
    model = None if recommended is None else str(recommended["model"])
    confirmation = section(confirmation_of(running.study), CONFIRMATION_ATTRIBUTE)
    # A part of a nested cross-validation is tested by itself.
    is_tested = running.options.confirm or running.options.outer is not None
    is_confirmed = bool(confirmation.get("finished") or is_tested)
    uri = tracking_uri(running.options)
    tested = StudyRecord.from_json(running.record.to_json() | confirmation_of(running.study))
    has_untested = count_untested(tested, front_table(rows)) > 0
    baseline = running.record.baseline.file
    commands = list_next_commands(running.name, running.options, model, is_confirmed, baseline, has_untested)
    commands += list_pages(uri, running.follower.find_experiment())
    progress.say("next:")
    for purpose, command in commands:
        progress.say(f"  {purpose}")
        progress.show_command(f"    {command}")


def count_networks_elsewhere(running: RunningStudy, front: pd.DataFrame) -> Counter[str]:
    """Returns how many networks of a study's front are not in its folder, by the machine that trained them."""
    trials = trials_of(running.study)
    makers = {attributes.recipe_of: attributes for attributes in map(TrialAttributes.of, trials)}
    by_host: Counter[str] = Counter()
    failed = find_failed_networks(trials)
    for row in front.to_dict("records"):
        if row["model"] in failed:
            continue  # nowhere
        maker = makers.get(row["trial"]) or TrialAttributes.of(trials[row["trial"]])
        if not (running.folder / row["model"]).exists():
            worker = maker.worker or {}
            by_host[str(worker.get("host", "an unknown machine"))] += 1
    return by_host
