"""MLflow's own pages of a finished study, in a real browser: the parent, its children, the front's picture, models."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from browsers import MARKS, launched

from commands import NAME, study
from servers import free_port
from study.tracking.pages import LOCAL_ADDRESS

pytestmark = MARKS
TRIALS = 6


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages' address, the experiment, the study's run and what its command printed."""
    import mlflow

    folder = tmp_path_factory.mktemp("study")
    said = study(folder, "--trials", str(TRIALS), "--register", "faces")
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
        yield f"{address}/#", experiment, parent, said
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


def test_the_printed_address_opens_the_table_of_runs(site, tab):
    address, experiment, _, said = site
    (printed,) = [line.split()[-1] for line in said.splitlines() if "/#/experiments/" in line]
    served = printed.replace(LOCAL_ADDRESS + "/#", address)

    tab.goto(served)

    shows(tab, NAME)
    shows(tab, f"{TRIALS + 2} matching runs")  # the study's, its trials', the baseline's
    shows(tab, "Which adaptation of a network for facial expressions")
    assert f"experiments/{experiment}/runs" in tab.url and "workflowType=machine_learning" in tab.url


def test_the_study_shows_its_children_data_recommendation_and_model(site, tab):
    address, experiment, parent, _ = site
    tab.goto(f"{address}/experiments/{experiment}/runs/{parent.info.run_id}")
    for words in (
        "Child runs",
        "000 BL",
        "003 RE",
        "fer2013 (",
        "Which adaptation of a network trained on FER2013 stand-in",
        "recommended_network",
        "hypervolume",
        "front_size",
    ):
        shows(tab, words)

    # The recommended network's figures, where there is one; else the page says why there is none.
    network = parent.data.tags["recommended_network"]
    if network.startswith("none"):
        shows(tab, "No network is recommended.")
    else:
        shows(tab, f"Recommended: {network}.")
        for name in ("recommended_source", "recommended_target", "recommended_kept", "recommended_gain"):
            shows(tab, name)


def test_the_front_is_a_table(site, tab):
    address, experiment, parent, _ = site
    tab.goto(f"{address}/experiments/{experiment}/runs/{parent.info.run_id}/artifacts/front.json")
    for words in ("View as table", "network", "strategy", "source_val", "trial "):
        shows(tab, words)
    assert tab.get_by_text(re.compile(r"^trial \d+ \(")).count() > 0


def test_a_model_comes_from_its_own_trials_run(site, tab):
    address, experiment, _, _ = site
    tab.goto(f"{address}/experiments/{experiment}/models?workflowType=machine_learning")
    shows(tab, "Ready")
    models = tab.get_by_text(re.compile(r"^trial-\d{4}"))
    number = models.first.inner_text()[len("trial-") :][:4]
    shows(tab, f"{int(number):03d} ")


def test_a_child_shows_its_knobs_and_both_objectives(site, tab):
    address, experiment, parent, _ = site
    tab.goto(f"{address}/experiments/{experiment}/runs/{parent.info.run_id}")
    tab.get_by_text("003 RE").first.click()
    for words in ("Parent run", "source_val", "target_val", "retention", "frozen_layers"):
        shows(tab, words)


def test_the_fronts_picture_is_drawn(site, tab):
    address, experiment, parent, _ = site
    tab.goto(f"{address}/experiments/{experiment}/runs/{parent.info.run_id}/artifacts/pareto.png")
    picture = tab.locator("img[src^='blob:'], img[src*='pareto.png'], .image-container img, img.image").first

    picture.wait_for()

    assert picture.evaluate("image => image.complete && image.naturalWidth") > 500


def test_the_registry_has_the_aliases(site, tab):
    address, _, parent, _ = site
    tab.goto(f"{address}/models/faces")
    has_recommended = not parent.data.tags["recommended_network"].startswith("none")
    for alias in ("best-retention", "best-target", *(["recommended"] if has_recommended else [])):
        shows(tab, alias)
