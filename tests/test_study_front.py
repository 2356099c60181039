import io
import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from made_study import DONE, FAILED, STOPPED, made_info, made_study, made_trial, made_trials
from study import pareto
from study.execution.front_networks import would_join_front
from study.fronts import (
    candidate_networks,
    find_knee,
    front_table,
    hypervolume_over_trials,
    is_on_front,
    strategies_table,
)
from study.record import StudyRecord
from study.reporting import figures
from study.trials import (
    MIN_SOURCE_MEASURE,
    OBJECTIVES,
    counted_trials,
    describe_reference,
    finished_trials,
    hyperparameter_names,
    hypervolume_reference,
    objective_vectors,
    trials_table,
)
from study.tuning.plan import SearchPlan

# Few distinct values, so that ties and equal points are common.
COORDINATE = st.sampled_from([0.0, 0.1, 1 / 7, 0.2, 0.5, 0.5000001, 0.9, 1.0, float("nan")])
POINTS = st.lists(st.tuples(COORDINATE, COORDINATE), max_size=12)


def dominates_or_equals(a: tuple, b: tuple) -> bool:
    return a[0] >= b[0] and a[1] >= b[1]


@given(POINTS)
def test_non_dominated_points_are_those_of_brute_force(points):
    expected = []
    for index, point in enumerate(points):
        others = [*points[:index], *points[index + 1 :]]
        is_dominated = any(dominates_or_equals(other, point) and other != point for other in others)
        is_repeated = point in points[:index]
        expected.append(not any(np.isnan(point)) and not is_repeated and not is_dominated)

    assert pareto.non_dominated(points).tolist() == expected


@settings(max_examples=60)
@given(POINTS, st.sampled_from([(1 / 7, 1 / 7), (0.0, 0.0), (0.5, 0.1)]))
def test_the_hypervolume_is_the_area_of_the_cells_below_a_point(points, reference):
    columns, rows = (
        sorted({reference[axis], *(point[axis] for point in points if point[axis] > reference[axis])})
        for axis in (0, 1)
    )
    area = 0.0
    for (left, right), (lower, upper) in itertools.product(itertools.pairwise(columns), itertools.pairwise(rows)):
        if any(x >= right and y >= upper for x, y in points):
            area += (right - left) * (upper - lower)

    assert pareto.hypervolume(points, reference) == pytest.approx(area, abs=1e-12)


@given(POINTS, st.tuples(COORDINATE, COORDINATE))
def test_a_point_more_never_lowers_the_hypervolume(points, more):
    assert pareto.hypervolume([*points, more]) >= pareto.hypervolume(points) - 1e-12


def test_the_hypervolume_of_few_points_has_its_closed_form():
    assert pareto.hypervolume([(0.5, 0.75)], (0.25, 0.25)) == 0.125
    assert pareto.hypervolume([(0.5, 1.0), (1.0, 0.5)], (0.0, 0.0)) == 0.75
    assert pareto.hypervolume([(1 / 7, 1.0), (1.0, 1 / 7)]) == 0.0
    assert pareto.hypervolume([]) == 0.0


def test_equal_points_leave_the_first():
    assert pareto.non_dominated([(0.1, 0.1), (0.5, 0.5), (0.5, 0.5)]).tolist() == [False, True, False]


def test_trials_that_ended_count_and_those_that_were_lost_do_not():
    states = [DONE, STOPPED, FAILED, TrialState.RUNNING, TrialState.WAITING]
    trials = [made_trial(n, state) for n, state in enumerate(states)]

    trials.append(made_trial(5, FAILED, lost=True))

    assert [t.number for t in counted_trials(reversed(trials))] == [0, 1, 2]
    assert trials_table(trials)["state"].tolist() == ["finished", "stopped", "failed"]


def test_floats_survive_the_csv_and_knobs_stay_known():
    table = trials_table(made_trials(40))
    text = table.to_csv(index=False)
    written = pd.read_csv(io.StringIO(text), dtype=str)
    for column in ("lr", "source_val", "target_val", "source_uar", "seconds"):
        np.testing.assert_array_equal([float(cell) for cell in written[column]], table[column].to_numpy(float))

    back = pd.read_csv(io.StringIO(text))
    assert hyperparameter_names(back) == hyperparameter_names(table) == ["init", "frozen_layers", "lr", "fusion_ratio"]
    assert front_table(back)["trial"].tolist() == front_table(table)["trial"].tolist()


