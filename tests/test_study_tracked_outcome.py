"""What a search and a confirmation found is in MLflow: in the study's run, in tags of its trials, on the pages."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from made_study import made_answered, made_confirmed, made_trial, made_trials
from study.fronts import find_recommended, front_table
from study.record import StudyRecord
from study.reporting.front_file import SUMMARY_COLUMNS, table_of_front
from study.tracking import client as mlflow_client
from study.tracking import mlflow_run, outcome, payloads
from study.tracking.description import describe_start, describe_study
from study.tracking.pages import list_pages, page_of_experiment
from study.trials import trials_table
from study.tuning.summary import read_search
from tracked import baselines, children, confirmed_front, parents, runs_of


def own_tags(study_run, info):
    """Returns the tags of each trial's run that follow from the front, by the trial's number."""
    runs = children(study_run, info)
    return {
        int(run.data.tags["trial"]): {name: run.data.tags[name] for name in outcome.TRIAL_TAGS if name in run.data.tags}
        for run in runs
    }


def found_of(info, trials):
    """Returns a study's record, table, summary and front."""
    record = StudyRecord.from_json(info)
    table, summary = read_search(record, trials)
    return record, table, summary, front_table(table)


# --- the runs of trials


def test_trials_are_tagged_as_on_the_front_or_recommended_and_no_longer_where_others_replace_them(
    study_run, info, tmp_path
):
    trials = [made_trial(0, values=(0.6, 0.3)), made_trial(1, values=(0.4, 0.4)), made_trial(2, values=(0.3, 0.5))]
    assert study_run.finish(info, trials, set(), tmp_path)
    recommended = int(find_recommended(front_table(trials_table(trials)))["trial"])
    expected = {number: {"front": "true"} for number in range(3)}
    expected[recommended] = expected[recommended] | {"recommended": "true"}
    assert own_tags(study_run, info) == expected

    trials.append(made_trial(3, values=(0.9, 0.9)))

    assert study_run.finish(info, trials, set(), tmp_path)
    assert own_tags(study_run, info) == {0: {}, 1: {}, 2: {}, 3: {"front": "true", "recommended": "true"}}


def test_a_trials_run_says_its_configuration_rung_and_fold(study_run, info):
    study_run.sync(info, [made_trial(0, slot=7, rung=2, fold=0, repeat=1)], set())

    (run,) = children(study_run, info)

    assert {name: run.data.tags[name] for name in ("configuration", "rung", "fold", "repeat")} == {
        "configuration": "7", "rung": "2", "fold": "0", "repeat": "1"
    }  # fmt: skip


# --- the study's run


def test_a_study_that_recommends_nothing_any_more_forgets_its_figures():
    record, table, summary, front = found_of(*made_answered())
    before = {name: value for name, value, *_ in outcome.recommended_metrics(table, front, record, summary, {})}
    assert before["recommended_source"] > 0

    nothing, table, summary, front = found_of(*made_answered(1, True))
    after = {name: value for name, value, *_ in outcome.recommended_metrics(table, front, nothing, summary, before)}

    assert set(after) == set(before) and all(math.isnan(value) for value in after.values())
    assert not outcome.recommended_metrics(table, front, nothing, summary, after)


def test_after_a_confirmation_the_recommended_networks_test_figures_are_metrics(study_run, tmp_path):
    info, trials = confirmed_front()
    info = info | {"id": "tested", "name": "tested"}
    assert study_run.finish(info, trials, set(), tmp_path)

    record, _, _, front = found_of(info, trials)
    point = record.results.find_point(find_recommended(front))
    (parent,) = parents(study_run, info)
    metrics = parent.data.metrics
    for domain in ("source", "target"):
        assert metrics[f"tested_{domain}"] == point[f"{domain}_test"]
        assert metrics[f"tested_{domain}_lower"] == point[f"{domain}_lower"]
    assert metrics["tested_gain"] == point["target_change"] and metrics["tested_gain_p"] == point["target_p"]
    assert metrics["tested_kept"] == pytest.approx(point["source_test"] / record.results.points[0]["source_test"])
    assert "on test images (95 % intervals)" in parent.data.tags[payloads.NOTE]


