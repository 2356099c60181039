"""Everything private of Optuna that this project relies on. No other module names a private part of Optuna.

Optuna keeps private how a study knows its storage, how a storage numbers trials, how samplers read trials, and what it
writes into a trial or a journal. `tests/test_study_optuna_private.py` fails where a new version of Optuna moves a part.
"""

import copy
from collections.abc import Container
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

JOURNAL_OPERATION = "op_code"
"""The field that every entry of Optuna's journal has."""

FIXED_PARAMETERS = "fixed_params"
"""The system attribute that holds the parameters with which a trial was enqueued."""


def storage_of(study: optuna.Study) -> tuple[BaseStorage, int]:
    """Returns a study's storage, and the number that the study has there."""
    return study._storage, study._study_id


def storage_number(trial: FrozenTrial | optuna.Trial) -> int:
    """Returns the number by which a storage knows a trial; `trial.number` counts within its study alone."""
    return trial._trial_id


def open_trial(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """Returns a running trial of the storage as one that suggests parameters, with the sampler of `study`."""
    return optuna.Trial(study, trial._trial_id)


def enqueued_parameters(trial: FrozenTrial) -> dict[str, Any]:
    """Returns the parameters with which a trial was enqueued; empty where it was enqueued without any."""
    return trial.system_attrs.get(FIXED_PARAMETERS) or {}


def database_url(storage: BaseStorage) -> str:
    """Returns the URL of the database behind a storage; empty for a storage without one."""
    # Optuna puts a cache before a database, and the cache keeps the database private.
    database = getattr(storage, "_backend", storage)
    return str(getattr(database, "url", ""))


class StudyView(optuna.Study):
    """A study that shows its trials to its sampler as `show` says.

    Samplers read trials by a private method, many times for one trial. The view reads the storage at the first of these
    calls and answers all others from that. So a view serves one trial: a later trial needs a view of its own.
    """

    trials_shown: list[FrozenTrial] | None = None

    def show(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Returns the trials to show in place of those of the storage, which it leaves unchanged."""
        raise NotImplementedError

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        if self.trials_shown is None:
            self.trials_shown = self.show(super()._get_trials(deepcopy=False))
        chosen = [trial for trial in self.trials_shown if states is None or trial.state in states]
        return copy.deepcopy(chosen) if deepcopy else chosen
