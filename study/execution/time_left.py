"""How long a study will still train, from the course of this study so far.

What is to come is counted, not only what waits: configurations to try, promotions, the race's share, the folds that the
recommended network may lack, and the networks that are handed over. Work is counted in seconds of one worker; how many
work at a time is measured.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial

from study.presets import FACTOR, budget_factor
from study.storage.slots import is_of_search, rung_of
from study.trial_attributes import TrialAttributes
from study.tuning.plan import SearchPlan
from study.tuning.promotion import ETA

LEAST_TRIALS = 10
"""Ended trials before which nothing is said: the first are the named strategies, which tell little about others."""
LEAST_OF_FEW = 3
"""The same in a study of few configurations, of which half have to have ended."""
LEAST_ON_HIGHEST = 3
"""Ended trials on the highest rung before which nothing is said: there is where most of the time goes."""
HALF_LIFE = 150
"""Trials of a rung after which a duration counts half: the search turns to configurations that take longer."""
PSEUDO_TRIALS = 1.0
"""How many trials of a rung the estimate from the rung below is worth."""
LEAST_RACED = 3
"""Trials of the race before which those of the search tell how long the next take."""
RECENT_TRIALS = 30
"""Trials that ended last, by which the machine's present speed is told."""


@dataclass(frozen=True)
class OpenTrial:
    """A trial that waits or runs.

    Attributes:
        trial: The trial.
        seconds: How long it has run.
    """

    trial: FrozenTrial
    seconds: float


@dataclass(frozen=True)
class Course:
    """How far a study is.

    Attributes:
        ended: The trials that count, in the order in which they ended.
        open_trials: Those that wait or run.
        total: How many configurations the study is to try.
        plan: The course of its search.
        recipes: How many recipes are on the front so far, each of which is handed over.
        search_is_over: Whether nothing is tried or promoted any more.
        race_is_over: Whether the race's time is up.
    """

    ended: Sequence[FrozenTrial]
    open_trials: Sequence[OpenTrial]
    total: int
    plan: SearchPlan
    recipes: int = 0
    search_is_over: bool = False
    race_is_over: bool = False


def work_left(course: Course) -> float | None:
    """Returns the seconds that one worker would need for what is left; None while too little is known.

    Args:
        course: How far the study is.
    """
    if not _is_enough(course):
        return None

    speed = recent_speed(course.ended)
    durations = [speed * seconds for seconds in estimate_durations(course.ended, course.plan.rungs)]
    handed_over = [trial for trial in course.ended if is_handed_over(trial)]
    open_hand_over = [each for each in course.open_trials if is_handed_over(each.trial)]
    if handed_over or open_hand_over:
        return _hand_over_left(handed_over, open_hand_over, durations)

    left = 0.0 if course.search_is_over else _search_left(course, durations)
    if course.plan.race_share and not course.race_is_over:
        left += _race_left(course, durations, speed)
    if course.plan.images is not None:
        # To average and evaluate the networks of a recipe takes about as long as a training of the first rung.
        left += course.recipes * durations[1]
    return left


def _is_enough(course: Course) -> bool:
    """Returns whether so many trials have ended that an estimate is worth something, also on the highest rung."""
    least = min(LEAST_TRIALS, max(LEAST_OF_FEW, math.ceil(course.total / 2)))
    if len(course.ended) < least or not any(map(seconds_of, course.ended)):
        return False
    if course.search_is_over:
        return True

    # The highest rung that any configuration will come to.
    expected = [count for count in expected_on_rungs(course.total, course.plan.rungs) if count]
    highest_rung = len(expected)
    ended_there = sum(rung_of(trial) == highest_rung for trial in course.ended)
    return ended_there >= min(LEAST_ON_HIGHEST, expected[-1])


def recent_speed(ended: Sequence[FrozenTrial]) -> float:
    """Returns how much longer the last trials took than all trials of their kind; 1 where nothing tells it.

    A machine has other work as well, now more, now less. Half of the change is taken for lasting.

    Args:
        ended: The trials that count, in the order in which they ended.
    """
    telling = [trial for trial in ended if seconds_of(trial) and not is_handed_over(trial)]
    of_kind: dict[tuple[object, ...], list[float]] = {}
    for trial in telling:
        of_kind.setdefault(_kind_of(trial), []).append(seconds_of(trial))

    recent = telling[-RECENT_TRIALS:]
    usual = sum(float(np.mean(of_kind[_kind_of(trial)])) for trial in recent)
    if not usual:
        return 1.0
    return (1 + sum(map(seconds_of, recent)) / usual) / 2


def _kind_of(trial: FrozenTrial) -> tuple[object, ...]:
    """Returns what trials have in common that take about as long."""
    return rung_of(trial), trial.state, TrialAttributes.of(trial).strategy, is_of_search(trial)


def is_handed_over(trial: FrozenTrial) -> bool:
    """Returns whether a trial makes networks to hand over."""
    return TrialAttributes.of(trial).handed_over is not None


