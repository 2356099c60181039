import os
import re
import subprocess
import sys
import time

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import study.tracking.models
from fer.errors import InputError
from made_study import FAILED, STOPPED, made_confirmed, made_info, made_study, made_trial, made_trials
from study import report, sync
from study.execution.progress import Progress
from study.fronts import front_table, hypervolume_over_trials
from study.options import StudyOptions
from study.record import StudyRecord, hide_secrets
from study.tracking import mlflow_run, models, payloads
from study.tracking.follower import Follower
from study.trials import finished_trials, model_file, trials_table


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """One real database for all tests, since making it takes seconds; studies differ by their id."""
    root = tmp_path_factory.mktemp("tracked")
    mlflow_run.open_tracking(f"sqlite:///{root}/mlruns/mlflow.db", root, required=True)
    return root


@pytest.fixture
def study_run(store):
    return mlflow_run.open_tracking(f"sqlite:///{store}/mlruns/mlflow.db", store, required=True)


@pytest.fixture
def info(request):
    return made_info(id=f"id-{abs(hash(request.node.name))}", name=request.node.name)


def children(study_run, info):
    query = f"tags.study_id = '{info['id']}' and tags.role = 'trial'"
    return study_run.client.search_runs([study_run.experiment], query)


def parents(study_run, info):
    query = f"tags.study_id = '{info['id']}' and tags.role = 'study'"
    return study_run.client.search_runs([study_run.experiment], query)


def test_a_study_is_a_parent_with_a_child_per_counted_trial(study_run, info):
    trials = [*made_trials(10), made_trial(10, FAILED, lost=True)]
    done: set[int] = set()
    assert study_run.sync(info, trials, done) == 10 and done == set(range(10))
    (parent,) = parents(study_run, info)
    assert parent.info.run_id == study_run.parent and parent.info.run_name == info["name"]
    assert parent.data.tags["synthetic"] == "true" and parent.data.params["sampler"] == "tpe"
    assert parent.data.metrics["baseline/source_val"] == 0.61
    inputs = {d.tags[0].value: (d.dataset.name, d.dataset.digest) for d in parent.inputs.dataset_inputs}
    assert inputs == {"source": ("fer2013", "0123456789abcdef"), "target": ("tfeid", "fedcba9876543210")}
    runs = {int(run.data.tags["trial"]): run for run in children(study_run, info)}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in runs.values())
    statuses = [runs[n].info.status for n in range(10)]
    assert statuses == ["FINISHED"] * 8 + ["KILLED", "FAILED"]
    for row in finished_trials(trials_table(trials)).to_dict("records"):
        run = runs[row["number"]]
        assert (
            run.data.metrics["source_val"] == row["source_val"] and run.data.metrics["target_val"] == row["target_val"]
        )
        assert float(run.data.params["lr"]) == row["lr"] and run.data.params["strategy"] == row["strategy"]
        assert run.info.end_time - run.info.start_time == 3000
    curve = study_run.client.get_metric_history(runs[0].info.run_id, "curve/loss")
    assert [(m.step, m.value) for m in curve] == [(1, 2.0), (2, 1.0), (3, 2 / 3)]
    assert runs[9].data.tags["reason"] == "Diverged: the loss is nan"


def test_again_adds_nothing_and_a_resumed_study_finds_its_run(study_run, store, info):
    trials, done = made_trials(6), set()
    assert study_run.sync(info, trials[:4], done) == 4
    assert study_run.sync(info, trials[:4], done) == 0
    assert study_run.sync(info, trials[:4], set()) == 0  # even if its caller forgot what was done
    fresh = mlflow_run.open_tracking(study_run.uri, store)
    changed = info | {"options": info["options"] | {"trials": 210}}
    known: set[int] = set()
    assert fresh.sync(changed, trials, known) == 2 and known == set(range(6))
    (parent,) = parents(study_run, info)
    assert parent.data.params["trials"] == "30" and parent.data.tags["now.trials"] == "210"
    assert len(children(study_run, info)) == 6


def test_one_connection_serves_two_studies(study_run, info):
    other = info | {"id": info["id"] + "-other", "name": "other"}
    assert study_run.sync(info, made_trials(2), set()) == 2
    assert study_run.sync(other, made_trials(3), set()) == 3
    assert study_run.sync(info, made_trials(2), set()) == 0
    assert (len(children(study_run, info)), len(children(study_run, other))) == (2, 3)


def test_a_study_that_its_owner_deleted_is_written_anew(study_run, store, info):
    study_run.sync(info, made_trials(2), set())
    study_run.client.delete_run(study_run.parent)
    fresh = mlflow_run.open_tracking(study_run.uri, store)
    assert fresh.sync(info, made_trials(2), set()) == 2 and len(parents(study_run, info)) == 1


