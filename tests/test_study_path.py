"""A study that is called by its folder, or by a file in it, instead of its name."""

import argparse

import pytest

from commands import call
from fer.architecture import VGG13
from fer.errors import InputError
from made_study import made_answered
from study import report
from study.option_parsers import settle_places
from study.options import StudyOptions
from study.pipeline.resume import create_study
from study.storage.backend import open_storage
from study.study_path import check_warm_start, find_study_folder
from study.tuning.initial_trials import check_initial_trials


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a study, runs/mine, in the working directory."""
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "runs" / "mine"
    (made / "models").mkdir(parents=True)
    (made / "study.json").write_text("{}")
    (made / "report.html").write_text("")
    (made / "models" / "trial-0001.safetensors").write_text("")
    return made


def places(study: str, out: str = "runs") -> tuple[str, str]:
    """Returns the name and the folder that a command finds a study by."""
    args = argparse.Namespace(study=study, out=out, storage=None)
    settle_places(args)
    return args.study, args.out


@pytest.mark.parametrize(
    "path",
    ["runs/mine", "runs/mine/", "./runs/mine", "runs/mine/report.html", "runs/mine/models/trial-0001.safetensors",
     "runs/../runs/mine/"],
)  # fmt: skip
def test_the_path_of_a_study_or_of_its_files_is_its_name_and_its_place(path, folder):
    assert places(path) == ("mine", "runs")
    assert places(path, out=str(folder.parent)) == ("mine", "runs")


def test_the_folder_that_a_command_is_called_in_is_a_study(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert places(".") == ("mine", str(folder.parent))
    assert places("./report.html") == ("mine", str(folder.parent))


def test_a_name_stays_a_name(folder, monkeypatch):
    assert places("mine") == ("mine", "runs")
    monkeypatch.chdir(folder.parent)
    assert places("mine") == ("mine", "runs")


@pytest.mark.parametrize("path", ["runs/", "runs/other", "runs/mine/no.html", "runs/mine/../x", "/", "a/\0"])
def test_a_path_that_leads_to_no_study_is_none(path, folder):
    assert find_study_folder(path) is None
    with pytest.raises(InputError):
        places(path)


def test_a_path_and_another_place_contradict_each_other(folder):
    with pytest.raises(InputError, match="Leave --out out"):
        places("runs/mine", out="elsewhere")


def test_warm_start_takes_a_path_and_says_where_there_is_no_study(folder):
    check_warm_start("runs/mine/")
    check_warm_start("a-name")
    with pytest.raises(InputError, match="where no study is"):
        check_warm_start("runs/other")


def stored_study(folder) -> str:
    """Puts a study of the made trials in the folder's journal; returns its name."""
    info, trials = made_answered()
    name = "earlier"
    study = create_study(name, open_storage(None, folder / "kept" / name))
    study.set_user_attr("study", info | {"name": name})
    study.add_trials(trials)
    return name


def test_report_and_warm_start_find_a_study_elsewhere_by_its_path(folder, capsys, monkeypatch):
    monkeypatch.setattr("study.reporting.export.export", lambda record, trials, where: [where / "report.html"])
    name = stored_study(folder.parent.parent)

    assert call(report.main, f"kept/{name}/") == 0
    assert f"open kept/{name}/report.html" in capsys.readouterr().out

    options = vars(StudyOptions("tfeid", warm_start=f"kept/{name}"))
    with pytest.raises(InputError, match=f"got {name}, of"):
        check_initial_trials(options | {"space": "paper"}, VGG13.depth)
