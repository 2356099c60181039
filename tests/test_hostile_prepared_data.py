"""Prepared data is used as it was written, or prepared again; what killed processes left is deleted.

A seventh of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import made_faces
from fer.datasets import SPLITS, Dataset
from fer.datasets import dataset as prepared_files
from fer.errors import InputError
from hostile import flipped, sampled
from made_data import read_copy, write_small
from study import inputs
from study.record import DatasetRecord

pytestmark = pytest.mark.usefixtures("twenty_seconds")


PREPARED = [name for split in SPLITS for name in prepared_files.file_names(split)] + [prepared_files.SIGNATURES]


def flip(path: Path) -> None:
    path.write_bytes(flipped(path.read_bytes(), -3))


def flip_in_place(path: Path) -> None:
    """Damages a byte and keeps the file's size, as a disk does."""
    with path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        byte = file.read(1)[0]
        file.seek(-3, os.SEEK_END)
        file.write(bytes([byte ^ 1]))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def deleted(path: Path) -> None:
    path.unlink()


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def folder_deleted(path: Path) -> None:
    shutil.rmtree(path.parent)


DAMAGES = [flip, flip_in_place, cut, emptied, deleted, piped, a_folder, folder_deleted]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A dataset with people, and what its arrays are."""
    folder = tmp_path_factory.mktemp("prepared")
    made_faces.manifest(folder / "data/mine")
    dataset = read_copy(folder)
    return SimpleNamespace(folder=folder, dataset=dataset, content=contents(dataset))


def contents(dataset: Dataset) -> dict[str, bytes]:
    """Returns the bytes of every array of a dataset."""
    found = {}
    for split in SPLITS:
        arrays = dataset.open_test() if split == "test" else dataset.open(split)
        for name, array in vars(arrays).items():
            found[f"{split}.{name}"] = np.array(array).tobytes()
    return found


@pytest.mark.parametrize(("name", "damage"), sampled(7, [*PREPARED, "report.json", prepared_files.SUMS], DAMAGES))
def test_what_was_damaged_is_prepared_again_by_the_next_run(name, damage, prepared):
    damage(prepared.dataset.folder / name)
    again = read_copy(prepared.folder)

    assert again == prepared.dataset and contents(again) == prepared.content
    assert {**again.report, "seconds": 0} == {**prepared.dataset.report, "seconds": 0}


@pytest.mark.parametrize(("name", "damage"), sampled(7, PREPARED, DAMAGES))
def test_what_is_damaged_during_a_run_is_prepared_again_when_it_is_opened(name, damage, prepared):
    dataset = read_copy(prepared.folder)
    assert contents(dataset) == prepared.content

    damage(dataset.folder / name)
    assert contents(dataset) == prepared.content
    assert [len(rows) for rows in dataset.signatures().values()] == list(dataset.report["sizes"].values())


@pytest.mark.parametrize(("name", "damage"), sampled(7, PREPARED[:9], DAMAGES))
def test_what_is_damaged_and_cannot_be_prepared_again_is_an_error(name, damage, prepared, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(prepared.dataset.folder, folder)
    dataset = replace(prepared.dataset, folder=folder, restore=None)

    damage(folder / name)

    with pytest.raises(InputError) as caught:
        contents(dataset)
    assert "prepared data is read as it was written" in str(caught.value) and str(caught.value).isprintable()


def prepare_for_a_study(folder: Path) -> tuple[dict, DatasetRecord]:
    """Prepares a dataset as a study's parent does; returns the study's options and its record of the dataset."""
    made_faces.manifest(folder / "data/mine")
    options = {
        "data": str(folder / "data"), "out": str(folder / "runs"), "equalise": False, "keep_duplicates": False,
        "seed": 0, "preset": "tiny",
    }  # fmt: skip
    record = inputs.dataset_record(inputs.prepare_dataset("mine", options, "real"))
    return options, record


@pytest.mark.parametrize(("name", "damage"), sampled(5, ["train.images.npy", "test.labels.npy"], DAMAGES))
def test_a_worker_opens_the_studys_dataset_though_it_was_damaged_or_deleted(name, damage, tmp_path):
    options, record = prepare_for_a_study(tmp_path)
    opened = inputs.reopen_dataset(record, options)
    before = contents(opened)
    damage(opened.folder / name)
    assert contents(opened) == before

    damage(opened.folder / name)
    assert contents(inputs.reopen_dataset(record, options).divided(0, 4, 0)).keys() == before.keys()


def test_a_worker_refuses_other_data_in_the_place_of_what_is_gone(tmp_path):
    options, record = prepare_for_a_study(tmp_path)
    opened = inputs.reopen_dataset(record, options)
    shutil.rmtree(opened.folder)
    made_faces.write(tmp_path / "data/mine/pictures/0.png", 0)

    with pytest.raises(InputError, match="need the data it was started with"):
        opened.open("train")
    with pytest.raises(InputError, match="need the data it was started with"):
        inputs.reopen_dataset(record, options)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../../etc", b"0" * 16, b"[" * 50])
def test_a_key_that_leads_nowhere_is_made_again(content, prepared):
    (key,) = (prepared.folder / "cache/.keys").iterdir()
    key.write_bytes(content)

    assert read_copy(prepared.folder) == prepared.dataset
    assert key.read_text() == prepared.dataset.digest


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b"{}", b'{"train.images.npy": "x"}', b"[" * 10**5, b"\xff"])
def test_checksums_that_are_none_are_made_again(content, prepared):
    (prepared.dataset.folder / prepared_files.SUMS).write_bytes(content)
    assert contents(read_copy(prepared.folder)) == prepared.content


def test_a_file_is_verified_once_per_process(prepared, monkeypatch):
    dataset = read_copy(prepared.folder)
    contents(dataset)

    monkeypatch.setattr(prepared_files, "sum_of", lambda _: pytest.fail("verified again"))

    assert contents(dataset) == prepared.content


# Leftovers.

UNPACKS = """
import sys, time
from pathlib import Path
from fer.datasets import scratch
with scratch.scratch_folder(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "half").write_bytes(bytes(1000))
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("purpose", ["unpacked", "partial"])
def test_what_a_killed_process_unpacked_is_deleted_and_a_living_ones_stays(purpose, tmp_path):
    (tmp_path / "cache").mkdir()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", UNPACKS, str(tmp_path / "cache"), purpose], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    killed, living = (Path(process.stdout.readline().strip()) for process in started if process.stdout)
    started[0].kill()
    started[0].wait()
    write_small(tmp_path / "data/mine")
    read_copy(tmp_path)
    assert not killed.exists() and (living / "half").exists()

    started[1].kill()
    started[1].wait()
    read_copy(tmp_path)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith((".unpacked", ".partial"))]


@pytest.mark.parametrize("name", [".unpacked-abc123", ".partial-abc123"])
def test_a_folder_without_a_lock_was_left_by_a_killed_process(name, tmp_path):
    write_small(tmp_path / "cache" / name)
    write_small(tmp_path / "data/mine")

    read_copy(tmp_path)

    assert not (tmp_path / "cache" / name).exists()