def test_a_child_left_half_written_is_completed_not_doubled(study_run, store, info, monkeypatch, capsys):
    trials = made_trials(2)
    study_run.sync(info, [], set())
    client = study_run.client
    monkeypatch.setattr(client, "set_terminated", lambda *_: 1 / 0)
    done: set[int] = set()
    assert study_run.sync(info, trials, done) == 0 and done == set()
    monkeypatch.undo()
    assert study_run.sync(info, trials, done) == 0  # too soon
    assert study_run.sync(info, trials, done, force=True) == 2
    runs = children(study_run, info)
    assert len(runs) == 2 and {run.info.status for run in runs} == {"FINISHED"}
    assert all(len(client.get_metric_history(run.info.run_id, "curve/loss")) == 3 for run in runs)
    lost, back = capsys.readouterr().err.splitlines()
    assert "the study goes on without it" in lost and "answers again" in back


def test_a_parent_left_without_its_description_is_given_it(study_run, store, info, monkeypatch, capsys):
    client = study_run.client
    monkeypatch.setattr(client, "log_batch", lambda *_, **__: 1 / 0)
    assert study_run.sync(info, made_trials(1), set()) == 0
    monkeypatch.undo()
    fresh = mlflow_run.open_tracking(study_run.uri, store)
    assert fresh.sync(info, made_trials(1), set()) == 1
    (parent,) = parents(study_run, info)
    assert parent.data.params["sampler"] == "tpe" and parent.data.metrics["baseline/source_val"] == 0.61
    assert len(parent.inputs.dataset_inputs) == 2 and not [tag for tag in parent.data.tags if tag.startswith("now.")]


def test_each_time_that_the_server_is_lost_is_told(study_run, info, monkeypatch, capsys):
    for trials in (1, 2):
        with monkeypatch.context() as away:
            away.setattr(study_run.client, "create_run", lambda *_, **__: 1 / 0)
            assert study_run.sync(info, made_trials(trials), set(), force=True) == 0
            assert study_run.sync(info, made_trials(trials), set(), force=True) == 0
        assert study_run.sync(info, made_trials(trials), set(), force=True) == 1
        assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == ["warning:", "MLflow"]


def test_finish_adds_exports_and_hypervolume_once(study_run, info, tmp_path):
    trials = made_trials(10)
    study_run.sync(info, trials, set())
    for name in ("pareto.png", "pareto.html", "report.html"):
        (tmp_path / name).write_text("x")
    (tmp_path / "trials.csv").write_text(trials_table(trials).to_csv(index=False))
    assert all(study_run.finish(info, trials, set(), tmp_path) for _ in range(2))
    (parent,) = parents(study_run, info)
    assert parent.info.status == "FINISHED"
    found = {artifact.path for artifact in study_run.client.list_artifacts(parent.info.run_id)}
    assert found == {"pareto.png", "pareto.html", "report.html", "trials.csv"}
    history = study_run.client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [m.value for m in history] == hypervolume_over_trials(trials_table(trials)).tolist()
    assert parent.data.metrics["trials/finished"] == 8


def test_finish_adds_the_trials_that_the_last_sync_could_not(study_run, info, tmp_path, monkeypatch):
    trials, done = made_trials(4), set()
    study_run.sync(info, trials[:1], done)
    with monkeypatch.context() as away:
        away.setattr(study_run.client, "create_run", lambda *_, **__: 1 / 0)
        assert study_run.sync(info, trials, done, force=True) == 0
        assert not study_run.finish(info, trials, done, tmp_path)
    assert study_run.finish(info, trials, done, tmp_path)
    assert done == {0, 1, 2, 3} and len(children(study_run, info)) == 4
    assert parents(study_run, info)[0].info.status == "FINISHED"


def test_artifacts_lie_beside_the_database(study_run, store, info, tmp_path):
    study_run.sync(info, [], set())
    (tmp_path / "front.csv").write_text("x")
    study_run.finish(info, [], set(), tmp_path)
    assert list((store / "mlruns" / "artifacts").glob("*/artifacts/front.csv"))


def test_odd_values_pass_mlflows_rules(study_run, info):
    config = {"lr+": 1.0, "text": "x" * 9000, "none": None, **{f"knob{n}": n for n in range(130)}}
    curve = [{"epoch": n / 4, "loss": float("nan") if n == 2 else None, "FC+CL %": 0.5} for n in range(1, 1200)]
    trial = made_trial(0, STOPPED, config=config, curve=curve, measures={"a": None, "b": "word", "c": 1, "d": True})
    nameless = made_trial(1, FAILED, config=None, curve=None, measures=None, seconds=None)
    nameless.datetime_start = nameless.datetime_complete = None
    odd = info | {"source": None, "name": 'it\'s "odd"', "baseline": {}, "options": {"deep": {"a": [1]}}}
    assert study_run.sync(odd, [trial, nameless], set()) == 2
    runs = {run.data.tags["trial"]: run for run in children(study_run, info)}
    assert len(runs["0"].data.params) == 134 and runs["0"].data.metrics["c"] == 1
    assert len(study_run.client.get_metric_history(runs["0"].info.run_id, "curve/FC_CL _")) == 1199


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


