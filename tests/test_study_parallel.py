"""Parallel coordinates and rungs: each line passes where its trial's value is; correlations as by hand."""

import numpy as np
import pandas as pd
import pytest

from made_study import STOPPED, made_answered, made_info, made_trial, made_trials
from study.fronts import front_table
from study.record import StudyRecord
from study.reporting import matplotlib_plots, plotly_charts
from study.reporting.distinct_networks import find_distinct
from study.reporting.figure_style import style_of
from study.reporting.findings import list_findings
from study.reporting.parallel_axes import ABSENT, WORDS, build_parallel_figure
from study.reporting.result_tables import build_rungs_table
from study.trials import finished_trials, hyperparameter_names, rung_shares, trials_table
from study.tuning.summary import read_search

RECORD = StudyRecord.from_json(made_info())


def axes_of(configs, values=None):
    values = values or [(0.5, 0.4 + 0.1 * index) for index in range(len(configs))]
    trials = [made_trial(n, values=pair, config=c) for n, (c, pair) in enumerate(zip(configs, values, strict=True))]
    return {axis.name: axis for axis in build_parallel_figure(trials_table(trials)).axes}


def test_numbers_choices_and_what_is_absent_have_their_places():
    axes = axes_of(
        [{"rate": 1e-4, "bn": "train", "alpha": 1.0, "depth": 0},
         {"rate": 1e-2, "bn": "frozen", "alpha": 1.0, "depth": 12}, {"rate": 0.0, "alpha": 1.0, "depth": 3}]
    )  # fmt: skip

    # alpha is the same in all trials.
    assert list(axes) == ["strategy", "rate", "bn", "depth", "source %, observed", "target %, observed"]
    assert axes["rate"].places.tolist() == [0, 1, ABSENT] and axes["rate"].labels[:2] == ["0", "0.0001"]
    assert dict(zip(axes["rate"].labels, axes["rate"].ticks, strict=True))["0.001"] == 0.5  # logarithmic
    assert axes["bn"].places.tolist() == [1, 0, ABSENT] and axes["bn"].labels == ["–", "frozen", "train"]
    assert axes["depth"].places == pytest.approx([0, 1, 0.25])
    assert (
        axes["target %, observed"].places == pytest.approx([0, 0.5, 1])
        and axes["target %, observed"].labels[-1] == "60.0"
    )
    assert axes["source %, observed"].places.tolist() == [0, 0, 0]


def test_on_an_axis_of_numbers_and_choices_numbers_lie_by_their_value_below_the_choices():
    axis = axes_of([{"size": 700}, {"size": "all"}, {"size": 70}, {"size": 280}, {}])["size"]

    assert axis.places == pytest.approx([WORDS, 1, 0, WORDS / 3, ABSENT])
    assert axis.labels == ["–", "70", "228", "385", "542", "700", "all"] and axis.ticks[-1] == 1
    assert list(axis.ticks) == sorted(axis.ticks)


def test_of_many_choices_some_are_written_and_all_have_places():
    values = [(0.5, 0.4 + 0.01 * n) for n in range(30)]
    axis = axes_of([{"name": f"method {n:02d}"} for n in range(30)], values)["name"]

    assert len(axis.labels) == 10 and axis.labels[1] == "method 03"
    assert axis.places == pytest.approx(np.linspace(0, 1, 30))


def test_the_lines_of_the_front_are_bold_and_each_trial_has_one():
    table = trials_table(made_trials(40))
    axes = matplotlib_plots.draw_plot(RECORD, build_parallel_figure(table)).axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) > 2]
    assert len(lines) == len(finished_trials(table))

    bold = [line for line in lines if line.get_linewidth() > 1]
    assert len(bold) == front_table(table)["trial"].nunique()


