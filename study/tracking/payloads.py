"""What MLflow is told of a study and its trials, as plain data within MLflow's limits. Does not know mlflow."""

import getpass
import hashlib
import json
import math
import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from study.record import confirmed_points, hide_secrets, is_synthetic, number, section
from study.trials import STATES

if TYPE_CHECKING:
    import pandas as pd

STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}
ENDED = frozenset(STATUS.values())
# MLflow's limits: of one request, and of one name or text.
METRICS, PARAMS, KEY, PARAM_TEXT, TAG_TEXT = 1000, 100, 250, 6000, 4000

Metric = tuple[str, float, int, int]  # name, value, time in ms, step


def study_id(info: dict) -> str:
    """Returns what finds the study's run again: its own id, or a hash of its name and birth."""
    own = str(info.get("id") or "")
    if re.fullmatch(r"[\w.-]{1,100}", own):
        return own
    return hashlib.blake2b(f"{own}|{info.get('name')}|{info.get('created_ms')}".encode(), digest_size=12).hexdigest()


def clean_key(name: str) -> str:
    """Returns a name with only the characters that MLflow allows."""
    clean = re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII).strip("/. ") or "_"
    return re.sub(r"/[/.]*", "/", clean)[:KEY]


def created_ms(info: dict) -> int | None:
    """Returns the study's birth in ms, None when it is not recorded."""
    try:
        return int(datetime.fromisoformat(str(info.get("created"))).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):  # no date, or one that no clock of this system can have had
        return None


def study_tags(info: dict) -> dict[str, str]:
    """Returns the tags of the parent run."""
    tags = {f"version.{name}": value for name, value in section(info, "versions").items()}
    tags |= {"role": "study", "study": info.get("name", "study"), "study_id": study_id(info)}
    tags |= {"synthetic": str(is_synthetic(info)).lower(), "mlflow.source.name": "study.run"}
    tags |= {"mlflow.source.type": "LOCAL", "mlflow.user": _user()}
    return {clean_key(name): _flat(value)[:TAG_TEXT] for name, value in tags.items()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def study_params(info: dict) -> dict[str, str]:
    """Returns the parameters of the parent run: options, network, hardware."""
    found = {name: value for name, value in section(info, "options").items() if value is not None}
    found |= {f"network.{name}": value for name, value in section(info, "network").items()}
    found |= {f"hardware.{name}": value for name, value in section(info, "hardware").items()}
    return _params(found)


def _params(values: dict[str, Any]) -> dict[str, str]:
    return {clean_key(str(name)): _flat(value)[:PARAM_TEXT] for name, value in values.items()}


def _flat(value: Any) -> str:
    value = hide_secrets(value)
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)


def baseline_metrics(info: dict) -> list[Metric]:
    """Returns the baseline's figures as metrics of the parent run."""
    baseline = section(info, "baseline")
    values = {name: value for name, value in baseline.items() if name != "measures"} | section(baseline, "measures")
    return _metrics({f"baseline/{name}": value for name, value in values.items()}, created_ms(info) or 0)


def datasets(info: dict) -> list[tuple[str, dict[str, str]]]:
    """Returns (context, fields of an MLflow dataset) for source and target."""
    found = []
    for side in ("source", "target"):
        data = section(info, side)
        if data:
            profile = json.dumps(data.get("report") or {}, default=str)
            found.append((side, {
                "name": str(data.get("name") or side)[:500], "digest": str(data.get("digest") or "unknown")[:36],
                "source_type": str(data.get("kind") or "unknown"), "source": json.dumps({"kind": data.get("kind")}),
                "profile": profile if len(profile) < 2**20 else "{}",
            }))  # fmt: skip
    return found


def search_metrics(table: "pd.DataFrame", info: dict) -> list[Metric]:
    """Returns hypervolume by trial, and how the trials ended, as metrics of the parent run.

    Their times follow from the step, so that writing them again makes no second copy.

    Args:
        table: Of `front_table.table`.
        info: The study's record.
    """
    from study.fronts import front_table, hypervolume_over_trials
    from study.trials import hypervolume_reference

    if table.empty:
        return []
    start, last = created_ms(info) or 0, int(table["number"].max())
    volumes = zip(table["number"], hypervolume_over_trials(table, hypervolume_reference(info)), strict=True)
    metrics: list[Metric] = [("hypervolume", float(v), start + int(step), int(step)) for step, v in volumes]
    counts = {f"trials/{state}": int((table["state"] == state).sum()) for state in STATES.values()}
    return metrics + _metrics(counts | {"front_size": len(front_table(table))}, start + last, last)


