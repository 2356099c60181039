"""How figures and names are written: one figure and one dataset are the same wherever they stand."""

import io
import json
import shutil
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fer.datasets import load
from fer.datasets.lookup import layout_of
from made_study import made_info, made_trials
from recorder import Recorder
from study.execution.progress import Progress
from study.options import StudyOptions
from study.pipeline.prepare import _show_dataset
from study.record import StudyRecord
from study.reporting.dataset_summary import show_survey
from study.reporting.html_report import render_html
from study.reporting.markdown_report import render_markdown
from study.reporting.parallel_axes import build_parallel_figure
from study.reporting.plotly_charts import AXIS_WIDTH, render_chart_page
from study.reporting.wording import (
    OTHER_SPELLINGS,
    dataset_label,
    describe_drawn_faces,
    describe_subjects,
    describe_unknown_people,
    format_percent,
    format_points,
    name_as_printed,
    round_decimal,
)
from study.trials import trials_table

PAGE_SCRIPT = Path("study/reporting/page.js")


@given(st.integers(0, 5000), st.integers(1, 5000))
def test_a_share_of_images_is_rounded_half_up_whatever_way_it_was_computed(right: int, images: int) -> None:
    right = min(right, images)
    tenths = (Fraction(right, images) * 1000 + Fraction(1, 2)).__floor__()
    shown = f"{tenths // 10}.{tenths % 10}"

    answers = np.arange(images) < right
    assert format_percent(right / images) == shown
    assert format_percent(answers.mean()) == shown
    assert format_percent(1 - (~answers).sum() / images) == shown


@pytest.mark.parametrize(("source", "target"), [("synthetic", "real"), ("real", "synthetic")])
def test_only_the_dataset_that_was_drawn_is_called_drawn(source: str, target: str) -> None:
    datasets = {"source": {"name": "fer2013", "kind": source}, "target": {"name": "mug", "kind": target}}
    drawn = {"source": "FER2013", "target": "MUG"}["source" if source == "synthetic" else "target"]

    said = describe_drawn_faces(StudyRecord.from_json(datasets))
    of_both = describe_drawn_faces(StudyRecord.from_json(made_info()))

    assert f"The faces of {drawn} stand-in are drawn" in said and "a real copy's" in said
    assert of_both.startswith("The faces are drawn by this program")


def test_a_target_of_unknown_people_is_told_at_the_top_of_both_reports() -> None:
    def report(*people: int) -> dict:
        splits = ("train", "validation", "test")
        return {"subjects": dict(zip(splits, people, strict=True)), "sizes": dict.fromkeys(splits, 20)}

    target = {"name": "mine", "kind": "real", "report": report(0, 0, 0)}
    source = {"name": "fer2013", "kind": "synthetic", "report": report(8, 1, 1)}
    unknown, known = (
        StudyRecord.from_json(made_info(source=source, target=each)) for each in (target, target | {"report": source})
    )
    table = trials_table(made_trials(3))

    page = " ".join(render_html(unknown, table, {}, {"pareto": "not drawn here"}, None).split())
    text = render_markdown(unknown, table, [])

    sentence = "Whom the images of mine show is not known, so each counts as another person."
    assert 0 < page.index(sentence) < page.index("<nav ") and sentence in text.split("## ")[0]
    assert "never cross splits (those of mine are not known), every strategy" in page
    assert describe_unknown_people(known) == "" and describe_subjects(known) == "Subjects never cross splits"


def test_a_difference_has_a_sign_and_zero_has_none_of_minus() -> None:
    assert [format_points(value) for value in (0.0505, -0.0505, 0.0, -0.0001)] == ["+5.1", "-5.1", "+0.0", "+0.0"]
    assert str(round_decimal(71.05)) == "71.1" and format_percent(0.7104999999999999) == "71.1"
    assert format_percent(0.715, 0) == "72" and format_percent(None) == "–" and format_percent(float("nan")) == "–"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_the_page_rounds_as_the_tables_do() -> None:
    line = next(line for line in PAGE_SCRIPT.read_text().splitlines() if "const inPercent" in line)
    shares = [number / 2000 for number in range(2001)] + [1421 / 2000 - 1e-12]
    program = f"{line}\nconsole.log(JSON.stringify({json.dumps(shares)}.map(inPercent)));"
    said = subprocess.run(["node", "-e", program], capture_output=True, check=True, text=True).stdout
    assert json.loads(said) == [format_percent(share) for share in shares]


@pytest.mark.parametrize(
    ("report", "asked", "label"),
    [
        ({"copy": "/faces/ck+48"}, "ckplus", "CK+48"),
        ({"copy": "/faces/CK48.zip"}, "ckplus", "CK+48"),
        ({"copy": "/faces/ckplus"}, "ck+48", "CK+"),
        ({}, "ck+48", "CK+48"),
        ({}, "ckplus", "CK+"),
        ({}, None, "CK+"),
    ],
)
def test_a_dataset_is_called_as_its_copy_is(report: dict, asked: str | None, label: str) -> None:
    assert name_as_printed("ckplus", report, asked) == label
    record = StudyRecord.from_json(
        {"target": {"name": "ckplus", "kind": "real", "report": report}, "options": {"target": asked}}
    )
    assert dataset_label(record, "target") == label


def test_what_is_said_of_data_has_the_users_name_for_it_and_once_the_programs_own(tmp_path: Path, monkeypatch) -> None:
    said = Recorder()
    monkeypatch.setattr(Progress, "say", said)
    monkeypatch.setattr(Progress, "warn", said)
    dataset = load("ck+48", data_dir=None, kind="synthetic", cache_dir=tmp_path, scale=0.05)

    _show_dataset(dataset, "ck+48", StudyOptions(target="ck+48"), Progress())

    data, warning = (line for (line,) in said.calls)
    assert data.startswith("  CK+48 (ckplus in names of studies): synthetic, ")
    assert "no copy of CK+48 was found" in warning and "--data DIR/ck+48" in warning and "ckplus" not in warning


def test_a_run_tells_what_should_be_known_of_a_copy(tmp_path: Path, monkeypatch) -> None:
    said = Recorder()
    monkeypatch.setattr(Progress, "say", said)
    drawn = load("ck+48", data_dir=None, kind="synthetic", cache_dir=tmp_path, scale=0.05)
    nobody = {"train": 0, "validation": 0, "test": 0}
    hazards = {"images": 168, "dropped_from_train": 44}
    report = {**drawn.report, "kind": "real", "subjects": nobody, "hazards": hazards, "notices": ["no face at all"]}

    _show_dataset(replace(drawn, kind="real", report=report), "mine", StudyOptions(target="mine"), Progress())

    notices = [line for (line,) in said.calls if "notice: " in line]
    assert [words in line for words, line in zip(("no face at all", "unknown", "44 of 168"), notices, strict=True)] == [
        True, True, True
    ]  # fmt: skip


def test_the_list_of_datasets_has_the_spellings_that_readme_uses() -> None:
    console = Console(width=200, file=io.StringIO())
    show_survey(None, console)
    assert "ckplus or ck+ or ck+48" in console.file.getvalue()
    assert {layout_of(spelling).name for spelling in OTHER_SPELLINGS["ckplus"]} == {"ckplus"}


def test_parallel_axes_keep_their_distance_on_a_narrow_screen() -> None:
    table = trials_table(made_trials())
    record = StudyRecord.from_json(made_info())
    data = build_parallel_figure(table)
    page = render_chart_page("parallel", record, data)
    assert f'overflow-x:auto"><div style="min-width:{AXIS_WIDTH * len(data.axes)}px"' in page
