import re

import numpy as np
import pytest

from made_study import FAILED, made_confirmed, made_info, made_pictures, made_trial, made_trials
from study.fronts import candidate_networks, front_border, front_table
from study.record import StudyRecord
from study.reporting import figure_style, figures, matplotlib_plots, plotly_charts
from study.reporting.figure_data import build_figure_data
from study.reporting.hover import LONGEST_LINE, hover_texts
from study.reporting.importance import compute_importances
from study.trials import trials_table


def draw_front_plot(info, table):
    record = StudyRecord.from_json(info)
    return matplotlib_plots.draw_plot(record, build_figure_data("pareto", record, table))


@pytest.fixture(scope="module")
def drawn():
    return made_pictures()[2:]


def test_every_picture_in_every_format(drawn):
    files, notes = drawn

    assert notes == {}
    drawn_files = {f"{name}.{kind}" for name in figure_style.NAMES for kind in ("png", "svg", "pdf")}
    assert set(files) == drawn_files | {f"{name}.html" for name in figure_style.INTERACTIVE}

    for name, content in files.items():
        start = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "html": b"<!doctype html>"}[name.split(".")[1]]
        assert content.startswith(start)


def test_pages_need_no_network_and_escape_names(drawn):
    files, _ = drawn
    for name in figure_style.INTERACTIVE:
        text = files[f"{name}.html"].decode()
        assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)
        assert "<b>&" not in text.split("<body>")[0] and "a $tudy &amp; &lt;b&gt;" in text.split("<body>")[0]
        assert "SYNTHETIC STAND-IN" in text


def test_equal_studies_give_equal_vectors(drawn):
    info, trials, *_ = made_pictures()
    again = figures.render_plots(
        "pareto",
        StudyRecord.from_json(info),
        build_figure_data("pareto", StudyRecord.from_json(info), trials_table(trials)),
    )
    assert again["pareto.svg"] == drawn[0]["pareto.svg"] and again["pareto.pdf"] == drawn[0]["pareto.pdf"]


def test_the_label_is_gone_on_real_data():
    table = trials_table(made_trials(5))
    real = {"name": "fer2013", "kind": "real"}
    info = made_info(synthetic=False, source=real, target=real | {"name": "tfeid"})
    texts = [t.get_text() for t in draw_front_plot(info, table).texts]
    assert "SYNTHETIC STAND-IN" not in texts

    axes = draw_front_plot(info, table).axes[0]
    assert axes.get_xlabel() == "Source validation accuracy (%)\nFER2013"
    assert axes.get_ylabel() == "Target validation accuracy (%)\nTFEID"

    texts = [t.get_text() for t in draw_front_plot(made_info(), table).texts]
    assert "SYNTHETIC STAND-IN" in texts


def test_hover_shows_the_hyperparameters_that_vary_escaped():
    trial = made_trial(7, config={"lr": 0.003, "a_note": "<script>", "momentum": 0.9})
    networks = candidate_networks(trials_table([trial])).assign(strategy="<i>")

    (text,) = hover_texts(networks, ["lr", "a_note"], 0.61)

    assert "Trial 7 (&lt;i&gt;)" in text and "<i>" not in text
    assert text.endswith("<br>lr 0.003, a note &lt;script&gt;")


def test_a_long_line_of_hover_is_cut():
    names = [f"hyperparameter_{index}" for index in range(30)]
    networks = candidate_networks(trials_table([made_trial(7, config=dict.fromkeys(names, 0.5))]))

    (text,) = hover_texts(networks, names, None)

    assert text.count("<br>") == 4 and text.endswith("…") and len(text.split("<br>")[-1]) <= LONGEST_LINE


def test_every_network_of_the_front_is_found_by_the_pointer_before_what_lies_above_it():
    table = trials_table(made_trials(30))
    figure = build_figure_data("pareto", StudyRecord.from_json(made_info()), table)

    traces = plotly_charts.draw_chart(figure).data

    # plotly takes the smallest of markers that overlap: those for the front have a size of their own.
    targets = [trace for trace in traces if isinstance(trace.marker.size, int) and trace.marker.size == 6]
    assert {model for trace in targets for model in trace.customdata} == set(front_table(table)["model"])
    sizes = [size for trace in traces if trace.hovertext is not None for size in np.atleast_1d(trace.marker.size)]
    assert min(sizes) == 6

    # The legend names every kind of marker.
    named = {trace.name for trace in traces if trace.showlegend is not False}
    kinds = {"Front", "Baseline", "Recommended", "adapted network", "interpolated network", "not on the front"}
    assert kinds | {group.strategy for group in figure.groups} == named


