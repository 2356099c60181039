"""Files that lie about what they are: huge pictures, links and bombs in archives, any table, pickles as networks."""

import io
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fer.datasets import archives, faces
from fer.errors import InputError
from fer.expressions import SEVEN
from fer.model import weights
from fer.runtime import Runtime
from hostile import in_time
from made_data import assert_read_or_refused, is_unpacked


def png_of_size(width: int, height: int) -> bytes:
    """A few bytes that say they are a huge picture."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (100_000, 100_000), (8000, 8000), (0, 10), (10**9, 1)])
def test_a_picture_that_says_it_is_huge_is_never_decoded(size):
    with in_time(), pytest.raises(faces.UnreadableImage):
        faces.decode(png_of_size(*size))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_skipped(kind, tmp_path):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tape:
        entry = tarfile.TarInfo("happy/link.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tape.addfile(entry)
    assert is_unpacked(tmp_path, target.getvalue(), "tar")


def test_an_archive_that_unpacks_to_more_than_it_says_stops_at_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_UNPACKED", 10**6)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("happy/bomb.png", bytes(50 * 10**6))
    honest = target.getvalue()
    (tmp_path / "a").mkdir()
    assert not is_unpacked(tmp_path / "a", honest, "zip")

    lying = honest.replace(struct.pack("<I", 50 * 10**6), struct.pack("<I", 1000))
    (tmp_path / "b").mkdir()
    is_unpacked(tmp_path / "b", lying, "zip")
    assert sum(path.stat().st_size for path in (tmp_path / "b").rglob("*.png")) <= 10**6


CELLS = st.text(max_size=12) | st.sampled_from(
    ["../x.png", "/etc/passwd", "happy", "pictures/0.png", "=1+1", "\0", '"']
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, max_size=5), max_size=6), header=st.booleans())
def test_any_table_is_read_or_refused(rows, header, tmp_path):
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    root = tmp_path / "data" / "mine"
    root.mkdir(parents=True)
    lines = ["path,expression,subject"] * header + [",".join(row) for row in rows]
    (root / "manifest.csv").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))

    assert_read_or_refused(tmp_path, "mine")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_none(text):
    found = SEVEN.parse(text)
    assert found is None or 0 <= found < 7


@pytest.mark.parametrize("width", ["nan", "inf", "-1", "0", "1e9", "x", "", "1000000"])
def test_a_width_that_is_none_builds_nothing(width, tmp_path):
    save_file({"conv1_1.conv.weight": torch.zeros(4, 1, 3, 3)}, tmp_path / "n.safetensors", {"width": width})
    with in_time(), pytest.raises(InputError):
        weights.load_network(tmp_path / "n.safetensors", Runtime())


def test_a_pickle_is_no_network(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "n.safetensors"
    for write in (lambda: path.write_bytes(pickle.dumps(Evil())), lambda: torch.save({"a": Evil()}, path)):
        write()
        with pytest.raises(InputError):
            weights.load_network(path, Runtime())

    assert not (tmp_path / "ran").exists()
