"""Studies that were edited, damaged or interrupted: refused with a line, rebuilt, or reported without what is odd.

A part of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import copy
import dataclasses
import json
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from commands import command, run
from commands import study as run_study
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from made_study import FAILED, STOPPED, made_confirmed, made_info, made_study, made_trial, made_trials
from study import confirm, reading, reading_record, stored_values
from study.confirmation import plan
from study.confirmation.answers import answers_path, read_answers, write_answers
from study.confirmation.evaluations import evaluations_file, note_evaluation
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE, Confirmation, ConfirmationJob, InterpolationPoint
from study.confirmation.test_sets import describe_test_set
from study.fronts import front_table, hypervolume_over_trials
from study.record import DOMAINS, StudyRecord
from study.reporting import export, figures
from study.reporting.markdown_report import list_tables, render_markdown
from study.reporting.trial_details import collect_trial_details
from study.reporting.wording import UNKNOWN, evaluated_before
from study.search.early_stopping import vectors_at_rung
from study.storage.backend import load_study
from study.storage.slots import slot_owners
from study.tracking import payloads
from study.trials import objective_vectors, readable, trials_table

slow = pytest.mark.slow


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# What may stand where something else is expected.
ODD: dict[str, Any] = {
    "nothing": None, "a word": "word", "no word": "", "a number": 3, "a negative number": -1, "a truth": True,
    "not a number": float("nan"), "infinity": float("inf"), "a huge float": 1e308, "a huge number": 10**400,
    "a list": [1, "a"], "an empty list": [], "a dict": {"a": {"b": [1]}}, "an empty dict": {},
    "deep nesting": nested(400), "half a character": "\ud800", "a control character": "a\x1b[31m\n\0b",
    "a long text": "x" * 10**6, "lists in a list": [[[]], [{}], [None]],
}  # fmt: skip


def cases(*sides: Any, every: int) -> list[Any]:
    """Returns pytest's parameters for all pairs of places and odd values: each `every`-th by default, all if slow."""
    pairs = [(place, name) for place in sides for name in ODD]
    marks = [() if index % every == 0 else (slow,) for index in range(len(pairs))]
    return [
        pytest.param(place, ODD[name], id=f"{place}-{name}".replace(" ", "_"), marks=mark)
        for (place, name), mark in zip(pairs, marks, strict=True)
    ]


# A trial that is odd.

ATTRIBUTES = ("strategy", "config", "measures", "curve", "seconds", "reason", "confusion", "rung:0.500", "rung:x",
              "rung on the way:0.500", "twin_of", "key", "worker", "seed", "copy_of", "slot", "unheard of",
              "lost\ud800")  # fmt: skip
INNER = (
    ("config", "lr"), ("config", "frozen_layers"), ("config", "strategy"), ("config", "alpha"), ("config", "trial"),
    ("config", "a\ud800"), ("config", ""), ("config", "number"), ("measures", "source_val"), ("measures", "retention"),
    ("measures", "source_val/0.50"), ("measures", "source_val/x"), ("measures", "target_val/0.00+y"),
    ("measures", "source_val/0.50+1.00"), ("measures", "source_val@0.500"), ("measures", "source_val@x"),
    ("measures", "source_floor"), ("measures", "lr"), ("measures", "\x1b[31m"), ("measures", "retention_happy"),
    ("curve", "epoch"), ("curve", "loss"), ("curve", "\ud800"),
)  # fmt: skip


def sound_trials() -> list[Any]:
    """Five trials of every state, between which the odd one stands as number 2."""
    values = [(0.6, 0.3), (0.5, 0.5), (0.9, 0.9), (0.4, 0.6), (0.3, 0.2), (0.3, 0.3)]
    trials = [made_trial(number, values=pair) for number, pair in enumerate(values)]
    trials[3] = made_trial(3, STOPPED, reason="dominated")
    trials[4] = made_trial(4, FAILED, reason="no faces")
    return trials


