"""The front's networks as MLflow models, with signature and input example, and in MLflow's registry under a name.

mlflow takes seconds to import, so functions import it.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fer.architecture import TIMM, Architecture
from fer.errors import printable
from fer.files import checksum, read_regular
from fer.tensor_files import MOST_BYTES, damage_of
from study.fronts import find_recommended
from study.record import StudyRecord
from study.tracking import payloads
from study.tracking.outcome import network_metrics, network_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from optuna.trial import FrozenTrial

REQUIREMENTS = ["torch", "torchvision", "numpy", "scikit-learn", "scipy", "opencv-python-headless", "safetensors",
                "filelock", "pillow"]  # fmt: skip
"""Packages that a served network needs; one of timm needs that as well."""
SERVED_MODEL = Path(__file__).with_name("served_model.py")
"""What MLflow runs to serve a network."""
ADAPTATION_PACKAGE = Path(__file__).parent.parent.parent / "fer"
FILE = "file"
"""The tag of an MLflow model that says which file of the study's folder it holds."""
CONTENT = "checksum"
"""The tag of an MLflow model with the hash of that file; models of earlier versions have none."""
EARLIER_MODEL, EARLIER_VERSION = "model.", "registered."
"""How tags of a study's run begin by which earlier versions knew its models and their versions in the registry."""
MOST_NAMED = 3
"""Damaged networks that a warning names; of more, their number."""


@dataclass(frozen=True)
class Destination:
    """Where in MLflow the networks of a study go.

    Attributes:
        client: Of MLflow.
        uri: Where it tracks.
        experiment: The id of the experiment.
        parent: The id of the study's run.
        runs: The id of each trial's run, by the trial's number.
    """

    client: "MlflowClient"
    uri: str
    experiment: str
    parent: str
    runs: Mapping[int, str]


def log_models(
    place: Destination,
    record: StudyRecord,
    trials: Sequence["FrozenTrial"],
    front: pd.DataFrame,
    folder: Path,
    register: str | None,
) -> list[str]:
    """Logs each network of a front from its trial's run, and gives its ends and the recommended one their aliases.

    A network that is there already is left, unless its file has changed since: more trainings are averaged in it. One
    whose file does not match its checksum is left out, see `damaged_networks`.

    Args:
        place: Where they go.
        record: The study's record.
        trials: All trials of the study.
        front: Of `study.fronts.front_table`.
        folder: The study's, which holds models/.
        register: A name in the registry; None registers nothing.

    Returns:
        The names of the models that this call added.
    """
    import mlflow  # noqa: PLC0415

    mlflow.set_tracking_uri(place.uri)
    _adopt_earlier_models(place, record)
    there = find_models(place.client, place.experiment, record)
    damaged = damaged_networks(front, folder)
    by_number = {trial.number: trial for trial in trials}
    added = []
    for _, network in front.iterrows():
        file = folder / network["model"]
        if network["model"] in damaged or not file.exists():
            continue
        content = checksum(read_regular(file, MOST_BYTES))
        logged = there.get(network["model"])
        if logged is not None and logged.tags.get(CONTENT, content) == content:
            continue
        tags = network_tags(network, trials) | payloads.model_tags(record)
        tags |= {FILE: network["model"], CONTENT: content}
        there[network["model"]] = _log_network(place, record, by_number[network["trial"]], network, file, tags)
        added.append(model_name(network["model"]))
    if register:
        _register(place, front, there, register)
    return added


def find_models(client: "MlflowClient", experiment: str, record: StudyRecord) -> dict[str, "LoggedModel"]:
    """Returns the networks of a study that are MLflow models, by their file; of several, the last.

    Args:
        client: Of MLflow.
        experiment: The id of the experiment.
        record: The study's record.
    """
    query = f"tags.study_id = '{payloads.study_id(record)}'"
    oldest_first = [{"field_name": "creation_timestamp", "ascending": True}]
    found = {}
    token = None
    while True:
        page = client.search_logged_models([experiment], query, order_by=oldest_first, page_token=token)
        for model in page:
            is_whole = model.status.name == "READY"
            if is_whole and FILE in model.tags:
                found[model.tags[FILE]] = model
        token = page.token
        if not token:
            return found


def _log_network(
    place: Destination,
    record: StudyRecord,
    trial: "FrozenTrial",
    network: pd.Series,
    file: Path,
    tags: dict[str, str],
) -> "LoggedModel":
    """Logs one network from its trial's run: with that trial's parameters and with its own metrics.

    The model is made before its files are logged: else MLflow would give it all metrics of the run, of which those of
    an interpolated network are few.
    """
    import mlflow  # noqa: PLC0415
    from mlflow.entities import LoggedModelOutput, Metric  # noqa: PLC0415

    # The model, as an output of the trial's run.
    run = place.runs[trial.number]
    model = place.client.create_logged_model(
        place.experiment,
        name=model_name(network["model"]),
        source_run_id=run,
        params=payloads.trial_params(trial) | payloads.place_params(network),
        tags=tags,
    )
    place.client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
    _, end = payloads.trial_times(trial)
    metrics = [Metric(*row, model_id=model.model_id, run_id=run) for row in network_metrics(network, record, end)]
    place.client.log_batch(run, metrics=metrics, synchronous=True)

    # Its files.
    with warnings.catch_warnings(action="ignore"):
        mlflow.pyfunc.log_model(
            model_id=model.model_id,
            python_model=str(SERVED_MODEL),
            artifacts={"network": str(file)},
            model_config={"network": record.architecture.name},
            signature=network_signature(record),
            input_example=example_faces(record),
            pip_requirements=requirements(record.architecture),
            code_paths=[str(ADAPTATION_PACKAGE)],
        )
    return model


