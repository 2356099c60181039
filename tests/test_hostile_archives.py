"""Archives that are cut, damaged or ambiguous: all of one is unpacked, or a line says why not.

A fifth of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import io
import os
import tarfile
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest

import made_faces
from fer.datasets import archives
from fer.errors import InputError
from hostile import sampled, write_sparse
from made_data import pack, read_copy, refusal_of, write_small

pytestmark = pytest.mark.usefixtures("twenty_seconds")
GIB = 2**30


def tape(folder: Path, count: int = 21) -> bytes:
    """Returns a tar file of small images."""
    write_small(folder, count=count)
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
    write_small(tmp_path / "faces", count=21)
    content = bytearray(pack(tmp_path / "faces.tgz", tmp_path / "faces").read_bytes())

    content[place] ^= 0xFF

    assert unpacked(tmp_path, bytes(content), ".tgz") is None


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_refused(kind, tmp_path):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 8 * GIB
    path = write_sparse(tmp_path / "it.tar", 9 * GIB, header.tobuf(tarfile.GNU_FORMAT))

    with pytest.raises(InputError, match="a header of more than 1 MiB"):
        archives.unpack(path, tmp_path / "inside", defaultdict(list))


@pytest.mark.parametrize(
    ("again", "suffix"),
    sampled(3, ["happy/0.png", "./happy/0.png", "happy//0.png", "happy\\0.png", "happy/./0.png"], [".zip", ".tar"]),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_an_archive_holds_twice_is_refused(again, suffix, tmp_path):
    write_small(tmp_path / "aside")
    made_faces.write(tmp_path / "aside/happy/0.png", 3)
    (tmp_path / "data").mkdir()
    archive = pack(tmp_path / f"data/mine{suffix}", tmp_path / "aside")
    with zipfile.ZipFile(archive, "a") if suffix == ".zip" else tarfile.open(archive, "a") as packed:
        add = packed.write if isinstance(packed, zipfile.ZipFile) else packed.add
        add(made_faces.write(tmp_path / "other.png", 3), again)

    assert "names every file once" in refusal_of(tmp_path)


@pytest.mark.parametrize("suffixes", [(".zip", ".zip"), (".zip", ".tar"), (".tar", ".tgz")])
def test_a_name_that_two_archives_of_a_dataset_hold_is_refused(suffixes, tmp_path):
    for part, suffix in enumerate(suffixes):
        write_small(tmp_path / f"aside{part}", first=35 * part)
        (tmp_path / "data/mine").mkdir(parents=True, exist_ok=True)
        pack(tmp_path / f"data/mine/part{part}{suffix}", tmp_path / f"aside{part}")
    assert "names every file once" in refusal_of(tmp_path)


@pytest.mark.parametrize("error", [28, 122])
def test_a_full_disk_is_not_blamed_on_the_archive(error, tmp_path, monkeypatch):
    write_small(tmp_path / "aside")
    (tmp_path / "data").mkdir()
    pack(tmp_path / "data/mine.zip", tmp_path / "aside")

    def full(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(archives.shutil, "copyfileobj", full)

    with pytest.raises(OSError, match=os.strerror(error)):
        read_copy(tmp_path)
    assert not list((tmp_path / "cache").glob(".unpacked*"))
