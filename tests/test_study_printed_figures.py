"""Figures and tables as a paper needs them: size, resolution, type, ticks, colours, captions and LaTeX."""

import functools
import itertools
import re
import struct
from dataclasses import replace
from typing import NamedTuple

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from fer.expressions import EXPRESSIONS
from made_study import STRATEGIES, made_answered, made_confirmed, made_info, made_trial, made_trials
from study.fronts import find_recommended, front_table
from study.record import StudyRecord
from study.reporting import figure_style, figures
from study.reporting.confusion_figure import build_confusion_figure
from study.reporting.curves_figure import build_curves_figure
from study.reporting.figure_captions import TWO_COLUMN_FIGURES, describe_figures, render_figures_tex
from study.reporting.figure_data import build_figure_data, build_importance_figure, build_race_figure
from study.reporting.importance import compute_importances
from study.reporting.matplotlib_plots import draw_plot
from study.reporting.parallel_axes import build_parallel_figure
from study.reporting.plot_parts import wrap_label
from study.reporting.tables import Table, to_latex
from study.reporting.wording import p_value_text
from study.trials import trials_table
from study.tuning.plan import SearchPlan
from study.tuning.summary import read_search


class Drawn(NamedTuple):
    """A figure with what it shows."""

    figure: Figure
    data: object


@functools.cache
def draw_all(name: str) -> dict[str, Drawn]:
    """Returns every figure that one of STUDIES has, laid out."""
    info, trials = STUDIES[name]()
    record = StudyRecord.from_json(info)
    table, summary = read_search(record, trials)
    data = {
        name: build_figure_data(name, record, table) for name in ("pareto", "hypervolume", "strategies", "parallel")
    }
    data["curves"] = build_curves_figure(record, table, trials)
    ranking, _ = compute_importances(trials, SearchPlan.of(record))
    if ranking is not None:
        data["importance"] = build_importance_figure(record, table, ranking)
    if record.results.points:
        data[figure_style.CONFIRMED] = build_figure_data(figure_style.CONFIRMED, record, table)
    if (confusions := build_confusion_figure(record, table, trials)) is not None:
        data[figure_style.CONFUSIONS] = confusions
    if summary is not None and summary.race is not None:
        data[figure_style.RACE] = build_race_figure(summary.race)

    drawn = {}
    for name, shown in data.items():
        figure = draw_plot(record, shown)
        figure.draw_without_rendering()
        drawn[name] = Drawn(figure, shown)
    return drawn


def long_named():
    """A study of datasets with names as long as folders have, of six methods with long names, with many dimensions."""
    names = [f"long_hyperparameter_{index}" for index in range(14)]
    trials = []
    for n in range(30):
        config = {name: float(n + 1) * index for index, name in enumerate(names)}
        trial = made_trial(n, values=(0.6 - n / 200, 0.4 + n / 100), config=config)
        trial.user_attrs["strategy"] = f"method-{n % 6} of a long name"
        trials.append(trial)
    long = {"kind": "synthetic", "name": "photographs-of-the-hospital-in-the-north-of-the-country"}
    return made_info(source=long, target=long), trials


STUDIES = {
    "confirmed": made_confirmed,
    "race": made_answered,
    "tiny": lambda: (made_info(synthetic=False), made_trials(3)),
    "long": long_named,
}


@pytest.fixture(scope="module", params=STUDIES)
def drawn(request):
    return draw_all(request.param)


def shown_texts(figure: Figure) -> list[Text]:
    """Returns the texts of a figure that are visible; of ticks only those within their axis."""
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    outside = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = {id(tick) for tick in axis._update_ticks()}
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                is_shown = id(tick) in shown and low - 1e-9 <= tick.get_loc() <= high + 1e-9
                if not is_shown:
                    outside |= {tick.label1, tick.label2}
    return [text for text in texts if text not in outside]


