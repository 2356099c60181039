"""Studies of other networks than vgg13, through their commands."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from commands import QUICK, ROOT, assert_one_safe_line, end, start
from fer.architecture import VGG13, Architecture
from fer.errors import InputError
from fer.model.vgg import build
from fer.model.weights import save_network
from made_networks import is_one_line
from study import load_study
from study.option_parsers import options_from

OWN = "own_network:small"
HERE = str(ROOT / "tests")
PLACES = ("--target", "tfeid", "--tracking-uri", "none", "--workers", "1")
FEW = (*QUICK, *PLACES, "--image-size", "48")


def call(module: str, *words: str, folder: Path, seconds: float = 170) -> tuple[int, str, str]:
    """Runs a command that can import this folder's modules."""
    paths = os.pathsep.join([str(ROOT), HERE])
    return end(start(module, *words, folder=folder, environment={"PYTHONPATH": paths}), seconds)


def succeed(module: str, *words: str, folder: Path, seconds: float = 170) -> str:
    code, out, err = call(module, *words, folder=folder, seconds=seconds)
    assert code == 0, out + err
    return out + err


@pytest.fixture(scope="module")
def study_of_own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a study of a network of somebody's own, and what its command printed."""
    folder = tmp_path_factory.mktemp("own")
    said = succeed("run", *FEW, "--network", OWN, "--trials", "5", "--study", "mine", folder=folder)
    return folder, said


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets this process import the network."""
    monkeypatch.syspath_prepend(HERE)
    yield


def architecture_of(study: Path) -> Architecture:
    return Architecture.from_json(json.loads((study / "study.json").read_text())["network"])


@pytest.mark.slow
def test_a_network_of_the_users_own_goes_from_the_option_to_the_front(study_of_own, importable):
    folder, said = study_of_own
    study = folder / "runs" / "mine"
    architecture = architecture_of(study)

    assert OWN in said and f"{len(architecture.blocks)} blocks" in said
    assert architecture.name == OWN and 3 < len(architecture.blocks) < len(VGG13.blocks)
    trials = pd.read_csv(study / "trials.csv").set_index("strategy")
    assert trials.loc["BL", "frozen_layers"] == len(architecture.blocks)
    assert trials.loc["FC", "frozen_layers"] == architecture.head
    assert trials.loc["FC+CL", "frozen_layers"] == architecture.head - 1
    assert set(trials["state"]) == {"finished"}

    # Its networks answer, in Python and by the command.
    faces = np.random.default_rng(0).integers(0, 255, (3, 48, 48), np.uint8)
    network = load_study(study).networks[0]
    with pytest.warns(UserWarning, match="drawn faces"):
        answers = network.predict(faces)
    assert answers.to_numpy().sum(1) == pytest.approx(np.ones(3), abs=1e-5)

    Image.fromarray(faces[0]).save(folder / "face.png")
    model = str(network.file)
    code, out, err = call("predict", model, "face.png", folder=folder)
    assert code == 2 and "names a function" in err
    code, out, err = call("predict", model, "face.png", "--network", OWN, folder=folder)
    assert code == 0 and out.count("\n") == 2


@pytest.mark.slow
def test_a_study_goes_on_with_its_network_alone(study_of_own):
    folder, _ = study_of_own
    same = ("run", *FEW, "--study", "mine", "--trials", "6")

    code, _, err = call(*same, "--network", "squeezenet1_1", folder=folder)
    assert code == 2 and f"network {OWN} → squeezenet1_1" in err
    code, _, err = call(*same, folder=folder)
    assert code == 2 and f"network {OWN} → vgg13" in err

    said = succeed(*same, "--network", OWN, folder=folder)
    assert "resuming mine" in said
    assert len(pd.read_csv(folder / "runs" / "mine" / "trials.csv")) == 6


@pytest.mark.parametrize("name", ["", "\x1b[2J", "../net.py:make", "a b", "a:b:c", "-n", ":make", "é", "a" * 10**5])
def test_what_is_no_name_of_a_network_is_refused_by_the_options(name):
    with pytest.raises(InputError, match="--network is a name") as found:
        options_from(target="tfeid", network=name)
    assert is_one_line(found.value)


@pytest.mark.parametrize("name", ["vgg13", "resnet18", "timm:vit_tiny_patch16_224.augreg", "a_b.c:make", "net:Make"])
def test_names_of_networks_are_taken(name):
    assert options_from(target="tfeid", network=name).network == name


WRONG = {
    "no such network": (("--network", "resnet19"), "Did you mean resnet18"),
    "no module": (("--network", "nowhere:make"), "can be imported"),
    "no function": (("--network", "own_network:smal"), "Did you mean small"),
    "no classifier": (("--network", "own_network:Small.forward"), "names a function"),
    "too large for the images": (("--network", "alexnet"), "takes images of 3 × 48 × 48"),
    "frozen beyond its depth": (("--network", OWN, "--try", "strategy=FT,frozen_layers=12"), "frozen_layers"),
    "all blocks frozen": (("--network", OWN, "--space", "full", "--try", "frozen_layers=6"), "frozen_layers"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_a_network_that_cannot_be_is_refused_in_one_line_before_data_are_read(case, tmp_path):
    words, reason = WRONG[case]
    code, _, err = call("run", *FEW, "--trials", "5", *words, folder=tmp_path)

    assert code == 2 and reason in err
    assert_one_safe_line(err)
    assert not list((tmp_path / "runs").glob(".cache/datasets/*"))


@pytest.mark.slow
def test_the_papers_network_is_no_baseline_of_another(study_of_own):
    folder, _ = study_of_own
    paper = folder / "paper.safetensors"
    save_network(build(1 / 16), paper, {"width": "0.0625"})
    own = str(next((folder / "runs" / "mine" / "models").iterdir()))
    words = ("run", "--preset", "tiny", *PLACES, "--image-size", "48", "--trials", "5", "--study", "other")

    code, _, err = call(*words, "--baseline", own, folder=folder)
    assert code == 2 and "holds own_network:small, and --network is vgg13" in err
    code, _, err = call(*words, "--network", OWN, "--baseline", str(paper), folder=folder)
    assert code == 2 and "--baseline holds the network" in err


@pytest.mark.slow
def test_a_network_of_torchvision_is_searched_confirmed_and_used(tmp_path):
    name = "squeezenet1_1"
    words = (*QUICK, *PLACES, "--image-size", "32", "--network", name, "--trials", "5", "--study", "it")
    said = succeed("run", *words, folder=tmp_path, seconds=3000)
    study = tmp_path / "runs" / "it"
    assert f"network: {name}" in said
    assert architecture_of(study).name == name

    succeed("confirm", "it", "--seeds", "1", folder=tmp_path, seconds=3000)
    assert json.loads((study / "study.json").read_text())["confirmation"]["results"]

    Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / "face.png")
    model = str(next((study / "models").iterdir()))
    assert succeed("predict", model, "face.png", folder=tmp_path).count("face.png") == 1
