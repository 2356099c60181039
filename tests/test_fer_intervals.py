"""Intervals and tests against closed forms, published values and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtri

from fer.evaluation.intervals import Estimate, Variance, estimate, holm


def alone(count: int) -> np.ndarray:
    """Returns a person for each of some images."""
    return np.arange(count)


def with_error(mean: float, error: float, freedom: float, people: int) -> Estimate:
    """Returns an estimate whose error is of one kind."""
    return Estimate(mean, error, (Variance(1.0, freedom),), people)


# --- closed forms


def test_one_image_per_person_and_one_seed_is_students_t_of_the_images():
    values = np.array([1.0, 0, 0.5, 0.25, 1, 1, 0])
    found = estimate(values, alone(7))
    assert found.mean == pytest.approx(values.mean())
    assert found.error == pytest.approx(values.std(ddof=1) / math.sqrt(7))
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    low, high = stats.t.interval(0.9, 6, values.mean(), values.std(ddof=1) / math.sqrt(7))
    assert found.interval_of_difference(0.9) == pytest.approx((low, min(1.0, high)))


def test_images_of_one_person_count_as_their_mean_where_all_have_as_many():
    rng = np.random.default_rng(1)
    of_person = rng.random(6)
    values, subjects = np.repeat(of_person, 20), np.repeat(np.arange(6), 20)
    found, means = estimate(values, subjects), estimate(of_person, alone(6))
    assert (found.mean, found.error, found.p_value) == pytest.approx((means.mean, means.error, means.p_value))
    shuffled = rng.permutation(120)
    again = estimate(values[shuffled], subjects[shuffled])
    assert (again.mean, again.error) == pytest.approx((found.mean, found.error))


def test_people_of_different_size_are_weighed_by_the_jackknife():
    values, subjects = np.array([1, 1, 1, 0, 1, 0.0]), np.array([0, 0, 0, 0, 1, 2])
    without = np.array([0.5, 3 / 5, 4 / 5])
    expected = 2 / 3 * np.square(without - 4 / 6).sum()
    assert estimate(values, subjects).error == pytest.approx(math.sqrt(expected))


def test_a_shift_common_to_all_people_is_the_seeds_variance():
    shift = np.array([[0.0], [0.2], [0.1], [-0.1]])
    values = np.tile(np.linspace(0.4, 0.6, 5), (4, 1))

    found, without = estimate(values + shift, alone(5)), estimate(values, alone(5))

    of_people, of_seeds = found.variances
    assert (of_people.size, of_people.freedom) == pytest.approx((without.error**2, 4))
    assert (of_seeds.size, of_seeds.freedom) == pytest.approx((shift.var(ddof=1) / 4, 3))


def test_the_quantile_of_two_variances_is_the_mean_of_theirs():
    found = Estimate(0.0, 0.2, (Variance(0.03, 9), Variance(0.01, 1)), 10)
    quantile = 0.75 * stats.t.ppf(0.975, 9) + 0.25 * stats.t.ppf(0.975, 1)
    assert found.interval_of_difference(0.95)[1] == pytest.approx(0.2 * quantile)


@pytest.mark.parametrize("freedoms", [(9, 4), (2, 1), (1e5, 4), (7, 7)], ids=str)
@pytest.mark.parametrize("share", [0.0, 1e-9, 0.25, 1.0])
@pytest.mark.parametrize("p_value", [1.0, 0.9, 0.05, 1e-3, 1e-9, 1e-14])
def test_the_p_value_of_two_variances_is_where_their_quantile_meets_the_mean(p_value, share, freedoms):
    variances = (Variance(0.04 * (1 - share), freedoms[0]), Variance(0.04 * share, freedoms[1]))
    quantiles = stats.t.isf(p_value / 2, freedoms)
    mean = 0.2 * ((1 - share) * quantiles[0] + share * quantiles[1])
    assert Estimate(mean, 0.2, variances, 10).p_value == pytest.approx(p_value, rel=1e-9, abs=0)
    assert Estimate(-mean, 0.2, variances, 10).p_value == pytest.approx(p_value, rel=1e-9, abs=0)


@pytest.mark.parametrize("errors_away", [1e3, 1e300])
def test_a_p_value_of_two_variances_has_a_smallest_value(errors_away):
    assert Estimate(errors_away, 1.0, (Variance(0.5, 59), Variance(0.5, 59)), 60).p_value == 1e-15


@pytest.mark.parametrize("people, seeds", [(3, 2), (3, 5), (6, 3), (40, 5)])
def test_errors_are_those_of_the_two_way_analysis_of_variance(people, seeds):
    values = np.random.default_rng(people).random((seeds, people))
    of_seed, of_person, mean = values.mean(1, keepdims=True), values.mean(0), values.mean()
    square_of_people = seeds * np.square(of_person - mean).sum() / (people - 1)
    square_of_seeds = people * np.square(of_seed - mean).sum() / (seeds - 1)
    square_of_both = np.square(values - of_seed - of_person + mean).sum() / ((seeds - 1) * (people - 1))
    square_of_people_alone = max(square_of_people - square_of_both, square_of_people / (people - 1))
    if seeds == 2:
        square_of_people_alone = square_of_people
    variance = max(square_of_people, square_of_people_alone + square_of_seeds) / (seeds * people)
    assert estimate(values, alone(people)).error == pytest.approx(math.sqrt(variance))


def test_repeating_one_seed_adds_nothing():
    rng = np.random.default_rng(2)
    row, subjects = rng.random(30) < 0.6, np.repeat(np.arange(6), 5)
    once, five = estimate(row, subjects), estimate(np.tile(row, (5, 1)), subjects)
    assert (five.mean, five.error, five.p_value) == pytest.approx((once.mean, once.error, once.p_value))


@pytest.mark.parametrize("right, count, low, high", [(57, 67, 74.7, 91.7), (52, 58, 79.2, 95.2)])
def test_the_interval_of_a_share_is_wilsons_where_answers_are_independent(right, count, low, high):
    share = right / count
    many = with_error(share, math.sqrt(share * (1 - share) / count), 1e9, count)
    assert [round(100 * end, 1) for end in many.interval_of_share(0.95)] == [low, high]


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
@pytest.mark.parametrize("people", [2, 3, 10, 200])
def test_an_interval_excludes_zero_exactly_where_its_p_value_is_small(people, level):
    rng = np.random.default_rng(people)
    for shift in (0.0, 0.1, 0.3, 0.6):
        values = np.clip(rng.normal(shift, 0.3, (3, 4 * people)), -1, 1)
        found = estimate(values, np.repeat(np.arange(people), 4))
        low, high = found.interval_of_difference(level)
        assert (low > 0 or high < 0) == (found.p_value < 1 - level)


@pytest.mark.parametrize("seeds", [1, 5])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_one_person_says_nothing_about_others(share, seeds):
    right = np.tile(np.arange(20) < 20 * share, (seeds, 1))
    found = estimate(right, np.zeros(20, int))
    assert found.interval_of_share(0.95) == (0.0, 1.0) and found.interval_of_difference(0.95) == (-1.0, 1.0)
    assert found.p_value == 1 and found.detectable(0.95) == math.inf


@pytest.mark.parametrize("people", [2, 3, 10])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_people_who_are_all_alike_leave_an_interval_that_more_people_narrow(people, share):
    right = np.tile(np.arange(5) < 5 * share, (3, people))
    low, high = estimate(right, np.repeat(np.arange(people), 5)).interval_of_share(0.95)
    more = estimate(np.tile(right, 2), np.repeat(np.arange(2 * people), 5)).interval_of_share(0.95)
    assert low <= share <= high and 0 < more[1] - more[0] < high - low <= 1


@pytest.mark.parametrize("people", [2, 3, 10])
def test_the_same_small_gain_of_few_people_is_not_certain(people):
    gain = np.tile([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], people)
    found = estimate(gain, np.repeat(np.arange(people), 10))
    assert found.p_value > (0.05 if people <= 3 else 0.001)
    same = estimate(np.zeros(10 * people), np.repeat(np.arange(people), 10))
    assert same.p_value == 1 and same.interval_of_difference(0.95)[1] > 0


@pytest.mark.parametrize("people", [5, 30])
def test_a_detectable_difference_is_found_four_times_in_five(people):
    rng = np.random.default_rng(people)
    found = [estimate(rng.normal(0, 0.1, people), alone(people)) for _ in range(500)]
    error = np.sqrt(np.mean([one.error**2 for one in found]))

    difference = with_error(0.0, float(error), people - 1, people).detectable(0.95)

    power = np.mean([with_error(one.mean + difference, one.error, people - 1, people).p_value < 0.05 for one in found])
    assert power == pytest.approx(0.8, abs=0.06)


def test_holm_steps_down_and_never_lets_a_larger_p_overtake():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.2]) == [0.2]


def test_holm_agrees_with_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(6).random(20) ** 3
    assert holm(p_values.tolist()) == pytest.approx(multitest.multipletests(p_values, method="holm")[1].tolist())


# --- simulation

REPEATS = {3: 2000, 10: 1000, 30: 700}
"""Draws by how many people there are; those of few are quick."""
SEQUENCES, FRAMES = 4, 5
# Deviations of what moves an answer, before it is right or wrong. Frames of one sequence are near-copies.
PERSON, SEQUENCE, FRAME, SEED, SEED_AND_PERSON, SEED_AND_SEQUENCE, NOISE = 0.5, 0.7, 0.2, 0.15, 0.25, 0.5, 0.2
LIKE_JAFFE, LIKE_CK = (4, 4), (1, 4)
"""The fewest and most sequences of a person."""


def draw_answers(
    rng: np.random.Generator, people: int, seeds: int, sequences: tuple[int, int], share: float, paired: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draws answers of networks of which `share` are right, over all people and, where there are several, all seeds.

    Returns:
        Answers (repeats, seeds, people, SEQUENCES, FRAMES), the differences of two equally good networks where they are
        paired, and which sequences there are (repeats, people, SEQUENCES).
    """

    repeats = REPEATS[people]

    def normal(deviation: float, *shape: int) -> np.ndarray:
        return deviation * rng.standard_normal((repeats, *shape), dtype=np.float32)

    def one_network(seeds: int, varies: bool) -> np.ndarray:
        chance = images + normal(SEED_AND_PERSON, seeds, people, 1, 1)
        chance = chance + normal(SEED_AND_SEQUENCE, seeds, people, SEQUENCES, 1)
        chance = chance + normal(NOISE, seeds, people, SEQUENCES, FRAMES)
        # One training says nothing about others: its own level is then what the interval is about.
        deviations = [PERSON, SEQUENCE, FRAME, SEED_AND_PERSON, SEED_AND_SEQUENCE, NOISE]
        if varies:
            chance = chance + normal(SEED, seeds, 1, 1, 1)
            deviations.append(SEED)
        return chance + ndtri(share) * math.hypot(*deviations) > 0

    images = normal(PERSON, 1, people, 1, 1) + normal(SEQUENCE, 1, people, SEQUENCES, 1)
    images = images + normal(FRAME, 1, people, SEQUENCES, FRAMES)
    there = np.arange(SEQUENCES) < rng.integers(sequences[0], sequences[1] + 1, (repeats, people, 1))
    answers = one_network(seeds, seeds > 1).astype(np.int8)
    if paired:
        answers = answers - one_network(1, False)
    return answers, there


