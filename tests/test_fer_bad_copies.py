"""Bad copies of datasets: one line each, nothing is left in the cache; a few bad rows are skipped and counted."""

import json
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import made_faces
from fer.datasets import (
    SPLITS,
    archives,
    copy_files,
)
from fer.errors import InputError
from made_data import Loader, images_in, skipped
from recorder import raising

Lines = list[str]


def edited(file: str, change: Callable[[Lines], Lines]) -> Callable[[Path], None]:
    """Returns a writer of a copy whose table, fer2013.csv or manifest.csv, has had its lines changed."""
    write = made_faces.manifest if file == "manifest.csv" else made_faces.fer_csv

    def write_edited(root: Path) -> None:
        write(root)
        lines = (root / file).read_text().splitlines()
        (root / file).write_text("\n".join(change(lines)))

    return write_edited


def manifest(change: Callable[[Lines], Lines]) -> Callable[[Path], None]:
    return edited("manifest.csv", change)


def pixels(change: Callable[[Lines], Lines]) -> Callable[[Path], None]:
    return edited("fer2013.csv", change)


def with_header(header: str) -> Callable[[Lines], Lines]:
    return lambda lines: [header, *lines[1:]]


def with_row(row: str) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines, row]


def with_rows(change: Callable[[str], str]) -> Callable[[Lines], Lines]:
    """Changes each line but the header."""
    return lambda lines: [lines[0], *map(change, lines[1:])]


def without_last_subject(lines: Lines) -> Lines:
    path_and_expression, _ = lines[-1].rsplit(",", 1)
    return [*lines[:-1], f"{path_and_expression},"]


def with_unknown_split(lines: Lines) -> Lines:
    header, *rows = lines
    return [f"{header},split", *(f"{row},training2b" for row in rows)]


def with_crossing_subjects(lines: Lines) -> Lines:
    """Changes the split after every five rows, which show five people."""
    header, *rows = lines
    return [f"{header},split", *(f"{row},{SPLITS[number // 5 % 3]}" for number, row in enumerate(rows))]


def without_readable_pixels(lines: Lines) -> Lines:
    return [lines[0], *(f"{number % 7},1 2 3,Training" for number in range(9))]


