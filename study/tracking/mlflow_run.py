"""MLflow as a view of a study that can be rebuilt: the truth is the Optuna storage, and this never fails a study.

A study is a parent run, each counted trial a child. The study's parent process alone writes, with one request per
trial for all its values, but for the front's networks, which a process of their own logs. mlflow itself takes seconds
to import and is imported by `open_tracking` alone.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fer.errors import InputError
from study.reading import readable_record
from study.redaction import hide_secrets, one_line
from study.tracking import payloads
from study.trials import counted_trials, readable, trials_table

EXPERIMENT = "memory-integrity"
RETRY_SECONDS = 30.0
EXPORTS = ("pareto.html", "pareto.png", "pareto.svg", "hypervolume.png", "strategies.png", "importance.png",
           "confirmed.png", "confirmed.html", "trials.csv", "front.csv", "confirm.csv", "paper_table.csv", "study.json",
           "report.md", "report.html", "tables.tex")  # fmt: skip
# What keeps a server that does not answer from holding up the study; what the user set stays.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines per run otherwise
    "GIT_PYTHON_REFRESH": "quiet",
}


def open_tracking(uri: str | None, root: Path, required: bool = False) -> dict[str, Any] | None:
    """Connects to MLflow, making its database if need be.

    Args:
        uri: Where to track. None or "" means MLFLOW_TRACKING_URI, or else `mlruns/mlflow.db` in `root`; "none"
            means nowhere, and then mlflow is not even imported.
        root: The folder that holds `mlruns/`.
        required: Raise where it cannot be reached, instead of warning and trying again later.

    Returns:
        A handle for `sync` and `finish`, or None.

    Raises:
        InputError: It is required and cannot be reached.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlruns' / 'mlflow.db'}"
    if uri == "none":
        return None
    handle: dict[str, Any] = {"uri": uri, "root": root.resolve(), "client": None, "warned": False, "next_try": 0.0}
    if required:
        try:
            _connect(handle)
        except Exception as error:  # every store and driver has its own errors
            raise InputError(
                "--tracking-uri must be an MLflow server or database that answers",
                f"{hide_secrets(uri)} ({one_line(error, 200)})",
                "Check that it runs and the URI is right, or give --tracking-uri none.",
            ) from None
    else:
        _guarded(handle, partial(_connect, handle))
    return handle


def sync(
    handle: dict[str, Any] | None, study_info: dict, trials: Iterable[Any], done: set[int], force: bool = False
) -> int:
    """Adds to MLflow what it does not have yet of a study; calling it again adds nothing.

    A failure is warned about on one line, and tried again at a later call, at most every 30 seconds; when it is over,
    another line says so.

    Args:
        handle: From `open_tracking`; None does nothing.
        study_info: The study's record.
        trials: All its trials.
        done: Numbers of the trials that are known to be there; extended here. Start with an empty set.
        force: Try now, however short ago it failed; for the last call.

    Returns:
        The number of trials added.
    """
    added: list[int] = []
    if handle is not None:
        trials = counted_trials(trials)
        known = handle.get("parent") is not None and handle["study"] == payloads.study_id(study_info)
        if not known or any(trial.number not in done for trial in trials):
            info, kept = readable_record(study_info).value, readable(trials).value
            _guarded(handle, partial(_add_children, handle, info, kept, done, added), force)
            done.update(added)
    return len(added)


def finish(handle: dict[str, Any] | None, info: dict, trials: Iterable[Any], done: set[int], folder: Path) -> bool:
    """Adds what `sync` has not, gives the parent run the exports in `folder` and the hypervolume by trial, and ends it.

    Returns:
        Whether MLflow has it all (True without tracking).
    """
    if handle is None:
        return True
    record, kept = readable_record(info).value, readable(trials).value
    return _guarded(handle, partial(_end, handle, record, kept, done, folder), force=True)


def _end(handle: dict[str, Any], info: dict, trials: list[Any], done: set[int], folder: Path) -> None:
    # Trials first: a server may have been away at the last `sync` and answer now.
    _add_children(handle, info, trials, done, [])
    client, run = _connect(handle), _parent(handle, info)
    for name in EXPORTS:
        if (folder / name).is_file():
            client.log_artifact(run, str(folder / name))
    if (folder / "report.md").exists():  # the page's description: what is recommended, and how sure that is
        report = (folder / "report.md").read_text(encoding="utf-8", errors="replace")
        client.set_tag(run, "mlflow.note.content", "\n## ".join(report.split("\n## ")[:3]))
    found = payloads.search_metrics(trials_table(trials), info) + payloads.confirmed_metrics(info)
    for batch in payloads.split_into_batches(metrics=found):
        client.log_batch(run, synchronous=True, **_entities(batch))
    client.set_terminated(run, "FINISHED")


def log_models(
    handle: dict[str, Any] | None, info: dict, trials: Iterable[Any], folder: Path, register: str | None
) -> bool:
    """Logs the front's networks to the parent run as MLflow models; see `models`. Warns of damaged ones.

    Returns:
        Whether MLflow has them all (True without tracking).
    """
    from study.fronts import front_table
    from study.tracking.models import damage_warning, damaged_networks
    from study.tracking.models import log_models as log

    if handle is None:
        return True
    record = readable_record(info).value
    networks = front_table(trials_table(trials))
    damaged = damaged_networks(networks, folder)
    if damaged:
        print(f"warning: {damage_warning(damaged)}", file=sys.stderr)

    def work() -> None:
        client, run = _connect(handle), _parent(handle, record)
        log(client, handle["uri"], run, networks, folder, register)
        client.set_terminated(run, "FINISHED")

    return _guarded(handle, work, force=True) and not damaged


