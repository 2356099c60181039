"""What a user types and what the commands answer: help, versions, one line that names what was meant."""

import argparse
import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import optuna
import pytest

from commands import ROOT, assert_one_safe_line, call, end, start
from fer.adaptation.methods import LIBRARY
from fer.datasets.layouts import LAYOUTS
from fer.datasets.splits import FOLD_RULE
from fer.errors import InputError, closest, did_you_mean
from made_study import whole_record
from study import confirm, datasets, predict, report, run, sync, worker
from study.__main__ import COMMANDS, page
from study.__main__ import start as start_command
from study.command_parser import WIDTH, Parser, Switch
from study.declared_options import declared, flag_of
from study.option_parsers import build_parser, parse_options
from study.options import StudyOptions
from study.pipeline.resume import find_record
from study.program import DISTRIBUTION, version
from study.record import StudyRecord
from study.storage.backend import open_storage

PARSERS = {"run": build_parser} | {
    module.__name__.removeprefix("study."): module.build_parser
    for module in (report, confirm, predict, datasets, worker, sync)
}
MAINS = {name: importlib.import_module(f"study.{name}").main for name in COMMANDS}
OPTIONS = declared(StudyOptions)


def spellings(command: str) -> list[str]:
    """Returns all options of a command that a help shows, and its aliases."""
    parser = PARSERS[command]()
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return [name for action in shown for name in action.option_strings if name.startswith("--")] + list(parser.aliases)


def typos(word: str) -> list[str]:
    """Returns a word with a letter too many, with one too few and, if it is no short one, with two exchanged."""
    wrong = [word + word[-1], word[:-1]]
    if len(word.lstrip("-")) > 3:
        wrong.append(word[:-3] + word[-2] + word[-3] + word[-1])
    return wrong


EVERY_OPTION = [(command, option) for command in COMMANDS for option in spellings(command)]
EVERY_CHOICE = [
    (flag_of(name, declaration), choice)
    for name, declaration in OPTIONS.items()
    for choice in declaration.choices or ()
]


# Wrong use.


@pytest.mark.parametrize(("command", "option"), EVERY_OPTION)
def test_a_typo_of_an_option_names_the_option(command, option, capsys):
    known = spellings(command)
    for typo in typos(option):
        if typo in known or typo.startswith("--no-no-"):
            continue
        assert call(MAINS[command], typo) == 2

        said = capsys.readouterr().err
        assert_one_safe_line(said)
        assert f"unknown option {typo}. Did you mean {option}?" in said


@pytest.mark.parametrize(("option", "choice"), EVERY_CHOICE)
def test_a_typo_of_a_choice_names_the_choice(option, choice, capsys):
    choices = [other for flag, other in EVERY_CHOICE if flag == option]
    for typo in typos(choice):
        if typo in choices:
            continue
        assert call(run.main, "--target", "tfeid", option, typo) == 2

        said = capsys.readouterr().err
        assert said == f"error: {option} is one of {', '.join(choices)}; got {typo!r}. Did you mean {choice}?\n"


@pytest.mark.parametrize(("command", "option"), EVERY_OPTION)
def test_an_option_without_its_value_is_told_with_its_placeholder(command, option, capsys):
    parser = PARSERS[command]()
    action = parser._option_string_actions[parser.aliases.get(option, option)]
    if action.nargs == 0:
        return

    assert call(MAINS[command], option) == 2

    said = capsys.readouterr().err
    assert_one_safe_line(said)
    assert f"{action.option_strings[0]} needs a value, as in {action.option_strings[0]} " in said


