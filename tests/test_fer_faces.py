"""Pictures: every mode is decoded to grey, damaged ones are skipped, portraits are cropped to the face."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import made_faces
from fer.datasets import (
    SPLITS,
    faces,
)
from made_data import Loader, images_in, open_split, skipped
from made_faces import labels_of


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_every_mode_is_decoded_to_the_same_grey(mode: str) -> None:
    ramp = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (50, 1))
    if mode == "I;16":
        data = made_faces.encode(Image.fromarray(ramp.astype(np.uint16) * 257), "PNG")
    elif mode == "CMYK":
        data = made_faces.encode(Image.fromarray(ramp).convert("RGB").convert("CMYK"), "TIFF")
    else:
        data = made_faces.encode(Image.fromarray(ramp).convert(mode), "PNG")

    grey = faces.decode(data)

    assert grey.dtype == np.uint8 and grey.shape == (50, 50)
    if mode != "1":
        assert np.abs(grey.astype(int) - ramp).max() <= 3


def test_a_cmyk_jpeg_is_decoded_and_transparency_becomes_grey() -> None:
    red = Image.new("RGB", (60, 60), (255, 0, 0))
    grey = faces.decode(made_faces.encode(red.convert("CMYK"), "JPEG"))
    assert abs(int(grey[30, 30]) - 76) <= 4  # 0.299 × 255: red's luma

    clear = Image.new("RGBA", (60, 60), (255, 255, 255, 0))
    grey = faces.decode(made_faces.encode(clear, "PNG"))
    assert grey[30, 30] == 128


PNG = made_faces.encode(Image.fromarray(made_faces.face(0, 1, 100)), "PNG")
JPEG = made_faces.encode(Image.fromarray(made_faces.face(0, 1, 100)), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "not an image"),
        (PNG[: len(PNG) // 2], "truncated"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[:60] + b"\0" * 200 + PNG[260:], "damaged"),
        (made_faces.encode(Image.new("1", (20_000, 20_000)), "PNG"), "megapixels"),
        (made_faces.encode(Image.new("1", (8_000, 8_000)), "PNG"), "megapixels"),
        (made_faces.encode(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"), "floating-point"),
    ],
)
def test_an_image_that_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(faces.UnreadableImage, match=reason):
        faces.decode(data)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(JPEG) - 1), st.integers(0, 255))
def test_a_flipped_byte_never_gets_through_as_another_error(place: int, value: int) -> None:
    data = JPEG[:place] + bytes([value]) + JPEG[place + 1 :]
    with contextlib.suppress(faces.UnreadableImage):
        assert faces.decode(data).dtype == np.uint8


def test_damaged_files_are_skipped_counted_and_named(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/jaffe"
    made_faces.jaffe(root)
    (root / "KA.AN1.1.tiff").write_bytes(b"")
    (root / "KA.AN2.2.tiff").write_bytes((root / "KL.AN2.16.tiff").read_bytes()[:1000])
    (root / "KA.DI1.3.tiff").write_text("text")

    dataset = read("jaffe")

    assert images_in(dataset) == 67
    assert dataset.report["skipped"]["empty file (0 bytes)"] == {"count": 1, "names": ["KA.AN1.1.tiff"]}
    assert sum(skipped(dataset).values()) == 4  # the README too


def test_portraits_without_a_face_are_centre_cropped_and_counted(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/jaffe"
    made_faces.jaffe(root)
    made_faces.write(root / "KA.AN1.1.tiff", 0, size=90)

    dataset = read("jaffe")

    assert images_in(dataset) == 70
    assert dataset.report["faces"] == {"detected": 0, "centre_cropped": 1, "names": ["KA.AN1.1.tiff"]}
    assert any("centre-cropped" in notice for notice in dataset.report["notices"])


def test_portraits_are_cropped_to_the_face(tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data/jaffe"
    made_faces.jaffe(root)
    portrait = np.full((200, 150), 255, np.uint8)
    portrait[50:130, 40:120] = made_faces.face(0, size=80)
    Image.fromarray(portrait).save(root / "KA.AN1.1.tiff")
    monkeypatch.setattr(faces, "find_face", lambda _: (42.0, 52.0, 76.0, 76.0))

    dataset = read("jaffe")

    assert dataset.report["faces"]["detected"] == 1
    for split in SPLITS:
        part = open_split(dataset, split)
        np.testing.assert_array_equal(labels_of(part.images), part.labels)


def test_portraits_without_a_face_are_framed_as_the_others_are(
    tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data/jaffe"
    made_faces.jaffe(root)
    for number, path in enumerate(sorted(root.glob("*.tiff"))):
        portrait = np.full((160, 120), 255 - number, np.uint8)  # known by its corner
        portrait[60:120, 30:90] = made_faces.face(0, size=60)  # and its noise tells them apart
        Image.fromarray(portrait).save(path)

    def find(grey: np.ndarray) -> tuple[float, ...] | None:
        number = 255 - grey[0, 0]
        return None if number in (3, 50) else (32.0, 62.0, 55.0, 55.0)

    monkeypatch.setattr(faces, "find_face", find)

    dataset = read("jaffe")

    assert (dataset.report["faces"]["detected"], dataset.report["faces"]["centre_cropped"]) == (68, 2)
    assert any("2 of 70 portraits: cropped where the others' faces lie" in text for text in dataset.report["notices"])
    for split in SPLITS:
        part = open_split(dataset, split)
        np.testing.assert_allclose(part.images.mean((1, 2)), 30, atol=8)


def test_a_crop_repeats_the_edge_beyond_the_image() -> None:
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    square = faces.crop_square(grey, (-5, -5, 10, 10), margin=0)
    assert square.shape == (10, 10) and (square[:5, :5] == 0).all() and square[9, 9] == 44
