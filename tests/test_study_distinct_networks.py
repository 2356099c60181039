"""What a reader meets first on a front: networks that differ by whole points; what hardly differs is folded."""

import copy

import numpy as np
import pandas as pd
import pytest
from optuna.trial import FrozenTrial

from fer.architecture import VGG13
from made_study import made_answered, made_confirmed, made_info, read_made
from study.fronts import RECOMMENDED, front_table
from study.record import StudyRecord
from study.reporting.distinct_networks import choose_rows, describe_others, find_answers, find_distinct
from study.reporting.figure_captions import describe_figures
from study.reporting.figure_data import build_confirmed_figure, build_front_figure
from study.reporting.front_file import table_of_front
from study.reporting.html_report import render_html
from study.reporting.network_details import collect_network_details
from study.reporting.significance import number_points
from study.reporting.tables import build_confirmed_table, build_front_table, to_latex, to_markdown
from study.reporting.trial_details import collect_trial_details
from study.reporting.wording import confirmed_name, points_text
from study.tuning.summary import read_search

BASELINE = (0.657, 0.493)


def front_of(*networks: tuple, roles: dict[int, str] | None = None) -> pd.DataFrame:
    """Returns a front of networks, each by its source and target accuracy and its probability."""
    front = pd.DataFrame(networks, columns=["source_val", "target_val", "probability"])
    front["strategy"] = "FU"
    front["role"] = [(roles or {}).get(index, "") for index in range(len(front))]
    return front


def record_of(baseline: tuple[float, float] | None = BASELINE) -> StudyRecord:
    info = made_info()
    values = (None, None) if baseline is None else baseline
    info["baseline"] |= dict(zip(("source_val", "target_val"), values, strict=True))
    return StudyRecord.from_json(info)


def test_of_equal_networks_in_whole_points_the_most_probable_is_shown_and_what_is_no_better_is_not():
    front = front_of(
        (0.560, 0.600, 0.2),  # -10 and +11 points
        (0.630, 0.560, 0.5),  # -3 and +7
        (0.633, 0.552, 0.4),  # -2 and +6
        (0.634, 0.551, 0.6),  # -2 and +6, the more probable
        (0.654, 0.496, 0.9),  # 0 and 0: no better than the baseline in whole points, the best that keeps 98 %
        (0.655, 0.495, 0.9),  # 0 and 0
    )
    assert find_distinct(front, record_of()).tolist() == [True, True, False, True, True, False]
    assert describe_others(2, front) == (
        "And 2 more networks of the front, each less than a point better than one of these or than the baseline on "
        "both datasets"
    )


def test_networks_with_a_role_and_the_baseline_are_shown():
    front = front_of((0.633, 0.552, 0.4), (0.634, 0.551, 0.6), (0.654, 0.496, 0.9), (0.657, 0.493, 0.7))
    front["role"] = [RECOMMENDED, "", "keeps more", ""]
    front.loc[3, "strategy"] = "BL"
    is_distinct = find_distinct(front, record_of())

    # The recommended network stands for its equal, although that is the more probable one.
    assert is_distinct.tolist() == [True, False, True, True]
    assert describe_others(1, front).startswith("And 1 more network of the front, less than a point")
    assert "baseline" not in describe_others(1, front)  # it is one of these


@pytest.mark.parametrize("seed", range(20))
def test_each_folded_network_is_less_than_a_point_better_than_one_that_is_shown(seed):
    rng = np.random.default_rng(seed)
    source = np.sort(rng.uniform(0.6, 0.66, 40))
    target = np.sort(rng.uniform(0.49, 0.6, 40))[::-1]
    front = front_of(*zip(source, target, rng.random(40), strict=True))
    is_distinct = find_distinct(front, record_of())

    points = front[["source_val", "target_val"]].to_numpy()
    shown = np.vstack([points[is_distinct], BASELINE])
    for point in points[~is_distinct]:
        assert ((point - shown).max(axis=1) < 0.01).any()
    assert 0 < is_distinct.sum() < 40


def test_the_best_for_each_share_of_the_source_is_shown():
    front = front_of(
        (0.640, 0.498, 0.2),
        (0.644, 0.497, 0.2),  # keeps 98 %
        (0.650, 0.4955, 0.9),  # no better than the baseline in whole points
    )
    assert find_answers(front, record_of()).tolist() == [True, True, False]
    assert find_distinct(front, record_of()).tolist() == [True, True, False]
    assert not find_answers(front, record_of(None)).any()


def long_front(networks: int) -> pd.DataFrame:
    """Returns a front of networks a tenth of a point apart, the third of which is the likeliest."""
    steps = np.arange(networks) / 1000
    front = front_of(*zip(0.657 - steps[::-1], 0.6 - steps, np.full(networks, 0.1), strict=True), roles={1: "nearest"})
    front.loc[front.index == 2, "probability"] = 0.8
    return front


