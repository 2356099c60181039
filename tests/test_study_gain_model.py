"""The hierarchical model of gains against the same model written as one dense normal distribution."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from study.tuning.differences import Contrast, Differences
from study.tuning.gain_model import GainModel, Sizes
from study.tuning.gain_posterior import TARGET_PRIOR, draw_gains

SIZES = Sizes(spread=0.15, kinship=0.7, training=0.08, interaction=0.12, common=0.2)
NOTHING = Contrast(0.0, 0.0, 0.0)
TRIALS = np.array([0, 0, 1, 1, 2, 3])
KINDS = np.array([0, 1, 0, 1, 0, 0])
ROWS = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 1, 1), (2, 1, 0), (3, 1, 0), (4, 0, 0), (4, 2, 0)])
"""Network, fold and seed of each evaluation; network 5 has none."""


def made_differences(rng: np.random.Generator) -> Differences:
    """Returns differences of six networks on three folds."""
    return Differences(
        networks=ROWS[:, 0],
        folds=ROWS[:, 1],
        seeds=ROWS[:, 2],
        values=rng.normal(0.1, 0.2, len(ROWS)),
        units=np.array([0.6, 0.4, 0.5, 0.4, 0.6, 0.5]),
        images=np.array([20.0, 40.0, 80.0]),
        people_weight=np.array([1.0, 0.5, 0.3]),
        fold_noise=np.array([0.02, 0.01, 0.005]),
        common_noise=np.array([0.01, 0.01, 0.01]),
        lasting_noise=0.001,
        lasting_common=0.002,
        image_likeness=0.6,
        interaction=NOTHING,
        common=NOTHING,
    )


def dense(differences: Differences, sizes: Sizes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns covariances of gains, of gains with evaluations, and of evaluations, term by term as documented."""
    response = (differences.units / differences.units.mean()) ** 0.6
    same_trial = TRIALS[:, None] == TRIALS[None, :]
    kin = np.where(np.eye(len(TRIALS), dtype=bool), 1.0, sizes.kinship * same_trial)
    of_kinds = 1.0 + 0.3**2 * (KINDS[:, None] == KINDS[None, :])
    gains = np.outer(response, response) * (of_kinds + sizes.spread**2 * kin)

    network, fold, seed = ROWS.T
    same_fold = fold[:, None] == fold[None, :]
    same_seed = seed[:, None] == seed[None, :]
    people = differences.people_weight[fold][:, None]
    of_fold = sizes.common**2 * people + differences.common_noise[fold][:, None]
    of_noise = sizes.interaction**2 * people * same_fold + sizes.training**2 * (same_fold & same_seed)
    pair = np.ix_(network, network)
    signal = np.outer(response, response)[pair] * (
        same_fold * of_fold + differences.lasting_common + kin[pair] * of_noise
    )
    image_kin = np.where(np.eye(len(TRIALS), dtype=bool), 1.0, differences.image_likeness * same_trial)[pair]
    images = image_kin * (same_fold * differences.fold_noise[fold][:, None] + differences.lasting_noise)
    return gains, gains[:, network], gains[pair] + signal + images


def test_the_likelihood_is_that_of_the_dense_normal_distribution():
    differences = made_differences(np.random.default_rng(0))
    model = GainModel(differences, TRIALS, KINDS, np.zeros((6, 0)))
    other = Sizes(0.3, 0.4, 0.02, 0.2, 0.1)
    ratios = []
    for sizes in (SIZES, other):
        of_evaluations = dense(differences, sizes)[2]
        expected = multivariate_normal(np.zeros(len(ROWS)), of_evaluations).logpdf(differences.values)
        ratios.append(model.log_likelihood(sizes) - expected)
    assert ratios[0] == pytest.approx(ratios[1], abs=1e-4)


def test_draws_have_the_mean_and_covariance_of_the_dense_posterior():
    differences = made_differences(np.random.default_rng(1))
    model = GainModel(differences, TRIALS, KINDS, np.zeros((6, 0)))
    of_gains, between, of_evaluations = dense(differences, SIZES)
    weights = between @ np.linalg.inv(of_evaluations)

    draws = model.draw(SIZES, 40000, np.random.default_rng(2))

    mean = weights @ differences.values
    covariance = of_gains - weights @ between.T
    errors = np.sqrt(np.diag(covariance))
    assert (draws.mean(0) - mean) / errors == pytest.approx(np.zeros(6), abs=0.03)
    assert np.cov(draws.T) / np.outer(errors, errors) == pytest.approx(covariance / np.outer(errors, errors), abs=0.03)


def test_gains_are_counted_as_accuracies():
    differences = made_differences(np.random.default_rng(3))
    posterior = draw_gains(
        GainModel(differences, TRIALS, KINDS, np.zeros((6, 0))), TARGET_PRIOR, 500, np.random.default_rng(0)
    )
    assert posterior.draws.shape == (500, 6)
    assert posterior.noise.shape == (6, 3)
    assert (posterior.repeated[:, None] < posterior.noise).all()
    expected = TARGET_PRIOR.centres
    assert posterior.sizes.training == pytest.approx(expected.training, rel=2)
