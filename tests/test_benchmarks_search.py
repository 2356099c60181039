"""The simulator: sums and clocks by hand, and a surrogate that knows what its table knows."""

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import search_real, search_table
from benchmarks.checking import hash_of
from benchmarks.search import correlations, curves, steps_of, to_reach
from benchmarks.search_contenders import Contender, halving, replay
from benchmarks.search_figures import attained, draw_real
from benchmarks.search_simulator import Course, Plan, Search, Surrogate, base, noise, simulate
from benchmarks.search_table import KNOBS, MEASURED, NAMED, PACKED, SHARES, draw, read
from fer.adaptation.methods import STRATEGIES, named
from search_spaces import named_in
from study.search.samplers import make_sampler


@pytest.fixture(scope="module")
def table():
    rows = []
    for number in range(75):
        method, config, seed = draw(number, base())
        row = {name: getattr(config, name) for name in KNOBS} | {"number": number, "method": method, "seed": seed}
        for share in SHARES:  # deeper freezing keeps the source and costs less
            row |= {f"source@{share:g}": 0.4 + config.frozen_layers / 30, f"seconds@{share:g}": 2 * share}
            row |= {f"target@{share:g}": share * (0.7 - config.frozen_layers / 30)}
        rows.append(row | {"state": "finished"})
    return pd.DataFrame(rows)


def test_rows_follow_from_their_number_and_some_repeat_the_one_before():
    assert [draw(n, base())[:2] for n in range(len(NAMED))] == [
        (name, named_in("paper", "FU-baseline" if name == "FU" else name, base()))
        for name in NAMED  # whose FU drew the natural ratio, from the baseline
    ]
    assert draw(30, base()) == draw(30, base()) and draw(30, base())[1] != draw(31, base())[1]
    assert draw(49, base())[:2] == draw(48, base())[:2] and draw(49, base())[2] != draw(48, base())[2]


def test_a_row_of_the_table_is_a_training_with_all_its_rungs(setting, monkeypatch):
    monkeypatch.setattr(search_table, "SAMPLES", 4 * len(setting.target.open("train")))

    row = search_table.train(setting, NAMED.index("FC"))

    assert (row["method"], row["state"]) == ("FC", "finished")
    rungs = [row[f"{name}@{share:g}"] for share in SHARES for name in ("source", "target", "seconds")]
    assert all(value is not None for value in rungs)
    assert row["seconds@1"] >= row[f"seconds@{SHARES[0]:g}"] > 0


def test_the_surrogate_knows_what_its_table_knows(table):
    surrogate = Surrogate(table, trees=8)
    assert surrogate.errors()["source@1 r2"] > 0.8

    deep, shallow = (surrogate.answer(named(name, base()), 0) for name in ("LP", "RE"))
    assert deep.vectors[-1][0] > shallow.vectors[-1][0] and deep.vectors[-1][1] < shallow.vectors[-1][1]
    assert (surrogate.answer(named("LP", base()), 0).vectors == deep.vectors).all()
    assert np.allclose(deep.vectors * [200, 98], np.round(deep.vectors * [200, 98]))


def test_what_fails_in_the_table_fails_in_the_simulation(table):
    broken = table.copy()
    fails = broken["frozen_layers"] < 6
    broken.loc[fails, list(MEASURED[:-1])] = np.nan
    broken.loc[fails, "state"] = "failed"

    surrogate = Surrogate(broken, trees=8)

    assert surrogate.answer(named("RE", base()), 0).failed
    assert not surrogate.answer(named("LP", base()), 0).failed


SECONDS = np.array([1.0, 2, 4, 6, 8])


def always(number: int, seed: int) -> Course:
    return Course(np.full((5, 2), 0.5 + number / 100), SECONDS)


def run(trials: int, workers: int, stops=()):
    rule = (lambda trial, share, mine, before: True) if stops else None
    return simulate(always, lambda i: (i, i), lambda *_: None, Plan(trials, 0, workers, rule, stops))