def test_a_stored_study_gives_the_same_table():
    trials = made_trials(12)
    pd.testing.assert_frame_equal(trials_table(made_study(trials).trials), trials_table(trials))


def test_missing_and_clashing_attributes_keep_their_columns_apart():
    trials = [
        made_trial(0, config={"lr": 0.1, "number": 7, "frozen_layers": 3, "strategy": "x", "layers": [1, 2]}),
        made_trial(1, FAILED, config=None, measures=None, curve=None, seconds=None, reason='no faces, "quoted"\nline'),
        made_trial(2, measures={"lr": 1.0, "source_val": 0.1, "seconds": 2.0}),
    ]
    table = trials_table(trials)

    assert table["number"].tolist() == [0, 1, 2]
    assert table["knob_number"][0] == 7 and table["measure_lr"][2] == 1.0 and table["measure_seconds"][2] == 2.0
    assert table["layers"][0] == "[1, 2]"
    assert table["source_val"][2] == 0.5  # the objective, not the measure of that name
    assert "3,," in table.to_csv(index=False) or ",3," in table.to_csv(index=False)  # whole layers, not 3.0
    assert pd.read_csv(io.StringIO(table.to_csv(index=False)))["reason"][1] == 'no faces, "quoted"\nline'


def test_an_empty_study_has_an_empty_front():
    table = trials_table([])

    assert front_table(table).empty and find_knee(front_table(table)) is None
    assert len(hypervolume_over_trials(table)) == 0
    assert strategies_table(table, 0.6).empty


def test_front_holds_finished_trials_only_sorted_by_source():
    trials = [made_trial(0, values=(0.6, 0.5)), made_trial(1, values=(0.5, 0.6)), made_trial(2, values=(0.4, 0.4))]
    trials += [made_trial(3, STOPPED, values=(0.9, 0.9)), made_trial(4, values=(0.6, 0.5))]

    front = front_table(trials_table(trials))

    assert front["trial"].tolist() == [1, 0] and front["alpha"].tolist() == [1.0, 1.0]
    assert list(front.columns[:3]) == ["trial", "alpha", "strategy"]


def test_alpha_as_a_knob_is_the_fronts_alpha():
    trials = [made_trial(0, config={"lr": 0.1, "alpha": 0.25})]
    front = front_table(trials_table(trials))
    assert front["alpha"].tolist() == [0.25] and list(front.columns).count("alpha") == 1


def test_hypervolume_over_trials_grows_to_the_whole():
    table = trials_table(made_trials(60))
    volumes = hypervolume_over_trials(table)
    assert len(volumes) == len(table) and (np.diff(volumes) >= 0).all()

    done = finished_trials(table)
    assert volumes[-1] == pytest.approx(pareto.hypervolume(done[OBJECTIVES]))
    assert volumes[9] == volumes[8]  # a failed trial adds nothing


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([(0.3, 0.9), (0.58, 0.85), (0.6, 0.4)], 1),  # an elbow
        ([(0.3, 0.9), (0.35, 0.5), (0.6, 0.45)], 2),  # hollow: no elbow, the larger area wins
        ([(0.5, 0.5)], 0),
        ([(0.2, 0.9), (0.6, 0.8)], 1),
    ],
)
def test_the_knee_is_the_elbow_of_a_front_or_else_its_point_of_largest_area(points, best):
    front = front_table(trials_table([made_trial(n, values=p) for n, p in enumerate(points)]))
    assert find_knee(front)["trial"] == best


def test_strategies_are_compared_at_each_level_of_retention():
    trials = [
        made_trial(0, values=(0.59, 0.6), strategy="FU"),
        made_trial(1, values=(0.40, 0.9), strategy="FU"),
        made_trial(2, FAILED, strategy="RE", reason="x"),
    ]
    found = strategies_table(trials_table(trials), 0.6, (0.95, 0.5)).set_index("strategy")

    assert found.loc["FU", ["finished", "best_target", "source_there"]].tolist() == [2, 0.9, 0.40]
    assert found.loc["FU", ["target_at_0.95", "target_at_0.5"]].tolist() == [0.6, 0.9]
    assert found.loc["RE", "failed"] == 1 and np.isnan(found.loc["RE", "best_target"])


