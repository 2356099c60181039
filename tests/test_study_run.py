"""The main job through its real command: a real journal, a real MLflow store, real worker processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
NAME = "fer2013-tfeid-synthetic-card-tiny"


def command(module: str, *arguments: str, folder: Path, **environment: str) -> subprocess.Popen:
    inherited = {k: v for k, v in os.environ.items() if k not in ("FER_DATA", "MLFLOW_TRACKING_URI")}
    return subprocess.Popen(
        [sys.executable, "-m", f"study.{module}", *arguments],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(module: str, *arguments: str, folder: Path, code: int = 0) -> str:
    process = command(module, *arguments, folder=folder)
    out, err = process.communicate(timeout=170)
    assert process.returncode == code, f"{out}\n{err}"
    assert "Traceback" not in err, err
    return out + err


def study(folder: Path, *arguments: str, code: int = 0) -> str:
    return run("run", "--target", "tfeid", "--preset", "tiny", *arguments, folder=folder, code=code)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished study of eight trials, tracked in MLflow."""
    folder = tmp_path_factory.mktemp("main-job")
    return folder, study(folder, "--trials", "8", "--workers", "2")


def trials_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "runs" / NAME / "trials.csv")


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


def test_every_trial_counts_and_the_front_has_its_networks(done):
    folder, _ = done
    trials = trials_of(folder)
    assert list(trials["number"]) == list(range(8)) and set(trials["state"]) <= {"finished", "stopped"}
    assert (trials["state"][:5] == "finished").all()
    assert list(trials["strategy"][:5]) == ["BL", "FC", "FC+CL", "RE", "FU"]
    front = pd.read_csv(folder / "runs" / NAME / "front.csv")
    models = {path.name for path in (folder / "runs" / NAME / "models").iterdir()}
    assert models == {f"trial-{number:04d}.safetensors" for number in front["trial"]}


def test_a_network_of_the_front_can_be_loaded_and_gives_its_accuracy(done):
    from fer.datasets import load
    from fer.predict import load_network, predict_images

    folder, _ = done
    front = pd.read_csv(folder / "runs" / NAME / "front.csv")
    dataset = load("tfeid", data_dir=None, kind="synthetic", cache_dir=folder / "runs/.cache/datasets", scale=0.1)
    split = dataset.open("validation")
    for row in front.itertuples():
        network = load_network(folder / "runs" / NAME / "models" / f"trial-{row.trial:04d}.safetensors")
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
    assert len(parents) == 1 and len(children) == 8
    assert {r.data.tags["mlflow.parentRunId"] for r in children} == {parents[0].info.run_id}
    wanted = trials_of(folder).sort_values(["source_val", "target_val"])[["source_val", "target_val"]].to_numpy()
    found = sorted((r.data.metrics["source_val"], r.data.metrics["target_val"]) for r in children)
    np.testing.assert_allclose(np.array(found), wanted)


def test_the_same_command_again_changes_nothing_and_a_larger_total_adds(done):
    folder, _ = done
    front = (folder / "runs" / NAME / "front.csv").read_bytes()
    started = time.monotonic()
    assert "nothing to do" in study(folder, "--trials", "8")
    assert time.monotonic() - started < 20
    assert (folder / "runs" / NAME / "front.csv").read_bytes() == front
    before = trials_of(folder)
    study(folder, "--trials", "10", "--tracking-uri", "none")
    pd.testing.assert_frame_equal(trials_of(folder)[:8], before, check_dtype=False)
    assert len(trials_of(folder)) == 10
    assert "2" in run("sync", NAME, folder=folder)


def test_a_worker_that_joins_a_finished_study_finds_nothing_to_do(done):
    folder, _ = done
    assert "none is left" in run("worker", "--study", NAME, folder=folder)
    assert "a study must exist" in run("worker", "--study", "nosuch", folder=folder, code=2)


def test_another_seed_of_data_or_option_is_refused_for_the_same_study(done):
    folder, _ = done
    said = study(folder, "--trials", "8", "--epochs", "5", code=2)
    assert "epochs None → 5.0" in said and "--study NAME" in said


@pytest.fixture
def prepared(done: tuple[Path, str], tmp_path: Path) -> Path:
    """A folder in which data and baseline are there already."""
    shutil.copytree(done[0] / "runs" / ".cache", tmp_path / "runs" / ".cache")
    return tmp_path


def test_one_worker_and_one_seed_give_identical_trials(prepared):
    tables = []
    for name in ("runs", "again"):  # more trials than the sampler's random ones; once with, once without the caches
        study(
            prepared, "--trials", "14", "--workers", "1", "--tracking-uri", "none", "--out", name, "--early-stop", "off"
        )
        tables.append(pd.read_csv(prepared / name / NAME / "trials.csv").drop(columns="seconds"))
    pd.testing.assert_frame_equal(*tables)


def test_an_interrupted_study_says_how_to_go_on_and_does(prepared):
    tmp_path = prepared
    arguments = ["--target", "tfeid", "--preset", "tiny", "--trials", "30", "--tracking-uri", "none"]
    process = command("run", *arguments, folder=tmp_path)
    journal = tmp_path / "runs" / NAME / "journal.log"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text().count('"values":[') > 3):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "-m study.run --target tfeid" in err and "Traceback" not in err
    begun = len(trials_of(tmp_path))
    assert 3 <= begun < 30
    study(tmp_path, "--trials", str(begun + 4), "--tracking-uri", "none")
    assert len(trials_of(tmp_path)) == begun + 4


def test_the_papers_grid_runs_as_a_table(prepared):
    tmp_path = prepared
    said = study(tmp_path, "--space", "paper", "--tracking-uri", "none")
    table = pd.read_csv(tmp_path / "runs" / NAME.replace("card", "paper") / "paper_table.csv")
    assert {"BL", "FC_50", "FC_100", "FC+CL_50", "FC+CL_100", "RE_50", "RE_100", "FU_50", "FU_100"} <= set(
        table.columns
    )
    assert "FC+CL 50 %" in said and "STAND-IN" in said
