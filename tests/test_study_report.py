"""The report: one offline file that says what is kept and gained, and claims no more; its exports and its command."""

import json
import re
import subprocess
import sys
import time

import optuna
import pandas as pd
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from fer.errors import InputError
from made_study import (
    FAILED,
    STOPPED,
    made_answered,
    made_confirmed,
    made_info,
    made_pictures,
    made_study,
    made_trial,
    made_trials,
    paper_trials,
)
from pages import Page, report_of
from recorder import raising
from study import report
from study.fronts import find_knee, front_table
from study.record import StudyRecord
from study.reporting import export, figure_style, figures, paper_table
from study.reporting.findings import list_findings
from study.reporting.html_report import render_html
from study.reporting.markdown_report import list_tables, render_markdown
from study.reporting.tables import build_front_table, to_latex, to_markdown
from study.reporting.trial_details import collect_trial_details
from study.reporting.wording import objective_label
from study.trials import trials_table

NASTY = "<script>alert('x')</script>&\""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "made"
    info, trials, files, notes = made_pictures()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw_figures", lambda *_: (dict(files), dict(notes)))
        return folder, export.export(info, trials, folder)


def test_export_writes_the_contract_and_nothing_half(exported):
    folder, written = exported
    expected = {f"{name}.{kind}" for name in figure_style.NAMES for kind in ("png", "svg", "pdf")}

    expected |= {"pareto.html", "parallel.html", "figures.tex"}
    expected |= {"trials.csv", "front.csv", "study.json", "report.html", "report.md", "tables.tex"}

    assert {path.name for path in written} == {path.name for path in folder.iterdir()} == expected


def test_csvs_hold_the_trials_exactly(exported):
    folder, _ = exported
    table = trials_table(made_trials(30))

    cells = pd.read_csv(folder / "trials.csv", dtype=str)

    assert [float(cell) for cell in cells["source_val"]] == table["source_val"].tolist()
    assert pd.read_csv(folder / "front.csv")["trial"].tolist() == front_table(table)["trial"].tolist()


def test_no_password_leaves_the_study(exported):
    folder, _ = exported
    assert json.loads((folder / "study.json").read_text())["options"]["storage"] == "postgresql://***@host/db"
    assert "s3cr3t" not in (folder / "report.html").read_text()


def test_report_is_one_offline_file(exported):
    html = (exported[0] / "report.html").read_text()
    page = Page(html)

    assert page.stack == []
    for tag, attrs in page.tags:
        assert tag != "link" and (tag != "script" or "src" not in attrs)
        assert not attrs.get("src", "data:").startswith(("http", "/"))
    assert "prefers-color-scheme" in html and html.count("plotly.js v") <= 1
    assert 'name="viewport"' in html


def test_recommendation_says_what_is_kept_and_gained(exported):
    page = Page((exported[0] / "report.html").read_text())
    knee = find_knee(front_table(trials_table(made_trials(30))))

    assert f"Trial {knee['trial']} ({knee['strategy']})" in page.text
    assert f"{100 * knee['source_val'] / 0.61:.1f} %" in page.text
    assert f"{100 * (knee['target_val'] - 0.45):+.1f} points" in page.text
    assert "nothing here has been confirmed" in page.text


def test_details_tell_the_networks_on_the_way_to_a_trial():
    between = {"source_val": 0.5, "target_val": 0.5, "source_val/0.50": 0.6, "target_val/0.50": 0.45}
    slanted = {"source_val/0.00+1.00": 0.3, "target_val/0.00+1.00": 0.3}
    trials = [made_trial(0), made_trial(1, measures=between | slanted)]
    found = collect_trial_details(StudyRecord.from_json(made_info()), trials_table(trials), trials)["trials"]

    assert found["0"]["interpolated"] == []
    assert found["1"]["interpolated"] == [
        {"alpha": "0.5", "source": 0.6, "target": 0.45, "front": True},
        {"alpha": "0 to 1", "source": 0.3, "target": 0.3, "front": False},
    ]


def test_the_front_says_which_layers_go_how_far():
    slanted = {"source_val": 0.5, "target_val": 0.5, "source_val/0.00+1.00": 0.6, "target_val/0.00+1.00": 0.45}
    table = trials_table([made_trial(0, measures=slanted, config={"alpha": 1.0, "alpha_slope": 0.0})])
    names = [row[0] for row in build_front_table(StudyRecord.from_json(made_info()), table).rows]
    assert names == ["FU 0", "FU 0 at 0 to 1"]


