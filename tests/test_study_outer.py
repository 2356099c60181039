"""Nested cross-validation: every person is tested once, by a search that never saw them."""

import dataclasses
import io
import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_domains import write_bars
from rich.console import Console

from commands import assert_one_safe_line, call, command, run
from fer.config import AdaptationConfig, to_flat
from fer.datasets import Dataset, ReaderOptions, load
from fer.datasets.arrays import TEST, TRAIN, VALIDATION
from fer.datasets.splits import HeldOutPart, assign_splits, hold_out_part, wanted_sizes
from fer.errors import InputError
from made_study import made_info, made_trial
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE
from study.confirmation.outer_evaluation import begin_evaluation
from study.confirmation.outer_part import OUTER_ATTRIBUTE, PartAnswers, PartResult, RecommendedNetwork, read_part
from study.exit_code import ExitCode
from study.inputs import OuterPart, dataset_record, prepare_dataset, reopen_dataset
from study.option_parsers import parse_options
from study.outer.export import export_outer
from study.outer.summary import summarise
from study.outer.tables import describe_findings, outer_rich_table
from study.record import DOMAINS, StudyRecord
from study.run import main

# --- parts of people


def divide(people: int, images: int, parts: int, seed: int, known: bool = True) -> list[np.ndarray]:
    """Returns for each part the split of every image; with unknown people some pictures are there twice."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, images)
    subjects = rng.permutation(np.arange(images) % people) if known else None
    groups = np.arange(images)
    if not known:
        groups[1:20:2] = groups[:20:2]
    wanted = wanted_sizes(images, None)
    usual = assign_splits(labels, subjects, groups, [None] * images, wanted, seed)
    divided = [
        hold_out_part(usual, labels, subjects, groups, HeldOutPart(number, parts, seed)).split_index
        for number in range(1, parts + 1)
    ]

    # No unit that stays together is in two splits of a search, and each is in one test set.
    units = groups if subjects is None else subjects
    for splits in divided:
        pairs = np.unique(np.stack([units, splits]), axis=1)
        assert len(pairs[0]) == len(np.unique(units))
    return divided


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(6, 30), st.integers(2, 6), st.booleans())
def test_every_image_is_tested_once_and_no_person_is_in_two_splits_of_a_search(seed, people, parts, known):
    divided = divide(people, 7 * people, parts, seed, known)

    tests = np.stack([splits == TEST for splits in divided])
    assert (tests.sum(0) == 1).all()
    assert all(set(splits) == {TRAIN, VALIDATION, TEST} for splits in divided)


def test_outside_a_part_validation_has_its_usual_share():
    for splits in divide(people=40, images=800, parts=5, seed=3):
        outside = splits[splits != TEST]
        assert np.mean(outside == VALIDATION) == pytest.approx(1 / 9, abs=0.03)


def test_images_outside_the_datasets_own_splits_stay_outside():
    rng = np.random.default_rng(0)
    words = [*["train"] * 60, *["test"] * 30, *[None] * 30]
    labels = rng.integers(0, 7, 120)
    subjects = np.repeat(np.arange(12), 10)
    groups = np.arange(120)
    usual = assign_splits(labels, subjects, groups, words, wanted_sizes(120, None), 0)
    for number in (1, 2, 3):
        splits = hold_out_part(usual, labels, subjects, groups, HeldOutPart(number, 3, 0)).split_index
        assert (splits[90:] == -1).all() and (splits[:90] >= 0).all()


@pytest.mark.parametrize(
    ("people", "parts", "rule"),
    [
        (5, 6, "each part of --outer has people of its own; got 6 parts of 5 people. Ask for --outer 5 or fewer."),
        (3, 2, "outside each part of --outer there are people for training and others for validation"),
    ],
)
def test_too_few_people_are_told_in_one_line(people, parts, rule):
    with pytest.raises(InputError, match=rule) as caught:
        divide(people, 7 * people, parts, 0)
    assert "\n" not in str(caught.value)


# --- datasets


def part_of_tfeid(folder: Path, part: OuterPart | None, seed: int = 0) -> Dataset:
    number, count = (0, 0) if part is None else (part.number, part.count)
    options = ReaderOptions(seed=seed, part=number, parts=count)
    return load("tfeid", data_dir=None, cache_dir=folder, options=options, scale=0.1)


def test_a_part_has_a_hash_of_its_own_and_the_usual_division_keeps_its_hash(tmp_path):
    usual = part_of_tfeid(tmp_path, None)
    parts = [part_of_tfeid(tmp_path, OuterPart(number, count)) for count in (2, 3) for number in range(1, count + 1)]

    assert usual.digest == "669ca6decf1d0feb"
    assert len({usual.digest, *(part.digest for part in parts)}) == 6
    assert part_of_tfeid(tmp_path, OuterPart(1, 2)).digest == parts[0].digest


def test_over_all_parts_each_person_of_a_dataset_is_in_one_test_set(tmp_path):
    usual = part_of_tfeid(tmp_path, None)
    everybody = [usual.open("train"), usual.open("validation"), usual.open_test()]
    people = set(np.concatenate([split.subjects for split in everybody]).tolist())

    tested: list[int] = []
    for number in (1, 2, 3):
        dataset = part_of_tfeid(tmp_path, OuterPart(number, 3))
        test = set(dataset.open_test().subjects.tolist())
        for fold in range(2):
            divided = dataset.divided(fold, 2, 0)
            seen = {*divided.open("train").subjects.tolist(), *divided.open("validation").subjects.tolist()}
            assert not seen & test and seen | test == people
        tested += test
    assert sorted(tested) == sorted(people)


def test_a_part_that_is_gone_is_prepared_again_as_it_was(tmp_path):
    write_bars(tmp_path / "data" / "small", people=6, images=7, seed=1, upright=True)
    options = {"data": str(tmp_path / "data"), "out": str(tmp_path / "runs"), "preset": "tiny", "seed": 0}
    options |= {"equalise": False, "keep_duplicates": False}
    dataset = prepare_dataset("small", options, "real", OuterPart(2, 3))
    images = np.array(dataset.open_test().images)
    stored = json.loads(json.dumps(dataset_record(dataset).to_json()))
    shutil.rmtree(dataset.folder)

    again = reopen_dataset(StudyRecord.from_json({"target": stored}).target, options)

    assert np.array_equal(again.open_test().images, images)


# --- options


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (["--outer", "1"], "--outer is between 2 and 1000; got 1"),
        (["--outer", "0"], "--outer is between 2 and 1000; got 0"),
        (["--outer", "2", "--confirm", "3"], "--outer tests what each of its searches recommends, once"),
        (["--outer", "2", "--warm-start", "x"], "an earlier study may have seen them; got --warm-start x"),
        (["--outer", "2", "--register", "x"], "there is none to register; got --register x"),
    ],
)
def test_options_that_contradict_nested_cross_validation_are_refused(words, rule):
    with pytest.raises(InputError, match=rule):
        parse_options(["--target", "tfeid", *words])


REFUSED = {
    "more parts than people": (["--outer", "7"], "7 parts of 6 people. Ask for --outer 6 or fewer"),
    "more folds than people of a search": (["--outer", "2", "--folds", "6"], "no more than there are subjects"),
    "the folder of a study": (
        ["--outer", "2", "--study", "taken"],
        "the results of --outer have a folder of their own",
    ),
    "a name that is too long": (["--outer", "2", "--study", "n" * 199], "a study's name is at most 200 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_search_could_be_run_with_is_refused_before_any(case, empty_folder, capsys):
    write_bars(empty_folder / "data" / "small", people=6, images=14, seed=1, upright=True)
    write_bars(empty_folder / "data" / "large", people=6, images=14, seed=2, upright=False)
    (empty_folder / "runs" / "taken-outer").mkdir(parents=True)
    (empty_folder / "runs" / "taken-outer" / "study.json").write_text("{}")
    words, rule = REFUSED[case]

    usual = ["--target", "small", "--source", "large", "--data", "data", "--preset", "tiny", "--tracking-uri", "none"]
    code = call(main, *usual, *words)

    told = capsys.readouterr().err
    assert code == ExitCode.WRONG_USE and rule in told
    assert_one_safe_line(told)
    assert not list((empty_folder / "runs").glob("*-outer-*"))


# --- what the searches say together

RECORD = StudyRecord.from_json(made_info())
NETWORK = RecommendedNetwork("models/trial-0003.safetensors", 3, "FU", 2, 6, 0.75, {"source": 0.5, "target": 0.75}, 13)


def made_result(
    number: int, count: int, people: list[int], is_recommended: bool = True, source: int = 50
) -> PartResult:
    """Returns a result on people with five images each, the source's people unknown."""
    rng = np.random.default_rng(number)
    subjects = {"target": np.repeat(people, 5), "source": np.full(source, -1)}
    answers = {}
    for domain in DOMAINS:
        baseline = rng.random(len(subjects[domain])) < 0.4
        network = rng.random(len(subjects[domain])) < 0.7
        answers[domain] = PartAnswers(subjects[domain], baseline, network if is_recommended else baseline)
    network = NETWORK if is_recommended else None
    return PartResult(f"study-outer-{number}", OuterPart(number, count), "2026-01-01T00:00:00", network, answers)


