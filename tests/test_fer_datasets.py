"""The reader of all layouts, on tiny made-up copies of each; splits, hazards, bad input."""

import contextlib
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer.datasets import (
    SPLITS,
    Dataset,
    archives,
    copies,
    copy_files,
    faces,
    image_splits,
    load,
    near_copies,
    splits,
    subject_splits,
    survey,
)
from fer.datasets.report import DatasetReport, FaceCounts, ReaderOptions
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from study.inputs import note_copies
from tests import made_faces
from tests.made_faces import MADE, labels_of

Loader = Callable[..., Dataset]


@pytest.fixture
def read(tmp_path: Path) -> Loader:
    """Reads tmp_path/data/<name>, the only place where tests put data."""

    def loader(name: str, kind: str = "real", **options: Any) -> Dataset:
        options.setdefault("cache_dir", tmp_path / "cache")
        return load(name, data_dir=tmp_path / "data", kind=kind, **options)

    return loader


def skipped(dataset: Dataset) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in dataset.report["skipped"].items()}


def total(dataset: Dataset) -> int:
    return sum(dataset.report["sizes"].values())


@pytest.mark.parametrize("case", MADE)
def test_every_layout(case: str, tmp_path: Path, read: Loader) -> None:
    made = MADE[case]
    expected = made.writer(tmp_path / "data" / made.name)
    dataset = read(made.name)
    assert total(dataset) == expected
    people = {}
    for split in SPLITS:
        part = dataset.open_test() if split == "test" else dataset.open(split)
        assert part.images.dtype == np.uint8 and part.images.shape == (len(part), 48, 48)
        assert part.labels.dtype == part.subjects.dtype == np.int64
        np.testing.assert_array_equal(labels_of(part.images), part.labels)
        assert dataset.report["sizes"][split] == len(part) > 0
        assert sum(dataset.report["counts"][split].values()) == len(part)
        people[split] = set(part.subjects.tolist())
    held = sum(any(counts[name] for counts in dataset.report["counts"].values()) for name in EXPRESSIONS)
    assert held == made.expressions
    if made.people:
        assert sum(len(subjects) for subjects in people.values()) == made.people == len(set.union(*people.values()))
    else:
        assert set.union(*people.values()) == {-1}
    json.dumps(dict(dataset.report))


@pytest.mark.parametrize("kind", ["real", "synthetic"])
@pytest.mark.parametrize("name", ["jaffe", "fer2013"])
def test_a_report_is_stored_and_read_back_without_loss(name: str, kind: str, tmp_path: Path, read: Loader) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    with_duplicates(tmp_path / "data/fer2013")
    dataset = read(name, kind, scale=0.1)

    stored = json.loads((dataset.folder / "report.json").read_text())
    report = dataset.parse_report()

    assert json.dumps(report.to_json()) == json.dumps(stored)
    assert report.kind == kind and report.digest == dataset.digest
    assert sum(report.sizes.values()) == total(dataset)


def test_a_stored_report_may_lack_fields_and_have_more() -> None:
    report = DatasetReport.from_json({"name": "mine", "hazards": None, "faces": {"detected": 3}, "later": 1})
    assert report == DatasetReport("mine", faces=FaceCounts(3))


def test_own_splits_are_kept(tmp_path: Path, read: Loader) -> None:
    made_faces.fer_csv(tmp_path / "data/fer2013")
    report = read("fer2013").report
    assert report["sizes"] == {"train": 28, "validation": 7, "test": 7}
    assert report["rule"] == "the dataset's own three splits"


def test_validation_is_taken_out_of_train(tmp_path: Path, read: Loader) -> None:
    made_faces.split_folders("train", "test")(tmp_path / "data/fer2013")
    report = read("fer2013").report
    assert report["sizes"]["test"] == 14 and report["sizes"]["validation"] in (7, 8)
    assert "validation taken out of its training images" in report["rule"]