def test_rungs_are_said_where_there_are_any():
    trials = [made_trial(0), made_trial(1), made_trial(2), made_trial(3, slot=0, rung=2, promoted_from=0)]
    plain = made_info()
    with_rungs = made_info(options=plain["options"] | {"rungs": 3})

    said = report_of(with_rungs, trials).text
    assert "4 trials of 3 configurations" in said and "rungs of 4, 16 times that budget" in said

    unsaid = report_of(plain, trials[:3]).text
    assert "3 trials" in unsaid and "configurations" not in unsaid and "rungs" not in unsaid


def test_folds_are_said_where_they_count():
    with_answers, trials = made_answered()
    found = report_of(with_answers, trials).text
    assert "are divided into 3 folds" in found and "Every trial is one training" in found
    assert objective_label(StudyRecord.from_json(with_answers), "target").startswith("Expected target accuracy (%)")

    # An older study, whose trials were each trained on every fold.
    older = report_of(made_info(options={"folds": 7}), made_trials(5)).text
    assert "Every trial was 7 trainings" in older and "of the first fold" in older
    assert objective_label(StudyRecord.from_json(made_info(options={"folds": 7})), "target").startswith(
        "Target validation accuracy (%), 7 folds"
    )

    without = report_of(made_info(), made_trials(5)).text
    assert "Every trial was" not in without and "Every trial is" not in without


def test_stand_in_is_said_and_real_data_is_not_called_one():
    assert "SYNTHETIC STAND-IN" in report_of(made_info(), []).text
    assert "say nothing about the real dataset" in report_of(made_info(), []).text

    real = {"kind": "real"}
    info = made_info(synthetic=False, source=real | {"name": "fer2013"}, target=real | {"name": "tfeid"})
    assert "STAND-IN" not in report_of(info, made_trials(5)).text.upper()


def test_everything_is_escaped():
    trial = made_trial(0, config={"lr": 0.1, NASTY: NASTY})
    failed = made_trial(1, FAILED, config={"lr": 0.2, NASTY: 1}, reason=NASTY)
    data = {
        "name": NASTY,
        "kind": NASTY,
        "digest": NASTY,
        "report": {NASTY: [{NASTY: NASTY}], "b": {NASTY: {"c": NASTY}}},
    }
    info = made_info(name=NASTY, source=data, target=data, options={NASTY: NASTY}, baseline={NASTY: [NASTY]})
    info |= {"created": NASTY, "versions": {NASTY: NASTY}}
    page = report_of(info, [trial, failed], dict.fromkeys(figure_style.NAMES, NASTY))
    # Only the page's script for copying.
    assert page.stack == [] and len([tag for tag, _ in page.tags if tag == "script"]) == 1
    assert page.text.count("alert('x')") >= 12

    drawn = report_of(info, [trial, failed], {})
    # Only plotly's own scripts, the page's two and their data: nothing that the study brought in.
    assert drawn.stack == [] and "alert('x')" in drawn.text
    assert len([tag for tag, _ in drawn.tags if tag == "script"]) <= 6


@pytest.mark.parametrize("trials", [[], [made_trial(0, FAILED, reason="no faces"), made_trial(1, STOPPED)]])
def test_no_finished_trial_is_reported_honestly(tmp_path, trials):
    written = {path.name for path in export.export({"name": "x"}, trials, tmp_path / "x")}
    assert written == {"trials.csv", "front.csv", "study.json", "report.html", "report.md"}
    assert "No trial has finished yet" in Page((tmp_path / "x" / "report.html").read_text()).text


@pytest.mark.parametrize("info", [{}, {"name": "x", "source": None, "baseline": [], "options": "?", "versions": 3}])
def test_a_report_survives_a_poor_record(info):
    assert report_of(info, made_trials(5)).stack == []


def test_a_picture_that_can_no_longer_be_drawn_is_removed(tmp_path):
    for name in ("pareto.png", "other.png"):
        (tmp_path / name).write_bytes(b"old")
    export.export(made_info(), [], tmp_path)
    assert not (tmp_path / "pareto.png").exists() and (tmp_path / "other.png").exists()


def test_tables_are_sound_latex_and_markdown():
    info, trials = made_confirmed()
    table = trials_table(trials)
    tables = list_tables(
        StudyRecord.from_json(info), table, paper_table.study_paper_table(StudyRecord.from_json(info), table)
    )
    assert {one.name for one in tables} >= {"front", "confirmed", "retention", "expressions", "freezing", "differences",
                                            "inside", "paper"}  # fmt: skip

    for one in tables:
        source = to_latex(one)
        body = source[source.index(r"\midrule") : source.index(r"\bottomrule")].splitlines()[1:]
        assert len(body) == len(one.rows)
        assert all(len(re.findall(r"(?<!\\)&", line)) == len(one.head) - 1 and line.endswith(r"\\") for line in body)
        assert not re.findall(r"(?<!\\)[%#_]", source.replace(r"\label{tab:", "")) and source.isascii()
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in to_markdown(one).splitlines() if line.startswith("|")}
        assert widths == {len(one.head) + 1}
    text = render_markdown(StudyRecord.from_json(info), table, tables)
    assert (
        all(f"## {answer.question}" in text for answer in list_findings(StudyRecord.from_json(info), table))
        and "SYNTHETIC STAND-IN" in text
    )