def estimates(answers: np.ndarray, there: np.ndarray) -> list[Estimate]:
    """Returns an estimate for each repeat."""
    shape = (answers.shape[2], SEQUENCES, FRAMES)
    subjects = np.broadcast_to(np.arange(answers.shape[2])[:, None, None], shape)
    found = []
    for values, present in zip(answers, there, strict=True):
        kept = np.broadcast_to(present[..., None], shape)
        found.append(estimate(values[:, kept], subjects[kept]))
    return found


CELLS = list(itertools.product((3, 10, 30), (1, 5)))
CASES = [(LIKE_JAFFE, 0.6), (LIKE_CK, 0.8)]


@pytest.mark.parametrize("sequences, share", CASES)
@pytest.mark.parametrize("people, seeds", CELLS)
def test_intervals_of_accuracies_cover_what_they_promise(people, seeds, sequences, share):
    rng = np.random.default_rng(people)
    found = estimates(*draw_answers(rng, people, seeds, sequences, share))
    intervals = np.array([one.interval_of_share(0.95) for one in found])
    covered = np.mean((intervals[:, 0] <= share) & (share <= intervals[:, 1]))
    # Three people, one training: Wilson's form errs on the wide side; every other that was tried errs on the narrow
    # side elsewhere (docs/experiments.md).
    most = 0.99 if (people, seeds) == (3, 1) else 0.97
    assert 0.93 <= covered <= most


