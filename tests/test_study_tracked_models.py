"""The networks of a front are models in MLflow, with aliases; what cannot be logged is told."""

import re
import subprocess

import numpy as np
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import study.tracking.models
from fer.model.weights import save_network
from fer.predict import predict_images
from hostile import flipped
from made_study import FAILED, STOPPED, made_info, made_study, made_trial, made_trials
from recorder import Recorder, raising
from study.execution.progress import Progress
from study.fronts import front_table
from study.options import StudyOptions
from study.pipeline.finish import finish_study
from study.pipeline.running_study import RunningStudy
from study.record import StudyRecord
from study.tracking import models, payloads
from study.tracking.follower import Follower
from study.trials import model_file, trials_table
from tracked import children, parents


def find_models(study_run, info):
    """Returns the study's models in MLflow, by their file."""
    return models.find_models(study_run.client, study_run.experiment, StudyRecord.from_json(info))


@pytest.mark.slow
def test_the_fronts_networks_are_models_with_aliases(study_run, baseline, tmp_path, info):
    import mlflow

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
    aliases = ("best-retention", "knee", "best-target")
    sources = [client.get_model_version_by_alias("adapted", alias).source for alias in aliases]
    assert len(client.search_model_versions("name = 'adapted'")) == 3

    (parent,) = parents(study_run, info)
    found = find_models(study_run, info)
    assert sources == [found[model_file(number)].model_uri for number in (0, 1, 2)]
    assert found[model_file(1)].model_uri in parent.data.tags[payloads.NOTE]
    assert not [name for name in parent.data.tags if name.startswith(("model.", "registered."))]

    logged = mlflow.pyfunc.load_model("models:/adapted@knee")
    assert logged.metadata.signature.inputs.input_types()[0] == np.dtype("uint8")
    assert logged.metadata.saved_input_example_info is not None

    faces = np.random.default_rng(1).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    np.testing.assert_allclose(logged.predict(faces), predict_images(baseline.network, faces), atol=1e-6)
    assert parent.info.status == "FINISHED"


@pytest.mark.slow
@pytest.mark.parametrize("away", [False, True])
def test_a_studys_end_logs_its_networks_beside_the_export(study_run, store, baseline, tmp_path, monkeypatch, away):
    folder = tmp_path / "made"
    trials = [made_trial(0, values=(0.6, 0.3)), made_trial(1, values=(0.3, 0.5))]
    (folder / "models").mkdir(parents=True)
    study = made_study(trials, JournalStorage(JournalFileBackend(str(folder / "journal.log"))))
    info = made_info(id=f"ended-{away}", name="made")
    study.set_user_attr("study", info)
    for number in (0, 1, 2):
        save_network(baseline.network, folder / model_file(number), {"width": str(baseline.width)})
    options = StudyOptions(target="tfeid", preset="laptop", out=str(tmp_path), tracking_uri=study_run.uri)
    follower = Follower(study_run.uri, required=True)
    if away:
        monkeypatch.setattr(follower, "catch_up", lambda *_: False)
    warn = Recorder()
    monkeypatch.setattr(Progress, "warn", warn)
    is_reported = []
    start = subprocess.Popen

    def start_and_note(*words, **how):
        is_reported.append((folder / "report.html").exists())
        return start(*words, **how)

    monkeypatch.setattr(subprocess, "Popen", start_and_note)
    running = RunningStudy(study, StudyRecord.from_json(info), options, Progress(), follower)
    finish_study(running, networks=True)

    (parent,) = parents(study_run, info)

    assert set(find_models(study_run, info)) == {model_file(0), model_file(1)}
    assert parent.info.status == "FINISHED" and len(children(study_run, info)) == 2 and not warn.calls
    assert is_reported == [away]  # whether the report was there when logging began
    assert not (folder / model_file(2)).exists()


@pytest.mark.slow
def test_a_damaged_network_is_not_logged_and_told(study_run, info, baseline, tmp_path, capsys):
    trials = [made_trial(0, values=(0.6, 0.3)), made_trial(1, values=(0.3, 0.5))]
    for number in (0, 1):
        save_network(baseline.network, tmp_path / model_file(number), {"width": str(baseline.width)})
    victim = tmp_path / model_file(0)
    victim.write_bytes(flipped(victim.read_bytes(), -4))
    study_run.sync(info, trials, set())
    assert not study_run.log_models(info, trials, tmp_path, None)

    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and warnings[0].startswith("warning: networks of the front are damaged")
    assert model_file(0) in warnings[0]

    assert set(find_models(study_run, info)) == {model_file(1)}