def assert_others_are_reported(trials: list[Any]) -> None:
    """Asserts that every view of a study holds the trials besides number 2 as it does without that one."""
    without = trials_table([trial for trial in sound_trials() if trial.number != 2])
    kept = readable(trials).value
    table = trials_table(trials)
    others = table[table["number"] != 2]
    assert others["number"].tolist() == without["number"].tolist()
    for name in ("state", "source_val", "target_val", "reason", "seconds"):
        assert others[name].astype(object).where(others[name].notna(), None).tolist() == (
            without[name].astype(object).where(without[name].notna(), None).tolist()
        )

    # All of these are written at a study's end.
    info = made_info()
    assert table.to_csv(index=False).encode()
    assert front_table(table).to_csv(index=False).encode()
    assert json.dumps(collect_trial_details(StudyRecord.from_json(info), table, kept), allow_nan=False).encode()
    assert render_markdown(
        StudyRecord.from_json(info), table, list_tables(StudyRecord.from_json(info), table, None)
    ).encode()
    assert hypervolume_over_trials(table).max() <= 1
    assert all(
        len(vector) == 2 for trial in kept if trial.state.name == "COMPLETE" for vector in objective_vectors(trial)
    )
    for trial in kept:
        told = [
            *payloads.trial_tags(StudyRecord.from_json(info), trial, "parent").values(),
            *payloads.trial_params(trial).values(),
        ]
        assert "\n".join([payloads.trial_name(trial), *map(str, told)]).encode()
        assert all(isinstance(value, float) and -(2**63) < step < 2**63 for _, value, _, step in
                   payloads.trial_metrics(trial))  # fmt: skip
    assert payloads.search_metrics(table, StudyRecord.from_json(info))

    # And these are read while it goes on.
    assert {trial.number for trial in slot_owners(trials).values()} >= {0, 1}
    for vectors in vectors_at_rung(trials, 0.5, without=0):
        assert np.asarray(vectors, float).shape == (len(vectors), 2)


@pytest.mark.parametrize("name, value", cases(*ATTRIBUTES, every=12))
def test_an_odd_attribute_of_a_trial_takes_nothing_from_the_others(name, value):
    trials = sound_trials()
    trials[2].user_attrs[name] = value
    assert_others_are_reported(trials)


@pytest.mark.parametrize("name", ATTRIBUTES[:10])
def test_a_trial_without_one_of_its_attributes_is_reported(name):
    trials = sound_trials()
    trials[2].user_attrs.pop(name, None)
    assert_others_are_reported(trials)
    assert readable(trials).odd == []


@pytest.mark.parametrize("place, value", cases(*INNER, every=17))
def test_an_odd_entry_within_an_attribute_takes_nothing_from_the_others(place, value):
    trials = sound_trials()
    outer, inner = place
    held = trials[2].user_attrs[outer]
    (held[1] if outer == "curve" else held)[inner] = value
    assert_others_are_reported(trials)


@pytest.mark.parametrize(
    "values", [None, [0.5], [0.5] * 3, [math.nan, 0.5], [0.5, math.inf], [-0.1, 0.5], [1.5, 0.5], [1e308, 1e308],
               [10**400, 0.5], ["a", "b"], [True, 0.5], [None, None], [[0.5], [0.5]], [{}, {}]], ids=str,
)  # fmt: skip
def test_a_finished_trial_without_two_accuracies_counts_as_a_failed_one(values):
    trials = sound_trials()
    trials[2].values = values
    assert_others_are_reported(trials)
    row = trials_table(trials).set_index("number").loc[2]
    assert row["state"] == "failed" and row["reason"] == reading.UNREADABLE
    assert readable(trials).odd == ["trial 2 (objectives)"]


def test_what_is_sound_is_read_as_it_is():
    trials = made_trials(30)
    kept = readable(trials)
    assert all(one is other for one, other in zip(kept.value, trials, strict=True)) and kept.odd == []
    info, trials = made_confirmed()
    assert reading_record.readable_record(info).value == info and reading_record.readable_record(info).odd == []


