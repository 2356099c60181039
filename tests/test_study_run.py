"""The main job through its real command: a real journal, a real MLflow store, real worker processes."""

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import made_faces
from commands import NAME, run, study, trials_of
from fer.datasets import load
from fer.datasets.dataset import SUMS
from fer.predict import load_network, predict_images
from recorder import Recorder
from study import load_study
from study.execution.progress import Progress
from study.options import StudyOptions
from study.pipeline.prepare import read_data

# More trials than the sampler draws at random, by one worker, so that a second study can be compared with it.
TRIALS = 12
OPTIONS = ["--workers", "1", "--interpolate", "on", "--trials"]


@pytest.fixture(scope="module")
def finished_study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished study, tracked in MLflow."""
    folder = tmp_path_factory.mktemp("main-job")
    return folder, study(folder, *OPTIONS, str(TRIALS))


def test_the_contract_of_the_folder_holds(finished_study):
    folder, output = finished_study
    pictures = set()
    for stem in ("pareto", "hypervolume", "strategies"):
        for ending in ("png", "svg", "pdf"):
            pictures.add(f"{stem}.{ending}")

    files = {path.name for path in (folder / "runs" / NAME).iterdir()}

    assert files >= {"study.json", "trials.csv", "front.csv", "pareto.html", "report.html", "models"} | pictures
    for text in ("STAND-IN", "network", "baseline", "storage", "workers", "report.html", "mlflow ui"):
        assert text in output
    assert "SYNTHETIC" in (folder / "runs" / NAME / "report.html").read_text().upper()


def test_the_record_keeps_the_course_of_the_baselines_training(finished_study):
    folder, output = finished_study
    stored = json.loads((folder / "runs" / NAME / "study.json").read_text())["baseline"]

    assert len(stored["course"]) == stored["epochs"]
    assert stored["seconds"] > 0
    assert stored["course"][-1] == pytest.approx(stored["source_val"], abs=0.005)
    for number in range(1, stored["epochs"] + 1):
        assert f"baseline pass {number} of at most" in output
    assert "ended because" in output


def test_every_trial_counts_and_the_front_has_its_networks(finished_study):
    folder, _ = finished_study
    trials = trials_of(folder)
    assert list(trials["number"]) == list(range(TRIALS))
    assert set(trials["state"]) <= {"finished", "stopped"}

    # The paper's strategies come first, and none of them is stopped.
    assert (trials["state"][:5] == "finished").all()
    assert list(trials["strategy"][:5]) == ["BL", "FC", "FC+CL", "RE", "FU"]

    # The folder of models holds the front's networks and no others but the baseline's.
    front = pd.read_csv(folder / "runs" / NAME / "front.csv")
    models = {f"models/{path.name}" for path in (folder / "runs" / NAME / "models").iterdir()}
    assert models == set(front["model"]) | {"models/trial-0000.safetensors"}

    # Each network's expected accuracy lies in its interval; the baseline's trial has no folds and no trainings.
    assert {"source_val/0.50", "target_val/0.00+1.00"} <= set(trials.columns)
    for domain in ("source", "target"):
        values = front[[f"{domain}_lower", f"{domain}_val", f"{domain}_upper"]].to_numpy()
        assert (np.diff(values, axis=1) >= 0).all()
    assert ((front["trainings"] == 0) == (front["strategy"] == "BL")).all()


def test_a_network_of_the_front_can_be_loaded_and_gives_its_accuracy(finished_study):
    folder, _ = finished_study
    front = pd.read_csv(folder / "runs" / NAME / "front.csv")
    dataset = load("tfeid", data_dir=None, kind="synthetic", cache_dir=folder / "runs/.cache/datasets")
    split = dataset.open("validation")

    for row in front.itertuples():
        network = load_network(folder / "runs" / NAME / row.model)
        probabilities = predict_images(network, np.asarray(split.images))
        accuracy = np.mean(probabilities.argmax(1) == split.labels)
        assert accuracy == pytest.approx(row.observed_target_val)


def test_mlflow_holds_the_parent_and_every_trial(finished_study):
    import mlflow

    folder, _ = finished_study
    objectives = ["source_val", "target_val"]
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]

    runs = client.search_runs(ids, max_results=1000)

    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    below = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    children = [run for run in below if run.data.tags["role"] == "trial"]
    assert [run.info.run_name for run in below if run not in children] == ["baseline"]
    assert len(parents) == 1
    assert len(children) == TRIALS
    assert {run.data.tags["mlflow.parentRunId"] for run in below} == {parents[0].info.run_id}

    expected = trials_of(folder).sort_values(objectives)[objectives].to_numpy()
    tracked = sorted([run.data.metrics[name] for name in objectives] for run in children)
    np.testing.assert_allclose(np.array(tracked), expected)


@pytest.mark.slow
def test_one_worker_and_one_seed_give_identical_trials(finished_study, tmp_path):
    folder, _ = finished_study

    study(tmp_path, *OPTIONS, str(TRIALS), "--tracking-uri", "none")

    first = trials_of(folder).drop(columns="seconds")
    second = trials_of(tmp_path).drop(columns="seconds")
    pd.testing.assert_frame_equal(first, second)


def replace_array(path: Path, content: bytes) -> None:
    """Replaces the file of a prepared dataset's array, and its checksum."""
    path.write_bytes(content)
    sums_file = path.with_name(SUMS)
    sums = json.loads(sums_file.read_text())
    sums[path.name] = zlib.crc32(content)
    sums_file.write_text(json.dumps(sums))


