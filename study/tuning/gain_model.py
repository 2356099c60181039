"""A hierarchical model of what networks gain over the baseline, fitted to differences of several folds.

The difference that network c of trial j shows on fold f, in units of the network, is

    kind + covariates + trial_j + network_c      what is asked for: the gain to expect of other people and trainings
    + fold_f                                     people that all networks find easy or hard
    + (people_jf + images_jf) + training_jfs     noise of the trial's training, partly its own for each network

Each term is normal. Kinds are known up to a wide distribution, trial and network have a common spread, which is
estimated from all networks: this is empirical Bayes, so the best of many networks is drawn to the others as far as
their noise demands. Trials are independent of each other given kinds, covariates and folds, so every trial is a small
matrix, and trials of one shape are computed side by side.
"""

from dataclasses import dataclass

import numpy as np

from study.tuning.differences import Contrast, Differences

_WIDE = 1.0
"""Standard deviation of the mean of all kinds, in units; differences lie within -1 and 1 of most units."""

_BETWEEN_KINDS = 0.3
"""Standard deviation of the kinds about their mean, in units."""

_SLOPES = 0.05
"""Standard deviation of the slopes of standardised covariates, in units; wide ones make the best network optimistic."""

_RESPONSE_POWER = 0.6
"""Gains, people and trainings weigh the more on a network the more answers it changed: as its unit, once in counting in
units and again to this power. Chosen so that a trial's interpolated networks fit with their adapted one."""

_JITTER = 1e-12
"""Added to variances that may vanish."""


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


class GainModel:
    """The model's matrices, trials of one shape side by side.

    Args:
        differences: Of one domain.
        trials: (networks,) int.
        kinds: (networks,) int.
        covariates: (networks, k) what the expected gain may depend on linearly, standardised; k may be 0.
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
        covariance[: self.kinds, : self.kinds] += _BETWEEN_KINDS**2 * np.eye(self.kinds)
        slopes = slice(self.kinds, self.slopes)
        covariance[slopes, slopes] = _SLOPES**2 * np.eye(self.slopes - self.kinds)
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

    def __init__(self, model: GainModel, members: np.ndarray, rows: np.ndarray) -> None:
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