UNEVEN = [made_result(2, 3, [4, 5, 6, 7, 8, 9]), made_result(1, 3, [0, 1]), made_result(3, 3, [2, 3, 10], False)]


def test_pooled_accuracies_are_weighted_means_of_the_parts():
    summary = summarise(UNEVEN)

    assert [result.part.number for result in summary.results] == [1, 2, 3]
    assert (summary.pooled["target"].people, summary.pooled["target"].images) == (11, 55)
    for domain in DOMAINS:
        parts = [each[domain] for each in summary.parts]
        pooled = summary.pooled[domain]
        weights = [part.images for part in parts]
        assert pooled.accuracy.mean == pytest.approx(
            np.average([part.accuracy.mean for part in parts], weights=weights)
        )
        assert pooled.gain.mean == pytest.approx(np.average([part.gain.mean for part in parts], weights=weights))
        assert pooled.gain.mean == pytest.approx(pooled.accuracy.mean - pooled.baseline)
        assert pooled.accuracy.lower < pooled.accuracy.mean < pooled.accuracy.upper
        assert pooled.gain.lower < pooled.gain.mean < pooled.gain.upper


def test_what_was_recommended_is_counted_and_compared_with_what_was_expected():
    summary = summarise(UNEVEN)
    tested = np.concatenate([result.answers["target"].network for result in UNEVEN if result.recommended])

    assert summary.kinds == (("FU, rung 2, 50 % frozen", 2),) and summary.without == 1
    assert summary.optimism == pytest.approx(0.75 - tested.mean())

    findings = " ".join(describe_findings(summary, StudyRecord.from_json(made_info(options={"keep": 0.9}))))
    kept = summary.pooled["source"].accuracy.mean / summary.pooled["source"].baseline
    for words in (
        "11 people, 55 images",
        "in 2 of 3 searches; nothing in 1",
        f"{100 * kept:.1f} %",
        "asked for 90.0 %",
    ):
        assert words in findings


