"""Size and colour of images: files, datasets, views and a network's input."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import made_faces
from fer.architecture import VGG13
from fer.config import ViewRecipe
from fer.datasets import ReaderOptions, arrays, faces, scratch
from fer.datasets.arrays import ImageRows
from fer.datasets.duplicates import copy_groups, signatures
from fer.errors import InputError
from fer.features.views import render
from fer.image_format import IMAGENET_MEAN, IMAGENET_STD, SMALL, ImageFormat, check_levels, check_size
from fer.model.inputs import to_tensor
from fer.model.networks import default_format
from made_data import Loader, open_split
from study.reporting.contact_sheet import draw_contact_sheet
from study.reporting.dataset_summary import show_dataset

COLOURED = ReaderOptions(size=64, colour="rgb")
HUES = np.array([[1.0, 0.6, 0.4], [0.4, 1.0, 0.6], [0.6, 0.4, 1.0]])


def coloured(label: int, number: int, size: int = 80) -> np.ndarray:
    """Draws uint8 (size, size, 3): a face of `made_faces` whose light has a hue."""
    grey = made_faces.face(label, number, size)[..., None]
    return np.round(grey * HUES[number % 3]).astype(np.uint8)


def write_coloured(root: Path, count: int = 70, grey_file: str = "") -> None:
    """Writes a folder per expression with images in colour, and one grey image among them if it is named."""
    for number in range(count):
        place = root / made_faces.FER_FOLDERS[number % 7] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coloured(number % 7, number)).save(place)
    if grey_file:
        made_faces.write(root / grey_file, 0, 999, 80)


def write_grey(root: Path, mode: str, count: int = 70) -> None:
    """Writes a folder per expression with grey images in a mode that may hold colour."""
    for number in range(count):
        place = root / made_faces.FER_FOLDERS[number % 7] / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made_faces.face(number % 7, number)).convert(mode).save(place)


# Files.


def picture_file(kind: str, picture: np.ndarray) -> bytes:
    """Returns a picture (height, width, 3) as a file of a kind."""
    image = Image.fromarray(picture)
    if kind == "rotated JPEG":
        turned = image.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6
        stream = io.BytesIO()
        turned.save(stream, "JPEG", quality=98, subsampling=0, exif=exif)
        return stream.getvalue()
    if kind == "16 bit":
        encoded, data = cv2.imencode(".png", picture[..., ::-1].astype(np.uint16) * 257)
        assert encoded
        return data.tobytes()
    if kind == "palette":
        return made_faces.encode(image.convert("P", palette=Image.Palette.ADAPTIVE), "PNG")
    if kind == "alpha":
        return made_faces.encode(image.convert("RGBA"), "PNG")
    if kind == "CMYK":
        return made_faces.encode(image.convert("CMYK"), "TIFF")
    if kind == "JPEG":
        return made_faces.encode(image, "JPEG", quality=98, subsampling=0)
    return made_faces.encode(image, kind)


KINDS = ["PNG", "WEBP", "JPEG", "rotated JPEG", "palette", "alpha", "16 bit", "CMYK"]


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_kind_are_read_in_colour(kind: str) -> None:
    ramp = np.linspace(60, 200, 12).repeat(5)
    picture = np.stack([np.tile(ramp, (60, 1)), np.full((60, 60), 90), np.tile(ramp[:, None], (1, 60))], 2)
    picture = picture.round().astype(np.uint8)

    read = faces.decode(picture_file(kind, picture), keeps_colour=True)

    assert read.shape == (60, 60, 3) and read.dtype == np.uint8
    interior = np.abs(read.astype(int) - picture)
    assert np.median(interior) <= 4 and (interior > 30).mean() < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_a_grey_picture_is_read_alike_whether_colour_is_kept(kind: str) -> None:
    grey = made_faces.face(3, 5, 60)
    data = picture_file(kind, np.stack([grey] * 3, 2))

    kept = faces.decode(data, keeps_colour=True)

    if kind not in ("WEBP", "rotated JPEG"):  # whose decoders return grey with a trace of colour, or round otherwise
        np.testing.assert_array_equal(kept, faces.decode(data))
    np.testing.assert_allclose(faces.to_grey(kept), faces.decode(data).astype(int), atol=2)


def test_transparency_lies_over_middle_grey_in_colour_as_well() -> None:
    picture = Image.new("RGBA", (60, 60), (255, 0, 0, 255))
    picture.paste((0, 255, 0, 0), (0, 0, 30, 60))

    read = faces.decode(made_faces.encode(picture, "PNG"), keeps_colour=True)

    assert read[10, 10].tolist() == [128, 128, 128] and read[10, 50].tolist() == [255, 0, 0]


# Faces.


@pytest.mark.parametrize("size", [16, 48, 112])
@pytest.mark.parametrize("side", [20, 48, 300])
def test_a_face_in_colour_is_cut_and_resized_as_each_of_its_channels(size: int, side: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (side, side + 7, 3), dtype=np.uint8)
    box = (3.0, 2.0, side / 2, side / 3)

    face = faces.resize_face(faces.crop_square(picture, box), size)

    assert face.shape == (size, size, 3)
    for channel in range(3):
        alone = faces.resize_face(faces.crop_square(picture[..., channel], box), size)
        np.testing.assert_array_equal(face[..., channel], alone)


def test_equalising_a_colour_image_equalises_its_luminance() -> None:
    grey = made_faces.portraits(3)
    repeated = np.repeat(grey[:, None], 3, 1)
    np.testing.assert_array_equal(faces.equalise(repeated), np.repeat(faces.equalise(grey)[:, None], 3, 1))

    image = coloured(2, 1).transpose(2, 0, 1)[None]
    assert faces.to_grey(faces.equalise(image)[0].transpose(1, 2, 0)).std() > 2 * faces.to_grey(image[0].T).std()
    assert faces.equalise(image[:0]).shape == (0, 3, 80, 80)


@pytest.mark.parametrize("factor", [2, 5])
def test_signatures_of_all_sizes_are_alike(factor: int) -> None:
    grey = made_faces.portraits(6)
    larger = grey.repeat(factor, 1).repeat(factor, 2)

    small, large = signatures(grey), signatures(larger)

    # The frequencies of a picture of larger pixels are those of the picture, but for the pixels' own shape.
    np.testing.assert_allclose(large, small, rtol=0.2, atol=0.5)
    assert np.isfinite(signatures(np.full((1, 1024, 1024), 255, np.uint8)).astype(np.float16)).all()


def test_a_coloured_copy_is_a_near_copy_and_an_equal_one_a_copy() -> None:
    grey = made_faces.portraits(8)
    tinted = np.stack([np.clip(grey * factor, 0, 255) for factor in (1.1, 1.0, 0.8)], 1).astype(np.uint8)
    images = np.concatenate([np.repeat(grey[:, None], 3, 1), tinted, tinted[:2]])

    groups = copy_groups(images, "real")

    assert groups[:8].tolist() == groups[8:16].tolist() and len(set(groups[:8].tolist())) == 8
    equal = copy_groups(images, "synthetic")
    assert equal[8:10].tolist() == equal[16:18].tolist() and len(set(equal.tolist())) == 16


# Datasets.


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_a_dataset_without_colour_is_stored_grey(mode: str, tmp_path: Path, read: Loader) -> None:
    write_grey(tmp_path / "data/mine", mode)

    kept = read("mine", options=ReaderOptions(colour="rgb"))
    grey = read("mine")

    assert kept.digest != grey.digest and kept.report["colour"] == grey.report["colour"] == "grey"
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(open_split(kept, split).images, open_split(grey, split).images)


def test_a_dataset_with_colour_keeps_it_and_grey_files_repeat_their_channel(tmp_path: Path, read: Loader) -> None:
    write_coloured(tmp_path / "data/mine", grey_file="angry/grey.png")

    dataset = read("mine", options=COLOURED)

    splits = [open_split(dataset, split) for split in ("train", "validation", "test")]
    images = np.concatenate([split.images for split in splits])
    assert images.shape == (71, 3, 64, 64) and dataset.parse_report().colour == "rgb"
    assert dataset.parse_report().options == COLOURED
    is_grey = (images == images[:, :1]).all((1, 2, 3))
    assert is_grey.sum() == 1

    # The labels' brightness and the hue are the files' own.
    means = images.mean((2, 3))[~is_grey]
    brightest = means.max(1)
    labels = np.concatenate([split.labels for split in splits])[~is_grey]
    np.testing.assert_allclose(brightest, 30 + 30 * labels, atol=3)
    ratios = np.sort(means, 1) / brightest[:, None]
    np.testing.assert_allclose(ratios, np.broadcast_to([0.4, 0.6, 1.0], ratios.shape), atol=0.05)


def test_a_grey_study_reads_colour_files_as_before(tmp_path: Path, read: Loader) -> None:
    write_coloured(tmp_path / "data/mine")

    images = read("mine", options=ReaderOptions(size=80)).open("train").images
    expected = {faces.to_grey(coloured(number % 7, number)).tobytes() for number in range(70)}

    assert images.shape[1:] == (80, 80) and {image.tobytes() for image in images} <= expected


def test_digests_say_size_and_colour_only_where_they_are_not_the_paper_s() -> None:
    assert ReaderOptions(seed=3).digest_text() == "_Options(equalise=False, keep_duplicates=False, seed=3)"
    others = [ReaderOptions(size=64), ReaderOptions(colour="rgb"), ReaderOptions(size=64, colour="rgb")]
    assert len({options.digest_text() for options in [ReaderOptions(), *others]}) == 4


@pytest.mark.parametrize("equalise", [False, True])
def test_a_dataset_larger_than_memory_is_prepared_alike(
    equalise: bool, tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coloured(tmp_path / "data/mine", 90)
    options = ReaderOptions(size=64, colour="rgb", equalise=equalise)
    within = read("mine", options=options, cache_dir=tmp_path / "within")

    for module in (arrays, scratch):
        monkeypatch.setattr(module, "MOST_IN_MEMORY", 1000)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 30_000)
    beyond = read("mine", options=options, cache_dir=tmp_path / "beyond")

    assert beyond.digest == within.digest and beyond.report["hazards"] == within.report["hazards"]
    for split in ("train", "validation", "test"):
        assert isinstance(open_split(beyond, split).images, np.memmap)
        np.testing.assert_array_equal(open_split(beyond, split).images, open_split(within, split).images)
    np.testing.assert_array_equal(beyond.signatures()["test"], within.signatures()["test"])
    assert not [path for path in (tmp_path / "beyond").iterdir() if path.name.startswith("tmp")]

    # A fold's images stay in their files until they are drawn.
    fold = beyond.divided(0, 3, 0).open("train").images
    assert isinstance(fold, ImageRows)
    np.testing.assert_array_equal(fold, within.divided(0, 3, 0).open("train").images)


@pytest.mark.parametrize("chosen", [3, -1, slice(2, 9, 3), np.array([8, 1, 1, 5]), np.arange(10) % 2 == 0])
def test_images_in_several_arrays_are_indexed_as_one_array(chosen: object) -> None:
    parts = [np.random.default_rng(size).integers(0, 256, (size, 4, 4), dtype=np.uint8) for size in (3, 7)]
    joined = np.concatenate(parts)
    rows = ImageRows(parts)

    np.testing.assert_array_equal(rows[chosen], joined[chosen])  # type: ignore[index]
    assert rows.shape == joined.shape and len(rows) == 10 and rows.nbytes == joined.nbytes
    np.testing.assert_array_equal(np.stack(list(rows)), joined)
    np.testing.assert_array_equal(rows.select(np.array([9, 0, 4]))[[2, 0]], joined[[4, 9]])


def test_drawn_faces_are_enlarged_grey_whatever_is_asked_for(tmp_path: Path, read: Loader) -> None:
    plain = read("jaffe", "synthetic", scale=0.1)
    large = read("jaffe", "synthetic", scale=0.1, options=ReaderOptions(size=96, colour="rgb"))

    small_images = plain.open("train").images
    images = large.open("train").images
    assert images.shape == (len(small_images), 96, 96) and large.report["colour"] == "grey"
    for image, small in zip(images, small_images, strict=True):
        np.testing.assert_array_equal(image, faces.resize_face(small, 96))


@pytest.mark.parametrize("options", [ReaderOptions(), ReaderOptions(size=200), COLOURED])
def test_a_dataset_of_every_size_and_colour_is_shown_and_drawn(
    options: ReaderOptions, tmp_path: Path, read: Loader
) -> None:
    write_coloured(tmp_path / "data/mine")
    dataset = read("mine", options=options)

    draw_contact_sheet(dataset, tmp_path / "sheet.png")

    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    console = Console(file=io.StringIO(), width=200)
    show_dataset(dataset, "mine", console)
    shown = f"images: {options.size}×{options.size}, {'in colour' if options.colour == 'rgb' else 'grey'}\n"
    assert shown in console.file.getvalue()  # type: ignore[attr-defined]

    is_coloured = (np.ptp(sheet, axis=2) > 40).mean() > 0.1
    assert is_coloured == (options.colour == "rgb")


@pytest.mark.parametrize("size", [0, 7, 5000, -48])
def test_a_size_that_no_images_can_have_is_refused_in_a_line(size: int) -> None:
    with pytest.raises(InputError, match="--image-size") as caught:
        check_size(size)
    assert "\n" not in str(caught.value)


# Views.


def test_a_view_of_a_colour_image_is_that_view_of_each_channel() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8))
    images, views = np.arange(40), np.arange(40) % 4
    recipe = ViewRecipe(erase=0.5)

    drawn = render(pixels, images, views, recipe, 7)

    for channel in range(3):
        assert torch.equal(drawn[:, channel], render(pixels[:, channel], images, views, recipe, 7))
    assert torch.equal(drawn[views == 0], pixels[views == 0])
    assert not torch.equal(drawn[views == 1], pixels[views == 1])


def test_a_flipped_colour_image_is_the_flip_of_each_channel() -> None:
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (5, 3, 64, 64), dtype=np.uint8))
    flip_alone = ViewRecipe(flip=1.0, shift=0.0, rotation=0.0, scale=0.0, erase=0.0)

    drawn = render(pixels, np.arange(5), np.ones(5, int), flip_alone, 0)

    assert torch.equal(drawn, pixels.flip(-1))


@pytest.mark.parametrize("factor", [2, 3])
def test_a_shift_is_the_same_share_of_a_larger_image(factor: int) -> None:
    rng = np.random.default_rng(2)
    pixels = torch.from_numpy(rng.integers(0, 256, (30, SMALL, SMALL), dtype=np.uint8))
    larger = pixels.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    shift_alone = ViewRecipe(flip=0.0, shift=6.0, rotation=0.0, scale=0.0, erase=0.0)
    images, views = np.arange(30), np.ones(30, int)

    small = render(pixels, images, views, shift_alone, 3).float()
    large = render(larger, images, views, shift_alone, 3).float()

    # Equal but for the interpolation between pixels: so near only where both moved by the same share.
    reduced = torch.nn.functional.avg_pool2d(large, factor)
    assert (reduced - small).abs().mean() < 12
    assert (reduced - small.roll(2, 2)).abs().mean() > 30


# A network's input.


def test_images_are_scaled_as_torchvision_does_after_grey_ones_repeat_their_channel() -> None:
    colour_format = ImageFormat(32, 3, IMAGENET_MEAN, IMAGENET_STD)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))
    mean, std = (torch.tensor(levels).view(3, 1, 1) for levels in (IMAGENET_MEAN, IMAGENET_STD))

    torch.testing.assert_close(to_tensor(pixels, colour_format), (pixels / 255 - mean) / std, atol=1e-5, rtol=1e-5)
    repeated = pixels[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(to_tensor(pixels[:, 0], colour_format), to_tensor(repeated, colour_format))


def test_vgg13_s_scaling_is_exact() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(to_tensor(levels), (levels.float().unsqueeze(1) - 128) / 64)
    assert VGG13.images == ImageFormat() == default_format("vgg13")


@pytest.mark.parametrize(
    ("option", "levels"),
    [("--mean", (0.1, 0.2)), ("--std", (0.0,)), ("--std", (0.2, 0.2, 0.0)), ("--mean", (-0.1,)), ("--mean", (128.0,)),
     ("--std", ()), ("--std", (float("nan"),)), ("--mean", (float("inf"),) * 3)],
)  # fmt: skip
def test_levels_that_no_images_have_are_refused_in_a_line(option: str, levels: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=option):
        check_levels(levels, option)
    check_levels((0.5,), option)
    check_levels((0.1, 0.2, 0.3), option)
