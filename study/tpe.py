"""The sampler `tpe`: Optuna's, shown so many of the trials that asking costs the same however many there are.

TPE models where the best tenth of all trials lies and where the others do (for several objectives Ozaki et al. 2022,
J. Artif. Intell. Res. 73). Optuna's ranks all trials anew for every knob that a conditional space asks for, half a
second for each of 2,000 trials. Beyond `SHOWN` trials this one shows it the best and a random draw of the others,
whose density is what they are there for; below that it is Optuna's own.
"""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from study.evolution import violation
from study.stopping import ranks_of

SHOWN = 100
"""Finished trials that Optuna's sampler is shown at most."""
BEST = SHOWN // 10
"""How many of them are the best there are: as many as it takes for the good ones. More would stand among the others,
more densely than they are, and keep it away from the best."""


class BoundedTPE(optuna.samplers.TPESampler):
    """Optuna's TPE with each knob by itself, on a part of the trials.

    Args:
        seed: Of everything random; a sampler serves one trial after the other, or is made anew for each.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed, multivariate=False, constant_liar=True)
        self.rng = np.random.default_rng(seed)
        self._trial: int | None = None
        self._shown: _Shown

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns the value of one knob."""
        if self._trial != trial.number:
            self._trial = trial.number
            states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
            known = study._storage.get_all_trials(study._study_id, deepcopy=False, states=states)
            self._shown = _Shown(study, [_seen(other) for other in some_of(known, self.rng)])
        shown = cast(optuna.Study, self._shown)
        return super().sample_independent(shown, trial, param_name, param_distribution)


class _Shown:
    """A study that shows a sampler some of its trials; all else is the study's own.

    A sampler that came to ask for them by another name would be answered by the study: slowly, not wrongly.
    """

    def __init__(self, study: optuna.Study, trials: list[FrozenTrial]) -> None:
        self._study, self._trials = study, trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, deepcopy: bool = True, states: Any = None, use_cache: bool = False) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]


def _seen(trial: FrozenTrial) -> FrozenTrial:
    """Returns what Optuna's sampler asks of a trial, thousands of times for each new one, as plain attributes."""
    seen = SimpleNamespace(number=trial.number, state=trial.state, params=trial.params, values=trial.values)
    seen.constraints, seen.intermediate_values = trial.constraints, trial.intermediate_values
    return cast(FrozenTrial, seen)


def some_of(trials: list[FrozenTrial], rng: np.random.Generator) -> list[FrozenTrial]:
    """Returns all running trials and at most `SHOWN` finished ones: the best, and a random draw of the others."""
    done = [trial for trial in trials if trial.state != TrialState.RUNNING]
    if len(done) <= SHOWN:
        return trials
    complete = [trial for trial in done if trial.state == TrialState.COMPLETE]
    points = np.array([merits(trial) for trial in complete]).reshape(-1, 2)
    chosen = {complete[place].number for place in best(points, BEST)}
    others = [trial.number for trial in done if trial.number not in chosen]
    chosen |= set(rng.choice(others, SHOWN - len(chosen), replace=False).tolist())
    return [trial for trial in trials if trial.number in chosen or trial.state == TrialState.RUNNING]


def merits(trial: FrozenTrial) -> list[float]:
    """Returns a trial's objectives; those of one that breaks its constraints are worse than any that keeps them."""
    broken = violation(trial)
    return [-broken, -broken] if broken else trial.values


def best(points: np.ndarray, wanted: int) -> np.ndarray:
    """Returns the places of the best points (n, 2): whole fronts of non-dominated ones, the last thinned out."""
    ranks, chosen = ranks_of(points), np.zeros(0, int)
    for rank in np.unique(ranks):
        front = np.flatnonzero(ranks == rank)
        along = front[np.argsort(points[front, 0], kind="stable")]
        spread = np.linspace(0, len(along) - 1, min(wanted - len(chosen), len(along))).round().astype(int)
        chosen = np.concatenate([chosen, along[spread]])
        if len(chosen) == wanted:
            break
    return chosen
