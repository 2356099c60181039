"""A real MLflow store, and what a study's runs are in it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from made_study import made_confirmed, made_info
from study.fronts import front_table
from study.tracking import mlflow_run
from study.tracking.mlflow_run import MlflowRun
from study.trials import trials_table

if TYPE_CHECKING:  # mlflow takes seconds, and most tests do without
    from mlflow.entities import Run
    from optuna.trial import FrozenTrial


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real database for all tests, since making it takes seconds; studies differ by their id."""
    root = tmp_path_factory.mktemp("tracked")
    mlflow_run.open_tracking(f"sqlite:///{root}/mlruns/mlflow.db", root, required=True)
    return root


@pytest.fixture
def study_run(store: Path) -> MlflowRun:
    return mlflow_run.open_tracking(f"sqlite:///{store}/mlruns/mlflow.db", store, required=True)


@pytest.fixture
def info(request: pytest.FixtureRequest) -> dict:
    """A study's record, with an id of the test's own."""
    return made_info(id=f"id-{abs(hash(request.node.name))}", name=request.node.name)


def runs_of(study_run: MlflowRun, info: dict, role: str) -> list["Run"]:
    """Returns the runs of a study that have a role: study, trial, baseline, confirmation."""
    query = f"tags.study_id = '{info['id']}' and tags.role = '{role}'"
    return study_run.client.search_runs([study_run.experiment], query)


def children(study_run: MlflowRun, info: dict) -> list["Run"]:
    return runs_of(study_run, info, "trial")


def parents(study_run: MlflowRun, info: dict) -> list["Run"]:
    return runs_of(study_run, info, "study")


def baselines(study_run: MlflowRun, info: dict) -> list["Run"]:
    return runs_of(study_run, info, "baseline")


def confirmed_front() -> tuple[dict, list["FrozenTrial"]]:
    """A confirmed study's record and the trials of its front: fewer make the tests quicker."""
    info, trials = made_confirmed()
    on_front = set(front_table(trials_table(trials))["trial"])
    return info, [trial for trial in trials if trial.number in on_front]