@pytest.mark.parametrize("networks", [1, 15, 16, 20])
def test_no_row_is_left_out_for_a_few_more_than_there_is_room_for(networks):
    assert choose_rows(long_front(networks), record_of(), 15) == list(range(networks))


@pytest.mark.parametrize("networks", [21, 60])
def test_of_a_long_front_those_are_shown_that_a_reader_looks_for(networks):
    front = long_front(networks)

    shown = choose_rows(front, record_of(), 15)

    assert len(shown) == 15 and {1, 2} <= set(shown)
    assert set(np.flatnonzero(find_answers(front, record_of()))) <= set(shown)


def test_all_are_shown_where_a_study_did_not_decide_in_whole_points():
    front = front_of((0.633, 0.552, 0.4), (0.634, 0.551, 0.6))
    assert find_distinct(front.drop(columns="role"), record_of()).all()
    assert find_distinct(front, record_of(None)).all()
    assert find_distinct(front.iloc[:0], record_of()).tolist() == []
    assert describe_others(0, front) == ""


def test_what_is_folded_is_in_the_page_and_in_front_csv_and_counted_in_papers():
    record, _, table, summary = read_made()
    front = front_table(table)

    shown = build_front_table(record, table)

    assert 0 < len(shown.folded) < len(front) == len(shown.rows) + len(shown.folded)
    for text in (to_markdown(shown), to_latex(shown)):
        assert f"And {len(shown.folded)} more network" in text and "front.csv" in text
    page = render_html(record, table, {}, {"pareto": "not drawn here"}, None, summary=summary)
    assert f"<details><summary>{shown.about_folded.split(' of the')[0]}" in page
    assert page.count('class="of-front"') == 2
    assert len(table_of_front(front, record)) == len(front)


def test_the_figures_of_front_and_confirmation_tell_what_stands_out():
    record, _, table, _ = read_made()
    front = front_table(table)
    figure = build_front_figure(record, table)

    assert sum(int(group.is_distinct.sum()) for group in figure.groups) == find_distinct(front, record).sum()
    assert all((group.on_front | ~group.is_distinct).all() for group in figure.groups)
    source, target = figure.half_intervals
    caption = describe_figures(record, table)["pareto"]
    assert f"about {source:.1f} points to either side" in caption and f"{target:.1f} on TFEID" in caption
    assert "Small: on the front, but less than a point better" in caption


def confirmed_search() -> tuple[StudyRecord, list[FrozenTrial], pd.DataFrame]:
    """Returns the record, trials and table of a study whose front of expected accuracies was confirmed."""
    info, trials = made_answered()
    info = info | {"confirmation": copy.deepcopy(made_confirmed()[0]["confirmation"])}
    table, _ = read_search(StudyRecord.from_json(info), trials)
    of_front = [point for point in info["confirmation"]["results"]["points"] if point["front"]]
    for point, model in zip(of_front, front_table(table)["model"], strict=False):
        point["model"] = model
    return StudyRecord.from_json(info), trials, table


def test_a_confirmation_numbers_what_stands_out_and_has_a_dot_for_what_does_not():
    record, _, table = confirmed_search()
    shown = build_confirmed_figure(record, table).points

    others = sum(not point.is_distinct for point in shown)
    assert others and all(point.is_distinct for point in shown if not point.on_front)
    shown_table = build_confirmed_table(record, table)
    assert len(shown_table.folded) == others and len(shown_table.rows) == len(shown) - others
    assert "confirm.csv" in to_latex(shown_table)
    numbers = number_points(record, front_table(table))
    figure_numbers = {point.name: index + 1 for index, point in enumerate(each for each in shown if each.is_distinct)}
    for point in record.results.points:
        if point["front"]:
            number = figure_numbers.get(confirmed_name(point), 0)
            assert numbers[point["model"]] == number or (not number and numbers[point["model"]] > len(figure_numbers))
    caption = describe_figures(record, table)["confirmed"]
    assert f"Dots without a number: {others} network" in caption
    assert f"{len(shown) - others}: " in caption and f"{len(shown) - others + 1}: " not in caption


def test_details_of_each_confirmed_network_have_the_similarity_of_its_layers():
    record, trials, table = confirmed_search()
    tested = [point["model"] for point in record.results.points if point["front"]]
    assert any("-at-" in model for model in tested), "one between the baseline and its trial's end"

    networks = collect_network_details(record, table)["networks"]
    for model in tested:
        assert len(networks[model]["cka"]) == len(VGG13.blocks)
    assert {model for model, shown in networks.items() if shown["cka"]} == set(tested)
    assert all("cka" not in each for each in collect_trial_details(record, table, trials)["trials"].values())


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.889, 0.889, "+0.0 [too few to tell]"),
        (-0.5, 0.5, "+0.0 [too few to tell]"),
        (-0.49, 0.5, "+0.0 [-49.0, +50.0]"),
    ],
)
def test_an_interval_that_rules_out_nothing_is_said_in_words(low, high, said):
    assert points_text(0.0, low, high) == said
