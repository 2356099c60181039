"""Splits: people never cross, equal pixels stay together, sizes come near the wanted ones; hazards are counted."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import made_faces
from fer.datasets import (
    image_splits,
    splits,
    subject_splits,
)
from fer.datasets.report import ReaderOptions
from made_data import Loader, with_duplicates
from made_faces import MADE


@pytest.mark.parametrize("case", ["jaffe", "fer2013 plain"])
def test_equal_seeds_give_equal_splits(case: str, tmp_path: Path, read: Loader) -> None:
    made = MADE[case]
    made.writer(tmp_path / "data" / made.name)

    one = read(made.name, options=ReaderOptions(seed=1), cache_dir=tmp_path / "a")
    again = read(made.name, options=ReaderOptions(seed=1), cache_dir=tmp_path / "b")
    other = read(made.name, options=ReaderOptions(seed=2), cache_dir=tmp_path / "b")

    assert one.digest == again.digest != other.digest
    np.testing.assert_array_equal(one.open("train").images, again.open("train").images)
    assert not np.array_equal(one.open_test().images, other.open_test().images)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 30), st.integers(30, 200))
def test_subjects_never_cross(seed: int, people: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, images)
    subjects = np.arange(images) % people
    groups = np.arange(images)  # no two images are equal
    no_own_splits = [None] * images
    wanted = splits.wanted_sizes(images, None)

    parts = splits.assign_splits(labels, subjects, groups, no_own_splits, wanted, seed).split_index

    assert set(parts) == {0, 1, 2}
    assert len(np.unique(np.stack([subjects, parts]), axis=1)[0]) == people


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(70, 300))
def test_equal_pixels_stay_together(seed: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(70) % 7, rng.integers(0, 7, images - 70)])
    groups = np.concatenate([np.arange(70), rng.integers(0, images // 2, images - 70)])
    parts = image_splits.split_by_image(labels, groups, [images // 10, images // 10], seed)
    assert all(len(set(parts[groups == group])) == 1 for group in np.unique(groups))

    for label in range(7):
        if len(np.unique(groups[labels == label])) > 40:  # enough for every split to have some
            assert set(parts[labels == label]) == {0, 1, 2}


def test_sizes_are_exact_without_subjects() -> None:
    """FER2013's shape: its images, its shares of the seven expressions, its three splits."""
    images, held_out = 35887, 3589
    shares = [0.138, 0.015, 0.143, 0.25, 0.169, 0.112, 0.173]
    labels = np.random.default_rng(0).choice(7, images, p=shares)

    parts = image_splits.split_by_image(labels, np.arange(images), [held_out, held_out], 0)

    assert np.bincount(parts).tolist() == [28709, held_out, held_out]


def test_sizes_by_subject_come_near_the_papers() -> None:
    """TFEID's shape: 40 people, 510 images."""
    rng = np.random.default_rng(0)
    subjects = np.sort(np.concatenate([np.arange(40), rng.integers(0, 40, 470)]))

    parts = subject_splits.split_by_subject(rng.integers(0, 7, 510), subjects, [47, 58], 0)

    assert np.abs(np.bincount(parts) - [405, 47, 58]).max() <= 1


JAFFE_SIZES = (23, 22, 22, 20, 21, 21, 20, 21, 21, 22)  # images of each of its ten people


def nearest(sizes: tuple[int, ...], wanted: tuple[int, int], most: int = 4) -> int:
    """Returns how near two sets of people can come to the wanted sizes together, of all ways to choose them.

    Args:
        sizes: How many images each person has.
        wanted: How many images validation and test should have.
        most: How many people either may have.

    Returns:
        The sum of both differences, in images.
    """
    people = range(len(sizes))
    choices = [chosen for count in range(1, most + 1) for chosen in itertools.combinations(people, count)]
    best = sum(sizes)
    for validation, test in itertools.product(choices, choices):
        if set(validation) & set(test):
            continue
        differences = [
            abs(sum(sizes[person] for person in chosen) - aim)
            for chosen, aim in zip((validation, test), wanted, strict=True)
        ]
        best = min(best, sum(differences))
    return best


def test_every_person_is_tested_by_some_seed_and_sizes_stay_near_the_wanted_ones() -> None:
    subjects = np.repeat(np.arange(10), JAFFE_SIZES)
    labels = np.concatenate([np.arange(size) % 7 for size in JAFFE_SIZES])
    wanted = (15, 67)
    slack = subject_splits.SLACK * len(labels) / 10
    limit = nearest(JAFFE_SIZES, wanted) + slack
    validated, tested = set(), set()
    divisions = set()

    for seed in range(150):
        parts = subject_splits.split_by_subject(labels, subjects, list(wanted), seed)
        people = [set(subjects[parts == part].tolist()) for part in range(3)]
        assert sum(len(part) for part in people) == 10
        assert np.abs(np.bincount(parts)[1:] - wanted).sum() <= limit
        assert all(len(set(labels[parts == part].tolist())) == 7 for part in range(3))
        validated |= people[1]
        tested |= people[2]
        divisions.add(parts.tobytes())

    assert tested == set(range(10)) and len(validated) >= 8 and len(divisions) > 50


@pytest.mark.parametrize("people", [3, 4, 12, 30])
def test_every_person_of_equals_is_tested_by_some_seed(people: int) -> None:
    subjects = np.repeat(np.arange(people), 14)
    labels = np.tile(np.arange(7), 2 * people)
    wanted = splits.wanted_sizes(len(labels), None)[1:]
    tested = set()

    for seed in range(60):
        parts = subject_splits.split_by_subject(labels, subjects, wanted, seed)
        tested |= set(subjects[parts == 2].tolist())

    assert tested == set(range(people))


@pytest.mark.parametrize("keep", [False, True])
def test_copies_and_images_without_contrast_are_counted_and_dropped(keep: bool, tmp_path: Path, read: Loader) -> None:
    with_duplicates(tmp_path / "data/fer2013")
    dataset = read("fer2013", options=ReaderOptions(keep_duplicates=keep))

    assert dataset.report["hazards"] == {
        "images": 46,
        "unique": 43,
        "duplicate_groups": 1,
        "conflicting_groups": 1,
        "near_copy_groups": 0,
        "validation_in_train": 1,
        "test_in_train": 1,
        "validation_in_test": 1,
        "train_in_held_out": 2,
        "train_near_held_out": 0,
        "validation_near_test": 0,
        "constant": 1,
        "dropped_from_train": 0 if keep else 2,
        "dropped_from_validation": 0 if keep else 1,
        "rows_of_validation_in_test": [7] if keep else [],
    }
    assert len(dataset.open("train")) == (30 if keep else 28)
    assert len(dataset.open("validation")) == (8 if keep else 7)


def test_duplicates_stay_on_one_side_of_a_split(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/mine"
    made_faces.plain_folders(root)
    for path in list(root.rglob("*.png"))[:30]:
        shutil.copy(path, path.with_name(f"again_{path.name}"))
    found = read("mine").report["hazards"]

    assert found["duplicate_groups"] == 30
    assert found["train_in_held_out"] == found["validation_in_test"] == 0


def test_equalise_changes_pixels_and_not_the_split(tmp_path: Path, read: Loader) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    plain, equal = read("jaffe"), read("jaffe", options=ReaderOptions(equalise=True))

    assert plain.digest != equal.digest
    assert plain.report["people"] == equal.report["people"]
    assert equal.open("train").images.std() > plain.open("train").images.std()
