"""A study in MLflow: a parent with a child per trial, whatever was lost, deleted or interrupted on the way."""

import copy
import time

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from made_study import FAILED, STOPPED, made_study, made_trial, made_trials
from recorder import raising
from study import sync
from study.fronts import hypervolume_over_trials
from study.record import hide_secrets
from study.tracking import mlflow_run, payloads
from study.trials import finished_trials, trials_table
from tracked import baselines, children, confirmed_front, parents, runs_of


def test_a_study_is_a_parent_with_a_child_per_counted_trial(study_run, info):
    trials = [*made_trials(10), made_trial(10, FAILED, lost=True)]
    done: set[int] = set()
    assert study_run.sync(info, trials, done) == 10 and done == set(range(10))

    (parent,) = parents(study_run, info)
    assert parent.info.run_id == study_run.parent and parent.info.run_name == info["name"]
    assert parent.data.tags["synthetic"] == "true" and parent.data.params["sampler"] == "tpe"

    # The baseline has a run of its own, and the study's run none of its figures.
    (baseline,) = baselines(study_run, info)
    assert baseline.info.run_name == "baseline" and baseline.info.status == "FINISHED"
    assert baseline.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert baseline.data.metrics["source_val"] == 0.61 and baseline.data.metrics["source_uar"] == 0.58
    assert baseline.data.params["digest"] == "abc"
    assert not [name for name in parent.data.metrics if "source" in name]

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
    monkeypatch.setattr(client, "set_terminated", raising(RuntimeError("lost")))
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
    monkeypatch.setattr(client, "log_batch", raising(RuntimeError("lost")))
    assert study_run.sync(info, made_trials(1), set()) == 0

    monkeypatch.undo()
    fresh = mlflow_run.open_tracking(study_run.uri, store)
    assert fresh.sync(info, made_trials(1), set()) == 1

    (parent,) = parents(study_run, info)
    (baseline,) = baselines(study_run, info)
    assert parent.data.params["sampler"] == "tpe" and baseline.data.metrics["source_val"] == 0.61
    assert len(parent.inputs.dataset_inputs) == 2 and not [tag for tag in parent.data.tags if tag.startswith("now.")]


def test_each_time_that_the_server_is_lost_is_told(study_run, info, monkeypatch, capsys):
    for trials in (1, 2):
        with monkeypatch.context() as away:
            away.setattr(study_run.client, "create_run", raising(RuntimeError("lost")))
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
    assert found == {"pareto.png", "pareto.html", "report.html", "trials.csv", "front.json"}

    history = study_run.client.get_metric_history(parent.info.run_id, "hypervolume")
    assert [m.value for m in history] == hypervolume_over_trials(trials_table(trials)).tolist()
    assert parent.data.metrics["trials/finished"] == 8


def test_finish_adds_the_trials_that_the_last_sync_could_not(study_run, info, tmp_path, monkeypatch):
    trials, done = made_trials(4), set()
    study_run.sync(info, trials[:1], done)
    with monkeypatch.context() as away:
        away.setattr(study_run.client, "create_run", raising(RuntimeError("lost")))
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


def test_a_failed_sync_is_tried_again_after_a_while(study_run, info, monkeypatch):
    broken = study_run.client.create_run
    monkeypatch.setattr(study_run.client, "create_run", raising(RuntimeError("lost")))
    assert study_run.sync(info, made_trials(2), set()) == 0

    monkeypatch.setattr(study_run.client, "create_run", broken)
    later = time.monotonic() + mlflow_run.RETRY_SECONDS
    monkeypatch.setattr(mlflow_run.time, "monotonic", lambda: later)
    assert study_run.sync(info, made_trials(2), set()) == 2


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


def test_confirmed_results_are_metrics_of_a_run_of_their_own(study_run, tmp_path):
    info, trials = confirmed_front()
    info = info | {"id": "confirmed", "name": "confirmed"}
    (tmp_path / "trials.csv").write_text(trials_table(trials).to_csv(index=False))
    assert all(study_run.finish(info, trials, set(), tmp_path) for _ in range(2))

    (parent,) = parents(study_run, info)
    (confirmation,) = runs_of(study_run, info, "confirmation")
    assert confirmation.info.run_name == "confirmation" and confirmation.info.status == "FINISHED"
    assert confirmation.data.tags["mlflow.parentRunId"] == parent.info.run_id
    for point in info["confirmation"]["results"]["points"]:
        name = payloads.clean_key(point["name"])
        assert confirmation.data.metrics[f"{name}/target_test"] == point["target_test"]
        assert confirmation.data.metrics[f"{name}/source_lower"] == point["source_lower"]
    assert len(study_run.client.get_metric_history(confirmation.info.run_id, "BL/target_test")) == 1
    assert not [name for name in parent.data.metrics if name.endswith("target_test")]


def test_a_second_confirmation_is_logged_over_the_first(study_run, tmp_path):
    info, trials = confirmed_front()
    info = info | {"id": "confirmed-again", "name": "confirmed-again"}
    study_run.finish(info, trials, set(), tmp_path)
    again = copy.deepcopy(info)
    again["confirmation"]["finished"] = "2026-02-01T01:00:00+00:00"
    again["confirmation"]["results"]["points"][0]["target_test"] = 0.123

    study_run.finish(again, trials, set(), tmp_path)

    (confirmation,) = runs_of(study_run, info, "confirmation")
    assert confirmation.data.metrics["BL/target_test"] == 0.123
