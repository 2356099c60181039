"""What a data folder may hold that no one should put there: it is refused in a line, or counted, and nothing hangs.

A fourth of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer.datasets import SPLITS, Dataset, archives, data_folder, faces, load, same_files, survey
from fer.datasets import dataset as prepared_files
from fer.datasets.loading import find_copy
from fer.errors import InputError
from study import inputs
from study.datasets import main
from tests import made_faces

GIB = 2**30
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Ends a test that hangs, as one that waits for a pipe would."""

    def late(*_: object) -> None:
        raise KeyboardInterrupt("it took more than 20 s")  # no error, which might be caught

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def sampled(every: int, *values: Iterable[Any]) -> list:
    """Returns pytest's parameters for all combinations of values: every n-th by default, all of them if slow."""
    marks = {True: (), False: (pytest.mark.slow,)}
    combined = enumerate(itertools.product(*values))
    return [pytest.param(*case, marks=marks[number % every == 0]) for number, case in combined]


def read(folder: Path, name: str = "mine", **options: Any) -> Dataset:
    return load(name, data_dir=folder / "data", kind="real", cache_dir=folder / "cache", **options)


def refused(folder: Path, name: str = "mine") -> str:
    """Returns the one line that refuses a dataset, of which nothing is left in the cache."""
    with pytest.raises(InputError) as caught:
        read(folder, name)
    line = str(caught.value)
    assert line.isprintable() and len(line) < 1500
    cache = folder / "cache"
    assert not [path.name for path in cache.glob("*") if not path.name.endswith(".lock") and path.name != ".keys"]
    return line


def images_in(dataset: Dataset) -> int:
    return sum(dataset.report["sizes"].values())


def skipped(dataset: Dataset) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in dataset.report["skipped"].items()}


def small(root: Path, first: int = 0, count: int = 70) -> Path:
    """Writes a folder per expression; `first` tells two such datasets apart."""
    for number in range(count):
        made_faces.write(root / made_faces.FER_FOLDERS[number % 7] / f"{first + number}.png", number % 7)
    return root


def pack(archive: Path, folder: Path, prefix: str = "") -> Path:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [prefix + path.relative_to(folder).as_posix() for path in paths]
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path, name in zip(paths, names, strict=True):
                packed.write(path, name)
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tape:
            for path, name in zip(paths, names, strict=True):
                tape.add(path, name)
    return archive


# One name, one dataset.

ALIKE = [("set_1", "set-1", "set.1"), ("mine", "Mine", "MINE"), ("ab", "a.b", "a-b"), ("kplus", "k+", "k.plus")]


@pytest.mark.parametrize(("pair", "suffix"), sampled(4, ALIKE, ["", ".zip", ".tar"]))
def test_an_exact_name_wins_and_an_ambiguous_one_is_refused(pair, suffix, tmp_path):
    for count, name in zip((70, 77), pair[:2], strict=True):
        small(tmp_path / "aside" / name, count=count)
        (tmp_path / "data").mkdir(exist_ok=True)
        if suffix:
            pack(tmp_path / "data" / f"{name}{suffix}", tmp_path / "aside" / name)
        else:
            (tmp_path / "aside" / name).rename(tmp_path / "data" / name)
    line = refused(tmp_path, pair[2])
    assert all(f"{name}{suffix}" in line for name in pair[:2])
    for count, name in zip((70, 77), pair[:2], strict=True):
        assert images_in(read(tmp_path, name)) == count


@pytest.mark.parametrize("pair", ALIKE)
def test_two_spellings_of_one_folder_are_one_dataset(pair, tmp_path):
    small(tmp_path / "data" / pair[0])
    exact, other = read(tmp_path, pair[0]), read(tmp_path, pair[2])
    assert exact == other and exact.name == pair[0] and same_files(exact, other)


