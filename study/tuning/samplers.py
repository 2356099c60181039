"""The samplers that suggest hyperparameters, and the study as a sampler sees it."""

import copy
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.errors import InputError
from study.machine import OUT_OF_MEMORY
from study.record import StudyRecord
from study.search_options import SAMPLERS
from study.storage.optuna_private import StudyView
from study.storage.slots import has_diverged, is_lost, is_of_search, rung_of, slot_of
from study.trial_attributes import TrialAttributes
from study.trials import RETENTION_CONSTRAINT, hypervolume_reference
from study.tuning.plan import SearchPlan
from study.tuning.whole_points import BEHIND, vectors_in_whole_points


class SamplerView(StudyView):
    """A study as the sampler of one trial should see it.

    Finished trials without parameters, such as the baseline's, are left out. NSGA-II and GP search what all finished
    trials have in common; with such a trial among them that is nothing, and they would draw every parameter at random.

    A finished trial has the objectives of its best network, an interpolated one or the adapted one: that with the
    largest area between its objectives and the study's reference. With the objectives of adapted networks alone, TPE
    drew 40 trials of 170 next to one that interpolated networks had long dominated.

    A configuration counts once, by its trial on the highest rung that ended. Seen on every rung it would be two or
    three observations at one point, and one that is trained again would count as bad while it runs. Trainings of the
    race and of networks that are handed over are left out. On a target with folds, accuracies are without what each
    fold adds to them (`study.tuning.fold_effects`), and in whole points from the baseline's, behind which stands what
    is no better (`study.tuning.whole_points`): otherwise TPE draws networks that hardly differ from the baseline.

    A trial that its parameters made fail has finished with the worst objectives there are. Samplers ignore failed
    trials and would suggest what diverges again and again, 20 times in a row in a study of 110 trials.
    """

    def __init__(
        self,
        study_name: str,
        storage: optuna.storages.BaseStorage,
        sampler: optuna.samplers.BaseSampler | None = None,
        plan: SearchPlan | None = None,
    ) -> None:
        super().__init__(study_name, storage, sampler)
        self.plan = plan or SearchPlan()

    def show(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Returns the trials as the sampler should see them."""
        record = StudyRecord.from_json(self.user_attrs.get("study"))
        constrained = bool(record.options.get("min_retention"))
        reference = hypervolume_reference(record)
        of_search = [trial for trial in trials if is_of_search(trial)]
        highest_rung = _highest_finished_rung(of_search)
        finished = [trial for trial in of_search if trial.state == TrialState.COMPLETE and not is_lost(trial)]
        vectors = vectors_in_whole_points(finished, self.plan)
        shown = []
        for trial in of_search:
            if rung_of(trial) != highest_rung.get(slot_of(trial), 1) and not is_lost(trial):
                continue
            if not trial.state.is_finished():
                shown.append(trial)
            elif not trial.params:
                continue
            elif failed_by_its_parameters(trial):
                shown.append(as_worst(trial, constrained))
            elif trial.state == TrialState.COMPLETE:
                shown.append(as_best_network(trial, vectors.get(trial.number, []), reference))
            else:
                shown.append(trial)
        return shown


def _highest_finished_rung(trials: list[FrozenTrial]) -> dict[int, int]:
    """Returns for each slot the highest rung on which its configuration finished."""
    highest: dict[int, int] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            highest[slot_of(trial)] = max(rung_of(trial), highest.get(slot_of(trial), 1))
    return highest


def failed_by_its_parameters(trial: FrozenTrial) -> bool:
    """Returns whether a trial diverged or ran out of memory; a trial that was lost did not fail by its parameters."""
    attributes = TrialAttributes.of(trial)
    if trial.state != TrialState.FAIL or attributes.lost is not None:
        return False
    return has_diverged(trial) or attributes.reason == OUT_OF_MEMORY


def as_worst(trial: FrozenTrial, constrained: bool) -> FrozenTrial:
    """Returns a copy of a failed trial that finished with the worst objectives there are.

    Args:
        trial: The failed trial.
        constrained: Whether the study has a constraint, which the copy then breaks.
    """
    worst = _finished_with(trial, [-BEHIND, -BEHIND])
    if constrained:
        worst.system_attrs = dict(trial.system_attrs)  # the copy would share them with the trial
        worst.set_constraint(RETENTION_CONSTRAINT, 1.0)
    return worst


def as_best_network(
    trial: FrozenTrial, candidates: Sequence[list[float]], reference: tuple[float, float]
) -> FrozenTrial:
    """Returns a finished trial with the objectives of its best network.

    Args:
        trial: The finished trial.
        candidates: Source and target accuracy of each of its networks, its adapted one first.
        reference: Source and target accuracy from which areas are measured.
    """

    def worth(objectives: list[float]) -> tuple[float, float]:
        """Returns the area above the reference; where there is none, the sum tells."""
        source, target = objectives
        area = max(0.0, source - reference[0]) * max(0.0, target - reference[1])
        return area, 0.0 if area else source + target

    if not candidates:
        return trial  # each network forgets too much, which the trial's constraint tells
    best = max(candidates, key=worth)  # the first of equals, which is the adapted network
    return trial if best == trial.values else _finished_with(trial, best)


def _finished_with(trial: FrozenTrial, objectives: list[float]) -> FrozenTrial:
    """Returns a copy of a trial that finished with other objectives."""
    finished = copy.copy(trial)
    finished.state = TrialState.COMPLETE
    finished.values = objectives
    return finished


def current_sampler(name: str) -> str:
    """Returns what a study's sampler is called today.

    `auto`, the default before there was one sampler, was `tpe` until 200 trials had ended and then another one.

    Args:
        name: From the command line, or from the record of a study that an older version began.

    Raises:
        InputError: The sampler is gone, and no other one is like it.
    """
    present = "tpe" if name == "auto" else name
    if present not in SAMPLERS:
        raise InputError(
            f"a study goes on with the sampler it was started with, one of {', '.join(SAMPLERS)}",
            f"one started with --sampler {name}, which is gone",
            "Start a new one with --study NAME; with --warm-start it tries the front of this one first.",
        )
    return present


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Returns the sampler of a name on the command line.

    Args:
        name: One of `study.search_options.SAMPLERS`.
        seed: The seed of all that the sampler draws.
    """
    seed %= 2**32
    if name == "tpe":
        # Each parameter by itself, as a conditional space needs it. Running trials of other workers count as bad ones,
        # so that workers do not try the same.
        return optuna.samplers.TPESampler(seed=seed, multivariate=False, constant_liar=True)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    # A grid's points are all enqueued, so the sampler of `grid` is never asked.
    return optuna.samplers.RandomSampler(seed=seed)
