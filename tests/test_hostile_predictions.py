"""Predictions from odd networks and images: special files, names that are formulas or orders to a terminal."""

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
from made_networks import LONGEST_LINE
from study import predict

# Special files.


@pytest.fixture
def special(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file of some kind that is none to read."""
    server = socket.socket(socket.AF_UNIX)

    def make(kind: str) -> Path:
        path = tmp_path / "special"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            os.chdir(tmp_path)  # a socket's path is short
            server.bind("special")
        elif kind == "folder":
            path.mkdir()
        elif kind == "device":
            return Path("/dev/zero")
        elif kind == "link to a device":
            path.symlink_to("/dev/zero")
        elif kind == "link to itself":
            path.symlink_to(path)
        elif kind == "link to nothing":
            path.symlink_to("nothing")
        elif kind == "sparse":
            with path.open("wb") as file:
                file.truncate(10 * 2**30)
        elif kind == "long name":
            return tmp_path / ("x" * 5000)
        elif kind == "long path":
            return tmp_path / ("x/" * 5000)
        elif kind == "NUL":
            return tmp_path / "a\0b"
        elif kind == "surrogate":
            return tmp_path / "a\udcffb"
        elif kind == "below a file":
            path.write_bytes(b"")
            return path / "x"
        return path

    before = Path.cwd()
    yield make
    os.chdir(before)
    server.close()


KINDS = ("pipe", "socket", "folder", "device", "link to a device", "link to itself", "link to nothing", "sparse",
         "long name", "long path", "NUL", "surrogate", "below a file")  # fmt: skip


@pytest.fixture
def in_time() -> Iterator[None]:
    """Ends the whole test process where something hangs for ten seconds."""
    timer = threading.Timer(10, os._exit, (1,))
    timer.start()
    yield
    timer.cancel()


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_file_is_regular_and_bounded(kind, special, capsys):
    path = special(kind)
    assert predict.main([str(path), "face.png"]) == 2

    said = capsys.readouterr()
    assert not said.out and said.err.startswith("error: a network file") and said.err.count("\n") == 1
    assert said.err[:-1].isprintable() and len(said.err) <= LONGEST_LINE
    assert damage_of(path) is not None if kind != "NUL" else True


@pytest.mark.usefixtures("in_time")
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