def test_one_person_and_the_baseline_itself_have_no_interval():
    summary = summarise([made_result(1, 2, [0]), made_result(2, 2, [1, 2], is_recommended=False)])
    one_person, nothing = (part["target"] for part in summary.parts)

    assert one_person.accuracy.lower is None and one_person.gain.lower is None
    assert nothing.accuracy.lower is not None
    assert (nothing.gain.mean, nothing.gain.lower) == (0, None)


def test_searches_with_other_source_images_are_not_summed_up():
    with pytest.raises(InputError, match="50 images and 60 images"):
        summarise([made_result(1, 2, [0, 1]), made_result(2, 2, [2, 3], source=60)])


def test_a_person_whom_several_searches_tested_is_told():
    with pytest.raises(InputError, match="1 people whom several tested"):
        summarise([made_result(1, 2, [0, 1]), made_result(2, 2, [1, 2])])


def test_a_result_is_read_as_it_was_stored_and_a_damaged_one_is_told():
    study = optuna.create_study(study_name="study-outer-1")
    assert read_part(study) is None
    for is_recommended in (True, False):
        result = made_result(1, 2, [0, 1], is_recommended)
        stored = json.loads(json.dumps(result.to_json()))
        study.set_user_attr(OUTER_ATTRIBUTE, stored)
        again = read_part(study)
        assert again.to_json() == result.to_json() and again.recommended == result.recommended

    for name in stored:
        study.set_user_attr(OUTER_ATTRIBUTE, {key: value for key, value in stored.items() if key != name})
        with pytest.raises(RuntimeError, match="damaged"):
            read_part(study)