def test_networks_on_the_way_compete_and_are_told_apart():
    ways = {"source_val/0.50": 0.55, "target_val/0.50": 0.6, "source_val/0.00+1.00": 0.1, "target_val/0.00+1.00": 0.1}
    measures = {"source_val": 0.5, "target_val": 0.7} | ways
    trials = [made_trial(0, values=(0.6, 0.5)), made_trial(1, values=(0.5, 0.7), measures=measures)]
    table = trials_table(trials)
    front = front_table(table)
    assert list(front["model"]) == [
        "models/trial-0001.safetensors", "models/trial-0001-at-0.50.safetensors", "models/trial-0000.safetensors",
    ]  # fmt: skip
    assert list(front["alpha"]) == [1.0, 0.5, 1.0]
    assert objective_vectors(trials[1]) == [[0.5, 0.7], [0.55, 0.6], [0.1, 0.1]]

    whole, ends = (hypervolume_over_trials(table, with_interpolated=counted) for counted in (True, False))
    assert whole[0] == ends[0] and whole[1] - ends[1] == pytest.approx(0.05 * 0.1)
    assert is_on_front(candidate_networks(table), front).tolist() == [True, True, True, False]


def test_a_network_leads_where_it_keeps_the_source_and_none_dominates_it():
    ways = {"source_val/0.50": 0.55, "target_val/0.50": 0.6}
    done = made_trial(0, values=(0.5, 0.7), measures={"source_val": 0.5, "target_val": 0.7} | ways)
    trial = SimpleNamespace(study=made_study([done, made_trial(1, STOPPED, (0.9, 0.9))]), number=1)
    dominated = {"source_val": 0.1, "target_val": 0.1}

    for source, target, floor, expected in (
        (0.56, 0.6, 0.0, True), (0.55, 0.61, 0.0, True), (0.54, 0.6, 0.0, False), (0.4, 0.9, 0.0, True),
        (0.4, 0.9, 0.45, False),
    ):  # fmt: skip
        plan = SearchPlan(min_source=floor)
        network = {"source_val": source, "target_val": target}
        for networks in ([network], [network, dominated], [dominated, network]):
            assert would_join_front(trial, plan, networks) is expected

    assert not would_join_front(trial, SearchPlan(min_source=0.9), [dominated])


def test_a_front_with_networks_on_the_way_is_drawn(monkeypatch):
    monkeypatch.setattr(figures, "NAMES", ("pareto",))
    ways = {"source_val/0.50": 0.55, "target_val/0.50": 0.6}
    trials = made_trials(6)
    trials[-1] = made_trial(5, values=(0.5, 0.7), measures={"source_val": 0.5, "target_val": 0.7} | ways)

    files, notes = figures.draw_figures(StudyRecord.from_json(made_info()), trials_table(trials), trials)

    assert "pareto" not in notes and {"pareto.png", "pareto.html"} <= set(files)


def test_what_keeps_too_little_of_the_source_is_no_answer():
    trials = [made_trial(0, values=(0.6, 0.3)), made_trial(1, values=(0.4, 0.9))]
    for trial in trials:
        trial.user_attrs["measures"] |= {
            "source_val/0.50": 0.55,
            "target_val/0.50": 0.4,
            MIN_SOURCE_MEASURE: 0.5,
        }
    rows = trials_table(trials)
    assert front_table(rows)[OBJECTIVES].to_numpy().tolist() == [[0.55, 0.4], [0.6, 0.3]]
    assert [objective_vectors(trial) for trial in trials] == [[[0.6, 0.3], [0.55, 0.4]], [[0.55, 0.4]]]

    free = trials_table([made_trial(1, values=(0.4, 0.9))])
    assert len(front_table(free)) == 1


def test_hypervolume_is_measured_from_the_corner_that_the_study_names():
    assert hypervolume_reference(StudyRecord.from_json({})) == (1 / 7, 1 / 7)

    record = StudyRecord.from_json(made_info(options={"reference": [0.5, 0.25]}))
    rows = trials_table([made_trial(0, values=(0.6, 0.5))])
    assert hypervolume_over_trials(rows, hypervolume_reference(record))[-1] == pytest.approx(0.1 * 0.25)
    assert describe_reference(record) == "(0.5, 0.25)"
