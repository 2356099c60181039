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
from made_faces import MADE


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
