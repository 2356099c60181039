"""How a worker gets its next trial: it claims a waiting one (`study.slots`), and a sampler suggests its knobs."""

import copy
import functools
import warnings
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from fer.seeding import seed_from
from study.evolution import EvolutionSampler
from study.front import CONSTRAINT, counted, reference_of, vectors
from study.leases import identity_of_process
from study.machine import OUT_OF_MEMORY
from study.slots import discard, diverged, holders, slot_of
from study.storage import one_change_at_a_time, storage_of, trials_of

TPE_TRIALS = 200


class Searched(optuna.Study):
    """A study as samplers should see it.

    Finished trials without knobs, as the baseline's, are left out: NSGA-II, GP and QMC search what all finished trials
    have in common, or the first has; beside one without knobs that is nothing, and every knob would be drawn at random.

    A trial is worth its best network, the one with the largest box between it and the study's reference: networks on
    the way to its end are answers as well. Shown the ends alone, TPE drew 40 trials of 170 beside one that half-way
    networks had dominated long before.

    A trial whose knobs made it fail has the worst vector there is. Samplers take no note of failures, and would propose
    what diverges again and again, 20 times in a row in a study of 110 trials.

    Args:
        name: Of the study.
        storage: Where it is kept.
        sampler: Optuna's default where there is none.
        seen: Ended trials by number as they are seen, which another such object of this study has left: none of them is
            looked at twice.
    """

    def __init__(
        self,
        name: str,
        storage: optuna.storages.BaseStorage,
        sampler: optuna.samplers.BaseSampler | None = None,
        seen: dict[int, FrozenTrial] | None = None,
    ) -> None:
        super().__init__(name, storage, sampler)
        self._seen = {} if seen is None else seen

    @functools.cached_property
    def info(self) -> Mapping[str, Any]:
        """What the study's parent wrote of it, empty where there was none."""
        return self._storage.get_study_user_attrs(self._study_id).get("study", {})

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        found = super()._get_trials(deepcopy, None, use_cache)
        found = [self._as_seen(trial) if trial.state.is_finished() else trial for trial in found]
        found = [trial for trial in found if trial.params or not trial.state.is_finished()]
        return [trial for trial in found if states is None or trial.state in states]

    def _as_seen(self, trial: FrozenTrial) -> FrozenTrial:
        """Returns what an ended trial is for samplers."""
        if trial.number not in self._seen:
            self._seen[trial.number] = self._looked_at(trial)
        return self._seen[trial.number]

    def _looked_at(self, trial: FrozenTrial) -> FrozenTrial:
        if failed_by_its_knobs(trial):
            worst = _ended_with(trial, [0.0, 0.0])
            if (self.info.get("options") or {}).get("min_retention"):
                worst.system_attrs = dict(trial.system_attrs)
                worst.set_constraint(CONSTRAINT, 1.0)
            return worst
        if trial.state != TrialState.COMPLETE or not (answers := vectors(trial)):
            return trial
        boxes = np.maximum(np.array(answers) - reference_of(self.info), 0).prod(axis=1)
        best = answers[int(boxes.argmax())]  # the first where none is above the reference
        return trial if best == trial.values else _ended_with(trial, best)


def _ended_with(trial: FrozenTrial, vector: list[float]) -> FrozenTrial:
    """Returns a copy of a trial as one that finished with some vector."""
    ended = copy.copy(trial)
    ended.state, ended.values = TrialState.COMPLETE, vector
    return ended


def failed_by_its_knobs(trial: FrozenTrial) -> bool:
    """Whether a trial diverged or wanted more memory than there is; what was lost was not its knobs' fault."""
    if trial.state != TrialState.FAIL or "lost" in trial.user_attrs:
        return False
    return diverged(trial) or trial.user_attrs.get("reason") == OUT_OF_MEMORY


class AutoSampler(EvolutionSampler):
    """The default: Optuna's TPE until TPE_TRIALS trials have ended, then `evolution`.

    After the named methods TPE finds more with less training (`python -m benchmarks.search`), but ranks all trials anew
    for every knob: with 280 it asks for an eighth of a second, with 2,000 for a third.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._tpe = make_tpe(seed)
        self._asked: tuple[int, bool] = (-1, False)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns the value of one knob; all knobs of a trial are of one sampler."""
        if self._asked[0] != trial.number:
            self._asked = trial.number, len(counted(trials_of(study))) < TPE_TRIALS
        if self._asked[1]:
            return self._tpe.sample_independent(study, trial, param_name, param_distribution)
        return super().sample_independent(study, trial, param_name, param_distribution)


def make_tpe(seed: int) -> optuna.samplers.TPESampler:
    """Returns Optuna's TPE, knob by knob as conditions need it; other workers' running trials count as bad ones."""
    return optuna.samplers.TPESampler(seed=seed, multivariate=False, constant_liar=True)


def claim(
    study: optuna.Study, sampler: str, seed: int, seen: dict[int, FrozenTrial] | None = None
) -> optuna.Trial | None:
    """Takes the next waiting trial for this process, or returns None when there is none left.

    The sampler is made anew for each trial, with a seed from the trial's number: a resumed study does not draw the
    same numbers again. One worker alone draws the same each time, but with `evolution`, which heeds what trials cost
    (`auto` is that after TPE_TRIALS).

    Args:
        study: Whose trial.
        sampler: By its name on the command line.
        seed: Of the study.
        seen: See `Searched`; the same for all trials that a process claims.
    """
    storage, study_id = storage_of(study)
    queue = storage.get_all_trials(study_id, deepcopy=False, states=(TrialState.WAITING,))
    for waiting in sorted(
        queue, key=lambda trial: "prior" not in trial.user_attrs
    ):  # guesses made later come first too
        try:
            with one_change_at_a_time(storage):
                if not storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING):
                    continue
            storage.set_trial_user_attr(waiting._trial_id, "worker", identity_of_process())
        except optuna.exceptions.UpdateFinishedTrialError:  # another's by now, or withdrawn by the parent
            continue
        # A new study object sees the trials that other workers finished meanwhile.
        asked = make_sampler(sampler, seed_from(seed, waiting.number), seed)
        study = Searched(study.study_name, storage, asked, seen)
        trial = optuna.Trial(study, waiting._trial_id)
        holder = holders(trials_of(study)).get(slot_of(waiting))
        if holder is None or holder.number != waiting.number:  # another parent filled or withdrew the slot
            discard(study, waiting, "one too many", TrialState.RUNNING)
            continue
        return trial
    return None


def make_sampler(name: str, seed: int, study_seed: int = 0) -> optuna.samplers.BaseSampler:
    """Returns a sampler by the name it has on the command line, for one trial or, in simulations, for all.

    Args:
        name: As on the command line.
        seed: Of what it draws.
        study_seed: Of a sequence that all processes and trials of the study share.
    """
    seed, study_seed = seed % 2**32, study_seed % 2**32
    if name == "auto":
        return AutoSampler(seed)
    if name == "evolution":
        return EvolutionSampler(seed)
    if name == "qmc":
        # One sequence for all processes, which each trial's place is looked up in; the rest is drawn at random.
        with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
            return optuna.samplers.QMCSampler(
                seed=study_seed, scramble=True, independent_sampler=optuna.samplers.RandomSampler(seed=seed)
            )
    if name == "tpe":
        return make_tpe(seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    # A grid's points are all enqueued, so that its sampler is never asked.
    return optuna.samplers.RandomSampler(seed=seed)
