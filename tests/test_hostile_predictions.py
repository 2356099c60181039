"""Predictions from odd networks and images: special files, names that are formulas or orders to a terminal."""

import contextlib
import csv
import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer.errors import printable
from fer.files import write_atomically
from fer.predict import load_network, predict_image, predict_images
from fer.tensor_files import damage_of
from hostile import SECONDS_TO_HANG, write_sparse
from made_networks import LONGEST_LINE
from study import predict

# Special files.


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server, contextlib.chdir(path.parent):
        server.bind(path.name)  # by its name alone: an address has 108 bytes


def make_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def make_sparse(path: Path) -> None:
    write_sparse(path, 10 * 2**30)


MADE = {
    "pipe": make_pipe, "socket": make_socket, "folder": Path.mkdir, "link to a device": make_link_to_a_device,
    "link to itself": make_link_to_itself, "link to nothing": make_link_to_nothing, "sparse": make_sparse,
}  # fmt: skip
# Paths below a test's folder, at which nothing can be made.
NAMED = {
    "device": "/dev/zero", "long name": "x" * 5000, "long path": "x/" * 5000, "NUL": "a\0b", "surrogate": "a\udcffb",
    "below a file": "file/x",
}  # fmt: skip
KINDS = ("pipe", "socket", "folder", "device", "link to a device", "link to itself", "link to nothing", "sparse",
         "long name", "long path", "NUL", "surrogate", "below a file")  # fmt: skip


@pytest.fixture
def special(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a file of some kind that is none to read."""

    def make(kind: str) -> Path:
        (tmp_path / "file").touch()
        if kind in NAMED:
            return tmp_path / NAMED[kind]
        path = tmp_path / "special"
        MADE[kind](path)
        return path

    return make


@pytest.fixture
def ended_if_it_hangs() -> Iterator[None]:
    """Ends the whole test process where something hangs for ten seconds."""
    timer = threading.Timer(SECONDS_TO_HANG, os._exit, (1,))
    timer.start()
    yield
    timer.cancel()


@pytest.mark.usefixtures("ended_if_it_hangs")
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_file_is_regular_and_bounded(kind, special, capsys):
    path = special(kind)
    assert predict.main([str(path), "face.png"]) == 2

    said = capsys.readouterr()
    assert not said.out and said.err.startswith("error: a network file") and said.err.count("\n") == 1
    assert said.err[:-1].isprintable() and len(said.err) <= LONGEST_LINE
    assert damage_of(path) is not None if kind != "NUL" else True


@pytest.mark.usefixtures("ended_if_it_hangs")
@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_a_regular_bounded_file_and_the_others_go_on(kind, special, network_bytes, tmp_path, capsys):
    model = write_atomically(tmp_path / "n.safetensors", network_bytes)
    Image.fromarray(np.full((48, 48), 100, np.uint8)).save(tmp_path / "good.png")
    assert predict.main([str(model), str(special(kind)), str(tmp_path / "good.png")]) == 1

    said = capsys.readouterr()
    assert said.out.count("\n") == 2
    assert said.err.startswith("error: an image must be readable") and said.err.count("\n") == 1
    assert said.err[:-1].isprintable() and len(said.err) <= LONGEST_LINE


# Names in the answer.

NAMES = {
    "=cmd().png": "'=cmd().png",
    "=HYPERLINK(\"http:x\").png": "'=HYPERLINK(\"http:x\").png",
    "+1+1.png": "'+1+1.png",
    "@SUM(1).png": "'@SUM(1).png",
    " =1+1.png": "' =1+1.png",
    "\u3000=1+1.png": None,
    "＝1+1.png": "'＝1+1.png",
    "a;=1+1.png": "a;'=1+1.png",
    "a,=1+1.png": "a,'=1+1.png",
    "a|@1.png": "a|'@1.png",
    "a;b;-1.png": "a;b;'-1.png",
    "\t=1.png": r"\t=1.png",
    "\r=1.png": r"\r=1.png",
    "\n=1.png": r"\n=1.png",
    "\x1b[31mred.png": r"\x1b[31mred.png",
    "\x1b]0;title\x07.png": r"\x1b]0;title\x07.png",
    "\u202egnp.png": r"\u202egnp.png",
    "a\u2028b.png": r"a\u2028b.png",
    "a\udcffb.png": r"a\udcffb.png",
    "a\x7f\x9b2J.png": r"a\x7f\x9b2J.png",
    "quoted\".png": "quoted\".png",
    "two, three.png": "two, three.png",
    "plain-name=1.png": "plain-name=1.png",
    "Gesicht für Ä 顔.png": "Gesicht für Ä 顔.png",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=printable)
def test_a_name_is_neither_a_formula_nor_an_order_to_the_terminal(name, network_bytes, tmp_path, monkeypatch, capsys):
    model = write_atomically(tmp_path / "n.safetensors", network_bytes)
    image = io.BytesIO()
    Image.fromarray(np.full((48, 48), 100, np.uint8)).save(image, "PNG")
    write_atomically(tmp_path / name, image.getvalue())
    monkeypatch.chdir(tmp_path)
    assert predict.main([str(model), "--", name]) == 0

    said = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(said.out))
    assert all(character.isprintable() or character == "\n" for character in said.out)
    assert not row["image"].lstrip().startswith(("=", "+", "-", "@"))

    if NAMES[name] is not None:
        assert row["image"] == NAMES[name]


@pytest.mark.parametrize("name", ["-1+1.png", "-cmd|' /C calc'!A0", "=a;=b;@c", "", "'", "a'=b"])
def test_a_cell_never_begins_with_a_formula(name):
    text = predict.spreadsheet_text(name)
    assert text.replace("'", "") == name.replace("'", "")
    assert not any(cell.strip().startswith(("=", "+", "-", "@")) for cell in text.split(";"))


def test_help_says_what_becomes_of_names():
    text = " ".join(predict.build_parser().format_help().split())
    assert "escapes" in text and "formula" in text


@pytest.mark.slow
def test_a_full_output_is_one_line(network_bytes, tmp_path):
    model = write_atomically(tmp_path / "n.safetensors", network_bytes)
    image = tmp_path / "face.png"
    Image.fromarray(np.full((48, 48), 100, np.uint8)).save(image)
    command = [sys.executable, "-m", "study.predict", str(model), str(image)]
    root = Path(__file__).parent.parent
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=root)

    assert (
        ended.returncode == 1 and ended.stderr.count("\n") == 1 and "standard output cannot be written" in ended.stderr
    )


def test_one_image_is_predicted_as_before(network, network_bytes, tmp_path):
    model, image = write_atomically(tmp_path / "n.safetensors", network_bytes), tmp_path / "face.png"
    face = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    Image.fromarray(face).save(image)

    found = predict_image(load_network(model), image)

    np.testing.assert_allclose(list(found.values()), predict_images(network, face[None])[0], atol=1e-6)
