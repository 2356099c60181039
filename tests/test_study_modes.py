"""What a study writes may be read by whom the user's umask allows; only faces are the user's alone."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from commands import NAME, SHORT_RUN, end, start
from fer.files import replacing, write_atomically
from fer.tensors import save_tensors
from made_study import made_info, made_trial
from study.inputs import prepare_dataset
from study.options import cache_folder, make_cache_folder
from study.reporting.export import export
from study.storage.backend import open_storage

UMASKS = [0o022, 0o077]


@pytest.fixture(params=UMASKS, ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def assert_as_umask_says(folder: Path, umask: int) -> None:
    """Asserts that a folder and all in it have the permissions that a new file or folder gets."""
    for path in (folder, *folder.rglob("*")):
        usual = 0o777 if path.is_dir() else 0o666
        assert mode(path) == usual & ~umask, path


def test_a_written_file_has_the_mode_of_any_new_file(umask, tmp_path):
    folder = tmp_path / "written"
    folder.mkdir()

    write_atomically(folder / "a", b"x")
    save_tensors(folder / "models" / "b.safetensors", {"w": torch.zeros(3)}, {"name": "b"})
    with replacing(folder / "c") as partial:
        partial.write_bytes(b"x")
        partial.chmod(0o600)  # as libraries do

    assert_as_umask_says(folder, umask)


def test_exports_and_journal_have_the_modes_that_the_umask_gives(umask, tmp_path, monkeypatch):
    monkeypatch.setattr("study.reporting.figures.draw_figures", lambda *_: ({}, {}))  # drawn in the slow test
    folder = tmp_path / "study"
    open_storage(None, folder)

    export(made_info(), [made_trial(number) for number in range(3)], folder)

    assert {"journal.log", "report.html", "front.csv"} <= {path.name for path in folder.iterdir()}
    assert_as_umask_says(folder, umask)


def test_prepared_faces_are_their_users_alone(umask, tmp_path):
    out = tmp_path / "runs"
    options = {"data": None, "out": str(out), "equalise": False, "keep_duplicates": False, "seed": 0, "preset": "tiny"}

    prepare_dataset("tfeid", options, "synthetic")

    assert mode(out) == 0o777 & ~umask
    assert mode(cache_folder(out)) == 0o700


def test_a_cache_that_its_user_shares_stays_shared(tmp_path):
    folder = make_cache_folder(tmp_path)
    folder.chmod(0o750)

    assert mode(make_cache_folder(tmp_path)) == 0o750


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_a_whole_study_has_the_modes_that_the_umask_gives(umask, tmp_path):
    words = [word for word in SHORT_RUN if word not in ("--tracking-uri", "none")]

    code, _, said = end(start("run", *words, "--workers", "1", folder=tmp_path, umask=umask))

    assert code == 0, said
    study = tmp_path / "runs" / NAME
    assert json.loads((study / "study.json").read_text())["options"]["early_stop"] is True
    assert list((study / "models").iterdir())
    assert_as_umask_says(study, umask)
    assert_as_umask_says(tmp_path / "mlruns", umask)
    assert mode(cache_folder(tmp_path / "runs")) == 0o700
