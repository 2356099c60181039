"""Files are read where they are regular and bounded, and written whole or not at all."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fer.errors import InputError, printable, shorten
from fer.files import UnsuitableFile, checksum, holding_lock, read_regular, replacing, size_text, write_atomically
from fer.seeding import seed_from


def test_a_regular_file_of_the_largest_size_is_read(tmp_path):
    path = write_atomically(tmp_path / "a", b"12345")
    assert read_regular(path, 5) == b"12345"


def test_a_larger_file_is_not_read_even_where_it_is_sparse(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(UnsuitableFile, match="file of more than 1 MiB"):
        read_regular(path, 2**20)


def test_a_pipe_a_socket_a_device_and_a_folder_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
            with pytest.raises(UnsuitableFile, match="instead of a file"):
                read_regular(path, 100)
        with pytest.raises(OSError):
            read_regular(tmp_path / "socket", 100)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "a.csv", b"old")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", full)

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "a") as partial:
        partial.write_bytes(b"half")
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_written_file_may_be_read_by_whom_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        path = write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_of_the_longest_name_can_be_written(tmp_path):
    write_atomically(tmp_path / ("n" * 240), b"")


def test_the_checksum_of_parts_is_that_of_all_their_bytes():
    assert checksum(b"abc" * 100_000) == checksum(b"abc" * 50_000, b"abc" * 50_000) != checksum(b"abc")


def test_a_lock_that_is_held_is_refused_and_free_again_when_its_block_ends(tmp_path):
    path = tmp_path / "folder" / ".lock"
    refusal = InputError("one at a time", "two", "Wait.")

    with holding_lock(path, refusal), pytest.raises(InputError, match="one at a time"), holding_lock(path, refusal):
        pytest.fail("held twice")

    with holding_lock(path, refusal):
        assert path.exists()


@pytest.mark.parametrize(
    ("count", "text"), [(10, "10 bytes"), (2**20, "1 MiB"), (200 * 2**20, "200 MiB"), (3 * 2**29, "1.5 GiB")]
)
def test_sizes_are_told_in_the_largest_unit(count, text):
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("face.png", "face.png"),
        ("Gesicht für Ä 顔.png", "Gesicht für Ä 顔.png"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\rc\td", r"a\nb\rc\td"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\udcff", r"\udcff"),
        ("\x00", r"\x00"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_a_terminal_is_shown_what_it_would_obey(raw, shown):
    assert printable(raw) == shown
    assert str(InputError("rule", raw, "fix")) == f"rule; got {shown}. fix"


def test_an_error_shows_a_long_value_shortened():
    assert len(str(InputError("rule", "x" * 10**6, "fix"))) < 400
    assert shorten("abcdefghij", 8) == "abc...ij" and shorten("abc", 3) == "abc"


@pytest.mark.parametrize("name", [seed_from, object(), {"a": 1}, ["a"], b"a", np.zeros(2)])
def test_a_seed_derives_from_text_and_numbers_only(name):
    with pytest.raises(TypeError, match="text and numbers only"):
        seed_from("a", name)


def test_a_seed_is_the_same_in_every_process():
    code = "from fer.seeding import seed_from; print(seed_from('a', 1, 0.5, None))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == seed_from("a", 1, 0.5, None) == seed_from("a", np.int64(1), np.float64(0.5), None)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("1152000 requested and 614272 written")],
    ids=["the system's", "NumPy's"],
)
def test_an_error_of_the_disk_names_the_file_that_could_not_be_written(error: OSError, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="trials") as caught, replacing(tmp_path / "trials"):
        raise error

    assert caught.value.errno == error.errno and error.args[-1] in str(caught.value)
    assert not list(tmp_path.iterdir())
