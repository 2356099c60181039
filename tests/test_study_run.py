"""The main job through its real command: a real journal, a real MLflow store, real worker processes."""

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from commands import NAME, run, study, trials_of
from fer.datasets import load
from fer.datasets.dataset import SUMS
from fer.predict import load_network, predict_images

# More trials than the sampler draws at random, by one worker, so that a second study can be compared with it.
TRIALS = 12
HOW = ["--workers", "1", "--interpolate", "on", "--trials"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished study, tracked in MLflow."""
    folder = tmp_path_factory.mktemp("main-job")
    return folder, study(folder, *HOW, str(TRIALS))


def test_the_contract_of_the_folder_holds(done):
    folder, said = done
    files = {path.name for path in (folder / "runs" / NAME).iterdir()}
    pictures = {
        f"{stem}.{ending}" for stem in ("pareto", "hypervolume", "strategies") for ending in ("png", "svg", "pdf")
    }

    assert files >= {"study.json", "trials.csv", "front.csv", "pareto.html", "report.html", "models"} | pictures
    for told in ("STAND-IN", "network", "baseline", "storage", "workers", "report.html", "mlflow ui"):
        assert told in said
    assert "SYNTHETIC" in (folder / "runs" / NAME / "report.html").read_text().upper()


def test_the_record_keeps_the_course_of_the_baselines_training(done):
    folder, said = done
    kept = json.loads((folder / "runs" / NAME / "study.json").read_text())["baseline"]

    assert len(kept["course"]) == kept["epochs"] and kept["seconds"] > 0
    assert kept["course"][-1] == pytest.approx(kept["source_val"], abs=0.005)
    for number in range(1, kept["epochs"] + 1):
        assert f"baseline pass {number} of at most" in said
    assert "ended because" in said


def test_every_trial_counts_and_the_front_has_its_networks(done):
    folder, _ = done
    trials = trials_of(folder)
    assert list(trials["number"]) == list(range(TRIALS)) and set(trials["state"]) <= {"finished", "stopped"}
    assert (trials["state"][:5] == "finished").all()
    assert list(trials["strategy"][:5]) == ["BL", "FC", "FC+CL", "RE", "FU"]

    front = pd.read_csv(folder / "runs" / NAME / "front.csv")
    models = {path.name for path in (folder / "runs" / NAME / "models").iterdir()}
    assert {f"models/{name}" for name in models} == set(front["model"])
    assert {"source_val/0.50", "target_val/0.00+1.00"} <= set(trials.columns)

    finished = trials[trials["state"] == "finished"]
    assert (finished["target_val_error"] > 0).all()
    # Where a network on the way was measured, so was its error.
    assert (finished["target_val_error/0.50"].notna() == finished["target_val/0.50"].notna()).all()


def test_a_network_of_the_front_can_be_loaded_and_gives_its_accuracy(done):
    folder, _ = done
    front = pd.read_csv(folder / "runs" / NAME / "front.csv")
    dataset = load("tfeid", data_dir=None, kind="synthetic", cache_dir=folder / "runs/.cache/datasets", scale=0.1)
    split = dataset.open("validation")
    for row in front.itertuples():
        network = load_network(folder / "runs" / NAME / row.model)
        probabilities = predict_images(network, np.asarray(split.images))
        assert np.mean(probabilities.argmax(1) == split.labels) == pytest.approx(row.target_val)


def test_mlflow_holds_the_parent_and_every_trial(done):
    import mlflow

    folder, _ = done
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(ids, max_results=1000)
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    children = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert len(parents) == 1 and len(children) == TRIALS
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parents[0].info.run_id}

    wanted = trials_of(folder).sort_values(["source_val", "target_val"])[["source_val", "target_val"]].to_numpy()
    found = sorted((r.data.metrics["source_val"], r.data.metrics["target_val"]) for r in children)
    np.testing.assert_allclose(np.array(found), wanted)


@pytest.mark.slow
def test_one_worker_and_one_seed_give_identical_trials(done, tmp_path):
    folder, _ = done
    study(tmp_path, *HOW, str(TRIALS), "--tracking-uri", "none")
    pd.testing.assert_frame_equal(*(trials_of(where).drop(columns="seconds") for where in (folder, tmp_path)))


def test_the_same_command_again_changes_nothing_and_a_larger_total_adds(done):
    folder, _ = done
    front = (folder / "runs" / NAME / "front.csv").read_bytes()
    assert "nothing to do" in study(folder, *HOW, str(TRIALS))
    assert (folder / "runs" / NAME / "front.csv").read_bytes() == front

    before = trials_of(folder)
    # A search needs no test set: whoever read one now would find no array there.
    tests = {path: path.read_bytes() for path in (folder / "runs/.cache/datasets").glob("*/test.*.npy")}
    for path in tests:
        path.write_bytes(b"closed")
        sums = path.with_name(SUMS)
        sums.write_text(json.dumps(json.loads(sums.read_text()) | {path.name: zlib.crc32(b"closed")}))
    study(folder, *HOW, str(TRIALS + 2), "--tracking-uri", "none")
    assert len(tests) == 6 and all(path.read_bytes() == b"closed" for path in tests)

    for path, content in tests.items():
        path.write_bytes(content)
        sums = path.with_name(SUMS)
        sums.write_text(json.dumps(json.loads(sums.read_text()) | {path.name: zlib.crc32(content)}))
    pd.testing.assert_frame_equal(trials_of(folder)[:TRIALS], before, check_dtype=False)
    assert len(trials_of(folder)) == TRIALS + 2
    assert "2" in run("sync", NAME, folder=folder)


@pytest.mark.slow
def test_priors_come_first_what_is_infeasible_stays_off_the_front_and_patience_ends_a_study(done):
    folder, _ = done
    said = study(
        folder, *HOW, "60", "--study", "later", "--tracking-uri", "none", "--warm-start", NAME, "--try",
        "strategy=FU,lr=1e-3", "--min-retention", "0.9", "--reference", "0.05", "0.05", "--patience", "4",
    )  # fmt: skip
    trials = pd.read_csv(folder / "runs/later/trials.csv")
    earlier = pd.read_csv(folder / "runs" / NAME / "front.csv")
    record = json.loads((folder / "runs/later/study.json").read_text())
    assert "--patience 4" in record["ended"] and record["ended"] in said and 5 < len(trials) < 60
    assert (trials["strategy"][0], trials["lr"][0]) == ("FU", 1e-3)

    searched = earlier[earlier["strategy"] != "BL"].drop_duplicates("trial")
    assert set(searched["lr"].round(9)) <= set(trials["lr"][: 1 + len(earlier)].round(9))

    floor = trials["source_floor"].iloc[0]
    assert floor == pytest.approx(0.9 * record["baseline"]["measures"]["source_val"])
    assert (pd.read_csv(folder / "runs/later/front.csv")["source_val"] >= floor).all()
    assert "(0.05, 0.05)" in (folder / "runs/later/hypervolume.svg").read_text()


def test_a_worker_that_joins_a_finished_study_finds_nothing_to_do(done):
    folder, _ = done
    assert "none is left" in run("worker", "--study", NAME, folder=folder)
    assert "a study must exist" in run("worker", "--study", "nosuch", folder=folder, code=2)


def test_another_option_is_refused_for_the_same_study(done):
    folder, _ = done
    said = study(folder, *HOW, str(TRIALS), "--epochs", "5", code=2)
    assert "epochs None → 5.0" in said and "--study NAME" in said


@pytest.mark.slow
def test_a_confirmation_opens_the_test_sets_once(done):
    folder, _ = done
    said = run("confirm", NAME, "--seeds", "2", folder=folder)
    assert "STAND-IN" in said and "test accuracy" in said

    points = pd.read_csv(folder / "runs" / NAME / "confirm.csv")
    assert list(points["strategy"][:1]) == ["BL"] and {"FC", "FC+CL", "RE", "FU"} <= set(points["strategy"])
    assert (points["target_lower"] <= points["target_test"]).all() and (points["target_p"] <= 1).all()

    front = pd.read_csv(folder / "runs" / NAME / "front.csv")
    assert front[["source_test", "target_test", "target_lower", "target_upper"]].notna().all(axis=None)
    assert "Confirmed on test images" in (folder / "runs" / NAME / "report.html").read_text()
    assert "opened once" in run("confirm", NAME, "--seeds", "2", folder=folder, code=2)


@pytest.mark.slow
def test_folds_judge_every_trial_on_all_images_of_training_and_validation(tmp_path):
    said = study(tmp_path, "--folds", "3", "--trials", "6", "--confirm", "2", "--workers", "2")
    assert "in each of 3 folds" in said

    folder = tmp_path / "runs" / f"{NAME}-folds3"
    record, trials = json.loads((folder / "study.json").read_text()), pd.read_csv(folder / "trials.csv")
    done = trials[trials["state"] == "finished"]
    sizes = record["target"]["report"]["sizes"]
    right = done["target_val"] * (sizes["train"] + sizes["validation"])
    assert np.allclose(right, right.round()) and not np.allclose(done["target_val"] * sizes["validation"] % 1, 0)
    # The baseline's trial and the baseline's record are the same measurement.
    assert done["target_val"].iloc[0] == pytest.approx(record["baseline"]["target_val"])
    assert len(list((tmp_path / "runs/.cache/features").glob("tfeid-pool-*"))) == 2
    assert {"source_test", "target_test"} <= set(pd.read_csv(folder / "front.csv").columns)
