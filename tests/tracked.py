"""A real MLflow store, and what a study's runs are in it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from made_study import made_info
from study.tracking import mlflow_run
from study.tracking.mlflow_run import MlflowRun

if TYPE_CHECKING:  # mlflow takes seconds, and most tests do without
    from mlflow.entities import Run


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


def children(study_run: MlflowRun, info: dict) -> list["Run"]:
    query = f"tags.study_id = '{info['id']}' and tags.role = 'trial'"
    return study_run.client.search_runs([study_run.experiment], query)


def parents(study_run: MlflowRun, info: dict) -> list["Run"]:
    query = f"tags.study_id = '{info['id']}' and tags.role = 'study'"
    return study_run.client.search_runs([study_run.experiment], query)


def baselines(study_run: MlflowRun, info: dict) -> list["Run"]:
    query = f"tags.study_id = '{info['id']}' and tags.role = 'baseline'"
    return study_run.client.search_runs([study_run.experiment], query)
