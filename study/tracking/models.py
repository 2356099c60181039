"""The front's networks as MLflow models, with signature and input example, and in MLflow's registry under a name.

mlflow takes seconds to import, so functions import it.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fer.errors import printable
from fer.tensor_files import damage_of
from study.fronts import find_recommended

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

REQUIREMENTS = ["torch", "torchvision", "numpy", "scikit-learn", "scipy", "opencv-python-headless", "safetensors",
                "filelock", "pillow"]  # fmt: skip
"""Packages that a served network needs."""
SERVED_MODEL = Path(__file__).with_name("served_model.py")
"""What MLflow runs to serve a network."""
ADAPTATION_PACKAGE = Path(__file__).parent.parent.parent / "fer"
MOST_NAMED = 3
"""Damaged networks that a warning names; of more, their number."""


def log_models(
    client: "MlflowClient", uri: str, run: str, front: pd.DataFrame, folder: Path, register: str | None
) -> list[str]:
    """Logs each network of a front to the study's run, and gives its ends and the recommended one their aliases.

    What was logged before is left: the run's tags say what is there. So is a file that does not match its checksum, see
    `damaged_networks`.

    Args:
        client: Of MLflow.
        uri: Where it tracks.
        run: The study's run.
        front: Of `study.fronts.front_table`.
        folder: The study's, which holds models/.
        register: A name in the registry; None registers nothing.

    Returns:
        The names of the models that this call added.
    """
    import mlflow  # noqa: PLC0415

    mlflow.set_tracking_uri(uri)
    tags = client.get_run(run).data.tags
    damaged = damaged_networks(front, folder)
    added = []
    for model in front["model"]:
        name = model_name(model)
        was_logged = f"model.{name}" in tags
        if was_logged or model in damaged or not (folder / model).exists():
            continue
        with mlflow.start_run(run_id=run), warnings.catch_warnings(action="ignore"):
            logged = mlflow.pyfunc.log_model(
                name=name,
                python_model=str(SERVED_MODEL),
                artifacts={"network": str(folder / model)},
                signature=network_signature(),
                input_example=example_faces(),
                pip_requirements=REQUIREMENTS,
                code_paths=[str(ADAPTATION_PACKAGE)],
            )
        client.set_tag(run, f"model.{name}", logged.model_uri)
        added.append(name)
    if register:
        _register(client, run, front, register)
    return added


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


def example_faces() -> np.ndarray:
    """Returns the input example: one grey face, uint8 (1, 48, 48)."""
    return np.full((1, 48, 48), 128, np.uint8)


def network_signature() -> "ModelSignature":
    """Returns grey uint8 faces (n, 48, 48) to probabilities (n, 7)."""
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    faces = TensorSpec(np.dtype("uint8"), (-1, 48, 48))  # a name would make it a dict of arrays
    return ModelSignature(Schema([faces]), Schema([TensorSpec(np.dtype("float32"), (-1, 7))]))


def _register(client: "MlflowClient", run: str, front: pd.DataFrame, register: str) -> None:
    """Registers the networks that have an alias, each once, and moves the aliases to them."""
    import mlflow  # noqa: PLC0415

    tags = client.get_run(run).data.tags
    for alias, model in aliases(front).items():
        name = model_name(model)
        if f"model.{name}" not in tags:  # its file stays on the machine that trained it
            continue
        version = tags.get(f"registered.{register}.{name}")
        if version is None:
            version = mlflow.register_model(tags[f"model.{name}"], register).version
            tags[f"registered.{register}.{name}"] = str(version)
            client.set_tag(run, f"registered.{register}.{name}", version)
        client.set_registered_model_alias(register, alias, version)


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
