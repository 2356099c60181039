"""One trial: from the knobs that the sampler suggests to the record in the storage."""

import contextlib
import math
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.adaptation.cross_validation import cross_validate, divide_into_folds
from fer.adaptation.plan import RUNGS, Adapted, EvaluationPlan, Prospect
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig, fingerprint, to_flat
from fer.evaluation.intervals import estimate, one_per_image
from fer.model import weights
from fer.seeding import seed_from
from fer.training.loop import Diverged
from search_spaces import choose
from study.machine import OUT_OF_MEMORY, DeviceCrowded, is_out_of_memory, is_stuck
from study.pareto import non_dominated
from study.record import hide_secrets, one_line
from study.search.early_stopping import WARM_UP, rung_name, vectors_at_rung, way_rung_name, would_stop
from study.storage.backend import trials_of
from study.storage.slots import DIVERGED, has_diverged
from study.trials import (
    CONSTRAINT,
    ERROR,
    INTERPOLATED_COLUMN,
    MIN_SOURCE_ACCURACY,
    OBJECTIVES,
    counted_trials,
    interpolation_name,
    model_file,
    objective_vectors,
)


@dataclass(frozen=True)
class TrialContext:
    """What a worker needs for any trial of its study.

    Attributes:
        setting: Baseline, datasets, runtime, cache.
        space: Name of the search space.
        base: The knobs that the space leaves alone.
        seed: Of the study.
        folder: The study's, whose models/ takes the networks that are not dominated.
        early_stop: Whether dominated trials stop at rungs; if not, none is looked at before its end.
        ways: Alphas and slopes of the networks between the baseline and each adapted one that are scored as well, where
            it may be hoped that they lead (`fer.adaptation.procedure.adapt`); over folds all are.
        send: Is given each network's file, where it does not stay on this machine.
        floor: The source accuracy below which no network is an answer.
        folds: Trainings per trial, each with another part of the target in validation; 0 is the usual one.
        beside: Whether other workers share the device; then a want of its memory is not the trial's fault.
    """

    setting: AdaptationTask
    space: str
    base: AdaptationConfig
    seed: int
    folder: Path
    early_stop: bool = False
    interpolation_points: tuple[tuple[float, float], ...] = ()
    upload: Callable[[Path], None] | None = None
    min_source_accuracy: float = 0.0
    folds: int = 0
    shares_device: bool = False

    @property
    def settings(self) -> list[AdaptationTask]:
        """A setting per fold; one where there are none."""
        return divide_into_folds(self.setting, self.folds, self.seed)


def run_trial(trial: optuna.Trial, bench: TrialContext) -> TrialState:
    """Runs a claimed trial and tells its outcome; an adaptation that fails is recorded with its reason."""
    started = time.perf_counter()
    try:
        strategy, config = choose(bench.space, trial, bench.base)
        seed = seed_from(bench.seed, "adapt", trial.user_attrs.get("replicate", 0))
        key = f"{seed} {fingerprint(config)}"
        set_attributes(trial, {"strategy": strategy, "config": to_flat(config), "key": key, "seed": seed})
        twin = find_duplicate(trial, key)
        if twin is not None and twin.state == TrialState.FAIL:
            raise Diverged(f"as in trial {twin.number}, {twin.user_attrs['reason'].removeprefix(DIVERGED)}")
        if twin is not None:
            known = ("curve", "measures", "confusion")
            record = {name: twin.user_attrs[name] for name in known if name in twin.user_attrs}
            record["twin_of"] = twin.number
            state = TrialState.COMPLETE
        else:
            looks = bench.early_stop and not bench.folds  # over folds, trials stop between two trainings
            adapted = cross_validate(
                bench.settings,
                config,
                seed,
                on_rung=lambda share, row, ways: report_rung(trial, bench, share, row, ways),
                plan=EvaluationPlan(
                    rungs=RUNGS if looks else (1.0,),
                    interpolation_points=bench.interpolation_points,
                    would_join_front=lambda found: would_join_front(trial, bench, found),
                ),
            )
            record = {"curve": adapted.curve, "measures": adapted.measures | interpolation_objectives(adapted)}
            record["measures"] = record["measures"] | target_errors(bench, adapted)
            record["confusion"] = adapted.confusion
            if adapted.stopped:
                after = (
                    f"the first half of {bench.folds} folds" if bench.folds else f"epoch {adapted.curve[-1]['epoch']:g}"
                )
                record["reason"] = f"dominated after {after}"
            state = TrialState.PRUNED if adapted.stopped else TrialState.COMPLETE
            if state == TrialState.COMPLETE:
                save_if_on_front(trial, adapted, bench, strategy)
        if bench.min_source_accuracy:
            record["measures"] = record["measures"] | {MIN_SOURCE_ACCURACY: bench.min_source_accuracy}
            # One of the trial's networks suffices, and those on the way to its end keep more than the end does.
            measures = record["measures"].items()
            sources = [value for name, value in measures if name.partition("/")[0] == OBJECTIVES[0]]
            trial.set_constraint(CONSTRAINT, bench.min_source_accuracy - max(sources))
        set_attributes(trial, record | {"seconds": time.perf_counter() - started})
        values = [record["measures"]["source_val"], record["measures"]["target_val"]]
        trial.study.tell(trial, values if state == TrialState.COMPLETE else None, state)
        return state
    except Exception as error:  # whatever it is, it is this trial's, and the study goes on
        if is_stuck(error):  # unless no other trial would fare better here
            raise OSError(one_line(error)) from error
        if bench.shares_device and bench.setting.runtime.on_gpu and is_out_of_memory(error):
            raise DeviceCrowded(one_line(error)) from error
        expected = isinstance(error, Diverged | optuna.exceptions.UpdateFinishedTrialError)
        reason = OUT_OF_MEMORY if is_out_of_memory(error) else f"{type(error).__name__}: {error}"
        if not expected and reason != OUT_OF_MEMORY:
            traceback.print_exc()
        # Another process may have given the trial up for lost; then its copy counts and not this one.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            set_attributes(trial, {"reason": hide_secrets(reason)[:500], "seconds": time.perf_counter() - started})
            trial.study.tell(trial, state=TrialState.FAIL)
        return TrialState.FAIL