@pytest.mark.parametrize("way", ["link", "copy", "archive"])
def test_two_names_of_the_same_files_are_told(way, tmp_path):
    small(tmp_path / "data/mine")
    if way == "link":
        (tmp_path / "data/other").symlink_to("mine")
    elif way == "copy":
        shutil.copytree(tmp_path / "data/mine", tmp_path / "data/other")
    else:
        pack(tmp_path / "data/other.zip", tmp_path / "data/mine")
    small(tmp_path / "data/third")
    assert same_files(read(tmp_path, "mine"), read(tmp_path, "other"))
    assert not same_files(read(tmp_path, "mine"), read(tmp_path, "third"))


def test_stand_ins_that_are_one_drawing_are_told(tmp_path):
    tfeid, high, other = (
        load(name, data_dir=None, cache_dir=tmp_path, scale=0.1) for name in ("tfeid", "tfeid-high", "jaffe")
    )
    assert same_files(tfeid, high) and not same_files(tfeid, other)


def test_a_folder_wins_over_its_own_archive_and_two_archives_are_ambiguous(tmp_path):
    small(tmp_path / "data/mine", count=77)
    small(tmp_path / "aside")
    pack(tmp_path / "data/mine.zip", tmp_path / "aside")
    pack(tmp_path / "data/mine.tar", tmp_path / "aside")
    assert images_in(read(tmp_path)) == 77
    shutil.rmtree(tmp_path / "data/mine")
    shutil.rmtree(tmp_path / "cache")
    assert "mine.tar or mine.zip" in refused(tmp_path)


@pytest.mark.parametrize("names", [("CK+48", "cohn-kanade"), ("fer", "fer13"), ("JAFFE-images", "jaffedbase")])
def test_two_copies_of_a_known_dataset_are_ambiguous_unless_one_has_its_name(names, tmp_path):
    known = {"CK+48": "ckplus", "fer": "fer2013", "JAFFE-images": "jaffe"}[names[0]]
    for name in names:
        small(tmp_path / "data" / name)
    assert all(name in refused(tmp_path, known) for name in names)
    small(tmp_path / "data" / known)
    assert find_copy(known, tmp_path / "data") == tmp_path / "data" / known


@pytest.mark.parametrize("name", ["x" * 5000, "é" * 5000, "..", "a/b", "a\x1b[31m", "a\nb", "", " ", "a\udcff", "=1+1"])
def test_a_name_that_is_no_folders_is_refused_in_a_short_line(name, tmp_path):
    small(tmp_path / "data/mine")
    refused(tmp_path, name)


@pytest.mark.parametrize("folder", ["mine\x1b[31m", "mine[31m]", "mine\n31m", "mine\u202e31m", "-mine31m", "(mine)31m"])
def test_a_folder_whose_name_no_dataset_may_have_is_not_read_under_another(folder, tmp_path):
    small(tmp_path / "data" / folder)
    assert "a dataset's name is a folder's name" in refused(tmp_path, "mine31m")


@pytest.mark.parametrize("name", ["n" * 240, "é" * 120, "名" * 80])
def test_a_name_as_long_as_a_file_system_takes_is_read(name, tmp_path):
    small(tmp_path / "data" / name)
    dataset = read(tmp_path, name)
    assert dataset.name == name and len(dataset.open("train")) and read(tmp_path, name) == dataset


# Special files.


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
    assert "a dataset is a folder, or a zip or tar file" in refused(tmp_path)
    assert survey(tmp_path / "data")["mine"] is not None


@pytest.mark.parametrize(("make", "place"), sampled(4, SPECIAL, ["happy/special.png", "special.txt", "manifest.csv"]))
def test_a_special_file_in_a_copy_is_skipped_and_counted(make, place, tmp_path):
    small(tmp_path / "data/mine")
    make(tmp_path / "data/mine" / place)
    dataset = read(tmp_path)
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
        dataset = read(tmp_path)
    except InputError as error:
        assert "a link out of it" in str(error)
    else:
        assert images_in(dataset) == 69 and skipped(dataset)["named in manifest.csv but not there"] == 1


@pytest.mark.parametrize("make", SPECIAL)
def test_a_data_folder_that_is_none_is_refused(make, tmp_path):
    make(tmp_path / "data")
    assert "--data names a folder" in refused(tmp_path)


