"""Which networks of a running trial would join the front of the finished trials; these are saved."""

from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from fer.adaptation.plan import Adapted, Interpolated
from fer.model import weights
from study.execution.trial_context import TrialContext
from study.pareto import non_dominated
from study.storage.backend import trials_of
from study.trials import OBJECTIVES, counted_trials, model_file, objective_vectors


def mark_non_dominated(trial: optuna.Trial, measures: Sequence[dict[str, float]]) -> list[bool]:
    """Marks the networks that neither each other nor the networks of a finished trial dominate.

    Args:
        trial: A trial of the study whose finished trials count.
        measures: The metrics of each network, with both objectives.

    Returns:
        For each network whether no other dominates it.
    """
    points = [[values[name] for name in OBJECTIVES] for values in measures]
    for finished in counted_trials(trials_of(trial.study)):
        if finished.state == TrialState.COMPLETE:
            points += objective_vectors(finished)
    return non_dominated(points)[: len(measures)].tolist()


def would_join_front(trial: optuna.Trial, context: TrialContext, measures: Sequence[dict[str, float]]) -> bool:
    """Returns whether any of these networks would join the front of the finished trials.

    Args:
        trial: A trial of the study.
        context: Says which source accuracy a network must have.
        measures: The metrics of each network, with both objectives.
    """
    source_objective = OBJECTIVES[0]
    sufficient = [values for values in measures if values[source_objective] >= context.min_source_accuracy]
    return bool(sufficient) and any(mark_non_dominated(trial, sufficient))


def save_if_on_front(trial: optuna.Trial, adapted: Adapted, context: TrialContext, strategy: str) -> None:
    """Saves each network that no finished trial's dominates: the final front's networks are then all there.

    Args:
        trial: The running trial.
        adapted: Its adapted network and the interpolated ones.
        context: The study's folder, and where else networks go.
        strategy: Name of the trial's strategy, for the file's header.
    """
    # The adapted network is the point at which nothing of the baseline is left.
    networks = [Interpolated(1.0, 0.0, adapted.network, adapted.measures, adapted.logits)]
    networks += adapted.interpolated
    on_front = mark_non_dominated(trial, [network.measures for network in networks])

    header = {"width": str(context.task.baseline.width), "strategy": strategy, "trial": str(trial.number)}
    if context.folds:
        header["fold"] = f"the first of {context.folds}"

    for network, is_on_front in zip(networks, on_front, strict=True):
        if not is_on_front:
            continue
        path = context.folder / model_file(trial.number, network.alpha, network.slope)
        path.parent.mkdir(parents=True, exist_ok=True)
        point = {"alpha": str(network.alpha), "slope": str(network.slope)}
        weights.save_network(network.network, path, header | point)
        if context.upload is not None:
            context.upload(path)