def test_the_notice_names_what_was_left_out():
    trials = sound_trials()
    trials[2].user_attrs |= {"curve": 1, "seconds": "x"}
    trials[5].user_attrs["measures"]["retention"] = "\x1b[31m"
    said = stored_values.notice(readable(trials).odd)
    assert "2 entries" in said and "trial 2 (curve, seconds)" in said and "trial 5 (measures.retention)" in said
    many = stored_values.notice([f"trial {number} (curve)" for number in range(100)])
    assert "100 entries" in many and "and 92 more" in many and len(many) < 300


# A record that is odd.


def paths_in(value: Any, most: int = 4) -> Iterator[tuple[Any, ...]]:
    """Yields the path of every entry of nested dicts, and of the first and last of lists."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, list) and value:
        entries = [(0, value[0]), (len(value) - 1, value[-1])]
    for key, item in entries:
        yield (key,)
        if most > 1:
            for rest in paths_in(item, most - 1):
                yield (key, *rest)


def changed(info: dict, path: tuple[Any, ...], value: Any) -> dict:
    """Returns a copy in which another value stands at a path; with `paths_in` as value, in which nothing does."""
    result = copy.deepcopy(info)
    place: Any = result
    for key in path[:-1]:
        place = place[key]
    if value is paths_in:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return result


def rich_info() -> dict[str, Any]:
    """A confirmed study's record with options that few studies have."""
    info = copy.deepcopy(made_confirmed()[0])
    info["options"] |= {"reference": [0.1, 0.1], "folds": 3, "min_retention": 0.9}
    return info


def record_cases(every: int) -> list[Any]:
    """Returns each place of a confirmed study's record with one odd value or none, the values taken in turn."""
    info = rich_info()
    values = {"missing": paths_in, **ODD}
    names = list(values)
    found = []
    for index, path in enumerate(paths_in(info)):
        name = names[(7 * index) % len(names)]
        mark = () if index % every == 0 else (slow,)
        where = ".".join(map(str, path))
        found.append(pytest.param(path, values[name], id=f"{where}-{name}".replace(" ", "_"), marks=mark))
    return found


@pytest.fixture
def export_to(tmp_path, monkeypatch):
    """Exports without pictures, which take seconds."""
    monkeypatch.setattr(figures, "draw_figures", lambda info, table, trials: ({}, {"pareto": "not drawn here"}))

    def write(info: Any, trials: list[Any]) -> Path:
        folder = tmp_path / "exported"
        export.export(info, trials, folder)
        assert export.is_exported(trials, folder)
        return folder

    return write


@pytest.mark.parametrize("path, value", record_cases(every=70))
def test_an_odd_record_is_reported_without_what_is_odd(path, value, export_to):
    info, trials = changed(rich_info(), path, value), made_confirmed()[1][:8]
    folder = export_to(info, trials)
    assert len(pd.read_csv(folder / "trials.csv")) == 8
    assert "8 trials" in (folder / "report.md").read_text(encoding="utf-8")
    record = StudyRecord.from_json(reading_record.readable_record(info).value)
    told = [*payloads.study_tags(record).values(), *payloads.study_params(record).values()]
    assert "\n".join(told).encode()
    assert all(isinstance(value, float) for _, value, *_ in payloads.baseline_metrics(record))
    assert all(math.isfinite(value) for _, value, *_ in payloads.confirmed_metrics(record))
    assert all("\n".join(fields.values()).encode() for _, fields in payloads.datasets(record))


@pytest.mark.parametrize("value", [None, [{}], {"a": nested(400)}], ids=lambda value: str(value)[:20])
def test_a_record_that_is_none_at_all_is_reported(value, export_to):
    assert (export_to(value, made_trials(8)) / "report.html").stat().st_size


OPTIONS = ("reference", "folds", "min_retention", "space", "amount", "seed", "trials")


@pytest.mark.parametrize("name, value", cases(*OPTIONS, every=50))
def test_an_odd_option_is_reported_without_it(name, value, export_to):
    folder = export_to(made_info(options={"space": "card", name: value}), made_trials(8))
    assert (folder / "report.html").stat().st_size


def test_half_of_a_confirmation_is_left_out_as_a_whole_and_said(export_to, capsys):
    info, trials = rich_info(), made_confirmed()[1][:8]
    del info["confirmation"]["results"]["points"][1]["target_test"]
    folder = export_to(info, trials)
    assert not (folder / "confirm.csv").exists() and "the study's confirmation" in capsys.readouterr().err
    assert "the study's confirmation" in (folder / "report.md").read_text(encoding="utf-8")


