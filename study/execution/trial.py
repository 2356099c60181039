"""One trial: from the hyperparameters that the sampler suggests to the outcome in the storage."""

import contextlib
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from fer.adaptation.cross_validation import adapt_on_folds, labels_of_folds
from fer.adaptation.plan import RUNGS, Adapted, EvaluationPlan, Prospect
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig, fingerprint, to_flat
from fer.seeding import seed_from
from fer.training.loop import Diverged
from search_spaces import suggest_adaptation
from study.execution.front_networks import would_join_front
from study.execution.handed_over import hand_over, may_be_handed_over, save_baseline, save_part, seed_of_repeat
from study.execution.trial_context import TrialContext
from study.machine import OUT_OF_MEMORY, DeviceCrowded, is_out_of_memory, is_stuck
from study.presets import budget_factor
from study.redaction import hide_secrets, one_line
from study.storage.backend import trials_of
from study.storage.slots import DIVERGED, EVERY_FOLD, HANDED_OVER, Place, has_diverged, is_of_search, place_of, rung_of
from study.trial_attributes import TrialAttributes, write_attributes
from study.trials import (
    INTERPOLATED_COLUMN,
    MIN_SOURCE_MEASURE,
    OBJECTIVES,
    RETENTION_CONSTRAINT,
    counted_trials,
    interpolation_name,
)
from study.tuning.early_stopping import WARM_UP, interpolated_rung_name, rung_name, vectors_at_rung, would_stop
from study.tuning.fold_effects import target_effects
from study.tuning.stored_answers import pack_network

LONGEST_REASON = 500
"""Characters of a failed trial's reason that are recorded."""


@dataclass(frozen=True)
class TrialOutcome:
    """How the adaptation of a trial ended.

    Attributes:
        state: COMPLETE, or PRUNED where it was stopped early.
        measures: Metrics on the validation images, those of interpolated networks included.
        curve: A row per epoch, see `fer.adaptation.plan.Adapted`; None where a duplicate has none.
        confusion: The confusion matrix of each domain; None where a duplicate has none.
        answers: On which validation images its networks are right; None where it stopped or is a duplicate.
        reason: Why it was stopped early.
        duplicate_of: The number of the trial whose result this is, where the configuration had been trained before.
    """

    state: TrialState
    measures: dict[str, float]
    curve: list[dict[str, float]] | None = None
    confusion: dict[str, list[list[int]]] | None = None
    answers: dict[str, dict[str, str]] | None = None
    reason: str | None = None
    duplicate_of: int | None = None

    @property
    def objectives(self) -> list[float] | None:
        """Source and target accuracy; None for a trial that was stopped early."""
        if self.state != TrialState.COMPLETE:
            return None
        return [self.measures[name] for name in OBJECTIVES]


def run_trial(trial: optuna.Trial, context: TrialContext) -> TrialState:
    """Runs a claimed trial and tells its outcome; an adaptation that fails is recorded with its reason.

    Args:
        trial: The claimed trial.
        context: What the worker has for all trials of its study.

    Returns:
        The state in which the trial ended.

    Raises:
        OSError: No other trial would fare better here, as on a full disk.
        DeviceCrowded: The device has too little memory for all workers that share it.
    """
    started = time.perf_counter()
    try:
        outcome = evaluate_trial(trial, context)
        tell_outcome(trial, outcome, context.plan.min_source, started)
        return outcome.state
    except Exception as error:  # whatever it is: the trial fails, and the study goes on
        reason = explain_failure(error, context)  # raises where the error is not the trial's
        tell_failure(trial, reason, started)
        return TrialState.FAIL


