"""Made-up copies as a data folder holds them: written, packed into archives, read, refused."""

import io
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import made_faces
from fer.datasets import Dataset, archives, load
from fer.datasets.dataset import Division
from fer.errors import InputError
from hostile import in_time

Loader = Callable[..., Dataset]
LONGEST_LINE = 1500


@pytest.fixture
def read(tmp_path: Path) -> Loader:
    """Reads tmp_path/data/<name>, the only place where tests put data."""

    def loader(name: str, kind: str = "real", **options: Any) -> Dataset:
        options.setdefault("cache_dir", tmp_path / "cache")
        return load(name, data_dir=tmp_path / "data", kind=kind, **options)

    return loader


def read_copy(folder: Path, name: str = "mine", **options: Any) -> Dataset:
    """Reads a dataset from the data folder and the cache within a folder."""
    return load(name, data_dir=folder / "data", kind="real", cache_dir=folder / "cache", **options)


def refusal_of(folder: Path, name: str = "mine") -> str:
    """Returns the one line that refuses a dataset, of which nothing is left in the cache."""
    with pytest.raises(InputError) as caught:
        read_copy(folder, name)

    line = str(caught.value)
    assert line.isprintable() and len(line) < LONGEST_LINE
    left = [path.name for path in (folder / "cache").glob("*")]
    assert not [name for name in left if not name.endswith(".lock") and name != ".keys"]
    return line


def open_split(dataset: Dataset, split: str) -> Division:
    """Opens one of the three splits, the test images as well."""
    return dataset.open_test() if split == "test" else dataset.open(split)


def images_in(dataset: Dataset) -> int:
    return sum(dataset.report["sizes"].values())


def skipped(dataset: Dataset) -> dict[str, int]:
    """Returns how many files were left out for each reason."""
    return {reason: entry["count"] for reason, entry in dataset.report["skipped"].items()}


def write_small(root: Path, first: int = 0, count: int = 70) -> Path:
    """Writes a folder per expression; another `first` makes another dataset."""
    for number in range(count):
        made_faces.write(root / made_faces.FER_FOLDERS[number % 7] / f"{first + number}.png", number % 7)
    return root


def pack(archive: Path, folder: Path) -> Path:
    """Packs a folder's files into an archive of the kind that its suffix names."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in paths:
                packed.write(path, path.relative_to(folder).as_posix())
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".tgz" else "w") as tape:
            for path in paths:
                tape.add(path, path.relative_to(folder).as_posix())
    return archive


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Writes pixels as an image file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def with_duplicates(root: Path) -> None:
    """Writes fer2013.csv with copies of a training image in the held-out splits, and one image without contrast."""
    made_faces.fer_csv(root)
    lines = (root / "fer2013.csv").read_text().splitlines()
    pixels = lines[1].split(",")[1]
    flat = " ".join(["9"] * 48 * 48)
    extra = [f"0,{pixels},PublicTest", f"1,{pixels},PrivateTest", f"2,{pixels},Training", f"2,{flat},Training"]
    (root / "fer2013.csv").write_text("\n".join([*lines, *extra]))


def image_bytes(kind: str) -> bytes:
    """Returns a small coloured image in this format."""
    rng = np.random.default_rng(0)
    return made_faces.encode(Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)), kind)


def archive_bytes(kind: str, name: str = "happy/0.png") -> bytes:
    """Returns a zip, tar or tgz of three files, the first of this name."""
    members = {name: image_bytes("PNG"), "sad/1.png": image_bytes("PNG"), "angry/2.png": b"no image"}
    target = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
            for path, content in members.items():
                packed.writestr(path, content)
    else:
        with tarfile.open(fileobj=target, mode="w:gz" if kind == "tgz" else "w") as tape:
            for path, content in members.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                tape.addfile(entry, io.BytesIO(content))
    return target.getvalue()


def is_unpacked(folder: Path, content: bytes, kind: str) -> bool:
    """Unpacks bytes, or has them refused; asserts that nothing lands outside."""
    archive = folder / f"it.{kind}"
    archive.write_bytes(content)
    inside = folder / "deep" / "in" / "side"
    inside.mkdir(parents=True)
    before = set(folder.rglob("*"))

    try:
        with in_time():
            archives.unpack(archive, inside, defaultdict(list))
    except InputError as error:
        assert "\n" not in str(error)
        is_refused = True
    else:
        is_refused = False

    new = set(folder.rglob("*")) - before
    assert all(path.is_relative_to(inside) and not path.is_symlink() for path in new)
    return not is_refused


def assert_read_or_refused(folder: Path, name: str) -> None:
    """Reads a dataset; all of it or nothing is left in the cache."""
    cache = folder / "cache"
    try:
        with in_time():
            dataset = load(name, data_dir=folder / "data", cache_dir=cache)
    except InputError as error:
        assert "\n" not in str(error)
        assert not list(cache.glob(f"{name}-*")) + list(cache.glob(".unpacked*"))
    else:
        assert dataset.report["skipped"] or len(dataset.open("train"))