def test_affectnet_validation_is_the_test_set(tmp_path: Path, read: Loader) -> None:
    made_faces.affectnet(tmp_path / "data/affectnet")
    assert read("affectnet").report["sizes"]["test"] == 70


def test_what_is_left_out_is_counted(tmp_path: Path, read: Loader) -> None:
    made_faces.tfeid(tmp_path / "data/tfeid")
    made_faces.kdef(tmp_path / "data/kdef")
    made_faces.ckplus(tmp_path / "data/ckplus")
    assert skipped(read("tfeid")) == {
        "the same photograph with a rim": 1,
        "'contempt' is none of the seven expressions": 5,
    }
    assert skipped(read("tfeid-high"))["slight expression"] == 12
    assert skipped(read("kdef"))["not frontal"] == 4 * 7 * 2 * 2
    left = skipped(read("ckplus"))
    assert left["its sequence has no label"] == 1
    assert left["not among the frames taken of a sequence (last 3)"] == 4 * 6 * 3


# Splits and hazards.


@pytest.mark.parametrize("case", ["jaffe", "fer2013 plain"])
def test_same_seed_same_split(case: str, tmp_path: Path, read: Loader) -> None:
    made = MADE[case]
    made.writer(tmp_path / "data" / made.name)
    one, again, other = (
        read(made.name, options=ReaderOptions(seed=seed), cache_dir=tmp_path / cache)
        for seed, cache in ((1, "a"), (1, "b"), (2, "b"))
    )
    assert one.digest == again.digest != other.digest
    np.testing.assert_array_equal(one.open("train").images, again.open("train").images)
    assert not np.array_equal(one.open_test().images, other.open_test().images)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(3, 30), st.integers(30, 200))
