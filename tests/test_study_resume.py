"""Interruption, resumption, a worker that joins, other storages and the paper's grid, each through its real command."""

import re
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from commands import NAME, QUICK, command, copy_prepared, study, trials_of
from study.storage.backend import load_study


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory):
    """A folder in which data and baseline are there."""
    folder = tmp_path_factory.mktemp("resume")
    copy_prepared(prepared, folder)
    return folder


@pytest.mark.slow
def test_an_interrupted_study_says_how_to_go_on_and_does_with_another_worker_joining(folder):
    arguments = ["--target", "tfeid", *QUICK, "--tracking-uri", "none", "--trials"]
    many = 60  # so many that it has not ended before it is interrupted, however late that is
    process = command("run", *arguments, str(many), folder=folder)
    journal = folder / "runs" / NAME / "journal.log"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text().count('"values":[') > 3):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "-m study.run --target tfeid" in err and "Traceback" not in err

    begun = len(trials_of(folder))
    assert 3 <= begun < many

    joined = command("worker", "--study", NAME, folder=folder)
    said = study(folder, "--tracking-uri", "none", "--trials", str(many), "--workers", "1")
    out, err = joined.communicate(timeout=60)
    assert joined.returncode == 0, err
    assert "resuming" in said and int(re.findall(r"(\d+) trials finished here", out)[0]) >= 1

    trials = trials_of(folder)
    assert len(trials) == many and not (trials["state"] == "failed").any()


@pytest.mark.slow
def test_the_papers_grid_on_sqlite_goes_on_after_a_time_limit_and_becomes_a_table(folder):
    grid = ["--space", "paper", "--tracking-uri", "none", "--storage", f"sqlite:///{folder}/study.db"]
    assert "stopped by --timeout" in study(folder, "--timeout", "2", *grid)

    out = folder / "runs" / NAME.replace("card", "paper")
    assert len(pd.read_csv(out / "trials.csv")) < 9

    said = study(folder, *grid)
    assert len(pd.read_csv(out / "trials.csv")) == 9

    named = {"BL", "FC_50", "FC_100", "FC+CL_50", "FC+CL_100", "RE_50", "RE_100", "FU_50", "FU_100"}
    assert named <= set(pd.read_csv(out / "paper_table.csv").columns)
    assert "FC+CL 50 %" in said and "STAND-IN" in said


@pytest.mark.slow
def test_a_study_whose_baseline_is_damaged_meanwhile_goes_on_with_the_same_trained_again(prepared_folder):
    study(prepared_folder, "--tracking-uri", "none", "--trials", "2", "--workers", "1")
    baseline = Path(load_study(NAME, prepared_folder / "runs", None).user_attrs["study"]["baseline"]["file"])
    baseline = prepared_folder / baseline
    whole = baseline.read_bytes()
    harmed = bytearray(whole)
    harmed[len(whole) // 2] ^= 1
    baseline.write_bytes(harmed)
    said = study(prepared_folder, "--tracking-uri", "none", "--trials", "3", "--workers", "1")
    assert "resuming" in said and "warning: the cached baseline is damaged and is trained again" in said
    assert baseline.read_bytes()[-1000:] == whole[-1000:]

    trials = trials_of(prepared_folder)
    assert len(trials) == 3 and not (trials["state"] == "failed").any()