def is_raced(trial: FrozenTrial) -> bool:
    """Returns whether the race, or what followed it, asked for a trial."""
    return TrialAttributes.of(trial).race is not None


def seconds_of(trial: FrozenTrial) -> float:
    """Returns how long a trial took; 0 where it does not say."""
    return TrialAttributes.of(trial).seconds or 0.0


def expected_on_rungs(total: int, rungs: int) -> list[int]:
    """Returns how many configurations come to each rung, the first rung first: the best third of each goes on.

    Args:
        total: How many configurations are tried.
        rungs: The number of rungs.
    """
    return [total // ETA**rung for rung in range(rungs)]


def estimate_durations(ended: Sequence[FrozenTrial], rungs: int) -> list[float]:
    """Returns the expected seconds of a trial on each rung, by the number of the rung; that of rung 0 is 0.

    That is the mean of the rung's trials, later ones counting more, drawn to FACTOR times the rung below.

    Args:
        ended: The trials that count, in the order in which they ended.
        rungs: The number of rungs.
    """
    durations = [0.0]
    for rung in range(1, rungs + 1):
        of_rung = [trial for trial in ended if rung_of(trial) == rung and is_of_search(trial)]
        seconds = np.array([seconds_of(trial) for trial in of_rung if seconds_of(trial)])
        weights = 0.5 ** (np.arange(len(seconds))[::-1] / HALF_LIFE)
        pseudo_trials = PSEUDO_TRIALS if rung > 1 else 0.0
        whole = float(weights.sum()) + pseudo_trials
        summed = float(weights @ seconds) + pseudo_trials * FACTOR * durations[-1]
        durations.append(summed / whole if whole else 0.0)
    return durations


def _search_left(course: Course, durations: Sequence[float]) -> float:
    """Returns the seconds of configurations to try and to promote; what runs needs the rest of its time."""
    left = 0.0
    for rung, expected in enumerate(expected_on_rungs(course.total, course.plan.rungs), start=1):
        ended = sum(rung_of(trial) == rung and is_of_search(trial) for trial in course.ended)
        left += max(0, expected - ended) * durations[rung]
    return max(0.0, left - _spent_on(course, is_of_search, durations))


def _race_left(course: Course, durations: Sequence[float], speed: float) -> float:
    """Returns the seconds that the race may still take, and the fold that its winner is likely to lack."""
    # In budgets of the first rung, as the race counts its cost.
    expected = expected_on_rungs(course.total, course.plan.rungs)
    if course.search_is_over:
        rungs = [rung_of(trial) for trial in course.ended if is_of_search(trial)]
        expected = [rungs.count(rung) for rung in range(1, course.plan.rungs + 1)]
    cost = sum(count * budget_factor(rung) for rung, count in enumerate(expected, start=1))
    raced = [trial for trial in course.ended if is_raced(trial)]
    budget = course.plan.race_share * cost - sum(budget_factor(rung_of(trial)) for trial in raced)

    per_budget = speed * _seconds_per_budget(course.ended, raced) or durations[1]
    may_lack_fold = course.plan.folds > 1 and not course.plan.every_fold
    last_fold = budget_factor(course.plan.rungs) if may_lack_fold else 0
    left = (max(0.0, budget) + last_fold) * per_budget
    return max(0.0, left - _spent_on(course, is_raced, durations))


def _seconds_per_budget(ended: Sequence[FrozenTrial], raced: Sequence[FrozenTrial]) -> float:
    """Returns the seconds that the race needs for a budget of the first rung; 0 where nothing tells it.

    The race trains networks of the front, each to its end. Before it begins, finished trials of the highest rung with
    any tell.
    """
    telling = list(raced)
    finished = [trial for trial in ended if trial.state.name == "COMPLETE" and is_of_search(trial)]
    if len(telling) < LEAST_RACED and finished:
        highest = max(map(rung_of, finished))
        telling += [trial for trial in finished if rung_of(trial) == highest]
    budgets = sum(budget_factor(rung_of(trial)) for trial in telling)
    return sum(map(seconds_of, telling)) / budgets if budgets else 0.0


def _spent_on(course: Course, belongs: Callable[[FrozenTrial], bool], durations: Sequence[float]) -> float:
    """Returns the seconds that running trials of one part of the course have had, of those that they should take."""
    spent = 0.0
    for each in course.open_trials:
        if belongs(each.trial):
            rung = min(rung_of(each.trial), len(durations) - 1)
            spent += min(each.seconds, durations[rung])
    return spent


def _hand_over_left(
    handed_over: Sequence[FrozenTrial], open_hand_over: Sequence[OpenTrial], durations: Sequence[float]
) -> float:
    """Returns the seconds of the networks that are still to be handed over, all of which are enqueued at once."""
    seconds = [seconds_of(trial) for trial in handed_over]
    mean = float(np.mean(seconds)) if seconds else durations[1]
    return sum(max(0.0, mean - each.seconds) for each in open_hand_over)
