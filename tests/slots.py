"""Empty studies on every storage, and trials that end at once."""

from pathlib import Path

import optuna
import pytest

from fer.config import AdaptationConfig
from study.execution.claim import claim_trial
from study.storage.backend import open_storage, trials_of

BASE = AdaptationConfig()
STORAGES = {"journal": lambda folder: None, "sqlite": lambda folder: f"sqlite:///{folder}/study.db"}
"""What --storage says, given a folder."""


@pytest.fixture(params=["journal", pytest.param("sqlite", marks=pytest.mark.slow)])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    storage = open_storage(STORAGES[request.param](tmp_path), tmp_path / "s")
    return optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)


def finish_all(study: optuna.Study, seed: int = 1) -> int:
    """Claims and ends what waits; returns how many trials that were."""
    number = 0
    while (trial := claim_trial(study, "random", seed)) is not None:
        trial.suggest_float("x", 0, 1)
        trial.study.tell(trial, [0.5, 0.5])
        number += 1
    return number


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in trials_of(study)]
