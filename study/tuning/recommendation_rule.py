"""Which network the user is told to take, by a rule that holds on test images.

It is the network of the best expected target accuracy among those that probably keep enough of the source, that surely
gain on the target, and in which no expression has died. To be sure of a gain is to have the lower end of a simultaneous
interval above 0: one that holds for all networks together, so having compared many is allowed for.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from scipy.special import bdtrc  # the upper tail of a binomial; scipy.stats takes half a second to import

from fer.expressions import SEVEN, ExpressionSet
from study.pareto import non_dominated
from study.tuning.answers import Comparison
from study.tuning.expected_accuracy import ExpectedAccuracies

_SMALLEST_ERROR = 1e-9
"""Of a gain; avoids dividing by 0 for a network that never differs from the baseline."""


class Obstacle(StrEnum):
    """Why nothing is recommended, the first rule that left no network."""

    NOT_EVALUATED = "no network has been evaluated"
    FORGETS = "no network keeps enough of the source's accuracy with the wanted probability"
    DIED = "each network that keeps enough of the source has lost an expression"
    NO_GAIN = "no network that keeps enough of the source is surely better than the baseline on the target"


@dataclass(frozen=True)
class RecommendationRules:
    """What a recommended network must do.

    Attributes:
        keep: Share of the baseline's source accuracy that it keeps.
        kept_probability: How probable that must be.
        gain_level: The probability with which the simultaneous lower bounds of all networks' gains on the target hold
            together; a recommended network's bound is above 0.
        died_level: Significance of the loss of an expression that counts as dead.
        expressions: What the images' labels are indices of.
    """

    keep: float = 0.95
    kept_probability: float = 0.9
    gain_level: float = 0.9
    died_level: float = 0.01
    expressions: ExpressionSet = SEVEN


@dataclass(frozen=True)
class Choice:
    """What the rule says.

    Attributes:
        network: Index of the recommended network; None where nothing beats the baseline.
        keeps_more: The next network on the expected front that keeps more of the source, None without one.
        learns_more: The next one that learns more of the target.
        obstacle: Why nothing is recommended; None where something is.
        kept: (networks,) probability that each keeps the wanted share of the source.
        gains: (networks,) probability that each exceeds the baseline on the target, for itself.
        least_gains: (networks,) simultaneous lower bounds of the gains on the target.
        died: (networks,) the expressions that each has lost, on either domain.
    """

    network: int | None
    keeps_more: int | None
    learns_more: int | None
    obstacle: Obstacle | None
    kept: np.ndarray
    gains: np.ndarray
    least_gains: np.ndarray
    died: tuple[tuple[str, ...], ...]


def recommend(comparison: Comparison, expected: ExpectedAccuracies, rules: RecommendationRules | None = None) -> Choice:
    """Returns the recommended network and its two neighbours, or why there is none.

    Args:
        comparison: The networks' answers.
        expected: What follows from them.
        rules: What the network must do.
    """
    rules = rules or RecommendationRules()
    source = expected.source
    kept = (source.gains >= (rules.keep - 1) * source.baseline).mean(0)
    gains = (expected.target.gains > 0).mean(0)
    least_gains = simultaneous_bounds(expected.target.gains, rules.gain_level)
    died = find_dead_expressions(comparison, rules.died_level, rules.expressions)

    is_evaluated = np.isfinite(expected.target.observed)
    keeps_enough = is_evaluated & (kept >= rules.kept_probability)
    is_alive = keeps_enough & np.array([not names for names in died])
    is_better = is_alive & (least_gains > 0)
    for obstacle, passes in (
        (Obstacle.NOT_EVALUATED, is_evaluated),
        (Obstacle.FORGETS, keeps_enough),
        (Obstacle.DIED, is_alive),
        (Obstacle.NO_GAIN, is_better),
    ):
        if not passes.any():
            return Choice(None, None, None, obstacle, kept, gains, least_gains, died)

    # The best expected target accuracy; of equal ones the better source.
    points = expected.points
    order = np.lexsort((points[:, 0], np.where(is_better, points[:, 1], -np.inf)))
    best = int(order[-1])
    alive = is_evaluated & np.array([not names for names in died])
    keeps_more, learns_more = _find_neighbours(points, best, alive)
    return Choice(best, keeps_more, learns_more, None, kept, gains, least_gains, died)


def find_sufficient_keep(
    choice: Choice, comparison: Comparison, expected: ExpectedAccuracies, rules: RecommendationRules, least: float = 0.0
) -> tuple[float, int] | None:
    """Returns the largest share that could be asked to be kept so that a network is recommended, and that network.

    Args:
        choice: By these rules.
        comparison: The networks' answers.
        expected: What follows from them.
        rules: What the network must do; nothing is recommended by them.
        least: The least share that may be asked for.

    Returns:
        The share, in whole per cent and less than what the rules ask, and the network's index; None where nothing is
        recommended with any share.
    """
    # The networks that pass all tests but that of what is kept, which no other depends on.
    is_alive = np.array([not names for names in choice.died], bool)
    passing = np.isfinite(expected.target.observed) & is_alive & (choice.least_gains > 0)
    source = expected.source
    if not passing.any() or source.baseline <= 0:
        return None

    # The share that each of them keeps as probably as the rules ask; of the largest one whole per cent.
    kept = 1 + source.gains[:, passing] / source.baseline
    surely_kept = np.quantile(kept, 1 - rules.kept_probability, axis=0, method="lower").max()
    below_asked = math.ceil(round(100 * rules.keep, 6)) - 1  # per cent; 100 * 0.55 is a little more than 55
    keep = min(math.floor(100 * surely_kept), below_asked) / 100
    if keep < max(least, 0.0):
        return None
    network = recommend(comparison, expected, replace(rules, keep=keep)).network
    return None if network is None else (keep, network)


def simultaneous_bounds(gains: np.ndarray, level: float) -> np.ndarray:
    """Returns lower bounds (networks,) that hold for all networks together with a probability.

    Each lies as many standard errors below its mean; how many follows from the largest deviation over networks in each
    draw, so networks whose errors go together count as fewer (Westfall and Young 1993, on draws from a posterior).

    Args:
        gains: (draws, networks) from the joint posterior.
        level: The probability.
    """
    mean = gains.mean(0)
    error = np.maximum(gains.std(0), _SMALLEST_ERROR)
    deviations = ((gains - mean) / error).max(1)
    return mean - np.quantile(deviations, level) * error


def find_dead_expressions(
    comparison: Comparison, level: float = 0.01, expressions: ExpressionSet = SEVEN
) -> tuple[tuple[str, ...], ...]:
    """Returns the expressions that each network has lost, in their order.

    An expression has died where on one domain (1) the baseline recognises it: its recall exceeds chance, by a one-sided
    binomial test at 5 %; (2) the network does not: its recall is at most chance; and (3) the images that it lost
    outnumber those that it won significantly, by a one-sided sign test. At 1 % no loss of fewer than 7 images is.

    Args:
        comparison: The networks' answers; several trainings on one fold are averaged.
        level: Significance of (3).
        expressions: What the images' labels are indices of.
    """
    died: list[set[int]] = [set() for _ in range(comparison.networks)]
    for domain in ("source", "target"):
        before, after = _answers_by_network(comparison, domain)
        labels = comparison.source.labels if domain == "source" else comparison.target.labels
        for code in range(len(expressions)):
            of_expression = labels == code
            if not of_expression.any():
                continue
            lost = _have_lost(before[of_expression], after[:, of_expression], level, expressions.chance)
            for network in np.flatnonzero(lost):
                died[network].add(code)
    return tuple(tuple(expressions.names[code] for code in sorted(codes)) for codes in died)


def _answers_by_network(comparison: Comparison, domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the baseline's answers (images,), and the networks' mean answers (networks, images), NaN if unseen."""
    if domain == "source":
        before = np.asarray(comparison.source.baseline_right, float)
    else:
        before = np.asarray(comparison.target.baseline_right, float)
    sums = np.zeros((comparison.networks, len(before)))
    counts = np.zeros_like(sums)
    for evaluation in comparison.evaluations:
        if domain == "source":
            images = np.arange(len(before))
            right = evaluation.source_right
        else:
            images = comparison.target.images_of(evaluation.fold)
            right = evaluation.target_right
        sums[evaluation.network, images] += right
        counts[evaluation.network, images] += 1
    return before, np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _have_lost(before: np.ndarray, after: np.ndarray, level: float, chance: float) -> np.ndarray:
    """Returns which networks have lost an expression, (networks,).

    Args:
        before: (images,) the baseline's answers on the expression's images.
        after: (networks, images) the networks' mean answers, NaN where they were not evaluated.
        level: Significance of the loss.
        chance: The accuracy of guessing.
    """
    is_seen = np.isfinite(after)
    seen = is_seen.sum(1)
    recalled = (is_seen * before).sum(1)
    is_recognised = bdtrc(recalled - 1, np.maximum(seen, 1), chance) < 0.05

    answers = np.where(is_seen, after, 0.0)
    is_at_chance = answers.sum(1) <= chance * seen

    # Answers averaged over trainings are parts of an image; whole images are tested, to the cautious side.
    lost = np.floor((is_seen * before * (1 - answers)).sum(1) + 1e-9).astype(int)
    won = np.ceil((is_seen * (1 - before) * answers).sum(1) - 1e-9).astype(int)
    is_significant = bdtrc(lost - 1, lost + won, 0.5) < level
    return (seen > 0) & is_recognised & is_at_chance & is_significant


def _find_neighbours(points: np.ndarray, best: int, alive: np.ndarray) -> tuple[int | None, int | None]:
    """Returns the nearest networks on the front of expected accuracies that keep more and that learn more.

    Args:
        points: (networks, 2) expected source and target accuracy.
        best: The recommended network.
        alive: (networks,) which networks may be named.
    """
    on_front = np.zeros(len(points), bool)
    candidates = np.flatnonzero(alive)
    on_front[candidates] = non_dominated(points[candidates])
    keeps_more = np.flatnonzero(on_front & (points[:, 0] > points[best, 0]))
    learns_more = np.flatnonzero(on_front & (points[:, 1] > points[best, 1]))
    nearest_source = int(keeps_more[np.argmin(points[keeps_more, 0])]) if len(keeps_more) else None
    nearest_target = int(learns_more[np.argmin(points[learns_more, 1])]) if len(learns_more) else None
    return nearest_source, nearest_target