def test_answers_follow_the_studys_numbers():
    info, trials = made_confirmed()
    table = trials_table(trials)
    by = {answer.question: answer for answer in list_findings(StudyRecord.from_json(info), table)}
    knee = find_knee(front_table(table))
    point = next(p for p in info["confirmation"]["results"]["points"] if p["model"] == knee["model"])
    sure = by["How sure is the recommendation?"].words
    assert f"{100 * point['target_test']:.1f} [" in sure and f"p = {point['target_p']:.2g}" in sure

    bare = {answer.question: answer for answer in list_findings(StudyRecord.from_json(made_info()), table)}
    assert bare["How sure is the recommendation?"].words.startswith("Not sure: it is the best of 24 trainings")
    assert (
        "Which strategies differ significantly?" not in bare
        and list_findings(StudyRecord.from_json(info), trials_table([])) == []
    )

    retention = by["Which strategy is best for each share of the source that is kept?"].table
    levels = [float(row[0].split()[0]) / 100 for row in retention.rows]
    for level, row in zip(levels, retention.rows, strict=True):
        kept = table[(table["state"] == "finished") & (table["source_val"] >= level * 0.61)]
        assert row[3] == f"{100 * kept['target_val'].max():.1f}"


@pytest.fixture
def stored(tmp_path):
    folder = tmp_path / "runs" / "made"
    folder.mkdir(parents=True)
    made_study(paper_trials(), JournalStorage(JournalFileBackend(str(folder / "journal.log"))))
    return folder


def test_the_command_writes_the_export_again(stored, capsys, monkeypatch):
    monkeypatch.setattr(figures, "NAMES", ("hypervolume",))
    assert report.main(["made", "--out", str(stored.parent)]) == 0
    assert (stored / "report.html").exists() and "report.html" in capsys.readouterr().out


@pytest.mark.parametrize("error", [InputError("a study must exist", "'x'", "Start it."), OSError("disk full")])
def test_command_tells_errors_on_one_line(monkeypatch, capsys, error):
    monkeypatch.setattr(report, "open_study", raising(error))
    assert report.main(["x"]) == (2 if isinstance(error, InputError) else 1)
    assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)


@pytest.mark.parametrize("module", ["study.report", "study.sync"])
def test_help_is_quick_and_light(module):
    code = f"import sys, {module} as m\ntry: m.main(['--help'])\nexcept SystemExit: pass\n" + (
        "print([n for n in ('pandas','numpy','optuna','mlflow','torch','plotly','matplotlib') if n in sys.modules])"
    )
    start = time.perf_counter()

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.rstrip().endswith("[]")
    assert time.perf_counter() - start < 5  # 0.1 s alone; tests share their cores


def test_fixtures_are_multi_objective():
    assert made_study([]).directions == [optuna.study.StudyDirection.MAXIMIZE] * 2


@pytest.mark.parametrize(
    "alike, sentence",
    [
        ({"m1": ["m2"], "m2": ["m1"]}, "No two of the front's 2 tested points differ significantly on test images."),
        ({"m1": [], "m2": []}, "All 2 tested points of the front differ significantly"),
        ({"m1": []}, "nothing to compare"),
        (
            {"m1": ["m2"], "m2": ["m1"], "m3": []},
            "1 of the front's 3 tested points differs significantly from all",
        ),
    ],
)
def test_a_confirmed_study_says_which_points_differ(alike, sentence):
    point = {"name": "trial 1", "strategy": "FU", "alpha": "1", "front": True, "model": "m1", "target_optimism": 0.07}
    for domain in ("source", "target"):
        point |= {f"{domain}_test": 0.6, f"{domain}_lower": 0.5, f"{domain}_upper": 0.7, f"{domain}_p": 0.01}
    opening = {"opened": "2026-01-01T00:00:00+00:00", "seeds": 5, "results": {"points": [point], "alike": alike}}
    trials = made_trials(3)
    html = render_html(
        StudyRecord.from_json(made_info(confirmation=opening)),
        trials_table(trials),
        {},
        {"pareto": "not drawn here"},
        None,
    )
    assert sentence in Page(html).text and "60.0 [50.0, 70.0]" in html and "+7.0" in html
    assert "nothing here has been confirmed" not in html and "No test set was read" not in html

    bare = render_html(StudyRecord.from_json(made_info()), trials_table(trials), {}, {"pareto": "not drawn here"}, None)
    assert "the test sets are closed" in bare