# A record that a training needs.


def whole_record(**changes: Any) -> dict[str, Any]:
    baseline = {"file": "b.safetensors", "digest": "abc", "device": "cpu", "precision": "fp32", "source_val": 0.6}
    options = {
        "space": "card", "sampler": "random", "seed": 0, "preset": "tiny", "early_stop": "on", "interpolate": "on",
        "lr": 0.01, "amount": 1.0, "equalise": False, "keep_duplicates": False, "data": None,
    }  # fmt: skip
    return made_info(baseline=baseline, options=options, budget_epochs=4.0, **changes)


def test_a_whole_record_is_taken():
    assert reading_record.required_record(whole_record(), "made") == whole_record()


@pytest.mark.parametrize("odd", ["missing", "a list"])
@pytest.mark.parametrize("path", reading_record._REQUIRED, ids=".".join)
def test_training_needs_a_whole_record(path, odd):
    info = changed(whole_record(), path, paths_in if odd == "missing" else ["x"])
    with pytest.raises(InputError, match="record") as refused:
        reading_record.required_record(info, "made")
    assert ".".join(path) in str(refused.value) and "\n" not in str(refused.value)


# Exports that are empty or damaged are written again.


def test_whole_exports_are_taken_as_they_are(export_to):
    trials = made_trials(8)
    folder = export_to(made_info(), trials)
    assert export.is_exported(trials, folder) and not export.is_exported(made_trials(9), folder)


DAMAGES = {
    "missing": None, "empty": b"", "cut": 0.5, "no text": b"\xff\xfe\x00\x80" * 50, "zeros": bytes(4096),
    "another table": b"a,b\n1,2\n", "only a head": b"number,state\n", "unclosed quotes": b'number\n"1\n2',
    "words": b"number\na\nb\n", "a folder": "folder",
}  # fmt: skip


def damage(path: Path, how: Any) -> None:
    """Replaces a file by what is named in DAMAGES."""
    content = path.read_bytes() if path.exists() else b"x" * 200
    path.unlink(missing_ok=True)
    if how == "folder":
        path.mkdir()
    elif isinstance(how, float):
        path.write_bytes(content[: int(how * len(content))])
    elif how is not None:
        path.write_bytes(how)


@pytest.mark.parametrize("name", ["trials.csv", "report.html"])
@pytest.mark.parametrize("how", DAMAGES.values(), ids=list(DAMAGES))
def test_damaged_exports_are_not_taken_for_whole(name, how, tmp_path):
    trials = made_trials(3)
    (tmp_path / "trials.csv").write_text(trials_table(trials).to_csv(index=False))
    (tmp_path / "report.html").write_bytes(b"<html>" + bytes(100) + export.END_OF_REPORT)
    assert export.is_exported(trials, tmp_path)
    damage(tmp_path / name, how)
    assert not export.is_exported(trials, tmp_path)


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


# A refused confirmation leaves the test sets closed.


@pytest.fixture
def stored(tmp_path):
    """A study with a whole record in a journal; returns its output folder."""
    folder = tmp_path / "runs" / "made"
    folder.mkdir(parents=True)
    trials = sound_trials()
    study = made_study(trials, JournalStorage(JournalFileBackend(str(folder / "journal.log"))))
    study.set_user_attr("study", whole_record(name="made"))
    return folder.parent


