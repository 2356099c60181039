"""Wrong use and bad data: one clear line, exit code 2, nothing half-written, no traceback."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fer.errors import InputError
from fer.model.weights import load_network
from fer.runtime import Runtime
from study.options import StudyOptions, study_name
from study.presets import PRESETS
from study.record import BaselineRecord
from study.run import main

WRONG = {
    "--target nosuch": "nosuch",
    "--target tfeid --trials 0": "--trials",
    "--target tfeid --seed -1": "--seed",
    "--target tfeid --amount 0.3": "--amount",
    "--target tfeid --lr 0": "--lr",
    "--target tfeid --epochs -2": "--epochs",
    "--target tfeid --baseline-epochs 0": "--baseline-epochs",
    "--target tfeid --timeout -1": "--timeout",
    "--target tfeid --workers none": "--workers",
    "--target tfeid --device tpu": "--device",
    "--target tfeid --device cuda:99": "GPU",
    "--target tfeid --study ../escape": "--study",
    "--target fer2013": "two datasets",
    "--target FER-2013 --preset tiny": "two datasets",
    "--target tfeid --lr 0.5": "--lr",
    "--target tfeid --baseline x.safetensors --baseline-epochs 3": "contradicts",
    "--target tfeid --space paper --amount 0.5": "contradicts",
    "--target tfeid --sampler grid": "grid",
    "--target tfeid --data-kind real": "--data",
    "--target tfeid --data-kind real --data missing": "missing",
    "--target tfeid --preset tiny --baseline missing.safetensors": "missing.safetensors",
    "--target tfeid --preset tiny --storage nosuch://x": "--storage",
    "--target tfeid --preset tiny --storage postgresql://me:secret@127.0.0.1:9/x": "--storage",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_use_is_one_line_with_the_value_and_the_mend(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FER_DATA", raising=False)
    if "--preset tiny" in line:  # far enough to have met the data; the rest of the job is tested elsewhere
        monkeypatch.setattr("study.pipeline.resume.find_or_train_baseline", pretend_baseline)
        monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], synthetic_scale=0.02))
    assert main([*line.split(), "--tracking-uri", "none"]) == 2

    err = capsys.readouterr().err
    errors = [text for text in err.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1 and WRONG[line] in errors[0] and "got" in errors[0]
    assert "Traceback" not in err and "secret" not in err
    assert not list(tmp_path.glob("runs/*/study.json"))


@pytest.mark.parametrize(
    "line",
    ["--target tfied", "--target tfeid --source nosuch", "--target tfeid --try learning_rate=1",
     "--target tfeid --try strategy=EWC", "--target tfeid --outer 2 --try lr=9", "--target tfeid --warm-start nosuch"],
)  # fmt: skip
def test_a_wrong_name_or_guess_is_told_alone_and_before_any_data_is_read(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FER_DATA", raising=False)

    assert main([*line.split(), "--tracking-uri", "none"]) == 2

    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def pretend_baseline(record, progress):
    """Checks the user's file as the baseline's process does, without starting one."""
    if record.options["baseline"]:
        load_network(Path(record.options["baseline"]), Runtime())
    return BaselineRecord(width=1.0, parameters=1)


def test_the_shell_sees_exit_code_two(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-m", "study.run", "--target", "tfeid", "--trials", "0"],
        capture_output=True, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert answer.returncode == 2 and answer.stderr.count("\n") == 1


def test_a_studys_name_says_what_it_is_about():
    options = StudyOptions(target="x", preset="laptop", seed=3, amount=0.5)

    assert study_name(options, "fer2013", "tfeid", True) == "fer2013-tfeid-synthetic-card-laptop-half-seed3"
    assert study_name(replace(options, seed=0, amount=1.0), "a", "b", False) == "a-b-card-laptop"
    assert study_name(replace(options, study="mine"), "a", "b", True) == "mine"


def test_the_rule_comes_with_the_value_and_the_mend():
    assert str(InputError("a is b", 3, "Do c.")) == "a is b; got 3. Do c."