def evaluate_trial(trial: optuna.Trial, context: TrialContext) -> TrialOutcome:
    """Has the trial's hyperparameters suggested and trains with them, or copies the result of a duplicate.

    Raises:
        Diverged: The training diverged, or that of its duplicate did.
    """
    # The configuration. It is recorded before the training, so that a trial that fails has it as well.
    place = place_of(trial)
    strategy, config = suggest_adaptation(context.space, trial, context.base)
    config = replace(config, epochs=config.epochs * budget_factor(place.rung))
    if place.fold == EVERY_FOLD and config.init != "baseline":
        # Networks without a start in common have no average, and each takes the training of a baseline.
        place = Place(place.slot, place.rung, place.slot % context.plan.folds, place.repeat)
        write_attributes(trial, fold=place.fold)
    first_seed = seed_from(context.seed, "adapt", TrialAttributes.of(trial).replicate or 0)
    seed = seed_of_repeat(first_seed, place.repeat)
    key = f"{seed} {fingerprint(config)}"
    if context.plan.folds > 1:
        folds = context.plan.folds_at(place.fold)
        key = f"{key} fold {' '.join(map(str, folds))}"
    write_attributes(trial, strategy=strategy, config=to_flat(config), key=key, seed=seed)

    # Networks that are handed over are averaged and saved; no image of the target is left that could judge them.
    if place.fold == HANDED_OVER:
        measures = hand_over(trial, context, config, first_seed, strategy)
        return TrialOutcome(TrialState.PRUNED, measures, reason="averaged over folds and saved")

    # A trial of the same configuration and seed has the result already. A training that the race asked for is done
    # nevertheless: its answers and its network become its recipe's own.
    duplicate = find_duplicate(trial, key) if is_of_search(trial) else None
    if duplicate is not None:
        return copy_outcome(duplicate)

    # The training, and what it measured of the adapted network and of the interpolated ones.
    tasks = context.tasks_at(place.fold)
    adapted = train_to_rungs(trial, context, tasks, config, seed)
    measures = adapted.measures | interpolation_objectives(adapted)
    if adapted.stopped:
        reason = f"dominated after epoch {adapted.curve[-1]['epoch']:g}"
        return TrialOutcome(TrialState.PRUNED, measures, adapted.curve, adapted.confusion, reason=reason)

    if strategy == "BL":
        save_baseline(trial, context)
    elif may_be_handed_over(trial, context, adapted):
        save_part(trial, context, adapted.network)
    answers = answers_by_network(adapted, labels_of_folds(tasks))
    return TrialOutcome(TrialState.COMPLETE, measures, adapted.curve, adapted.confusion, answers)


# A trial of the same configuration.


def find_duplicate(trial: optuna.Trial, key: str) -> FrozenTrial | None:
    """Returns a trial of the same configuration and seed that finished or diverged, None where there is none."""
    for candidate in counted_trials(trials_of(trial.study)):
        has_result = candidate.state == TrialState.COMPLETE or has_diverged(candidate)
        if has_result and TrialAttributes.of(candidate).key == key:
            return candidate
    return None


def copy_outcome(duplicate: FrozenTrial) -> TrialOutcome:
    """Returns the outcome of a trial that another of the same configuration and seed shares.

    Raises:
        Diverged: The duplicate diverged.
    """
    attributes = TrialAttributes.of(duplicate)
    if duplicate.state == TrialState.FAIL:
        reason = (attributes.reason or "").removeprefix(DIVERGED)
        raise Diverged(f"as in trial {duplicate.number}, {reason}")

    return TrialOutcome(
        TrialState.COMPLETE,
        attributes.measures or {},
        attributes.curve,
        attributes.confusion,
        duplicate_of=duplicate.number,
    )


# Training, with early stopping at rungs.


def train_to_rungs(
    trial: optuna.Trial, context: TrialContext, tasks: Sequence[AdaptationTask], config: AdaptationConfig, seed: int
) -> Adapted:
    """Trains and evaluates a trial's network; a trial of the search on one fold may stop at half of its budget.

    A trial on every fold does not: its trainings are short, and half of one tells little of all.

    Evaluating a network costs as much as a small training. So on the first of several rungs no interpolated network is
    evaluated, and on the highest, as in a race, all are; elsewhere one where an optimistic estimate puts it on the
    front.
    """
    is_first = is_of_search(trial)
    has_rungs = context.plan.rungs > 1
    is_lowest = has_rungs and is_first and rung_of(trial) == 1
    is_final = not is_first or (has_rungs and rung_of(trial) == context.plan.rungs)
    plan = EvaluationPlan(
        rungs=RUNGS if context.early_stop and is_first else (1.0,),
        interpolation_points=() if is_lowest else context.interpolation_points,
        would_join_front=None if is_final else lambda measures: would_join_front(trial, context.plan, measures),
    )

    def on_rung(share: float, row: dict[str, float], prospects: Iterable[Prospect]) -> bool:
        return report_rung(trial, context, share, row, prospects)

    return adapt_on_folds(tasks, config, seed, plan, on_rung)


