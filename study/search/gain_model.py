"""A hierarchical model of what networks gain over the baseline, fitted to differences of several folds.

The difference that network c of trial j shows on fold f, in units of the network, is

    kind + covariates + trial_j + network_c      what is asked for: the gain to expect of other people and trainings
    + fold_f                                     people that all networks find easy or hard
    + (people_jf + images_jf) + training_jfs     noise of the trial's training, partly its own for each network

Each term is normal. Kinds are known up to a wide distribution, trial and network have a common spread, which is
estimated from all networks: this is empirical Bayes, so the best of many networks is drawn to the others as far as
their noise demands. Trials are independent of each other given kinds, covariates and folds, so every trial is a small
matrix, and all of them are computed side by side.

The sizes of the terms are not known. They are drawn from their posterior by importance sampling around its mode, and
the gains are drawn given each; so few people or few networks make wide intervals.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from study.search.answers import Contrast, Differences

_WIDE = 1.0
"""Standard deviation of the mean of all kinds, in units; differences lie within -1 and 1 of most units."""

_BETWEEN_KINDS = 0.3
"""Standard deviation of the kinds about their mean, and of covariates' slopes, in units."""

_LARGEST = 4.0
"""How many of their prior's standard deviations sizes may lie from its centre."""

_RESPONSE_POWER = 0.6
"""Gains, people and trainings weigh the more on a network the more answers it changed: as its unit, once in counting in
units and again to this power. Chosen so that a trial's interpolated networks fit with their adapted one."""

_JITTER = 1e-12
"""Added to variances that may vanish."""

_PROPOSALS = 24
"""Drawn sizes; the drawn gains are divided among them by their weights."""

_STEP = 0.05
"""Of finite differences, in standard deviations of the prior."""


@dataclass(frozen=True)
class Sizes:
    """How large the model's terms are; all but the correlation are standard deviations in units of a network.

    Attributes:
        spread: Of networks about their kind.
        kinship: Correlation of networks of one trial, in what they gain and in the noise of people and trainings; were
            these two correlations, their difference would seem to tell gains from noise.
        training: Noise of a training that another seed would replace.
        interaction: Of people with single trials: how differently one person takes to equally good networks.
        common: Of people with all networks.
    """

    spread: float
    kinship: float
    training: float
    interaction: float
    common: float


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


TARGET_PRIOR = Prior(Sizes(0.15, 0.9, 0.07, 0.12, 0.2), (0.8, 1.0, 0.5, 0.6, 0.6))
"""Medians and widths as seen on real faces: trainings differ by 1.5 to 7 points, people by some 5 to 20."""

SOURCE_PRIOR = Prior(Sizes(0.1, 0.9, 0.04, 1e-3, 0.03), (1.0, 1.0, 0.8, 0.01, 0.8))
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


def draw_gains(
    differences: Differences,
    trials: np.ndarray,
    kinds: np.ndarray,
    covariates: np.ndarray,
    prior: Prior,
    draws: int,
    rng: np.random.Generator,
) -> GainPosterior:
    """Draws the expected gains of all networks over the baseline, together.

    Args:
        differences: Of one domain.
        trials: (networks,) int.
        kinds: (networks,) int.
        covariates: (networks, k) what the expected gain may depend on linearly, standardised; k may be 0.
        prior: Of the sizes.
        draws: How many.
        rng: Of the draws; equal generators give equal draws.
    """
    model = _Model(differences, trials, kinds, covariates)
    mode = _find_mode(model, prior)
    positions, weights = _propose(model, prior, mode, rng)
    counts = rng.multinomial(draws, weights)

    parts = []
    for position, count in zip(positions, counts, strict=True):
        if count:
            parts.append(model.draw(prior.sizes(position), int(count), rng))
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


def _log_posterior(model: "_Model", prior: Prior, position: np.ndarray) -> float:
    """Returns the logarithm of the sizes' posterior density at a position, up to a constant."""
    return model.log_likelihood(prior.sizes(position)) - 0.5 * float(np.square(position).sum())


def _find_mode(model: "_Model", prior: Prior) -> np.ndarray:
    """Returns the position of the most probable sizes."""

    def loss(position: np.ndarray) -> float:
        return -_log_posterior(model, prior, position)

    bounds = [(-_LARGEST, _LARGEST)] * len(prior.widths)
    options = {"maxiter": 25, "eps": 1e-3, "ftol": 1e-6}
    return minimize(loss, np.zeros(len(prior.widths)), method="L-BFGS-B", bounds=bounds, options=options).x


