"""Intervals and tests against published values, hand-computed ones and simulation."""

import numpy as np
import pytest

from fer.intervals import holm, mcnemar, over_subjects, wilson
from study.evidence import against, judge
from study.page import _told_apart as told_apart


@pytest.mark.parametrize("right, count, low, high", [(57, 67, 74.7, 91.7), (52, 58, 79.2, 95.2)])
def test_wilsons_interval_has_its_published_ends(right, count, low, high):
    assert [round(100 * end, 1) for end in wilson(right, count)] == [low, high]


def test_mcnemar_counts_only_changes():
    before = np.array([True] * 1 + [False] * 9 + [True] * 50)
    after = np.array([False] * 1 + [True] * 9 + [True] * 50)
    assert mcnemar(before, after) == pytest.approx(2 * (1 + 10) / 2**10)
    assert mcnemar(before, before) == 1.0
    assert against(before, np.stack([after, before, after])) == pytest.approx(4 * 11 / 2**10)
    assert against(before, after[None]) == mcnemar(before, after)


def test_holm_steps_down_and_never_lets_a_larger_p_overtake():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.2]) == [0.2]


def test_mcnemar_and_holm_agree_with_statsmodels():
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(6)
    found = []
    for size in (5, 20, 67, 300):
        before, after = rng.random((2, size)) < [[0.4], [0.6]]
        table = [[np.sum(a & b) for b in (after, ~after)] for a in (before, ~before)]
        found.append(mcnemar(before, after))
        assert found[-1] == pytest.approx(contingency.mcnemar(table, exact=True).pvalue)
    assert holm(found) == pytest.approx(multitest.multipletests(found, method="holm")[1].tolist())


def draw(rng: np.random.Generator, people: int, images: int, seeds: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Draws answers whose chance varies over subjects, images and seeds."""
    subject = np.repeat(rng.normal(0, 0.10, people), images)
    image = rng.normal(0, 0.15, people * images)
    seed = rng.normal(0, 0.02 if seeds > 1 else 0.0, (seeds, 1))  # one training says nothing of others
    chance = np.clip(mean + subject + image + seed, 0, 1)
    return rng.random(chance.shape) < chance, np.repeat(np.arange(people), images)


@pytest.mark.parametrize("people, images, seeds", [(5, 11, 5), (40, 7, 5), (200, 1, 1)])
def test_intervals_cover_what_they_promise(people, images, seeds):
    rng, mean, covered = np.random.default_rng(7), 0.6, 0
    for _ in range(1000):
        right, subjects = draw(rng, people, images, seeds, mean)
        low, high = over_subjects(right, subjects, rng, repeats=400)
        covered += low <= mean <= high
    assert 930 <= covered <= 970


def test_the_best_of_thirty_equal_configurations_is_not_told_from_the_others():
    rng = np.random.default_rng(3)
    subjects = {"source": np.full(60, -1), "target": np.repeat(np.arange(5), [10, 10, 9, 9, 9])}  # 47 target images
    points = []
    for index in range(31):
        right = {domain: rng.random((3, len(people))) < 0.6 for domain, people in subjects.items()}
        points.append(
            {"name": f"trial {index}", "strategy": "RE", "alpha": 1.0, "slope": 0.0, "model": f"m{index}",
             "front": index > 0, "right": right, "source_val": 0.6, "target_val": 0.75}
        )  # fmt: skip
    found = judge(points, subjects, 1, 0.95)
    assert all(len(others) == 29 for others in found["alike"].values())
    assert all(point["target_p"] > 0.05 for point in found["points"][1:])
    optimism = [point["target_optimism"] for point in found["points"]]
    assert np.mean(optimism) == pytest.approx(0.15, abs=0.03)
    assert "No two of the front's 30 points can be told apart" in told_apart(found["alike"])


def test_an_interval_is_never_empty_where_every_subject_is_alike():
    alike = {"source": np.zeros((3, 20), bool), "target": np.tile([1, 1, 1, 0, 0], (3, 4)).astype(bool)}
    point = {"name": "BL", "strategy": "BL", "alpha": 1.0, "slope": 0.0, "model": "", "front": False, "right": alike}
    found = judge([point], {domain: np.repeat(np.arange(4), 5) for domain in alike}, 1, 0.95)["points"][0]
    assert (found["source_lower"], found["source_upper"]) == (0.0, pytest.approx(wilson(0, 20)[1]))
    assert (found["target_lower"], found["target_upper"]) == pytest.approx(wilson(12, 20))


def test_a_clear_difference_is_told_apart():
    rng = np.random.default_rng(4)
    subjects = {"source": np.full(500, -1), "target": np.repeat(np.arange(20), 10)}
    points = [
        {"name": name, "strategy": name, "alpha": 1.0, "slope": 0.0, "model": name, "front": name != "BL",
         "right": {domain: rng.random((5, len(people))) < level for domain, people in subjects.items()}}
        for name, level in (("BL", 0.4), ("bad", 0.45), ("good", 0.8))
    ]  # fmt: skip
    found = judge(points, subjects, 1, 0.95)
    assert found["alike"] == {"bad": [], "good": []}
    assert found["points"][2]["target_p"] < 0.001
