"""MLflow as a view of a study that can be rebuilt: the truth is the Optuna storage, and this never fails a study.

A study is a parent run, each counted trial a child. The study's parent process alone writes, with one request per
trial for all its values, but for the front's networks, which a process of their own logs. mlflow itself takes seconds
to import and is imported by connecting alone.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer.errors import InputError
from study.fronts import find_recommended, front_table
from study.reading import readable_trials
from study.reading_record import readable_record
from study.record import StudyRecord
from study.redaction import hide_secrets, one_line
from study.reporting.front_file import SUMMARY_COLUMNS, table_of_front
from study.tracking import client as mlflow_client
from study.tracking import models, outcome, payloads
from study.tracking.description import describe_start, describe_study
from study.trials import counted_trials, read_counted_trials
from study.tuning.summary import SearchSummary, read_search

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from optuna.trial import FrozenTrial

RETRY_SECONDS = 30.0
"""How long nothing is tried after a failure."""
EXPORTS = ("pareto.html", "pareto.png", "pareto.svg", "hypervolume.png", "strategies.png", "curves.png",
           "importance.png", "race.png", "confirmed.png", "confusions.png", "trials.csv", "front.csv", "confirm.csv",
           "paper_table.csv", "study.json", "report.md", "report.html", "tables.tex", "figures.tex")  # fmt: skip
"""Files of a study's folder that its run gets."""


def open_tracking(uri: str | None, root: Path, required: bool = False) -> "MlflowRun | None":
    """Connects to MLflow and creates its database where there is none.

    Args:
        uri: Where to track. None or "" means MLFLOW_TRACKING_URI, or else `mlruns/mlflow.db` in `root`; "none"
            means nowhere, and then mlflow is not even imported.
        root: The folder that holds `mlruns/`.
        required: Raise where it cannot be reached, instead of warning and trying again later.

    Returns:
        The study's run in MLflow, or None where nothing is tracked.

    Raises:
        InputError: It is required and cannot be reached.
    """
    default = f"sqlite:///{root.resolve() / 'mlruns' / 'mlflow.db'}"
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or default
    if uri == "none":
        return None

    run = MlflowRun(uri, root)
    if not required:
        run.try_to_connect()
        return run
    try:
        run.connect()
    except Exception as error:  # every store and driver has its own errors
        raise InputError(
            "--tracking-uri must be an MLflow server or database that answers",
            f"{hide_secrets(uri)} ({one_line(error, 200)})",
            "Check that it runs and the URI is right, or give --tracking-uri none.",
        ) from None
    return run


