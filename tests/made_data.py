"""Made-up copies as a data folder holds them: written, packed into archives, read, refused."""

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import made_faces
from fer.datasets import Dataset, load
from fer.errors import InputError

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


def with_duplicates(root: Path) -> None:
    """Writes fer2013.csv with copies of a training image in the held-out splits, and one image without contrast."""
    made_faces.fer_csv(root)
    lines = (root / "fer2013.csv").read_text().splitlines()
    pixels = lines[1].split(",")[1]
    flat = " ".join(["9"] * 48 * 48)
    extra = [f"0,{pixels},PublicTest", f"1,{pixels},PrivateTest", f"2,{pixels},Training", f"2,{flat},Training"]
    (root / "fer2013.csv").write_text("\n".join([*lines, *extra]))
