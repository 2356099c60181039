"""Hundreds of generated bad inputs: each is a clear error or a counted skip, never a traceback, a hang, half a result.

Whatever else is raised fails the test by itself. A twelfth of the corpus runs by default, all of it with `-m slow`.
"""

import contextlib
import io
import json
import random
import shutil
import signal
import struct
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import made_faces
from fer.config import AdaptationConfig
from fer.datasets import archives, faces, load
from fer.errors import InputError
from fer.expressions import parse_expression
from fer.model import weights
from fer.model.vgg import build
from fer.runtime import Runtime
from fer.training.checkpoint import Checkpoints
from fer.training.optimisers import make_optimiser
from study.option_parsers import parse_options
from study.options import study_name
from study.storage.backend import open_storage, trials_of
from study.storage.slots import fill_slots
from study.trials import counted_trials

HANG = 10
QUICK = 12  # every twelfth by default


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Ends what takes longer than HANG seconds."""

    def late(*_: object) -> None:
        raise TimeoutError(f"it took more than {HANG} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def harmed(content: bytes, seed: int) -> bytes:
    """Returns bytes with one of the damages that disks, networks and editors do."""
    rng = random.Random(seed)
    place, data = rng.randrange(max(1, len(content))), bytearray(content)
    how = seed % 8
    if how == 0:
        return bytes(data[:place])
    if how == 1:
        data[place : place + 1] = bytes([rng.randrange(256)])
    elif how == 2:
        data[place : place + 16] = bytes(16)
    elif how == 3:
        return bytes(data[:place] + data[place + rng.randrange(1, 64) :])
    elif how == 4:
        data[place:place] = rng.randbytes(rng.randrange(1, 64))
    elif how == 5:
        head = min(32, len(data))
        data[:head] = rng.randbytes(head)
    elif how == 6:
        for _ in range(20):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        return bytes(data[place:])
    return bytes(data)


CORPUS: dict[str, int] = {}


def corpus(name: str, count: int, *given: object) -> list:
    """Returns pytest's parameters for `count` seeds, after what is given: a few by default, all if slow."""
    CORPUS[name] = count
    seeds = sorted(range(count), key=lambda seed: seed % QUICK != 0)
    marks = [() if seed % QUICK == 0 else (pytest.mark.slow,) for seed in seeds]
    return [
        pytest.param(*given, seed, id=f"{name}-{seed}", marks=mark) for seed, mark in zip(seeds, marks, strict=True)
    ]


# Images.

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")


def image_bytes(kind: str) -> bytes:
    rng = np.random.default_rng(0)
    target = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(target, kind)
    return target.getvalue()