def confirmed_metrics(info: dict) -> list[Metric]:
    """Returns what was confirmed as metrics of the parent run, `confirmed/<point>/<measure>`; nothing before that."""
    try:
        at = int(datetime.fromisoformat(str(section(info, "confirmation").get("finished"))).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return []
    found = []
    for point in confirmed_points(info):
        values = {name: value for name, value in point.items() if isinstance(value, float)}
        way = "" if point["alpha"] == "1" else f" at {point['alpha']}"
        found += _metrics({f"confirmed/{point['name']}{way}/{name}": value for name, value in values.items()}, at)
    return found


def trial_times(trial: Any) -> tuple[int, int]:
    """Returns a trial's start and end in ms; one that never started has its end twice."""
    end = trial.datetime_complete or trial.datetime_start
    start = trial.datetime_start or end
    return tuple(int(at.timestamp() * 1000) if at else 0 for at in (start, end))  # type: ignore[return-value]


def trial_name(trial: Any) -> str:
    """Returns the name of a child run."""
    return f"{trial.number:03d} {trial.user_attrs.get('strategy', '')}".strip()


def trial_tags(info: dict, trial: Any, parent: str) -> dict[str, str]:
    """Returns the tags of a child run."""
    tags = {"mlflow.parentRunId": parent, "role": "trial", "trial": trial.number, "study": info.get("name", "study")}
    tags |= {"study_id": study_id(info), "synthetic": str(is_synthetic(info)).lower(), "mlflow.user": _user()}
    tags |= {"state": STATES[trial.state.name], "mlflow.source.name": "study.run", "mlflow.source.type": "LOCAL"}
    told = ("strategy", "reason", "worker", "seed", "twin_of", "copy_of")
    tags |= {name: trial.user_attrs[name] for name in told if trial.user_attrs.get(name) is not None}
    return {clean_key(name): _flat(value)[:TAG_TEXT] for name, value in tags.items()}


def trial_params(trial: Any) -> dict[str, str]:
    """Returns every knob of a trial, and its strategy."""
    config = trial.user_attrs.get("config")
    return _params({"strategy": trial.user_attrs.get("strategy")} | (config if isinstance(config, dict) else {}))


def trial_metrics(trial: Any) -> list[Metric]:
    """Returns a trial's measures under their own names, and its curve under `curve/` with epochs as steps.

    Two names, because what a trial ends with need not be the last point of its curve. Steps are whole: where
    a curve has parts of epochs, they count its points, and `curve/epoch` says where those are.
    """
    attrs = trial.user_attrs
    start, end = trial_times(trial)
    measures = dict(attrs.get("measures") or {})
    if trial.values is not None and len(trial.values) == 2:
        measures |= dict(zip(("source_val", "target_val"), trial.values, strict=True))
    metrics = _metrics(measures | {"seconds": attrs.get("seconds")}, end)
    curve = [point for point in attrs.get("curve") or [] if isinstance(point, dict)]
    whole = all(float(point.get("epoch") or 0).is_integer() for point in curve)
    for index, point in enumerate(curve):
        step = int(point.get("epoch") or 0) if whole else index + 1
        at = start + (end - start) * (index + 1) // len(curve)
        values = {f"curve/{name}": value for name, value in point.items() if not (whole and name == "epoch")}
        metrics += _metrics(values, at, step)
    return metrics


def _metrics(values: dict[str, Any], at: int, step: int = 0) -> list[Metric]:
    """Returns the numbers among values as metrics; a loss that is no number stays one that is none."""
    found = []
    for name, value in values.items():
        decimal = number(value)
        if decimal is None and isinstance(value, float) and math.isnan(value):
            decimal = value
        if decimal is not None:
            found.append((clean_key(name), decimal, at, step))
    return found


def split_into_batches(
    params: dict[str, str] | None = None, metrics: list[Metric] | None = None
) -> Iterator[dict[str, list]]:
    """Splits what is to be logged into requests within the limits: one, for all but the longest curves."""
    names, metrics = list((params or {}).items()), metrics or []
    # 1,000 items in all and 1 MB: a hundred parameters may be long, so they count fully.
    for index in range(max(-(-len(names) // PARAMS), -(-len(metrics) // (METRICS - PARAMS)))):
        size = METRICS - PARAMS
        yield {
            "params": names[index * PARAMS : (index + 1) * PARAMS],
            "metrics": metrics[index * size : (index + 1) * size],
        }
