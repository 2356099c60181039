"""Which training images a share of the data keeps."""

import math

import numpy as np
import pytest

from fer.features.schedule import choose_target_images


def people(count: int, images: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Labels and subjects of people with so many images each."""
    return np.tile(np.arange(images) % 7, count), np.repeat(np.arange(count) * 3 + 5, images)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 40])
@pytest.mark.parametrize("amount", [0.1, 0.5, 0.9])
def test_a_share_of_known_people_is_kept_with_all_their_images(count, amount):
    labels, subjects = people(count)
    kept = choose_target_images(labels, amount, seed=1, subjects=subjects)
    chosen = np.unique(subjects[kept])

    assert len(chosen) == math.ceil(round(amount * count, 6))
    np.testing.assert_array_equal(kept, np.flatnonzero(np.isin(subjects, chosen)))


def test_the_share_depends_on_the_seed_alone_and_every_person_is_kept_by_some():
    labels, subjects = people(10)
    chosen = [
        set(subjects[choose_target_images(labels, 0.5, seed, subjects)].tolist()) for seed in (0, 0, *range(1, 20))
    ]

    assert chosen[0] == chosen[1] and len({frozenset(group) for group in chosen}) > 10
    assert set.union(*chosen) == set(subjects.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_people_who_together_show_every_expression_are_chosen_where_there_are_some(seed):
    subjects = np.repeat(np.arange(8), 10)
    labels = np.repeat([0, 1, 2, 3, 4, 5, 6, 0], 10)  # one expression each
    labels[subjects == 3] = np.arange(10) % 4 + 3  # but one person shows four

    kept = choose_target_images(labels, 0.5, seed, subjects)

    assert set(labels[kept]) == set(range(7))


@pytest.mark.parametrize("subjects", [None, np.full(70, -1), np.where(np.arange(70) < 3, -1, np.arange(70) // 7)])
def test_a_share_of_the_images_in_each_expression_is_kept_where_people_are_unknown(subjects):
    labels = np.arange(70) % 7
    kept = choose_target_images(labels, 0.5, seed=1, subjects=subjects)
    assert np.bincount(labels[kept]).tolist() == [5] * 7


def test_the_whole_amount_keeps_everything():
    labels, subjects = people(3)
    np.testing.assert_array_equal(choose_target_images(labels, 1.0, 0, subjects), np.arange(21))