@pytest.mark.parametrize("seed", corpus("image", 112))
def test_a_harmed_image_is_read_or_skipped_with_a_reason(seed):
    with in_time():
        try:
            grey = faces.decode(harmed(image_bytes(FORMATS[seed // 8 % len(FORMATS)]), seed))
        except faces.UnreadableImage as reason:
            assert str(reason) and "\n" not in str(reason)
        else:
            assert grey.dtype == np.uint8 and grey.ndim == 2 and grey.size


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


# Archives.

NAMES = ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "a\0b", "a//../../evil", "./../evil", "x" * 300]


def archive_bytes(kind: str, name: str = "happy/0.png") -> bytes:
    target = io.BytesIO()
    members = {name: image_bytes("PNG"), "sad/1.png": image_bytes("PNG"), "angry/2.png": b"no image"}
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


def unpacked(folder: Path, content: bytes, kind: str) -> bool:
    """Unpacks bytes; asserts that nothing lands outside."""
    archive, inside = folder / f"it.{kind}", folder / "deep" / "in" / "side"
    archive.write_bytes(content)
    inside.mkdir(parents=True)
    before = set(folder.rglob("*"))
    try:
        with in_time():
            archives.unpack(archive, inside, defaultdict(list))
    except InputError as error:
        assert "\n" not in str(error)
        done = False
    else:
        done = True
    new = set(folder.rglob("*")) - before
    assert all(path.is_relative_to(inside) and not path.is_symlink() for path in new)
    return done


@pytest.mark.parametrize("seed", corpus("archive", 48))
def test_a_harmed_archive_is_unpacked_or_refused(seed, tmp_path):
    kind = ("zip", "tar", "tgz")[seed // 8 % 3]
    unpacked(tmp_path, harmed(archive_bytes(kind), seed), kind)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_never_leaves_the_folder(kind, name, tmp_path):
    content = archive_bytes(kind, "x" * len(name)).replace(b"x" * len(name), name.encode()) if "\0" in name else None
    assert unpacked(tmp_path, content or archive_bytes(kind, name), kind) in (True, False)
    assert not list(tmp_path.parent.glob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_a_tar_are_skipped(kind, tmp_path):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tape:
        entry = tarfile.TarInfo("happy/link.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tape.addfile(entry)
    assert unpacked(tmp_path, target.getvalue(), "tar")


def test_an_archive_that_unpacks_to_more_than_it_says_stops_at_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_UNPACKED", 10**6)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("happy/bomb.png", bytes(50 * 10**6))
    honest = target.getvalue()
    (tmp_path / "a").mkdir()
    assert not unpacked(tmp_path / "a", honest, "zip")
    lying = honest.replace(struct.pack("<I", 50 * 10**6), struct.pack("<I", 1000))
    (tmp_path / "b").mkdir()
    unpacked(tmp_path / "b", lying, "zip")
    assert sum(path.stat().st_size for path in (tmp_path / "b").rglob("*.png")) <= 10**6


# Tables.


def read(folder: Path, name: str) -> None:
    """Reads a dataset; all of it or nothing is left in the cache."""
    cache = folder / "cache"
    try:
        with in_time():
            dataset = load(name, data_dir=folder / "data", cache_dir=cache)
    except InputError as error:
        assert "\n" not in str(error)
        assert not list(cache.glob(f"{name}-*")) + list(cache.glob(".unpacked*"))
    else:
        report = dataset.report
        assert report["skipped"] or len(dataset.open("train"))


TABLES = corpus("manifest", 48, "mine", made_faces.manifest, "manifest.csv")
TABLES += corpus("pixels", 24, "fer2013", made_faces.fer_csv, "fer2013.csv")


@pytest.mark.parametrize(("name", "write", "table", "seed"), TABLES)
def test_a_harmed_table_is_read_or_refused(name, write, table, seed, tmp_path):
    root = tmp_path / "data" / name
    write(root)
    (root / table).write_bytes(harmed((root / table).read_bytes(), seed))
    read(tmp_path, name)


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
    read(tmp_path, "mine")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_none(text):
    found = parse_expression(text)
    assert found is None or 0 <= found < 7


# Options.

FLAGS = [
    "trials",
    "seed",
    "lr",
    "epochs",
    "amount",
    "workers",
    "device",
    "study",
    "storage",
    "confirm",
    "timeout",
    "space",
]
VALUES = [
    "",
    "-1",
    "0",
    "nan",
    "inf",
    "1e400",
    "9" * 400,
    "١٢",
    "\0",
    "../x",
    "a b",
    "--",
    "$(id)",
    "0x10",
    "1,5",
    "None",
    "💥",
]


@pytest.mark.parametrize("flag", FLAGS)
def test_odd_values_of_options_are_refused_in_one_line_or_make_sense(flag, capsys):
    for value in VALUES:
        with in_time():
            try:
                options = parse_options(["--target", "tfeid", f"--{flag}={value}"])
            except InputError as error:
                assert "\n" not in str(error).replace(value, "")
            except SystemExit as end:
                assert end.code == 2 and "Traceback" not in capsys.readouterr().err
            else:
                name = study_name(options, "fer2013", "tfeid", True)
                assert "/" not in name and name not in ("", ".", "..")
                assert options.wanted >= 1 and options.seed >= 0 and np.isfinite(options.lr)


# Journals.


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("journal")
    study = optuna.create_study(study_name="s", storage=open_storage(None, folder), directions=["maximize"] * 2)
    fill_slots(study, 8, "card", AdaptationConfig())
    return (folder / "journal.log").read_bytes()


@pytest.mark.parametrize("seed", corpus("journal", 48))
def test_a_harmed_journal_is_mended_or_refused(seed, journal, tmp_path):
    path = tmp_path / "journal.log"
    path.write_bytes(harmed(journal, seed))
    try:
        with in_time():
            study = optuna.load_study(study_name="s", storage=open_storage(None, tmp_path))
            fill_slots(study, 8, "card", AdaptationConfig())
            assert len(counted_trials(trials_of(study))) == 0
    except InputError as error:
        assert "journal" in str(error) and "\n" not in str(error)
    except KeyError:
        assert b'"study_name":"s"' not in path.read_bytes()


# Networks and checkpoints.


@pytest.fixture(scope="module")
def network_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("network") / "n.safetensors"
    weights.save_network(build(1 / 16, seed=1), path, {"width": "0.0625"})
    return path.read_bytes()


@pytest.mark.parametrize("seed", corpus("network", 40))
def test_a_harmed_network_is_refused_or_is_one_of_finite_weights(seed, network_bytes, tmp_path):
    path = tmp_path / "n.safetensors"
    path.write_bytes(harmed(network_bytes, seed))
    try:
        with in_time():
            found = weights.load_network(path, Runtime())
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(bool(tensor.isfinite().all()) for tensor in found.network.state_dict().values())


@pytest.mark.parametrize("width", ["nan", "inf", "-1", "0", "1e9", "x", "", "1000000"])
def test_a_width_that_is_none_builds_nothing(width, tmp_path):
    save_file({"conv1_1.conv.weight": torch.zeros(4, 1, 3, 3)}, tmp_path / "n.safetensors", {"width": width})
    with in_time(), pytest.raises(InputError):
        weights.load_network(tmp_path / "n.safetensors", Runtime())


def test_a_pickle_is_no_network(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    path = tmp_path / "n.safetensors"
    for write in (lambda: path.write_bytes(pickle.dumps(Evil())), lambda: torch.save({"a": Evil()}, path)):
        write()
        with pytest.raises(InputError):
            weights.load_network(path, Runtime())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("seed", corpus("checkpoint", 24))
def test_a_harmed_checkpoint_is_passed_over(seed, tmp_path):
    network = build(1 / 16, seed=1)
    optimiser = make_optimiser(network, AdaptationConfig())
    kept = Checkpoints(tmp_path, "k", every=0)
    kept.offer(10, 1, network, optimiser, None)
    path = kept._path(1)
    content = path.read_bytes()
    bad = harmed(content, seed)
    path.write_bytes(bad)
    with in_time():
        assert kept.resume(network, optimiser, None) == ((10, 1) if bad == content else (0, 0))


# Prepared data.


@pytest.mark.parametrize("seed", corpus("prepared", 24))
def test_harmed_prepared_data_is_prepared_again(seed, tmp_path):
    def prepared():
        return load("tfeid", data_dir=None, kind="synthetic", cache_dir=tmp_path, scale=0.05)

    dataset = prepared()
    before = {path.name: path.read_bytes() for path in dataset.folder.glob("*.npy")}
    victims = sorted(path for path in dataset.folder.iterdir() if path.is_file())
    victim = victims[seed % len(victims)]
    victim.write_bytes(harmed(victim.read_bytes(), seed // len(victims)))
    with in_time():
        again = prepared()
    assert {path.name: path.read_bytes() for path in again.folder.glob("*.npy")} == before
    json.loads((again.folder / "report.json").read_text())


# How many there are.


def test_the_corpus_is_of_three_hundred_inputs_and_more():
    sizes = CORPUS | {"options": len(FLAGS) * len(VALUES), "names in archives": 2 * len(NAMES)}
    print(f"{sum(sizes.values())} generated bad inputs: {sizes}; hypothesis draws 260 more")
    assert set(sizes) >= {"image", "archive", "manifest", "pixels", "options", "journal", "network", "checkpoint"}
    assert sum(sizes.values()) >= 300 and min(sizes.values()) >= 18