def corners(text: Text) -> np.ndarray:
    """Returns the corners (4, 2) of a text in pixels; those of a slanted one are slanted."""
    angle = text.get_rotation()
    if angle % 90 == 0:
        return np.array(Text.get_window_extent(text).corners())[[0, 1, 3, 2]]

    # Unslanted, then turned around the point that it is anchored at.
    anchor = text.get_transform().transform(text.get_unitless_position())
    text.set_rotation(0)
    box = np.array(Text.get_window_extent(text).corners())[[0, 1, 3, 2]]
    text.set_rotation(angle)
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (box - anchor) @ rotation + anchor


def overlap(one: np.ndarray, other: np.ndarray, tolerance: float = 2.0) -> bool:
    """Returns whether two rectangles (4, 2) overlap by more than some pixels: no side of either separates them."""
    for box in (one, other):
        for start, end in itertools.pairwise(box[:3]):
            side = (end - start) / max(np.linalg.norm(end - start), 1e-9)
            a, b = one @ side, other @ side
            if a.max() - tolerance <= b.min() or b.max() - tolerance <= a.min():
                return False
    return True


def test_a_figure_is_as_wide_as_one_or_two_columns(drawn):
    for name, (figure, _) in drawn.items():
        width, height = figure.get_size_inches()
        assert width == (7.0 if name in TWO_COLUMN_FIGURES else 3.4), name
        assert 1 < height < 9, name


def test_type_is_of_8_to_9_points(drawn):
    for name, (figure, _) in drawn.items():
        assert {text.get_fontsize() for text in shown_texts(figure)} <= {8.0, 8.5, 9.0}, name


def test_no_text_is_cut_and_no_two_overlap(drawn):
    for name, (figure, _) in drawn.items():
        texts = shown_texts(figure)
        boxes = [corners(text) for text in texts]
        width, height = figure.bbox.size
        for text, box in zip(texts, boxes, strict=True):
            low, high = box.min(0), box.max(0)
            assert (low > -2).all() and high[0] < width + 2 and high[1] < height + 2, (name, text.get_text())
        for (first, one), (second, other) in itertools.combinations(zip(texts, boxes, strict=True), 2):
            assert not overlap(one, other), (name, first.get_text(), second.get_text())


def test_the_legend_covers_no_axes(drawn):
    for name, (figure, _) in drawn.items():
        for legend in figure.legends:
            frame = legend.get_window_extent()
            assert frame.x0 > -2 and frame.x1 < figure.bbox.x1 + 2, name
            assert all(frame.y1 <= axes.get_tightbbox().y0 + 2 for axes in figure.axes), name


@pytest.mark.parametrize("name", ["hypervolume", "race", "curves"])
def test_ticks_of_counts_are_whole(drawn, name):
    if name not in drawn:
        pytest.skip("this study has no such figure")
    for axes in drawn[name].figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_ticks_of_layers_are_whole():
    configs = [{"frozen_layers": layers, "rate": 0.1 * layers} for layers in (0, 3, 13)]
    trials = [made_trial(n, values=(0.5, 0.1 * n), config=config) for n, config in enumerate(configs)]
    axes = {axis.name: axis for axis in build_parallel_figure(trials_table(trials)).axes}

    layers = axes["frozen layers"]
    assert layers.labels == ["0", "3", "6", "10", "13"]
    assert layers.ticks == pytest.approx([0, 3 / 13, 6 / 13, 10 / 13, 1])
    assert "0.325" in axes["rate"].labels


def test_colours_of_points_are_those_of_the_palette(drawn):
    strategies = {figure_style.style_of(group.strategy).colour for group in drawn["pareto"].data.groups}
    allowed = strategies | {figure_style.INK, figure_style.QUIET, "#ffffff"}
    for collection in drawn["pareto"].figure.axes[0].collections:
        if isinstance(collection, PathCollection):
            colours = [*collection.get_facecolors(), *collection.get_edgecolors()]
            assert {matplotlib.colors.to_hex(colour) for colour in colours} <= {each.lower() for each in allowed}


def test_png_files_have_300_dots_per_inch_and_the_size_of_the_figure():
    record = StudyRecord.from_json(made_info())
    table = trials_table(made_trials(3))

    png = figures.render_plots("hypervolume", record, build_figure_data("hypervolume", record, table))[
        "hypervolume.png"
    ]

    width, _ = struct.unpack(">II", png[16:24])
    assert width == 1020
    density = png.index(b"pHYs") + 4
    assert struct.unpack(">I", png[density : density + 4])[0] == round(300 / 0.0254)