REFUSED = [
    ["--seeds", "0"], ["--seeds", "-1"], ["--seeds", "1000000000"], ["--seeds", "1001"], ["--workers", "0"],
    ["--workers", "-3"], ["--workers", "1000000"], ["--device", "tpu"], ["--device", ""], ["--device", "cuda:0"],
    ["--device", "cuda"], ["--device", "cuda:99"], ["--device", "cuda:²"], ["--device", "cpu:0"],
    ["--device", "cuda:" + "9" * 5000], ["--device", "\x1b[31m"],
]  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: " ".join(words)[:24].encode("unicode_escape").decode())
def test_a_refused_confirmation_leaves_the_test_sets_closed(words, stored, capsys, monkeypatch):
    monkeypatch.setattr("study.machine.gpu_count", lambda: 0)
    assert confirm.main(["made", "--out", str(stored), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "\x1b" not in said and len(said) < 1000
    assert CONFIRMATION_ATTRIBUTE not in load_study("made", stored, None).user_attrs
    assert not (stored / ".cache" / "test-evaluations").exists()


@pytest.mark.parametrize("words", [["--part", "99"], ["--parent", "1"], ["--seeds", "x"], ["--seeds", "²"]], ids=str)
def test_words_that_are_no_options_are_refused(words, stored):
    with pytest.raises(SystemExit) as ended:
        confirm.main(["made", "--out", str(stored), *words])
    assert ended.value.code == 2


@pytest.mark.parametrize("known", [1, "x", [], {}, {"opened": 3}, {"opened": "then", "seeds": 5, "jobs": [{}]},
                                   {"opened": "then", "seeds": 5, "jobs": 7}, {"seeds": 5, "jobs": [], "earlier": 3},
                                   {"opened": "then", "seeds": 5, "finished": "now"}], ids=str)  # fmt: skip
def test_an_odd_opening_counts_as_one(known, stored):
    study = load_study("made", stored, None)
    study.set_user_attr(CONFIRMATION_ATTRIBUTE, known)
    with pytest.raises(InputError, match="opened once"):
        plan.begin_confirmation(study, 5, again=False)
    assert study.user_attrs[CONFIRMATION_ATTRIBUTE] == known  # nothing is recorded yet


def test_a_trial_that_cannot_be_trained_again_does_not_keep_the_others_from_it(capsys):
    from fer.config import AdaptationConfig, to_flat

    values = [(0.99, 0.1), (0.1, 0.99), (0.7, 0.7)]
    trials = [made_trial(number, values=pair, config=to_flat(AdaptationConfig(lr=0.001 * (number + 1))))
              for number, pair in enumerate(values)]  # fmt: skip
    trials[1].user_attrs["config"]["lr"] = "fast"
    trials[2].user_attrs["config"]["optimiser"] = 7
    study = made_study(trials)
    study.set_user_attr("study", whole_record())
    jobs = plan.plan_jobs(study)
    assert [job.name for job in jobs if job.name.startswith("trial")] == ["trial 0"]
    said = capsys.readouterr().err
    assert "trial 1 cannot be confirmed" in said and "trial 2 cannot be confirmed" in said
    stored = json.loads(json.dumps(Confirmation(2, jobs).to_json()))
    assert Confirmation.from_json(stored) == Confirmation(2, jobs)


# Kept answers.


def some_opening() -> Confirmation:
    points = (InterpolationPoint(1.0, 0.0), InterpolationPoint(0.5, 0.0, front=True))
    jobs = tuple(ConfirmationJob("BL", "BL", "BL", {"lr": lr}, points) for lr in (0.1, 0.2))
    return Confirmation(2, jobs, evaluated="2026-01-01T00:00:00+00:00")


def some_answers() -> dict[str, np.ndarray]:
    answers: dict[str, np.ndarray] = {}
    for side in DOMAINS:
        answers[f"{side}-val-labels"] = np.zeros(5, int)
        for place in (0, 1):
            answers[f"{side}-{place}"] = np.ones((9, len(EXPRESSIONS)), np.float32)
            answers[f"{side}-val-{place}"] = np.ones((5, len(EXPRESSIONS)), np.float32)
    return answers


def test_whole_answers_are_read_as_they_were_written(tmp_path):
    write_answers(tmp_path, some_opening(), 0, 0, some_answers())
    found = read_answers(tmp_path, some_opening(), 0, 0)
    assert found is not None and all((found[name] == values).all() for name, values in some_answers().items())


@pytest.mark.parametrize("how", [*DAMAGES.values(), 0.1, 0.9, 0.99, "fifo", "link", "flipped", "pickle"], ids=str)
def test_damaged_answers_are_trained_again(how, tmp_path):
    opening = some_opening()
    write_answers(tmp_path, opening, 0, 0, some_answers())
    path = answers_path(tmp_path, opening, 0, 0)
    if how == "fifo":
        path.unlink()
        os.mkfifo(path)
    elif how == "link":
        path.unlink()
        path.symlink_to(path)
    elif how == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 16
        path.write_bytes(content)
    elif how == "pickle":
        np.savez(path, mark=np.array({"a": 1}, dtype=object))
    else:
        damage(path, how)
    assert read_answers(tmp_path, opening, 0, 0) is None


FOREIGN: dict[str, dict[str, Any]] = {
    "another opening": {"evaluated": "2026-01-01T00:00:00+00:0"}, "other test images": {"test_sets": {"target": "x"}},
}  # fmt: skip


@pytest.mark.parametrize("change", FOREIGN.values(), ids=list(FOREIGN))
def test_answers_of_another_opening_are_trained_again(change, tmp_path):
    theirs = dataclasses.replace(some_opening(), **change)
    write_answers(tmp_path, theirs, 0, 0, some_answers())
    answers_path(tmp_path, theirs, 0, 0).rename(answers_path(tmp_path, some_opening(), 0, 0))
    assert read_answers(tmp_path, some_opening(), 0, 0) is None


@pytest.mark.parametrize("training", [(1, 0), (0, 1), (1, 1)], ids=str)
def test_answers_of_another_training_are_trained_again(training, tmp_path):
    opening = some_opening()
    write_answers(tmp_path, opening, *training, some_answers())
    answers_path(tmp_path, opening, *training).rename(answers_path(tmp_path, opening, 0, 0))
    assert read_answers(tmp_path, opening, 0, 0) is None


@pytest.mark.parametrize("name", some_answers())
def test_answers_without_a_part_are_trained_again(name, tmp_path):
    answers = some_answers()
    del answers[name]
    write_answers(tmp_path, some_opening(), 0, 0, answers)
    assert read_answers(tmp_path, some_opening(), 0, 0) is None


# Who evaluated the test images before.


def entry(study: str, opened: str = "then") -> dict[str, str]:
    return {"study": study, "id": f"id of {study}", "opened": opened}


def test_evaluations_are_counted_by_the_images_whatever_the_study_is_called(tmp_path):
    assert note_evaluation(tmp_path, "d1", entry("a")) == []
    assert note_evaluation(tmp_path, "d1", entry("a")) == []  # the same one goes on
    assert note_evaluation(tmp_path, "d1", entry("b")) == [entry("a")]
    assert note_evaluation(tmp_path, "d1", entry("a", "again")) == [entry("a"), entry("b")]
    assert note_evaluation(tmp_path, "d2", entry("c")) == []


LINES = ["", "x", "{}", "[]", "null", "7", '{"study": 1, "id": "", "opened": ""}', "[" * 10**5, '{"study": "a"',
         "\ud800", "\x00\x1b[31m"]  # fmt: skip


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line)[:20])
def test_a_damaged_entry_still_counts(line, tmp_path):
    note_evaluation(tmp_path, "d", entry("a"))
    with evaluations_file(tmp_path, "d").open("ab") as file:
        file.write(line.encode("utf-8", "surrogatepass") + b"\n")
    before = note_evaluation(tmp_path, "d", entry("b"))
    assert [known["study"] for known in before] == (["a", UNKNOWN] if line else ["a"])
    info = made_info(confirmation={"test_sets": {"target": {"evaluated_before": before}}})
    said = evaluated_before(StudyRecord.from_json(info))
    assert f"evaluated {'2 times' if line else 'once'} before" in said and said.isprintable()


