"""Exports that are empty or damaged are written again."""

import json
import os

import pytest

from fer.errors import InputError
from hostile import DAMAGES, damage
from made_study import made_info, made_trials
from study.reporting import export
from study.trials import trials_table


def test_whole_exports_are_taken_as_they_are(export_to):
    trials = made_trials(8)
    folder = export_to(made_info(), trials)
    assert export.is_exported(made_info(), trials, folder)
    assert not export.is_exported(made_info(), made_trials(9), folder)


def test_exports_are_written_again_after_an_option_changed_and_not_for_what_is_recorded_at_the_end(export_to):
    trials = made_trials(8)
    info = made_info()
    folder = export_to(info, trials)

    other_keep = info | {"options": info["options"] | {"keep": 0.5}}
    assert not export.is_exported(other_keep, trials, folder)

    assert export.is_exported(info | {"ended": "stopped by --timeout 60"}, trials, folder)


@pytest.mark.parametrize("name", ["trials.csv", "report.html", "study.json"])
@pytest.mark.parametrize("how", DAMAGES.values(), ids=list(DAMAGES))
def test_damaged_exports_are_not_taken_for_whole(name, how, tmp_path):
    trials = made_trials(3)
    (tmp_path / "trials.csv").write_text(trials_table(trials).to_csv(index=False))
    (tmp_path / "report.html").write_bytes(b"<html>" + bytes(100) + export.END_OF_REPORT)
    (tmp_path / "study.json").write_text(json.dumps(made_info()))
    assert export.is_exported(made_info(), trials, tmp_path)

    damage(tmp_path / name, how)
    assert not export.is_exported(made_info(), trials, tmp_path)


@pytest.mark.parametrize("name", ["models", "confirm"])
@pytest.mark.parametrize("what", ["file", "dangling link", "pipe"])
def test_a_study_whose_folders_are_none_is_refused(name, what, tmp_path):
    export.require_folders(tmp_path)
    path = tmp_path / name
    if what == "file":
        path.write_text("x")
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nowhere")

    with pytest.raises(InputError, match=name):
        export.require_folders(tmp_path)
