"""Whether stated probabilities, intervals and recommendations hold where the truth is planted.

Constants of `study.tuning` were chosen on other seeds than these.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest

from made_answers import World
from study.pareto import hypervolume, non_dominated
from study.tuning.answers import Comparison
from study.tuning.expected_accuracy import ExpectedAccuracies, expect_accuracies
from study.tuning.front_probability import ExpectedFront, find_expected_front
from study.tuning.race import Job, choose_next_job
from study.tuning.recommendation_rule import recommend

REFERENCE = (1 / 7, 1 / 7)
FEW = ((3, 60), (5, 100), (7, 140), (7, 150), (10, 200))
"""People and images of targets on which each trial is trained on every fold."""
SIZES = ((1, 20), (1, 200), (2, 60), (3, 60), (3, 300), (5, 200), (7, 140), (10, 200), (20, 400), (30, 700))
"""People and images."""


@dataclass
class Outcome:
    """A world, what was concluded about it, and what a race spent."""

    world: World
    comparison: Comparison
    expected: ExpectedAccuracies
    front: ExpectedFront

    @property
    def truly_on_front(self) -> np.ndarray:
        """(networks,) whether each network is on the planted front."""
        return non_dominated(np.vstack([self.world.baseline_truth, self.world.truth]))[1:]


def conclude(world: World, trainings: list[tuple[int, int, int]], draws: int = 500) -> Outcome:
    """Returns what follows from trainings of trial, fold and seed."""
    return conclude_from(world, world.compare(trainings), draws)


def conclude_from(world: World, comparison: Comparison, draws: int) -> Outcome:
    """Returns what follows from what is known of a world's networks."""
    expected = expect_accuracies(comparison, draws=draws)
    return Outcome(world, comparison, expected, find_expected_front(expected, REFERENCE))


def promote(world: World, share: float = 0.4) -> Outcome:
    """Returns what follows when each trial has one fold, and those most probably on the front have all."""
    trainings = world.one_fold_each()
    if world.folds == 1:
        return conclude(world, trainings)
    first = conclude(world, trainings, draws=200)
    of_trial = first.front.probabilities.reshape(world.trials, -1).max(1)
    best = np.argsort(-of_trial, kind="stable")[: max(1, int(share * world.trials))]
    more = [(int(trial), fold, 0) for trial in best for fold in range(world.folds) if fold != trial % world.folds]
    return conclude(world, trainings + more)


def race(world: World, jobs: int, batch: int = 10) -> Outcome:
    """Returns what follows from a race of some jobs, chosen in batches."""
    trainings = world.one_fold_each()
    outcome = conclude(world, trainings, draws=300)
    left = jobs
    while left:
        chosen: list[Job] = []
        for _ in range(min(batch, left)):
            job = choose_next_job(
                outcome.comparison, outcome.expected, outcome.front, world.trial_of, [1.0] * world.trials, chosen
            )
            if job is None:
                break
            chosen.append(job)
        if not chosen:
            break
        left -= len(chosen)
        trainings = trainings + [(job.training, job.fold, job.seed) for job in chosen]
        outcome = conclude(world, trainings, draws=300)
    return outcome


