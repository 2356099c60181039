"""report.html while a study runs: cheap, marked as partial, refreshed, and never the end of the study."""

import time

import pytest

from made_study import made_answered, made_info, made_trial, made_trials
from pages import Page
from study.record import StudyRecord
from study.reporting import export, figures, partial_report
from study.reporting.figure_data import build_front_figure
from study.reporting.partial_report import PartialReport, draw_front, write_partial_report
from study.trials import trials_table

NASTY = "<script>alert('x')</script>&\""


def written(info, trials, folder, wanted=30) -> str:
    return write_partial_report(info, trials, folder, wanted).read_text()


@pytest.mark.parametrize("count", [0, 1, 30])
def test_a_partial_page_says_how_far_it_is_and_asks_for_the_next(tmp_path, count):
    html = written(made_info(), made_trials(count), tmp_path / "new")
    page = Page(html.removesuffix("<!-- partial -->\n"))

    assert page.stack == [] and f"Partial: {count} of 30 configurations, written on " in page.text
    assert ("meta", {"http-equiv": "refresh", "content": "60"}) in page.tags
    assert not [tag for tag, _ in page.tags if tag == "script"] and "SYNTHETIC STAND-IN" in page.text
    assert ("No trial has finished yet" in page.text) is (count == 0)


def test_a_partial_page_shows_the_best_so_far_against_the_baseline(tmp_path):
    info, trials = made_answered()
    text = Page(written(info, trials, tmp_path).removesuffix("<!-- partial -->\n")).text
    assert "Best so far: trial " in text and text.count("(baseline ") == 2 and "it grew last by trial " in text
    assert "of the networks of which it is not clear yet" in text and "study.report" in text

    nothing = Page(written(*made_answered(1, True), tmp_path).removesuffix("<!-- partial -->\n")).text
    assert "So far no network would be recommended. No network that surely (90 %) keeps" in nothing


def test_the_front_is_drawn_within_its_frame():
    table = trials_table(made_trials(30))
    figure = build_front_figure(StudyRecord.from_json(made_info()), table)

    picture = draw_front(figure)

    assert len(picture.dots) == sum(len(group.points) for group in figure.groups)
    for dot in picture.dots:
        assert picture.margin <= dot.x <= picture.width - picture.margin
        assert picture.margin <= dot.y <= picture.height - picture.margin
    corners = [tuple(map(float, corner.split(","))) for corner in picture.border.split()]
    xs, ys = zip(*corners, strict=True)
    assert list(xs) == sorted(xs) and list(ys) == sorted(ys)


def test_a_partial_page_is_escaped(tmp_path):
    trial = made_trial(0, config={"lr": 0.1, NASTY: NASTY})
    trial.user_attrs["strategy"] = NASTY
    html = written(made_info(name=NASTY, source={"name": NASTY}), [trial], tmp_path)
    assert "<script" not in html


@pytest.mark.parametrize("info", [{}, {"name": "x", "source": None, "baseline": [], "options": "?"}])
def test_a_partial_page_survives_a_poor_record(info, tmp_path):
    assert "Partial" in written(info, made_trials(5), tmp_path)


def test_no_password_is_in_a_partial_page(tmp_path):
    info = made_info(options={"storage": "postgresql://me:s3cr3t@host/db"})
    assert "s3cr3t" not in written(info, made_trials(5), tmp_path)


def test_a_partial_page_is_no_export_and_the_export_replaces_it(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw_figures", lambda *_: ({}, {"pareto": "not drawn here"}))
    trials = made_trials(10)
    export.export(made_info(), trials, tmp_path)
    assert export.is_exported(made_info(), trials, tmp_path)

    written(made_info(), trials, tmp_path)
    assert not export.is_exported(made_info(), trials, tmp_path)

    export.export(made_info(), trials, tmp_path)
    assert export.is_exported(made_info(), trials, tmp_path)
    assert "refresh" not in (tmp_path / "report.html").read_text()[:2000]


def test_the_page_is_written_once_a_minute_and_less_often_where_it_takes_long(tmp_path, monkeypatch):
    now = [0.0]
    pages = []

    def write(*_):
        pages.append(now[0])
        now[0] += 6.0  # seconds that it takes

    monkeypatch.setattr(partial_report.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(partial_report, "write_partial_report", write)
    report = PartialReport(tmp_path, 30, pytest.fail)
    while now[0] < 500:
        report.update(dict, [])
        now[0] += 1.0

    # At most a thirtieth of the time: every 180 seconds where it takes six.
    assert pages == [60.0, 240.0, 420.0]


def test_what_prevents_the_page_is_told_once_and_stops_nothing(tmp_path, monkeypatch):
    warnings = []
    (tmp_path / "file").write_text("no folder")
    report = PartialReport(tmp_path / "file" / "study", 30, warnings.append)
    for _ in range(3):
        report.due = 0.0
        report.update(made_info, made_trials(3))
    assert len(warnings) == 1 and warnings[0].startswith("report.html is not kept up to date: ")


@pytest.mark.slow
def test_a_page_of_three_hundred_trials_costs_less_than_two_seconds(tmp_path):
    info, trials = made_info(), made_trials(300)
    written(info, trials[:3], tmp_path)  # what is loaded once

    started = time.process_time()
    written(info, trials, tmp_path)

    assert time.process_time() - started < 2
