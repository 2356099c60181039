"""Pipes, devices, links and huge files in a data folder: refused in a line, or counted, and nothing hangs.

A part of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import contextlib
import os
import socket
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import made_faces
from fer.datasets import archives, data_folder, survey
from fer.errors import InputError
from hostile import sampled, write_sparse
from made_data import images_in, pack, read_copy, refusal_of, skipped, write_small

pytestmark = pytest.mark.usefixtures("twenty_seconds")
GIB = 2**30


def fifo(path: Path) -> None:
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def circle(path: Path) -> None:
    path.with_name("round").symlink_to(path.name)
    path.symlink_to("round")


def own_circle(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def plug(path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made, contextlib.chdir(path.parent):
        made.bind(path.name)  # by its name alone: an address has 108 bytes


SPECIAL: list[Callable[[Path], None]] = [fifo, dangling, circle, own_circle, device, plug]


@pytest.mark.parametrize(("make", "suffix"), sampled(3, SPECIAL, data_folder.ARCHIVES))
def test_an_archive_that_is_no_file_is_refused(make, suffix, tmp_path):
    (tmp_path / "data").mkdir()
    make(tmp_path / "data" / f"mine{suffix}")

    assert "a dataset is a folder, or a zip or tar file" in refusal_of(tmp_path)
    assert survey(tmp_path / "data")["mine"] is not None


@pytest.mark.parametrize(("make", "place"), sampled(4, SPECIAL, ["happy/special.png", "special.txt", "manifest.csv"]))
def test_a_special_file_in_a_copy_is_skipped_and_counted(make, place, tmp_path):
    write_small(tmp_path / "data/mine")
    make(tmp_path / "data/mine" / place)
    dataset = read_copy(tmp_path)
    assert images_in(dataset) == 70

    reasons = ("a pipe, socket or device", "a link that leaves the dataset's folder or leads to no file")
    assert sum(skipped(dataset)[reason] for reason in reasons if reason in skipped(dataset)) in (1, 2)


@pytest.mark.parametrize("make", SPECIAL)
def test_a_manifest_that_names_a_special_file_reads_the_others(make, tmp_path):
    root = tmp_path / "data/mine"
    made_faces.manifest(root)
    (root / "pictures/0.png").unlink()
    make(root / "pictures/0.png")
    try:
        dataset = read_copy(tmp_path)
    except InputError as error:
        assert "a link out of it" in str(error)
    else:
        assert images_in(dataset) == 69 and skipped(dataset)["named in manifest.csv but not there"] == 1


@pytest.mark.parametrize("make", SPECIAL)
def test_a_data_folder_that_is_none_is_refused(make, tmp_path):
    make(tmp_path / "data")
    assert "--data names a folder" in refusal_of(tmp_path)


@pytest.mark.parametrize("target", [".", "..", "../mine", "/", "happy"])
def test_a_link_to_a_folder_is_not_followed(target, tmp_path):
    write_small(tmp_path / "data/mine")
    (tmp_path / "data/mine/sad/again").symlink_to(target)
    assert images_in(read_copy(tmp_path)) == 70


# Sizes are looked at before a file is read.


@pytest.mark.parametrize(
    "head", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"P5 48 48 255\n", b"%!PS-Adobe-3.0"]
)
@pytest.mark.parametrize("size", sampled(2, [10 * GIB, 300 * 2**20]))
def test_a_huge_image_is_skipped(head, size, tmp_path):
    write_small(tmp_path / "data/mine")
    write_sparse(tmp_path / "data/mine/happy/huge.png", size, head)

    started = time.monotonic()

    assert skipped(read_copy(tmp_path)) == {"unreadable file (file of more than 200 MiB)": 1}
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("name", "file", "head"),
    [
        ("mine", "manifest.csv", b"path,expression\n"),
        ("fer2013", "fer2013.csv", b"emotion,pixels,Usage\n"),
        ("affectnet", "training.csv", b"subDirectory_filePath,expression\n"),
        ("rafdb", "EmoLabel/list_patition_label.txt", b"train_1.jpg 1\n"),
        ("ckplus", "Emotion/S005/001/S005_001_00000011_emotion.txt", b"1"),
    ],
)
def test_a_huge_label_file_is_refused(name, file, head, tmp_path):
    write_small(tmp_path / "data" / name)
    write_sparse(tmp_path / "data" / name / file, 10 * GIB, head)
    assert "file of more than 1 GiB" in refusal_of(tmp_path, name)


@pytest.mark.parametrize(
    ("head", "suffix"),
    sampled(5, [b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"PK\x03\x04", b"a" * 600], data_folder.ARCHIVES),
)
def test_a_huge_archive_of_nothing_is_refused(suffix, head, tmp_path):
    write_sparse(tmp_path / f"data/mine{suffix}", 10 * GIB, head)
    refusal_of(tmp_path)


def test_a_line_of_a_million_characters_is_refused(tmp_path):
    root = tmp_path / "data/mine"
    made_faces.manifest(root)
    with (root / "manifest.csv").open("a") as file:
        file.write("x" * 2 * 2**20 + ",happy,me\n")

    assert "a label file is text" in refusal_of(tmp_path)


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_an_archive_that_would_fill_the_disk_is_refused_before_it_does(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALWAYS_UNPACKED", 2**20)
    write_sparse(tmp_path / "aside/happy/0.png", 50 * 2**20)
    (tmp_path / "data").mkdir()
    archive = tmp_path / f"data/mine{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.write(tmp_path / "aside/happy/0.png", "happy/0.png")
    else:
        pack(archive, tmp_path / "aside")

    assert "an archive may hold up to" in refusal_of(tmp_path)