def requirements(network: Architecture) -> list[str]:
    """Returns the packages that a served network needs; a user's own code is to be installed beside them."""
    return [*REQUIREMENTS, "timm"] if network.name.startswith(TIMM) else REQUIREMENTS


def _adopt_earlier_models(place: Destination, record: StudyRecord) -> None:
    """Gives the models of an earlier version the tags by which models are found, in place of tags of the study's run.

    These models came from the study's run, which had a tag for each, and one for each that was registered.
    """
    tags = place.client.get_run(place.parent).data.tags
    for name, uri in tags.items():
        if name.startswith(EARLIER_MODEL):
            found = {FILE: file_of_model(name.removeprefix(EARLIER_MODEL))} | payloads.model_tags(record)
            place.client.set_logged_model_tags(uri.removeprefix("models:/"), found)
        if name.startswith((EARLIER_MODEL, EARLIER_VERSION)):
            place.client.delete_tag(place.parent, name)


def damaged_networks(front: pd.DataFrame, folder: Path) -> dict[str, str]:
    """Returns which networks of a front are damaged, and why; a file that is not there is on another machine.

    Args:
        front: Of `study.fronts.front_table`.
        folder: The study's, which holds models/.
    """
    files = {model: folder / model for model in front["model"] if (folder / model).exists()}
    reasons = {model: damage_of(path) for model, path in files.items()}
    return {model: reason for model, reason in reasons.items() if reason is not None}


def damage_warning(damaged: dict[str, str]) -> str:
    """Returns a line that names damaged networks, the first few of them with the reason."""
    phrases = [f"{model} ({reason})" for model, reason in damaged.items()]
    named = ", ".join(phrases[:MOST_NAMED])
    left_out = len(phrases) - MOST_NAMED
    more = f" and {left_out} more" if left_out > 0 else ""
    return printable(f"networks of the front are damaged and not to be used: {named}{more}")


def model_name(model: str) -> str:
    """Returns a name that MLflow takes: "trial-0012-at-0_50", "trial-0012-at-0_00-plus-1_00"."""
    return Path(model).name.removesuffix(".safetensors").replace(".", "_").replace("+", "-plus-")


def file_of_model(name: str) -> str:
    """Returns the file of a network, relative to the study's folder, by its `model_name`."""
    return f"models/{name.replace('-plus-', '+').replace('_', '.')}.safetensors"


def example_faces(record: StudyRecord) -> np.ndarray:
    """Returns the input example: one face of middle grey, uint8 (1, size, size) or in colour (1, 3, size, size)."""
    return np.full((1, *record.face_shape), 128, np.uint8)


def network_signature(record: StudyRecord) -> "ModelSignature":
    """Returns uint8 faces, (n, size, size) or in colour (n, 3, size, size), to probabilities (n, classes)."""
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    faces = TensorSpec(np.dtype("uint8"), (-1, *record.face_shape))  # a name would make it a dict of arrays
    probabilities = TensorSpec(np.dtype("float32"), (-1, len(record.expressions)))
    return ModelSignature(Schema([faces]), Schema([probabilities]))


def _register(place: Destination, front: pd.DataFrame, there: "Mapping[str, LoggedModel]", register: str) -> None:
    """Registers the networks that have an alias, each once, and moves the aliases to them.

    Args:
        place: Where the models are.
        front: Of `study.fronts.front_table`.
        there: The models by their file.
        register: The name in the registry.
    """
    import mlflow  # noqa: PLC0415

    versions = {version.source: version for version in _search_versions(place.client, register)}
    for alias, file in aliases(front).items():
        if file not in there:  # its file stays on the machine that trained it
            continue
        model = there[file]
        version = versions.get(model.model_uri)
        if version is None:
            version = mlflow.register_model(model.model_uri, register, tags=payloads.version_tags(model.tags))
            versions[model.model_uri] = version
        place.client.set_registered_model_alias(register, alias, version.version)


def _search_versions(client: "MlflowClient", register: str) -> "Iterator[ModelVersion]":
    """Yields the versions under a name of the registry, page by page; none where the name is new."""
    quoted = register.replace("'", "''")
    token = None
    while True:
        page = client.search_model_versions(f"name='{quoted}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def aliases(front: pd.DataFrame) -> dict[str, str]:
    """Returns which network of a front has which alias in the registry.

    Of an older study, whose trials stored no answers, the knee has the alias "knee" as well.
    """
    if front.empty:
        return {}
    networks = front.to_dict("records")
    best_retention = max(networks, key=lambda network: network["source_val"])
    best_target = max(networks, key=lambda network: network["target_val"])
    found = {"best-retention": str(best_retention["model"]), "best-target": str(best_target["model"])}

    recommended = find_recommended(front)
    if recommended is not None:
        found["recommended"] = str(recommended["model"])
        if "role" not in front:
            found["knee"] = str(recommended["model"])
    return found