@pytest.mark.parametrize("workers, clock", [(1, 48.0), (2, 24.0), (4, 16.0), (64, 8.0)])
def test_cost_is_the_same_and_the_clock_shorter_with_more_workers(workers, clock):
    found = run(6, workers)
    assert found.spent == 48 and found.ends[-1][0] == clock
    assert [state for *_, state, _ in found.ends] == ["finished"] * 6


def test_what_still_runs_has_cost_already():
    assert [cost for _, cost, *_ in run(6, 2).ends] == [16, 16, 32, 32, 48, 48]
    assert [cost for _, cost, *_ in run(3, 3).ends] == [24, 24, 24]


def test_a_stopped_trial_costs_what_it_trained_and_counts_for_no_front():
    found = run(6, 2, stops=(0.25,))
    assert found.spent == 12 and found.ends[-1][0] == 6
    assert found.hypervolumes()[1].tolist() == [0] * 6


def test_costs_to_reach_a_hypervolume_by_hand():
    curve = {"cost": [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], "hypervolume": [[0.1, 0.2, 0.3], [0.1, 0.1, 0.1]]}
    assert to_reach(curve, 0.2) == [2.0, float("inf")]


def test_a_search_is_kept_as_the_steps_of_its_hypervolume():
    search = Search(ends=[(1, 2.0, "finished", (0.5, 0.5)), (2, 3.0, "stopped", (0.9, 0.9)),
                          (3, 5.0, "finished", (0.4, 0.4)), (4, 6.0, "finished", (0.6, 0.3)),
                          (5, 7.0, "failed", (0.9, 0.9))])  # fmt: skip
    cost, volumes, vectors = zip(*steps_of(search), strict=True)

    assert cost == (2.0, 6.0, 7.0) and vectors == ([0.5, 0.5], [0.6, 0.3], None)
    assert volumes[1] == volumes[2] > volumes[0]


def test_attainment_is_what_counting_by_hand_gives():
    curve = {"cost": [[1.0, 4.0], [2.0, 3.0]], "vectors": [[[0.5, 0.6], [0.7, 0.4]], [[0.6, 0.5], None]]}
    grid = np.array([0.4, 0.55, 0.65])

    assert attained(curve, 5.0, grid).tolist() == [[0.6, 0.4, 0.4], [0.5, 0.5, 0.0]]
    assert attained(curve, 1.5, grid).tolist() == [[0.6, 0, 0], [0, 0, 0]]


def test_the_paper_s_strategies_run_to_their_end_and_others_may_stop(table):
    contender = Contender(partial(make_sampler, "tpe"), named=True, stopping=halving(), rungs=(0.25, 0.5))
    found, latencies = replay(contender, Surrogate(table, trees=5).answer, 0, trials=40)
    assert len(found.ends) == len(latencies) == 40
    assert all(state == "finished" for *_, state, _ in found.ends[: len(STRATEGIES)])
    assert any(state == "stopped" for *_, state, _ in found.ends)

    summed = curves([replay(contender, Surrogate(table, trees=5).answer, seed, 25) for seed in range(2)])
    assert len(summed["cost"]) == 2 and summed["cost"][0] == sorted(summed["cost"][0])


def test_the_committed_table_is_what_the_collector_writes():
    rows = read(PACKED)
    assert rows["number"].is_unique and set(rows["state"]) <= {"finished", "failed"}

    done = rows[(rows["state"] == "finished") & ~rows["method"].isin(["BL", "AdaBN", "soup"])]  # these have no rungs
    assert done[list(MEASURED)].notna().all().all()

    for row in rows.sample(20, random_state=0).to_dict("records"):
        method, config, seed = draw(row["number"], base())
        assert (row["method"], row["seed"]) == (method, seed)
        assert row["lr"] == pytest.approx(config.lr) and row["anchor"] == config.anchor
    assert noise(rows)["pairs"] > 0 and set(correlations(rows)) == {
        f"{side}@{share:g}" for side in ("source", "target") for share in SHARES[:-1]
    }


