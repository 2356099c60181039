"""The adaptation of a baseline to a target, from what it draws to what it is scored.

An adaptation freezes blocks, draws its whole schedule of samples beforehand from a seed, makes sure that the frozen
features of exactly these samples are in the feature cache, and then trains the remaining blocks on them.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from fer.adaptation.draws import Draws
from fer.adaptation.evaluation import feature_cut
from fer.adaptation.member import AdaptationRun, start_network, train_member
from fer.adaptation.plan import Adapted, EvaluationPlan, Interpolated, InterpolationPoint, OnRung
from fer.adaptation.scoring import Evaluation, Scorer, without_interpolation
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig
from fer.evaluation.metrics import forgetting
from fer.model.interpolation import average
from fer.training.loop import Diverged


def adapt(
    task: AdaptationTask,
    config: AdaptationConfig,
    seed: int,
    on_rung: OnRung | None = None,
    plan: EvaluationPlan | None = None,
) -> Adapted:
    """Adapts the baseline to the target.

    Args:
        task: Baseline, datasets, runtime, cache.
        config: Hyperparameters of the adaptation.
        seed: Seed of order, views, dropout and new weights; with the rest equal, equal seeds give equal results.
        on_rung: Called at each rung before the end; True stops the adaptation. Several members have no rungs.
        plan: When and what is evaluated besides the end; None evaluates at half of the budget.

    Returns:
        The adapted network, its curve and its measures.

    Raises:
        Diverged: The loss, a weight or a logit became NaN or infinite.
        InputError: It starts from a fused network, and the task has none.
    """
    # What is evaluated: no network of use lies between the baseline and one that did not start from it.
    plan = plan or EvaluationPlan()
    if config.init != "baseline":
        plan = replace(plan, interpolation_points=())

    # The adaptation as it starts.
    draws = Draws(task, config, seed, feature_cut(task, config), plan.equal_epochs)
    run = AdaptationRun(draws, Scorer(draws, plan), plan, on_rung)

    with deleting_checkpoints(run):
        return _train_and_evaluate(run)


def average_adapted(
    task: AdaptationTask,
    config: AdaptationConfig,
    seed: int,
    networks: Sequence[nn.Sequential],
    interpolation_points: Sequence[InterpolationPoint] = (),
) -> Adapted:
    """Averages networks that one configuration made on several folds, and interpolates from the baseline to that.

    Args:
        task: In which the average and the interpolated networks are evaluated.
        config: Hyperparameters of the networks' adaptation.
        seed: Of the samples from which batch-norm statistics of interpolated networks are estimated.
        networks: One at least.
        interpolation_points: Of the interpolated networks.
    """
    draws = Draws(task, config, seed, feature_cut(task, config))
    scorer = Scorer(draws, EvaluationPlan(interpolation_points=interpolation_points))
    network = networks[0] if len(networks) == 1 else average(networks)
    evaluation = scorer.evaluate(network)
    interpolated = [scorer.evaluate_interpolated(network, alpha, slope) for alpha, slope in interpolation_points]
    return Adapted(network, [], evaluation.measures, False, interpolated, evaluation.confusion, evaluation.logits)


@contextlib.contextmanager
def deleting_checkpoints(run: AdaptationRun) -> Iterator[None]:
    """Deletes an adaptation's checkpoints at its end, or where it diverged: no process will resume it.

    After any other error they stay for one that does.
    """
    try:
        yield
    except Diverged:
        run.delete_checkpoints()
        raise
    run.delete_checkpoints()


def make_network(run: AdaptationRun) -> nn.Sequential:
    """Trains all members of an adaptation and returns the network that comes of them.

    Raises:
        Diverged: See `fer.adaptation.member.train_member`.
    """
    config = run.draws.config
    if config.trains:
        networks = [train_member(run, number) for number in range(config.members)]
    else:
        networks = [start_network(run.draws, run.draws.seed)]
    return run.scorer.make_result(networks)


def _train_and_evaluate(run: AdaptationRun) -> Adapted:
    """Trains all members of an adaptation and evaluates what comes out."""
    config = run.draws.config
    network = make_network(run)

    # Evaluation of the end.
    evaluation = _evaluate_end(run, network)
    measures = evaluation.measures
    baseline_accuracy = measures["source_val"] - measures["backward_transfer"]
    accuracies = [row["source_val"] for row in run.curve if "source_val" in row]
    measures["forgetting"] = forgetting([baseline_accuracy, *accuracies])

    # Evaluation of interpolated networks.
    interpolated: list[Interpolated] = []
    if config.trains and not run.stopped:
        scorer = run.scorer
        interpolated = evaluate_interpolated(
            run.plan, measures, scorer.optimistic_estimate, partial(scorer.evaluate_interpolated, network)
        )

    curve = [without_interpolation(row) for row in run.curve]
    return Adapted(network, curve, measures, run.stopped, interpolated, evaluation.confusion, evaluation.logits)


def _evaluate_end(run: AdaptationRun, network: nn.Sequential) -> Evaluation:
    """Returns the evaluation of the adapted network, that of the last rung where the rung was the end."""
    if not run.curve or "source_val" not in run.curve[-1]:
        evaluation = run.scorer.evaluate(network)
        spent = run.curve[-1]["epoch"] if run.curve else 0.0
        run.curve.append({"epoch": spent} | evaluation.accuracies)
        return evaluation
    if run.evaluation is None:
        # The training was resumed from its last epoch's checkpoint, which holds the row of the curve alone.
        return run.scorer.evaluate(network)
    return run.evaluation


def evaluate_interpolated(
    plan: EvaluationPlan,
    measures: dict[str, float],
    estimate: Callable[[dict[str, float], float, float], dict[str, float]],
    evaluate: Callable[[float, float], Interpolated],
) -> list[Interpolated]:
    """Evaluates the interpolation points that a plan asks for.

    Args:
        plan: Has the points, and says which of them may be left out.
        measures: Of the adapted network.
        estimate: From these, alpha and slope to accuracies that would be unusually good (`Scorer.optimistic_estimate`).
        evaluate: From alpha and slope to the network with its measures.
    """
    interpolated: list[Interpolated] = []
    for alpha, slope in plan.interpolation_points:
        if plan.would_join_front is not None and len(interpolated) < 2:
            # Of the first point there is an estimate, until it is evaluated.
            first = interpolated[0].measures if interpolated else estimate(measures, alpha, slope)
            if not plan.would_join_front([measures, first]):
                break
        interpolated.append(evaluate(alpha, slope))
    return interpolated