@pytest.mark.parametrize("target", [".", "..", "../mine", "/", "happy"])
def test_a_link_to_a_folder_is_not_followed(target, tmp_path):
    small(tmp_path / "data/mine")
    (tmp_path / "data/mine/sad/again").symlink_to(target)
    assert images_in(read(tmp_path)) == 70


# Sizes are looked at before a file is read.


def sparse(path: Path, size: int, head: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)
    return path


@pytest.mark.parametrize(
    "head", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"P5 48 48 255\n", b"%!PS-Adobe-3.0"]
)
@pytest.mark.parametrize("size", sampled(2, [10 * GIB, 300 * 2**20]))
def test_a_huge_image_is_skipped(head, size, tmp_path):
    small(tmp_path / "data/mine")
    sparse(tmp_path / "data/mine/happy/huge.png", size, head)
    started = time.monotonic()
    assert skipped(read(tmp_path)) == {"unreadable file (file of more than 200 MiB)": 1}
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
    small(tmp_path / "data" / name)
    sparse(tmp_path / "data" / name / file, 10 * GIB, head)
    assert "file of more than 1 GiB" in refused(tmp_path, name)


@pytest.mark.parametrize(
    ("head", "suffix"),
    sampled(5, [b"", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"PK\x03\x04", b"a" * 600], data_folder.ARCHIVES),
)
def test_a_huge_archive_of_nothing_is_refused(suffix, head, tmp_path):
    sparse(tmp_path / f"data/mine{suffix}", 10 * GIB, head)
    refused(tmp_path)