def test_everything_again_changes_nothing(study_run, store, tmp_path):
    info, trials = confirmed_front()
    info = info | {"id": "again", "name": "again"}

    def everything():
        runs = [
            run for role in ("study", "baseline", "confirmation", "trial") for run in runs_of(study_run, info, role)
        ]
        histories = [
            len(study_run.client.get_metric_history(runs[0].info.run_id, name)) for name in runs[0].data.metrics
        ]
        return [(run.info.run_id, run.data.tags, run.data.metrics, run.data.params) for run in runs], histories

    assert study_run.finish(info, trials, set(), tmp_path)
    first = everything()

    fresh = mlflow_run.open_tracking(study_run.uri, store)

    assert fresh.finish(info, trials, set(), tmp_path)
    assert everything() == first


def test_runs_of_an_earlier_version_get_what_they_lack(study_run, info, tmp_path):
    # What it left: no run of the baseline, whose figures are the study's, tags of other names, no configuration.
    trials = [made_trial(number, values=pair, slot=number) for number, pair in enumerate([(0.6, 0.3), (0.3, 0.5)])]
    study_run.sync(info, trials, set())
    client = study_run.client
    (baseline,) = baselines(study_run, info)
    client.delete_run(baseline.info.run_id)
    client.log_metric(study_run.parent, "baseline/source_val", 0.61)
    client.set_tag(study_run.parent, "recommended", "models/trial-0001.safetensors")
    client.set_tag(study_run.parent, "recommended.trial", "1")
    before = {run.data.tags["trial"]: run for run in children(study_run, info)}
    for run in before.values():
        client.delete_tag(run.info.run_id, "configuration")
        client.set_tag(run.info.run_id, "mlflow.user", "somebody")

    fresh = mlflow_run.open_tracking(study_run.uri, tmp_path)
    assert fresh.finish(info, trials, set(), tmp_path)

    (parent,) = parents(study_run, info)
    assert len(baselines(study_run, info)) == 1 and parent.data.metrics["baseline/source_val"] == 0.61
    assert not set(outcome.EARLIER_TAGS) & set(parent.data.tags) and parent.data.tags["recommended_strategy"] == "FU"
    for run in children(study_run, info):
        earlier = before[run.data.tags["trial"]]
        assert run.info.run_id == earlier.info.run_id and run.data.metrics == earlier.data.metrics
        assert run.data.tags["configuration"] == run.data.tags["trial"] and run.data.tags["mlflow.user"] == "somebody"


def test_a_baselines_run_that_was_cut_off_is_completed_not_doubled(study_run, store, info, monkeypatch, capsys):
    with monkeypatch.context() as away:
        away.setattr(mlflow_client, "log_values", lost_after(2, mlflow_client.log_values))
        study_run.sync(info, [], set())

    fresh = mlflow_run.open_tracking(study_run.uri, store)
    fresh.sync(info, [], set())

    assert "the study goes on without it" in capsys.readouterr().err
    (baseline,) = baselines(study_run, info)
    assert baseline.info.status == "FINISHED" and baseline.data.metrics["source_val"] == 0.61


def lost_after(calls, work):
    """Returns a function that works like another until it is called this often, and then finds no server."""
    left = iter(range(calls - 1))

    def work_or_fail(*arguments, **further):
        if next(left, None) is None:
            raise RuntimeError("lost")
        return work(*arguments, **further)

    return work_or_fail


# --- descriptions


def test_a_description_says_what_was_studied_what_to_use_and_how_to_load_it(tmp_path):
    record, table, summary, front = found_of(*made_answered())
    network = find_recommended(front)

    words = describe_study(record, table, summary, tmp_path, "models:/m-1")

    assert "FER2013 stand-in" in words and "SYNTHETIC" in words and "3 folds" in words
    assert f"**Recommended: trial {network['trial']} ({network['strategy']})" in words
    assert f"{100 * network['target_val']:.1f} [{100 * network['target_lower']:.1f}" in words
    assert f"{100 * network['source_val'] / record.baseline.source_val:.1f} % of the baseline's accuracy" in words
    gain = summary.recommended.gains["target"]
    assert f"gains {100 * gain.mean:+.1f} [{100 * gain.lower:+.1f}, {100 * gain.upper:+.1f}] points" in words
    assert str(tmp_path / network["model"]) in words and 'load_model("models:/m-1")' in words
    assert "pyfunc" not in describe_study(record, table, summary, tmp_path, None)
    assert "has not ended" in describe_start(record)


@pytest.mark.parametrize("made", [(made_answered, ()), (made_answered, (1, True)), (made_confirmed, ())])
def test_a_description_is_within_mlflows_limit(made, tmp_path):
    make, arguments = made
    record, table, summary, _ = found_of(*make(*arguments))
    assert len(describe_study(record, table, summary, tmp_path, "models:/m-" + "0" * 32)) < payloads.TAG_TEXT