@pytest.mark.slow
def test_another_keep_writes_the_report_of_a_finished_study_anew_and_trains_nothing(tmp_path):
    words = [*OPTIONS, str(TRIALS), "--tracking-uri", "none"]
    study(tmp_path, *words)
    before = trials_of(tmp_path)

    said = study(tmp_path, *words, "--keep", "0.5")

    assert "nothing to do" in said
    assert list(trials_of(tmp_path)["number"]) == list(before["number"])
    exported = json.loads((tmp_path / "runs" / NAME / "study.json").read_text())
    assert exported["options"]["keep"] == 0.5
    assert "at least 50 % of the baseline" in (tmp_path / "runs" / NAME / "report.md").read_text()


def test_the_same_command_again_changes_nothing_and_a_larger_total_adds(finished_study):
    folder, _ = finished_study
    front = (folder / "runs" / NAME / "front.csv").read_bytes()

    # The same command.
    assert "nothing to do" in study(folder, *OPTIONS, str(TRIALS))
    assert (folder / "runs" / NAME / "front.csv").read_bytes() == front

    # A search needs no test set: whoever read one now would meet no array there.
    before = trials_of(folder)
    tests = {path: path.read_bytes() for path in (folder / "runs/.cache/datasets").glob("*/test.*.npy")}
    for path in tests:
        replace_array(path, b"closed")

    # A larger total.
    study(folder, *OPTIONS, str(TRIALS + 2), "--tracking-uri", "none")
    assert len(tests) == 6
    assert all(path.read_bytes() == b"closed" for path in tests)

    for path, content in tests.items():
        replace_array(path, content)
    pd.testing.assert_frame_equal(trials_of(folder)[:TRIALS], before, check_dtype=False)
    assert len(trials_of(folder)) == TRIALS + 2
    assert "2" in run("sync", NAME, folder=folder)


@pytest.mark.slow
def test_priors_come_first_what_is_infeasible_stays_off_the_front_and_patience_ends_a_study(finished_study):
    folder, _ = finished_study
    output = study(
        folder, *OPTIONS, "60", "--study", "later", "--tracking-uri", "none", "--warm-start", NAME, "--try",
        "strategy=FU,lr=1e-3", "--min-retention", "0.9", "--reference", "0.05", "0.05", "--patience", "4",
    )  # fmt: skip
    trials = pd.read_csv(folder / "runs/later/trials.csv")
    earlier = pd.read_csv(folder / "runs" / NAME / "front.csv")
    record = json.loads((folder / "runs/later/study.json").read_text())

    # Patience ended the study.
    assert "--patience 4" in record["ended"]
    assert record["ended"] in output
    assert 5 < len(trials) < 60

    # The user's own trial comes first, then the earlier study's front, as far as the study came.
    assert (trials["strategy"][0], trials["lr"][0]) == ("FU", 1e-3)
    searched = earlier[earlier["strategy"] != "BL"].drop_duplicates("trial")
    configurations = searched.drop_duplicates(["strategy", "lr", "frozen_layers", "fusion_ratio"])
    started = min(len(configurations), len(trials) - 1)
    assert started >= 2
    assert set(trials["lr"][1 : 1 + started].round(9)) <= set(searched["lr"].round(9))

    # No network of the front has less than the source accuracy that was asked for.
    floor = trials["source_floor"].iloc[0]
    assert floor == pytest.approx(0.9 * record["baseline"]["measures"]["source_val"])
    assert (pd.read_csv(folder / "runs/later/front.csv")["source_val"] >= floor).all()
    assert "from (0.05, 0.05)" in (folder / "runs/later/figures.tex").read_text()


