"""Draws of what networks gain over the baseline, the sizes of the model's terms being unknown.

The sizes (`study.tuning.gain_model`) are drawn from their posterior by importance sampling around its mode, and the
gains are drawn given each. So few people or few networks make wide intervals.
"""

from dataclasses import dataclass

import numpy as np

from study.tuning.gain_model import GainModel, Sizes

_LARGEST = 4.0
"""How many of their prior's standard deviations sizes may lie from its centre."""

_PROPOSALS = 24
"""Drawn sizes; the drawn gains are divided among them by their weights."""

_LARGEST_WEIGHT = 3.0
"""The most that drawn sizes count, in mean weights: a few are not to stand for all."""

_WIDENING = 1.1
"""How much wider than the curvature at the mode says sizes are drawn, which weights then correct."""

_SMALLEST_CURVATURE = 0.5
"""Along each axis, the prior's being 1; no axis runs away."""

_STEP = 0.2
"""Of finite differences for the curvature, in standard deviations of the prior."""


@dataclass(frozen=True)
class Prior:
    """Normal distributions of the sizes: of their logarithms, of the correlation's logit.

    Attributes:
        centres: Medians, in the order of `Sizes`.
        widths: Standard deviations of logarithms or logits.
    """

    centres: Sizes
    widths: tuple[float, float, float, float, float]

    def sizes(self, position: np.ndarray) -> Sizes:
        """Returns the sizes at a position (5,), in standard deviations from the medians."""
        steps = np.clip(position, -_LARGEST, _LARGEST) * np.array(self.widths)
        centres = self.centres
        return Sizes(
            spread=centres.spread * np.exp(steps[0]),
            kinship=_move_share(centres.kinship, steps[1]),
            training=centres.training * np.exp(steps[2]),
            interaction=centres.interaction * np.exp(steps[3]),
            common=centres.common * np.exp(steps[4]),
        )


TARGET_PRIOR = Prior(Sizes(0.15, 0.95, 0.07, 0.12, 0.2), (0.8, 1.3, 0.5, 0.6, 0.6))
"""Medians and widths as seen on real faces: trainings differ by 1.5 to 7 points, people by some 5 to 20."""

SOURCE_PRIOR = Prior(Sizes(0.1, 0.95, 0.04, 1e-3, 0.03), (1.0, 1.3, 0.8, 0.01, 0.8))
"""People of the source are unknown, so their two terms stand for the folds' training images alone."""


@dataclass(frozen=True)
class GainPosterior:
    """What is known of the gains.

    Attributes:
        draws: (draws, networks) gains from the posterior, as accuracies.
        sizes: The most probable sizes of the model's terms.
        noise: (networks, folds) standard deviation of what one more training on a fold would show, as accuracy.
        repeated: (networks,) the part of it that differs between seeds on one fold.
    """

    draws: np.ndarray
    sizes: Sizes
    noise: np.ndarray
    repeated: np.ndarray


def draw_gains(model: GainModel, prior: Prior, draws: int, rng: np.random.Generator) -> GainPosterior:
    """Draws the expected gains of all networks over the baseline, together.

    Args:
        model: Of one domain.
        prior: Of the sizes.
        draws: How many.
        rng: Of the draws; equal generators give equal draws.
    """
    mode = _find_mode(model, prior)
    positions, weights = _propose(model, prior, mode, rng)
    counts = rng.multinomial(draws, weights)

    parts = []
    for position, count in zip(positions, counts, strict=True):
        if count:
            parts.append(model.draw(prior.sizes(position), int(count), rng))
    differences = model.differences
    sizes = prior.sizes(mode)
    response = model.response[:, None]
    of_training = np.square(response) * (sizes.training**2 + sizes.interaction**2 * differences.people_weight)
    variance = of_training + differences.fold_noise
    return GainPosterior(
        draws=np.concatenate(parts) * differences.units,
        sizes=sizes,
        noise=differences.units[:, None] * np.sqrt(variance),
        repeated=differences.units * model.response * sizes.training,
    )


def _move_share(share: float, step: float) -> float:
    """Returns a share moved by a step of its logit."""
    return float(1 / (1 + (1 / share - 1) * np.exp(-step)))


def _log_posterior(model: GainModel, prior: Prior, position: np.ndarray) -> float:
    """Returns the logarithm of the sizes' posterior density at a position, up to a constant."""
    return model.log_likelihood(prior.sizes(position)) - 0.5 * float(np.square(position).sum())


def _find_mode(model: GainModel, prior: Prior) -> np.ndarray:
    """Returns the position of the most probable sizes."""

    def loss(position: np.ndarray) -> float:
        return -_log_posterior(model, prior, position)

    # Only a search that compares its networks asks for it, and every process would import it.
    from scipy.optimize import minimize  # noqa: PLC0415

    bounds = [(-_LARGEST, _LARGEST)] * len(prior.widths)
    options = {"maxiter": 25, "eps": 1e-3, "ftol": 1e-6}
    return minimize(loss, np.zeros(len(prior.widths)), method="L-BFGS-B", bounds=bounds, options=options).x


def _propose(
    model: GainModel, prior: Prior, mode: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions (proposals, 5) about the mode, and their weights, which sum to 1."""
    # The curvature along each axis.
    at_mode = _log_posterior(model, prior, mode)
    curvature = np.empty(len(mode))
    for axis in range(len(mode)):
        step = np.zeros(len(prior.widths))
        step[axis] = _STEP
        both = _log_posterior(model, prior, mode + step) + _log_posterior(model, prior, mode - step)
        curvature[axis] = (2 * at_mode - both) / step[axis] ** 2
    widths = 1 / np.sqrt(np.maximum(curvature, _SMALLEST_CURVATURE))

    # In pairs of opposite sides of the mode.
    half = rng.standard_normal((_PROPOSALS // 2, len(mode)))
    standard = np.concatenate([half, -half])
    positions = mode + _WIDENING * widths * standard
    log_target = np.array([_log_posterior(model, prior, position) for position in positions])
    log_weights = log_target + 0.5 * np.square(standard).sum(1)
    weights = np.exp(log_weights - log_weights.max())
    for _ in range(10):  # cutting large weights raises the others, so again
        weights = np.minimum(weights / weights.sum(), _LARGEST_WEIGHT / _PROPOSALS)
    return positions, weights / weights.sum()