def test_a_failed_sync_is_tried_again_after_a_while(study_run, info, monkeypatch):
    broken = study_run.client.create_run
    monkeypatch.setattr(study_run.client, "create_run", lambda *a, **k: 1 / 0)
    assert study_run.sync(info, made_trials(2), set()) == 0
    monkeypatch.setattr(study_run.client, "create_run", broken)
    later = time.monotonic() + mlflow_run.RETRY_SECONDS
    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: later)
    assert study_run.sync(info, made_trials(2), set()) == 2


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


def test_the_environment_names_the_store_where_no_option_does(study_run, store, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", study_run.uri)
    assert mlflow_run.open_tracking(None, tmp_path).uri == study_run.uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    assert mlflow_run.open_tracking("", tmp_path) is None


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgresql://me:p/w@x@host/db", "postgresql://***@host/db"),
        ("sqlite:////home/a@b/x.db", "sqlite:////home/a@b/x.db"),
        ("http://h/?token=abc&b=1", "http://h/?token=***&b=1"),
        ({"a": ["http://u:p@h"]}, {"a": ["http://***@h"]}),
    ],
)
def test_secrets_are_hidden(text, hidden):
    assert hide_secrets(text) == hidden


def test_sync_command_rebuilds_what_is_missing(study_run, tmp_path, capsys):
    folder = tmp_path / "made"
    folder.mkdir()
    made_study(made_trials(5), JournalStorage(JournalFileBackend(str(folder / "journal.log"))))
    command = ["made", "--out", str(tmp_path), "--tracking-uri", study_run.uri]
    assert sync.main(command) == 0 and "5 trials, 5 added, 0 already there" in capsys.readouterr().out
    assert sync.main(command) == 0 and "5 trials, 0 added, 5 already there" in capsys.readouterr().out
    assert sync.main(["made", "--tracking-uri", "none"]) == 2


def test_sync_command_tells_bad_input(tmp_path, capsys, monkeypatch):
    assert sync.main(["absent", "--out", str(tmp_path)]) == 2
    monkeypatch.setattr(report, "open_study", lambda *_: (made_info(), []))
    assert sync.main(["x", "--tracking-uri", "nonsense://x"]) == 2
    assert [line[:6] for line in capsys.readouterr().err.splitlines()] == ["error:"] * 2


def test_confirmed_results_are_metrics_of_the_parent(study_run, tmp_path):
    info, trials = made_confirmed()
    info = info | {"id": "confirmed", "name": "confirmed"}
    (tmp_path / "trials.csv").write_text(trials_table(trials).to_csv(index=False))
    assert all(study_run.finish(info, trials, set(), tmp_path) for _ in range(2))
    (parent,) = parents(study_run, info)
    for point in info["confirmation"]["results"]["points"]:
        name = payloads.clean_key(f"confirmed/{point['name']}")
        assert parent.data.metrics[f"{name}/target_test"] == point["target_test"]
        assert parent.data.metrics[f"{name}/source_lower"] == point["source_lower"]
    assert len(study_run.client.get_metric_history(parent.info.run_id, "confirmed/BL/target_test")) == 1


@pytest.mark.slow
def test_the_fronts_networks_are_models_with_aliases(study_run, baseline, tmp_path, info):
    import mlflow
    import numpy as np

    from fer.model.weights import save_network
    from fer.predict import predict_images

    values = [(0.6, 0.3), (0.55, 0.5), (0.3, 0.55), (0.2, 0.2)]
    trials = [made_trial(number, values=pair) for number, pair in enumerate(values)]
    front = front_table(trials_table(trials))
    for model in front["model"]:
        (tmp_path / model).parent.mkdir(exist_ok=True)
        save_network(baseline.network, tmp_path / model, {"width": str(baseline.width)})
    study_run.sync(info, trials, set())
    for _ in range(2):
        assert study_run.log_models(info, trials, tmp_path, "adapted")
    client = study_run.client
    found = {alias: client.get_model_version_by_alias("adapted", alias) for alias in ("best-retention", "best-target",
             "knee")}  # fmt: skip
    assert len(client.search_model_versions("name = 'adapted'")) == 3
    (parent,) = parents(study_run, info)
    uris = {number: parent.data.tags[f"model.trial-{number:04d}"] for number in (0, 1, 2)}
    assert [found[alias].source for alias in ("best-retention", "knee", "best-target")] == [*uris.values()]
    logged = mlflow.pyfunc.load_model("models:/adapted@knee")
    assert logged.metadata.signature.inputs.input_types()[0] == np.dtype("uint8")
    assert logged.metadata.saved_input_example_info is not None
    faces = np.random.default_rng(1).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    np.testing.assert_allclose(logged.predict(faces), predict_images(baseline.network, faces), atol=1e-6)
    assert parent.info.status == "FINISHED"