def real_curves(ours: list[float], other: float) -> dict[str, list[dict[str, Any]]]:
    """Curves of one real study by the default, of 10 seconds a trial, and of one of 160 seconds at random."""
    tests = {"test": 0.4, f"test, {search_real.moment(search_real.RANDOM)}": 0.3}
    mine = {"seconds": [10.0, 20.0, 30.0, 40.0], "hypervolume": ours, "stopped": 0.25} | tests
    theirs = {"seconds": [80.0, 160.0], "hypervolume": [0.05, other], "stopped": 0.0, "test": 0.3}
    return {search_real.DEFAULT: [mine], search_real.RANDOM: [theirs]}


def test_real_studies_are_compared_by_training_time_and_at_the_moment_of_the_target():
    found = search_real.figures(real_curves([0.1, 0.2, 0.25, 0.3], 0.2))
    assert found[search_real.RANDOM]["reached by the default at"] == [20 / 160]
    assert found[search_real.DEFAULT][search_real.moment(search_real.RANDOM)] == [0.3]  # at 40 seconds

    late = search_real.figures(real_curves([0.1, 0.2, 0.25, 0.3], 0.31))
    assert late[search_real.RANDOM]["reached by the default at"] == [float("inf")]


def test_the_check_of_real_studies_names_what_falls_short_and_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(search_real, "TARGETS", {search_real.RANDOM: 0.25})
    monkeypatch.setattr(search_real, "as_text", str)
    record = {"seeds": [0, 1, 2], "code": hash_of(search_real.CODE)}
    curves = real_curves([0.1, 0.2, 0.25, 0.3], 0.2)
    assert search_real.check(record | {"figures": search_real.figures(curves)}) == 0

    curves[search_real.RANDOM][0]["test"] = 0.35  # better on test images than the default at its moment
    assert search_real.check(record | {"figures": search_real.figures(curves)}) == 1
    assert "of random 0.857 of what that has" in capsys.readouterr().out

    late = real_curves([0.1, 0.1, 0.1, 0.1], 0.2)
    assert search_real.check(record | {"figures": search_real.figures(late)}) == 1
    assert "reached after inf" in capsys.readouterr().out

    del curves[search_real.RANDOM]
    assert search_real.check(record | {"figures": search_real.figures(curves)}) == 1
    assert "random: not measured" in capsys.readouterr().out
    assert search_real.check({"seeds": [0], "figures": {}}) == 1

    said = capsys.readouterr().out
    assert "1 seeds, at least 3 wanted" in said and "of another search" in said


def test_a_record_of_real_studies_grows_by_seeds_and_a_later_run_replaces_an_earlier():
    def record(seeds, end, processor):
        parts = [real_curves([0.1, 0.2, 0.25, end + seed / 100], 0.2) for seed in seeds]
        curves = {name: [part[name][0] for part in parts] for name in parts[0]}
        return {"seeds": seeds, "processors": [processor] * len(seeds), "curves": curves}

    found = search_real.together(record([0, 3], 0.3, "old"), record([3, 2], 0.4, "new"))

    assert found["seeds"] == [0, 2, 3] and found["processors"] == ["old", "new", "new"]
    assert found["figures"][search_real.DEFAULT]["hypervolume"] == pytest.approx([0.3, 0.42, 0.43])


def test_the_committed_real_studies_can_be_read_and_drawn(capsys):
    result = json.loads(search_real.RESULTS.read_text())
    search_real.check(result)

    assert f"{result['target']}, {result['preset']}" in capsys.readouterr().out
    assert [axes.get_title() for axes in draw_real(result).axes] == [f"Seed {seed}" for seed in result["seeds"]]
