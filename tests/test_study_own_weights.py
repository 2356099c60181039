"""Studies of the user's own weights through their commands: used, told of, resumed and refused."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from made_weights import OWN, WRONG, state_of

import made_study
from commands import ROOT, call, empty_folder, run  # noqa: F401  # a fixture
from fer.architecture import VGG13
from fer.errors import InputError
from fer.files import checksum
from fer.model.chains import NetworkRequest, request
from fer.model.vgg import build
from study import option_parsers
from study.execution.network_answer import find_own_weights
from study.pipeline.resume import _check_same_weights
from study.presets import PRESETS
from study.record import StudyRecord, WeightsRecord
from study.reporting.data_tables import describe_baseline
from study.run import main
from study.tracking.payloads import study_params

CLASSES = "neutral,happy,sad,surprise,fear,disgust,anger"
WORDS = ["--target", "tfeid", "--preset", "tiny", "--epochs", "0.5", "--trials", "2", "--workers", "1"]
WORDS += ["--tracking-uri", "none", "--study", "mine"]
WEIGHTS = WeightsRecord("baseline", "mine.pt", "0123", ["happy", "sad"], "own-baseline-1.safetensors")


def save_mine(path: Path, seed: int = 3, classes: int = 7) -> Path:
    torch.save({"model": build(PRESETS["tiny"].width, seed, classes).state_dict()}, path)
    return path


# What contradicts itself.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--baseline", "a", "--pretrained", "b"], "Give one of them"),
        (["--classes", CLASSES], "no --baseline"),
        (["--baseline", "a", "--classes", "happy"], "names of expressions"),
        (["--baseline", "a", "--classes", "happy,,sad"], "names of expressions"),
        (["--baseline", "a", "--classes", "happy,\x1b[31m"], "names of expressions"),
        (["--baseline", ""], "--baseline is a path"),
        (["--pretrained", "a\0"], "--pretrained is a path"),
    ],
)
def test_options_of_weights_that_cannot_be_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        option_parsers.parse_options(["--target", "tfeid", *words])


# What a record says.


def record_with(weights: WeightsRecord) -> StudyRecord:
    return dataclasses.replace(StudyRecord.from_json(made_study.made_info()), weights=weights)


def test_reports_and_mlflow_say_where_a_baseline_comes_from():
    record = record_with(WEIGHTS)
    assert StudyRecord.from_json(record.to_json()).weights == WEIGHTS
    assert describe_baseline(record)[1].startswith("It is the network of mine.pt (hash 0123), whose logits are happy")
    assert study_params(record)["baseline"] == "mine.pt (0123)" and study_params(record)["classes"] == "happy,sad"
    features = dataclasses.replace(WEIGHTS, kind="features", classes=[])
    assert "began with the features of mine.pt" in describe_baseline(record_with(features))[1]


def test_a_record_without_own_weights_says_nothing_of_them():
    record = record_with(WeightsRecord())
    assert "weights" not in record.to_json() and "baseline" not in study_params(record)
    assert not any("hash" in sentence for sentence in describe_baseline(record))


OTHERS = {
    "none": WeightsRecord(),
    "another content": dataclasses.replace(WEIGHTS, checksum="4567"),
    "another order": dataclasses.replace(WEIGHTS, classes=["sad", "happy"]),
    "features alone": dataclasses.replace(WEIGHTS, kind="features"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_study_goes_on_with_the_weights_that_it_began_with(case):
    earlier, later = record_with(WEIGHTS), record_with(OTHERS[case])
    for before, now in ((earlier, later), (later, earlier)):
        with pytest.raises(InputError, match="with the weights that it was started with") as caught:
            _check_same_weights(before, now)
        assert str(caught.value).isprintable()

    moved = dataclasses.replace(WEIGHTS, name="elsewhere.pt", file="own-baseline-2.safetensors")
    _check_same_weights(earlier, record_with(moved))


def test_a_study_of_an_earlier_version_goes_on_with_its_baseline():
    earlier = record_with(WeightsRecord())
    earlier = dataclasses.replace(earlier, options=earlier.options | {"baseline": "mine.safetensors"})
    now = dataclasses.replace(earlier, weights=WEIGHTS)
    _check_same_weights(earlier, now)
    with pytest.raises(InputError):
        _check_same_weights(earlier, dataclasses.replace(now, options=now.options | {"baseline": "other.safetensors"}))


def test_a_worker_makes_its_copy_from_the_users_file_and_refuses_another(tmp_path):
    network = dataclasses.replace(VGG13, width=PRESETS["tiny"].width)
    path = save_mine(tmp_path / "mine.pt")
    weights = WeightsRecord("baseline", "mine.pt", checksum(path.read_bytes()), [], "gone.safetensors")
    options = {"out": str(tmp_path / "runs"), "baseline": str(path), "pretrained": None}

    copy = find_own_weights(record_with(weights), options, network)
    found = dataclasses.replace(weights, file=copy.name)
    path.unlink()
    assert find_own_weights(record_with(found), options, network) == copy

    copy.unlink()
    with pytest.raises(InputError, match="must exist"):
        find_own_weights(record_with(found), options, network)
    save_mine(path, seed=4)
    with pytest.raises(InputError, match="a study goes on with the file that --baseline named"):
        find_own_weights(record_with(found), options, network)


# Through the commands.


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_line_and_exit_code_2(case, empty_folder, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    WRONG[case][0](empty_folder / "mine.pt", state_of(request(NetworkRequest(OWN, 48, 7))))
    words = [*WORDS, "--network", OWN, "--image-size", "48", "--baseline", "mine.pt"]
    assert call(main, *words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and said.rstrip("\n").isprintable()


@pytest.mark.slow
def test_a_study_of_the_users_network_is_told_of_resumed_and_refused(tmp_path):
    path = save_mine(tmp_path / "mine.pt")
    said = run("run", *WORDS, "--baseline", str(path), "--classes", CLASSES, folder=tmp_path, seconds=550)
    assert "mine.pt is right on" in said and "measured here" in said

    # What is told of it.
    folder = tmp_path / "runs" / "mine"
    stored = json.loads((folder / "study.json").read_text())
    assert stored["weights"]["name"] == "mine.pt" and stored["weights"]["classes"] == CLASSES.split(",")
    assert "It is the network of mine.pt" in (folder / "report.md").read_text()
    model = next((folder / "models").glob("*.safetensors"))
    face = next(Path(__file__).parent.parent.glob("docs/*.png"))
    assert "comes from mine.pt (" in run("predict", str(model), str(face), folder=tmp_path)

    # Resumed: with the file elsewhere, and with the copy gone; with another file it is refused.
    moved = shutil.copy(path, tmp_path / "moved.pt")
    again = [*WORDS, "--classes", CLASSES, "--baseline"]
    assert "nothing to do" in run("run", *again, str(moved), folder=tmp_path)
    copies = list((tmp_path / "runs/.cache/baselines").glob("own-baseline-*.safetensors"))
    assert len(copies) == 1
    copies[0].unlink()
    assert "nothing to do" in run("run", *again, str(moved), folder=tmp_path)
    save_mine(path, seed=4)
    refused = run("run", *again, str(path), folder=tmp_path, code=2)
    assert "can only go on with the weights that it was started with" in refused
    assert "no --baseline and no --pretrained in place of" in run("run", *WORDS, folder=tmp_path, code=2)
    run("confirm", "mine", "--seeds", "1", folder=tmp_path, seconds=550)


@pytest.mark.slow
def test_a_baseline_that_begins_with_features_is_kept_by_their_content(tmp_path):
    words = [*WORDS, "--baseline-epochs", "1", "--pretrained", "features.pt"]
    save_mine(tmp_path / "features.pt", classes=100)
    run("run", *words, folder=tmp_path, seconds=550)
    stored = json.loads((tmp_path / "runs/mine/study.json").read_text())
    save_mine(tmp_path / "features.pt", seed=4, classes=100)
    run("run", *words, folder=tmp_path, code=2)
    run("run", *words, "--study", "other", folder=tmp_path, seconds=550)
    other = json.loads((tmp_path / "runs/other/study.json").read_text())

    assert stored["weights"]["kind"] == "features"
    assert stored["baseline"]["file"] != other["baseline"]["file"]
    assert stored["baseline"]["digest"] != other["baseline"]["digest"]
