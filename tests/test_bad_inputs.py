"""Hundreds of generated bad inputs: each is a clear error or a counted skip, never a traceback, a hang, half a result.

Whatever else is raised fails the test by itself. A twelfth of the corpus runs by default, all of it with `-m slow`.
"""

import json

import numpy as np
import optuna
import pytest

import made_faces
from fer.config import AdaptationConfig
from fer.datasets import faces, load
from fer.errors import InputError
from fer.model import weights
from fer.model.vgg import build
from fer.runtime import Runtime
from fer.training.checkpoint import Checkpoints
from fer.training.optimisers import make_optimiser
from hostile import CORPUS, corpus, harmed, in_time
from made_data import archive_bytes, assert_read_or_refused, image_bytes, is_unpacked
from study.option_parsers import parse_options
from study.options import study_name
from study.storage.backend import open_storage, trials_of
from study.storage.slots import fill_slots
from study.trials import counted_trials

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")


@pytest.mark.parametrize("seed", corpus("image", 112))
def test_a_harmed_image_is_read_or_skipped_with_a_reason(seed):
    with in_time():
        try:
            grey = faces.decode(harmed(image_bytes(FORMATS[seed // 8 % len(FORMATS)]), seed))
        except faces.UnreadableImage as reason:
            assert str(reason) and "\n" not in str(reason)
        else:
            assert grey.dtype == np.uint8 and grey.ndim == 2 and grey.size


# Archives.

NAMES = ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "a\0b", "a//../../evil", "./../evil", "x" * 300]


@pytest.mark.parametrize("seed", corpus("archive", 48))
def test_a_harmed_archive_is_unpacked_or_refused(seed, tmp_path):
    kind = ("zip", "tar", "tgz")[seed // 8 % 3]
    is_unpacked(tmp_path, harmed(archive_bytes(kind), seed), kind)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_member_never_leaves_the_folder(kind, name, tmp_path):
    if "\0" in name:  # which no library writes
        letters = "x" * len(name)
        content = archive_bytes(kind, letters).replace(letters.encode(), name.encode())
    else:
        content = archive_bytes(kind, name)

    is_unpacked(tmp_path, content, kind)  # asserts it of what lies within

    assert not list(tmp_path.parent.glob("evil*"))


TABLES = corpus("manifest", 48, "mine", made_faces.manifest, "manifest.csv")
TABLES += corpus("pixels", 24, "fer2013", made_faces.fer_csv, "fer2013.csv")


@pytest.mark.parametrize(("name", "write", "table", "seed"), TABLES)
def test_a_harmed_table_is_read_or_refused(name, write, table, seed, tmp_path):
    root = tmp_path / "data" / name
    write(root)
    (root / table).write_bytes(harmed((root / table).read_bytes(), seed))

    assert_read_or_refused(tmp_path, name)


# Options.

FLAGS = ["trials", "seed", "lr", "epochs", "amount", "workers", "device", "study", "storage", "confirm", "timeout",
         "space"]  # fmt: skip
VALUES = ["", "-1", "0", "nan", "inf", "1e400", "9" * 400, "١٢", "\0", "../x", "a b", "--", "$(id)", "0x10", "1,5",
          "None", "💥"]  # fmt: skip


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