def test_a_line_of_a_million_characters_is_refused(tmp_path):
    root = tmp_path / "data/mine"
    made_faces.manifest(root)
    with (root / "manifest.csv").open("a") as file:
        file.write("x" * 2 * 2**20 + ",happy,me\n")
    assert "a label file is text" in refused(tmp_path)


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_an_archive_that_would_fill_the_disk_is_refused_before_it_does(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALWAYS_UNPACKED", 2**20)
    sparse(tmp_path / "aside/happy/0.png", 50 * 2**20)
    (tmp_path / "data").mkdir()
    archive = tmp_path / f"data/mine{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.write(tmp_path / "aside/happy/0.png", "happy/0.png")
    else:
        pack(archive, tmp_path / "aside")
    assert "an archive may hold up to" in refused(tmp_path)


# Archives: all of one, or a line.


def tape(folder: Path, count: int = 21) -> bytes:
    """Returns a tar file of small images."""
    small(folder, count=count)
    return pack(folder.with_suffix(".tar"), folder).read_bytes()


def member_starts(content: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        return [member.offset for member in opened]


def unpacked(folder: Path, content: bytes, suffix: str) -> list[str] | None:
    """Returns the names of what an archive holds, None where it is refused."""
    archive, inside = folder / f"it{suffix}", folder / "inside"
    archive.write_bytes(content)
    inside.mkdir()
    try:
        archives.unpack(archive, inside, defaultdict(list))
    except InputError as error:
        assert "readable zip or tar file" in str(error) and str(error).isprintable()
        return None
    return sorted(path.relative_to(inside).as_posix() for path in inside.rglob("*") if path.is_file())


@pytest.mark.parametrize("twentieth", sampled(5, range(20)))
def test_a_truncated_tar_is_refused_wherever_it_ends(twentieth, tmp_path):
    content = tape(tmp_path / "faces")
    assert len(unpacked(tmp_path, content, ".tar") or ()) == 21
    end = member_starts(content)[-1] + 512
    cut = [max(1, end * twentieth // 20), end * twentieth // 20 // 512 * 512]
    for number, place in enumerate(place for place in cut if place):
        (tmp_path / str(number)).mkdir()
        assert unpacked(tmp_path / str(number), content[:place], ".tar") is None


@pytest.mark.parametrize("number", sampled(5, range(21)))
def test_a_tar_with_a_zeroed_header_is_refused(number, tmp_path):
    content = bytearray(tape(tmp_path / "faces"))
    start = member_starts(bytes(content))[number]
    content[start : start + 512] = bytes(512)
    assert unpacked(tmp_path, bytes(content), ".tar") is None


@pytest.mark.parametrize("number", range(0, 21, 4))
def test_a_tar_with_a_damaged_header_is_refused(number, tmp_path):
    content = bytearray(tape(tmp_path / "faces"))
    content[member_starts(bytes(content))[number] + 150] ^= 1
    assert unpacked(tmp_path, bytes(content), ".tar") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.rstrip(b"\0") + bytes(-len(content.rstrip(b"\0")) % 512),
        lambda content: content + b"more",
        lambda content: content + content,
        lambda content: content[:-1024] + b"\1" * 1024,
    ],
    ids=["without an end mark", "with a rest", "twice", "with a dirty end"],
)
def test_a_tar_that_does_not_end_as_one_is_refused(spoil, tmp_path):
    assert unpacked(tmp_path, spoil(tape(tmp_path / "faces")), ".tar") is None


@pytest.mark.parametrize("place", [20, 200, -9, -5, -1])
def test_a_compressed_tar_with_a_damaged_byte_is_refused(place, tmp_path):
    small(tmp_path / "faces", count=21)
    content = bytearray(pack(tmp_path / "faces.tgz", tmp_path / "faces").read_bytes())
    content[place] ^= 0xFF
    assert unpacked(tmp_path, bytes(content), ".tgz") is None


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_refused(kind, tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 8 * GIB
    path = sparse(tmp_path / "it.tar", 9 * GIB, header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(InputError, match="a header of more than 1 MiB"):
        archives.unpack(path, tmp_path / "inside", defaultdict(list))


@pytest.mark.parametrize(
    ("again", "suffix"),
    sampled(3, ["happy/0.png", "./happy/0.png", "happy//0.png", "happy\\0.png", "happy/./0.png"], [".zip", ".tar"]),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_an_archive_holds_twice_is_refused(again, suffix, tmp_path):
    small(tmp_path / "aside")
    made_faces.write(tmp_path / "aside/happy/0.png", 3)
    (tmp_path / "data").mkdir()
    archive = pack(tmp_path / f"data/mine{suffix}", tmp_path / "aside")
    with zipfile.ZipFile(archive, "a") if suffix == ".zip" else tarfile.open(archive, "a") as packed:
        add = packed.write if isinstance(packed, zipfile.ZipFile) else packed.add
        add(made_faces.write(tmp_path / "other.png", 3), again)
    assert "names every file once" in refused(tmp_path)


@pytest.mark.parametrize("suffixes", [(".zip", ".zip"), (".zip", ".tar"), (".tar", ".tgz")])
def test_a_name_that_two_archives_of_a_dataset_hold_is_refused(suffixes, tmp_path):
    for part, suffix in enumerate(suffixes):
        small(tmp_path / f"aside{part}", first=35 * part)
        (tmp_path / "data/mine").mkdir(parents=True, exist_ok=True)
        pack(tmp_path / f"data/mine/part{part}{suffix}", tmp_path / f"aside{part}")
    assert "names every file once" in refused(tmp_path)


@pytest.mark.parametrize("error", [28, 122])
def test_a_full_disk_is_not_blamed_on_the_archive(error, tmp_path, monkeypatch):
    small(tmp_path / "aside")
    (tmp_path / "data").mkdir()
    pack(tmp_path / "data/mine.zip", tmp_path / "aside")

    def full(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match=os.strerror(error)):
        read(tmp_path)
    assert not list((tmp_path / "cache").glob(".unpacked*"))


# Tables.

ODD = {
    "line separator": "a\u2028b", "paragraph separator": "a\u2029b", "next line": "a\x85b", "form feed": "a\fb",
    "vertical tab": "a\vb", "file separator": "a\x1cb", "record separator": "a\x1eb", "newline": "a\nb",
    "carriage return": "a\rb", "both": "a\r\nb", "comma": "a,b", "quote": 'a"b', "no-break space": "\xa0ab",
    "begins with a line separator": "\u2028ab", "emoji": "a😀b", "right to left": "a\u202eb", "escape": "a\x1b[31mb",
    "formula": "=cmd()",
}  # fmt: skip


@pytest.mark.parametrize("case", sampled(3, ODD))
def test_a_path_in_a_manifest_may_hold_any_character_of_a_files_name(case, tmp_path):
    root = tmp_path / "data/mine"
    made_faces.manifest(root)
    odd = f"pictures/{ODD[case]}.png"
    (root / "pictures/0.png").rename(root / odd)
    cell = '"' + odd.replace('"', '""') + '"'
    lines = (root / "manifest.csv").read_text().replace("pictures/0.png", cell)
    (root / "manifest.csv").write_bytes(lines.encode())
    dataset = read(tmp_path)
    assert images_in(dataset) == 70 and not skipped(dataset)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('"pictures/0.png,happy,me', "a label file is text"),
        ('"pictures/0.png"x,happy,me', "a label file is text"),
        ("pictures/a,b.png,happy,me", "has a cell per column"),
        ("p" * 5000 + ".png,happy,me/..", None),
        ("pictures/0.png," + "h" * 5000 + ",me", None),
        ("pictures/0.png,happy," + "s" * 5000, None),
        ("pictures/\x1b[2J.png,happy,me", None),
        ("=1+1,=1+1,=1+1", None),
    ],
)
def test_a_row_is_read_refused_or_counted_but_swallows_no_other(row, message, tmp_path):
    root = tmp_path / "data/mine"
    made_faces.manifest(root)
    lines = (root / "manifest.csv").read_text().splitlines()
    (root / "manifest.csv").write_text("\n".join([lines[0], row, *lines[2:]]) + "\n")
    if message:
        assert message in refused(tmp_path)
        return
    report = read(tmp_path).report
    assert sum(report["sizes"].values()) + sum(skipped(read(tmp_path)).values()) == 70
    text = json.dumps(report, ensure_ascii=False)
    assert text.replace("\n", "").isprintable() and len(text) < 20_000


@pytest.mark.parametrize("case", ["line separator", "next line", "form feed", "vertical tab", "record separator"])
def test_a_list_without_a_header_loses_no_line(case, tmp_path):
    root = tmp_path / "data/rafdb"
    made_faces.rafdb(root)
    label_file = root / "EmoLabel/list_patition_label.txt"
    lines = label_file.read_text().splitlines()
    label_file.write_bytes("\n".join([*lines, f"train_{ODD[case]}.jpg 1"]).encode())
    dataset = read(tmp_path, "rafdb")
    assert images_in(dataset) == 70 and sum(skipped(dataset).values()) == 1


# Images.


def saved(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(made_faces.face(3, 0, 100)).convert("1" if kind in ("XBM", "MSP") else "L").save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "suffix"),
    sampled(3, ["EPS", "PCX", "SGI", "TGA", "MSP", "XBM", "ICO", "JPEG2000", "DDS"], [".jpg", ".png"]),
)
def test_a_format_that_no_layout_has_is_not_opened(kind, suffix, tmp_path, monkeypatch):
    program = tmp_path / "bin/gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    content = saved(kind)
    small(tmp_path / "data/mine")
    (tmp_path / f"data/mine/happy/odd{suffix}").write_bytes(content)
    dataset = read(tmp_path)
    assert images_in(dataset) == 70
    assert list(skipped(dataset)) == [f"not an image ({', '.join(faces.FORMATS)})"]
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("kind", faces.FORMATS)
def test_the_formats_of_layouts_are_opened_under_any_name(kind):
    assert faces.decode(saved(kind)).shape == (100, 100)


def test_every_image_is_opened_with_a_list_of_formats():
    packages = [path for package in ("fer", "search_spaces", "study") for path in (ROOT / package).rglob("*.py")]
    opened = [line for path in packages for line in path.read_text().splitlines() if "Image.open(" in line]
    assert opened and all("formats=" in line for line in opened)


# Names that are no text.


def no_utf8(folder: Path) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"\xff\x1b[31m"))


