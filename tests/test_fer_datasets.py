"""The reader of all layouts, on tiny made-up copies of each; the cache and its key; the synthetic domain."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

import made_faces
from fer.datasets import (
    SPLITS,
    copy_files,
    survey,
)
from fer.datasets.report import DatasetReport, FaceCounts
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from made_data import Loader, images_in, open_split, skipped, with_duplicates
from made_faces import MADE, labels_of


@pytest.mark.parametrize("case", MADE)
def test_every_layout_is_read_with_its_labels_people_and_sizes(case: str, tmp_path: Path, read: Loader) -> None:
    made = MADE[case]
    expected = made.writer(tmp_path / "data" / made.name)

    dataset = read(made.name)

    assert images_in(dataset) == expected
    people = {}
    for split in SPLITS:
        part = open_split(dataset, split)
        assert part.images.dtype == np.uint8 and part.images.shape == (len(part), 48, 48)
        assert part.labels.dtype == part.subjects.dtype == np.int64
        np.testing.assert_array_equal(labels_of(part.images), part.labels)
        assert dataset.report["sizes"][split] == len(part) > 0
        assert sum(dataset.report["counts"][split].values()) == len(part)
        people[split] = set(part.subjects.tolist())

    counts = dataset.report["counts"].values()
    expressions = [name for name in EXPRESSIONS if any(of_split[name] for of_split in counts)]
    assert len(expressions) == made.expressions

    everybody = set.union(*people.values())
    if made.people:
        assert sum(len(subjects) for subjects in people.values()) == made.people == len(everybody)
    else:
        assert everybody == {-1}
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
    assert sum(report.sizes.values()) == images_in(dataset)


def test_a_stored_report_may_lack_fields_and_have_more() -> None:
    report = DatasetReport.from_json({"name": "mine", "hazards": None, "faces": {"detected": 3}, "later": 1})
    assert report == DatasetReport("mine", faces=FaceCounts(3))


def test_own_splits_are_kept(tmp_path: Path, read: Loader) -> None:
    made_faces.fer_csv(tmp_path / "data/fer2013")
    report = read("fer2013").report

    assert report["sizes"] == {"train": 28, "validation": 7, "test": 7}
    assert report["rule"] == "the dataset's own three splits"


def test_validation_is_taken_out_of_training_images_where_there_is_none(tmp_path: Path, read: Loader) -> None:
    made_faces.split_folders("train", "test")(tmp_path / "data/fer2013")
    report = read("fer2013").report

    assert report["sizes"]["test"] == 14 and report["sizes"]["validation"] in (7, 8)
    assert "validation taken out of its training images" in report["rule"]


def test_affectnets_validation_images_are_its_test_set(tmp_path: Path, read: Loader) -> None:
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


@pytest.mark.parametrize("folder", ["PreProcess Img", "PreProcessImg", "Preprocess-Img", "PreProcess"])
def test_preprocessed_copies_are_no_originals(folder: str, tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/oulu"
    made_faces.oulu(root)
    shutil.copytree(root / "OriginalImg/VL", root / folder / "VL")

    dataset = read("oulu")

    assert images_in(dataset) == 4 * 6 * 4
    assert skipped(dataset)["preprocessed copy of an original"] == 4 * 6 * 6


@pytest.mark.parametrize("packed", ["folder", "zip"])
@pytest.mark.parametrize(
    ("usual", "part", "reason"),
    [
        ("oulu/OriginalImg/VL/Strong", "PreProcess Img/VL_Acropped/Strong", "preprocessed copy of an original"),
        ("oulu/OriginalImg/VL/Strong", "OriginalImg/NI/Strong", "near infrared"),
        ("oulu/OriginalImg/VL/Strong", "OriginalImg/VL/Weak", "weak or dark light"),
        ("tfeid/dfh_all/dfh_un-rimmed", "dfh_all/dfh_rimmed", "the same photograph with a rim"),
    ],
)
def test_a_folder_says_what_its_images_are_where_it_is_the_only_one(
    usual: str, part: str, reason: str, packed: str, tmp_path: Path, read: Loader
) -> None:
    name = usual.split("/")[0]
    folder = tmp_path / "data" / name
    MADE[name].writer(tmp_path / name)
    shutil.copytree(tmp_path / usual, folder / part)
    if packed == "zip":
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)

    with pytest.raises(InputError, match=f"× {reason}"):
        read(name)


def test_portraits_and_faces_of_equal_bytes_are_different_datasets(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/rafdb"
    made_faces.plain_folders(root / "faces")
    faces_alone = read("rafdb")

    (root / "faces").rename(root / "original")  # of whole pictures, in which the face is to be detected
    whole_pictures = read("rafdb")

    assert images_in(faces_alone) == images_in(whole_pictures)
    assert faces_alone.digest != whole_pictures.digest


@pytest.mark.parametrize("first", [0, 1, 2, 9])
def test_only_a_sequences_first_frame_is_neutral(first: int, tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/oulu"
    made_faces.oulu(root)
    for place in sorted((root / "OriginalImg/VL/Strong").rglob("*.jpeg"), reverse=True):
        place.rename(place.with_name(f"{int(place.stem) + first:03}.jpeg"))

    dataset = read("oulu")

    neutral = sum(counts["neutral"] for counts in dataset.report["counts"].values())
    assert neutral == (24 if first <= 1 else 0) and images_in(dataset) == 24 * 3 + neutral
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


# The cache and its key.


def test_a_second_load_reads_no_file_of_the_copy(tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    first = read("jaffe")
    monkeypatch.setattr(copy_files.DatasetCopy, "read", lambda *_: pytest.fail("read again"))

    assert read("jaffe") == first
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".jaffe-")]


def test_the_digest_follows_the_content_and_not_the_times(tmp_path: Path, read: Loader) -> None:
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
def test_an_archive_is_read_as_the_folder_in_it(suffix: str, inner: str, tmp_path: Path, read: Loader) -> None:
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

    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    first, second = (process.communicate(timeout=60)[0] for process in processes)

    assert first == second != ""


@pytest.mark.parametrize("spelling", ["FER-2013", "Fer2013", "fer_2013"])
def test_a_name_may_be_spelt_in_several_ways(spelling: str, tmp_path: Path, read: Loader) -> None:
    made_faces.fer_csv(tmp_path / "data" / spelling)
    assert read("fer2013").name == read(spelling).name == "fer2013"


def test_ck_plus_is_found_by_its_usual_names(tmp_path: Path, read: Loader) -> None:
    made_faces.ck48(tmp_path / "data/CK+48")
    assert read("ck+").name == "ckplus"
    assert survey(tmp_path / "data")["ckplus"] == tmp_path / "data/CK+48"


# The synthetic domain.


def test_a_synthetic_dataset_takes_the_place_of_what_is_missing(tmp_path: Path, read: Loader) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    dataset = read("tfeid", "auto", scale=0.1)

    assert dataset.kind == dataset.report["kind"] == "synthetic"
    assert read("tfeid", "auto", scale=0.1).digest == dataset.digest != read("tfeid", "auto", scale=0.2).digest
    assert read("jaffe", "auto").kind == "real"
    assert read("jaffe", "synthetic", scale=0.1).kind == "synthetic"
