"""Near-copies of images, within a dataset and across two: found, counted, and kept on one side of a split."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import made_faces
from fer.datasets import (
    duplicates,
    faces,
    near_copies,
)
from fer.datasets.report import ReaderOptions
from fer.errors import InputError
from made_data import Loader, write_image
from study.inputs import note_copies

BICUBIC = Image.Resampling.BICUBIC
USAGES = ["Training"] * 42 + ["PublicTest"] * 21 + ["PrivateTest"] * 21
LABELS = np.arange(len(USAGES)) % 7
FOLDERS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}


def redone(image: np.ndarray, how: str) -> np.ndarray:
    """Returns the picture as another site would show it."""
    picture = Image.fromarray(image)
    match how:
        case "compressed":
            return faces.decode(made_faces.encode(picture, "JPEG", quality=60))
        case "scaled":
            return np.asarray(picture.resize((40, 40), BICUBIC).resize((48, 48), BICUBIC))
        case "cropped":
            return np.asarray(picture.crop((1, 1, 47, 47)).resize((48, 48), BICUBIC))
        case "brightened":
            return np.clip(image * 0.9 + 20, 0, 255).astype(np.uint8)
        case _:  # marked with half transparent letters
            marked = image.copy()
            marked[40:43, 5:40:3] = marked[40:43, 5:40:3] // 2 + 110
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

    signatures = [duplicates.signatures(framed(images, frame)) for images in (originals, other)]
    pairs = duplicates.near_pairs(*signatures)

    each_with_its_own = np.stack([np.arange(60)] * 2, axis=1)
    np.testing.assert_array_equal(pairs, each_with_its_own)


def test_images_without_contrast_are_near_copies_of_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (3, 48, 48), dtype=np.uint8)
    flat = np.full((3, 48, 48), 90, np.uint8) + noise

    signed = duplicates.signatures(flat)

    assert not len(duplicates.near_pairs(signed, signed)) and not len(duplicates.near_pairs(signed[:0], signed))
    assert len(np.unique(duplicates.copy_groups(flat, "real"))) == 3


def test_near_copies_join_in_chains_and_drawn_faces_only_where_they_are_equal() -> None:
    images = made_faces.portraits(20)
    chain = np.concatenate([images, images[:1], [redone(images[0], "cropped")], [redone(images[0], "marked")]])

    groups = duplicates.copy_groups(chain, "real")

    assert len(np.unique(groups)) == len(images) and len(np.unique(groups[[0, -3, -2, -1]])) == 1
    assert len(np.unique(duplicates.copy_groups(chain, "synthetic"))) == 22


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("how", REDONE)
def test_near_copies_of_later_splits_leave_training_and_validation(
    how: str, keep: bool, tmp_path: Path, read: Loader
) -> None:
    images = made_faces.portraits(len(USAGES))
    images[0] = redone(images[42], how)  # training: of validation
    images[1] = redone(images[63], how)  # training: of test
    images[43] = redone(images[64], how)  # validation: of test
    images[2] = redone(images[3], how)  # within training, where it stays
    made_faces.csv_of(tmp_path / "data/fer2013", images, LABELS, USAGES)

    dataset = read("fer2013", options=ReaderOptions(keep_duplicates=keep))

    found = dataset.report["hazards"]
    from_train, from_validation = (0, 0) if keep else (2, 1)
    assert (found["train_near_held_out"], found["validation_near_test"], found["near_copy_groups"]) == (2, 1, 4)
    assert found["train_in_held_out"] == found["validation_in_test"] == 0
    assert (found["dropped_from_train"], found["dropped_from_validation"]) == (from_train, from_validation)
    assert dataset.report["sizes"] == {"train": 42 - from_train, "validation": 21 - from_validation, "test": 21}


def test_near_copies_stay_on_one_side_of_splits_and_folds(tmp_path: Path, read: Loader) -> None:
    with_copies = 40
    for number, image in enumerate(made_faces.portraits(105)):
        folder = tmp_path / "data/mine" / made_faces.FER_FOLDERS[number % 7]
        write_image(folder / f"{number}-0.png", image)
        if number < with_copies:
            write_image(folder / f"{number}-1.png", redone(image, "cropped"))

    dataset = read("mine")

    found = dataset.report["hazards"]
    assert found["near_copy_groups"] == with_copies
    assert found["train_near_held_out"] == found["validation_near_test"] == 0
    for number in range(3):
        fold = dataset.divided(number, 3, 0)
        parts = [duplicates.signatures(fold.open(split).images) for split in ("train", "validation")]
        assert not len(duplicates.near_pairs(*parts))


def test_a_validation_split_that_the_test_split_holds_too_is_refused(tmp_path: Path, read: Loader) -> None:
    images = made_faces.portraits(63)
    images = np.concatenate([images, images[42:]])  # validation once more
    made_faces.csv_of(tmp_path / "data/fer2013", images, LABELS, USAGES)

    with pytest.raises(InputError, match="none in validation"):
        read("fer2013")
    assert read("fer2013", options=ReaderOptions(keep_duplicates=True)).report["sizes"]["validation"] == 21


def test_near_copies_across_datasets_are_counted_and_change_no_hash(tmp_path: Path, read: Loader) -> None:
    images = made_faces.portraits(len(USAGES))
    made_faces.csv_of(tmp_path / "data/fer2013", images, LABELS, USAGES)
    other = made_faces.portraits(len(USAGES), seed=1)
    other[0] = redone(images[70], "cropped")  # in the target's training: a test image of the source
    other[50] = images[0]  # in its validation: a training image of the source
    other[80] = redone(images[1], "marked")  # in its test: a training image of the source
    other[81] = redone(images[45], "cropped")  # in its test: a validation image of the source
    for row, (image, usage) in enumerate(zip(other, USAGES, strict=True)):
        folder = tmp_path / "data/mine" / FOLDERS[usage] / made_faces.FER_FOLDERS[row % 7]
        write_image(folder / f"{row}.png", image)

    source, target = read("fer2013"), read("mine")
    assert near_copies(source, target) == {"train": 2, "validation": 1}
    assert near_copies(target, source) == {"train": 1, "validation": 0}

    told: list[str] = []
    noted = note_copies(source, target, ["FER2013", "mine"], told.append)
    assert noted == source and len(told) == 2 and noted.report["notices"] == [*source.report["notices"], *told]
    assert "2 training and 1 validation images of FER2013 are copies or near-copies" in told[0]

    drawn = read("jaffe", "synthetic", scale=0.1)
    noted = note_copies(source, drawn, ["the source", "drawn"], told.append)
    assert noted.report["notices"] == source.report["notices"]
