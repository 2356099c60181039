"""Names of datasets, folders and files that are ambiguous, too long or no text: one name is one dataset.

A fourth of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from fer.datasets import load, same_files
from fer.datasets.lookup import find_copy
from hostile import sampled
from made_data import images_in, pack, read_copy, refusal_of, write_small
from study.datasets import main

pytestmark = pytest.mark.usefixtures("twenty_seconds")


ALIKE = [("set_1", "set-1", "set.1"), ("mine", "Mine", "MINE"), ("ab", "a.b", "a-b"), ("kplus", "k+", "k.plus")]


@pytest.mark.parametrize(("pair", "suffix"), sampled(4, ALIKE, ["", ".zip", ".tar"]))
def test_an_exact_name_wins_and_an_ambiguous_one_is_refused(pair, suffix, tmp_path):
    for count, name in zip((70, 77), pair[:2], strict=True):
        write_small(tmp_path / "aside" / name, count=count)
        (tmp_path / "data").mkdir(exist_ok=True)
        if suffix:
            pack(tmp_path / "data" / f"{name}{suffix}", tmp_path / "aside" / name)
        else:
            (tmp_path / "aside" / name).rename(tmp_path / "data" / name)
    line = refusal_of(tmp_path, pair[2])

    assert all(f"{name}{suffix}" in line for name in pair[:2])
    for count, name in zip((70, 77), pair[:2], strict=True):
        assert images_in(read_copy(tmp_path, name)) == count


@pytest.mark.parametrize("pair", ALIKE)
def test_two_spellings_of_one_folder_are_one_dataset(pair, tmp_path):
    write_small(tmp_path / "data" / pair[0])
    exact, other = read_copy(tmp_path, pair[0]), read_copy(tmp_path, pair[2])
    assert exact == other and exact.name == pair[0] and same_files(exact, other)


@pytest.mark.parametrize("way", ["link", "copy", "archive"])
def test_two_names_of_the_same_files_are_told(way, tmp_path):
    write_small(tmp_path / "data/mine")
    if way == "link":
        (tmp_path / "data/other").symlink_to("mine")
    elif way == "copy":
        shutil.copytree(tmp_path / "data/mine", tmp_path / "data/other")
    else:
        pack(tmp_path / "data/other.zip", tmp_path / "data/mine")
    write_small(tmp_path / "data/third")

    assert same_files(read_copy(tmp_path, "mine"), read_copy(tmp_path, "other"))
    assert not same_files(read_copy(tmp_path, "mine"), read_copy(tmp_path, "third"))


def test_stand_ins_that_are_one_drawing_are_told(tmp_path):
    tfeid, high, other = (
        load(name, data_dir=None, cache_dir=tmp_path, scale=0.1) for name in ("tfeid", "tfeid-high", "jaffe")
    )
    assert same_files(tfeid, high) and not same_files(tfeid, other)


def test_a_folder_wins_over_its_own_archive_and_two_archives_are_ambiguous(tmp_path):
    write_small(tmp_path / "data/mine", count=77)
    write_small(tmp_path / "aside")
    pack(tmp_path / "data/mine.zip", tmp_path / "aside")
    pack(tmp_path / "data/mine.tar", tmp_path / "aside")
    assert images_in(read_copy(tmp_path)) == 77

    shutil.rmtree(tmp_path / "data/mine")
    shutil.rmtree(tmp_path / "cache")
    assert "mine.tar or mine.zip" in refusal_of(tmp_path)


@pytest.mark.parametrize("names", [("CK+48", "cohn-kanade"), ("fer", "fer13"), ("JAFFE-images", "jaffedbase")])
def test_two_copies_of_a_known_dataset_are_ambiguous_unless_one_has_its_name(names, tmp_path):
    known = {"CK+48": "ckplus", "fer": "fer2013", "JAFFE-images": "jaffe"}[names[0]]
    for name in names:
        write_small(tmp_path / "data" / name)
    assert all(name in refusal_of(tmp_path, known) for name in names)

    write_small(tmp_path / "data" / known)
    assert find_copy(known, tmp_path / "data") == tmp_path / "data" / known


@pytest.mark.parametrize("name", ["x" * 5000, "é" * 5000, "..", "a/b", "a\x1b[31m", "a\nb", "", " ", "a\udcff", "=1+1"])
def test_a_name_that_is_no_folders_is_refused_in_a_short_line(name, tmp_path):
    write_small(tmp_path / "data/mine")
    refusal_of(tmp_path, name)


@pytest.mark.parametrize("folder", ["mine\x1b[31m", "mine[31m]", "mine\n31m", "mine\u202e31m", "-mine31m", "(mine)31m"])
def test_a_folder_whose_name_no_dataset_may_have_is_not_read_under_another(folder, tmp_path):
    write_small(tmp_path / "data" / folder)
    assert "a dataset's name is a folder's name" in refusal_of(tmp_path, "mine31m")


@pytest.mark.parametrize("name", ["n" * 240, "é" * 120, "名" * 80])
def test_a_name_as_long_as_a_file_system_takes_is_read(name, tmp_path):
    write_small(tmp_path / "data" / name)
    dataset = read_copy(tmp_path, name)
    assert dataset.name == name and len(dataset.open("train")) and read_copy(tmp_path, name) == dataset


def no_utf8(folder: Path) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"\xff\x1b[31m"))


@pytest.mark.parametrize("where", sampled(2, ["file", "folder", "data", "out", "link"]))
def test_a_name_that_is_no_text_reaches_neither_report_nor_terminal(where, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    if where in ("data", "out"):
        data, out = (no_utf8(data), out) if where == "data" else (data, no_utf8(out))
    root = write_small(data / "mine")
    if where == "file":
        shutil.copy(root / "happy/3.png", no_utf8(root / "happy/odd"))
    elif where == "folder":
        shutil.copytree(root / "happy", no_utf8(root / "odd"))
    elif where == "link":
        shutil.copytree(root, no_utf8(data / "other"))
        no_utf8(data / "mine/happy/odd").symlink_to("nowhere")
    words = ["--data", str(data), "--out", str(out)]
    if where in ("data", "out"):  # what the user types is text
        assert main(words) == 2
        assert capsys.readouterr().err.rstrip("\n").isprintable()
        return

    assert main(words) == 0
    assert main(["mine", *words]) == 0
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable() and said.encode()
    (report,) = out.glob(".cache/datasets/mine-*/report.json")
    json.dumps(json.loads(report.read_text()), ensure_ascii=False).encode()