# --- files and tables


def test_equal_results_give_equal_files_that_hold_every_part(tmp_path):
    summary = summarise(UNEVEN)
    files = {path.name: path.read_bytes() for path in export_outer("study-outer", summary, RECORD, tmp_path)}
    again = {path.name: path.read_bytes() for path in export_outer("study-outer", summary, RECORD, tmp_path)}
    assert files == again and set(files) == {"outer.csv", "outer.json", "outer.md", "outer.html"}

    rows = pd.read_csv(tmp_path / "outer.csv")
    assert rows["part"].tolist() == [1, 2, 3] and rows["people"].tolist() == [2, 6, 3]
    assert rows["recommended"].tolist() == ["FU, rung 2, 50 % frozen"] * 2 + ["nothing"]
    stored = json.loads(files["outer.json"])
    pooled = stored["pooled"]["target"]
    assert pooled["accuracy"]["mean"] == pytest.approx(np.average(rows["target_test"], weights=rows["images"]))
    assert stored["nothing_recommended"] == 1 and len(stored["searches"]) == 3


def test_the_page_needs_no_other_file_says_what_is_synthetic_and_escapes_names(tmp_path):
    odd = dataclasses.replace(NETWORK, strategy="<b>FU")
    result = dataclasses.replace(UNEVEN[0], recommended=odd)
    export_outer("study-outer", summarise([result, *UNEVEN[1:]]), RECORD, tmp_path)
    page = (tmp_path / "outer.html").read_text()

    assert "<b>FU" not in page and "&lt;b&gt;FU" in page
    assert "STAND-IN" in page and "<script" not in page and "http" not in page and "src=" not in page
    assert "STAND-IN" in (tmp_path / "outer.md").read_text()


def test_the_table_is_read_whole_on_a_terminal_of_80_columns():
    console = Console(width=80, file=io.StringIO())
    console.print(outer_rich_table(summarise(UNEVEN), RECORD))
    text = console.file.getvalue()

    assert all(len(line) <= 80 for line in text.splitlines()) and "…" not in text
    assert all(word in text for word in ("part", "people", "FER2013", "TFEID", "recommended", "nothing", "50 % frozen"))


# --- opened once


def confirmable_study() -> optuna.Study:
    study = optuna.create_study(directions=["maximize"] * 2)
    sizes = {
        side: {"name": side, "report": {"sizes": {"train": count}}}
        for side, count in zip(DOMAINS, (900, 100), strict=True)
    }
    options = {"space": "card", "lr": 0.01, "amount": 1.0}
    study.set_user_attr("study", {"options": options, "budget_epochs": 4.0} | sizes)
    study.add_trial(made_trial(0, config=to_flat(AdaptationConfig(frozen_layers=13))))
    return study


def test_a_test_that_was_cut_off_goes_on_without_opening_its_images_again():
    study = confirmable_study()
    planned = begin_evaluation(study, None)
    assert [job.named for job in planned.jobs] == ["BL"] and planned.evaluated is None

    opened = dataclasses.replace(planned, evaluated="2026-01-01T00:00:00")
    study.set_user_attr(CONFIRMATION_ATTRIBUTE, opened.to_json())
    assert begin_evaluation(study, None) == opened


@pytest.mark.parametrize("changes", [{"seeds": 5}, {"finished": "2026-01-02T00:00:00"}, {"jobs": []}], ids=str)
def test_test_images_that_were_opened_for_something_else_are_not_opened_again(changes):
    study = confirmable_study()
    opened = dataclasses.replace(begin_evaluation(study, None), evaluated="2026-01-01T00:00:00").to_json()
    study.set_user_attr(CONFIRMATION_ATTRIBUTE, opened | changes)

    with pytest.raises(InputError, match="were opened on 1 January 2026, 00:00 for something else"):
        begin_evaluation(study, None)


