"""Tables and images in a data folder that no one should put there: read, refused in a line, or counted.

A third of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

import made_faces
from fer.datasets import faces
from hostile import sampled
from made_data import images_in, read_copy, refusal_of, skipped, write_small

pytestmark = pytest.mark.usefixtures("twenty_seconds")
ROOT = Path(__file__).parent.parent


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

    dataset = read_copy(tmp_path)

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
        assert message in refusal_of(tmp_path)
        return
    report = read_copy(tmp_path).report
    assert sum(report["sizes"].values()) + sum(skipped(read_copy(tmp_path)).values()) == 70

    text = json.dumps(report, ensure_ascii=False)
    assert text.replace("\n", "").isprintable() and len(text) < 20_000


@pytest.mark.parametrize("case", ["line separator", "next line", "form feed", "vertical tab", "record separator"])
def test_a_list_without_a_header_loses_no_line(case, tmp_path):
    root = tmp_path / "data/rafdb"
    made_faces.rafdb(root)
    label_file = root / "EmoLabel/list_patition_label.txt"
    lines = label_file.read_text().splitlines()
    label_file.write_bytes("\n".join([*lines, f"train_{ODD[case]}.jpg 1"]).encode())

    dataset = read_copy(tmp_path, "rafdb")

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
    write_small(tmp_path / "data/mine")
    (tmp_path / f"data/mine/happy/odd{suffix}").write_bytes(content)

    dataset = read_copy(tmp_path)

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