@pytest.mark.slow
def test_a_model_has_its_own_trials_parameters_and_its_own_networks_metrics(study_run, baseline, tmp_path, info):
    rates = (0.0073, 0.0021)
    trials = [
        made_trial(number, values=pair, config={"lr": rate})
        for number, (pair, rate) in enumerate(zip([(0.6, 0.3), (0.3, 0.5)], rates, strict=True))
    ]
    trials[0].user_attrs["measures"] |= {"source_val/0.50": 0.61, "target_val/0.50": 0.25}
    handed_over = made_trial(2, STOPPED, handed_over=[[0.5, 0.0]], recipe_of=0, parts=[0, 1], fold=-1)
    alone = made_trial(3, STOPPED, handed_over=[[1.0, 0.0]], recipe_of=1, parts=[1], fold=-1)
    lost = made_trial(4, FAILED, handed_over=[[1.0, 0.0]], recipe_of=0, parts=[0, 1], fold=-1)
    networks = {model_file(0, 0.5): (0, 0.61, 50), model_file(0): (0, 0.6, 100), model_file(1): (1, 0.3, 100)}
    for model in networks:
        save_network(baseline.network, tmp_path / model, {"width": str(baseline.width)})
    study_run.sync(info, trials, set())
    before = {run.data.tags["trial"]: run for run in children(study_run, info)}

    assert study_run.log_models(info, [*trials, handed_over, alone, lost], tmp_path, None)

    # Each model comes from its trial's run.
    found = find_models(study_run, info)
    assert set(found) == set(networks)
    for model, (number, source, step) in networks.items():
        logged = found[model]
        metrics = {metric.key: metric for metric in logged.metrics}
        assert logged.source_run_id == before[str(number)].info.run_id
        assert float(logged.params["lr"]) == rates[number]
        assert metrics["observed_source"].value == source and metrics["observed_source"].step == step
        assert metrics["kept"].value == pytest.approx(source / info["baseline"]["source_val"])
    averaged = {model: found[model].tags.get("averaged_of_trials") for model in networks}
    assert averaged == {model_file(0, 0.5): "0, 1", model_file(0): None, model_file(1): None}

    # The runs are as they were: logging a network neither opens them nor changes what was measured.
    for run in children(study_run, info):
        earlier = before[run.data.tags["trial"]]
        assert (run.info.status, run.info.end_time) == (earlier.info.status, earlier.info.end_time)
        assert earlier.data.metrics.items() <= run.data.metrics.items()


@pytest.mark.slow
def test_a_network_is_logged_again_where_its_file_has_changed_alone(study_run, baseline, tmp_path, info):
    trials = [made_trial(0, values=(0.6, 0.3))]
    save_network(baseline.network, tmp_path / model_file(0), {"width": str(baseline.width)})
    assert study_run.log_models(info, trials, tmp_path, None)
    first = find_models(study_run, info)[model_file(0)]
    assert study_run.log_models(info, trials, tmp_path, None)
    assert find_models(study_run, info)[model_file(0)].model_id == first.model_id

    save_network(baseline.network, tmp_path / model_file(0), {"width": str(baseline.width), "note": "averaged"})

    assert study_run.log_models(info, trials, tmp_path, None)
    assert find_models(study_run, info)[model_file(0)].model_id != first.model_id


@pytest.mark.slow
def test_models_of_an_earlier_version_are_found_and_not_logged_again(study_run, baseline, tmp_path, info):
    import mlflow

    # What it left: models from the study's run, a tag of that run for each, and for each registered version.
    trials = [made_trial(0, values=(0.6, 0.3))]
    trials[0].user_attrs["measures"] |= {"source_val/0.50": 0.61, "target_val/0.50": 0.25}
    study_run.sync(info, trials, set())
    client, parent = study_run.client, study_run.parent
    mlflow.set_tracking_uri(study_run.uri)
    for number, name in enumerate(("trial-0000", "trial-0000-at-0_50"), 1):
        model = client.create_logged_model(study_run.experiment, name=name, source_run_id=parent)
        client.finalize_logged_model(model.model_id, "READY")
        version = mlflow.register_model(model.model_uri, "earlier")
        client.set_tag(parent, f"model.{name}", model.model_uri)
        client.set_tag(parent, f"registered.earlier.{name}", str(number))
        assert int(version.version) == number
    for model in (model_file(0), model_file(0, 0.5)):
        save_network(baseline.network, tmp_path / model, {"width": str(baseline.width)})

    assert study_run.log_models(info, trials, tmp_path, "earlier")

    (run,) = parents(study_run, info)
    found = find_models(study_run, info)
    assert {model: logged.source_run_id for model, logged in found.items()} == {
        model_file(0): parent, model_file(0, 0.5): parent
    }  # fmt: skip
    assert len(client.search_model_versions("name = 'earlier'")) == 2
    assert client.get_model_version_by_alias("earlier", "best-target").source == found[model_file(0)].model_uri
    assert not [name for name in run.data.tags if name.startswith(("model.", "registered."))]


def test_models_that_cannot_be_logged_fail_nothing(study_run, info, tmp_path, capsys, monkeypatch):
    study_run.sync(info, made_trials(2), set())
    monkeypatch.setattr(study.tracking.models, "log_models", raising(RuntimeError("lost")))

    assert not study_run.log_models(info, made_trials(2), tmp_path, None)
    assert capsys.readouterr().err.startswith("warning: MLflow")


@pytest.mark.parametrize("way", [(1.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.2, 0.8)])
def test_every_network_of_a_front_has_a_name_that_mlflow_takes(way):
    from mlflow.utils.validation import _validate_tag_name

    name = models.model_name(model_file(12, *way))

    assert re.fullmatch(r"[\w-]+", name)

    _validate_tag_name(f"model.{name}")
    assert models.file_of_model(name) == model_file(12, *way)
