"""What a search says of its networks: what each is expected to reach, the front, and which one is recommended."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from optuna.trial import FrozenTrial

from fer.expressions import SEVEN, ExpressionSet
from study.pareto import non_dominated
from study.tuning.competing_networks import Competition, find_competition
from study.tuning.expected_accuracy import ExpectedAccuracies, expect_accuracies
from study.tuning.front_probability import ExpectedFront, find_expected_front
from study.tuning.plan import SearchPlan
from study.tuning.recommendation_rule import Choice, Obstacle, RecommendationRules, find_sufficient_keep, recommend


@dataclass(frozen=True)
class Verdict:
    """What is known of the networks that compete, each by its index.

    Attributes:
        competition: The networks and their answers.
        expected: What each is expected to reach with other people and other trainings.
        front: How probably each is on the front.
        keep: Share of the baseline's source accuracy that a recommended network keeps.
        min_source: Expected source accuracy below which no network is an answer.
        expressions: What the images' labels are indices of.
        min_retention: Share of the baseline's source accuracy that every network must keep.
    """

    competition: Competition
    expected: ExpectedAccuracies
    front: ExpectedFront
    keep: float
    min_source: float = 0.0
    expressions: ExpressionSet = SEVEN
    min_retention: float = 0.0

    @cached_property
    def choice(self) -> Choice:
        """Which network is recommended, and its neighbours."""
        return recommend(self.competition.comparison, self.expected, self._rules)

    @cached_property
    def sufficient_keep(self) -> tuple[float, int] | None:
        """Where nothing is recommended, the largest `keep` with which a network would be, and which one; else None."""
        if self.choice.network is not None:
            return None
        comparison = self.competition.comparison
        return find_sufficient_keep(self.choice, comparison, self.expected, self._rules, self.min_retention)

    @cached_property
    def nearest(self) -> int | None:
        """Where nothing is recommended, the network that came nearest to passing the rule that none passed; else None.

        That is the one that a lower `keep` would recommend. Without one, and where all forget too much, it is the one
        that most probably keeps enough; else, of those that most probably do, the one with the largest lower bound of
        its gain; one that has lost an expression only where all of these have.
        """
        choice = self.choice
        if choice.network is not None:
            return None
        if self.sufficient_keep is not None:
            return self.sufficient_keep[1]
        if choice.obstacle in (Obstacle.FORGETS, Obstacle.NOT_EVALUATED):
            return int(np.argmax(choice.kept))
        keeps_enough = choice.kept >= min(0.9, float(choice.kept.max()))
        is_alive = keeps_enough & np.array([not names for names in choice.died])
        competing = is_alive if is_alive.any() else keeps_enough
        return int(np.argmax(np.where(competing, choice.least_gains, -np.inf)))

    @property
    def _rules(self) -> RecommendationRules:
        return RecommendationRules(keep=self.keep, expressions=self.expressions)

    @property
    def wanted(self) -> list[int]:
        """The networks that a user may want: those on the front, the recommended one and its neighbours.

        Where no trial of the baseline finished, it is not there to take a network's place on the front.
        """
        # The front.
        points = self.expected.points
        is_wanted = self.front.on_front.copy() if self.competition.has_baseline else non_dominated(points)

        # The networks that the choice names.
        for index in (self.choice.network, self.choice.keeps_more, self.choice.learns_more):
            if index is not None:
                is_wanted[index] = True

        # Without those that forget more than the study allows.
        keeps_enough = points[:, 0] >= self.min_source
        return np.flatnonzero(is_wanted & keeps_enough).tolist()


def reach_verdict(trials: Iterable[FrozenTrial], plan: SearchPlan) -> Verdict | None:
    """Returns what the trials of a study say so far; None where none has stored its answers.

    Equal trials give an equal verdict.

    Args:
        trials: All trials of the study.
        plan: Of the study.
    """
    competition = find_competition(trials, plan)
    if competition is None:
        return None
    expected = expect_accuracies(competition.comparison)
    front = find_expected_front(expected, plan.reference)
    return Verdict(competition, expected, front, plan.keep, plan.min_source, plan.expressions, plan.min_retention)
