"""Training and validation divided anew: by subject, every image in validation once, the test split never touched."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fer.datasets import Dataset
from fer.datasets.splits import assign_folds
from fer.errors import InputError


def made(folder: Path, people: tuple[int, ...], known: bool = True, keep: bool = False) -> Dataset:
    """A dataset of some subjects with an image per expression each, the last of them in validation."""
    rng = np.random.default_rng(1)
    subjects = np.repeat(people, 7)
    labels = np.arange(len(subjects)) % 7
    images = rng.integers(0, 256, (len(subjects), 48, 48), dtype=np.uint8)
    images[0] = images[-7]  # one picture twice, of a subject in training and of the one in validation
    for split, rows in (("train", slice(None, -7)), ("validation", slice(-7, None)), ("test", slice(0, 0))):
        values = images[rows], labels[rows], subjects[rows] if known else np.full(len(labels[rows]), -1)
        for part, array in zip(("images", "labels", "subjects"), values, strict=True):
            np.save(folder / f"{split}.{part}.npy", array)
    return Dataset("made", "synthetic", "0123456789abcdef", folder, {"options": {"keep_duplicates": keep}})


def test_folds_hold_every_subject_in_validation_once(tmp_path):
    whole = made(tmp_path, (1, 2, 3, 4, 5))
    assert whole.divisions() == 5

    seen = []
    for number in range(5):
        dataset = whole.divided(number, 5, 0)
        train, validation = dataset.open("train"), dataset.open("validation")
        assert not set(train.subjects) & set(validation.subjects)
        assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in validation.images}
        seen += validation.subjects.tolist()
        assert len(train) + len(validation) == 35 - (1 in validation.subjects or 5 in validation.subjects)
    assert sorted(seen) == sorted(np.repeat((1, 2, 3, 4, 5), 7).tolist())


@pytest.mark.parametrize(("people", "folds"), [(7, 5), (7, 3), (11, 4), (12, 5), (9, 2)])
def test_equal_people_make_folds_that_differ_by_one_person_at_most(people, folds):
    subjects = np.repeat(np.arange(people), 21)
    labels, groups = np.arange(len(subjects)) % 7, np.arange(len(subjects))

    for seed in range(5):
        fold_of_image = assign_folds(labels, subjects, groups, folds, seed)
        sizes = np.bincount(fold_of_image, minlength=folds) // 21
        assert sizes.sum() == people and sizes.max() - sizes.min() <= 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=3, max_size=40), st.integers(2, 5), st.integers(0, 9))
def test_folds_are_even_up_to_the_largest_person(images_of_person, folds, seed):
    folds = min(folds, len(images_of_person))
    subjects = np.repeat(np.arange(len(images_of_person)), images_of_person)
    labels, groups = np.arange(len(subjects)) % 7, np.arange(len(subjects))

    sizes = np.bincount(assign_folds(labels, subjects, groups, folds, seed), minlength=folds)

    assert sizes.min() > 0
    assert sizes.max() - sizes.min() <= 2 * max(images_of_person)


def test_unknown_subjects_are_divided_by_image_with_copies_on_one_side(tmp_path):
    whole = made(tmp_path, tuple(range(10)), known=False)
    sides = []
    for number in range(whole.divisions()):
        validation = whole.divided(number, whole.divisions(), 0).open("validation")
        sides += [image.tobytes() for image in validation.images]

    assert len(sides) == 70 and len(set(sides)) == 69


def test_divisions_differ_by_seed_are_repeatable_and_have_hashes_of_their_own(tmp_path):
    whole = made(tmp_path, tuple(range(12)))
    divided = [whole.divided(0, 4, seed) for seed in (0, 0, 1)]
    people = [sorted(set(dataset.open("validation").subjects.tolist())) for dataset in divided]

    assert people[0] == people[1] != people[2]
    assert divided[0].digest == divided[1].digest and len({whole.digest, *(d.digest for d in divided)}) == 3


def test_a_copy_of_a_test_image_is_in_no_folds_training(tmp_path):
    hazards = {"rows_of_validation_in_test": [2]}
    whole = replace(made(tmp_path, (1, 2, 3)), report={"hazards": hazards})
    copy = whole.open("validation").images[2].tobytes()
    for number in range(3):
        dataset = whole.divided(number, 3, 0)
        assert copy not in {image.tobytes() for image in dataset.open("train").images}

    kept = replace(whole, report={"hazards": hazards, "options": {"keep_duplicates": True}})

    assert any(copy in {i.tobytes() for i in kept.divided(n, 3, 0).open("train").images} for n in range(3))


def test_the_test_split_stays_and_needs_no_reading(tmp_path):
    whole = made(tmp_path, (1, 2, 3))
    for path in tmp_path.glob("test.*"):
        path.unlink()

    assert len(whole.divided(0, 3, 0).open("train"))
    with pytest.raises(InputError, match="confirmation alone"):
        whole.divided(0, 3, 0).open("test")


def test_more_folds_than_subjects_are_refused(tmp_path):
    with pytest.raises(InputError, match="no more than there are subjects"):
        made(tmp_path, (1, 2, 3)).divided(0, 4, 0).open("train")