def pool(outcomes: Iterable[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Returns all networks' stated probabilities of being on the front, and whether they are."""
    pairs = [(outcome.front.probabilities, outcome.truly_on_front) for outcome in outcomes]
    return np.concatenate([stated for stated, _ in pairs]), np.concatenate([true for _, true in pairs])


def test_what_is_probably_on_the_front_is():
    worlds = [World(70000 + seed, *SIZES[seed % len(SIZES)], trials=8) for seed in range(40)]
    stated, true = pool(conclude(world, world.one_fold_each(), draws=300) for world in worlds)
    for low, high in ((0.1, 0.3), (0.3, 0.6), (0.6, 1.01)):
        is_meant = (stated >= low) & (stated < high)
        assert is_meant.sum() > 20
        assert true[is_meant].mean() == pytest.approx(stated[is_meant].mean(), abs=0.15)


def test_the_best_expected_accuracy_is_not_optimistic_as_the_best_observed_is():
    off = []
    for seed in range(20):
        world = World(78000 + seed, people=8, images=200, trials=30, points=(1.0,))
        accuracies = conclude(world, world.one_fold_each(), draws=200).expected.target
        gains = world.truth[:, 1] - world.baseline_truth[1]
        observed, expected = int(np.nanargmax(accuracies.observed)), int(np.argmax(accuracies.mean))
        off.append(
            (
                accuracies.observed[observed] - accuracies.baseline - gains[observed],
                accuracies.mean[expected] - accuracies.baseline - gains[expected],
            )
        )
    of_observed, of_expected = np.mean(off, 0)
    assert of_observed > 0.1
    assert abs(of_expected) < 0.05


@pytest.mark.slow
def test_of_points_said_to_be_on_the_front_with_80_per_cent_75_to_85_are():
    worlds = [
        World(72000 + 100 * place + seed, *sizes, trials=trials)
        for place, sizes in enumerate(SIZES)
        for seed, trials in enumerate([6] * 14 + [12] * 14 + [40] * 4)
    ]
    outcomes = [promote(world) for world in worlds]
    for name, fewest, most in (("one person", 1, 1), ("2 or 3", 2, 3), ("5 to 10", 5, 10), ("20 or 30", 20, 30)):
        stated, true = pool(outcome for outcome in outcomes if fewest <= len(outcome.world.person) <= most)
        print(name, *(describe(stated, true, *edges) for edges in ((0.05, 0.2), (0.2, 0.5), (0.5, 0.7), (0.7, 0.9))))

    stated, true = pool(outcomes)
    is_meant = (stated >= 0.7) & (stated < 0.9)
    print("all", describe(stated, true, 0.7, 0.9))
    assert is_meant.sum() > 150
    assert 0.75 <= true[is_meant].mean() <= 0.85


@pytest.mark.slow
def test_where_each_trial_is_trained_on_every_fold_probabilities_hold_and_equal_networks_are_not_recommended():
    worlds = [
        World(91000 + 100 * place + seed, *sizes, trials=trials)
        for place, sizes in enumerate(FEW)
        for seed, trials in enumerate([8] * 12 + [20] * 6 + [40] * 2)
    ]
    stated, true = pool(conclude_from(world, world.compare_every_fold(), draws=300) for world in worlds)
    print(*(describe(stated, true, *edges) for edges in ((0.05, 0.2), (0.2, 0.5), (0.5, 0.7), (0.7, 0.9))))
    is_meant = (stated >= 0.7) & (stated < 0.9)
    assert is_meant.sum() > 80
    assert 0.72 <= true[is_meant].mean() <= 0.93  # 80 per cent, and twice its standard error

    recommended = 0
    for place, sizes in enumerate(FEW):
        for seed in range(24):
            world = World(95000 + 100 * place + seed, *sizes, trials=20, equal=True)
            outcome = conclude_from(world, world.compare_every_fold(), draws=300)
            recommended += recommend(outcome.comparison, outcome.expected).network is not None
    print("recommended though equal:", recommended, "of", 24 * len(FEW))
    assert recommended <= 0.08 * 24 * len(FEW)  # 5 per cent, and twice its standard error


def describe(stated: np.ndarray, true: np.ndarray, low: float, high: float) -> str:
    """Returns the mean stated probability and the true share of networks between two probabilities: "0.80: 0.78"."""
    is_meant = (stated >= low) & (stated < high)
    if not is_meant.any():
        return "-"
    return f"{stated[is_meant].mean():.2f}: {true[is_meant].mean():.2f} of {is_meant.sum()};"


@pytest.mark.slow
def test_the_recommended_networks_accuracy_is_expected_without_optimism_and_intervals_hold():
    off, holds, of_one_person = [], [], []
    for place, sizes in enumerate(SIZES):
        for seed in range(20):
            world = World(76000 + 100 * place + seed, *sizes, trials=30)
            outcome = promote(world)
            choice = recommend(outcome.comparison, outcome.expected)
            accuracies = outcome.expected.target
            # Where nothing is recommended, the best expected network is judged.
            network = choice.network if choice.network is not None else int(np.argmax(accuracies.mean))
            low, high = accuracies.interval(0.9)
            true = world.truth[network, 1]
            held = bool(low[network] <= true <= high[network])
            if sizes[0] == 1:
                of_one_person.append((accuracies.mean[network] - true, held))
                continue
            off.append(accuracies.mean[network] - true)
            holds.append(held)
    print(f"off {np.mean(off):.4f}, intervals hold {np.mean(holds):.3f}; one person {np.mean(of_one_person, 0)}")
    assert abs(np.mean(off)) < 0.02
    assert np.mean(holds) >= 0.8
    assert np.mean([held for _, held in of_one_person]) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("people, images", [(1, 100), (3, 60), (10, 200), (30, 700)])
def test_equal_networks_are_recommended_as_better_in_at_most_5_per_cent(people, images):
    recommended = 0
    for seed in range(200):
        world = World(80000 + 1000 * people + seed, people, images, trials=20, equal=True, points=(1.0, 0.5))
        outcome = promote(world, share=0.3)
        recommended += recommend(outcome.comparison, outcome.expected).network is not None
    print(f"{people} people, {images} images: {recommended} of 200")
    assert recommended <= 10


def loss(world: World, points: np.ndarray, choose: Callable[[np.ndarray], np.integer]) -> tuple[float, float]:
    """Returns what the chosen network's target accuracy lacks, and the share of the hypervolume that is found.

    Args:
        world: With the truth.
        points: (networks, 2) accuracies that the choice is made by.
        choose: From target accuracies to the index of the best.
    """
    network = int(choose(points[:, 1]))
    found = np.vstack([world.baseline_truth, world.truth[non_dominated(points)]])
    best = np.vstack([world.baseline_truth, world.truth])
    volume = hypervolume(found, REFERENCE) / hypervolume(best, REFERENCE)
    return float(world.truth[:, 1].max() - world.truth[network, 1]), volume


@pytest.mark.slow
def test_a_race_with_folds_finds_better_networks_than_one_fold_for_all_at_equal_cost():
    results = []
    for seed in range(12):
        # 120 trainings: all on the fold of one person with some 20 images, or 60 and a race.
        wide = World(90000 + seed, people=7, images=140, trials=120, folds=7, points=(1.0,))
        one_fold = conclude(wide, [(trial, 0, 0) for trial in range(120)], draws=200)
        narrow = World(90000 + seed, people=7, images=140, trials=60, folds=7, points=(1.0,))
        raced = race(narrow, jobs=60)
        results.append(
            (
                *loss(wide, one_fold.expected.observed, np.nanargmax),
                *loss(narrow, raced.expected.points, np.argmax),
            )
        )
    of_fold, volume_of_fold, of_race, volume_of_race = np.mean(results, 0)
    print(f"loss: one fold {of_fold:.3f}, race {of_race:.3f}; found {volume_of_fold:.3f}, {volume_of_race:.3f}")
    assert of_race < 0.6 * of_fold
    assert volume_of_race > volume_of_fold
