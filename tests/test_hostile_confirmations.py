"""A refused confirmation leaves the test sets closed; kept answers are whole and its own; evaluations are counted."""

import dataclasses
import json
import os
from typing import Any

import numpy as np
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from fer.config import AdaptationConfig, to_flat
from fer.errors import InputError
from fer.expressions import EXPRESSIONS
from hostile import DAMAGES, damage, flipped
from made_study import made_confirmed, made_info, made_study, made_trial, rich_info, sound_trials, whole_record
from study import confirm
from study.confirmation import plan
from study.confirmation.answers import answers_path, read_answers, write_answers
from study.confirmation.evaluations import evaluations_file, note_evaluation
from study.confirmation.jobs import CONFIRMATION_ATTRIBUTE, Confirmation, ConfirmationJob, InterpolationPoint
from study.confirmation.test_sets import describe_test_set
from study.record import DOMAINS, StudyRecord
from study.reporting.wording import UNKNOWN, evaluated_before
from study.storage.backend import load_study


@pytest.fixture
def stored(tmp_path):
    """A study with a whole record in a journal; returns its output folder."""
    folder = tmp_path / "runs" / "made"
    folder.mkdir(parents=True)
    study = made_study(sound_trials(), JournalStorage(JournalFileBackend(str(folder / "journal.log"))))
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
    trials = []
    for number, pair in enumerate([(0.99, 0.1), (0.1, 0.99), (0.7, 0.7)]):
        config = AdaptationConfig(lr=0.001 * (number + 1))
        trials.append(made_trial(number, values=pair, config=to_flat(config)))
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

    assert found is not None
    for name, values in some_answers().items():
        assert (found[name] == values).all()


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
        content = path.read_bytes()
        path.write_bytes(flipped(content, len(content) // 3, bit=4))
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

    # An empty line is no entry.
    studies, times = (["a", UNKNOWN], "2 times") if line else (["a"], "once")
    assert [evaluation["study"] for evaluation in before] == studies
    info = made_info(confirmation={"test_sets": {"target": {"evaluated_before": before}}})
    said = evaluated_before(StudyRecord.from_json(info))
    assert f"evaluated {times} before" in said and said.isprintable()


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