@pytest.mark.parametrize(
    ("command", "words", "answer"),
    [
        ("run", ["--trails", "3"], "unknown option --trails. Did you mean --trials?"),
        ("run", ["--track", "none"], "Did you mean --tracking-uri?"),
        ("run", ["--min", "0.9"], "Did you mean --min-retention?"),
        ("run", ["-t", "tfeid"], "unknown option -t. python -m study.run --help-all lists all options."),
        ("run", [], "--target NAME is missing: the small dataset"),
        ("run", ["tfeid"], "--target is missing before 'tfeid'. Did you mean python -m study.run --target tfeid?"),
        ("run", ["--trials", "3", "tfeid"], "--target is missing before 'tfeid'"),
        ("run", ["--trials", "3", "--force"], "--target NAME is missing: the small dataset"),
        ("run", ["--target", "tfeid", "200"], "'200' is one argument too many"),
        ("run", ["--target", "tfeid", "--force=yes"], "--force takes no value; got 'yes'"),
        ("run", ["--target", "tfeid", "--trials", "many"], "--trials is a whole number, such as 20; got 'many'"),
        ("run", ["--target", "tfeid", "--n-trials", "many"], "--trials is a whole number"),
        ("run", ["--target", "tfeid", "--lr", "-1e-3"], "--lr needs a value, as in --lr RATE"),
        ("run", ["--target", "tfeid", "--reference", "0.5"], "--reference needs a value, as in --reference SOURCE"),
        ("run", ["--target", "tfeid", "--early-stop", "maybe"], "'maybe' is one argument too many"),
        ("report", [], "STUDY is missing: name of the study"),
        ("report", ["runs/mine/"], "Give mine --out runs."),
        ("worker", [], "--study NAME is missing: name of the study"),
        ("worker", ["mine"], "Did you mean python -m study.worker --study mine?"),
        ("predict", ["--exprot", "x"], "Did you mean --export?"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_to_do(command, words, answer, empty_folder, capsys):
    assert call(MAINS[command], *words) == 2

    said = capsys.readouterr()
    assert_one_safe_line(said.err)
    assert answer in said.err and not said.out
    assert "usage:" not in said.err


def test_a_word_after_two_dashes_is_no_option(capsys):
    parser = Parser("x")
    parser.add_argument("names", nargs="*")

    assert parser.parse_args(["--", "--nosuch", "--version"]).names == ["--nosuch", "--version"]


# Names of datasets and studies.


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_mistyped_dataset_is_told_with_the_one_that_was_meant(name, empty_folder, capsys):
    typo = typos(name)[0]

    assert call(datasets.main, typo) == 2

    assert f"Did you mean {name}?" in capsys.readouterr().err


def test_a_mistyped_folder_of_the_data_folder_is_told_with_what_is_there(empty_folder, capsys):
    (empty_folder / "data" / "holiday").mkdir(parents=True)

    assert call(datasets.main, "hollidays", "--data", "data") == 2

    said = capsys.readouterr().err
    assert_one_safe_line(said)
    assert "which has holiday." in said and "Did you mean holiday?" in said


@pytest.mark.parametrize(
    ("command", "storage"),
    [("report", None), ("report", "sqlite:///x.db"), ("confirm", None), ("sync", None), ("worker", None)],
)
def test_a_mistyped_study_is_told_with_the_one_that_was_meant(command, storage, empty_folder, capsys):
    for name in ("first", "second"):
        optuna.create_study(study_name=name, storage=open_storage(storage, Path("runs") / name))
    words = ["--study", "secnod"] if command == "worker" else ["secnod"]
    if storage:
        words += ["--storage", storage]

    assert call(MAINS[command], *words) == 2

    said = capsys.readouterr().err
    assert_one_safe_line(said)
    assert "which has first, second." in said and "Did you mean second?" in said


def test_only_what_is_alike_is_suggested():
    assert closest("LAPTO", ["paper", "Laptop"]) == "Laptop"
    assert closest("quick", ["paper", "laptop"]) is None and closest("x", []) is None
    assert did_you_mean("quick", ["paper"]) == "" and did_you_mean("papr", ["paper"]) == "Did you mean paper? "


# Other spellings.


def test_what_optunas_users_type_is_understood(monkeypatch):
    monkeypatch.delenv("FER_DATA", raising=False)
    usual = parse_options(["--target", "x", "--trials", "7", "--study", "s", "--workers", "2"])

    assert parse_options(["--target", "x", "--n-trials", "7", "--study-name=s", "--n-jobs", "2"]) == usual


@pytest.mark.parametrize("name", [name for name, action in build_parser()._option_string_actions.items()
                                  if isinstance(action, Switch) and not name.startswith("--no-")])  # fmt: skip
def test_a_switch_is_a_flag_and_its_old_spelling_still_works(name):
    field = name.removeprefix("--").replace("-", "_")
    opposite = f"--no-{name.removeprefix('--')}"

    def value(*words: str) -> bool:
        return getattr(parse_options(["--target", "x", *words, "--trials", "3"]), field)

    assert value() is True and value(name) is True and value(opposite) is False
    assert value(name, "on") is True and value(name, "off") is False
    assert value(f"{name}=on") is True and value(f"{name}=off") is False
    assert value(opposite, name) is True and value(name, opposite) is False


def test_every_study_option_is_written_whole():
    options = [name for name in spellings("run") if len(name) > 6]

    for name in options:
        beginnings = [other for other in options if other.startswith(name[:-1])]
        with pytest.raises(SystemExit):
            build_parser().parse_args(["--target", "x", name[:-1]])
        assert name in beginnings


# Help.


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_first_what_the_command_does_then_shows_examples(command):
    first, examples, usage, *_ = PARSERS[command]().format_help().split("\n\n")

    assert first[0].isupper() and first.endswith(".")
    assert examples.startswith("examples:\n") and f"python -m study.{command}" in examples
    assert usage.startswith(f"usage: python -m study.{command}")


def test_help_of_the_main_job_begins_with_two_lines_and_three_examples():
    first, examples, _, everyday, *_ = build_parser().format_help().split("\n\n")

    assert first.count("\n") == 1
    assert examples.count("python -m study.run") == 3
    assert everyday.startswith("everyday options:")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [80, 60, 200])
def test_help_fits_the_terminal_and_is_never_wider_than_eighty_columns(command, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    parser = PARSERS[command]()

    for text in (parser.format_help(), parser.format_full_help()):
        # What stands on a line of its own and is copied from there is not broken.
        sentences = [line for line in text.splitlines() if f"study.{command}" not in line]
        assert max(map(len, sentences)) < min(columns, WIDTH)
        if columns >= WIDTH:
            assert max(map(len, text.splitlines())) < WIDTH


@pytest.mark.parametrize("command", COMMANDS)
def test_every_default_is_stated(command):
    for action in PARSERS[command]()._actions:
        if action.help == argparse.SUPPRESS or action.required or action.dest in ("help", argparse.SUPPRESS):
            continue
        if not action.option_strings:
            continue
        assert "default: " in action.help, action.option_strings
        named = str(action.default)
        if action.default not in (None, True, False, []):
            assert "(default)" in action.help or f"default: {named}" in action.help or "%(default)" in action.help


def test_the_first_help_explains_everyday_options_and_names_the_others():
    short, full = build_parser().format_help(), build_parser().format_full_help()

    for name, declaration in OPTIONS.items():
        flag = flag_of(name, declaration)
        explained = re.compile(rf"^  {flag}\b", re.MULTILINE)
        assert explained.search(full), flag
        assert bool(explained.search(short)) == declaration.everyday, flag
        assert (re.search(rf"[ \n]{flag}[\s\n]", short) is None) == declaration.unlisted, flag
    assert all(alias in short for alias in build_parser().aliases)


def test_help_all_prints_all(capsys):
    assert call(run.main, "--help-all") == 0
    assert capsys.readouterr().out == build_parser().format_full_help()


def test_the_list_of_strategies_names_every_method_and_fits_eighty_columns(capsys):
    assert call(run.main, "--list-strategies") == 0

    said = capsys.readouterr().out
    assert all(re.search(rf"^  {re.escape(name)} +\w", said, re.MULTILINE) for name in [*LIBRARY, "FT"])
    assert max(map(len, said.splitlines())) < WIDTH
    assert "vgg13 has 13, 10 of them before the head" in said


def test_the_list_of_strategies_counts_the_blocks_of_the_network_that_is_given(tmp_path, capsys):
    words = ["--network", "shufflenet_v2_x0_5", "--image-size", "32", "--list-strategies", "--out", str(tmp_path)]
    assert call(run.main, *words) == 0

    said = capsys.readouterr().out
    assert "shufflenet_v2_x0_5 has 19, 18 of them before the head" in " ".join(said.split())
    for strategy, frozen in {"BL": 19, "FC": 18, "FC+CL": 17, "RE": 0}.items():
        assert re.search(rf"^  {re.escape(strategy)} +\w.*?\n +frozen_layers {frozen}$", said, re.MULTILINE), strategy
    assert max(map(len, said.splitlines())) < WIDTH

    assert call(run.main, "--list-strategies", "--network", "vgg13") == 0
    assert call(run.main, "--list-strategies", "--network=no such network", "--out", str(tmp_path)) == 2


# The page of commands, and versions.


def test_the_page_names_every_command_and_fits_eighty_columns():
    text = page()

    assert all(re.search(rf"^  {command} +\w", text, re.MULTILINE) for command in COMMANDS)
    assert text.count("python -m study.run") == 2
    assert max(map(len, text.splitlines())) <= WIDTH
    assert set(COMMANDS) == {path.stem for path in (ROOT / "study").glob("*.py") if "(main())" in path.read_text()}


def call_module(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["study/__main__.py", *words])
    return call(lambda _: start_command())


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_module_without_a_command_prints_the_page(words, monkeypatch, capsys):
    assert call_module(monkeypatch, *words) == 0
    assert capsys.readouterr().out == f"{page()}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistyped_command_is_told_with_the_one_that_was_meant(command, monkeypatch, capsys):
    for typo in typos(command):
        assert call_module(monkeypatch, typo) == 2

        said = capsys.readouterr().err
        assert_one_safe_line(said)
        assert f"Did you mean python -m study.{command}?" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_the_module_runs_a_command_with_the_words_that_follow(command, monkeypatch, capsys):
    assert call_module(monkeypatch, command, "--help") == 0
    assert capsys.readouterr().out == PARSERS[command]().format_help()

    assert call_module(monkeypatch, command, "--nosuch") == 2
    assert "unknown option --nosuch" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_tells_the_version_of_the_checkout(command, monkeypatch, capsys):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert call_module(monkeypatch, *filter(None, [command]), "--version") == 0

    assert capsys.readouterr().out == f"{project['name']} {project['version']}\n"


def test_the_version_is_unknown_where_nothing_says_it(tmp_path, monkeypatch):
    monkeypatch.setattr("study.program.__file__", str(tmp_path / "study" / "program.py"))
    monkeypatch.setattr("study.program.DISTRIBUTION", "no-such-distribution")

    assert version() == "unknown"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 0, "memory-integrity run --target tfeid"),
        (["run", "--help"], 0, "usage: memory-integrity run --target NAME [options]"),
        (["rnu"], 2, "Did you mean memory-integrity run?"),
        # A worker starts itself anew with another environment.
        pytest.param(["worker", "--study", "x"], 2, "a study must exist", marks=pytest.mark.slow),
    ],
)
def test_the_console_script_is_the_same_entry_and_calls_itself_by_its_name(words, code, said, tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"][DISTRIBUTION].partition(":")
    script = tmp_path / DISTRIBUTION
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")  # as pip writes it
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    answer = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, env=environment)

    assert answer.returncode == code
    assert said in answer.stdout + answer.stderr and "Traceback" not in answer.stderr