@pytest.mark.parametrize("sequences, share", CASES)
@pytest.mark.parametrize("people, seeds", [*CELLS, *itertools.product((3, 10, 30), (2, 3))])
def test_of_equally_good_networks_few_are_called_different(people, seeds, sequences, share):
    rng = np.random.default_rng(100 + people)
    found = estimates(*draw_answers(rng, people, seeds, sequences, share, paired=True))
    assert np.mean([one.p_value < 0.05 for one in found]) <= 0.06


@pytest.mark.parametrize("people", [10, 40])
@pytest.mark.parametrize("ratio, seeds", list(itertools.product((0, 3, 10), (2, 3, 5))))
def test_seeds_that_move_all_people_together_do_not_make_false_positives(ratio, people, seeds):
    """`ratio` is what seeds alone add to the variance of the mean, over what each answer's own noise adds."""
    rng = np.random.default_rng([ratio, people, seeds])
    shift = math.sqrt(ratio / people) * rng.normal(size=(2500, seeds, 1))
    values = shift + rng.normal(size=(2500, seeds, people))
    p_values = np.array([estimate(one, alone(people)).p_value for one in values])
    assert np.mean(p_values < 0.05) <= 0.06


@pytest.mark.parametrize("seeds, ratio", [(3, 0), (3, 3), (5, 0), (5, 3)])
def test_a_strict_test_is_not_deceived_by_seeds_that_happen_to_agree(seeds, ratio):
    rng = np.random.default_rng([seeds, ratio])
    people, repeats, level = 60, 6000, 0.001
    shift = math.sqrt(ratio / people) * rng.normal(size=(repeats, seeds, 1))
    values = shift + rng.normal(size=(repeats, seeds, people))

    p_values = np.array([estimate(one, alone(people)).p_value for one in values])

    assert np.mean(p_values < level) <= level