def test_step_line_runs_from_the_reference_through_the_front():
    front = front_table(trials_table([made_trial(0, values=(0.3, 0.8)), made_trial(1, values=(0.6, 0.5))]))
    chance = 100 / 7
    expected = [(chance, 80), (30, 80), (30, 50), (60, 50), (60, chance)]

    np.testing.assert_allclose(front_border(front), expected)


def test_looks_are_fixed_by_name_and_differ_for_the_papers_strategies():
    named = [figure_style.style_of(name) for name in ("BL", "FC", "FC+CL", "RE", "FU")]
    assert len({colour for colour, _, _ in named}) == len({marker for _, marker, _ in named}) == 5
    assert figure_style.style_of("EWC") == figure_style.style_of("EWC")


def test_importance_finds_the_knob_that_decides():
    ranking, note = compute_importances(made_trials(120))
    assert note == "" and ranking["hyperparameter"][0] == "lr" and ranking["target"][0] > 0.5
    np.testing.assert_allclose(ranking[["source", "target"]].sum(), 1)


def test_importance_is_about_high_accuracies():
    """The sign trap: frozen_layers separates the worst trials here, and must not pass for important."""
    rng = np.random.default_rng(0)
    trials = []
    for n in range(140):
        lr = float(10 ** rng.uniform(-5, -1))
        value = 0.2 if n % 14 == 3 else 0.5 + 0.4 * float(np.exp(-8 * (np.log10(lr) + 2) ** 2))
        trials.append(made_trial(n, values=(value, value + 0.01 * rng.random()), config={"lr": lr}))

    ranking, _ = compute_importances(trials)

    assert ranking["hyperparameter"][0] == "lr"


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([], "needs 20 finished trials; there are 0"),
        (made_trials(15), "needs 20 finished trials; there are 13"),
        ([made_trial(n, values=(0.5, 0.5)) for n in range(25)], "source objective is the same"),
    ],
)
def test_importance_says_why_it_is_missing(trials, words):
    ranking, note = compute_importances(trials)
    assert ranking is None and words in note


def test_one_constant_objective_leaves_the_other():
    trials = [made_trial(n, values=(0.6, 0.3 + 0.01 * n), config={"lr": 10 ** (-5 + n / 10)}) for n in range(40)]
    ranking, note = compute_importances(trials)
    assert list(ranking.columns) == ["hyperparameter", "target"] and "source objective is the same" in note


def test_nothing_finished_gives_notes_and_no_files():
    trials = [made_trial(0, FAILED, reason="x")]
    files, notes = figures.draw_figures(StudyRecord.from_json(made_info()), trials_table(trials), trials)
    assert files == {} and set(notes) == set(figure_style.NAMES)


def test_a_picture_that_fails_is_told_and_the_others_go_on(monkeypatch, capsys):
    monkeypatch.setattr(figures, "NAMES", ("pareto", "hypervolume"))
    monkeypatch.setattr(matplotlib_plots, "draw_front", lambda *_: 1 / 0)
    trials = [made_trial(0), made_trial(1, values=(0.4, 0.7))]

    files, notes = figures.draw_figures(StudyRecord.from_json({}), trials_table(trials), trials)

    assert "hypervolume.png" in files and "pareto.png" not in files
    assert notes == {"pareto": "not drawn: ZeroDivisionError: division by zero"}
    assert capsys.readouterr().err.count("\n") == 1


def test_a_confirmed_study_is_drawn_with_its_intervals():
    info, trials = made_confirmed()
    data = build_figure_data(figure_style.CONFIRMED, StudyRecord.from_json(info), trials_table(trials))
    axes = matplotlib_plots.draw_plot(StudyRecord.from_json(info), data).axes[0]
    points = info["confirmation"]["results"]["points"]
    assert axes.get_xlabel() == "Source test accuracy (%)\nFER2013 stand-in"
    assert len(axes.containers) == len(points)

    for drawn, point in zip(axes.containers, points, strict=True):
        (across,), (up,) = (bar.get_segments() for bar in drawn.lines[2])
        np.testing.assert_allclose(across[:, 0], [100 * point["source_lower"], 100 * point["source_upper"]])
        np.testing.assert_allclose(up[:, 1], [100 * point["target_lower"], 100 * point["target_upper"]])
