"""What MLflow keeps of a study and its trials, as plain data within MLflow's limits. Does not import mlflow."""

import getpass
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fer.expressions import SEVEN
from study.record import DOMAINS, StudyRecord, number
from study.redaction import hide_secrets
from study.trial_attributes import TrialAttributes
from study.trials import OBJECTIVES, STATES

if TYPE_CHECKING:
    import pandas as pd
    from optuna.trial import FrozenTrial

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
"""MLflow's state of a run by Optuna's of a trial."""
ENDED = frozenset(STATUS.values())
"""MLflow's states of a run that has ended."""
NOTE = "mlflow.note.content"
"""The tag that MLflow shows as the description, in Markdown, of a run or an experiment."""
TAGGED_ATTRIBUTES = ("strategy", "rung", "fold", "repeat", "reason", "worker", "seed", "twin_of", "copy_of")
"""What a trial's run has as tags."""

# MLflow's limits: items of one request, characters of one name or text.
METRICS = 1000
PARAMS = 100
KEY = 250
PARAM_TEXT = 6000
TAG_TEXT = 4000
DATASET_NAME = 500
DATASET_DIGEST = 36
MOST_PROFILE = 2**20

Metric = tuple[str, float, int, int]
"""Name, value, time in ms, step."""


def study_id(record: StudyRecord) -> str:
    """Returns what finds the study's run again: the study's id, or a hash of its name and birth."""
    if re.fullmatch(r"[\w.-]{1,100}", record.id):
        return record.id
    described = f"{record.id}|{record.name or None}|{record.more.get('created_ms')}"
    return hashlib.blake2b(described.encode(), digest_size=12).hexdigest()


def clean_key(name: str) -> str:
    """Returns a name with only the characters that MLflow allows."""
    clean = re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII).strip("/. ") or "_"
    return re.sub(r"/[/.]*", "/", clean)[:KEY]


def created_ms(record: StudyRecord) -> int | None:
    """Returns the study's birth in ms, None where it is not recorded."""
    return milliseconds(record.created)