@pytest.mark.parametrize(
    ("folds_per_trial", "images"), [("one", "the validation images of its fold"), ("all", "the images of all folds")]
)
def test_the_caption_of_observed_accuracies_says_on_which_images(folds_per_trial, images):
    info, trials = made_answered()
    record = StudyRecord.from_json(info | {"options": info["options"] | {"folds_per_trial": folds_per_trial}})
    table, _ = read_search(record, trials)
    assert f"observed on {images}." in describe_figures(record, table)["parallel"]


def test_the_front_names_what_its_marks_mean_and_shows_known_intervals():
    drawn = draw_all("race")["pareto"]
    axes = drawn.figure.axes[0]
    labels = {text.get_text() for text in drawn.figure.legends[0].get_texts()}

    # Every look that a mark has: how large, whether hollow or faint; and the thin lines.
    looks = {"interpolated", "on the front", figure_style.LITTLE_BETTER_LABEL, "not on the front", "90 % interval"}
    assert {"front", "baseline (BL)", "recommended"} | looks < labels

    # Intervals belong to those that stand out; the others are small.
    stand_out = sum(int(group.is_distinct.sum()) for group in drawn.data.groups)
    assert 0 < stand_out < sum(int(group.on_front.sum()) for group in drawn.data.groups)
    lines = [collection for collection in axes.collections if isinstance(collection, LineCollection)]
    assert sum(len(each.get_paths()) for each in lines if each.get_alpha() == 0.3) == 2 * stand_out


def labels_of(figure: Figure) -> set[str]:
    """Returns what the legend of a figure names."""
    return {text.get_text() for text in figure.legends[0].get_texts()}


def test_the_baseline_has_one_mark_also_where_its_strategy_was_tried():
    drawn = draw_all("race")["pareto"]
    (group, *others) = drawn.data.groups
    assert group.strategy == "BL" and drawn.data.is_the_baseline(group)
    assert "baseline (BL)" in labels_of(drawn.figure) and "BL" not in labels_of(drawn.figure)

    # Measured elsewhere, as by an earlier version, and not tried at all.
    record = StudyRecord.from_json(made_info())
    elsewhere = replace(group, points=group.points + 1)
    assert {"baseline", "BL"} < labels_of(draw_plot(record, replace(drawn.data, groups=[elsewhere, *others])))
    untried = labels_of(draw_plot(record, replace(drawn.data, groups=others)))
    assert "baseline" in untried and "BL" not in untried


def test_confirmed_networks_are_numbered_as_the_caption_says():
    info, trials = made_confirmed()
    record = StudyRecord.from_json(info)
    drawn = draw_all("confirmed")[figure_style.CONFIRMED]
    points = drawn.data.points

    # Each number once, those of points that lie on each other together, beside the first of them.
    labels = [text for text in drawn.figure.axes[0].texts if isinstance(text, Annotation)]
    groups = [[int(number) for number in text.get_text().split(", ")] for text in labels]
    assert sorted(itertools.chain.from_iterable(groups)) == list(range(1, len(points) + 1))
    assert [text.xy for text in labels] == [points[group[0] - 1].test for group in groups]
    assert [7, 9] in groups and len(groups) == len(points) - 1

    caption = describe_figures(record, trials_table(trials))[figure_style.CONFIRMED]
    assert all(f"{index + 1}: {point.name}" in caption for index, point in enumerate(points))
    labels = [text.get_text() for text in drawn.figure.legends[0].get_texts()]
    meanings = {"on the front", "95 % interval", "as the search had judged it", "recommended"}
    assert set(labels) == {*STRATEGIES, *meanings}