def report_rung(
    trial: optuna.Trial,
    context: TrialContext,
    share: float,
    row: dict[str, float],
    prospects: Iterable[Prospect] = (),
) -> bool:
    """Records the objectives of a trial's networks at a rung and returns whether the trial stops there.

    The paper's own strategies go on to their end: the report compares them. A trial that would stop for its adapted
    network has interpolated networks evaluated, one after the other, until the trial goes on for one of them. A network
    is left out where the trial would stop even if the network were as good as its optimistic estimate.

    Args:
        trial: The running trial.
        context: What the worker has for all trials of its study.
        share: The share of the budget, 0 to 1, that is spent at this rung.
        row: The curve's row with both objectives.
        prospects: The interpolated networks, best prospects first.

    Returns:
        Whether the trial stops.
    """
    objectives = [[row["source_val"], row["target_val"]]]
    trial.set_user_attr(rung_name(share), objectives[0])
    if not context.early_stop or share < WARM_UP or TrialAttributes.of(trial).keep or not is_of_search(trial):
        return False

    # The others at this point of the same budget, all without what their folds add.
    trials = trials_of(trial.study)
    effects = target_effects(trials, context.plan)
    effect = effects[trial.number]
    of_rung = [other for other in trials if rung_of(other) == rung_of(trial) and is_of_search(other)]
    others = vectors_at_rung(of_rung, share, trial.number, effects)

    def stops_with(vectors: Sequence[Sequence[float]]) -> bool:
        comparable = [(source, target - effect) for source, target in vectors]
        return would_stop(comparable, others, context.plan.min_source)

    stops = stops_with(objectives)
    if not stops:
        return False

    for prospect in prospects:
        if not stops_with([prospect.optimistic_estimate]):
            objectives.append(prospect.score())
            stops = stops_with(objectives)
        if not stops:
            break

    interpolated = objectives[1:]
    if interpolated:
        trial.set_user_attr(interpolated_rung_name(share), interpolated)
    return stops


# What the trained networks reach.


def interpolation_objectives(adapted: Adapted) -> dict[str, float]:
    """Returns both objectives of each interpolated network, by name: "source_val/0.50", "target_val/0.50"."""
    objectives = {}
    for step in adapted.interpolated:
        interpolation = interpolation_name(step.alpha, step.slope)
        for name in OBJECTIVES:
            objectives[INTERPOLATED_COLUMN.format(name, interpolation)] = step.measures[name]
    return objectives


def answers_by_network(adapted: Adapted, labels: Mapping[str, np.ndarray]) -> dict[str, dict[str, str]]:
    """Returns for each of a trial's networks, by interpolation point, on which validation images it is right.

    Args:
        adapted: The networks' logits.
        labels: By domain, those of the same images in the same order.
    """
    answers = {interpolation_name(1.0, 0.0): pack_network(adapted.logits, labels)}
    for step in adapted.interpolated:
        answers[interpolation_name(step.alpha, step.slope)] = pack_network(step.logits, labels)
    return answers


# The end of a trial.


def tell_outcome(trial: optuna.Trial, outcome: TrialOutcome, min_source_accuracy: float, started: float) -> None:
    """Writes an outcome into the storage and ends the trial.

    Args:
        trial: The running trial.
        outcome: How its adaptation ended.
        min_source_accuracy: The source accuracy below which no network is an answer; 0 where every one is.
        started: When the trial began, in seconds of `time.perf_counter`.
    """
    # For samplers: whether any network of the trial, adapted ("source_val") or interpolated ("source_val/0.50"), keeps
    # enough of the source.
    measures = outcome.measures
    if min_source_accuracy and measures:
        measures = measures | {MIN_SOURCE_MEASURE: min_source_accuracy}
        source_accuracies = [value for name, value in measures.items() if name.partition("/")[0] == OBJECTIVES[0]]
        trial.set_constraint(RETENTION_CONSTRAINT, min_source_accuracy - max(source_accuracies))

    # Attributes first: once it is told, a trial takes no more of them.
    write_attributes(
        trial,
        curve=outcome.curve,
        measures=measures,
        confusion=outcome.confusion,
        answers=outcome.answers,
        reason=outcome.reason,
        twin_of=outcome.duplicate_of,
        seconds=time.perf_counter() - started,
    )
    trial.study.tell(trial, outcome.objectives, outcome.state)


def explain_failure(error: Exception, context: TrialContext) -> str:
    """Returns the reason of a failed trial; prints the traceback of an error that nobody expects.

    Raises:
        OSError: The error is not the trial's: no other trial would fare better here.
        DeviceCrowded: The error is not the trial's: workers share the device, and its memory does not suffice.
    """
    if is_stuck(error):
        raise OSError(one_line(error)) from error

    if is_out_of_memory(error):
        if context.shares_device and context.task.runtime.on_gpu:
            raise DeviceCrowded(one_line(error)) from error
        return OUT_OF_MEMORY

    if not isinstance(error, Diverged | optuna.exceptions.UpdateFinishedTrialError):
        traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def tell_failure(trial: optuna.Trial, reason: str, started: float) -> None:
    """Ends a trial as failed, with its reason; does nothing where another process has ended it."""
    # Another process may have taken the trial for lost; then its copy counts, and not this trial.
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        seconds = time.perf_counter() - started
        write_attributes(trial, reason=hide_secrets(reason)[:LONGEST_REASON], seconds=seconds)
        trial.study.tell(trial, state=TrialState.FAIL)