def milliseconds(date: object) -> int | None:
    """Returns an ISO 8601 date in ms; None where it is none, or one that no clock of this system can have had."""
    try:
        return int(datetime.fromisoformat(str(date)).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None


def study_tags(record: StudyRecord) -> dict[str, str]:
    """Returns the tags that the study's run is created with."""
    tags = {f"version.{name}": value for name, value in record.versions.items()}
    tags |= {"role": "study"} | _shared_tags(record)
    return as_tags(tags)


def _shared_tags(record: StudyRecord) -> dict[str, Any]:
    """Returns the tags that the study's run, its children and its models have."""
    return {
        "study": record.name or "study",
        "study_id": study_id(record),
        "synthetic": str(record.is_synthetic).lower(),
        "mlflow.source.name": "study.run",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": _user(),
    }


def as_tags(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns values as tags within MLflow's limits, without passwords."""
    return {clean_key(name): _flat(value)[:TAG_TEXT] for name, value in values.items()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def study_params(record: StudyRecord) -> dict[str, str]:
    """Returns the parameters of the study's run: options, network, hardware."""
    params = {name: value for name, value in record.options.items() if value is not None}
    # A file may lie elsewhere when the study goes on; the expressions stay, and so do weights.
    if record.expressions != SEVEN:
        params["expressions"] = ", ".join(record.expressions.names)
    if record.weights.name:
        params[record.weights.option.removeprefix("--")] = f"{record.weights.name} ({record.weights.checksum})"
    if record.weights.classes:
        params["classes"] = ",".join(map(str, record.weights.classes))
    params |= _network_params(record)
    params |= {f"hardware.{name}": value for name, value in record.hardware.to_json().items()}
    return _params(params)


def _network_params(record: StudyRecord) -> dict[str, Any]:
    """Returns the parameters of the study's run about its network; of its blocks, their number."""
    architecture = record.architecture
    facts = {name: value for name, value in record.network.items() if name not in ("blocks", "normed")}
    facts |= {"name": architecture.describe(), "blocks": len(architecture.blocks)}
    return {f"network.{name}": value for name, value in facts.items()}


def _params(values: Mapping[str, Any]) -> dict[str, str]:
    return {clean_key(str(name)): _flat(value)[:PARAM_TEXT] for name, value in values.items()}


def _flat(value: object) -> str:
    """Returns a value without passwords as a text, JSON where it is nested."""
    shown = hide_secrets(value)
    return json.dumps(shown, default=str) if isinstance(shown, dict | list) else str(shown)


# Child runs of the study that are no trials'.


@dataclass(frozen=True)
class Child:
    """A child run of the study that is no trial's.

    Attributes:
        name: The name, by which the run is found again: it is its role as well.
        tags: Its tags.
        params: Its parameters.
        metrics: Its metrics.
        start: When it began, in ms.
        end: When it ended, in ms.
    """

    name: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: list[Metric]
    start: int
    end: int


def child_tags(record: StudyRecord, parent: str, name: str, note: str) -> dict[str, str]:
    """Returns the tags of a child run that is no trial's.

    Args:
        record: The study's record.
        parent: The id of the study's run.
        name: Of the child run.
        note: Its description.
    """
    return as_tags({"mlflow.parentRunId": parent, "role": name, NOTE: note} | _shared_tags(record))


def baseline_run(record: StudyRecord, parent: str) -> Child | None:
    """Returns the run of the baseline; None where the record has no figure of it.

    Args:
        record: The study's record.
        parent: The id of the study's run.
    """
    metrics = baseline_metrics(record)
    if not metrics:
        return None
    note = "The network that every trial adapts, as it is before any adaptation. It was not chosen among others."
    entries = record.baseline.to_json()
    start = created_ms(record) or 0
    return Child(
        name="baseline",
        tags=child_tags(record, parent, "baseline", note),
        params=_params({name: value for name, value in entries.items() if isinstance(value, str)}),
        metrics=metrics,
        start=start,
        end=start + round(1000 * (record.baseline.seconds or 0)),
    )


def baseline_metrics(record: StudyRecord) -> list[Metric]:
    """Returns the baseline's figures as metrics of its run, under the names that those of trials have."""
    figures = record.baseline.to_json()
    figures.pop("measures", None)
    figures |= record.baseline.measures
    return as_metrics(figures, created_ms(record) or 0)


# The study's data.


def datasets(record: StudyRecord) -> list[tuple[str, dict[str, str]]]:
    """Returns (context, fields of an MLflow dataset) for source and target."""
    described = []
    for domain in DOMAINS:
        dataset = record.dataset(domain)
        if not dataset.to_json():
            continue
        profile = json.dumps(dataset.report, default=str)
        entity = {
            "name": (dataset.name or domain)[:DATASET_NAME],
            "digest": (dataset.digest or "unknown")[:DATASET_DIGEST],
            "source_type": dataset.kind or "unknown",
            "source": json.dumps({"kind": dataset.kind or None}),
            "profile": profile if len(profile) < MOST_PROFILE else "{}",
        }
        described.append((domain, entity))
    return described


def trial_times(trial: "FrozenTrial") -> tuple[int, int]:
    """Returns a trial's start and end in ms; one that never started has its end twice."""
    end = trial.datetime_complete or trial.datetime_start
    start = trial.datetime_start or end
    start_ms = int(start.timestamp() * 1000) if start else 0
    end_ms = int(end.timestamp() * 1000) if end else 0
    return start_ms, end_ms


def trial_name(trial: "FrozenTrial") -> str:
    """Returns the name of a child run."""
    strategy = TrialAttributes.of(trial).strategy or ""
    return f"{trial.number:03d} {strategy}".strip()


def trial_tags(record: StudyRecord, trial: "FrozenTrial", parent: str) -> dict[str, str]:
    """Returns the tags of a child run.

    Args:
        record: The study's record.
        trial: A counted trial.
        parent: The id of the study's run.
    """
    tags = {"mlflow.parentRunId": parent, "role": "trial", "trial": trial.number} | _shared_tags(record)
    tags["state"] = STATES[trial.state.name]
    attributes = TrialAttributes.of(trial)
    given = attributes.subset(TAGGED_ATTRIBUTES)
    tags |= {name: value for name, value in given.items() if value is not None}
    if attributes.slot is not None:
        tags["configuration"] = attributes.slot
    tags["race"] = str(attributes.race is not None).lower()
    return as_tags(tags)


def trial_params(trial: "FrozenTrial") -> dict[str, str]:
    """Returns every hyperparameter of a trial, and its strategy."""
    attributes = TrialAttributes.of(trial)
    hyperparameters = attributes.config if isinstance(attributes.config, dict) else {}
    return _params({"strategy": attributes.strategy} | hyperparameters)


def model_tags(record: StudyRecord) -> dict[str, str]:
    """Returns the tags that say which study an MLflow model belongs to."""
    tags = _shared_tags(record)
    return as_tags({name: tags[name] for name in ("study", "study_id", "synthetic")})


def version_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Returns the tags of a version in the registry, by those of its model."""
    return {name: tags[name] for name in ("study", "network", "synthetic") if name in tags}


def place_params(network: "pd.Series") -> dict[str, str]:
    """Returns where a network of the front lies between baseline and trained weights, as its model's parameters.

    Args:
        network: A row of `study.fronts.front_table`.
    """
    values = {"alpha": network["alpha"], "alpha_slope": network.get("alpha_slope")}
    return _params({name: value for name, value in values.items() if value is not None})


def trial_metrics(trial: "FrozenTrial") -> list[Metric]:
    """Returns a trial's measures under their own names, and its curve under `curve/` with epochs as steps.

    Two names, because what a trial ends with need not be the last point of its curve. Steps are integers: where a curve
    has parts of epochs, they count its points, and `curve/epoch` says where those are.
    """
    attributes = TrialAttributes.of(trial)
    start, end = trial_times(trial)

    # What the trial ended with.
    measures: dict[str, Any] = dict(attributes.measures or {})
    if trial.values is not None and len(trial.values) == 2:
        measures |= dict(zip(OBJECTIVES, trial.values, strict=True))
    metrics = as_metrics(measures | {"seconds": attributes.seconds}, end)

    # Its curve, spread evenly over its time.
    curve = [point for point in attributes.curve or [] if isinstance(point, dict)]
    has_only_full_epochs = all(float(point.get("epoch") or 0).is_integer() for point in curve)
    for index, point in enumerate(curve):
        step = int(point.get("epoch") or 0) if has_only_full_epochs else index + 1
        at = start + (end - start) * (index + 1) // len(curve)
        values = {f"curve/{name}": value for name, value in point.items()}
        if has_only_full_epochs:
            values.pop("curve/epoch", None)
        metrics += as_metrics(values, at, step)
    return metrics


def as_metrics(values: Mapping[str, Any], at: int, step: int = 0) -> list[Metric]:
    """Returns the numbers among values as metrics; a loss that is NaN stays NaN."""
    metrics = []
    for name, value in values.items():
        decimal = number(value)
        if decimal is None and isinstance(value, float) and math.isnan(value):
            decimal = value
        if decimal is not None:
            metrics.append((clean_key(name), decimal, at, step))
    return metrics


def split_into_batches(
    params: dict[str, str] | None = None, metrics: list[Metric] | None = None
) -> Iterator[dict[str, list]]:
    """Splits what is to be logged into requests within MLflow's limits; only the longest curves need more than one."""
    all_params = list((params or {}).items())
    all_metrics = metrics or []

    # A request takes 1,000 items in all and 1 MB. Each leaves room for as many parameters as it may have, also where it
    # has fewer: a hundred long ones fill much of the megabyte.
    metrics_per_request = METRICS - PARAMS
    requests = max(math.ceil(len(all_params) / PARAMS), math.ceil(len(all_metrics) / metrics_per_request))
    for index in range(requests):
        yield {
            "params": all_params[index * PARAMS : (index + 1) * PARAMS],
            "metrics": all_metrics[index * metrics_per_request : (index + 1) * metrics_per_request],
        }