def test_confusions_are_those_of_test_images_and_their_rows_sum_to_100_per_cent():
    info, trials = made_confirmed()
    record = StudyRecord.from_json(info)
    network = find_recommended(front_table(trials_table(trials)))
    results = record.results
    place = [point["model"] for point in results.points].index(network["model"])

    data = build_confusion_figure(record, trials_table(trials), trials)

    assert data.images == "test" and len(data.rows) == 2
    for domain, panels in zip(("source", "target"), data.rows, strict=True):
        for panel, index in zip(panels, (0, place), strict=True):
            assert panel.counts.tolist() == results.class_results[index]["confusion"][domain]
            np.testing.assert_allclose(panel.percent.sum(axis=1), 100)

    shown = [[text.get_text() for text in axes.texts] for axes in draw_plot(record, data).axes]
    panels = itertools.chain.from_iterable(data.rows)
    assert shown == [[f"{value:.0f}" for value in panel.percent.ravel() if value > 0] for panel in panels]


def validated(confusion) -> tuple[dict, list]:
    """Returns a study of one trial, not confirmed, whose matrices are given; the baseline has 5 images of each."""
    domains = ("source", "target")
    info = made_info()
    info["baseline"] |= {"confusion": {domain: (5 * np.eye(7, dtype=int)).tolist() for domain in domains}}
    return info, [made_trial(0, values=(0.5, 0.6), confusion={domain: confusion.tolist() for domain in domains})]


def test_before_a_confirmation_confusions_on_the_same_validation_images_are_compared():
    one_off = np.eye(7, k=1, dtype=int) + np.eye(7, k=-6, dtype=int)
    info, trials = validated(4 * np.eye(7, dtype=int) + one_off)
    data = build_confusion_figure(StudyRecord.from_json(info), trials_table(trials), trials)
    assert data.images == "validation" and data.rows[0][1].percent[0, 0] == 80

    # Another fold has other images.
    info, trials = validated(4 * np.eye(7, dtype=int))
    assert build_confusion_figure(StudyRecord.from_json(info), trials_table(trials), trials) is None


@pytest.mark.parametrize("damaged", [None, [], [[1, 2]], "x", [[float("nan")] * 7] * 7, [["x"] * 7] * 7])
def test_damaged_confusions_draw_no_figure(damaged):
    info, trials = validated(5 * np.eye(7, dtype=int))
    info["baseline"]["confusion"] = {"source": damaged, "target": damaged}
    assert build_confusion_figure(StudyRecord.from_json(info), trials_table(trials), trials) is None


def test_an_expression_without_images_has_an_empty_row():
    counts = np.diag([5, 5, 5, 5, 5, 5, 0])
    info, trials = validated(counts)
    info["baseline"]["confusion"] = {domain: counts.tolist() for domain in ("source", "target")}
    record = StudyRecord.from_json(info)

    data = build_confusion_figure(record, trials_table(trials), trials)

    assert np.isnan(data.rows[0][0].percent[6]).all()
    texts = draw_plot(record, data).axes[0].texts
    assert len(texts) == len(EXPRESSIONS) - 1


def test_curves_begin_with_the_baseline_and_the_recommended_one_is_apart():
    info, trials = made_info(), made_trials(30)
    record = StudyRecord.from_json(info)
    front = front_table(trials_table(trials))

    data = build_curves_figure(record, trials_table(trials), trials)

    assert data.recommended.trial == find_recommended(front)["trial"]
    assert {data.recommended.trial, *(curve.trial for curve in data.others)} == set(front["trial"])
    assert data.recommended.passes.tolist() == [0, 1, 2, 3]
    assert (data.recommended.source[0], data.recommended.target[0]) == (61, 45)
    assert np.isnan(data.recommended.loss[0]) and data.recommended.loss[1:].tolist() == [2, 1, 2 / 3]


def test_a_curve_with_gaps_is_one_line_through_what_was_measured():
    curve = [{"epoch": float(e), "loss": 1.0 / e} for e in range(1, 20)]
    curve[8] |= {"source_val": 0.5, "target_val": 0.6}
    trials = [made_trial(0, values=(0.5, 0.6), curve=curve)]
    record = StudyRecord.from_json(made_info())

    figure = draw_plot(record, build_curves_figure(record, trials_table(trials), trials))

    loss, source, target = (axes.lines[0] for axes in figure.axes)
    assert len(loss.get_xdata()) == 19
    assert source.get_xdata().tolist() == [0, 9] and target.get_ydata().tolist() == [45, 60]