def report_rung(
    trial: optuna.Trial, bench: TrialContext, share: float, row: dict[str, float], prospects: Iterable[Prospect] = ()
) -> bool:
    """Records the vectors of the trial's networks at a rung and returns whether it stops there.

    The paper's own strategies go on to their end: the report compares them. What would stop for its own vector asks for
    the networks on the way to it, one after the other, until one would be kept; not for those that would not be kept
    if they were as good as may be hoped.
    """
    mine = [[row["source_val"], row["target_val"]]]
    trial.set_user_attr(rung_name(share), mine[0])
    if not bench.early_stop or share < WARM_UP or trial.user_attrs.get("keep"):
        return False

    others = vectors_at_rung(trials_of(trial.study), share, trial.number)
    stops = would_stop(mine, others, bench.min_source_accuracy)
    for prospect in prospects if stops else ():
        if not would_stop([prospect.hoped], others, bench.min_source_accuracy):
            mine.append(prospect.score())
            stops = would_stop(mine, others, bench.min_source_accuracy)
        if not stops:
            break
    if len(mine) > 1:
        trial.set_user_attr(way_rung_name(share), mine[1:])
    return stops


def set_attributes(trial: optuna.Trial, attributes: dict[str, Any]) -> None:
    """Writes several attributes of a trial."""
    for name, value in attributes.items():
        trial.set_user_attr(name, value)


def find_duplicate(trial: optuna.Trial, key: str) -> FrozenTrial | None:
    """Returns a trial of the same configuration and seed that finished or diverged, whose record answers this one."""
    same = (other for other in counted_trials(trials_of(trial.study)) if other.user_attrs.get("key") == key)
    return next((other for other in same if other.state == TrialState.COMPLETE or has_diverged(other)), None)


def interpolation_objectives(adapted: Adapted) -> dict[str, float]:
    """Returns the objectives of the networks between the baseline and the adapted one, as the table names them."""
    steps = {interpolation_name(step.alpha, step.slope): step.measures for step in adapted.interpolated}
    return {INTERPOLATED_COLUMN.format(name, way): found[name] for way, found in steps.items() for name in OBJECTIVES}


def target_errors(bench: TrialContext, adapted: Adapted) -> dict[str, float]:
    """Returns the standard error of each network's target accuracy for other people, as the table names it.

    Nothing for a trial that stopped, and nothing where validation shows one person.
    """
    if adapted.stopped:
        return {}
    splits = [setting.target.open("validation") for setting in bench.settings]
    labels = np.concatenate([split.labels for split in splits])
    people = one_per_image(np.concatenate([split.subjects for split in splits]))

    logits = {ERROR: adapted.logits["target"]}
    for step in adapted.interpolated:
        logits[INTERPOLATED_COLUMN.format(ERROR, interpolation_name(step.alpha, step.slope))] = step.logits["target"]

    errors = {name: estimate(found.argmax(1) == labels, people).error for name, found in logits.items()}
    return {name: error for name, error in errors.items() if math.isfinite(error)}


def mark_non_dominated(trial: optuna.Trial, found: Sequence[dict[str, float]]) -> list[bool]:
    """Marks the measures that neither each other's nor those of a finished trial's networks dominate."""
    done = [other for other in counted_trials(trials_of(trial.study)) if other.state == TrialState.COMPLETE]
    mine = [[measures[name] for name in OBJECTIVES] for measures in found]
    known = [vector for other in done for vector in objective_vectors(other)]
    return non_dominated([*mine, *known])[: len(mine)].tolist()


def would_join_front(trial: optuna.Trial, bench: TrialContext, found: Sequence[dict[str, float]]) -> bool:
    """Whether one of some networks' measures is an answer that no finished trial's dominates."""
    answers = [measures for measures in found if measures[OBJECTIVES[0]] >= bench.min_source_accuracy]
    return bool(answers) and any(mark_non_dominated(trial, answers))


def save_if_on_front(trial: optuna.Trial, adapted: Adapted, bench: TrialContext, strategy: str) -> None:
    """Saves each network that no finished trial's dominates: the final front's networks are then all there."""
    networks = [(1.0, 0.0, adapted.network, adapted.measures)]
    networks += [(step.alpha, step.slope, step.network, step.measures) for step in adapted.interpolated]
    leading = mark_non_dominated(trial, [measures for *_, measures in networks])
    for (alpha, slope, network, _), leader in zip(networks, leading, strict=True):
        if leader:
            fold = {"fold": f"the first of {bench.folds}"} if bench.folds else {}
            header = {"width": str(bench.setting.baseline.width), "strategy": strategy, "trial": str(trial.number)}
            path = bench.folder / model_file(trial.number, alpha, slope)
            path.parent.mkdir(parents=True, exist_ok=True)
            weights.save_network(network, path, header | fold | {"alpha": str(alpha), "slope": str(slope)})
            if bench.upload is not None:
                bench.upload(path)
