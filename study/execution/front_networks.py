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
    """Marks those of a running trial's networks that no network of a finished trial dominates, nor one of its own.

    Args:
        trial: The running trial.
        measures: The metrics of each of its networks, with both objectives.

    Returns:
        For each network whether none dominates it.
    """
    # The trial's own networks come first: of equal points the first is not dominated.
    points = [[values[name] for name in OBJECTIVES] for values in measures]
    for ended in counted_trials(trials_of(trial.study)):
        if ended.state == TrialState.COMPLETE:
            points += objective_vectors(ended)

    is_non_dominated = non_dominated(points)
    return is_non_dominated[: len(measures)].tolist()


def would_join_front(trial: optuna.Trial, context: TrialContext, measures: Sequence[dict[str, float]]) -> bool:
    """Returns whether any of these networks would join the front of the finished trials.

    Args:
        trial: The running trial.
        context: Has the source accuracy below which no network joins the front.
        measures: The metrics of each of its networks, with both objectives.
    """
    source_objective = OBJECTIVES[0]
    sufficient = [values for values in measures if values[source_objective] >= context.min_source_accuracy]
    return bool(sufficient) and any(mark_non_dominated(trial, sufficient))


def save_if_on_front(trial: optuna.Trial, adapted: Adapted, context: TrialContext, strategy: str) -> None:
    """Saves those of a trial's networks that no finished trial's network dominates: only these can end on the front.

    Args:
        trial: The running trial.
        adapted: Its adapted network and the interpolated ones.
        context: The study's folder, and where else networks go.
        strategy: Name of the trial's strategy, for the file's header.
    """
    # The adapted network counts as interpolated all the way: alpha 1, slope 0.
    networks = [Interpolated(1.0, 0.0, adapted.network, adapted.measures, adapted.logits)]
    networks += adapted.interpolated
    on_front = mark_non_dominated(trial, [network.measures for network in networks])

    # What each file's header says of the trial.
    header = {"width": str(context.task.baseline.width), "strategy": strategy, "trial": str(trial.number)}
    if context.folds:
        header["fold"] = f"the first of {context.folds}"

    for network, is_on_front in zip(networks, on_front, strict=True):
        if not is_on_front:
            continue
        path = context.folder / model_file(trial.number, network.alpha, network.slope)
        path.parent.mkdir(parents=True, exist_ok=True)
        place = {"alpha": str(network.alpha), "slope": str(network.slope)}
        weights.save_network(network.network, path, header | place)
        if context.upload is not None:
            context.upload(path)
