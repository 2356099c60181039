"""The requests to MLflow: its client, its experiment, what a run is given.

mlflow takes seconds to import and reads its environment then, so functions import it, after `create_client` has set
that environment.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from study.record import StudyRecord
from study.tracking import payloads

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "memory-integrity"
"""The name of the experiment that holds all studies."""

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
            return client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        except MlflowException:  # another study created it meanwhile
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return experiment.experiment_id


def describe_parent(client: "MlflowClient", run: str, record: StudyRecord) -> None:
    """Gives the study's run its data, baseline and options; these come last, so that a run which has them has all."""
    from mlflow.entities import Dataset, DatasetInput, InputTag  # noqa: PLC0415

    inputs = [
        DatasetInput(Dataset(**dataset), [InputTag("mlflow.data.context", context)])
        for context, dataset in payloads.datasets(record)
    ]
    if inputs:
        client.log_inputs(run, datasets=inputs)
    log_values(client, run, payloads.study_params(record), payloads.baseline_metrics(record))


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
