"""Expected accuracies, probabilities of being on the front, race and recommendation: properties and closed forms."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from fer.expressions import EXPRESSIONS
from made_answers import Noise, World
from study.pareto import hypervolume, non_dominated
from study.tuning.answers import Comparison, Evaluation, SourceImages, TargetImages
from study.tuning.differences import source_differences, target_differences
from study.tuning.expected_accuracy import ExpectedAccuracies, ExpectedAccuracy, _rank, expect_accuracies
from study.tuning.front_probability import ExpectedFront, find_expected_front, front_probabilities
from study.tuning.race import Job, RaceRules, choose_next_job, has_settled
from study.tuning.recommendation_rule import (
    Choice,
    Obstacle,
    RecommendationRules,
    find_dead_expressions,
    recommend,
    simultaneous_bounds,
)

CHANCE = (1 / 7, 1 / 7)


def known(baseline: float, gains: np.ndarray, error: float = 0.0, seed: int = 0) -> ExpectedAccuracy:
    """Returns expected accuracies with gains (networks,) and equal, independent standard errors on two folds."""
    rng = np.random.default_rng(seed)
    gains = np.asarray(gains, float)
    draws = gains + error * rng.standard_normal((2000, len(gains)))
    noise = np.full((len(gains), 2), 0.1)
    return ExpectedAccuracy(baseline, 0.0, baseline + gains, draws, noise, np.full(len(gains), 0.05), np.zeros(2000))


def known_both(points: list[tuple[float, float]], error: float = 0.0, source_error: float = 0.0) -> ExpectedAccuracies:
    """Returns expected accuracies from gains on source and target, the baseline being 60 / 40."""
    source, target = np.array(points, float).T
    return ExpectedAccuracies(known(0.6, source, source_error), known(0.4, target, error, seed=1))


def compare(answers: list[np.ndarray], labels: np.ndarray, baseline: np.ndarray) -> Comparison:
    """Returns a comparison of networks that were all evaluated on the one fold; the source is always right."""
    size = len(labels)
    always = np.ones(50, bool)
    target = TargetImages(labels, np.arange(size) % 2, np.zeros(size, int), baseline)
    source = SourceImages(np.zeros(50, int), always)
    evaluations = [Evaluation(number, 0, 0, right, always) for number, right in enumerate(answers)]
    return Comparison(target, source, np.arange(len(answers)), np.zeros(len(answers), int), evaluations)


# --- the simulation itself


def test_the_planted_accuracies_are_what_many_people_and_trainings_show():
    world = World(3, people=1500, images=6000, trials=40, folds=1)
    shown = world.compare(world.one_fold_each())
    accuracy = np.array([evaluation.target_right.mean() for evaluation in shown.evaluations])
    assert world.target.baseline_right.mean() == pytest.approx(world.baseline_truth[1], abs=0.03)
    assert np.mean(accuracy - world.truth[:, 1]) == pytest.approx(0, abs=0.03)
    assert np.std(accuracy - world.truth[:, 1]) < 0.08  # a training's own noise stays


# --- differences


def test_a_difference_is_the_mean_of_wins_less_losses_in_the_networks_unit():
    baseline = np.array([1, 1, 0, 0, 0, 0], bool)
    better = np.array([1, 0, 1, 1, 1, 0], bool)
    found = target_differences(compare([better, baseline], np.zeros(6, int), baseline))
    assert found.values * found.units[found.networks] == pytest.approx([2 / 6, 0])
    assert found.units[0] > found.units[1] > 0


def test_people_weigh_a_fold_by_their_shares_of_its_images():
    baseline = np.zeros(8, bool)
    comparison = compare([~baseline], np.zeros(8, int), baseline)
    target = replace(comparison.target, subjects=np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    found = target_differences(replace(comparison, target=target))
    assert found.people_weight == pytest.approx([0.75**2 + 0.25**2])
    assert source_differences(comparison).people_weight == pytest.approx([0])


# --- expected accuracies


def test_equal_arguments_give_equal_results():
    world = World(1, 4, 80, 6)
    comparison = world.compare(world.one_fold_each())
    first, second = expect_accuracies(comparison), expect_accuracies(comparison)
    assert np.array_equal(first.target.draws, second.target.draws)
    assert np.array_equal(first.source.gains, second.source.gains)


def test_what_was_tried_on_an_easy_fold_is_not_favoured():
    # People differ much in what adaptation gives them, networks do not differ at all.
    noise = Noise(adapted_person=1.2, own_person=0.05, training=0.02)
    errors = []
    for seed in range(6):
        world = World(100 + seed, people=5, images=500, trials=30, points=(1.0,), equal=True, noise=noise)
        expected = expect_accuracies(world.compare(world.one_fold_each()), draws=400).target
        errors.append((np.std(expected.observed), np.std(expected.mean)))
    observed, corrected = np.mean(errors, 0)
    assert observed > 0.12
    assert corrected < observed / 4


def test_the_best_of_many_equal_networks_is_drawn_to_the_others():
    world = World(5, people=5, images=100, trials=60, points=(1.0,), equal=True)
    expected = expect_accuracies(world.compare(world.one_fold_each())).target
    observed_excess = np.nanmax(expected.observed) - np.nanmean(expected.observed)
    assert expected.mean.max() - expected.mean.mean() < observed_excess / 3


def test_more_folds_make_gains_surer():
    world = World(6, people=10, images=300, trials=12)
    once = world.one_fold_each()
    everywhere = [(trial, fold, 0) for trial in range(12) for fold in range(world.folds)]
    less, more = (expect_accuracies(world.compare(trainings)).target for trainings in (once, everywhere))
    assert more.gain_error.mean() < 0.85 * less.gain_error.mean()


def test_an_order_of_networks_is_surer_than_their_accuracies():
    world = World(7, people=3, images=300, trials=12)
    expected = expect_accuracies(world.compare(world.one_fold_each())).target
    adapted = expected.gains[:, :: len(world.points)]
    differences = adapted - adapted.mean(1, keepdims=True)
    assert differences.std(0).mean() < 0.7 * expected.error[:: len(world.points)].mean()


def test_a_network_that_changes_nothing_gains_nothing():
    world = World(8, people=6, images=300, trials=12, points=(1.0,))
    comparison = world.compare(world.one_fold_each())
    first = comparison.evaluations[0]
    images = comparison.target.images_of(first.fold)
    unchanged = replace(
        first,
        target_right=comparison.target.baseline_right[images],
        source_right=comparison.source.baseline_right,
    )
    kinds = np.array([1] + [0] * 11)
    same = replace(comparison, evaluations=[unchanged, *comparison.evaluations[1:]], kinds=kinds)
    expected = expect_accuracies(same)
    assert abs(expected.target.gains.mean(0)[0]) < 0.02
    assert expected.target.gain_error[0] < 0.5 * np.median(expected.target.gain_error)
    assert expected.source.gain_error[0] < 0.5 * np.median(expected.source.gain_error)


@pytest.mark.parametrize("people, images", [(1, 20), (1, 300), (30, 30)])
def test_extreme_sizes_give_finite_numbers(people, images):
    world = World(9, people, images, trials=5)
    comparison = world.compare([(trial, 0, 0) for trial in range(3)])  # two trials are not evaluated at all
    expected = expect_accuracies(comparison, draws=200)
    low, high = expected.target.interval(0.9)
    assert np.isfinite(expected.points).all()
    assert (low >= 0).all() and (high <= 1).all() and (low < high).all()
    assert np.isnan(expected.observed[9:]).all() and np.isfinite(expected.observed[:9]).all()
    assert np.isfinite(find_expected_front(expected, CHANCE).probabilities).all()


def test_one_person_makes_wider_intervals_than_ten():
    widths = []
    for people in (1, 10):
        world = World(11, people, 300, trials=10)
        low, high = expect_accuracies(world.compare(world.one_fold_each())).target.interval(0.9)
        widths.append(float(np.mean(high - low)))
    assert widths[0] > 1.5 * widths[1]


def test_without_an_evaluation_nothing_is_expected():
    with pytest.raises(ValueError, match="at least one evaluation"):
        expect_accuracies(World(1, 2, 20, 2).compare([]))


# --- front


def test_probabilities_are_the_shares_of_draws_on_the_front():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 6, (2, 50, 12)).astype(float)  # with ties
    counted = [non_dominated(np.stack([first[row], second[row]], 1)) for row in range(50)]
    found = front_probabilities(first, second)
    assert found == pytest.approx(np.mean(counted, 0))


def test_equal_points_lead_together_where_one_of_them_does():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 4, (2, 40, 10)).astype(float)
    counted = []
    for row in range(40):
        points = np.stack([first[row], second[row]], 1)
        as_good = (points[:, None] >= points[None]).all(2)
        better = (points[:, None] > points[None]).any(2)
        counted.append(~(as_good & better).any(0))
    assert front_probabilities(first, second, equals_lead=True) == pytest.approx(np.mean(counted, 0))


def test_what_is_useful_is_better_by_a_point_and_a_crowd_beside_the_baseline_is_not():
    crowd = [(-0.001 * number, 0.0005 * number) for number in range(1, 9)]
    front = find_expected_front(known_both([(-0.05, 0.1), *crowd]), CHANCE)
    assert front.probabilities.tolist() == [1] * 9  # none dominates another
    assert front.useful.tolist() == [1] + [0] * 8
    assert front.baseline_useful == 1


def test_the_crowd_is_of_no_use_although_single_draws_of_its_gains_round_to_a_point():
    crowd = [(-0.001 * number, 0.0005 * number) for number in range(1, 9)]
    front = find_expected_front(known_both([(-0.05, 0.1), *crowd], error=0.02), CHANCE)
    assert front.useful[0] > 0.5 and front.useful[1:].tolist() == [0] * 8


def test_sure_accuracies_have_the_front_and_hypervolume_of_their_points():
    expected = known_both([(-0.1, 0.2), (-0.2, 0.1), (0.1, -0.1)])
    front = find_expected_front(expected, CHANCE)
    assert front.probabilities.tolist() == [1, 0, 1]
    assert front.baseline_probability == 1 and front.baseline_on_front
    assert front.on_front.tolist() == [True, False, True]
    points = [(0.6, 0.4), (0.5, 0.6), (0.7, 0.3)]
    assert front.hypervolume == pytest.approx(hypervolume(points, CHANCE))
    assert front.optimism == pytest.approx(0)


def test_of_two_networks_that_keep_alike_each_leads_with_the_probability_of_a_larger_gain():
    expected = known_both([(-0.1, 0.2), (-0.1, 0.23)], error=0.03)
    front = find_expected_front(expected, CHANCE)
    larger = norm.cdf(0.03 / (0.03 * np.sqrt(2)))
    assert front.probabilities == pytest.approx([1 - larger, larger], abs=0.04)


def test_what_was_observed_on_several_folds_weighs_them_by_their_images():
    folds = np.repeat([0, 1], [30, 10])
    target = TargetImages(np.zeros(40, int), np.arange(40), folds, np.arange(40) % 2 == 0)
    source = SourceImages(np.zeros(50, int), np.ones(50, bool))
    right = np.arange(40) % 4 < 3
    evaluations = [Evaluation(0, fold, 0, right[folds == fold], np.ones(50, bool)) for fold in (0, 1)]
    comparison = Comparison(target, source, np.zeros(1, int), np.zeros(1, int), evaluations)
    assert expect_accuracies(comparison, draws=50).target.observed[0] == pytest.approx(right.mean())


# --- race


def state(points, error, evaluated, folds=2):
    """Returns comparison, expected accuracies and front of networks that were evaluated on (network, fold, seed)."""
    size = 10 * folds
    target = TargetImages(np.zeros(size, int), np.arange(size), np.arange(size) % folds, np.zeros(size, bool))
    source = SourceImages(np.zeros(5, int), np.ones(5, bool))
    evaluations = [
        Evaluation(network, fold, seed, np.ones(10, bool), np.ones(5, bool)) for network, fold, seed in evaluated
    ]
    count = len(points)
    comparison = Comparison(target, source, np.arange(count), np.zeros(count, int), evaluations)
    expected = known_both(points, error, error)
    return comparison, expected, find_expected_front(expected, CHANCE)


CLOSE = [(-0.1, 0.2), (-0.1, 0.21), (-0.4, -0.3)]
ONCE = [(0, 0, 0), (1, 1, 0), (2, 0, 0)]
HOWEVER_LITTLE = RaceRules(least_share=0.0)
"""Asks for trainings that tell little as well."""


def test_the_race_asks_for_a_missing_fold_of_an_undecided_network():
    job = choose_next_job(*state(CLOSE, 0.03, ONCE), np.arange(3), [1, 1, 1], (), HOWEVER_LITTLE)
    assert job is not None
    assert job.training in (0, 1)
    assert (job.training, job.fold) in ((0, 1), (1, 0)) and job.seed == 0
    assert job == choose_next_job(*state(CLOSE, 0.03, ONCE), np.arange(3), [1, 1, 1], (), HOWEVER_LITTLE)


@pytest.mark.parametrize("cheap", [0, 1])
def test_of_equally_undecided_networks_the_cheaper_is_trained(cheap):
    costs = [2.0, 2.0, 2.0]
    costs[cheap] = 1.0
    job = choose_next_job(*state(CLOSE, 0.03, ONCE), np.arange(3), costs, (), HOWEVER_LITTLE)
    assert job is not None and job.training == cheap


def test_a_running_job_is_not_given_twice_and_seeds_follow_folds():
    now = state(CLOSE, 0.03, ONCE)
    jobs: list[Job] = []
    rules = replace(HOWEVER_LITTLE, max_seeds=2)
    while (job := choose_next_job(*now, np.arange(3), [1, 1, 1], jobs, rules)) is not None:
        jobs.append(job)
    cells = [(job.training, job.fold, job.seed) for job in jobs]
    assert len(set(cells)) == len(cells)
    assert set(cells) == {(0, 1, 0), (1, 0, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1), (1, 1, 1)}
    assert all(job.seed == 0 for job in jobs[:2])


def test_a_network_that_is_improbable_on_the_front_is_out():
    comparison, expected, front = state(CLOSE, 0.03, ONCE)
    assert front.probabilities[2] < 0.05
    for _ in range(20):
        job = choose_next_job(comparison, expected, front, np.arange(3), [1, 1, 0.001], (), HOWEVER_LITTLE)
        assert job is not None and job.training != 2


def test_a_training_that_would_tell_too_little_is_not_asked_for():
    comparison, expected, front = state(CLOSE, 0.03, ONCE)
    variance = np.square(expected.target.gain_error[0])
    told = variance / (variance + np.square(expected.target.noise[0, 1]))
    for least, is_asked_for in ((0.9 * told, True), (1.2 * told, False)):
        rules = RaceRules(least_share=float(least), max_seeds=1)
        job = choose_next_job(comparison, expected, front, np.arange(3), [1, 1, 1], (), rules)
        assert (job is not None) == is_asked_for

    # A training on every fold tells of each.
    rules = RaceRules(least_share=float(1.2 * told), max_seeds=1, every_fold=True)
    assert choose_next_job(comparison, expected, front, np.arange(3), [1, 1, 1], (), rules) is not None


def test_networks_of_one_training_are_evaluated_together():
    job = choose_next_job(*state(CLOSE, 0.03, ONCE), np.array([0, 0, 1]), [1, 1], (), HOWEVER_LITTLE)
    assert job is not None and job.networks == (0, 1)


def test_the_race_ends_when_the_front_has_settled():
    settled = state([(-0.1, 0.2), (-0.3, -0.1)], 0.001, ONCE[:2])
    assert has_settled(settled[2])
    assert choose_next_job(*settled, np.arange(2), [1, 1]) is None
    unsure = ExpectedFront(np.array([0.5, 0.5]), 1.0, np.array([0.5, 0.5]), 1.0, np.ones(2, bool), True, 0.3, 0.3)
    assert not has_settled(unsure)
    assert has_settled(unsure, RaceRules(settled_at=0.5))


# --- recommendation


def advise(points, error=0.0, source_error=0.0, rules=None) -> Choice:
    """Returns what is recommended among networks whose answers are all right."""
    right = np.ones(20, bool)
    return recommend(compare([right] * len(points), np.zeros(20, int), right), known_both(points, error, source_error))


def test_the_best_target_accuracy_that_keeps_enough_is_recommended_with_its_neighbours():
    choice = advise([(-0.005, 0.05), (-0.02, 0.1), (-0.025, 0.15), (-0.1, 0.3), (-0.2, 0.4), (-0.021, 0.12)])
    assert (choice.network, choice.keeps_more, choice.learns_more) == (2, 5, 3)
    assert choice.obstacle is None


@pytest.mark.parametrize(
    "points, error, obstacle",
    [
        ([(-0.1, 0.3), (-0.2, 0.4)], 0.0, Obstacle.FORGETS),
        ([(-0.01, -0.1), (0.0, 0.0)], 0.0, Obstacle.NO_GAIN),
        ([(-0.01, 0.05), (-0.01, 0.04)], 0.05, Obstacle.NO_GAIN),
    ],
)
def test_what_does_not_surely_beat_the_baseline_is_not_recommended(points, error, obstacle):
    choice = advise(points, error)
    assert choice.network is None and choice.obstacle is obstacle


def test_keeping_enough_must_be_probable_not_only_expected():
    assert advise([(-0.025, 0.2)], source_error=0.001).network == 0
    assert advise([(-0.025, 0.2)], source_error=0.02).obstacle is Obstacle.FORGETS


def test_simultaneous_bounds_of_one_network_and_of_its_copies_are_students():
    draws = np.random.default_rng(0).normal(0.2, 0.05, (20000, 1))
    one = simultaneous_bounds(draws, 0.95)
    assert one == pytest.approx([0.2 - 1.645 * 0.05], abs=0.002)
    assert simultaneous_bounds(np.repeat(draws, 5, 1), 0.95) == pytest.approx(np.repeat(one, 5))


def test_simultaneous_bounds_of_independent_networks_are_sidaks():
    draws = np.random.default_rng(1).normal(0, 1, (40000, 20))
    quantile = norm.ppf(0.95 ** (1 / 20))
    assert simultaneous_bounds(draws, 0.95).mean() == pytest.approx(-quantile, abs=0.05)


def died(before: list[int], after: list[int]) -> bool:
    """Returns whether the one expression of these images has died on the target."""
    labels = np.full(len(before), 6)
    comparison = compare([np.array(after, bool)], labels, np.array(before, bool))
    return find_dead_expressions(comparison) == ((EXPRESSIONS[6],),)


def test_three_images_kill_no_expression():
    patterns = list(itertools.product([0, 1], repeat=3))
    assert not any(died(list(before), list(after)) for before in patterns for after in patterns)


def test_an_expression_dies_where_recognition_falls_to_chance():
    assert died([1] * 29 + [0] * 21, [1] + [0] * 49)  # 58 to 2 %
    assert not died([1] * 29 + [0] * 21, [1] * 10 + [0] * 40)  # 58 to 20 %: above chance
    assert not died([1] * 7 + [0] * 43, [0] * 50)  # 14 to 0 %: never recognised


def test_a_network_in_which_an_expression_died_is_not_recommended():
    labels = np.repeat([0, 6], 30)
    dead = np.repeat([True, False], 30)
    comparison = compare([dead, np.ones(60, bool)], labels, np.ones(60, bool))
    assert recommend(comparison, known_both([(0, 0.3), (0, 0.2)])).network == 1
    choice = recommend(comparison, known_both([(0, 0.3), (-0.2, 0.2)]))
    assert choice.obstacle is Obstacle.DIED and choice.died[0] == ("neutral",)


def test_a_promise_to_keep_less_admits_more():
    right = np.ones(20, bool)
    comparison = compare([right], np.zeros(20, int), right)
    expected = known_both([(-0.1, 0.3)])
    assert recommend(comparison, expected).network is None
    assert recommend(comparison, expected, RecommendationRules(keep=0.8)).network == 0


def test_equal_gains_share_the_mean_of_their_ranks():
    gains = np.random.default_rng(1).integers(0, 5, 40) / 7
    np.testing.assert_array_equal(_rank(gains), rankdata(gains))