def one_expression(root: Path) -> None:
    for number in range(9):
        made_faces.write(root / "happy" / f"{number}.png", 3)


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
    "csv without a column": ("fer2013", pixels(with_header("a,b,Usage")), "needs the columns emotion, pixels"),
    "all pixel counts wrong": ("fer2013", pixels(without_readable_pixels), "9 × not 2304 pixels"),
    "labels out of range": ("fer2013", pixels(with_rows(lambda row: "7" + row[1:])), "label out of range: '7'"),
    "csv without rows": ("fer2013", pixels(lambda lines: lines[:1]), "no rows"),
    "an empty csv": ("fer2013", pixels(lambda lines: []), "the columns none"),
    "no images of an expression": ("fer2013", no_expression, "none of disgust"),
    "an empty split": (
        "fer2013",
        pixels(with_rows(lambda row: row.replace("Training", "PublicTest"))),
        "own splits have training images",
    ),
    "no images": ("jaffe", lambda root: (root / "sub").mkdir(parents=True), "no files"),
    "one expression": ("mine", one_expression, "two"),
    "two subjects": ("mine", lambda root: made_faces.manifest(root, people=2), "2 subjects"),
    "duplicate rows": ("mine", manifest(lambda lines: [*lines, lines[5]]), "again in line 72"),
    "an empty manifest": ("mine", manifest(lambda lines: lines[:1]), "no rows"),
    "a manifest without paths": ("mine", manifest(with_header("file,expression,subject")), "Add path"),
    "a path that climbs": ("mine", manifest(with_row("../../outside.png,happy,a")), "stays inside"),
    "an absolute path": ("mine", manifest(with_row("/etc/passwd,happy,a")), "stays inside"),
    "a Windows path": ("mine", manifest(with_row(r"C:\faces\a.png,happy,a")), "stays inside"),
    "a link out": ("mine", link_out, "a link out of it"),
    "a row without subject": ("mine", manifest(without_last_subject), "column subject"),
    "an unknown split": ("mine", manifest(with_unknown_split), "train, validation or test"),
    "a subject in two splits": ("mine", manifest(with_crossing_subjects), "a subject is in one split only"),
    "an archive that climbs": ("mine", climbing_archive, "stays inside"),
    "a damaged archive": ("mine", damaged_archive, "readable zip or tar"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_copy_is_refused_in_one_line_and_leaves_nothing(case: str, tmp_path: Path, read: Loader) -> None:
    name, writer, message = BAD[case]
    writer(tmp_path / "data" / name)

    with pytest.raises(InputError) as caught:
        read(name, "auto")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*-*")) + list((tmp_path / "cache").glob(".unpacked*"))
    assert not (tmp_path / "evil.png").exists()


def test_a_few_bad_rows_are_skipped(tmp_path: Path, read: Loader) -> None:
    too_bright = " ".join(["300"] * 48 * 48)
    bad_rows = ["9,1,Training", "1,1 2,Training", "1,a b,Training", f"1,{too_bright},Training"]
    write = pixels(lambda lines: [*lines, *bad_rows])
    write(tmp_path / "data/fer2013")

    dataset = read("fer2013")

    assert images_in(dataset) == 42
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
def test_a_name_or_kind_that_is_none_is_refused(
    name: str, kind: str, message: str, tmp_path: Path, read: Loader
) -> None:
    made_faces.jaffe(tmp_path / "data/jaffe")
    with pytest.raises(InputError, match=message):
        read(name, kind)


@pytest.mark.parametrize("kind", ["auto", "real"])
@pytest.mark.parametrize("state", ["missing", "empty", "file", "unreadable"])
def test_a_data_folder_that_is_missing_empty_or_unreadable_is_refused(
    kind: str, state: str, tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    if state == "file":
        data.write_text("")
    elif state != "missing":
        data.mkdir()
    if state == "unreadable":  # permissions do not stop root, who may run the tests
        monkeypatch.setattr(Path, "iterdir", raising(PermissionError(13, "Permission denied")))

    with pytest.raises(InputError, match="--data names a folder"):
        read("jaffe", kind)


def test_a_folder_within_a_copy_that_cannot_be_read_is_refused(
    tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
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

    assert images_in(dataset) == 141
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

    assert images_in(dataset) == 140 and skipped(dataset) == {"a link or special file in an archive": 1}


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_UNPACKED", 10_000)
    (tmp_path / "data").mkdir()
    with zipfile.ZipFile(tmp_path / "data/jaffe.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("KA.AN1.1.tiff", b"\0" * 100_000)

    with pytest.raises(InputError, match="an archive may hold up to"):
        read("jaffe")


def test_names_that_are_no_utf8_and_many_reasons_are_reported(tmp_path: Path, read: Loader) -> None:
    root = tmp_path / "data/mine"
    made_faces.plain_folders(root)
    for number in range(40):
        made_faces.write(root / f"person {number}" / "a.png", 0)
    Path(os.fsdecode(os.fsencode(root / "happy") + b"/\xff.png")).write_bytes(b"")

    dataset = read("mine")

    assert len(dataset.report["skipped"]) == 31 and skipped(dataset)["other reasons"] == 11

    json.dumps(dict(dataset.report), ensure_ascii=False).encode()


def test_a_label_file_that_cannot_be_read_is_refused(
    tmp_path: Path, read: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_faces.manifest(tmp_path / "data/mine")

    monkeypatch.setattr(copy_files.DatasetCopy, "read", raising(PermissionError(13, "Permission denied")))

    with pytest.raises(InputError, match="label files must be readable"):
        read("mine")
