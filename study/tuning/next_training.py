"""Which trainings are due in a study, in the order of its course.

1. Promotions: the best configurations of a rung are trained on the next (`study.tuning.promotion`).
2. The race: once no configuration is left to try, networks that may be on the front are trained on further folds and
   with further seeds, each time what decides most (`study.tuning.race`), until the front has settled or the race has
   cost its share.
3. The recommended network is trained on each fold that it lacks.
4. Networks that are handed over: those of each recipe of the front, averaged over its trainings, and saved.

Whoever claims a trial enqueues what is due. Two workers may both enqueue it; then the one that is claimed second is
given up, as the second trial of any place is (`study.storage.slots`).
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from study.presets import budget_factor
from study.storage.slots import EVERY_FOLD, HANDED_OVER, Place, is_of_search, place_of, place_owners
from study.trial_attributes import TrialAttributes
from study.tuning.competing_networks import Recipe
from study.tuning.plan import SearchPlan
from study.tuning.promotion import find_promotions
from study.tuning.race import Job, RaceRules, choose_next_job
from study.tuning.verdict import Verdict, reach_verdict

MOST_FINALISTS = 3
"""How many recommended recipes in turn are trained on the folds they lack: their answers may change which it is."""
MOST_ATTEMPTS = 3
"""How often networks are handed over whose trials fail, until the study does without them."""
FINALIST = "finalist"
"""The entry by which a trial of the race says that it was due for the recommended network."""


@dataclass(frozen=True)
class DueTraining:
    """A training that is to be enqueued.

    Attributes:
        trial: The ended trial whose configuration it has.
        place: Of the training.
        attributes: What its trial has besides: why it is enqueued.
    """

    trial: FrozenTrial
    place: Place
    attributes: Mapping[str, Any] = field(default_factory=dict)


def find_due_trainings(
    trials: Sequence[FrozenTrial],
    plan: SearchPlan,
    most: int = 1,
    has_ended: bool = False,
    is_over: bool = False,
    deleted: Collection[tuple[int, float, float]] = (),
) -> list[DueTraining]:
    """Returns the trainings that are due, the most important first.

    Args:
        trials: All trials of a study.
        plan: Of the study.
        most: How many are wanted at most, of those that are chosen one by one.
        has_ended: Whether the search ended before its last promotion.
        is_over: Whether the time for the race and its finalists is up, whatever it has decided.
        deleted: Networks that were handed over and are gone: of each the number of the trial that made it, alpha and
            slope.
    """
    promotions = [] if has_ended else find_promotions(trials, plan)
    if promotions:
        return [
            DueTraining(promotion.trial, promotion.place, {"promoted_from": promotion.trial.number})
            for promotion in promotions[:most]
        ]

    # Configurations that wait come before all that follows.
    live = list(place_owners(trials).values())
    if plan.images is None or any(trial.state == TrialState.WAITING for trial in live):
        return []
    verdict = reach_verdict(live, plan)
    if verdict is None:
        return []
    running = [trial for trial in live if trial.state == TrialState.RUNNING]
    if not is_over:
        raced = find_race_trainings(live, verdict, plan, most)
        if raced:
            return raced
    if running:
        return []  # each may change what follows
    missing = [] if is_over else find_missing_folds(live, verdict, plan)
    return missing or find_trainings_to_hand_over(live, verdict, deleted)


# The race.


def find_race_trainings(
    live: Sequence[FrozenTrial], verdict: Verdict, plan: SearchPlan, most: int
) -> list[DueTraining]:
    """Returns the trainings that decide most, one after the other, as if those before had been done already.

    Args:
        live: The trials that hold places.
        verdict: What is known so far.
        plan: Of the study.
        most: How many at most.
    """
    competition = verdict.competition
    costs = [
        math.inf if is_trained_from_scratch(first) else float(budget_factor(recipe.rung))
        for recipe, first in zip(competition.recipes, competition.first_trials, strict=True)
    ]
    budget = plan.race_share * _cost_of(trial for trial in live if is_of_search(trial))
    spent = _cost_of(trial for trial in live if TrialAttributes.of(trial).race is not None)

    # Whoever holds a place has been asked for, whether it runs, gave no answers, or gave answers that do not compete.
    jobs = [job for trial in live for job in _as_jobs(trial, verdict, plan)]
    trainings: list[DueTraining] = []
    while len(trainings) < most:
        # What is left of the share may still pay for a cheaper training than the one that decides most.
        affordable = [cost if spent + cost <= budget else math.inf for cost in costs]
        job = choose_next_job(
            competition.comparison,
            verdict.expected,
            verdict.front,
            competition.comparison.trials,
            affordable,
            jobs,
            RaceRules(every_fold=plan.every_fold),
        )
        if job is None or not job.value:
            break
        spent += costs[job.training]
        recipe = competition.recipes[job.training]
        fold = EVERY_FOLD if plan.every_fold else job.fold
        place = Place(recipe.slot, recipe.rung, fold, job.seed)
        jobs += [replace(job, fold=one_fold) for one_fold in plan.folds_at(fold)]
        course = describe_race(verdict) | {"value": job.value}
        trainings.append(DueTraining(competition.first_trials[job.training], place, {"race": course}))
    return trainings


def is_trained_from_scratch(trial: FrozenTrial) -> bool:
    """Returns whether a trial's network takes the training of a baseline, which no race can pay for."""
    config = TrialAttributes.of(trial).config or {}
    return config.get("init") in ("scratch", "fused")


