"""Which training decides most, given all answers so far: the next fold or seed of a race among networks.

Networks that are improbable on the front are out. Among the others the training is worth most whose networks are
neither surely on the front nor surely off it, and of whose uncertainty it removes the largest share, for its cost. The
front is that of whole points (`study.tuning.whole_points`): a race about tenths of a point would be endless and of no
use.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.tuning.answers import Comparison
from study.tuning.expected_accuracy import ExpectedAccuracies
from study.tuning.front_probability import ExpectedFront


@dataclass(frozen=True)
class Job:
    """A training that the race asks for.

    Attributes:
        training: Which configuration at which rung, as the caller numbers them.
        fold: The fold that is left out and evaluated.
        seed: 0 for a fold that the training has not seen, else the next free one.
        networks: Indices of the networks that it gives answers of.
        value: What the choice was made by: the sum over networks of p (1 - p), times the share of variance that the
            training removes, for its cost.
    """

    training: int
    fold: int
    seed: int
    networks: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class RaceRules:
    """When a network is out, when the race ends.

    Attributes:
        out_below: Probability of being on the front below which a network is evaluated no more.
        settled_at: The race ends when the expected number of networks on the wrong side, the sum of min(p, 1 - p), is
            at most this share of the expected size of the front.
        max_seeds: The most trainings of one configuration on one fold.
        least_share: Of what is unknown of a network, as variance, which a training removes at least. Seeds do not tell
            of other people: on a small target they would repeat for long what is known.
        every_fold: Whether a training is on every fold, and so tells of each.
    """

    out_below: float = 0.05
    settled_at: float = 0.1
    max_seeds: int = 3
    least_share: float = 0.15
    every_fold: bool = False


def has_settled(front: ExpectedFront, rules: RaceRules | None = None) -> bool:
    """Returns whether so few networks may be on the wrong side of the front that the race ends.

    Args:
        front: With the networks' probabilities.
        rules: The share that is allowed.
    """
    rules = rules or RaceRules()
    probabilities = np.append(front.useful, front.baseline_useful)
    wrong = np.minimum(probabilities, 1 - probabilities).sum()
    return bool(wrong <= rules.settled_at * probabilities.sum())


def choose_next_job(  # noqa: PLR0913  # the state of a race and its rules
    comparison: Comparison,
    expected: ExpectedAccuracies,
    front: ExpectedFront,
    trainings: np.ndarray,
    costs: Sequence[float],
    running: Sequence[Job] = (),
    rules: RaceRules | None = None,
) -> Job | None:
    """Returns the training that decides most for its cost, None when the race has ended. Equal states, equal jobs.

    Args:
        comparison: All answers so far.
        expected: What follows from them.
        front: What follows from that.
        trainings: (networks,) int from 0 on, the training that gives each network: an adapted network and its
            interpolated ones come from one.
        costs: Of each training, in any unit.
        running: Jobs that others are at; they count as done.
        rules: When a network is out and when the race ends.
    """
    rules = rules or RaceRules()
    if has_settled(front, rules):
        return None
    done = _count_trainings(comparison, trainings, running, len(costs))
    fold_exists = np.bincount(comparison.target.folds[comparison.target.folds >= 0], minlength=done.shape[1]) > 0

    best = None
    for training, cost in enumerate(costs):
        networks = np.flatnonzero(trainings == training)
        probabilities = front.useful[networks]
        is_in = probabilities >= rules.out_below
        if not is_in.any():
            continue
        undecided = np.where(is_in, probabilities * (1 - probabilities), 0.0)
        fold, shares = _choose_fold(done[training], fold_exists, expected, networks, rules)
        if fold is None:
            continue
        if rules.every_fold:
            shares = np.minimum(1, shares * fold_exists.sum())
        if shares[is_in].max() < rules.least_share:
            continue
        value = float((undecided * shares).sum()) / cost
        if best is None or value > best.value:
            best = Job(training, fold, int(done[training, fold]), tuple(networks.tolist()), value)
    return best


def _count_trainings(comparison: Comparison, trainings: np.ndarray, running: Sequence[Job], count: int) -> np.ndarray:
    """Returns how many seeds each training has had on each fold, (trainings, folds)."""
    folds = int(comparison.target.folds.max(initial=-1)) + 1
    done = np.zeros((count, folds), int)
    for evaluation in comparison.evaluations:
        cell = trainings[evaluation.network], evaluation.fold
        done[cell] = max(done[cell], evaluation.seed + 1)
    for job in running:
        cell = job.training, job.fold
        done[cell] = max(done[cell], job.seed + 1)
    return done


def _choose_fold(
    done: np.ndarray, fold_exists: np.ndarray, expected: ExpectedAccuracies, networks: np.ndarray, rules: RaceRules
) -> tuple[int | None, np.ndarray]:
    """Returns the fold to train on next and which share of each network's variance that removes.

    Args:
        done: (folds,) seeds so far.
        fold_exists: (folds,) whether a fold has images.
        expected: With the networks' noise.
        networks: Those that the training gives.
        rules: The most seeds.
    """
    variance = np.square(expected.target.gain_error[networks])
    missing = np.flatnonzero(fold_exists & (done == 0))
    if len(missing):
        # The fold that says most: the one with the least noise, the first of equals.
        noise = np.square(expected.target.noise[np.ix_(networks, missing)])
        fold = int(missing[np.argmin(noise.sum(0))])
        own = np.square(expected.target.noise[networks, fold])
        return fold, variance / (variance + own)

    open_folds = np.flatnonzero(fold_exists & (done < rules.max_seeds))
    if not len(open_folds):
        return None, variance
    # The fold with the fewest seeds. Another one divides what seeds add to the variance of what the network showed,
    # of which the posterior's variance is the shrunken rest.
    fold = int(open_folds[np.argmin(done[open_folds])])
    seen = np.flatnonzero(fold_exists)
    shown = np.square(expected.target.noise[np.ix_(networks, seen)]).sum(1) / len(seen) ** 2
    seeds = done[fold]
    less = np.square(expected.target.repeated[networks]) / (seeds * (seeds + 1)) / len(seen) ** 2
    return fold, np.minimum(1, variance * less / np.square(shown))