NOBODY = [None, 3, "x", [], {}, {"target": 3}, {"target": {}}, {"source": {"evaluated_before": 3}},
          {"target": {"evaluated_before": []}}]  # fmt: skip


@pytest.mark.parametrize("sets", NOBODY, ids=str)
def test_nothing_is_said_where_nothing_was_evaluated_before(sets):
    assert evaluated_before(StudyRecord.from_json(made_info(confirmation={"test_sets": sets}))) == ""


def test_earlier_evaluations_are_said_in_the_report(export_to):
    info, trials = rich_info(), made_confirmed()[1][:8]
    info["confirmation"]["test_sets"] = {"target": {"evaluated_before": [entry("first"), entry("second")]}}
    folder = export_to(info, trials)
    for name in ("report.html", "report.md", "tables.tex"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "evaluated 2 times before in this output folder, by the studies first, second" in text


def test_test_images_are_recognised_in_any_order_and_told_from_others(target):
    class Reordered:
        name = "other"

        def __init__(self, split: Any) -> None:
            self.split = split

        def open_test(self) -> Any:
            return self.split

    split = target.open_test()
    mine = describe_test_set(target)
    assert mine["images"] == len(split) and mine["dataset"] == target.name
    turned = dataclasses.replace(split, images=split.images[::-1], labels=split.labels[::-1])
    assert describe_test_set(Reordered(turned))["digest"] == mine["digest"]
    fewer = dataclasses.replace(split, images=split.images[1:])
    assert describe_test_set(Reordered(fewer))["digest"] != mine["digest"]
    assert describe_test_set(target.divided(1, 3, 5))["digest"] == mine["digest"]


# With real commands.

NAME = "small"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished study; returns the folder that holds its runs/."""
    folder = tmp_path_factory.mktemp("finished")
    run_study(folder, "--trials", "6", "--study", NAME, "--tracking-uri", "none", "--workers", "1")
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the study that a test may harm, with a baseline of its own."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    study = load_study(NAME, tmp_path / "runs", None)
    record = study.user_attrs["study"]
    path = tmp_path / "runs" / ".cache" / "baselines" / Path(record["baseline"]["file"]).name
    study.set_user_attr("study", record | {"baseline": record["baseline"] | {"file": str(path)}})
    return tmp_path


def confirmation(folder: Path) -> dict[str, Any] | None:
    return load_study(NAME, folder / "runs", None).user_attrs.get(CONFIRMATION_ATTRIBUTE)


def confirmed(folder: Path, *words: str, code: int = 0) -> str:
    return run("confirm", NAME, "--seeds", "2", "--workers", "1", *words, folder=folder, code=code)


@slow
def test_two_processes_with_one_seed_confirm_the_same_figures(finished, tmp_path):
    figures = []
    for number, workers in enumerate(("1", "2")):
        folder = tmp_path / str(number)
        shutil.copytree(finished / "runs", folder / "runs")
        said = run("confirm", NAME, "--seeds", "2", "--workers", workers, folder=folder)
        assert f"in {workers} processes" in said
        figures.append((folder / "runs" / NAME / "confirm.csv").read_bytes())
    assert figures[0] == figures[1]
    rows = pd.read_csv(tmp_path / "0" / "runs" / NAME / "confirm.csv")
    adapted = rows[rows["strategy"] != "BL"]  # no seed changes the baseline, which has no mean over seeds
    assert adapted[["source_val_again", "target_val_again"]].notna().all(axis=None)
    assert rows[["target_lower", "target_upper"]].notna().all(axis=None)


@slow
@pytest.mark.parametrize("name", ["trials.csv", "report.html"])
@pytest.mark.parametrize("how", ["empty", "zeros", "no text"])
def test_a_study_with_a_damaged_export_goes_on_and_writes_it_again(name, how, copied):
    whole = (copied / "runs" / NAME / name).read_bytes()
    damage(copied / "runs" / NAME / name, DAMAGES[how])
    run_study(copied, "--trials", "6", "--study", NAME, "--tracking-uri", "none", "--workers", "1")
    assert len((copied / "runs" / NAME / name).read_bytes()) == pytest.approx(len(whole), rel=0.1)


@slow
def test_a_study_whose_models_are_a_file_is_refused_with_a_line(copied):
    shutil.rmtree(copied / "runs" / NAME / "models", ignore_errors=True)
    (copied / "runs" / NAME / "models").write_text("x")
    words = ("--target", "tfeid", "--preset", "tiny", "--trials", "7", "--study", NAME, "--tracking-uri", "none")
    assert "models" in run("run", *words, folder=copied, code=2)
    assert "models" in confirmed(copied, code=2) and confirmation(copied) is None


@slow
def test_an_odd_trial_in_a_journal_is_named_and_the_others_are_reported(copied):
    odd = {"measures": [1], "curve": "x", "config": 7, "confusion": {"source": 3}}
    journal = copied / "runs" / NAME / "journal.log"
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    for each in entries:
        for name in each.get("user_attr", {}):
            if each.get("trial_id") == 1 and name in odd:
                each["user_attr"][name] = odd[name]
    journal.write_text("".join(json.dumps(each) + "\n" for each in entries))
    said = run("report", NAME, folder=copied)
    assert "warning: 1 entry of the storage cannot be read and were left out: trial 1 (" in said
    assert len(pd.read_csv(copied / "runs" / NAME / "trials.csv")) == 6


@slow
@pytest.mark.parametrize("what", ["baseline missing", "baseline empty", "dataset missing", "dataset damaged"])
def test_what_a_confirmation_needs_is_made_again(what, copied):
    cache = copied / "runs" / ".cache"
    (weights,) = (cache / "baselines").glob("*.safetensors")
    (dataset,) = (cache / "datasets").glob("tfeid-*")
    if what == "baseline missing":
        weights.unlink()
    elif what == "baseline empty":
        weights.write_bytes(b"")
    elif what == "dataset missing":
        shutil.rmtree(dataset)
    else:
        labels = dataset / "test.labels.npy"
        content = bytearray(labels.read_bytes())
        content[-8] ^= 1
        labels.write_bytes(content)
    said = confirmed(copied)
    assert ("trained again" in said) == what.startswith("baseline")
    assert (confirmation(copied) or {})["finished"]


@slow
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "foreign"])
def test_a_confirmation_goes_on_after_a_crash_whatever_became_of_its_answers(how, copied):
    process = command("confirm", NAME, "--seeds", "2", "--workers", "1", folder=copied)
    folder = copied / "runs" / NAME / "confirm"
    until = time.monotonic() + 120
    while len(list(folder.glob("*.npz"))) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(1.5)  # its processes end with it
    begun = confirmation(copied)
    assert begun and "finished" not in begun
    first, second, *_ = sorted(folder.glob("*.npz"))
    if how == "foreign":
        shutil.copy(second, first)
    else:
        damage(first, DAMAGES[how])
    said = confirmed(copied)
    after = confirmation(copied) or {}
    assert after["opened"] == begun["opened"] and after["finished"] and "before" not in said
    assert evaluations_file(copied / "runs", after["test_sets"]["target"]["digest"]).read_text().count("\n") == 1


@slow
def test_a_refused_command_leaves_the_test_sets_closed_and_the_same_images_are_counted_under_another_name(copied):
    for words in (["--device", "tpu"], ["--seeds", "1000000000"], ["--workers", "0"]):
        assert run("confirm", NAME, *words, folder=copied, code=2).startswith("error: ")
    weights = copied / "other.safetensors"
    study = load_study(NAME, copied / "runs", None)
    record = study.user_attrs["study"]
    weights.write_bytes(b"no network")
    own = record["options"] | {"baseline": str(weights)}
    study.set_user_attr("study", record | {"options": own, "baseline": record["baseline"] | {"file": str(weights)}})
    assert "error: " in confirmed(copied, code=2)  # found out by the process that trains
    assert confirmation(copied) is None and not (copied / "runs" / ".cache" / "test-evaluations").exists()

    study.set_user_attr("study", record)
    assert "evaluated" not in confirmed(copied)
    run_study(copied, "--trials", "6", "--study", "other", "--tracking-uri", "none", "--workers", "1", "--confirm", "1")
    for name in ("report.html", "report.md"):
        text = (copied / "runs" / "other" / name).read_text(encoding="utf-8")
        assert f"evaluated once before in this output folder, by the study {NAME}." in text
    theirs = load_study("other", copied / "runs", None).user_attrs[CONFIRMATION_ATTRIBUTE]["test_sets"]
    assert [before["study"] for before in theirs["target"]["evaluated_before"]] == [NAME]