def _guarded(handle: dict[str, Any], work: Callable[[], object], force: bool = False) -> bool:
    """Does `work` unless it failed a short while ago; says whether it was done."""
    if not force and time.monotonic() < handle["next_try"]:
        return False
    try:
        work()
    except Exception as error:  # tracking is a view: whatever is wrong with it, the study goes on
        handle.update(next_try=time.monotonic() + RETRY_SECONDS, parent=None)
        if not handle["warned"]:
            reason = f"{hide_secrets(handle['uri'])}: {one_line(error, 200)}"
            print(f"warning: MLflow cannot be reached, the study goes on without it ({reason})", file=sys.stderr)
            handle["warned"] = True
        return False
    if handle["warned"]:
        print(f"MLflow answers again ({hide_secrets(handle['uri'])})", file=sys.stderr)
    handle.update(next_try=0.0, warned=False)
    return True


def _connect(handle: dict[str, Any]) -> Any:
    """Returns the handle's client, made at the first call together with database and experiment."""
    if handle["client"] is None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        from mlflow import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)  # the import sets its own
        artifacts = _prepare_folders(handle)
        client = MlflowClient(tracking_uri=handle["uri"])
        handle["experiment"] = _experiment(client, artifacts)
        handle["client"] = client
    return handle["client"]


def _prepare_folders(handle: dict[str, Any]) -> str | None:
    """Returns where artifacts go: beside a database file, in `mlruns/` for another database, None on a server."""
    uri = handle["uri"]
    if uri.startswith(("http:", "https:", "databricks")):
        return None
    folder = handle["root"] / "mlruns"
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute().parent
        folder.mkdir(parents=True, exist_ok=True)
    return (folder / "artifacts").as_uri()


def _experiment(client: Any, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        except MlflowException:  # another study made it meanwhile
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def _parent(handle: dict[str, Any], info: dict) -> str:
    """Returns the run of the study, found by its tag or made, and notes in the handle which children it has."""
    study = payloads.study_id(info)
    if handle.get("parent") is None or handle["study"] != study:
        client = handle["client"]
        query = f"tags.study_id = '{study}' and tags.role = 'study'"
        found = client.search_runs([handle["experiment"]], query, max_results=1)
        run = found[0].info.run_id if found else _make_parent(handle, info)
        if not found or not found[0].data.params:  # a server that went away may have left the run alone
            _describe_parent(client, run, info)
        if found:
            client.update_run(run, status="RUNNING")
            _add_changed_options(client, client.get_run(run), info)
        children = dict(_children(client, handle["experiment"], run))
        logged = {n for n, child in children.items() if child.info.status in payloads.ENDED}
        handle.update(parent=run, study=study, children=children, logged=logged)
    return handle["parent"]


def _make_parent(handle: dict[str, Any], info: dict) -> str:
    run = handle["client"].create_run(
        handle["experiment"],
        start_time=payloads.created_ms(info),
        tags=payloads.study_tags(info),
        run_name=str(info.get("name", "study")),
    )
    return run.info.run_id


def _describe_parent(client: Any, run: str, info: dict) -> None:
    """Gives the study's run its data, baseline and options; these come last, so that a run which has them has all."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(Dataset(**dataset), [InputTag("mlflow.data.context", context)])
        for context, dataset in payloads.datasets(info)
    ]
    if inputs:
        client.log_inputs(run, datasets=inputs)
    for batch in payloads.split_into_batches(payloads.study_params(info), payloads.baseline_metrics(info)):
        client.log_batch(run, synchronous=True, **_entities(batch))


def _add_changed_options(client: Any, run: Any, info: dict) -> None:
    """Notes options that a resumed study has changed as tags, since MLflow's parameters are for ever."""
    known = run.data.params
    for name, value in payloads.study_params(info).items():
        if known.get(name) != value and run.data.tags.get(f"now.{name}") != value:
            client.set_tag(run.info.run_id, f"now.{name}", value)


def _children(client: Any, experiment: str, parent: str) -> Iterator[tuple[int, Any]]:
    token = None
    while True:
        query = f"tags.mlflow.parentRunId = '{parent}'"
        found = client.search_runs([experiment], query, max_results=1000, page_token=token)
        for run in found:
            if run.data.tags.get("trial", "").isdigit():
                yield int(run.data.tags["trial"]), run
        token = found.token
        if not token:
            return


def _add_children(handle: dict[str, Any], info: dict, trials: list[Any], done: set[int], added: list[int]) -> None:
    client, parent = _connect(handle), _parent(handle, info)
    for trial in trials:
        if trial.number not in handle["logged"]:
            _add_child(client, handle, parent, info, trial)
            handle["logged"].add(trial.number)
            added.append(trial.number)
    # What is there may also be less than was known: the run is new when its owner deleted the old one.
    done.clear()
    done.update(handle["logged"])


def _add_child(client: Any, handle: dict[str, Any], parent: str, info: dict, trial: Any) -> None:
    """Adds one trial; one that an earlier call left half-written is written again, which changes nothing twice."""
    start, end = payloads.trial_times(trial)
    run = handle["children"].get(trial.number)
    if run is None:
        tags = payloads.trial_tags(info, trial, parent)
        run = client.create_run(handle["experiment"], start_time=start, tags=tags, run_name=payloads.trial_name(trial))
    for batch in payloads.split_into_batches(payloads.trial_params(trial), payloads.trial_metrics(trial)):
        client.log_batch(run.info.run_id, synchronous=True, **_entities(batch))
    client.set_terminated(run.info.run_id, payloads.STATUS[trial.state.name], end)


def _entities(batch: dict[str, list]) -> dict[str, list]:
    from mlflow.entities import Metric, Param

    return {"metrics": [Metric(*row) for row in batch["metrics"]], "params": [Param(*row) for row in batch["params"]]}
