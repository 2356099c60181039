"""The sampler `evolution`: children of the best trials so far, one at a time, in any conditional space.

For most trials a point of the front is drawn by the area of the box below it, and the trial's parents from the tenth of
the finished ones that gets farthest in that point's direction, as the scalarisation of the hypervolume has it (Golovin
and Zhang 2020, arXiv 2006.04655, whose directions are random). So children are bred most where both accuracies are
worth something together, other parts of the front in proportion, and near equals of its points are parents too, since
part of one training's accuracy is luck. Of those the cheaper come more often, up to four times as often: near equals
get as many seconds of training, not as many trials. There are no generations (steady state, Durillo et al. 2009), so
that no worker waits and every result counts from the next trial on.

Each knob is asked for when the space comes to it, so that conditions need no treatment of their own: a knob that a
parent has is inherited, and now and then mutated; one that no parent has is drawn at random. The cost does not depend
on the number of knobs asked for, and hardly on that of the trials.
"""

import math
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from study.front import non_dominated, reference_of

STARTUP = 10
"""Trials with knobs before the first child; those before are random."""
CROSSOVER = 0.3
"""Chance that a child has two parents. Not tuned."""
MUTATIONS = 1.5
"""How many of the knobs that a child is asked for are mutated, on average. 2 were no different on the table."""
STEP = 0.1
"""Standard deviation of a mutated number, in shares of its range."""
PARENTS = (0.1, 3)
"""Share of the finished trials that parents are drawn from, and how many at least. Twice the share was no better."""
FRESH = 0.2
"""Chance that a trial has no parents. On the table of real trainings 0.1 cost a twentieth more and found no more."""


class EvolutionSampler(optuna.samplers.RandomSampler):
    """Draws each knob from one of the trial's parents, mutated or not.

    Args:
        seed: Of everything random; a sampler serves one trial after the other, or is made anew for each.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.rng = np.random.default_rng(seed)
        self._trial: int | None = None
        self._parents: list[FrozenTrial] = []
        self._until_certain = 0

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns the value of one knob."""
        if self._trial != trial.number:
            self._trial, self._parents = trial.number, self.choose_parents(study)
            # One knob is mutated for certain, or some children would be their parents again.
            fewest = min((len(parent.params) for parent in self._parents), default=1)
            self._until_certain = int(self.rng.integers(fewest))
        having = [parent for parent in self._parents if parent.distributions.get(param_name) == param_distribution]
        if not having:
            return super().sample_independent(study, trial, param_name, param_distribution)
        parent = having[int(self.rng.integers(len(having)))]
        certain, self._until_certain = self._until_certain == 0, self._until_certain - 1
        # A trial of the full space has some 15 knobs.
        if certain or self.rng.random() < (MUTATIONS - 1) / len(parent.params):
            return mutated(parent.params[param_name], param_distribution, self.rng)
        return parent.params[param_name]

    def choose_parents(self, study: optuna.Study) -> list[FrozenTrial]:
        """Returns the parents of the next child: none, one or two."""
        done = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,), use_cache=True)
        # A twin was answered from a record and cost nothing; what has a reason failed, and only counts as finished.
        pool = [trial for trial in done if trial.params and not {"twin_of", "reason"} & trial.user_attrs.keys()]
        if len(pool) < STARTUP or self.rng.random() < FRESH:
            return []
        order = best_first(pool, reference_of(study.user_attrs.get("study", {})), self.rng)
        wanted = 2 if self.rng.random() < CROSSOVER else 1
        share, fewest = PARENTS
        best = [pool[place] for place in order[: max(fewest, math.ceil(share * len(pool)))]]
        # A child costs about what its parent did. Bounded, or one that trains hardly anything would have all children.
        seconds = np.array([trial.user_attrs.get("seconds", 1.0) for trial in best])
        ease = 1 / np.clip(seconds, np.median(seconds) / 2, np.median(seconds) * 2)
        return [best[place] for place in self.rng.choice(len(best), wanted, replace=False, p=ease / ease.sum())]


def best_first(trials: list[FrozenTrial], reference: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Returns the trials' places in order: by violation of constraints, then by how far they get in one direction,
    that of a point of the front, drawn by the area of the box between it and the reference.
    """
    points = np.array([trial.values for trial in trials], dtype=float)
    broken = np.array([violation(trial) for trial in trials])
    front = points[broken == broken.min()]
    front = front[non_dominated(front)]
    # As long as nothing is better than the reference in both, the way to it leads from the worst of both.
    corner = np.array(reference) if (front > reference).all(axis=1).any() else points.min(axis=0) - 1e-3
    boxes = np.maximum(front - corner, 0)
    areas = boxes.prod(axis=1)
    direction = boxes[rng.choice(len(front), p=areas / areas.sum())]
    ways = (points - corner) / direction
    # Equal accuracies are common on a few validation images: there the trial's number must not decide.
    return np.lexsort((rng.random(len(points)), -ways.max(axis=1), -ways.min(axis=1), broken))


def violation(trial: FrozenTrial) -> float:
    """Returns by how much a trial breaks its constraints, 0 for one that keeps them."""
    constraints = trial.constraints
    return sum(max(0.0, value) for value in constraints.values()) if constraints else 0.0


def mutated(value: Any, distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """Returns another choice, or a number near another one, on the distribution's own scale and within its bounds."""
    if isinstance(distribution, CategoricalDistribution):
        others = [choice for choice in distribution.choices if choice != value]
        return others[int(rng.integers(len(others)))] if others else value
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    scale, back = (np.log, np.exp) if distribution.log else (float, float)
    first, last = scale(low), scale(high)
    # What leaves the range comes back from its end: cut off at the end it would often stay where it was.
    moved = first + abs(scale(value) + rng.normal(0, STEP) * (last - first) - first)
    moved = float(np.clip(back(np.clip(last - abs(last - moved), first, last)), low, high))
    if not isinstance(distribution, IntDistribution):
        return moved
    if round(moved) != value:
        return round(moved)
    beside = [number for number in (value - 1, value + 1) if low <= number <= high]
    return beside[int(rng.integers(len(beside)))] if beside else value