class MlflowRun:
    """The run of a study in MLflow, with a child run per trial.

    A failure is warned about on one line and tried again at a later call, at most every 30 seconds; when it is over,
    another line says so.

    Args:
        uri: Of MLflow's server or database.
        root: The folder that holds `mlruns/`.

    Attributes:
        client: MLflow's, None before the first connection.
        experiment: The id of the experiment.
        parent: The id of the study's run; None before it is found or created, and after a failure.
        study: The id of the study that `parent` belongs to.
        children: The id of each trial's child run, by the trial's number.
        logged: Numbers of the trials that are completely in MLflow.
    """

    def __init__(self, uri: str, root: Path) -> None:
        self.uri = uri
        self.root = root.resolve()
        self.client: Any = None
        self.experiment = ""
        self.parent: str | None = None
        self.study = ""
        self.children: dict[int, str] = {}
        self.logged: set[int] = set()

        # For `_guard`: whether a failure was warned about, and until when nothing is tried again.
        self._warned = False
        self._next_attempt = 0.0

    def connect(self) -> "MlflowClient":
        """Returns MLflow's client, created at the first call together with database and experiment."""
        if self.client is None:
            client = mlflow_client.create_client(self.uri)
            artifacts = mlflow_client.prepare_artifact_folder(self.uri, self.root)
            self.experiment = mlflow_client.find_or_create_experiment(client, artifacts)
            self.client = client
        return self.client

    def try_to_connect(self) -> bool:
        """Connects, or warns that MLflow cannot be reached; returns whether it answered."""
        return self._guard(self.connect)

    def sync(
        self, stored_record: Mapping[str, Any], trials: "Iterable[FrozenTrial]", logged: set[int], force: bool = False
    ) -> int:
        """Adds to MLflow what it does not have yet of a study; calling it again adds nothing.

        Args:
            stored_record: The study's record as its storage holds it.
            trials: All its trials.
            logged: Numbers of the trials that the caller knows to be there; updated here. Start with an empty set.
            force: Try now, however short ago it failed; for the last call.

        Returns:
            The number of trials added.
        """
        counted = counted_trials(trials)
        has_run = self.parent is not None and self.study == _study_id(stored_record)
        if has_run and all(trial.number in logged for trial in counted):
            return 0

        record = _read_record(stored_record)
        readable_trials = read_counted_trials(counted).value
        added: list[int] = []
        self._guard(partial(self._add_children, record, readable_trials, logged, added), force)
        logged.update(added)
        return len(added)

    def finish(
        self, stored_record: Mapping[str, Any], trials: "Iterable[FrozenTrial]", logged: set[int], folder: Path
    ) -> bool:
        """Adds what `sync` has not, gives the study's run its exports and the hypervolume by trial, and ends it.

        Args:
            stored_record: The study's record as its storage holds it.
            trials: All its trials.
            logged: As of `sync`.
            folder: The study's, which holds the exports.

        Returns:
            Whether MLflow has it all.
        """
        record = _read_record(stored_record)
        return self._guard(partial(self._end, record, read_counted_trials(trials).value, logged, folder), force=True)

    def log_models(
        self, stored_record: Mapping[str, Any], trials: "Iterable[FrozenTrial]", folder: Path, register: str | None
    ) -> bool:
        """Logs the front's networks as MLflow models, each from its trial's run; see `models`. Warns of damaged ones.

        Args:
            stored_record: The study's record as its storage holds it.
            trials: All its trials.
            folder: The study's, which holds models/.
            register: A name in MLflow's registry; None registers nothing.

        Returns:
            Whether MLflow has them all.
        """
        record = _read_record(stored_record)
        all_trials = readable_trials(trials).value
        table, summary = read_search(record, all_trials)
        networks = front_table(table)
        damaged = models.damaged_networks(networks, folder)
        if damaged:
            print(f"warning: {models.damage_warning(damaged)}", file=sys.stderr)

        def log_networks() -> None:
            # Each network comes from the run of its trial, so these are there first.
            client = self.connect()
            self._add_children(record, counted_trials(all_trials), set(), [])
            run = self._find_or_create_parent(record)
            place = models.Destination(client, self.uri, self.experiment, run, self.children)
            models.log_models(place, record, all_trials, networks, folder, register)

            # The description says how to load the recommended one.
            note = self._describe(record, table, summary, folder)
            mlflow_client.change_tags(client, client.get_run(run), {payloads.NOTE: note})
            client.set_terminated(run, "FINISHED")

        return self._guard(log_networks, force=True) and not damaged

    def _guard(self, work: Callable[[], object], force: bool = False) -> bool:
        """Runs `work`, unless it failed a short while ago; a failure becomes a warning.

        Args:
            work: Requests to MLflow.
            force: Run it however short ago it failed.

        Returns:
            Whether it was run to its end.
        """
        if not force and time.monotonic() < self._next_attempt:
            return False

        try:
            work()
        except Exception as error:  # tracking is a view: whatever is wrong with it, the study goes on
            self.parent = None
            self._next_attempt = time.monotonic() + RETRY_SECONDS
            if not self._warned:
                reason = f"{hide_secrets(self.uri)}: {one_line(error, 200)}"
                print(f"warning: MLflow cannot be reached, the study goes on without it ({reason})", file=sys.stderr)
            self._warned = True
            return False

        if self._warned:
            print(f"MLflow answers again ({hide_secrets(self.uri)})", file=sys.stderr)
        self._warned = False
        self._next_attempt = 0.0
        return True

    def _end(self, record: StudyRecord, trials: list["FrozenTrial"], logged: set[int], folder: Path) -> None:
        """Adds what is missing of the trials, then the exports and what the study reached, and ends its run."""
        # Trials first: a server may have been away at the last `sync` and answer now.
        self._add_children(record, trials, logged, [])
        client = self.connect()
        run = self._find_or_create_parent(record)

        # The exports.
        for name in EXPORTS:
            if (folder / name).is_file():
                client.log_artifact(run, str(folder / name))

        # What the search and the confirmation found.
        table, summary = read_search(record, trials)
        front = front_table(table)
        parent = client.get_run(run)
        metrics = outcome.recommended_metrics(table, front, record, summary, parent.data.metrics)
        metrics += outcome.front_metrics(table, front, record)
        metrics += outcome.search_metrics(table, record, summary)
        mlflow_client.log_values(client, run, metrics=metrics)
        confirmation = outcome.confirmation_run(record, run)
        if confirmation is not None:
            mlflow_client.log_child(client, self.experiment, run, confirmation)
        self._tag_trials(record, trials, front)
        if not front.empty:
            shown = table_of_front(front, record)
            columns = [name for name in SUMMARY_COLUMNS if name in shown]
            mlflow_client.log_table(client, parent, shown[columns], "front.json")

        # What the study's page says, last.
        tags = outcome.recommendation_tags(front, summary)
        tags[payloads.NOTE] = self._describe(record, table, summary, folder)
        mlflow_client.change_tags(client, parent, tags, outcome.EARLIER_TAGS)
        client.set_terminated(run, "FINISHED")

    def _describe(self, record: StudyRecord, table: "pd.DataFrame", summary: SearchSummary | None, folder: Path) -> str:
        """Returns the description of the study's run, with how to load the recommended network if MLflow has it."""
        network = find_recommended(front_table(table))
        uri = None
        if network is not None:
            logged = models.find_models(self.client, self.experiment, record).get(network["model"])
            uri = None if logged is None else logged.model_uri
        return describe_study(record, table, summary, folder, uri)[: payloads.TAG_TEXT]

    def _tag_trials(self, record: StudyRecord, trials: list["FrozenTrial"], front: "pd.DataFrame") -> None:
        """Gives the trials' runs the tags that follow from the front, and those that an earlier version did not write.

        Args:
            record: The study's record.
            trials: Those that count.
            front: Of `study.fronts.front_table`.
        """
        parent = self._find_or_create_parent(record)
        of_outcome = outcome.trial_outcome_tags(front)
        by_number = {trial.number: trial for trial in trials}
        for number, run in mlflow_client.search_children(self.client, self.experiment, parent):
            if number not in by_number:
                continue
            # Whose run it is and what made it are the first writer's to say.
            tags = payloads.trial_tags(record, by_number[number], parent)
            wanted = {name: value for name, value in tags.items() if not name.startswith("mlflow.")}
            wanted |= of_outcome.get(number, {})
            mlflow_client.change_tags(self.client, run, wanted, outcome.TRIAL_TAGS)

    def _find_or_create_parent(self, record: StudyRecord) -> str:
        """Returns the id of the study's run, found by its tag or created, and reads which children it has."""
        # What the last call found.
        study = payloads.study_id(record)
        if self.parent is not None and self.study == study:
            return self.parent

        # The run: an earlier process may have created it, and ended it or gone away before it was described.
        client = self.connect()
        query = f"tags.study_id = '{study}' and tags.role = 'study'"
        runs = client.search_runs([self.experiment], query, max_results=1)
        if runs:
            run = runs[0].info.run_id
            has_description = bool(runs[0].data.params)
            if not has_description:
                mlflow_client.describe_parent(client, run, record)
            client.update_run(run, status="RUNNING")
            mlflow_client.add_changed_options(client, client.get_run(run), record)
        else:
            run = self._create_parent(record)
            mlflow_client.describe_parent(client, run, record)
        baseline = payloads.baseline_run(record, run)
        if baseline is not None:
            mlflow_client.log_child(client, self.experiment, run, baseline)

        # Its children, of which those that ended are complete.
        children = dict(mlflow_client.search_children(client, self.experiment, run))
        self.children = {number: child.info.run_id for number, child in children.items()}
        self.logged = {number for number, child in children.items() if child.info.status in payloads.ENDED}
        self.parent = run
        self.study = study
        return run

    def _create_parent(self, record: StudyRecord) -> str:
        run = self.client.create_run(
            self.experiment,
            start_time=payloads.created_ms(record),
            tags=payloads.study_tags(record) | {payloads.NOTE: describe_start(record)[: payloads.TAG_TEXT]},
            run_name=record.name or "study",
        )
        return run.info.run_id

    def _add_children(
        self, record: StudyRecord, trials: list["FrozenTrial"], logged: set[int], added: list[int]
    ) -> None:
        """Adds the trials that MLflow lacks; `added` gets their numbers, also of those before a failure."""
        self.connect()
        parent = self._find_or_create_parent(record)
        for trial in trials:
            if trial.number not in self.logged:
                self._add_child(parent, record, trial)
                self.logged.add(trial.number)
                added.append(trial.number)

        # MLflow may also hold less than the caller knew: the run is new where its owner deleted the old one.
        logged.clear()
        logged.update(self.logged)

    def _add_child(self, parent: str, record: StudyRecord, trial: "FrozenTrial") -> None:
        """Adds one trial as a child run; logs everything again where an earlier call was cut off within it."""
        # The child run, which an earlier call may have created.
        start, end = payloads.trial_times(trial)
        run_id = self.children.get(trial.number)
        if run_id is None:
            tags = payloads.trial_tags(record, trial, parent)
            name = payloads.trial_name(trial)
            run = self.client.create_run(self.experiment, start_time=start, tags=tags, run_name=name)
            run_id = run.info.run_id
            self.children[trial.number] = run_id

        # What the trial has; logging the same values twice changes nothing.
        mlflow_client.log_values(self.client, run_id, payloads.trial_params(trial), payloads.trial_metrics(trial))
        self.client.set_terminated(run_id, payloads.STATUS[trial.state.name], end)


def _read_record(stored_record: Mapping[str, Any]) -> StudyRecord:
    return StudyRecord.from_json(readable_record(stored_record).value)


def _study_id(stored_record: Mapping[str, Any]) -> str:
    return payloads.study_id(StudyRecord.from_json(stored_record))
