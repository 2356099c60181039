"""Studies with other expressions than the seven: options, records, measures, reports, and whole runs."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import made_faces
from commands import QUICK, run
from fer.datasets import DatasetReport
from fer.errors import InputError
from fer.expressions import EIGHT, EXPRESSIONS, SEVEN, ExpressionSet, read_expressions
from fer.model import weights
from fer.model.vgg import build
from hostile import ODD
from made_answers import World
from made_study import made_confirmed, made_info, made_trials, whole_record
from study import api, datasets
from study.fronts import front_border
from study.option_parsers import options_from, parse_options
from study.options import StudyOptions, study_name
from study.pipeline.prepare import check_before_reading
from study.pipeline.resume import _check_same_expressions
from study.reading_record import readable_record, required_record
from study.record import DOMAINS, StudyRecord
from study.reporting.confusion_figure import ConfusionFigure, ConfusionPanel
from study.reporting.dead_expressions import describe_dead_expressions
from study.reporting.matplotlib_plots import draw_plot
from study.reporting.trial_details import collect_trial_details
from study.reporting.wording import describe_unmet_labels
from study.tracking.models import network_signature
from study.trials import describe_reference, hypervolume_reference, trials_table
from study.tuning.plan import SearchPlan
from study.tuning.recommendation_rule import find_dead_expressions
from study.tuning.summary import compare_expressions

VALENCE = (
    "\ufefflabel;expression\r\nhappy;positive\r\nsurprise;positive\r\nanger;negative\r\ndisgust;negative\r\n"
    "fear;negative\r\nsadness;negative\r\ncontempt;negative\r\nneutral;neutral\r\n"
)
"""As a spreadsheet saves it."""
OWN = ExpressionSet(("low", "mid", "high"), (("calm", 0), ("happy", 1), ("anger", 2)))


def write_valence(folder: Path) -> str:
    path = folder / "valence.csv"
    path.write_bytes(VALENCE.encode())
    return str(path)


def record_of(expressions: ExpressionSet, **changes: Any) -> StudyRecord:
    return StudyRecord.from_json(made_info(expressions=expressions.to_json(), **changes))


# Options.


@pytest.mark.parametrize("asked", ["7", "8", "own.csv"])
def test_expressions_are_an_option_of_the_command_and_of_python(asked):
    parsed = parse_options(["--target", "jaffe", "--expressions", asked])
    assert parsed.expressions == options_from(target="jaffe", expressions=asked).expressions == asked
    assert options_from(target="jaffe", expressions=8).expressions == "8"


def test_a_study_that_says_nothing_has_the_seven():
    assert StudyOptions("jaffe").expressions == "7"
    assert StudyOptions.from_json({"target": "jaffe"}).expressions == "7"


@pytest.mark.parametrize(
    ("asked", "part"), [("7", ""), ("8", "expressions8-"), ("a/b c;d.csv", "b-c-d-"), ("é" * 300, "-" * 40 + "-")]
)
def test_other_expressions_give_a_study_another_name(asked, part):
    options = StudyOptions("tfeid", expressions=asked, preset="tiny")
    assert study_name(options, "fer2013", "tfeid", False) == f"fer2013-tfeid-{part}card-tiny"


def test_a_file_that_breaks_a_rule_is_refused_before_anything_is_read(tmp_path):
    options = StudyOptions("tfeid", expressions=str(tmp_path / "absent.csv"))
    with pytest.raises(InputError, match="--expressions is 7, 8, or"):
        check_before_reading(options)


def test_datasets_are_shown_with_the_expressions_that_are_asked_for(tmp_path, capsys):
    made_faces.ck48(tmp_path / "data" / "ckplus")
    words = ["ckplus", "--data", str(tmp_path / "data"), "--out", str(tmp_path)]

    assert datasets.main([*words, "--expressions", "8"]) == 0
    shown = capsys.readouterr().out
    assert "contempt" in shown and "no training image of neutral" in shown

    assert datasets.main([*words, "--expressions", write_valence(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "positive" in shown and "negative" in shown and "contempt" not in shown
    assert len(list((tmp_path / "datasets").glob("*.png"))) == 2


def test_a_misspelt_label_is_told_in_one_line_where_no_dataset_that_is_named_has_it(tmp_path, capsys):
    made_faces.ck48(tmp_path / "data" / "ckplus")
    made_faces.plain_folders(tmp_path / "data" / "mine")
    file = tmp_path / "own.csv"
    file.write_text("label,expression\nhapy,good\nsurprise,good\nanger,bad\nsadness,bad\ncontempt,bad\n")
    words = ["--data", str(tmp_path / "data"), "--out", str(tmp_path), "--expressions", str(file)]

    # The second time it is known from what was prepared.
    for _ in range(2):
        assert datasets.main(["ckplus", *words]) == 0
        told = [line for line in capsys.readouterr().out.splitlines() if "no image of" in line]
        assert told == ["notice: no image of CK+ has this label of own.csv: hapy (did you mean happy?)"]

    # What one dataset lacks another may have.
    assert datasets.main(["jaffe", "--data-kind", "synthetic", *words]) == 0
    assert "has these labels of own.csv: hapy (did you mean happy?), contempt" in capsys.readouterr().out
    assert datasets.main(["ckplus", "mine", *words]) == 0
    assert "no image of CK+ or mine has this label" in capsys.readouterr().out
    assert datasets.main(["ckplus", *words[:4]]) == 0
    assert "no image of" not in capsys.readouterr().out


def test_many_labels_that_no_image_has_are_counted_and_what_nobody_knows_is_not_told(tmp_path):
    file = tmp_path / "own.csv"
    lines = "".join(f"code {number},{'good' if number % 2 else 'bad'}\n" for number in range(12))
    file.write_text(f"label,expression\n{lines}")
    own = read_expressions(str(file))
    report = DatasetReport(labels=["code 3", "x" * 300])

    told = describe_unmet_labels(own, {"JAFFE": report}, str(file))

    assert told == "no image of JAFFE has these labels of own.csv: code0, code1, code2, code4, code5, and 6 more"
    assert describe_unmet_labels(own, {"JAFFE": report, "MUG": DatasetReport()}, str(file)) == ""


# Records.


@pytest.mark.parametrize("expressions", [SEVEN, EIGHT, OWN], ids=len)
def test_a_record_keeps_the_expressions_of_a_study(expressions):
    record = StudyRecord.from_json(json.loads(json.dumps(record_of(expressions).to_json())))

    assert record.expressions == expressions
    assert ("expressions" in record.to_json()) == (expressions != SEVEN)
    assert SearchPlan.of(record).expressions == expressions
    assert hypervolume_reference(record) == (1 / len(expressions),) * 2
    assert describe_reference(record) == f"chance (1/{len(expressions)}, 1/{len(expressions)})"


def test_a_record_without_the_entry_has_the_seven():
    assert StudyRecord.from_json(made_info()).expressions == SEVEN


@pytest.mark.parametrize("value", [value for value in ODD.values() if value != {}], ids=lambda value: repr(value)[:20])
def test_odd_expressions_of_a_record_are_left_out_of_a_report_and_refused_for_training(value):
    reading = readable_record(made_info(expressions=value))

    assert value is None or "expressions" in reading.odd
    assert StudyRecord.from_json(reading.value).expressions == SEVEN
    assert required_record(whole_record(), "n")
    with pytest.raises(InputError, match="expressions odd"):
        required_record(whole_record() | {"expressions": value}, "n")


@pytest.mark.parametrize("size", [7, 3])
def test_matrices_of_another_number_of_expressions_are_left_out(size):
    info = made_info(expressions=OWN.to_json())
    info["baseline"]["confusion"] = {domain: np.ones((size, size)).tolist() for domain in DOMAINS}

    reading = readable_record(copy.deepcopy(info))

    assert ("baseline.confusion" in reading.odd) == (size != 3)
    assert ("confusion" in reading.value["baseline"]) == (size == 3)


def test_a_page_shows_no_matrix_of_another_number_of_expressions():
    _, trials = made_confirmed()
    table = trials_table(trials)

    of_seven = collect_trial_details(record_of(SEVEN), table, trials)
    of_three = collect_trial_details(record_of(OWN), table, trials)

    assert of_three["expressions"] == list(OWN.names)
    assert any(trial["confusion"] for trial in of_seven["trials"].values())
    assert not any(trial["confusion"] for trial in of_three["trials"].values())
    assert {len(trial["retention"]) for trial in of_three["trials"].values()} == {3}


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (SEVEN, EIGHT, "neutral, contempt in place of anger"),
        (OWN, SEVEN, "in place of low, mid, high"),
        (OWN, replace(OWN, labels=OWN.labels[::-1]), "the same, low, mid, high, of other labels"),
        (OWN, replace(OWN, names=OWN.names[::-1]), "high, mid, low in place of low, mid, high"),
    ],
)
def test_a_study_does_not_go_on_with_other_expressions(before, now, told):
    with pytest.raises(InputError) as caught:
        _check_same_expressions(record_of(before), record_of(now))
    assert told in str(caught.value) and str(caught.value).isprintable()
    _check_same_expressions(record_of(before), record_of(before))


# What is computed and shown.


def test_what_has_died_follows_the_number_of_expressions():
    # Of 30 images of one expression the baseline has all, the network 5: above chance of eight, below that of three.
    world = World(0, people=6, images=120, trials=1, folds=1)
    comparison = world.compare([(0, 0, 0)])
    labels = np.where(np.arange(len(world.target.labels)) < 30, 2, 0)
    evaluation = comparison.evaluations[0]
    right = np.ones(len(labels), bool)
    right[5:30] = False
    target = replace(comparison.target, labels=labels, baseline_right=np.ones(len(labels), bool))
    same = replace(comparison.source, baseline_right=evaluation.source_right)
    changed = replace(comparison, target=target, source=same, evaluations=[replace(evaluation, target_right=right)])

    assert find_dead_expressions(changed, expressions=EIGHT)[0] == ()
    assert find_dead_expressions(changed, expressions=OWN)[0] == ("high",)
    changes = compare_expressions(changed, 0, ("high",), OWN.names)
    (of_high,) = (change for change in changes if change.domain == "target" and change.expression == "high")
    assert of_high.images == 30 and of_high.has_died and of_high.after == pytest.approx(5 / 30)


def test_a_dead_expression_is_told_with_the_chance_of_the_studys_expressions():
    before = {f"{domain}_recall_{name}": 0.9 for domain in DOMAINS for name in OWN.names}
    info = made_info(expressions=OWN.to_json())
    info["baseline"]["measures"] = before
    record = StudyRecord.from_json(info)

    told = describe_dead_expressions(record, "models/none", before | {"target_recall_high": 0.3})

    assert "high has died" in told and "Guessing has 33.3 %." in told
    assert describe_dead_expressions(record, "models/none", before | {"target_recall_high": 0.34}) == ""


def test_areas_are_measured_from_the_chance_of_the_studys_expressions():
    front = pd.DataFrame({"source_val": [0.6], "target_val": [0.7]})
    for chance in (1 / 8, 1 / 3):
        border = front_border(front, chance)
        assert border[0, 0] == border[-1, 1] == pytest.approx(100 * chance)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_a_model_in_mlflow_has_an_output_for_each_expression(classes):
    pytest.importorskip("mlflow")
    names = tuple(f"expression {number}" for number in range(classes))
    record = replace(StudyRecord(), expressions=replace(SEVEN, names=names))
    (output,) = network_signature(record).outputs.inputs
    assert output.shape == (-1, classes)


def test_a_matrix_may_have_any_number_of_expressions():
    counts = np.diag([2.0, 0.0, 5.0])
    percent = ConfusionPanel("Baseline", "mine", counts, OWN.names).percent
    assert percent.shape == (3, 3) and np.isnan(percent[1]).all() and percent[2, 2] == 100


@pytest.mark.parametrize(("count", "numbered"), [(2, True), (8, True), (32, False)])
def test_a_figure_of_matrices_has_a_row_for_each_expression_and_numbers_where_they_fit(count, numbered):
    names = tuple(f"e{number}" for number in range(count))
    panels = [ConfusionPanel(title, "mine", np.ones((count, count)), names) for title in ("Baseline", "Recommended")]

    figure = draw_plot(StudyRecord(), ConfusionFigure([(panels[0], panels[1])], "test", "trial 1"))

    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == [f"{name} ({count})" for name in names]
    assert [label.get_text() for label in second.get_xticklabels()] == list(names)
    assert len(first.texts) == numbered * count**2


@pytest.mark.parametrize("expressions", [EIGHT, OWN], ids=len)
def test_a_report_names_the_studys_expressions(expressions, export_to):
    names = expressions.names
    trials = made_trials(20)
    info = made_info(expressions=expressions.to_json())
    measures = {f"{domain}_recall_{name}": 0.5 for domain in DOMAINS for name in names}
    info["baseline"]["measures"] = measures
    options = {"expressions": expressions.to_json()}
    counts = {split: dict.fromkeys(names, 4) for split in ("train", "validation", "test")}
    info["source"]["report"] = {"options": options, "counts": counts, "sizes": dict.fromkeys(counts, 12)}

    folder = export_to(info, trials)

    html = (folder / "report.html").read_text(encoding="utf-8")
    assert f"(1/{len(names)} on both axes)" in " ".join(html.split())
    assert all(f"<td>Recall of {name} %</td>" in html for name in names)
    assert all(f"<td>{name}</td>" in html for name in names)
    assert ("disgust" in html) == ("disgust" in names)


def test_the_report_of_an_earlier_study_is_that_of_the_seven(export_to):
    info, trials = made_confirmed()
    folder = export_to(info, trials)
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "(1/7 on both axes)" in " ".join(html.split())
    assert all(name in html for name in EXPRESSIONS) and "contempt" not in html


def test_python_predicts_with_a_column_for_each_expression(tmp_path):
    path = tmp_path / "network.safetensors"
    weights.save_network(build(1 / 16, 0, 3), path, {"width": str(1 / 16)} | weights.expressions_entry(OWN))

    table = api.StudyNetwork("n", path, pd.Series(dtype=float)).predict(np.zeros((2, 48, 48), np.uint8))

    assert list(table.columns) == list(OWN.names)
    assert table.sum(axis=1).tolist() == pytest.approx([1.0, 1.0])


# Whole studies.


@pytest.mark.slow
def test_a_study_of_eight_expressions_runs_to_a_confirmed_report(tmp_path):
    data = tmp_path / "data"
    made_faces.affectnet(data / "affectnet")
    made_faces.ck48(data / "ckplus")
    words = ["--source", "affectnet", "--target", "ckplus", "--data", str(data), "--study", "eight", "--workers", "1"]
    words += [*QUICK, "--trials", "6", "--tracking-uri", "none"]
    run("run", *words, "--expressions", "8", "--confirm", "2", folder=tmp_path, seconds=600)
    folder = tmp_path / "runs" / "eight"
    info = json.loads((folder / "study.json").read_text())

    # The record, its measures and its matrices.
    assert StudyRecord.from_json(info).expressions == EIGHT
    assert np.shape(info["baseline"]["confusion"]["target"]) == (8, 8)
    assert "target_recall_contempt" in info["baseline"]["measures"]
    assert "target_recall_neutral" not in info["baseline"]["measures"]  # CK+ has none in this copy
    assert all(set(row["recall"]["source"]) == set(EIGHT.names) for row in info["confirmation"]["results"]["inside"])

    # The report says what a dataset lacks.
    html = " ".join((folder / "report.html").read_text(encoding="utf-8").split())
    assert "no training image of neutral" in html and "(1/8 on both axes)" in html and "contempt" in html

    # A network's file knows its expressions.
    model = min((folder / "models").iterdir())
    image = made_faces.write(tmp_path / "face.png", 0)
    head = run("predict", str(model), str(image), folder=tmp_path).splitlines()[0]
    assert head == "image,expression," + ",".join(EIGHT.names)

    # It goes on with its expressions alone.
    assert "nothing to do" in run("run", *words, "--expressions", "8", folder=tmp_path)
    said = run("run", *words, folder=tmp_path, code=2)
    assert "can only go on with the expressions that it was started with" in said.splitlines()[-1]


@pytest.mark.slow
def test_a_study_of_a_users_expressions_needs_the_file_at_its_start_alone(tmp_path):
    file = write_valence(tmp_path)
    words = ["--target", "jaffe", "--workers", "1", *QUICK, "--trials", "6", "--tracking-uri", "none"]
    run("run", *words, "--expressions", file, folder=tmp_path, seconds=600)
    (folder,) = (tmp_path / "runs").glob("fer2013-jaffe-synthetic-valence-*")
    names = ("positive", "negative", "neutral")
    record = StudyRecord.from_json(json.loads((folder / "study.json").read_text()))
    assert record.expressions == read_expressions(file) and record.expressions.names == names

    # The study's own processes have what the file said, though it is gone.
    Path(file).unlink()
    for cached in (tmp_path / "runs" / ".cache" / "datasets").glob("jaffe-*/train.labels.npy"):
        cached.unlink()
    run("confirm", folder.name, "--seeds", "1", folder=tmp_path, seconds=600)
    results = StudyRecord.from_json(json.loads((folder / "study.json").read_text())).results
    assert all(set(row["recall"]["target"]) == set(names) for row in results.class_results)
    assert "(1/3 on both axes)" in " ".join((folder / "report.html").read_text(encoding="utf-8").split())
