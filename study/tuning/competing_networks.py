"""The networks that compete for a study's front, with all their answers so far, out of the trials of a storage.

A configuration on a rung is a recipe: it was trained on one fold or on several. Its adapted network and each of the
interpolated ones compete as one network each, whatever folds and seeds they were trained on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from study.storage.slots import place_of, place_owners
from study.trial_attributes import TrialAttributes
from study.trials import parse_interpolation_name
from study.tuning.answers import Comparison, Evaluation
from study.tuning.plan import SearchPlan
from study.tuning.stored_answers import ValidationImages, unpack_answers


class Recipe(NamedTuple):
    """A configuration on a rung.

    Attributes:
        slot: Of the configuration.
        rung: Whose budget it has.
    """

    slot: int
    rung: int


@dataclass(frozen=True)
class CompetingNetwork:
    """A network that competes.

    Attributes:
        recipe: Whose it is.
        trial: Number of the recipe's first trial, by which the network is called.
        alpha: Where its first block lies between the baseline's, 0, and the adapted network's, 1.
        slope: How much further the last block lies.
    """

    recipe: Recipe
    trial: int
    alpha: float
    slope: float


@dataclass(frozen=True)
class Competition:
    """The networks that compete and what is known of them.

    Attributes:
        networks: The networks, those of one recipe in a row.
        comparison: Their answers; network i is `networks[i]`, and trial i of the comparison is `recipes[i]`.
        recipes: The recipes, in the order of their first trials.
        first_trials: The first trial of each recipe.
        has_baseline: Whether a trial of the baseline finished, which then competes as a network of the study's.
    """

    networks: list[CompetingNetwork]
    comparison: Comparison
    recipes: list[Recipe]
    first_trials: list[FrozenTrial]
    has_baseline: bool


def find_competition(trials: Iterable[FrozenTrial], plan: SearchPlan) -> Competition | None:
    """Returns the networks of a study's finished trials with their answers; None where no answers are stored.

    Left out are the baseline's trials, since it competes by itself, trials that repeat another one, trainings of
    networks that are handed over, and networks that keep less of the source than the study allows.

    Args:
        trials: All trials of a study.
        plan: Of the study.
    """
    if plan.images is None:
        return None
    owners = list(place_owners(trials).values())
    trials_of_recipe: dict[Recipe, list[FrozenTrial]] = {}
    for trial in sorted(_competing(owners), key=lambda trial: trial.number):
        trials_of_recipe.setdefault(_recipe_of(trial), []).append(trial)

    # The networks of each recipe, which is called by its first trial.
    networks: list[CompetingNetwork] = []
    evaluations: list[Evaluation] = []
    recipes: list[Recipe] = []
    for recipe, of_recipe in trials_of_recipe.items():
        before = len(networks)
        by_point: dict[tuple[float, float], list[_Answers]] = {}
        for trial in of_recipe:
            for answers in _read_answers(trial, plan, plan.images):
                by_point.setdefault(answers.point, []).append(answers)
        for (alpha, slope), answers_of_point in by_point.items():
            source = np.mean([answers.source_right.mean() for answers in answers_of_point])
            if source < plan.min_source:
                continue
            evaluations += [answers.as_evaluation(len(networks)) for answers in answers_of_point]
            networks.append(CompetingNetwork(recipe, of_recipe[0].number, alpha, slope))
        if len(networks) > before:
            recipes.append(recipe)
    if not networks:
        return None

    return Competition(
        networks=networks,
        comparison=Comparison(
            target=plan.images.target,
            source=plan.images.source,
            trials=_numbered(network.recipe for network in networks),
            kinds=_numbered((network.recipe.rung, network.alpha, network.slope) for network in networks),
            evaluations=evaluations,
        ),
        recipes=recipes,
        first_trials=[trials_of_recipe[recipe][0] for recipe in recipes],
        has_baseline=any(_is_of_baseline(trial) for trial in owners),
    )


def _is_of_baseline(trial: FrozenTrial) -> bool:
    """Returns whether a trial finished that is the baseline's."""
    return trial.state == TrialState.COMPLETE and TrialAttributes.of(trial).strategy == "BL"


def _competing(owners: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Returns of the trials that hold places those whose networks compete."""
    competing = []
    for trial in owners:
        attributes = TrialAttributes.of(trial)
        is_own = attributes.twin_of is None and attributes.handed_over is None and attributes.strategy != "BL"
        if is_own and trial.state == TrialState.COMPLETE and attributes.answers:
            competing.append(trial)
    return competing


@dataclass(frozen=True)
class _Answers:
    """The answers of one network of a trial, on one fold."""

    point: tuple[float, float]
    fold: int
    repeat: int
    target_right: np.ndarray
    source_right: np.ndarray
    repeats_source: bool

    def as_evaluation(self, network: int) -> Evaluation:
        """Returns them as those of a network by its index."""
        return Evaluation(network, self.fold, self.repeat, self.target_right, self.source_right, self.repeats_source)


def _read_answers(trial: FrozenTrial, plan: SearchPlan, images: ValidationImages) -> list[_Answers]:
    """Returns the answers of each of a trial's networks, fold by fold; what cannot be read is left out.

    A trial on every fold stores its answers one fold after the other. Those on the source are of the average of its
    networks, the same for each fold.
    """
    place = place_of(trial)
    folds = plan.folds_at(place.fold)
    sizes = [len(images.target.images_of(fold)) for fold in folds]
    read = []
    for name, packed in (TrialAttributes.of(trial).answers or {}).items():
        try:
            point = parse_interpolation_name(name)
            target_right = unpack_answers(packed["target"], sum(sizes))
            source_right = unpack_answers(packed["source"], len(images.source.labels))
        except (KeyError, ValueError):
            continue
        start = 0
        for fold, size in zip(folds, sizes, strict=True):
            of_fold = target_right[start : start + size]
            start += size
            if size:
                repeats_source = fold != folds[0]
                read.append(_Answers(point, fold, place.repeat, of_fold, source_right, repeats_source))
    return read


def _recipe_of(trial: FrozenTrial) -> Recipe:
    """Returns the recipe that a trial trains."""
    place = place_of(trial)
    return Recipe(place.slot, place.rung)


def _numbered(values: Iterable[object]) -> np.ndarray:
    """Returns (n,) a number from 0 on for each value, equal values alike, in the order in which they come."""
    listed = list(values)
    numbers = {value: number for number, value in enumerate(dict.fromkeys(listed))}
    return np.array([numbers[value] for value in listed], int)
