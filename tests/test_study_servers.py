"""Servers that go away in the middle of a study, and come back or not; two parents on one study."""

import re
import shlex
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from urllib.parse import quote

import optuna
import pandas as pd
import pytest

import dummy
from commands import NAME, QUICK, ROOT, command, trials_of
from commands import run as run_soon
from dummy import assert_exact, done_so_far, start_parent, wait_for
from servers import PATIENCE, Server, free_port
from study.storage.backend import open_storage
from study.storage.backend import trials_of as all_trials
from study.trials import counted_trials

pytestmark = pytest.mark.slow
TINY = ("--target", "tfeid", *QUICK, "--workers", "1")
MANY = 80
"""Trials, enough to be under way still when a server is back."""
FEW = 24
"""Trials, enough to be under way still when a server is gone."""
run = partial(run_soon, seconds=PATIENCE)


def children(folder: Path) -> int:
    """Returns how many ended trials the MLflow server has."""
    with sqlite3.connect(f"file:{quote(str(folder))}/tracked.db?mode=ro", uri=True) as database:
        query = "SELECT count(*) FROM runs JOIN tags USING (run_uuid) WHERE key='role' AND value='trial' AND end_time>0"
        return database.execute(query).fetchone()[0]


def assert_mlflow_has_it_all(server: Server, folder: Path, count: int) -> None:
    """One parent, described and ended; a child for each trial, with its values."""
    from mlflow import MlflowClient

    client = MlflowClient(f"http://127.0.0.1:{server.port}")
    experiment = client.get_experiment_by_name("memory-integrity").experiment_id
    (parent,) = client.search_runs([experiment], "tags.role = 'study'")
    assert parent.info.status == "FINISHED" and parent.data.params["trials"] == str(count)
    assert {each.dataset.name for each in parent.inputs.dataset_inputs} == {"fer2013", "tfeid"}
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    runs = client.search_runs([experiment], "tags.role = 'trial'", max_results=1000)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs} == {parent.info.run_id}
    found = {int(run.data.tags["trial"]): run for run in runs}
    trials = trials_of(folder)
    assert len(runs) == len(found) == len(trials) == count
    for row in trials.itertuples():
        metrics = found[row.number].data.metrics
        assert found[row.number].data.tags["state"] == row.state
        if row.state == "finished":
            assert metrics["source_val"] == row.source_val and metrics["target_val"] == row.target_val


def start_and_lose_the_server(server: Server, folder: Path, count: int) -> subprocess.Popen:
    """Starts a study, kills its MLflow server when that has a few trials, and waits until more have ended."""
    server.start()
    uri = f"http://127.0.0.1:{server.port}"
    process = command("run", *TINY, "--trials", str(count), "--tracking-uri", uri, folder=folder)
    wait_for(lambda: children(folder) >= 3 or process.poll() is not None, PATIENCE)
    server.kill()
    assert process.poll() is None, process.communicate()
    assert children(folder) < count
    journal = folder / "runs" / NAME / "journal.log"
    ended = journal.read_text().count('"values":')
    wait_for(lambda: journal.read_text().count('"values":') > ended + 2, PATIENCE)
    return process


def test_an_mlflow_server_that_comes_back_misses_nothing(mlflow_server, prepared_folder):
    process = start_and_lose_the_server(mlflow_server, prepared_folder, MANY)
    mlflow_server.start()
    assert process.poll() is None, "the study ended before the server was back"

    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, f"{out}\n{err}"

    lines = [line for line in err.splitlines() if "MLflow" in line]
    assert "the study goes on without it" in lines[0] and "answers again" in lines[-1] and "Traceback" not in err
    assert "study.sync" not in out
    assert_mlflow_has_it_all(mlflow_server, prepared_folder, MANY)


def test_one_that_comes_back_after_the_study_is_brought_up_to_date_by_the_line_that_was_said(
    mlflow_server,
    prepared_folder,
):
    process = start_and_lose_the_server(mlflow_server, prepared_folder, FEW)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "Traceback" not in err, f"{out}\n{err}"
    assert len([line for line in err.splitlines() if "the study goes on without it" in line]) == 1

    (said,) = re.findall(r"add it later:\s+\S+ -m study\.(sync .*)", out)
    name, *arguments = shlex.split(said)
    assert "--tracking-uri must be an MLflow server" in run(name, *arguments, folder=prepared_folder, code=2)

    mlflow_server.start()
    assert f"{FEW} trials" in run(name, *arguments, folder=prepared_folder)
    assert_mlflow_has_it_all(mlflow_server, prepared_folder, FEW)
    assert " 0 added" in run(name, *arguments, folder=prepared_folder)
    assert_mlflow_has_it_all(mlflow_server, prepared_folder, FEW)


def test_a_named_mlflow_server_that_is_never_there_ends_the_command_with_a_line(tmp_path):
    uri = f"http://me:s3cr3t@127.0.0.1:{free_port()}"
    said = run("run", *TINY, "--trials", "3", "--tracking-uri", uri, folder=tmp_path, code=2)
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]

    assert "--tracking-uri" in line and "none" in line and "s3cr3t" not in said
    assert not list(tmp_path.glob("runs/*/study.json"))