def test_the_module_is_called_as_the_commands_are(tmp_path):
    code, out, err = end(start("__main__", folder=tmp_path))
    assert (code, out, err) == (0, f"{page()}\n", "")


# Stored studies.


@pytest.mark.parametrize(("stored", "is_on"), [("on", True), ("off", False), (True, True), (False, False)])
def test_a_switch_of_a_stored_study_is_read_in_both_spellings(stored, is_on):
    options = StudyOptions.from_json({"target": "x", "early_stop": stored, "interpolate": stored})

    assert options == dataclasses.replace(StudyOptions("x"), early_stop=is_on, interpolate=is_on)


@pytest.mark.parametrize(("before", "now"), [("on", []), ("off", ["--no-early-stop"]), (False, ["--no-early-stop"])])
def test_a_study_of_an_earlier_version_goes_on_with_the_flag_of_today(before, now, tmp_path, monkeypatch):
    monkeypatch.delenv("FER_DATA", raising=False)
    words = ["--target", "tfeid", "--out", str(tmp_path), "--study", "s", "--folds", "1"]
    storage = open_storage(None, tmp_path / "s")
    stored = whole_record(name="s")
    stored["baseline"]["answers"] = {"some": "answers"}
    earlier = json.loads(json.dumps(dataclasses.asdict(parse_options(words))))
    stored["options"] = earlier | {"early_stop": before, "interpolate": "on"}
    optuna.create_study(study_name="s", storage=storage).set_user_attr("study", stored)
    record = StudyRecord.from_json(stored)

    found = find_record(record, parse_options([*words, *now]), storage)

    assert found is not None and found.name == "s"
    with pytest.raises(InputError, match=f"early_stop {not now} → {bool(now)}"):
        find_record(record, parse_options([*words, "--early-stop" if now else "--no-early-stop"]), storage)


@pytest.mark.parametrize("folds", [1, 3])
def test_a_study_goes_on_only_with_the_folds_that_it_began_with(folds, tmp_path, monkeypatch):
    monkeypatch.delenv("FER_DATA", raising=False)
    words = ["--target", "tfeid", "--out", str(tmp_path), "--study", "s", "--folds", str(folds)]
    storage = open_storage(None, tmp_path / "s")
    stored = whole_record(name="s")
    stored["options"] = dataclasses.asdict(parse_options(words))
    stored["baseline"]["answers"] = {"some": "answers"}
    study = optuna.create_study(study_name="s", storage=storage)
    new = StudyRecord.from_json(stored | {"fold_rule": FOLD_RULE})

    study.set_user_attr("study", new.to_json())
    assert find_record(new, parse_options(words), storage) is not None

    study.set_user_attr("study", stored)  # of a version that knew one rule only
    if folds == 1:
        assert find_record(new, parse_options(words), storage) is not None
    else:
        with pytest.raises(InputError, match="only go on with the folds that it was started with; got a version of"):
            find_record(new, parse_options(words), storage)