def test_subjects_never_cross(seed: int, people: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    labels, subjects = rng.integers(0, 7, images), np.arange(images) % people
    assignment = splits.assign_splits(
        labels, subjects, np.arange(images), [None] * images, splits.wanted_sizes(images, None), seed
    )
    parts = assignment.split_index
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
    of_groups = {label: len({*groups[labels == label]}) for label in range(7)}
    for part in range(3):
        assert {label for label in of_groups if (parts[labels == label] == part).any()} >= {
            label for label, count in of_groups.items() if count > 40
        }


def test_sizes_are_exact_without_subjects() -> None:
    labels = np.random.default_rng(0).choice(7, 35887, p=[0.138, 0.015, 0.143, 0.25, 0.169, 0.112, 0.173])
    parts = image_splits.split_by_image(labels, np.arange(35887), [3589, 3589], 0)
    assert np.bincount(parts).tolist() == [28709, 3589, 3589]


def test_sizes_by_subject_come_near_the_papers() -> None:
    """TFEID's shape: 40 people, 510 images."""
    rng = np.random.default_rng(0)
    subjects = np.sort(np.concatenate([np.arange(40), rng.integers(0, 40, 470)]))
    parts = subject_splits.split_by_subject(rng.integers(0, 7, 510), subjects, [47, 58], 0)
    assert np.abs(np.bincount(parts) - [405, 47, 58]).max() <= 1


JAFFE_SIZES = (23, 22, 22, 20, 21, 21, 20, 21, 21, 22)  # images of each of its ten people


def nearest(sizes: tuple[int, ...], wanted: tuple[int, int], most: int = 4) -> int:
    """Returns how near two parts of whole people can come to the wanted sizes together, of all ways to choose them."""
    numbers, best = range(len(sizes)), sum(sizes)
    choices = [chosen for count in range(1, most + 1) for chosen in itertools.combinations(numbers, count)]
    for validation in choices:
        for test in choices:
            if not set(validation) & set(test):
                found = [sum(sizes[who] for who in part) for part in (validation, test)]
                best = min(best, sum(abs(size - aim) for size, aim in zip(found, wanted, strict=True)))
    return best


def test_every_person_is_tested_by_some_seed_and_sizes_stay_near_the_wanted_ones() -> None:
    subjects = np.repeat(np.arange(10), JAFFE_SIZES)
    labels = np.concatenate([np.arange(size) % 7 for size in JAFFE_SIZES])
    slack = subject_splits.SLACK * len(labels) / 10
    limit = nearest(JAFFE_SIZES, (15, 67)) + slack
    seen: dict[int, set[int]] = {1: set(), 2: set()}
    divisions = set()
    for seed in range(150):
        parts = subject_splits.split_by_subject(labels, subjects, [15, 67], seed)
        people = [set(subjects[parts == part].tolist()) for part in range(3)]
        assert sum(len(part) for part in people) == 10
        assert np.abs(np.bincount(parts)[1:] - [15, 67]).sum() <= limit
        assert all(len(set(labels[parts == part].tolist())) == 7 for part in range(3))
        for part in seen:
            seen[part] |= people[part]
        divisions.add(parts.tobytes())
    assert seen[2] == set(range(10)) and len(seen[1]) >= 8 and len(divisions) > 50


@pytest.mark.parametrize("people", [3, 4, 12, 30])
def test_every_person_of_equals_is_tested_by_some_seed(people: int) -> None:
    subjects, labels = np.repeat(np.arange(people), 14), np.tile(np.arange(7), 2 * people)
    wanted = splits.wanted_sizes(len(labels), None)[1:]
    parts = [subject_splits.split_by_subject(labels, subjects, wanted, seed) for seed in range(60)]
    tested = {who for part in parts for who in subjects[part == 2].tolist()}
    assert tested == set(range(people))


def with_duplicates(root: Path) -> None:
    made_faces.fer_csv(root)
    lines = (root / "fer2013.csv").read_text().splitlines()
    pixels = lines[1].split(",")[1]
    flat = " ".join(["9"] * 2304)
    extra = [f"0,{pixels},PublicTest", f"1,{pixels},PrivateTest", f"2,{pixels},Training", f"2,{flat},Training"]
    (root / "fer2013.csv").write_text("\n".join([*lines, *extra]))


@pytest.mark.parametrize("keep", [False, True])
def test_hazards(keep: bool, tmp_path: Path, read: Loader) -> None:
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


def redone(image: np.ndarray, how: str) -> np.ndarray:
    """Returns the picture as another site would show it."""
    picture = Image.fromarray(image)
    if how == "compressed":
        return faces.decode(encode(picture, "JPEG", quality=60))
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
    dataset = read("fer2013", options=ReaderOptions(keep_duplicates=keep))
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
    assert read("fer2013", options=ReaderOptions(keep_duplicates=True)).report["sizes"]["validation"] == 21


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


def test_duplicates_stay_on_one_side(tmp_path: Path, read: Loader) -> None:
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


# The cache and its key.


def test_second_load_reads_nothing(tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    first = read("jaffe")
    monkeypatch.setattr(copy_files.DatasetCopy, "read", lambda *_: pytest.fail("read again"))
    assert read("jaffe") == first
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".jaffe-")]


