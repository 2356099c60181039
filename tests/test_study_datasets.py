import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from fer.datasets import DatasetReport
from fer.datasets.hazards import Hazards
from study.datasets import build_parser, main
from study.options import StudyOptions
from study.pipeline.prepare import show_command
from tests import made_faces


def test_help_comes_at_once() -> None:
    quickest = 9.0
    for _ in range(3):  # the machine may be busy
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "study.datasets", "--help"], check=True, capture_output=True)
        quickest = min(quickest, time.monotonic() - started)
    assert quickest < 0.5


def test_without_a_name_it_lists_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_faces.jaffe(tmp_path / "jaffe")
    made_faces.manifest(tmp_path / "mine")
    assert main(["--data", str(tmp_path)]) == 0

    said = capsys.readouterr().out
    assert "JAFFE" in said and "mine" in said and "drawn stand-in" in said


def test_a_dataset_is_shown_with_its_counts_and_a_contact_sheet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    (tmp_path / "data/jaffe/KA.AN1.1.tiff").write_bytes(b"")
    out = tmp_path / "out"
    assert main(["jaffe", "--data", str(tmp_path / "data"), "--out", str(out)]) == 0

    said = capsys.readouterr().out
    for word in ("JAFFE (real copy)", "surprise", "subjects", "unique of 69", "empty file (0 bytes)", "KA.AN1.1.tiff"):
        assert word in said

    (sheet,) = (out / "datasets").iterdir()
    assert sheet.name.startswith("jaffe-") and sheet.suffix == ".png"

    with Image.open(sheet) as image:
        assert image.width > 500


def test_it_says_what_is_synthetic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FER_DATA", raising=False)
    assert main(["jaffe", "--data-kind", "synthetic", "--out", str(tmp_path)]) == 0

    said = capsys.readouterr().out
    assert "DRAWN STAND-IN" in said and "JAFFE (synthetic stand-in)" in said


@pytest.mark.parametrize(
    "arguments", [["tfied"], ["tfeid", "--data-kind", "real"], ["jaffe", "--data", "/nowhere"], ["--data", "/nowhere"]]
)
def test_bad_input_is_one_line(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2

    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and not said.out
    assert not (tmp_path / "out/datasets").exists()


def test_only_the_notice_says_how_a_portrait_without_a_detected_face_was_cropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    made_faces.write(tmp_path / "data/jaffe/KA.AN1.1.tiff", 0, size=90)

    assert main(["jaffe", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "runs")]) == 0

    shown = capsys.readouterr().out
    assert "faces: 0 detected, in 1 portraits none\n" in shown and shown.count("centre-cropped") == 1


def test_an_expression_that_validation_or_test_lacks_is_noticed():
    counts = {
        "train": {"anger": 20, "surprise": 24, "fear": 0},
        "validation": {"anger": 3, "surprise": 0, "fear": 0},
        "test": {"anger": 2, "surprise": 1, "fear": 0},
    }
    report = DatasetReport(counts=counts, subjects={"train": 4, "validation": 1, "test": 1})

    assert report.list_notices() == [
        "no validation image of surprise: how well that is recognised is not measured there"
    ]


def test_a_copy_whose_people_are_unknown_says_so_once():
    nobody = {"train": 0, "validation": 0, "test": 0}
    said = ["JAFFE's subjects are not in this copy's names: people may be in several splits"]

    assert "people may be in several splits" in DatasetReport(subjects=nobody).list_notices()[0]
    assert DatasetReport(subjects=nobody, notices=said).list_notices() == said
    assert DatasetReport(subjects=nobody, kind="synthetic").list_notices() == []


def test_dropped_copies_are_counted_of_all_images():
    hazards = Hazards(images=168, dropped_from_train=40, dropped_from_validation=4, near_copy_groups=1)

    assert DatasetReport(hazards=hazards).describe_copies() == (
        "44 of 168 images dropped, which are copies or near-copies of validation or test images; 1 group of nearly "
        "identical images"
    )
    assert DatasetReport().describe_copies() == ""


def test_the_command_that_names_what_was_left_out_reads_the_dataset_as_the_study_did():
    options = StudyOptions(target="mine", data="/data/my faces", expressions="my labels.csv", out="/data/runs")

    words = shlex.split(show_command("mine", options))
    args = build_parser().parse_args(words[3:])

    assert (args.names, args.data, args.expressions, args.out) == (
        ["mine"], "/data/my faces", "my labels.csv", "/data/runs"
    )  # fmt: skip
    assert shlex.split(show_command("mine", StudyOptions(target="mine")))[3:] == ["mine"]