@pytest.mark.parametrize("behind", ["postgresql", "journal"])
def test_a_study_through_the_proxy_outlives_its_restarts(behind, make_proxy, request, tmp_path):
    url = request.getfixturevalue("postgres").url if behind == "postgresql" else None
    proxy = make_proxy(url)
    proxy.start()
    storage = f"grpc://127.0.0.1:{proxy.port}"
    parent = start_parent(tmp_path, storage, trials=60, seconds=0.4, workers=2)
    for pause in (1, 8):
        before = done_so_far(tmp_path, storage)
        wait_for(lambda before=before: done_so_far(tmp_path, storage) > before + 5, PATIENCE)
        proxy.kill()
        time.sleep(pause)
        proxy.start()
    said, _ = parent.communicate(timeout=PATIENCE)
    assert parent.returncode == 0 and "Traceback" not in said, said

    everything = assert_exact(tmp_path, storage, 60)
    assert sum(bool(trial.user_attrs.get("lost")) for trial in everything) <= 2 * 2

    proxy.kill()  # what the proxy told is what lies behind it

    behind_it = optuna.load_study(study_name=dummy.NAME, storage=open_storage(url, tmp_path / "behind"))
    assert [trial.values for trial in all_trials(behind_it)] == [trial.values for trial in everything]


def test_the_real_command_runs_a_study_through_the_proxy(make_proxy, prepared_folder):
    proxy = make_proxy(None)
    proxy.start()
    storage = f"grpc://127.0.0.1:{proxy.port}"
    words = ["--target", "tfeid", *QUICK, "--workers", "2", "--tracking-uri", "none", "--trials", "12"]
    process = command("run", *words, "--storage", storage, folder=prepared_folder)
    wait_for(lambda: named(storage) > 3 or process.poll() is not None, PATIENCE)
    proxy.kill()
    time.sleep(5)
    proxy.start()
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and "Traceback" not in err, f"{out}\n{err}"

    trials = trials_of(prepared_folder)
    assert len(trials) == 12 and not (trials["state"] == "failed").any()
    assert "nothing to do" in run("run", *words, "--storage", storage, folder=prepared_folder)


def named(storage: str) -> int:
    """Returns how many trials of the tiny study have ended."""

    try:
        return len(
            counted_trials(all_trials(optuna.load_study(study_name=NAME, storage=open_storage(storage, Path()))))
        )
    except KeyError:
        return 0


def test_a_second_parent_on_a_folder_is_refused_and_changes_nothing(prepared_folder):
    words = [*TINY, "--tracking-uri", "none", "--trials"]
    first = command("run", *words, "24", folder=prepared_folder)
    journal = prepared_folder / "runs" / NAME / "journal.log"
    wait_for(lambda: journal.exists() and '"values":' in journal.read_text(), PATIENCE)
    said = run("run", *words, "30", folder=prepared_folder, code=2)
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "a study has one parent" in line and "study.worker" in line

    out, err = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, f"{out}\n{err}"
    assert len(trials_of(prepared_folder)) == 24


@pytest.mark.parametrize("together", [False, True], ids=["later", "together"])
def test_two_parents_of_two_folders_on_one_database_make_the_exact_total(together, postgres, tmp_path):
    words = [*TINY, "--tracking-uri", "none", "--trials", "40", "--storage", postgres.url]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    parents = [command("run", *words, folder=folders[0])]
    if not together:
        wait_for(lambda: named(postgres.url) > 0 or parents[0].poll() is not None, PATIENCE)
    parents.append(command("run", *words, folder=folders[1]))
    ends = [(*parent.communicate(timeout=PATIENCE), parent.returncode) for parent in parents]
    codes = sorted(code for *_, code in ends)
    assert codes == [0, 2], ends

    (refused,) = [err for _, err, code in ends if code == 2]
    assert re.search("error: a study (has one parent|begins once)", refused) and "Traceback" not in refused
    assert "s3cr3t" not in str(ends)

    study = optuna.load_study(study_name=NAME, storage=open_storage(postgres.url, Path()))
    done = counted_trials(all_trials(study))
    assert sorted(trial.user_attrs["slot"] for trial in done) == list(range(40))

    # The command that was refused has the whole study when it is given again.
    again = next(folder for folder, (*_, code) in zip(folders, ends, strict=True) if code == 2)
    said = run("run", *words, folder=again)
    assert "resuming" in said and len(pd.read_csv(again / "runs" / NAME / "trials.csv")) == 40


def test_parents_that_open_a_new_database_at_the_same_moment_all_find_its_tables(postgres):
    code = (
        "import multiprocessing, sys; from pathlib import Path; from study.storage.backend import open_storage\n"
        "context = multiprocessing.get_context('fork'); gate = context.Barrier(3)\n"
        "def go():\n"
        "    gate.wait(60)\n"
        "    assert open_storage(sys.argv[1], Path()).get_all_studies() == []\n"
        "processes = [context.Process(target=go) for _ in range(3)]\n"
        "for process in processes: process.start()\n"
        "for process in processes: process.join()\n"
        "sys.exit(any(process.exitcode for process in processes))"
    )
    answer = subprocess.run([sys.executable, "-c", code, postgres.url], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_a_worker_that_starts_while_its_storage_restarts_waits_for_it(make_proxy, tmp_path):
    proxy = make_proxy(None)
    proxy.start()
    study = dummy.make_study(tmp_path, f"grpc://127.0.0.1:{proxy.port}", 2)
    proxy.kill()
    words = [sys.executable, dummy.__file__, "worker", "--out", str(tmp_path)]
    worker = dummy.start_worker_process(words, f"grpc://127.0.0.1:{proxy.port}")
    time.sleep(20)
    assert worker.poll() is None

    proxy.start()
    assert worker.wait(PATIENCE) == 0 and len(counted_trials(all_trials(study))) == 2
