"""The accuracies that networks are expected to have with other people and other trainings, and how sure they are.

What a network showed on some folds is its expected accuracy plus luck, and the best of hundreds had the most luck. Here
each network's gain over the baseline is estimated from paired answers, freed of what folds have in common, and drawn to
the other networks as far as the noise demands (`study.tuning.gain_model`). The target's accuracy is the baseline's over
all target images plus the gain.

One person says nothing of how people differ. Then the sizes of those terms come from the prior alone, and the
baseline's accuracy is taken to vary between people by `BETWEEN_PEOPLE`.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fer.evaluation.intervals import Estimate, estimate
from study.tuning.answers import Comparison
from study.tuning.differences import Differences, source_differences, target_differences
from study.tuning.gain_model import GainModel
from study.tuning.gain_posterior import SOURCE_PRIOR, TARGET_PRIOR, GainPosterior, draw_gains

_NETWORKS_FOR_COVARIATES = 8
"""The fewest networks whose target gains are related to what they keep of the source."""

BETWEEN_PEOPLE = 0.15
"""Standard deviation of the baseline's accuracy between people, where there is one person and nothing shows it."""


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Expected accuracies on one domain.

    Attributes:
        baseline: The baseline's accuracy on all images.
        baseline_error: Its standard error, for other people on the target, for other images on the source.
        observed: (networks,) the baseline's accuracy plus the mean difference that the network showed, uncorrected;
            NaN for a network without an evaluation.
        gains: (draws, networks) gains over the baseline from the joint posterior; what all networks have in common is
            in it, so that differences of networks are as sure as paired answers make them.
        noise: (networks, folds) standard deviation of the gain that one more training would show on a fold.
        repeated: (networks,) the part of it that differs between seeds on one fold.
        baseline_draws: (draws,) deviations of the baseline's expected accuracy from `baseline`.
    """

    baseline: float
    baseline_error: float
    observed: np.ndarray
    gains: np.ndarray
    noise: np.ndarray
    repeated: np.ndarray
    baseline_draws: np.ndarray

    @cached_property
    def mean(self) -> np.ndarray:
        """(networks,) expected accuracies."""
        return self.baseline + self.gains.mean(0)

    @cached_property
    def error(self) -> np.ndarray:
        """(networks,) standard errors of the expected accuracies, that of the baseline included."""
        return self.draws.std(0)

    @cached_property
    def gain_error(self) -> np.ndarray:
        """(networks,) standard errors of the gains over the baseline."""
        return self.gains.std(0)

    @property
    def draws(self) -> np.ndarray:
        """(draws, networks) expected accuracies from the posterior."""
        return self.baseline + self.baseline_draws[:, None] + self.gains

    def interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Returns lower and upper ends (networks,) of the expected accuracies' intervals, within 0 and 1.

        Args:
            level: The probability that a true value lies inside.
        """
        return _quantiles(self.draws, level)

    def gain_interval(self, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Returns lower and upper ends (networks,) of the intervals of the gains over the baseline.

        Args:
            level: The probability that a true value lies inside.
        """
        low, high = np.quantile(self.gains, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


@dataclass(frozen=True)
class ExpectedAccuracies:
    """Expected accuracies on both domains.

    Attributes:
        source: Of the source.
        target: Of the target; draw i of both domains belongs together.
    """

    source: ExpectedAccuracy
    target: ExpectedAccuracy

    @property
    def points(self) -> np.ndarray:
        """(networks, 2) expected source and target accuracy, within 0 and 1."""
        return np.stack([self.source.mean, self.target.mean], 1).clip(0, 1)

    @property
    def observed(self) -> np.ndarray:
        """(networks, 2) observed source and target accuracy."""
        return np.stack([self.source.observed, self.target.observed], 1)

    @property
    def baseline(self) -> tuple[float, float]:
        """The baseline's source and target accuracy."""
        return self.source.baseline, self.target.baseline


def expect_accuracies(comparison: Comparison, draws: int = 1000, seed: int = 0) -> ExpectedAccuracies:
    """Returns the expected accuracies of all networks on both domains.

    Args:
        comparison: The networks' answers; one evaluation at least.
        draws: From the posterior. Probabilities have standard errors of at most half the inverse root of it.
        seed: Of the draws; equal arguments give equal results.

    Raises:
        ValueError: There is no evaluation.
    """
    if not len(comparison.evaluations):
        raise ValueError("expected accuracies need at least one evaluation")
    rng = np.random.default_rng(seed)
    trials, kinds = comparison.trials, comparison.kinds

    # The source first: what a network keeps of it says something of what it has learnt.
    source = source_differences(comparison)
    nothing = np.zeros((comparison.networks, 0))
    source_gains = draw_gains(GainModel(source, trials, kinds, nothing), SOURCE_PRIOR, draws, rng)
    target = target_differences(comparison)
    covariates = _covariates(source_gains.draws.mean(0))
    target_gains = draw_gains(GainModel(target, trials, kinds, covariates), TARGET_PRIOR, draws, rng)

    return ExpectedAccuracies(
        source=_assemble(comparison.source.baseline_right, None, source, source_gains, rng),
        target=_assemble(comparison.target.baseline_right, comparison.target.people, target, target_gains, rng),
    )


def _rank(values: np.ndarray) -> np.ndarray:
    """Returns the rank of each value among (n,) values, from 1; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last_ranks = np.cumsum(counts)
    return (last_ranks - (counts - 1) / 2)[places]


def _covariates(source_gain: np.ndarray) -> np.ndarray:
    """Returns the rank of source gains and its square, both standardised, (networks, 2); nothing for a few networks.

    What forgets more has often learnt more, and what has lost most has learnt little. Ranks leave extreme networks no
    more weight than others; with the gains themselves the best expected network came out optimistic.
    """
    count = len(source_gain)
    if count < _NETWORKS_FOR_COVARIATES:
        return np.zeros((count, 0))
    ranks = (_rank(source_gain) - 0.5) / count
    standardised = np.sqrt(12) * (ranks - 0.5)
    return np.stack([standardised, np.square(standardised) - 1], 1)


def _assemble(
    baseline_right: np.ndarray,
    people: np.ndarray | None,
    differences: Differences,
    gains: GainPosterior,
    rng: np.random.Generator,
) -> ExpectedAccuracy:
    """Returns the gains on top of the baseline's accuracy.

    Args:
        baseline_right: (n,) its answers on all images.
        people: (n,) whose image each is; None where each image counts as a person of its own.
        differences: What was observed.
        gains: What is expected.
        rng: Of the baseline's draws.
    """
    right = np.asarray(baseline_right, float)
    known = estimate(right, np.arange(len(right)) if people is None else people)
    error, freedom = _baseline_error(known, len(right))
    networks = len(differences.units)
    images = differences.images[differences.folds]
    sums = np.bincount(differences.networks, differences.values * images, networks)
    counts = np.bincount(differences.networks, images, networks)
    shown = np.divide(sums, counts, out=np.full(networks, np.nan), where=counts > 0)
    return ExpectedAccuracy(
        baseline=known.mean,
        baseline_error=error,
        observed=known.mean + shown * differences.units,
        gains=gains.draws,
        noise=gains.noise,
        repeated=gains.repeated,
        baseline_draws=error * rng.standard_t(freedom, len(gains.draws)),
    )


def _baseline_error(known: Estimate, images: int) -> tuple[float, float]:
    """Returns the standard error of the baseline's accuracy and its degrees of freedom."""
    if math.isfinite(known.error):
        return known.error, known.variances[0].freedom
    of_images = max(known.mean * (1 - known.mean), 1 / images) / images
    return math.sqrt(BETWEEN_PEOPLE**2 + of_images), 30.0


def _quantiles(draws: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends (n,) of central intervals of draws (draws, n) of shares."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)