@pytest.mark.parametrize("curve", [[], [{"epoch": 1.0, "loss": 1.0}], ["x", None], [{"loss": 1.0}] * 3])
def test_without_a_curve_there_is_a_note_and_no_figure(curve, monkeypatch):
    trials = [made_trial(0, values=(0.5, 0.6), curve=curve)]
    record = StudyRecord.from_json(made_info())
    assert build_curves_figure(record, trials_table(trials), trials) is None

    monkeypatch.setattr(figures, "NAMES", ("curves",))
    files, notes = figures.draw_figures(record, trials_table(trials), trials)
    assert files == {} and "more than once" in notes["curves"]


def test_labels_are_wrapped_to_what_has_room():
    assert wrap_label("Source accuracy (%) — FER2013", 3.0) == "Source accuracy (%)\nFER2013"
    lines = wrap_label("a word " * 40, 2.0).split("\n")
    assert len(lines) == 2 and all(len(line) * 0.57 * 8 <= 144 for line in lines)
    assert wrap_label("a $tudy", 2.0) == r"a \$tudy"


# LaTeX.


def test_captions_include_every_figure_at_its_width_and_mark_synthetic_faces():
    info, trials = made_confirmed()
    record = StudyRecord.from_json(info)
    captions = describe_figures(record, trials_table(trials))
    assert set(captions) == set(figure_style.ALL_NAMES)

    source = render_figures_tex(record, captions, figure_style.ALL_NAMES)

    assert source.count("SYNTHETIC STAND-IN") == len(figure_style.ALL_NAMES) and source.isascii()
    assert re.findall(r"\{(\w+)\.pdf\}", source) == list(figure_style.ALL_NAMES)
    assert source.count(r"\begin{figure*}") == source.count(r"\end{figure*}") == len(TWO_COLUMN_FIGURES)
    assert source.count("{") - source.count(r"\{") == source.count("}") - source.count(r"\}")
    assert "confirmed" not in describe_figures(StudyRecord.from_json(made_info()), trials_table(trials))


def column_format(rows, head=None) -> str:
    source = to_latex(Table("x", "A caption.", head or [f"c{n}" for n in range(len(rows[0]))], rows))
    return re.search(r"\\begin\{tabular\}\{(\w+)\}", source)[1]


@pytest.mark.parametrize(
    "cell",
    [1, 0.5, "61.2", "61.2 [58.0, 64.1]", "+5.0 [-3.0, +13.0]", "–", "< 0.001", "1,204", "40 %", "12.5 †", "−0.3",
     "1e-05"],
)  # fmt: skip
def test_numbers_stand_to_the_right(cell):
    assert column_format([["FU 12 at 0.5", cell], ["RE", 3]]) == "lr"


@pytest.mark.parametrize("cell", ["FU", "FU 12 at 0.5", "1, 2, 3 …", "not confirmed", "1–4", "0 to 1", ""])
def test_words_stand_to_the_left(cell):
    assert column_format([["x", cell]]) == "ll"


def test_a_wide_table_takes_both_columns_and_long_headings_take_lines():
    narrow = to_latex(Table("x", "", ["Network", "Target %, source kept ≥ 95 %"], [["RE", "61.2"]]))
    assert r"\begin{table}" in narrow and r"\shortstack[r]{Target~\%, \\ source kept \\ $\geq$~95~\%}" in narrow
    wide = to_latex(Table("x", "", [f"Column {n}" for n in range(9)], [["61.2 [58.0, 64.1]"] * 9]))
    assert r"\begin{table*}" in wide and r"\end{table*}" in wide


@pytest.mark.parametrize(
    ("p_value", "text"),
    [(1.0, "1.00"), (0.5, "0.50"), (0.034, "0.034"), (0.0012, "0.0012"), (0.1, "0.10"), (0.0009, "< 0.001"),
     (0.0, "< 0.001")],
)  # fmt: skip
def test_p_has_two_digits(p_value, text):
    assert p_value_text(p_value) == text