def _propose(
    model: "_Model", prior: Prior, mode: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions (proposals, 5) about the mode, and their weights, which sum to 1."""
    # The curvature along each axis; at least half that of the prior, so that no axis runs away.
    at_mode = _log_posterior(model, prior, mode)
    curvature = np.empty(len(mode))
    for axis in range(len(mode)):
        step = np.zeros(len(prior.widths))
        step[axis] = 4 * _STEP
        both = _log_posterior(model, prior, mode + step) + _log_posterior(model, prior, mode - step)
        curvature[axis] = (2 * at_mode - both) / step[axis] ** 2
    widths = 1 / np.sqrt(np.clip(curvature, 0.5, None))

    # In pairs of opposite sides of the mode.
    half = rng.standard_normal((_PROPOSALS // 2, len(mode)))
    standard = np.concatenate([half, -half])
    positions = mode + 1.1 * widths * standard
    log_target = np.array([_log_posterior(model, prior, position) for position in positions])
    log_weights = log_target + 0.5 * np.square(standard).sum(1)
    # Not more than thrice the mean weight each: a few proposals are not to stand for all.
    weights = np.exp(log_weights - log_weights.max())
    for _ in range(10):
        weights = np.minimum(weights / weights.sum(), 3 / _PROPOSALS)
    return positions, weights / weights.sum()


class _Model:
    """The model's matrices, trials of one shape side by side.

    Args:
        differences: Of one domain.
        trials: (networks,) int.
        kinds: (networks,) int.
        covariates: (networks, k).
    """

    def __init__(self, differences: Differences, trials: np.ndarray, kinds: np.ndarray, covariates: np.ndarray) -> None:
        self.differences = differences
        self.response = (differences.units / differences.units.mean()) ** _RESPONSE_POWER
        networks = len(trials)
        kind_names, kind_of = np.unique(kinds, return_inverse=True)
        self.kinds = len(kind_names)
        self.slopes = self.kinds + covariates.shape[1]

        # What networks have in common: kinds and covariates; evaluations also the sample of images and the folds.
        self.of_network = np.zeros((networks, self.slopes + 1 + len(differences.fold_noise)))
        self.of_network[np.arange(networks), kind_of] = self.response
        self.of_network[:, self.kinds : self.slopes] = covariates * self.response[:, None]

        # Trials with equally many networks and evaluations are computed together.
        trial_of = np.unique(trials, return_inverse=True)[1]
        members = [np.flatnonzero(trial_of == trial) for trial in range(trial_of.max() + 1)]
        trial_of_row = trial_of[differences.networks]
        rows = [np.flatnonzero(trial_of_row == trial) for trial in range(len(members))]
        by_shape: dict[tuple[int, int], list[int]] = {}
        for trial in range(len(members)):
            by_shape.setdefault((len(members[trial]), len(rows[trial])), []).append(trial)
        self.batches = []
        for alike in by_shape.values():
            members_of_batch = np.stack([members[trial] for trial in alike])
            rows_of_batch = np.stack([rows[trial] for trial in alike])
            self.batches.append(_TrialBatch(self, members_of_batch, rows_of_batch))

    def _precision_of_shared(self, sizes: Sizes) -> tuple[np.ndarray, float]:
        """Returns the prior precision of what is common, and the logarithm of its determinant."""
        size = self.of_network.shape[1]
        covariance = np.zeros((size, size))
        covariance[: self.kinds, : self.kinds] = _WIDE**2
        covariance[: self.slopes, : self.slopes] += _BETWEEN_KINDS**2 * np.eye(self.slopes)
        covariance[self.slopes, self.slopes] = self.differences.lasting_common + 1e-9
        # On the source a fold has no people, but its training images move all networks.
        of_people = np.where(self.differences.people_weight > 0, self.differences.people_weight, 1.0)
        of_fold = sizes.common**2 * of_people + self.differences.common_noise
        covariance[self.slopes + 1 :, self.slopes + 1 :] = np.diag(of_fold)
        precision = np.linalg.inv(covariance)
        return precision, float(np.linalg.slogdet(precision)[1])

    def log_likelihood(self, sizes: Sizes) -> float:
        """Returns the log-likelihood of the sizes, gains and folds integrated out."""
        precision, prior_determinant = self._precision_of_shared(sizes)
        moment = np.zeros(len(precision))
        misfit = 0.0
        determinant = -prior_determinant
        for batch in self.batches:
            whitened = batch.whiten(sizes)
            moment += whitened.moment
            precision = precision + whitened.precision
            misfit += float(np.square(whitened.values).sum())
            determinant -= 2 * float(np.log(np.diagonal(whitened.root, axis1=1, axis2=2)).sum())
        misfit -= float(moment @ np.linalg.solve(precision, moment))
        determinant += float(np.linalg.slogdet(precision)[1])

        between_people = _log_density(self.differences.interaction, sizes.interaction)
        between_people += _log_density(self.differences.common, sizes.common)
        return between_people - 0.5 * (misfit + determinant)

    def draw(self, sizes: Sizes, count: int, rng: np.random.Generator) -> np.ndarray:
        """Returns gains (count, networks) in units, given the sizes."""
        precision, _ = self._precision_of_shared(sizes)
        whitened = [batch.whiten(sizes) for batch in self.batches]
        precision = precision + sum(part.precision for part in whitened)
        moment = sum(part.moment for part in whitened)

        # First what networks have in common, then each trial's networks given that.
        factor = np.linalg.inv(np.linalg.cholesky(precision))
        mean = factor.T @ (factor @ moment)
        common = mean + rng.standard_normal((count, len(mean))) @ factor
        gains = common @ self.of_network.T
        for batch, part in zip(self.batches, whitened, strict=True):
            gains[:, batch.members] += batch.draw_own(sizes, part, common, rng)
        return gains


@dataclass(frozen=True)
class _Whitened:
    """A batch's evaluations, made independent of each other given what is common.

    `root` (trials, rows, rows) does it; `design` (trials, rows, common) and `values` (trials, rows) are the result,
    `precision` and `moment` what they say of the common.
    """

    root: np.ndarray
    design: np.ndarray
    values: np.ndarray
    precision: np.ndarray
    moment: np.ndarray


class _TrialBatch:
    """Trials with equally many networks and evaluations.

    Args:
        model: With the differences and what is common.
        members: (trials, networks of each) indices.
        rows: (trials, evaluations of each) indices.
    """

    def __init__(self, model: _Model, members: np.ndarray, rows: np.ndarray) -> None:
        differences = model.differences
        network = differences.networks[rows]
        fold = differences.folds[rows]
        seed = differences.seeds[rows]
        self.members = members
        self.member_response = model.response[members]
        self.response = model.response[network]
        self.values = differences.values[rows]
        self.asked = members[:, :, None] == network[:, None, :]

        self.design = model.of_network[network]
        self.design[:, :, model.slopes] = self.response
        folds = np.eye(len(differences.fold_noise))
        self.design[:, :, model.slopes + 1 :] = folds[fold] * self.response[:, :, None]

        # Which pairs of evaluations have what in common.
        responses = self.response[:, :, None] * self.response[:, None, :]
        self.same_network = network[:, :, None] == network[:, None, :]
        same_fold = fold[:, :, None] == fold[:, None, :]
        same_training = same_fold & (seed[:, :, None] == seed[:, None, :])
        self.gain_term = responses
        self.training_term = responses * same_training
        self.people_term = responses * same_fold * differences.people_weight[fold][:, :, None]
        kin = differences.image_likeness
        images = same_fold * differences.fold_noise[fold][:, :, None] + differences.lasting_noise
        self.image_term = np.where(self.same_network, 1.0, kin) * images

    def whiten(self, sizes: Sizes) -> _Whitened:
        """Returns the evaluations made independent, given the sizes."""
        terms = sizes.spread**2 * self.gain_term + sizes.training**2 * self.training_term
        terms += sizes.interaction**2 * self.people_term
        covariance = np.where(self.same_network, terms, sizes.kinship * terms) + self.image_term
        root = np.linalg.inv(np.linalg.cholesky(covariance))
        design = root @ self.design
        values = (root @ self.values[:, :, None])[:, :, 0]
        flat = design.reshape(-1, design.shape[2])
        return _Whitened(root, design, values, flat.T @ flat, flat.T @ values.ravel())

    def draw_own(self, sizes: Sizes, whitened: _Whitened, common: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns what networks gain beyond the common, (draws, trials, networks of each), given (draws, common)."""
        # The regression of gains on evaluations, and what it leaves.
        variance = sizes.spread**2
        between = variance * np.where(self.asked, 1.0, sizes.kinship)
        between = between * self.member_response[:, :, None] * self.response[:, None, :]
        weights = between @ whitened.root.transpose(0, 2, 1)
        size = self.members.shape[1]
        prior = variance * (sizes.kinship + (1 - sizes.kinship) * np.eye(size))
        prior = prior * self.member_response[:, :, None] * self.member_response[:, None, :]
        left = prior - weights @ weights.transpose(0, 2, 1) + _JITTER * np.eye(size)

        residual = whitened.values - np.einsum("jer,dr->dje", whitened.design, common)
        own = np.einsum("jme,dje->djm", weights, residual)
        noise = rng.standard_normal((len(common), *self.members.shape))
        return own + np.einsum("jmk,djk->djm", np.linalg.cholesky(left), noise)


def _log_density(contrast: Contrast, size: float) -> float:
    """Returns the log-likelihood of a standard deviation between people, from how they differ within folds."""
    if not contrast.freedom:
        return 0.0
    expected = size**2 + contrast.noise
    return -0.5 * contrast.freedom * float(np.log(expected) + contrast.mean_square / expected)