def test_digest_follows_content_and_not_times(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/jaffe"
    made_faces.jaffe(root)
    first = read("jaffe").digest
    path = root / "KA.AN1.1.tiff"
    os.utime(path, ns=(1, 1))
    assert read("jaffe").digest == first
    made_faces.write(path, 0)
    assert read("jaffe").digest != first


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz"])
@pytest.mark.parametrize("inner", ["", "JAFFE/"])
def test_archive_is_folder(suffix: str, inner: str, tmp_path: Path, read: Loader) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    folder = read("jaffe")
    (tmp_path / "data/jaffe").rename(tmp_path / "aside")
    archive = tmp_path / f"data/Jaffe{suffix}"
    paths = sorted((tmp_path / "aside").iterdir())
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in paths:
                packed.write(path, inner + path.name)
    else:
        with tarfile.open(archive, "w:gz" if "gz" in suffix else "w") as tape:
            for path in paths:
                tape.add(path, inner + path.name)
    packed_again = read("jaffe", cache_dir=tmp_path / "other")
    assert packed_again.digest == folder.digest
    np.testing.assert_array_equal(packed_again.open_test().images, folder.open_test().images)
    assert not list((tmp_path / "other").glob(".unpacked*"))


def test_two_processes_do_the_work_once(tmp_path: Path) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    code = (
        "import sys; from pathlib import Path; from fer.datasets import load\n"
        "assert 'torch' not in sys.modules and 'cv2' not in sys.modules\n"
        f"d = load('jaffe', data_dir=Path({str(tmp_path / 'data')!r}), cache_dir=Path({str(tmp_path / 'cache')!r}))\n"
        "print(d.digest, d.report['seconds'])"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert said[0] == said[1] != ""


@pytest.mark.parametrize("spelling", ["FER-2013", "Fer2013", "fer_2013"])
def test_spellings_of_names(spelling: str, tmp_path: Path, read: Loader) -> None:
    made_faces.fer_csv(tmp_path / "data" / spelling)
    assert read("fer2013").name == read(spelling).name == "fer2013"


def test_ck_plus_by_its_usual_names(tmp_path: Path, read: Loader) -> None:
    made_faces.ck48(tmp_path / "data/CK+48")
    assert read("ck+").name == "ckplus"
    assert survey(tmp_path / "data")["ckplus"] == tmp_path / "data/CK+48"


# The stand-in.


def test_stand_in_takes_the_place_of_what_is_missing(tmp_path: Path, read: Loader) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    dataset = read("tfeid", "auto", scale=0.1)
    assert dataset.kind == dataset.report["kind"] == "synthetic"
    assert read("tfeid", "auto", scale=0.1).digest == dataset.digest != read("tfeid", "auto", scale=0.2).digest
    assert read("jaffe", "auto").kind == "real"
    assert read("jaffe", "synthetic", scale=0.1).kind == "synthetic"


# Pictures.


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_modes(mode: str) -> None:
    ramp = np.tile(np.arange(0, 250, 5, dtype=np.uint8), (50, 1))
    if mode == "I;16":
        data = encode(Image.fromarray(ramp.astype(np.uint16) * 257), "PNG")
    else:
        kind = {"CMYK": "TIFF"}.get(mode, "PNG")
        data = encode(Image.fromarray(ramp).convert("RGB" if mode == "CMYK" else "L").convert(mode), kind)
    grey = faces.decode(data)
    assert grey.dtype == np.uint8 and grey.shape == (50, 50)
    if mode != "1":
        assert np.abs(grey.astype(int) - ramp).max() <= 3


def test_cmyk_jpeg_and_transparency() -> None:
    red = Image.new("RGB", (60, 60), (255, 0, 0))
    assert abs(int(faces.decode(encode(red.convert("CMYK"), "JPEG"))[30, 30]) - 76) <= 4
    clear = Image.new("RGBA", (60, 60), (255, 255, 255, 0))
    assert faces.decode(encode(clear, "PNG"))[30, 30] == 128


PNG = encode(Image.fromarray(made_faces.face(0, 1, 100)), "PNG")
JPEG = encode(Image.fromarray(made_faces.face(0, 1, 100)), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "not an image"),
        (PNG[: len(PNG) // 2], "truncated"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (PNG[:60] + b"\0" * 200 + PNG[260:], "damaged"),
        (encode(Image.new("1", (20_000, 20_000)), "PNG"), "megapixels"),
        (encode(Image.new("1", (8_000, 8_000)), "PNG"), "megapixels"),
        (encode(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"), "floating-point"),
    ],
)
def test_unreadable(data: bytes, reason: str) -> None:
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
    assert total(dataset) == 67
    assert dataset.report["skipped"]["empty file (0 bytes)"] == {"count": 1, "names": ["KA.AN1.1.tiff"]}
    assert sum(skipped(dataset).values()) == 4  # the README too


def test_portraits_without_a_face_are_centre_cropped_and_counted(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/jaffe"
    made_faces.jaffe(root)
    made_faces.write(root / "KA.AN1.1.tiff", 0, size=90)
    dataset = read("jaffe")
    assert total(dataset) == 70
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
        part = dataset.open_test() if split == "test" else dataset.open(split)
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
        return None if 255 - grey[0, 0] in (3, 50) else (32.0, 62.0, 55.0, 55.0)

    monkeypatch.setattr(faces, "find_face", find)
    dataset = read("jaffe")
    assert (dataset.report["faces"]["detected"], dataset.report["faces"]["centre_cropped"]) == (68, 2)
    assert any("2 of 70 portraits: cropped where the others' faces lie" in text for text in dataset.report["notices"])
    for split in SPLITS:
        part = dataset.open_test() if split == "test" else dataset.open(split)
        np.testing.assert_allclose(part.images.mean((1, 2)), 30, atol=8)


@pytest.mark.parametrize("folder", ["PreProcess Img", "PreProcessImg", "Preprocess-Img", "PreProcess"])
def test_preprocessed_copies_are_no_originals(folder: str, tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/oulu"
    made_faces.oulu(root)
    shutil.copytree(root / "OriginalImg/VL", root / folder / "VL")
    dataset = read("oulu")
    assert total(dataset) == 4 * 6 * 4
    assert skipped(dataset)["preprocessed copy of an original"] == 4 * 6 * 6


@pytest.mark.parametrize("first", [0, 1, 2, 9])
def test_only_a_sequences_first_frame_is_neutral(first: int, tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/oulu"
    made_faces.oulu(root)
    for place in sorted((root / "OriginalImg/VL/Strong").rglob("*.jpeg"), reverse=True):
        place.rename(place.with_name(f"{int(place.stem) + first:03}.jpeg"))
    dataset = read("oulu")
    neutral = sum(counts["neutral"] for counts in dataset.report["counts"].values())
    assert neutral == (24 if first <= 1 else 0) and total(dataset) == 24 * 3 + neutral
    assert skipped(dataset).get("a neutral image of a sequence whose first frame is not there", 0) == 24 - neutral


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_first_frame_of_a_short_sequence_is_never_its_expression(frames: int, tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/oulu"
    made_faces.oulu(root)
    short = root / "OriginalImg/VL/Strong/P001/Anger"
    for place in sorted(short.iterdir())[frames:]:
        place.unlink()
    dataset = read("oulu")
    counts = dataset.report["counts"].values()
    assert sum(count["neutral"] for count in counts) == 24
    assert sum(count["anger"] for count in counts) == 9 + frames - 1


def test_crop_repeats_the_edge_beyond_the_image() -> None:
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10)
    square = faces.crop_square(grey, (-5, -5, 10, 10), margin=0)
    assert square.shape == (10, 10) and (square[:5, :5] == 0).all() and square[9, 9] == 44


# Bad input: one line each.


def made(root: Path, case: str = "own manifest") -> Path:
    MADE[case].writer(root)
    return root


def edit(root: Path, file: str, change: Callable[[list[str]], list[str]]) -> None:
    made_faces.manifest(root) if file == "manifest.csv" else made_faces.fer_csv(root)
    (root / file).write_text("\n".join(change((root / file).read_text().splitlines())))


def no_expression(root: Path) -> None:
    made_faces.plain_folders(root)
    shutil.rmtree(root / "disgust")


def link_out(root: Path) -> None:
    made_faces.manifest(root)
    outside = made_faces.write(root.parent.parent / "outside.png", 0)
    (root / "pictures/0.png").unlink()
    (root / "pictures/0.png").symlink_to(outside)


def climbing_archive(root: Path) -> None:
    root.mkdir(parents=True)
    with zipfile.ZipFile(root / "it.zip", "w") as packed:
        packed.writestr("../../evil.png", b"")


def damaged_archive(root: Path) -> None:
    root.mkdir(parents=True)
    (root / "it.tgz").write_bytes(b"\x1f\x8b not an archive")


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "csv without a column": (
        "fer2013",
        lambda root: edit(root, "fer2013.csv", lambda x: ["a,b,Usage", *x[1:]]),
        "needs the columns emotion, pixels",
    ),
    "all pixel counts wrong": (
        "fer2013",
        lambda root: edit(root, "fer2013.csv", lambda x: [x[0], *[f"{n % 7},1 2 3,Training" for n in range(9)]]),
        "9 × not 2304 pixels",
    ),
    "labels out of range": (
        "fer2013",
        lambda root: edit(root, "fer2013.csv", lambda x: [x[0], *["7" + line[1:] for line in x[1:]]]),
        "label out of range: '7'",
    ),
    "csv without rows": ("fer2013", lambda root: edit(root, "fer2013.csv", lambda x: x[:1]), "no rows"),
    "an empty csv": ("fer2013", lambda root: edit(root, "fer2013.csv", lambda _: []), "the columns none"),
    "no images of an expression": ("fer2013", no_expression, "none of disgust"),
    "an empty split": (
        "fer2013",
        lambda root: edit(
            root, "fer2013.csv", lambda x: [x[0], *[line.replace("Training", "PublicTest") for line in x[1:]]]
        ),
        "own splits have training images",
    ),
    "no images": ("jaffe", lambda root: (root / "sub").mkdir(parents=True), "no files"),
    "one expression": (
        "mine",
        lambda root: [made_faces.write(root / "happy" / f"{n}.png", 3) for n in range(9)],
        "two",
    ),
    "two subjects": ("mine", lambda root: made_faces.manifest(root, people=2), "2 subjects"),
    "duplicate rows": ("mine", lambda root: edit(root, "manifest.csv", lambda x: [*x, x[5]]), "again in line 72"),
    "an empty manifest": ("mine", lambda root: edit(root, "manifest.csv", lambda x: x[:1]), "no rows"),
    "a manifest without paths": (
        "mine",
        lambda root: edit(root, "manifest.csv", lambda x: ["file,expression,subject", *x[1:]]),
        "Add path",
    ),
    "a path that climbs": (
        "mine",
        lambda root: edit(root, "manifest.csv", lambda x: [*x, "../../outside.png,happy,a"]),
        "stays inside",
    ),
    "an absolute path": (
        "mine",
        lambda root: edit(root, "manifest.csv", lambda x: [*x, "/etc/passwd,happy,a"]),
        "stays inside",
    ),
    "a Windows path": (
        "mine",
        lambda root: edit(root, "manifest.csv", lambda x: [*x, r"C:\faces\a.png,happy,a"]),
        "stays inside",
    ),
    "a link out": ("mine", link_out, "a link out of it"),
    "a row without subject": (
        "mine",
        lambda root: edit(root, "manifest.csv", lambda x: [*x[:-1], x[-1].rsplit(",", 1)[0] + ","]),
        "column subject",
    ),
    "an unknown split": (
        "mine",
        lambda root: edit(root, "manifest.csv", lambda x: [x[0] + ",split", *[line + ",training2b" for line in x[1:]]]),
        "train, validation or test",
    ),
    "a subject in two splits": (
        "mine",
        lambda root: edit(
            root,
            "manifest.csv",
            lambda x: [x[0] + ",split", *[f"{line},{SPLITS[n // 5 % 3]}" for n, line in enumerate(x[1:])]],
        ),
        "a subject is in one split only",
    ),
    "an archive that climbs": ("mine", climbing_archive, "stays inside"),
    "a damaged archive": ("mine", damaged_archive, "readable zip or tar"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_copies(case: str, tmp_path: Path, read: Loader) -> None:
    name, writer, message = BAD[case]
    writer(tmp_path / "data" / name)
    with pytest.raises(InputError) as caught:
        read(name, "auto")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*-*")) + list((tmp_path / "cache").glob(".unpacked*"))
    assert not (tmp_path / "evil.png").exists()


def test_a_few_bad_rows_are_skipped(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/fer2013"
    flat = " ".join(["300"] * 2304)
    edit(root, "fer2013.csv", lambda x: [*x, "9,1,Training", "1,1 2,Training", "1,a b,Training", f"1,{flat},Training"])
    dataset = read("fer2013")
    assert total(dataset) == 42
    assert skipped(dataset) == {
        "label out of range: '9'": 1,
        "not 2304 pixels": 1,
        "pixels that are no numbers": 1,
        "pixels outside 0 to 255": 1,
    }


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("tfied", "auto", "a dataset is one of fer2013, jaffe"),
        ("tfied", "synthetic", "a dataset is one of"),
        ("tfeid", "real", "nothing named so in"),
        ("../jaffe", "auto", "a folder's name"),
        ("jaffe", "fake", "a data kind is one of"),
    ],
)
def test_names_and_kinds(name: str, kind: str, message: str, tmp_path: Path, read: Loader) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    with pytest.raises(InputError, match=message):
        read(name, kind)


@pytest.mark.parametrize("kind", ["auto", "real"])
@pytest.mark.parametrize("state", ["missing", "empty", "file", "unreadable"])
def test_data_folder(kind: str, state: str, tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    if state == "file":
        data.write_text("")
    elif state != "missing":
        data.mkdir()
    if state == "unreadable":  # permissions do not stop root, who may run the tests
        monkeypatch.setattr(Path, "iterdir", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(InputError, match="--data names a folder"):
        read("jaffe", kind)


def test_unreadable_folder_within(tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    made_faces.plain_folders(tmp_path / "data/mine")
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).rstrip("/").endswith("fear"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(copy_files.os, "scandir", refuse)
    with pytest.raises(InputError, match="must be readable"):
        read("mine")


def test_links_that_leave_are_skipped(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/mine"
    made_faces.plain_folders(root)
    (root / "happy/link.png").symlink_to(made_faces.write(tmp_path / "outside.png", 0))
    (root / "happy/inside.png").symlink_to(root / "happy/3.png")
    dataset = read("mine")
    assert total(dataset) == 141
    assert skipped(dataset) == {"a link that leaves the dataset's folder or leads to no file": 1}


def test_links_in_archives_are_skipped(tmp_path: Path, read: Loader) -> None:
    made_faces.plain_folders(tmp_path / "aside")
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data/mine.tar", "w") as tape:
        tape.add(tmp_path / "aside", "mine")
        link = tarfile.TarInfo("mine/happy/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(link)
    dataset = read("mine")
    assert total(dataset) == 140 and skipped(dataset) == {"a link or special file in an archive": 1}


def test_archives_are_bounded(tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_UNPACKED", 10_000)
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data/jaffe.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("KA.AN1.1.tiff", b"\0" * 100_000)
    with pytest.raises(InputError, match="an archive may hold up to"):
        read("jaffe")


def test_names_that_are_no_utf8_and_many_reasons(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/mine"
    made_faces.plain_folders(root)
    for number in range(40):
        made_faces.write(root / f"person {number}" / "a.png", 0)
    Path(os.fsdecode(os.fsencode(root / "happy") + b"/\xff.png")).write_bytes(b"")
    dataset = read("mine")
    assert len(dataset.report["skipped"]) == 31 and skipped(dataset)["other reasons"] == 11
    json.dumps(dict(dataset.report), ensure_ascii=False).encode()


def test_label_file_that_cannot_be_read(tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    made_faces.manifest(tmp_path / "data/mine")

    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(copy_files.DatasetCopy, "read", refuse)
    with pytest.raises(InputError, match="label files must be readable"):
        read("mine")
