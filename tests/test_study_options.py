"""Every option of a study is declared once; parser and checks follow from the declaration."""

import argparse
import dataclasses
import json

import pytest

from fer.errors import InputError
from study.arguments import integer
from study.command_parser import Parser
from study.declared_options import add_options, check_values, declared, must, option, read_options
from study.exit_code import ExitCode
from study.option_parsers import build_parser, parse_options
from study.options import RESUMABLE_OPTIONS, StudyOptions, identity_options
from study.presets import MOST_BASELINE_EPOCHS, PRESETS

OPTIONS = declared(StudyOptions)


@dataclasses.dataclass(frozen=True)
class Example:
    name: str = option(dataclasses.MISSING, "a name")
    size: int = option(3, "a size", parse=integer, check=must("--size is odd", lambda size: size % 2 == 1, "Give 3."))
    fast: bool = option(False, "a switch")
    words: tuple[str, ...] = option((), "words", flag="--word", repeatable=True)
    pair: tuple[int, int] | None = option(None, "two numbers", parse=integer, metavar=("A", "B"))
    place: str | None = option(None, "a place", environment="EXAMPLE_PLACE")


def read(*words: str) -> Example:
    parser = Parser(prog="example")
    add_options(parser, Example)
    return read_options(Example, parser, list(words))


def test_a_command_line_becomes_the_dataclass(monkeypatch):
    monkeypatch.delenv("EXAMPLE_PLACE", raising=False)

    assert read("--name", "x") == Example("x")
    assert read("--name", "x", "--size", "5", "--fast") == Example("x", size=5, fast=True)
    assert read("--name", "x", "--word", "a", "--word", "b") == Example("x", words=("a", "b"))
    assert read("--name", "x", "--pair", "1", "2") == Example("x", pair=(1, 2))


def test_the_environment_gives_a_default_and_the_command_line_comes_first(monkeypatch):
    monkeypatch.setenv("EXAMPLE_PLACE", "there")

    assert read("--name", "x").place == "there"
    assert read("--name", "x", "--place", "here").place == "here"


@pytest.mark.parametrize("words", [[], ["--name", "x", "--size", "two"], ["--name=--"], ["--name", "x", "--pair", "1"]])
def test_what_cannot_be_parsed_is_wrong_use(words, capsys):
    with pytest.raises(SystemExit) as end:
        read(*words)

    assert end.value.code == ExitCode.WRONG_USE
    assert capsys.readouterr().err.count("\n") == 1


def test_a_value_that_breaks_its_rule_is_told_with_rule_value_and_fix():
    with pytest.raises(InputError) as error:
        read("--name", "x", "--size", "4")

    assert str(error.value) == "--size is odd; got 4. Give 3."


def test_every_field_of_a_study_is_an_option_of_its_parser_and_nothing_else_is():
    actions = [action for action in build_parser()._actions if action.dest not in ("help", argparse.SUPPRESS)]

    assert [action.dest for action in actions] == [field.name for field in dataclasses.fields(StudyOptions)]
    assert all(action.help for action in actions)


def test_a_command_line_without_options_gives_the_defaults_and_these_pass_every_check(monkeypatch):
    monkeypatch.delenv("FER_DATA", raising=False)
    monkeypatch.delenv("STUDY_STORAGE", raising=False)

    assert parse_options(["--target", "tfeid"]) == StudyOptions("tfeid")
    check_values(StudyOptions("tfeid"))


def test_an_option_is_resumable_or_part_of_what_a_study_is():
    identity = set(identity_options(StudyOptions("tfeid")))

    assert identity.isdisjoint(RESUMABLE_OPTIONS)
    assert identity | RESUMABLE_OPTIONS == set(OPTIONS)
    assert {"target", "source", "space", "sampler", "seed", "epochs", "folds"} <= identity


@pytest.mark.parametrize(
    "words, rule",
    [
        (["--source", "tfeid"], "--target and --source are two datasets"),
        (["--baseline", "x", "--baseline-epochs", "3"], "--baseline is used as it is"),
        (["--space", "paper", "--amount", "0.5"], "--space paper has both amounts"),
        (["--sampler", "grid"], "--sampler grid needs a space"),
        (["--ray", "local"], "--ray needs a storage"),
        (["--data-kind", "real"], "--data-kind real needs a place"),
    ],
)
def test_options_that_contradict_each_other_are_refused(words, rule, monkeypatch):
    monkeypatch.delenv("FER_DATA", raising=False)
    monkeypatch.delenv("STUDY_STORAGE", raising=False)

    with pytest.raises(InputError, match=rule):
        parse_options(["--target", "tfeid", *words])


def test_a_records_options_are_read_with_defaults_of_younger_ones_and_without_those_that_are_gone():
    options = StudyOptions("tfeid", tries=("lr=1e-3",), reference=(0.1, 0.2), folds=3)
    stored = json.loads(json.dumps(dataclasses.asdict(options)))

    assert StudyOptions.from_json(stored | {"threads": 2}) == options
    del stored["folds"]
    assert StudyOptions.from_json(stored) == dataclasses.replace(options, folds=None)


@pytest.mark.parametrize("name", PRESETS)
def test_a_larger_source_has_fewer_passes_of_the_baselines_training_and_no_more_images_than_the_preset_says(name):
    preset = PRESETS[name]
    sizes = (10, 500, 5000, 28_709, 300_000, 10_000_000)

    passes = [preset.baseline_epochs(size, is_synthetic=False) for size in sizes]

    assert passes == sorted(passes, reverse=True)
    assert all(
        count == 1 or (count - 0.5) * size <= preset.baseline_images for count, size in zip(passes, sizes, strict=True)
    )
    assert passes[0] == MOST_BASELINE_EPOCHS and passes[-1] == 1
