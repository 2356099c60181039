"""Damaged studies through the real commands: refused with a line, rebuilt, or reported without what is odd."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from commands import QUICK, command, copy_prepared, run
from commands import study as run_study
from hostile import DAMAGES, damage, flipped
from study.confirmation.evaluations import evaluations_file
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE
from study.storage.backend import load_study

NAME = "small"


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory):
    """A small finished study; returns the folder that holds its runs/."""
    folder = tmp_path_factory.mktemp("finished")
    copy_prepared(prepared, folder)
    run_again(folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the study that a test may harm, with a baseline of its own."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    study = load_study(NAME, tmp_path / "runs", None)
    record = study.user_attrs["study"]
    path = tmp_path / "runs" / ".cache" / "baselines" / Path(record["baseline"]["file"]).name
    study.set_user_attr("study", record | {"baseline": record["baseline"] | {"file": str(path)}})
    return tmp_path


def run_again(folder: Path, *words: str) -> str:
    """Runs the finished study again, or another of as many trials with the words that name it."""
    return run_study(folder, "--trials", "6", *(words or ("--study", NAME)), "--tracking-uri", "none", "--workers", "1")


def confirmation(folder: Path) -> dict[str, Any] | None:
    return load_study(NAME, folder / "runs", None).user_attrs.get(CONFIRMATION_ATTRIBUTE)


def confirmed(folder: Path, *words: str, code: int = 0) -> str:
    return run("confirm", NAME, "--seeds", "1", "--workers", "1", *words, folder=folder, code=code)


@pytest.mark.slow
def test_two_processes_with_one_seed_confirm_the_same_figures(finished, tmp_path):
    figures = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        shutil.copytree(finished / "runs", folder / "runs")
        said = run("confirm", NAME, "--seeds", "2", "--workers", workers, folder=folder)
        assert f"; {workers} process" in said
        figures.append((folder / "runs" / NAME / "confirm.csv").read_bytes())
    assert figures[0] == figures[1]

    rows = pd.read_csv(tmp_path / "1" / "runs" / NAME / "confirm.csv")
    adapted = rows[rows["strategy"] != "BL"]  # no seed changes the baseline, which has no mean over seeds
    assert adapted[["source_val_again", "target_val_again"]].notna().all(axis=None)
    assert adapted[["target_again_lower", "target_again_upper"]].notna().all(axis=None)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["empty", "zeros", "no text"])
def test_a_study_with_a_damaged_export_goes_on_and_writes_it_again(how, copied):
    exports = [copied / "runs" / NAME / name for name in ("trials.csv", "report.html")]
    sizes = [export.stat().st_size for export in exports]
    for export in exports:
        damage(export, DAMAGES[how])

    run_again(copied)

    assert [export.stat().st_size for export in exports] == pytest.approx(sizes, rel=0.1)


@pytest.mark.slow
def test_a_study_whose_models_are_a_file_is_refused_with_a_line(copied):
    shutil.rmtree(copied / "runs" / NAME / "models", ignore_errors=True)
    (copied / "runs" / NAME / "models").write_text("x")
    words = ("--target", "tfeid", *QUICK, "--trials", "7", "--study", NAME, "--tracking-uri", "none")

    assert "models" in run("run", *words, folder=copied, code=2)
    assert "models" in confirmed(copied, code=2) and confirmation(copied) is None


@pytest.mark.slow
def test_an_odd_trial_in_a_journal_is_named_and_the_others_are_reported(copied):
    odd = {"measures": [1], "curve": "x", "config": 7, "confusion": {"source": 3}}
    journal = copied / "runs" / NAME / "journal.log"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    for entry in entries:
        if entry.get("trial_id") == 1:
            attributes = entry.get("user_attr", {})
            attributes.update({name: odd[name] for name in attributes if name in odd})
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    said = run("report", NAME, folder=copied)

    assert "warning: 1 entry of the storage cannot be read and were left out: trial 1 (" in said
    assert len(pd.read_csv(copied / "runs" / NAME / "trials.csv")) == 6


@pytest.mark.slow
@pytest.mark.parametrize("what", ["baseline missing", "baseline empty, dataset missing", "dataset damaged"])
def test_what_a_confirmation_needs_is_made_again(what, copied):
    cache = copied / "runs" / ".cache"
    weights = Path(load_study(NAME, copied / "runs", None).user_attrs["study"]["baseline"]["file"])
    (dataset,) = (cache / "datasets").glob("tfeid-*")
    if what == "baseline missing":
        weights.unlink()
    elif what == "baseline empty, dataset missing":
        weights.write_bytes(b"")
        shutil.rmtree(dataset)
    else:
        labels = dataset / "test.labels.npy"
        labels.write_bytes(flipped(labels.read_bytes(), -8))

    said = confirmed(copied)

    assert ("it is trained again" in said) == what.startswith("baseline")
    assert (confirmation(copied) or {})["finished"]


@pytest.mark.slow
def test_a_confirmation_goes_on_after_a_crash_whatever_became_of_its_answers(copied):
    process = command("confirm", NAME, "--seeds", "2", "--workers", "1", folder=copied)
    folder = copied / "runs" / NAME / "confirm"
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*.npz"))) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(1.5)  # its processes end with it
    begun = confirmation(copied)
    assert begun and "finished" not in begun

    first, second, third, fourth, fifth, *_ = sorted(folder.glob("*.npz"))
    damage(first, DAMAGES["missing"])
    damage(second, DAMAGES["empty"])
    damage(third, DAMAGES["cut"])
    shutil.copy(fifth, fourth)
    said = confirmed(copied, "--seeds", "2")

    after = confirmation(copied) or {}
    assert after["opened"] == begun["opened"] and after["finished"] and "before" not in said
    evaluations = evaluations_file(copied / "runs", after["test_sets"]["target"]["digest"])
    assert evaluations.read_text().count("\n") == 1


@pytest.mark.slow
def test_a_refused_command_leaves_the_test_sets_closed_and_the_same_images_are_counted_under_another_name(copied):
    for words in (["--device", "tpu"], ["--seeds", "1000000000"], ["--workers", "0"]):
        assert run("confirm", NAME, *words, folder=copied, code=2).startswith("error: ")

    study = load_study(NAME, copied / "runs", None)
    record = study.user_attrs["study"]
    weights = copied / "other.safetensors"
    weights.write_bytes(b"no network")
    options = record["options"] | {"baseline": str(weights)}
    baseline = record["baseline"] | {"file": str(weights)}
    study.set_user_attr("study", record | {"options": options, "baseline": baseline})
    assert "error: " in confirmed(copied, code=2)  # found out by the process that trains
    assert confirmation(copied) is None and not (copied / "runs" / ".cache" / "test-evaluations").exists()

    study.set_user_attr("study", record)
    assert "evaluated" not in confirmed(copied)

    run_again(copied, "--study", "other", "--confirm", "1")
    for name in ("report.html", "report.md"):
        text = (copied / "runs" / "other" / name).read_text(encoding="utf-8")
        assert f"evaluated once before in this output folder, by the study {NAME}." in text
    theirs = load_study("other", copied / "runs", None).user_attrs[CONFIRMATION_ATTRIBUTE]["test_sets"]
    assert [before["study"] for before in theirs["target"]["evaluated_before"]] == [NAME]
