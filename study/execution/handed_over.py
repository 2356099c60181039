"""The networks that a study hands over: of each recipe of the front the average of what was trained on the folds.

The search judges a recipe by networks each of which saw all of the target but one fold. The average of several of them
has seen every training and validation image, and on test images it was better than a new training on all of them, on
the source as well (docs/experiments.md). So trainings that may be part of an average keep their networks until the end.
"""

from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from fer.adaptation.cross_validation import adapt_on_folds
from fer.adaptation.plan import Adapted, EvaluationPlan, Interpolated
from fer.adaptation.procedure import adapt, average_adapted
from fer.config import AdaptationConfig
from fer.errors import InputError
from fer.model import weights
from fer.seeding import seed_from
from study.execution.front_networks import would_join_front
from study.execution.trial_context import TrialContext
from study.storage.backend import trials_of
from study.storage.slots import PARTS, is_of_search, place_of, rung_of
from study.trial_attributes import TrialAttributes
from study.trials import INTERPOLATED_COLUMN, OBJECTIVES, interpolation_name, model_file


def part_file(number: int) -> str:
    """Returns the file of a trial's adapted network, relative to the study's folder."""
    return f"{PARTS}/trial-{number:04d}.safetensors"


def may_be_handed_over(trial: optuna.Trial, context: TrialContext, adapted: Adapted) -> bool:
    """Returns whether a trial's network is kept, since it may become part of one that is handed over.

    Those of the highest rung and of the race are; where every trial is on the highest rung, those that may be on the
    front. Any other that is wanted at the end is trained again.
    """
    if not is_of_search(trial):
        return True
    if rung_of(trial) < context.plan.rungs:
        return False
    networks = [adapted.measures, *(step.measures for step in adapted.interpolated)]
    return context.plan.rungs > 1 or would_join_front(trial, context.plan, networks)


def save_part(trial: optuna.Trial, context: TrialContext, network: nn.Sequential) -> None:
    """Saves a trial's adapted network until the study ends."""
    path = context.folder / part_file(trial.number)
    _save(network, path, context, {"trial": str(trial.number)})


def save_baseline(trial: optuna.Trial, context: TrialContext) -> None:
    """Saves the baseline as the network of its trial."""
    path = context.folder / model_file(trial.number)
    _save(context.task.baseline.network, path, context, {"trial": str(trial.number), "strategy": "BL"})
    _upload(path, context)


def hand_over(
    trial: optuna.Trial, context: TrialContext, config: AdaptationConfig, study_seed: int, strategy: str
) -> dict[str, float]:
    """Averages the networks of a recipe over folds, and saves the interpolated ones that the trial names.

    Args:
        trial: The running trial.
        context: The study's folder, and where else networks go.
        config: Hyperparameters of the adaptation.
        study_seed: The seed of trainings that are no repeats.
        strategy: Name of the trial's strategy, for the files' headers.

    Returns:
        The source accuracy of each saved network on all validation images, by name: "source_val/0.50".

    Raises:
        Diverged: See `fer.adaptation.procedure.adapt`.
    """
    attributes = TrialAttributes.of(trial)
    trials = trials_of(trial.study)
    parts = [trials[number] for number in attributes.parts or []]
    points = [(alpha, slope) for alpha, slope in attributes.handed_over or []]

    if config.init == "baseline":
        # The networks of the folds; one whose file is not here is trained again. Then their average, and the networks
        # between it and the baseline.
        networks = [_open_part(part, context, config, study_seed) for part in parts]
        interpolated = [point for point in points if point != (1.0, 0.0)]
        adapted = average_adapted(context.task_of_all_images, config, study_seed, networks, interpolated)
    else:
        # Networks from scratch have no start in common, so their average has learned nothing: one is trained on all
        # images.
        adapted = adapt(context.task_of_all_images, config, study_seed, plan=EvaluationPlan(rungs=(1.0,)))

    number = attributes.recipe_of
    assert number is not None, "a network that is handed over has a recipe"
    folds_of_parts = [len(context.plan.folds_at(place_of(part).fold)) for part in parts]
    averaged = sum(folds_of_parts) if config.init == "baseline" else 1
    header = {"strategy": strategy, "trial": str(number), "averaged": str(averaged)}
    accuracies = {}
    for network in _networks_of(adapted):
        if (network.alpha, network.slope) not in points:
            continue
        path = context.folder / model_file(number, network.alpha, network.slope)
        place = {"alpha": str(network.alpha), "slope": str(network.slope)}
        _save(network.network, path, context, header | place)
        _upload(path, context)
        name = interpolation_name(network.alpha, network.slope)
        accuracies[INTERPOLATED_COLUMN.format(OBJECTIVES[0], name)] = network.measures[OBJECTIVES[0]]
    return accuracies


def _networks_of(adapted: Adapted) -> list[Interpolated]:
    """Returns all networks of an adaptation; the adapted one counts as interpolated all the way."""
    return [Interpolated(1.0, 0.0, adapted.network, adapted.measures, adapted.logits), *adapted.interpolated]


def _open_part(part: FrozenTrial, context: TrialContext, config: AdaptationConfig, study_seed: int) -> nn.Sequential:
    """Returns the adapted network of a trial: as it was saved here, else trained again."""
    try:
        return context.open_network(part_file(part.number))
    except InputError:
        place = place_of(part)
        seed = seed_of_repeat(study_seed, place.repeat)
        return adapt_on_folds(context.tasks_at(place.fold), config, seed, EvaluationPlan(rungs=(1.0,))).network


def seed_of_repeat(seed: int, repeat: int) -> int:
    """Returns the seed of a training, given that of the first training on its fold, and how many came before it."""
    return seed_from(seed, "repeat", repeat) if repeat else seed


def _save(network: nn.Sequential, path: Path, context: TrialContext, header: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    task = context.task
    datasets = (task.source, task.target)
    about = weights.faces_entry(dataset.kind for dataset in datasets)
    about |= weights.colour_entry(dataset.parse_report().colour for dataset in datasets)
    about |= weights.expressions_entry(task.source.expressions)
    weights.save_blocks(task.baseline, network, path, about | header)


def _upload(path: Path, context: TrialContext) -> None:
    if context.upload is not None:
        context.upload(path)