def test_of_a_front_with_little_differences_each_trial_stands_out_in_both_figures():
    info, trials = made_answered(seed=5)
    record = StudyRecord.from_json(info)
    table, _ = read_search(record, trials)
    front = front_table(table)
    data = build_parallel_figure(table)
    shown = finished_trials(table)["number"].tolist()
    of_front = set(front["trial"])

    # Also trials whose networks are less than a point better than others.
    assert set(front.loc[find_distinct(front, record), "trial"]) < of_front
    assert {number for number, stands_out in zip(shown, data.on_front, strict=True) if stands_out} == of_front

    # On the screen, where all lines are equally thin, the others are pale.
    (lines,) = plotly_charts.draw_chart(data).data
    colours = [colour for _, colour in lines.line.colorscale[::2]]
    for strategy, stands_out, code in zip(data.strategies, data.on_front, lines.line.color, strict=True):
        assert (colours[int(code)] == style_of(strategy).colour) == stands_out
    assert "pale: not on the front" in plotly_charts.render_chart_page("parallel", record, data)


def test_rank_correlation_of_a_rung_with_the_end_by_hand():
    ends = [(0.1, 0.9), (0.2, 0.8), (0.3, 0.7), (0.4, 0.6)]
    first = [(0.1, 0.1), (0.2, 0.2), (0.4, 0.3), (0.3, 0.4)]  # Spearman 1 - 6 * 2 / (4 * 15) = 0.8, and -1
    trials = [
        made_trial(n, values=end, **{"rung:0.500": list(v)}) for n, (end, v) in enumerate(zip(ends, first, strict=True))
    ]
    trials += [made_trial(4, STOPPED, **{"rung:0.500": [0.1, 0.1]}), made_trial(5, values=(0.9, 0.9))]
    table = trials_table(trials)
    assert rung_shares(table) == ["0.500"] and table["source_val@0.500"].tolist()[:2] == [0.1, 0.2]

    found = build_rungs_table(table)
    assert found is not None and found.rows == [["50 %", 4, "0.80", "-1.00", 1]]
    assert found in [answer.table for answer in list_findings(RECORD, table)]


def test_a_study_without_rungs_or_with_one_finished_trial_says_nothing_false():
    assert build_rungs_table(trials_table([made_trial(0)])) is None
    found = build_rungs_table(trials_table([made_trial(0, **{"rung:0.500": [0.1, 0.2]})]))
    assert found is not None and found.rows == [["50 %", 1, "–", "–", 0]]


def test_a_trial_that_stopped_at_its_second_rung_counts_there_alone():
    rungs = {"rung:0.250": [0.1, 0.1], "rung:0.500": [0.2, 0.2]}
    found = build_rungs_table(trials_table([made_trial(0, **rungs), made_trial(1, STOPPED, **rungs)]))
    assert found is not None and [row[-1] for row in found.rows] == [0, 1]


def test_rungs_survive_the_csv(tmp_path):
    table = trials_table([made_trial(0, **{"rung:0.500": [0.123456789, 0.2]})])
    table.to_csv(tmp_path / "t.csv", index=False)

    again = pd.read_csv(tmp_path / "t.csv")

    assert np.array_equal(again["source_val@0.500"], table["source_val@0.500"])
    assert hyperparameter_names(again) == hyperparameter_names(table)


def test_rungs_are_judged_among_trials_of_one_budget():
    # On each budget the order at half was the opposite of that at the end; between the budgets it was the same.
    small = [
        made_trial(number, values=(0.1 * number, 0.1), **{"rung:0.500": [0.3 - 0.1 * number, 0.1]})
        for number in range(4)
    ]
    large = [
        made_trial(4 + number, values=(0.6 + 0.1 * number, 0.1), rung=2, **{"rung:0.500": [0.9 - 0.1 * number, 0.1]})
        for number in range(4)
    ]
    found = build_rungs_table(trials_table([*small, *large]))
    assert [row[:3] for row in found.rows] == [["50 % on rung 1", 4, "-1.00"], ["50 % on rung 2", 4, "-1.00"]]
