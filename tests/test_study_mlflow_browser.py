"""MLflow's own pages of a finished study, in a real browser: the parent, its children, the front's picture, models."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from browsers import MARKS, launched

from commands import NAME, study
from servers import free_port

pytestmark = MARKS
TRIALS = 6


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages' address and the study's runs."""
    import mlflow

    folder = tmp_path_factory.mktemp("study")
    study(folder, "--trials", str(TRIALS), "--register", "faces")
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("memory-integrity").experiment_id
    parent = next(run for run in client.search_runs([experiment]) if run.data.tags["role"] == "study")
    port = free_port()
    words = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", f"sqlite:///{folder}/mlruns/mlflow.db"]
    # All its output goes nowhere: a pipe that nobody reads would stop it.
    server = subprocess.Popen([*words, "--port", str(port)], cwd=folder, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address)
        yield f"{address}/#", experiment, parent
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_for(address: str) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except OSError:
            assert time.monotonic() < until, "MLflow's pages did not open"
            time.sleep(1)


@pytest.fixture(scope="module")
def tab(site):
    with launched() as browser:
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.set_default_timeout(60_000)
        yield tab


def shows(tab, words: str) -> None:
    tab.get_by_text(words).first.wait_for()


def test_the_parent_shows_its_children_data_and_model(site, tab):
    address, experiment, parent = site
    tab.goto(f"{address}/experiments/{experiment}/runs")
    shows(tab, NAME)
    shows(tab, f"{TRIALS + 1} matching runs")
    tab.goto(f"{address}/experiments/{experiment}/runs/{parent.info.run_id}")
    for words in (
        "Child runs",
        "000 BL",
        "003 RE",
        "fer2013 (",
        "faces",
        "How sure is the recommendation?",
        "hypervolume",
        "front_size",
    ):
        shows(tab, words)


def test_a_child_shows_its_knobs_and_both_objectives(site, tab):
    address, experiment, parent = site
    tab.goto(f"{address}/experiments/{experiment}/runs/{parent.info.run_id}")
    tab.get_by_text("003 RE").first.click()
    for words in ("Parent run", "source_val", "target_val", "retention", "frozen_layers"):
        shows(tab, words)


def test_the_fronts_picture_is_drawn(site, tab):
    address, experiment, parent = site
    tab.goto(f"{address}/experiments/{experiment}/runs/{parent.info.run_id}/artifacts/pareto.png")
    picture = tab.locator("img[src^='blob:'], img[src*='pareto.png'], .image-container img, img.image").first

    picture.wait_for()

    assert picture.evaluate("image => image.complete && image.naturalWidth") > 500


def test_the_registry_has_the_aliases(site, tab):
    address, _, _ = site
    tab.goto(f"{address}/models/faces")
    for alias in ("best-retention", "best-target", "knee"):
        shows(tab, alias)
