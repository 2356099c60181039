"""The requests to MLflow: its client, its experiment, what a run is given.

mlflow takes seconds to import and reads its environment then, so functions import it, after `create_client` has set
that environment.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from study.record import StudyRecord
from study.tracking import payloads

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "memory-integrity"
"""The name of the experiment that holds all studies."""

EXPERIMENT_TAGS = {
    payloads.NOTE: (
        "Which adaptation of a network for facial expressions learns a small new dataset best and forgets the large "
        "old one least? Each study is a run whose child runs are its trials; the child `baseline` is the network that "
        "they adapt.\n\n"
        "Compare studies: filter by `tags.role = 'study'`, and show the metrics `recommended_source`, "
        "`recommended_target`, `recommended_kept` and `recommended_gain` (after a confirmation `tested_…`). All are "
        "shares, between 0 and 1. The networks of a study's front: `tags.front = 'true'`."
    ),
    "mlflow.experimentKind": "custom_model_development",  # machine learning; else MLflow looks for language models
    "project": "memory-integrity",
}
"""What says in MLflow what the experiment holds."""

LISTED_TABLES = "mlflow.loggedArtifacts"
"""The tag of a run by which MLflow knows which of its artifacts are tables."""

# What keeps a server that does not answer from holding up the study; what the user set stays.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines per run otherwise
    "GIT_PYTHON_REFRESH": "quiet",
}


def create_client(uri: str) -> "MlflowClient":
    """Returns MLflow's client for a server or database; a database is created with its folder.

    Args:
        uri: Of MLflow's server or database.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient  # noqa: PLC0415

    logging.getLogger("mlflow").setLevel(logging.ERROR)  # the import sets its own
    if uri.startswith("sqlite:///"):
        _database_folder(uri).mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)


def prepare_artifact_folder(uri: str, root: Path) -> str | None:
    """Returns where artifacts go, as a URI: beside a database file, else in `mlruns/`; None on a server.

    Args:
        uri: Of MLflow's server or database.
        root: The folder that holds `mlruns/`.
    """
    if uri.startswith(("http:", "https:", "databricks")):
        return None
    folder = _database_folder(uri) if uri.startswith("sqlite:///") else root / "mlruns"
    return (folder / "artifacts").as_uri()


def _database_folder(uri: str) -> Path:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute().parent


def find_or_create_experiment(client: "MlflowClient", artifacts: str | None) -> str:
    """Returns the id of the experiment that holds all studies; one that was deleted is restored.

    Args:
        client: MLflow's.
        artifacts: Where its artifacts go, as a URI; None leaves that to the server.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        try:
            return client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=EXPERIMENT_TAGS)
        except MlflowException:  # another study created it meanwhile
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)

    # An earlier version made it without tags; what its owner wrote stays.
    for name, value in EXPERIMENT_TAGS.items():
        if name not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, name, value)
    return experiment.experiment_id


def describe_parent(client: "MlflowClient", run: str, record: StudyRecord) -> None:
    """Gives the study's run its data and options; these come last, so that a run which has them has all."""
    from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415

    inputs = [
        DatasetInput(Dataset(**dataset), [InputTag("mlflow.data.context", context)])
        for context, dataset in payloads.datasets(record)
    ]
    if inputs:
        client.log_inputs(run, datasets=inputs)
    log_values(client, run, payloads.study_params(record))


def log_child(client: "MlflowClient", experiment: str, parent: str, child: payloads.Child) -> None:
    """Gives the study a child run that is no trial's, or completes it; again it adds nothing twice.

    Args:
        client: MLflow's.
        experiment: The id of the experiment.
        parent: The id of the study's run.
        child: What the run holds.
    """
    query = f"tags.mlflow.parentRunId = '{parent}' and tags.role = '{child.name}'"
    runs = client.search_runs([experiment], query, max_results=1)
    if runs:
        run = runs[0]
    else:
        run = client.create_run(experiment, start_time=child.start, tags=child.tags, run_name=child.name)

    # The end comes last, so that a run which has it has all.
    is_whole = run.info.status in payloads.ENDED and run.info.end_time == child.end
    if not is_whole:
        log_values(client, run.info.run_id, child.params, child.metrics)
        client.set_terminated(run.info.run_id, "FINISHED", child.end)


def change_tags(client: "MlflowClient", run: "Run", wanted: Mapping[str, str], unwanted: Iterable[str] = ()) -> None:
    """Gives a run those tags that it does not have, and takes those away that it shall not have.

    Args:
        client: MLflow's.
        run: With its tags.
        wanted: Tags by name.
        unwanted: Names of tags.
    """
    from mlflow.entities import RunTag  # noqa: PLC0415

    tags = run.data.tags
    changed = [RunTag(name, value) for name, value in wanted.items() if tags.get(name) != value]
    if changed:
        client.log_batch(run.info.run_id, tags=changed, synchronous=True)
    for name in unwanted:
        if name in tags and name not in wanted:
            client.delete_tag(run.info.run_id, name)


def log_table(client: "MlflowClient", run: "Run", table: "pd.DataFrame", file: str) -> None:
    """Logs a table as MLflow's pages show it, sortable; unlike MLflow's own `log_table`, once more replaces it.

    Args:
        client: MLflow's.
        run: With its tags.
        table: What it gets.
        file: Its name among the run's artifacts, ending in .json.
    """
    client.log_text(run.info.run_id, table.to_json(orient="split", index=False), file)
    listed = json.loads(run.data.tags.get(LISTED_TABLES, "[]"))
    entry = {"path": file, "type": "table"}
    if entry not in listed:
        client.set_tag(run.info.run_id, LISTED_TABLES, json.dumps([*listed, entry]))


def add_changed_options(client: "MlflowClient", run: "Run", record: StudyRecord) -> None:
    """Notes options that a resumed study has changed as tags, since MLflow's parameters are for ever."""
    logged = run.data.params
    for name, value in payloads.study_params(record).items():
        tag = f"now.{name}"
        if logged.get(name) != value and run.data.tags.get(tag) != value:
            client.set_tag(run.info.run_id, tag, value)


def search_children(client: "MlflowClient", experiment: str, parent: str) -> Iterator[tuple[int, "Run"]]:
    """Yields the number of each trial that MLflow has, and its run, page by page."""
    query = f"tags.mlflow.parentRunId = '{parent}'"
    token = None
    while True:
        page = client.search_runs([experiment], query, max_results=1000, page_token=token)
        for run in page:
            number = run.data.tags.get("trial", "")
            if number.isdigit():
                yield int(number), run
        token = page.token
        if not token:
            return


def log_values(
    client: "MlflowClient",
    run: str,
    params: dict[str, str] | None = None,
    metrics: list[payloads.Metric] | None = None,
) -> None:
    """Logs parameters and metrics of a run, in as few requests as MLflow's limits allow."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    for batch in payloads.split_into_batches(params, metrics):
        metric_entities = [Metric(*row) for row in batch["metrics"]]
        param_entities = [Param(*row) for row in batch["params"]]
        client.log_batch(run, metrics=metric_entities, params=param_entities, synchronous=True)