@pytest.mark.parametrize("where", sampled(2, ["file", "folder", "data", "out", "link"]))
def test_a_name_that_is_no_text_reaches_neither_report_nor_terminal(where, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    if where in ("data", "out"):
        data, out = (no_utf8(data), out) if where == "data" else (data, no_utf8(out))
    root = small(data / "mine")
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


# Prepared data is used as it was written, or prepared again.

PREPARED = [name for split in SPLITS for name in prepared_files.file_names(split)] + [prepared_files.SIGNATURES]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


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
    dataset = read(folder)
    return SimpleNamespace(folder=folder, dataset=dataset, content=contents(dataset))


def contents(dataset: Dataset) -> dict[str, bytes]:
    splits = {split: dataset.open(split) for split in ("train", "validation")} | {"test": dataset.open_test()}
    return {
        f"{split}.{name}": np.array(part).tobytes()
        for split, parts in splits.items()
        for name, part in vars(parts).items()
    }


@pytest.mark.parametrize(("name", "damage"), sampled(7, [*PREPARED, "report.json", prepared_files.SUMS], DAMAGES))
def test_what_was_damaged_is_prepared_again_by_the_next_run(name, damage, prepared):
    damage(prepared.dataset.folder / name)
    again = read(prepared.folder)
    assert again == prepared.dataset and contents(again) == prepared.content
    assert {**again.report, "seconds": 0} == {**prepared.dataset.report, "seconds": 0}


@pytest.mark.parametrize(("name", "damage"), sampled(7, PREPARED, DAMAGES))
def test_what_is_damaged_during_a_run_is_prepared_again_when_it_is_opened(name, damage, prepared):
    dataset = read(prepared.folder)
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


@pytest.mark.parametrize(("name", "damage"), sampled(5, ["train.images.npy", "test.labels.npy"], DAMAGES))
def test_a_worker_opens_the_studys_dataset_though_it_was_damaged_or_deleted(name, damage, tmp_path):
    made_faces.manifest(tmp_path / "data/mine")
    options = {
        "data": str(tmp_path / "data"), "out": str(tmp_path / "runs"), "equalise": False, "keep_duplicates": False,
        "seed": 0, "preset": "tiny",
    }  # fmt: skip
    record = inputs.dataset_record(inputs.prepare_dataset("mine", options, "real"))
    opened = inputs.reopen_dataset(record, options)
    before = contents(opened)
    damage(opened.folder / name)
    assert contents(opened) == before
    damage(opened.folder / name)
    assert contents(inputs.reopen_dataset(record, options).divided(0, 4, 0)).keys() == before.keys()


def test_a_worker_refuses_other_data_in_the_place_of_what_is_gone(tmp_path):
    made_faces.manifest(tmp_path / "data/mine")
    options = {
        "data": str(tmp_path / "data"), "out": str(tmp_path / "runs"), "equalise": False, "keep_duplicates": False,
        "seed": 0, "preset": "tiny",
    }  # fmt: skip
    record = inputs.dataset_record(inputs.prepare_dataset("mine", options, "real"))
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
    assert read(prepared.folder) == prepared.dataset
    assert key.read_text() == prepared.dataset.digest


@pytest.mark.parametrize("content", [b"[]", b"null", b"1", b"{}", b'{"train.images.npy": "x"}', b"[" * 10**5, b"\xff"])
def test_checksums_that_are_none_are_made_again(content, prepared):
    (prepared.dataset.folder / prepared_files.SUMS).write_bytes(content)
    assert contents(read(prepared.folder)) == prepared.content


def test_a_file_is_verified_once_per_process(prepared, monkeypatch):
    dataset = read(prepared.folder)
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
    small(tmp_path / "data/mine")
    read(tmp_path)
    assert not killed.exists() and (living / "half").exists()
    started[1].kill()
    started[1].wait()
    read(tmp_path)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith((".unpacked", ".partial"))]


@pytest.mark.parametrize("name", [".unpacked-abc123", ".partial-abc123"])
def test_a_folder_without_a_lock_was_left_by_a_killed_process(name, tmp_path):
    small(tmp_path / "cache" / name)
    small(tmp_path / "data/mine")
    read(tmp_path)
    assert not (tmp_path / "cache" / name).exists()
