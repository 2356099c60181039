"""Near-copies of images, within a dataset and across two: found, counted, and kept on one side of a split."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import made_faces
from fer.datasets import (
    copies,
    faces,
    near_copies,
)
from fer.errors import InputError
from made_data import Loader
from study.inputs import note_copies


def redone(image: np.ndarray, how: str) -> np.ndarray:
    """Returns the picture as another site would show it."""
    picture = Image.fromarray(image)
    if how == "compressed":
        return faces.decode(made_faces.encode(picture, "JPEG", quality=60))
    if how == "scaled":
        return np.asarray(picture.resize((40, 40), 3).resize((48, 48), 3))
    if how == "cropped":
        return np.asarray(picture.crop((1, 1, 47, 47)).resize((48, 48), 3))
    if how == "brightened":
        return np.clip(image * 0.9 + 20, 0, 255).astype(np.uint8)
    marked = image.copy()
    marked[40:43, 5:40:3] = marked[40:43, 5:40:3] // 2 + 110  # half transparent letters
    return marked


REDONE = ("compressed", "scaled", "cropped", "brightened", "marked")


def framed(images: np.ndarray, how: str) -> np.ndarray:
    """Returns the pictures with what a dataset may have around each of its faces."""
    rows, columns = np.mgrid[:48, :48] - 23.5
    if how == "oval":
        return np.where((rows / 24) ** 2 + (columns / 21) ** 2 <= 1, images, 0).astype(np.uint8)
    if how == "border":
        return np.where(np.maximum(abs(rows), abs(columns)) < 20, images, 255).astype(np.uint8)
    return images


@pytest.mark.parametrize("frame", ["nothing", "oval", "border"])
@pytest.mark.parametrize("how", REDONE)
def test_a_picture_that_was_redone_is_a_near_copy_and_another_picture_is_none(how: str, frame: str) -> None:
    originals = made_faces.portraits(60)
    other = np.stack([redone(image, how) for image in originals])

    pairs = copies.near_pairs(*(copies.signatures(framed(images, frame)) for images in (originals, other)))

    np.testing.assert_array_equal(pairs, np.stack([np.arange(60)] * 2, axis=1))


def test_images_without_contrast_are_near_copies_of_nothing() -> None:
    flat = np.full((3, 48, 48), 90, np.uint8) + np.random.default_rng(0).integers(0, 2, (3, 48, 48), dtype=np.uint8)
    signed = copies.signatures(flat)

    assert not len(copies.near_pairs(signed, signed)) and not len(copies.near_pairs(signed[:0], signed))
    assert len(np.unique(copies.copy_groups(flat, "real"))) == 3


def test_near_copies_join_in_chains_and_drawn_faces_only_where_they_are_equal() -> None:
    images = made_faces.portraits(20)
    chain = np.concatenate([images, images[:1], [redone(images[0], "cropped")], [redone(images[0], "marked")]])

    groups = copies.copy_groups(chain, "real")

    assert len(np.unique(groups)) == len(images) and len(np.unique(groups[[0, -3, -2, -1]])) == 1
    assert len(np.unique(copies.copy_groups(chain, "synthetic"))) == 22


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("how", REDONE)
def test_near_copies_of_later_splits_leave_training_and_validation(
    how: str, keep: bool, tmp_path: Path, read: Loader
) -> None:
    images, usages = made_faces.portraits(84), ["Training"] * 42 + ["PublicTest"] * 21 + ["PrivateTest"] * 21
    images[0], images[1] = redone(images[42], how), redone(images[63], how)  # training: of validation, of test
    images[43] = redone(images[64], how)  # validation: of test
    images[2] = redone(images[3], how)  # within training, where it stays
    made_faces.csv_of(tmp_path / "data/fer2013", images, np.arange(84) % 7, usages)
    dataset = read("fer2013", keep_duplicates=keep)
    found = dataset.report["hazards"]

    assert (found["train_near_held_out"], found["validation_near_test"], found["near_copy_groups"]) == (2, 1, 4)
    assert found["train_in_held_out"] == found["validation_in_test"] == 0
    assert (found["dropped_from_train"], found["dropped_from_validation"]) == ((0, 0) if keep else (2, 1))
    assert dataset.report["sizes"] == {"train": 42 - 2 * (not keep), "validation": 21 - (not keep), "test": 21}


def test_near_copies_stay_on_one_side_of_splits_and_folds(tmp_path: Path, read: Loader) -> None:
    root, originals = tmp_path / "data/mine", made_faces.portraits(105)
    for number, image in enumerate(originals):
        for version, content in enumerate((image, redone(image, "cropped"))[: 1 + (number < 40)]):
            place = root / made_faces.FER_FOLDERS[number % 7] / f"{number}-{version}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(place)
    dataset = read("mine")
    found = dataset.report["hazards"]

    assert found["near_copy_groups"] == 40 and found["train_near_held_out"] == found["validation_near_test"] == 0

    for number in range(3):
        fold = dataset.divided(number, 3, 0)
        parts = [copies.signatures(fold.open(split).images) for split in ("train", "validation")]
        assert not len(copies.near_pairs(*parts))


def test_a_validation_split_that_the_test_split_holds_too_is_refused(tmp_path: Path, read: Loader) -> None:
    images, usages = made_faces.portraits(63), ["Training"] * 42 + ["PublicTest"] * 21 + ["PrivateTest"] * 21
    images = np.concatenate([images, images[42:]])
    made_faces.csv_of(tmp_path / "data/fer2013", images, np.arange(84) % 7, usages)

    with pytest.raises(InputError, match="none in validation"):
        read("fer2013")
    assert read("fer2013", keep_duplicates=True).report["sizes"]["validation"] == 21


def test_near_copies_across_datasets_are_counted_and_change_no_hash(tmp_path: Path, read: Loader) -> None:
    images, usages = made_faces.portraits(84), ["Training"] * 42 + ["PublicTest"] * 21 + ["PrivateTest"] * 21
    made_faces.csv_of(tmp_path / "data/fer2013", images, np.arange(84) % 7, usages)
    other = made_faces.portraits(84, seed=1)
    other[0] = redone(images[70], "cropped")  # in the target's training: a test image of the source
    other[50], other[80], other[81] = images[0], redone(images[1], "marked"), redone(images[45], "cropped")
    for row, (image, usage) in enumerate(zip(other, usages, strict=True)):
        split = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}[usage]
        place = tmp_path / "data/mine" / split / made_faces.FER_FOLDERS[row % 7] / f"{row}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    source, target = read("fer2013"), read("mine")
    assert near_copies(source, target) == {"train": 2, "validation": 1}
    assert near_copies(target, source) == {"train": 1, "validation": 0}

    told: list[str] = []
    noted = note_copies(source, target, told.append)
    assert noted == source and len(told) == 2 and noted.report["notices"] == [*source.report["notices"], *told]
    assert "2 training and 1 validation images of fer2013 are copies or near-copies" in told[0]

    drawn = read("jaffe", "synthetic", scale=0.1)
    assert note_copies(source, drawn, told.append).report["notices"] == source.report["notices"]
