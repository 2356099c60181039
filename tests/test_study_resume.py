"""Interruption, resumption, a worker that joins, other storages and the paper's grid, each through its real command."""

import re
import signal
import time

import pandas as pd
import pytest

from commands import NAME, command, study, trials_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which data and baseline are there once the first study has run."""
    return tmp_path_factory.mktemp("resume")


def test_an_interrupted_study_says_how_to_go_on_and_does_with_another_worker_joining(folder):
    arguments = ["--target", "tfeid", "--preset", "tiny", "--tracking-uri", "none", "--trials"]
    process = command("run", *arguments, "24", folder=folder)
    journal = folder / "runs" / NAME / "journal.log"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text().count('"values":[') > 3):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "-m study.run --target tfeid" in err and "Traceback" not in err
    begun = len(trials_of(folder))
    assert 3 <= begun < 24
    joined = command("worker", "--study", NAME, folder=folder)
    said = study(folder, "--tracking-uri", "none", "--trials", "24", "--workers", "1")
    out, err = joined.communicate(timeout=60)
    assert joined.returncode == 0, err
    assert "resuming" in said and int(re.findall(r"(\d+) trials finished here", out)[0]) >= 1
    trials = trials_of(folder)
    assert len(trials) == 24 and not (trials["state"] == "failed").any()


def test_a_time_limit_ends_a_study_on_sqlite_and_a_larger_one_goes_on(folder):
    storage = ["--storage", f"sqlite:///{folder}/study.db", "--study", "limited", "--tracking-uri", "none"]
    assert "stopped by --timeout" in study(folder, "--trials", "60", "--timeout", "10", *storage)
    found = pd.read_csv(folder / "runs" / "limited" / "trials.csv")
    assert 1 <= len(found) < 60
    total = str(len(found) + 1)
    study(folder, "--trials", total, *storage)
    assert len(pd.read_csv(folder / "runs" / "limited" / "trials.csv")) == len(found) + 1


def test_the_papers_grid_runs_as_a_table(folder):
    said = study(folder, "--space", "paper", "--tracking-uri", "none")
    table = pd.read_csv(folder / "runs" / NAME.replace("card", "paper") / "paper_table.csv")
    named = {"BL", "FC_50", "FC_100", "FC+CL_50", "FC+CL_100", "RE_50", "RE_100", "FU_50", "FU_100"}
    assert named <= set(table.columns)
    assert "FC+CL 50 %" in said and "STAND-IN" in said
