"""Without MLflow, or with a server that is not there: told once, and nothing is held up."""

import os
import subprocess
import sys
import time

import pytest

from fer.errors import InputError
from made_study import made_info, made_trials
from recorder import Recorder
from study import report, sync
from study.execution.progress import Progress
from study.options import StudyOptions
from study.pipeline import finish
from study.tracking import mlflow_run, payloads


def test_requests_stay_within_the_limits():
    params = {f"p{n}": "v" for n in range(250)}
    metrics = [(f"m{n}", 1.0, 0, 0) for n in range(2000)]
    made = list(payloads.split_into_batches(params, metrics))

    assert sum(len(b["params"]) for b in made) == 250 and sum(len(b["metrics"]) for b in made) == 2000
    assert all(len(b["params"]) <= 100 and len(b["params"]) + len(b["metrics"]) <= 1000 for b in made)
    assert (
        len(list(payloads.split_into_batches({"a": "b"}, metrics[:300]))) == 1
        and list(payloads.split_into_batches({}, [])) == []
    )


def test_a_server_that_is_not_there_is_told_once_and_holds_up_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    start = time.monotonic()
    study_run = mlflow_run.open_tracking("http://user:s3cr3t@127.0.0.1:9", tmp_path)
    done: set[int] = set()
    for _ in range(3):
        assert study_run.sync(made_info(), made_trials(3), done) == 0
    assert study_run.sync(made_info(), made_trials(3), done, force=True) == 0
    assert not study_run.finish(made_info(), made_trials(3), done, tmp_path)

    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "warning: MLflow" in err and "s3cr3t" not in err
    assert time.monotonic() - start < 10 and done == set()
    with pytest.raises(InputError) as raised:
        mlflow_run.open_tracking("http://user:s3cr3t@127.0.0.1:9", tmp_path, required=True)
    assert "s3cr3t" not in str(raised.value) and "\n" not in str(raised.value)


def test_none_means_mlflow_is_never_imported(tmp_path):
    code = (
        "import sys; from pathlib import Path; from study.tracking.follower import Follower;"
        "follower = Follower('none', required=True); follower.check(); study = None; follower.follow(study, {});"
        "assert follower.run is None and not follower.catch_up(study, {});"
        "assert follower.finish(study, {}, Path('.'));"
        "assert 'mlflow' not in sys.modules"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}

    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=env)

    assert list(tmp_path.iterdir()) == []


def test_sync_command_tells_bad_input(tmp_path, capsys, monkeypatch):
    assert sync.main(["absent", "--out", str(tmp_path)]) == 2

    monkeypatch.setattr(report, "open_study", lambda *_: (made_info(), []))
    assert sync.main(["x", "--tracking-uri", "nonsense://x"]) == 2
    assert [line[:6] for line in capsys.readouterr().err.splitlines()] == ["error:"] * 2


def test_networks_that_a_studys_end_cannot_log_are_told(tmp_path, monkeypatch):
    warn = Recorder()
    monkeypatch.setattr(Progress, "warn", warn)
    options = StudyOptions(target="tfeid", out=str(tmp_path))

    with finish.logging_networks("absent", options, Progress(), ["--models"], alone=True):
        pass

    first, second = (text for (text,) in warn.calls)
    assert first.startswith("a ")
    assert second.startswith("MLflow lacks networks; again: ") and second.endswith("--models")