def test_a_worker_that_joins_a_finished_study_finds_nothing_to_do(finished_study):
    folder, _ = finished_study
    assert "none is left" in run("worker", "--study", NAME, folder=folder)
    assert "a study must exist" in run("worker", "--study", "nosuch", folder=folder, code=2)


def test_another_option_is_refused_for_the_same_study(finished_study):
    folder, _ = finished_study
    output = study(folder, *OPTIONS, str(TRIALS), "--epochs", "5", code=2)
    assert "epochs 0.5 → 5.0" in output
    assert "--study NAME" in output


@pytest.mark.slow
def test_a_confirmation_opens_the_test_sets_once(finished_study):
    folder, _ = finished_study
    output = run("confirm", NAME, "--seeds", "2", folder=folder)
    assert "STAND-IN" in output
    assert "test accuracy" in output

    points = pd.read_csv(folder / "runs" / NAME / "confirm.csv")
    assert list(points["strategy"][:1]) == ["BL"]
    assert {"FC", "FC+CL", "RE", "FU"} <= set(points["strategy"])
    adapted = points[points["strategy"] != "BL"]
    assert (adapted["target_again_lower"] <= adapted["target_again"]).all()
    has_file = points["model"].notna() | (points["strategy"] == "BL")
    assert points["target_test"].notna().tolist() == has_file.tolist()
    assert (points["target_test_lower"] <= points["target_test"])[has_file].all()
    assert (points["target_p"] <= 1).all()

    front = pd.read_csv(folder / "runs" / NAME / "front.csv")
    tested = [f"{domain}_test{end}" for domain in ("source", "target") for end in ("", "_lower", "_upper")]
    assert front[tested].notna().all(axis=None)
    assert "Confirmed on test images" in (folder / "runs" / NAME / "report.html").read_text()
    assert "opened once" in run("confirm", NAME, "--seeds", "2", folder=folder, code=2)


@pytest.mark.slow
def test_folds_judge_trials_in_turn_each_on_the_images_of_its_own(tmp_path):
    output = study(tmp_path, "--folds", "3", "--trials", "6", "--confirm", "2", "--workers", "2")
    assert "each trial in one of 3 folds" in output

    folder = tmp_path / "runs" / f"{NAME}-folds3"
    record = json.loads((folder / "study.json").read_text())
    trials = pd.read_csv(folder / "trials.csv")
    finished = trials[trials["state"] == "finished"]

    # Accuracies are shares of the images of the fold that is left out; folds have all of training and validation.
    target = load("tfeid", data_dir=None, kind="synthetic", cache_dir=tmp_path / "runs/.cache/datasets")
    sizes = [len(target.divided(fold, 3, 0).open("validation")) for fold in range(3)]
    assert sum(sizes) == len(target.open("train")) + len(target.open("validation"))
    assert set(finished["fold"]) == {0, 1, 2}
    for fold, size in enumerate(sizes):
        right = size * finished[finished["fold"] == fold]["target_val"]
        assert np.allclose(right, right.round())

    # The baseline is judged on all of them, none of which it was trained on.
    right = sum(sizes) * record["baseline"]["target_val"]
    assert right == pytest.approx(round(right))
    assert len(list((tmp_path / "runs/.cache/features").glob("tfeid-pool-*"))) == 2

    # What it is compared with, image by image, is its answers on the fold that judged a trial.
    of_folds = np.array([matrices["target"] for matrices in record["baseline"]["confusion_of_folds"]])
    assert np.array_equal(of_folds.sum(axis=0), record["baseline"]["confusion"]["target"])
    judged = [trial for trial in load_study(folder).optuna.trials if "confusion" in trial.user_attrs]
    assert judged
    for trial in judged:
        after = np.array(trial.user_attrs["confusion"]["target"])
        assert after.sum(axis=1).tolist() == of_folds[trial.user_attrs.get("fold", 0)].sum(axis=1).tolist()
    assert {"source_test", "target_test"} <= set(pd.read_csv(folder / "front.csv").columns)


def test_a_search_says_what_was_left_out_of_a_copy(tmp_path, monkeypatch):
    copy = tmp_path / "data/mine"
    made_faces.manifest(copy)
    with (copy / "manifest.csv").open("a") as file:
        file.write("pictures/damaged.png,happiness,p0\npictures/none.png,happiness,p0\n")
    (copy / "pictures/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")

    said = Recorder()
    monkeypatch.setattr(Progress, "say", said)
    options = StudyOptions("mine", preset="tiny", data=str(tmp_path / "data"), out=str(tmp_path / "runs"))
    read_data(options, Progress())

    (line,) = [line for (line,) in said.calls if "left out of mine" in line]
    assert "1 damaged image" in line and "1 named in manifest.csv but not there" in line
    assert "study.datasets mine" in line
