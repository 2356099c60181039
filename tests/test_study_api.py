"""The tool from Python: options are those of the command line, and what is read is what the study exports."""

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

import study
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from fer.model import weights
from fer.model.vgg import build
from made_study import made_confirmed, made_study
from study.declared_options import declared
from study.fronts import candidate_networks
from study.option_parsers import options_from, parse_options
from study.options import StudyOptions
from study.reporting.wording import describe_interpolations
from study.storage.backend import open_storage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a confirmed study, with the networks of its front."""
    folder = tmp_path_factory.mktemp("runs") / "made"
    folder.mkdir()
    info, trials = made_confirmed()
    made = made_study(trials, open_storage(None, folder), "made")
    made.set_user_attr("study", info | {"name": "made"})
    made.set_user_attr("confirmation", info["confirmation"])
    (folder / "models").mkdir()
    for model in study.load_study(folder).front["model"]:
        weights.save_network(build(1 / 16, 0), folder / model, {"width": str(1 / 16)})
    return folder


# Reading a study.


def test_the_front_says_in_words_where_a_network_lies_and_keeps_the_numbers(folder):
    front = study.load_study(folder).front
    by_layer = pd.DataFrame({"alpha": [0.0, 0.5, 1.0], "alpha_slope": [1.0, 0.0, float("nan")]})

    assert list(front["interpolation"]) == [f"{alpha:g}" for alpha in front["alpha"]]
    assert list(describe_interpolations(by_layer)) == ["0 to 1", "0.5", "1"]


def test_a_study_is_read_by_its_folder_or_by_its_name_under_runs(folder, monkeypatch):
    results = study.load_study(folder)
    monkeypatch.chdir(folder.parent.parent)
    folder.parent.rename("runs")
    try:
        by_name = study.load_study("made")
        assert by_name.name == results.name == "made"
        pd.testing.assert_frame_equal(by_name.front, results.front)
    finally:
        Path("runs").rename(folder.parent)


def test_the_front_and_the_trials_are_tables_of_what_the_study_found(folder):
    results = study.load_study(folder)
    assert len(results.trials) == len(made_confirmed()[1])
    assert results.front["source_val"].is_monotonic_increasing
    assert [network.figures["model"] for network in results.networks] == results.front["model"].tolist()
    assert isinstance(results.optuna, optuna.Study) and len(results.optuna.trials) == len(results.trials)
    assert "made" in repr(results) and f"{len(results.front)} on the front" in repr(results)


def test_the_recommended_network_loads_and_predicts_faces_and_files_alike(folder, tmp_path):
    import cv2

    network = study.load_study(folder).recommended
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file, face in zip(files, faces, strict=True):
        cv2.imwrite(str(file), face)

    of_faces = network.predict(faces)
    of_files = network.predict(files)

    assert list(of_faces.columns) == list(EXPRESSIONS) and of_faces.index.tolist() == [0, 1, 2]
    assert of_files.index.tolist() == [str(file) for file in files]
    np.testing.assert_allclose(of_faces.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(of_faces.to_numpy(), of_files.to_numpy())
    np.testing.assert_allclose(network.predict(str(files[1])).to_numpy(), of_faces.to_numpy()[1:2], atol=1e-6)
    assert network.predict([]).shape == (0, len(EXPRESSIONS))
    assert not network.load().training
    assert 0 <= network.source_accuracy <= 1 and 0 <= network.target_accuracy <= 1


def test_the_front_is_drawn_with_every_network_that_competes(folder):
    results = study.load_study(folder)
    drawn = set()
    for trace in results.plot_front().data:
        drawn |= {(round(x, 6), round(y, 6)) for x, y in zip(trace.x, trace.y, strict=True) if x is not None}
    competing = candidate_networks(results.trials)[["source_val", "target_val"]]
    assert {(round(100 * source, 6), round(100 * target, 6)) for source, target in competing.to_numpy()} <= drawn


def test_confirmed_accuracies_are_a_table_or_none(folder, tmp_path):
    confirmed = study.load_study(folder).confirmed
    assert {"name", "source_test", "target_test", "source_again", "target_again"} <= set(confirmed.columns)

    plain = tmp_path / "plain"
    plain.mkdir()
    made_study(made_confirmed()[1], open_storage(None, plain), "plain")
    assert study.load_study(plain).confirmed is None


def test_a_folder_without_a_study_is_refused_with_those_that_are_there(folder):
    with pytest.raises(InputError, match="made"):
        study.load_study(folder.parent / "other")


# Options.

VALUES = {"trials": 40, "keep": 0.9, "data": Path("faces"), "preset": "tiny", "reference": (0.1, 0.2), "workers": 2}


def test_options_from_python_are_those_of_the_same_command_line():
    words = [
        "--target",
        "jaffe",
        "--trials",
        "40",
        "--keep",
        "0.9",
        "--data",
        "faces",
        "--preset",
        "tiny",
        "--reference",
        "0.1",
        "0.2",
        "--workers",
        "2",
    ]
    assert options_from(target="jaffe", **VALUES) == parse_options(words)
    assert options_from(target="jaffe", tries=["strategy=FU", "lr=0.001"]).tries == ("strategy=FU", "lr=0.001")
    assert options_from(target="jaffe", tries="strategy=FU").tries == ("strategy=FU",)
    assert options_from(target="jaffe", early_stop="off") == options_from(target="jaffe", early_stop=False)
    assert options_from(target="jaffe", patience=None).patience is None


@pytest.mark.parametrize("name", [name for name in declared(StudyOptions) if name != "target"])
def test_every_option_has_its_default_where_python_leaves_it_out(name, monkeypatch):
    for variable in ("FER_DATA", "STUDY_STORAGE"):
        monkeypatch.delenv(variable, raising=False)
    default = next(field.default for field in dataclasses.fields(StudyOptions) if field.name == name)
    assert getattr(options_from(target="jaffe"), name) == default


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"trails": 3}, "Did you mean trials"),
        ({"trials": "many"}, "trials"),
        ({"trials": 0}, "--trials"),
        ({"preset": "lapto"}, "preset is one of"),
        ({"data_kind": "real"}, "--data-kind real needs"),
        ({"outer": 5, "confirm": 5}, "--outer"),
        ({"force": "yes"}, "force is True or False"),
        ({"early_stop": "nonsense"}, "early_stop is True or False"),
        ({"trials": True}, "trials is a single value"),
        ({"seed": None}, "seed is a single value"),
        ({"data": ["a", "b"]}, "data is a single value"),
        ({"reference": 0.5}, "reference is 2 values"),
        ({"reference": (0.5,)}, "reference is 2 values"),
    ],
)
def test_a_wrong_option_is_refused_by_its_rule(values, named, monkeypatch):
    monkeypatch.delenv("FER_DATA", raising=False)
    with pytest.raises(InputError, match=named):
        options_from(target="jaffe", **values)


def test_one_search_is_run_from_python():
    with pytest.raises(InputError, match="runs one search"):
        study.search(target="jaffe", outer=3)


# The package.


def test_the_package_is_light_until_it_is_used_and_what_it_offers_is_documented():
    code = "import sys, study; assert not {'optuna', 'torch', 'pandas'} & set(sys.modules); print(study.__all__)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for name in study.__all__:
        assert inspect.getdoc(getattr(study, name))
    with pytest.raises(AttributeError, match="nosuch"):
        study.nosuch  # noqa: B018


@pytest.mark.slow
def test_a_search_from_python_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = {"preset": "tiny", "baseline_epochs": 1, "epochs": 0.5}
    options = {**small, "tracking_uri": "none", "workers": 1, "out": "found"}

    first = study.search("tfeid", trials=4, **options)
    second = study.search("tfeid", trials=6, **options)

    assert first.folder == second.folder and first.folder.parent == Path("found")
    assert len(first.trials) == 4 and len(second.trials) == 6
    assert (second.folder / "report.html").exists()
    assert all(network.file.exists() for network in second.networks)