# --- the command

TRIALS = 5
OUTER = ["--data", "data", "--source", "large", "--target", "small", "--preset", "tiny", "--tracking-uri", "none"]
OUTER += ["--study", "mine", "--outer", "2", "--keep", "0", "--epochs", "40"]


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [*(folder / "runs").glob("mine-outer*/*.*"), *(folder / "runs").glob("mine-outer-*/models/*")]
    return {str(path): path.read_bytes() for path in paths if path.is_file() and not path.name.endswith(".lock")}


def people_of(folder: Path, study: str) -> dict[str, set[int]]:
    """Returns the people of each split of a study's target, as its record names it."""
    record = StudyRecord.from_json(json.loads((folder / "runs" / study / "study.json").read_text()))
    options = record.options | {"data": str(folder / "data"), "out": str(folder / "runs")}
    dataset = reopen_dataset(record.target, options)
    splits = {"train": dataset.open("train"), "validation": dataset.open("validation"), "test": dataset.open_test()}
    return {name: set(split.subjects.tolist()) for name, split in splits.items()}


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on_tests_every_person_once_and_repeats_nothing(tmp_path):
    write_bars(tmp_path / "data" / "large", people=20, images=14, seed=1, upright=False)
    write_bars(tmp_path / "data" / "small", people=12, images=28, seed=2, upright=True)
    storage = ["--storage", f"sqlite:///{tmp_path}/study.db"]
    words = [*OUTER, "--workers", "2", *storage]

    # Killed in the second search.
    process = command("run", *words, "--trials", str(TRIALS), folder=tmp_path)
    second = tmp_path / "runs" / "mine-outer-2" / "models"
    deadline = time.monotonic() + 300
    while not second.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    first = (tmp_path / "runs" / "mine-outer-1" / "trials.csv").read_bytes()

    # Started again.
    said = run("run", *words, "--trials", str(TRIALS), folder=tmp_path, seconds=600)
    assert "part 1 of 2 was tested" in said and "part 2 of 2 is tested" in said and "resuming mine-outer-2" in said
    assert (tmp_path / "runs" / "mine-outer-1" / "trials.csv").read_bytes() == first
    assert all(len(line) <= 80 for line in said[said.index("test accuracy in per cent") :].splitlines()[:10])

    # Every person is tested once, by a search that did not see them.
    tested: list[int] = []
    for number in (1, 2):
        assert len(pd.read_csv(tmp_path / "runs" / f"mine-outer-{number}" / "trials.csv")) == TRIALS
        people = people_of(tmp_path, f"mine-outer-{number}")
        assert not (people["train"] | people["validation"]) & people["test"]
        tested += people["test"]
    assert sorted(tested) == list(range(12))

    # What was recommended is what was tested, and it learned the target.
    rows = pd.read_csv(tmp_path / "runs" / "mine-outer" / "outer.csv")
    assert rows["images"].sum() == 12 * 28 and (rows["target_gain_lower"] > 0.2).all()
    for row in rows.itertuples():
        front = pd.read_csv(tmp_path / "runs" / row.study / "front.csv").set_index("role")
        assert row.model == front.loc["recommended", "model"]
        assert (tmp_path / "runs" / row.study / row.model).exists()

    # The same command again repeats nothing, and every part was opened by its search alone.
    before = files_of(tmp_path)
    again = run("run", *words, "--trials", str(TRIALS), folder=tmp_path)
    assert again.count("was tested") == 2 and "is tested" not in again and "test sets are opened" not in again
    assert files_of(tmp_path) == before
    evaluations = (tmp_path / "runs/.cache/test-evaluations").glob("*.jsonl")
    assert sorted(len(path.read_text().splitlines()) for path in evaluations) == [1, 1, 2]

    # A search that was tested has ended.
    refused = run("run", *words, "--trials", str(TRIALS + 1), folder=tmp_path, code=2)
    assert f"a search that was tested has ended; got mine-outer-1, which was: trials {TRIALS} → {TRIALS + 1}" in refused
    said = run("confirm", "mine-outer-1", *storage, folder=tmp_path, code=2)
    assert "tested on its own part of the people" in said