def test_an_older_study_without_answers_is_described_by_what_validation_showed(tmp_path, info):
    record, table, summary, front = found_of(info, made_trials(30))
    assert summary is None

    words = describe_study(record, table, summary, tmp_path, None)

    network = find_recommended(front)
    assert "on the validation images it was chosen by" in words
    assert f"gains {100 * (network['target_val'] - 0.45):+.1f} points" in words
    assert "On front" not in words


def test_a_study_without_a_finished_trial_recommends_nothing(study_run, info, tmp_path):
    assert study_run.finish(info, [], set(), tmp_path)

    (parent,) = parents(study_run, info)

    assert "no network is recommended" in parent.data.tags[payloads.NOTE]
    assert parent.data.tags["recommended_network"].startswith("none:")


# --- the experiment and its page


def test_the_experiment_says_what_it_holds_and_keeps_what_its_owner_wrote(study_run, store):
    client = study_run.client
    tags = client.get_experiment(study_run.experiment).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert "recommended_target" in tags[payloads.NOTE]

    client.set_experiment_tag(study_run.experiment, payloads.NOTE, "mine")
    client.delete_experiment_tag(study_run.experiment, "project")
    mlflow_run.open_tracking(study_run.uri, store, required=True)

    tags = client.get_experiment(study_run.experiment).tags
    assert tags[payloads.NOTE] == "mine" and tags["project"] == "memory-integrity"
    client.set_experiment_tag(study_run.experiment, payloads.NOTE, mlflow_client.EXPERIMENT_TAGS[payloads.NOTE])


@pytest.mark.parametrize(
    ("uri", "experiment", "said"),
    [
        ("none", "", ""),
        ("sqlite:///m.db", "3", "mlflow ui --backend-store-uri sqlite:///m.db"),
        ("sqlite:///m.db", "3", "http://127.0.0.1:5000/#/experiments/3/runs?workflowType=machine_learning"),
        ("sqlite:///m.db", "", "open http://127.0.0.1:5000"),
        ("https://host/ml/", "12", "open https://host/ml/#/experiments/12/runs?workflowType=machine_learning"),
        ("https://me:s3cr3t@host", "1", "open https://***@host/#/experiments/1/runs"),
        ("postgresql://me:s3cr3t@host/db", "1", "--backend-store-uri postgresql://***@host/db"),
        ("databricks", "1", "MLflow, at databricks"),
    ],
)
def test_the_printed_lines_lead_to_the_runs_and_tell_no_password(uri, experiment, said):
    lines = [" ".join(pair) for pair in list_pages(uri, experiment)]
    assert said in "\n".join(lines) and "s3cr3t" not in "\n".join(lines)
    assert bool(lines) == (uri != "none")
    assert page_of_experiment("http://h", "") == "http://h"


# --- the front as a table


@pytest.mark.parametrize("make", [made_answered, made_confirmed])
def test_a_fronts_table_begins_with_what_a_network_is_and_reaches(make):
    record, _, _, front = found_of(*make())

    table = table_of_front(front, record)

    columns = list(table)
    known = [name for name in SUMMARY_COLUMNS if name in columns]
    assert columns[: len(known)] == known and columns[:3] == ["trial", "network", "strategy"]
    assert {"kept", "model"} <= set(known) and set(front) <= set(columns)
    pd.testing.assert_frame_equal(table[list(front)], front)
    assert table["kept"].tolist() == (front["source_val"] / record.baseline.source_val).tolist()
    assert table["network"][0].startswith(f"trial {front['trial'][0]} ({front['strategy'][0]})")


def test_mlflow_shows_the_front_as_a_table(study_run, info, tmp_path):
    trials = made_trials(6)
    assert all(study_run.finish(info, trials, set(), tmp_path) for _ in range(2))

    (parent,) = parents(study_run, info)
    shown = json.loads(artifact_of(study_run, parent.info.run_id, "front.json").read_text())

    front = front_table(trials_table(trials))
    models = [row[shown["columns"].index("model")] for row in shown["data"]]
    assert models == front["model"].tolist()  # each network once
    assert json.loads(parent.data.tags[mlflow_client.LISTED_TABLES]) == [{"path": "front.json", "type": "table"}]


def artifact_of(study_run, run, name):
    """Returns the path of an artifact of a run."""
    return Path(study_run.client.download_artifacts(run, name))