@pytest.mark.parametrize("away", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_studys_end_logs_its_networks_beside_the_export(study_run, store, baseline, tmp_path, monkeypatch, away):
    from fer.model.weights import save_network
    from study.pipeline.finish import finish_study
    from study.pipeline.running_study import RunningStudy

    folder, trials = tmp_path / "made", [made_trial(0, values=(0.6, 0.3)), made_trial(1, values=(0.3, 0.5))]
    (folder / "models").mkdir(parents=True)
    study = made_study(trials, JournalStorage(JournalFileBackend(str(folder / "journal.log"))))
    info = made_info(id=f"ended-{away}", name="made")
    study.set_user_attr("study", info)
    for number in (0, 1, 2):
        save_network(baseline.network, folder / model_file(number), {"width": str(baseline.width)})
    options = StudyOptions(target="tfeid", preset="laptop", out=str(tmp_path), tracking_uri=study_run.uri)
    follower, spoken, beside = Follower(study_run.uri, required=True), [], []
    if away:
        monkeypatch.setattr(follower, "catch_up", lambda *_: False)
    monkeypatch.setattr(Progress, "warn", lambda self, text: spoken.append(text))
    monkeypatch.setattr(subprocess, "Popen", noted(beside, subprocess.Popen, folder / "report.html"))
    running = RunningStudy(study, StudyRecord.from_json(info), options, Progress(quiet=True), follower)
    finish_study(running, networks=True)
    (parent,) = parents(study_run, info)
    assert {f"model.trial-{number:04d}" for number in (0, 1)} == {n for n in parent.data.tags if n[:6] == "model."}
    assert parent.info.status == "FINISHED" and len(children(study_run, info)) == 2 and not spoken
    assert beside == [away]  # whether the report was there when logging began
    assert not (folder / model_file(2)).exists()


def noted(beside, start, report):
    def popen(*words, **how):
        beside.append(report.exists())
        return start(*words, **how)

    return popen


def test_networks_that_a_studys_end_cannot_log_are_told(tmp_path, monkeypatch):
    from study.pipeline import finish

    spoken = []
    monkeypatch.setattr(Progress, "warn", lambda self, text: spoken.append(text))
    options = StudyOptions(target="tfeid", out=str(tmp_path))
    with finish.logging_networks("absent", options, Progress(quiet=True), ["--models"], alone=True):
        pass
    assert [line.split(" ")[0] for line in spoken] == ["a", "MLflow"]
    assert spoken[1].startswith("MLflow lacks networks; again: ") and spoken[1].endswith("--models")


@pytest.mark.slow
def test_a_damaged_network_is_not_logged_and_told(study_run, info, baseline, tmp_path, capsys):
    from fer.model.weights import save_network

    trials = [made_trial(0, values=(0.6, 0.3)), made_trial(1, values=(0.3, 0.5))]
    for number in (0, 1):
        save_network(baseline.network, tmp_path / model_file(number), {"width": str(baseline.width)})
    victim = tmp_path / model_file(0)
    content = bytearray(victim.read_bytes())
    content[-4] ^= 1
    victim.write_bytes(content)
    study_run.sync(info, trials, set())
    assert not study_run.log_models(info, trials, tmp_path, None)
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and warnings[0].startswith("warning: networks of the front are damaged")
    assert model_file(0) in warnings[0]
    (parent,) = parents(study_run, info)
    assert [name for name in parent.data.tags if name.startswith("model.")] == ["model.trial-0001"]


def test_models_that_cannot_be_logged_fail_nothing(study_run, info, tmp_path, capsys, monkeypatch):

    study_run.sync(info, made_trials(2), set())
    monkeypatch.setattr(study.tracking.models, "log_models", lambda *_: 1 / 0)
    assert not study_run.log_models(info, made_trials(2), tmp_path, None)
    assert capsys.readouterr().err.startswith("warning: MLflow")


@pytest.mark.parametrize("way", [(1.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.2, 0.8)])
def test_every_network_of_a_front_has_a_name_that_mlflow_takes(way):
    from mlflow.utils.validation import _validate_tag_name

    name = models.model_name(model_file(12, *way))
    assert re.fullmatch(r"[\w-]+", name)
    _validate_tag_name(f"model.{name}")