def describe_race(verdict: Verdict) -> dict[str, float]:
    """Returns how far a race is: the expected sizes of front and error, networks that are still in, hypervolume."""
    front = verdict.front
    probabilities = np.append(front.probabilities, front.baseline_probability)
    useful = np.append(front.useful, front.baseline_useful)
    return {
        "front": float(probabilities.sum()),
        "undecided": float(np.minimum(probabilities, 1 - probabilities).sum()),
        "useful_front": float(useful.sum()),
        "useful_undecided": float(np.minimum(useful, 1 - useful).sum()),
        "networks": float((front.useful >= RaceRules().out_below).sum()),
        "hypervolume": front.hypervolume,
        "optimism": front.optimism,
    }


def _cost_of(trials: Iterable[FrozenTrial]) -> float:
    """Returns what trials cost, in budgets of the first rung."""
    return float(sum(budget_factor(place_of(trial).rung) for trial in trials))


def _as_jobs(trial: FrozenTrial, verdict: Verdict, plan: SearchPlan) -> list[Job]:
    """Returns a trial as jobs of the race, one for each fold; none where its networks do not compete yet."""
    place = place_of(trial)
    for index, recipe in enumerate(verdict.competition.recipes):
        if recipe == (place.slot, place.rung):
            return [Job(index, fold, place.repeat, (), 0.0) for fold in plan.folds_at(place.fold)]
    return []


# What follows the race.


def find_missing_folds(live: Sequence[FrozenTrial], verdict: Verdict, plan: SearchPlan) -> list[DueTraining]:
    """Returns a training for each fold that the recommended network has not been trained on.

    None in a study without a race, and none once MOST_FINALISTS recipes had theirs.

    Args:
        live: The trials that hold places; none of them runs.
        verdict: What is known so far.
        plan: Of the study.
    """
    if not plan.race_share or verdict.choice.network is None:
        return []
    finalists = {place_of(trial)[:2] for trial in live if FINALIST in (TrialAttributes.of(trial).race or {})}
    competition = verdict.competition
    recipe = competition.networks[verdict.choice.network].recipe
    first = competition.first_trials[competition.recipes.index(recipe)]
    if len(finalists | {recipe}) > MOST_FINALISTS or is_trained_from_scratch(first):
        return []

    places = [place_of(trial) for trial in live if place_of(trial)[:2] == recipe]
    held = {fold for place in places for fold in plan.folds_at(place.fold)}
    course = describe_race(verdict) | {FINALIST: 1.0}
    return [
        DueTraining(first, Place(recipe.slot, recipe.rung, fold), {"race": course})
        for fold in range(plan.folds)
        if fold not in held
    ]


def find_trainings_to_hand_over(
    live: Sequence[FrozenTrial], verdict: Verdict, deleted: Collection[tuple[int, float, float]] = ()
) -> list[DueTraining]:
    """Returns a trial for each recipe of the front whose networks have not been averaged and saved.

    Args:
        live: The trials that hold places; none of them runs.
        verdict: What the search says at its end.
        deleted: Networks that were saved and are gone, see `find_due_trainings`.
    """
    competition = verdict.competition
    points_of: dict[Recipe, list[list[float]]] = {}
    for index in verdict.wanted:
        network = competition.networks[index]
        points_of.setdefault(network.recipe, []).append([network.alpha, network.slope])

    due = []
    for recipe, points in points_of.items():
        of_recipe = [trial for trial in live if place_of(trial)[:2] == recipe]
        earlier = [trial for trial in of_recipe if place_of(trial).fold == HANDED_OVER]
        parts = [trial.number for trial in of_recipe if TrialAttributes.of(trial).answers]
        asked = [trial for trial in earlier if _was_to_hand_over(trial, points, parts, deleted)]
        has_failed = len(asked) < MOST_ATTEMPTS and all(trial.state == TrialState.FAIL for trial in asked)
        if asked and not has_failed:
            continue
        first = competition.first_trials[competition.recipes.index(recipe)]
        place = Place(recipe.slot, recipe.rung, HANDED_OVER, len(earlier))
        attributes = {"handed_over": points, "recipe_of": first.number, "parts": parts}
        due.append(DueTraining(first, place, attributes))
    return due


def _was_to_hand_over(
    trial: FrozenTrial,
    points: Sequence[list[float]],
    parts: Sequence[int],
    deleted: Collection[tuple[int, float, float]],
) -> bool:
    """Returns whether a trial was to make networks at these points out of these parts, and none of them was deleted."""
    attributes = TrialAttributes.of(trial)
    if sorted(attributes.parts or []) != sorted(parts):
        return False

    made = [[alpha, slope] for alpha, slope in attributes.handed_over or []]
    there = [point for point in made if (trial.number, *point) not in deleted]
    return all(point in there for point in points)
