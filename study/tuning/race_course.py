"""The course of a study's race: what was known before each of its trainings, and why it ended."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from optuna.trial import FrozenTrial

from study.presets import budget_factor
from study.record import number
from study.storage.slots import is_of_search, place_of, place_owners
from study.trial_attributes import TrialAttributes
from study.tuning.next_training import describe_race, find_race_trainings
from study.tuning.plan import SearchPlan
from study.tuning.race import RaceRules, has_settled
from study.tuning.verdict import Verdict


class RaceEnd(StrEnum):
    """Why a race ended."""

    SETTLED = "the front had settled"
    SHARE_USED = "the share of the search's cost that it may take (--race) was used up"
    EXHAUSTED = "no further training was allowed or would have told much of a network in doubt"
    STOPPED = "the study was stopped before that"


@dataclass(frozen=True)
class RaceState:
    """What was known of the front at one moment of a race.

    Attributes:
        front: Expected number of networks on the front, the sum of their probabilities; the baseline counts.
        undecided: Expected number of networks on the wrong side of the front, the sum of min(p, 1 - p).
        networks: How many networks were probable enough on the front to be trained further.
        useful_front: The first of these in whole points, by which the race decides; NaN in races before that.
        useful_undecided: The second likewise.
        hypervolume: Of the front of expected accuracies.
        optimism: How much larger the hypervolume of observed accuracies was.
    """

    front: float
    undecided: float
    networks: float
    hypervolume: float
    optimism: float
    useful_front: float = math.nan
    useful_undecided: float = math.nan

    @property
    def has_settled(self) -> bool:
        """Whether so few networks were undecided that the race was over."""
        if math.isnan(self.useful_front):
            return self.undecided <= RaceRules().settled_at * self.front
        return self.useful_undecided <= RaceRules().settled_at * self.useful_front


@dataclass(frozen=True)
class RaceCourse:
    """A race from its first training on.

    Attributes:
        states: Before each training, in their order, and after the last one; one more than there were trainings.
        trainings: The number of trainings that the race chose, which come first.
        finalists: The number of trainings after these, on folds that the recommended network and its neighbours lacked.
        configurations: How many configurations, on a rung each, the race trained further.
        cost: Of all these trainings, as a share of what the search cost.
        end: Why the race ended.
    """

    states: tuple[RaceState, ...]
    trainings: int
    finalists: int
    configurations: int
    cost: float
    end: RaceEnd

    @property
    def decided_in_whole_points(self) -> bool:
        """Whether what the race decided by is known: the front in whole points, which older studies did not store."""
        return not any(math.isnan(state.useful_front) for state in self.states)

    def deciding_front(self, state: RaceState) -> tuple[float, float]:
        """Returns how many networks were expected on the front that the race decided about, and on its wrong side.

        Args:
            state: One of the race's states.
        """
        if self.decided_in_whole_points:
            return state.useful_front, state.useful_undecided
        return state.front, state.undecided


def find_race_course(trials: Iterable[FrozenTrial], verdict: Verdict, plan: SearchPlan) -> RaceCourse | None:
    """Returns the course of a study's race, None where there was no race.

    Args:
        trials: All trials of the study.
        verdict: What they say.
        plan: Of the study.
    """
    live = list(place_owners(trials).values())
    trained = sorted(
        (trial for trial in live if TrialAttributes.of(trial).race is not None), key=lambda trial: trial.number
    )
    if not trained:
        return None

    # The trainings that the race chose, and those of the folds that finalists lacked.
    chosen = [trial for trial in trained if not _is_of_finalist(trial)]
    finalists = [trial for trial in trained if _is_of_finalist(trial)]
    states = [_read_state(TrialAttributes.of(trial).race or {}) for trial in (*chosen, *finalists)]
    states.append(_read_state(describe_race(verdict)))

    of_search = sum(_cost(trial) for trial in live if is_of_search(trial))
    return RaceCourse(
        states=tuple(states),
        trainings=len(chosen),
        finalists=len(finalists),
        configurations=len({place_of(trial)[:2] for trial in chosen}),
        cost=sum(_cost(trial) for trial in trained) / of_search if of_search else 0.0,
        end=_find_end(live, verdict, plan, states[len(chosen)]),
    )


def _is_of_finalist(trial: FrozenTrial) -> bool:
    return "finalist" in (TrialAttributes.of(trial).race or {})


def _cost(trial: FrozenTrial) -> int:
    """Returns what a trial costs, in budgets of the first rung."""
    return budget_factor(place_of(trial).rung)


def _read_state(stored: Mapping[str, Any]) -> RaceState:
    """Returns a stored state; what is missing is NaN, which no figure draws."""
    values = {name: number(stored.get(name)) for name in RaceState.__annotations__}
    return RaceState(**{name: math.nan if value is None else value for name, value in values.items()})


def _find_end(live: list[FrozenTrial], verdict: Verdict, plan: SearchPlan, last: RaceState) -> RaceEnd:
    """Returns why a race ended.

    Args:
        live: The trials that hold places.
        verdict: What they say.
        plan: Of the study.
        last: The state after the last training that the race chose.
    """
    if last.has_settled or has_settled(verdict.front):
        return RaceEnd.SETTLED
    if find_race_trainings(live, verdict, plan, 1):
        return RaceEnd.STOPPED
    without_limit = replace(plan, race_share=math.inf)
    if find_race_trainings(live, verdict, without_limit, 1):
        return RaceEnd.SHARE_USED
    return RaceEnd.EXHAUSTED
