"""Report, terminal, figures and MLflow show what a search with answers found, and hold where nothing is recommended."""

import copy
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fer.expressions import EXPRESSIONS
from made_answers import World
from made_study import made_answered, made_info, made_trial, made_trials, read_made
from pages import report_of
from study.fronts import (
    KEEPS_MORE,
    LEARNS_MORE,
    RECOMMENDED,
    candidate_networks,
    find_recommended,
    first_rung_networks,
    front_border,
    front_table,
)
from study.record import DOMAINS, StudyRecord
from study.reporting import expectations, export, figures, matplotlib_plots, plotly_charts
from study.reporting.certainty import describe_certainty
from study.reporting.distinct_networks import find_distinct
from study.reporting.exported_files import render_files
from study.reporting.figure_data import build_figure_data, build_race_figure
from study.reporting.findings import OBSTACLE, list_findings
from study.reporting.hover import LONGEST_LINE, hover_texts
from study.reporting.importance import compute_importances
from study.reporting.markdown_report import list_tables, render_markdown
from study.reporting.network_details import collect_network_details
from study.reporting.paper_table import OURS, paper_table
from study.reporting.recommendation import build_recommendation
from study.reporting.tables import build_front_table, to_latex, varied_hyperparameters
from study.reporting.terminal import describe_outcome, front_rich_table
from study.reporting.trial_details import collect_trial_details
from study.reporting.wording import dataset_label, row_name
from study.stored_results import Row
from study.tracking import models, outcome
from study.tracking.description import describe_study
from study.trials import counted_trials, model_file, trials_table
from study.tuning.plan import SearchPlan
from study.tuning.race_course import RaceEnd, RaceState, find_race_course
from study.tuning.recommendation_rule import Obstacle
from study.tuning.summary import compare_expressions, read_search
from study.tuning.verdict import reach_verdict
from tracked import children, parents

FOUND = ()
"""The made study in which a network is recommended."""
NOTHING = (1, True)
"""The made study whose networks are all as good as the baseline."""


def text_of_terminal(record: StudyRecord, table: pd.DataFrame, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(front_rich_table(record, table))
    return captured.get()


# --- what the search found


def test_expressions_are_compared_on_the_images_that_the_network_answered():
    world = World(0, people=6, images=120, trials=2, folds=3)
    comparison = world.compare([(0, 0, 0), (0, 0, 1), (0, 2, 0), (1, 1, 0)])
    answered = np.isin(world.fold_of_image, [0, 2])

    changes = compare_expressions(comparison, 0, died=("fear",))

    # Weighted by images, shares are accuracies; of two trainings on a fold an image has the mean.
    of_target = [change for change in changes if change.domain == "target"]
    images = np.array([change.images for change in of_target])
    before = np.array([change.before for change in of_target]) @ images / images.sum()
    after = np.array([change.after for change in of_target]) @ images / images.sum()
    first, second, other = (world.train(0, fold, seed)[0].target_right for fold, seed in ((0, 0), (0, 1), (2, 0)))
    right = ((first.astype(float) + second) / 2).sum() + other.sum()
    assert images.sum() == answered.sum()
    assert before == pytest.approx((world.baseline > 0)[answered].mean())
    assert after == pytest.approx(right / answered.sum())

    # In the order of the expressions, the source first; a dead one is marked where it fell.
    assert [change.domain for change in changes] == sorted(change.domain for change in changes)
    assert [change.expression for change in of_target] == [
        name for name in EXPRESSIONS if name in {change.expression for change in of_target}
    ]
    assert all(change.expression == "fear" and change.after < change.before for change in changes if change.has_died)


def test_an_expression_without_answered_images_is_left_out():
    world = World(0, people=6, images=120, trials=1, folds=3)
    comparison = world.compare([(0, 0, 0)])
    labels = np.where(world.fold_of_image == 0, 1, 5)
    changes = compare_expressions(replace(comparison, target=replace(world.target, labels=labels)), 0)
    assert [change.expression for change in changes if change.domain == "target"] == [EXPRESSIONS[1]]


def test_a_recommendation_knows_what_it_rests_on():
    record, _, table, summary = read_made(FOUND)
    network = find_recommended(front_table(table))
    images = SearchPlan.of(record).images

    found = summary.recommended

    assert (found.trial, found.folds, found.trainings) == tuple(network[["trial", "folds", "trainings"]])
    assert found.images == len(images.target.labels) and found.people == 15
    for domain in DOMAINS:
        gain = found.gains[domain]
        baseline = getattr(record.baseline, f"{domain}_val")
        assert network[f"{domain}_val"] == pytest.approx(baseline + gain.mean)
        assert gain.lower < gain.mean < gain.upper
    assert summary.obstacle is None and summary.nearest is None

    nothing = read_made(NOTHING)[3]
    assert nothing.recommended is None and nothing.obstacle == Obstacle.NO_GAIN and nothing.nearest is not None


def test_people_whom_nobody_knows_are_not_counted():
    info, trials = copy.deepcopy(made_answered())
    info["baseline"]["answers"]["target"]["subjects"] = [-1] * 600
    record = StudyRecord.from_json(info)
    _, summary = read_search(record, trials)
    judged = summary.recommended or summary.nearest
    assert judged.people is None
    assert (
        "images of unknown people, and 1,000 FER2013 stand-in images. No network was trained on an image"
        in expectations.describe_evidence(record, judged)
    )


@pytest.mark.parametrize(
    ("people", "said"),
    [(1, "that it answered on. One person says nothing about others"), (2, "of 2 people, and 1,000 FER2013")],
)  # fmt: skip
def test_one_person_is_said_to_say_nothing_of_others(people, said):
    record, _, _, summary = read_made(FOUND)
    assert said in expectations.describe_evidence(record, replace(summary.recommended, people=people))


# --- the race


def test_a_race_has_a_state_before_each_training_and_after_the_last():
    _, trials, table, summary = read_made(FOUND)
    raced = [trial for trial in trials if "race" in trial.user_attrs]
    race = summary.race

    assert len(race.states) == len(raced) + 1 and race.trainings + race.finalists == len(raced)
    assert race.finalists == sum("finalist" in trial.user_attrs["race"] for trial in raced) > 0
    for trial, state in zip(raced, race.states, strict=False):
        assert (state.front, state.undecided) == (
            trial.user_attrs["race"]["front"],
            trial.user_attrs["race"]["undecided"],
        )
    assert race.end == RaceEnd.SHARE_USED

    # The last state is that of all answers, the baseline's place included.
    probabilities = candidate_networks(table)["probability"].to_numpy(float)
    assert race.states[-1].front == pytest.approx(probabilities.sum())
    assert race.states[-1].undecided == pytest.approx(np.minimum(probabilities, 1 - probabilities).sum())

    # The figure and the words are about what decides: the front in whole points, where it is known of all moments.
    figure = build_race_figure(race)
    assert race.decided_in_whole_points and "in whole points of accuracy" in expectations.describe_race(race)
    assert figure.front.tolist() == [state.useful_front for state in race.states]
    assert figure.undecided.tolist() == [state.useful_undecided for state in race.states]
    assert f"{race.states[0].useful_front:.1f} networks were expected on this front" in expectations.describe_race(race)
    assert figure.finalists_from == race.trainings

    # A race of an older study stored the front of expected accuracies alone.
    first = replace(race.states[0], useful_front=float("nan"), useful_undecided=float("nan"))
    older = replace(race, states=(first, *race.states[1:]))
    assert build_race_figure(older).front.tolist() == [state.front for state in race.states]
    assert "whole points" not in expectations.describe_race(older)


@pytest.mark.parametrize(
    ("undecided", "grown", "said", "not_said"),
    [
        (0.5, False, "So the front can be relied on", "did harm"),
        (3.0, False, "Accuracies and the recommendation do not depend on that", "did harm"),
        (3.0, True, "does not mean that the race did harm", "can be relied on, each"),
    ],
)
def test_it_is_said_whether_the_front_can_be_trusted_after_a_race(undecided, grown, said, not_said):
    race = read_made(FOUND)[3].race
    before = replace(race.states[0], useful_front=10.0, useful_undecided=undecided - 0.2 if grown else undecided + 0.2)
    after = replace(race.states[0], useful_front=10.0, useful_undecided=undecided)
    words = expectations.describe_race(replace(race, trainings=1, finalists=0, states=(before, after)))
    assert said in words and not_said not in words


def test_a_race_says_why_it_ended():
    record, trials, _, _ = read_made(FOUND)
    plan = SearchPlan.of(record)
    of_search = [trial for trial in trials if "race" not in trial.user_attrs]
    chosen = [trial for trial in trials if "value" in trial.user_attrs.get("race", {})]
    finalists = [trial for trial in trials if "finalist" in trial.user_attrs.get("race", {})]

    def end_of(trials, plan=plan):
        return find_race_course(trials, reach_verdict(trials, plan), plan).end

    # Stopped in the middle; its share used; settled when the folds of finalists followed.
    assert end_of(of_search + chosen[:2]) == RaceEnd.STOPPED
    assert end_of(of_search + chosen) == RaceEnd.SHARE_USED
    settled = copy.deepcopy(finalists)
    for trial in settled:
        trial.user_attrs["race"] |= {"useful_undecided": 0.1, "useful_front": 4.0}
    assert end_of(of_search + chosen + settled) == RaceEnd.SETTLED
    assert find_race_course(of_search, reach_verdict(of_search, plan), plan) is None


@pytest.mark.parametrize(("undecided", "settled"), [(0.4, True), (0.41, False), (float("nan"), False)])
def test_a_race_has_settled_at_a_tenth_of_the_front(undecided, settled):
    assert RaceState(4.0, undecided, 3.0, 0.2, 0.0).has_settled is settled


def test_a_study_without_a_race_shows_none(tmp_path, monkeypatch):
    info, trials = made_answered(3, False, 0.0)
    (tmp_path / "race.png").write_bytes(b"of an earlier export")
    monkeypatch.setattr(figures, "NAMES", ())

    written = {path.name for path in export.export(info, trials, tmp_path)}

    assert not {name for name in written if name.startswith("race")} and not (tmp_path / "race.png").exists()
    assert "The race" not in report_of(info, trials).text
    assert "## The race" not in (tmp_path / "report.md").read_text()


# --- the report


def test_the_recommended_network_stands_on_top_with_intervals_and_their_source():
    _, trials, table, summary = read_made(FOUND)
    info, _ = made_answered(*FOUND)
    network = find_recommended(front_table(table))

    text = report_of(info, trials).text

    top = text[text.index("Use this network") : text.index("No picture of the front")]
    assert f"Trial {network['trial']} ({network['strategy']})" in top
    for domain in DOMAINS:
        mean, low, high = (f"{100 * network[f'{domain}_{name}']:.1f}" for name in ("val", "lower", "upper"))
        assert f"{mean} [{low}, {high}] %" in top and f"{low} to {high} % (90 % interval)" in top
    assert "3 trainings on 3 folds: 600 TFEID stand-in images of 15 people, and 1,000 FER2013" in top
    assert "No network was trained on a person of TFEID stand-in that it answered on" in top
    assert f"{100 * network['probability']:.0f} %" in top
    assert "at least 80 % of the baseline's accuracy" in top and "(--keep)" in top
    assert network["model"] in top and "study.predict" in top
    assert f"{summary.hypervolume:.4f}" in top and f"{summary.optimism:+.4f} of optimism" in top
    assert "nothing here has been confirmed" in top

    # Its neighbours by name and file, and every expression of both domains.
    front = front_table(table)
    for role, words in ((KEEPS_MORE, "Keeps more of the source"), (LEARNS_MORE, "Learns more of the target")):
        (neighbour,) = front.loc[front["role"] == role, "model"]
        assert words in top and neighbour in top
    for change in summary.recommended.expressions:
        assert f"{100 * (change.after - change.before):+.1f}" in top


def test_the_front_shows_intervals_probability_rung_folds_and_trainings():
    record, _, table, _ = read_made(FOUND)
    front = front_table(table)

    shown = build_front_table(record, table)

    column = {name: shown.head.index(name) for name in ("Role", "On front %", "Rung", "Folds", "Trainings")}
    is_distinct = find_distinct(front, record)
    first, others = front[is_distinct].to_dict("records"), front[~is_distinct].to_dict("records")
    rows = [*zip(shown.rows, first, strict=True), *zip(shown.folded, others, strict=True)]
    for cells, network in rows:
        assert cells[column["On front %"]] == f"{100 * network['probability']:.0f}"
        assert cells[column["Rung"]] == ("–" if network["strategy"] == "BL" else network["rung"])
        for name in ("Folds", "Trainings"):
            assert cells[column[name]] == network[name.lower()]
        assert cells[column["Role"]] == (network["role"] or "–")
    assert {RECOMMENDED, KEEPS_MORE, LEARNS_MORE} <= {cells[column["Role"]] for cells in shown.rows}


def test_observed_stands_beside_expected():
    record, _, table, summary = read_made(FOUND)
    network = find_recommended(front_table(table))

    optimism = expectations.build_optimism_table(record, front_table(table), summary)

    assert optimism.rows[0][1:] == [
        f"{summary.observed_hypervolume:.4f}", f"{summary.hypervolume:.4f}", f"{summary.optimism:+.4f}",
    ]  # fmt: skip
    for cells, domain in zip(optimism.rows[1:], DOMAINS, strict=True):
        observed, expected = network[f"observed_{domain}_val"], network[f"{domain}_val"]
        assert cells[1:3] == [f"{100 * observed:.1f}", f"{100 * expected:.1f}"]
        assert float(cells[3]) == pytest.approx(100 * (observed - expected), abs=0.051)


def test_markdown_and_latex_have_it_too():
    record, _, table, summary = read_made(FOUND)
    tables = list_tables(record, table, None, summary)
    network = find_recommended(front_table(table))

    text = render_markdown(record, table, tables, summary)

    head = text[: text.index("## Front")]
    assert "## Use this network" in head and f"`{network['model']}`" in head
    assert summary.race is not None and expectations.describe_race(summary.race) in head
    assert {"front", "optimism", "expressions"} <= {each.name for each in tables}
    assert all(r"\midrule" in to_latex(each) for each in tables)


def test_a_dead_expression_is_marked():
    record, _, _, summary = read_made(FOUND)
    expressions = tuple(
        replace(change, has_died=change.expression == "fear") for change in summary.recommended.expressions
    )
    shown = expectations.build_expressions_table(record, expressions)
    assert [cells[0] for cells in shown.rows if any("†" in str(cell) for cell in cells)] == ["fear"]


@pytest.mark.parametrize(
    ("domain", "fall", "said"), [("source", 0.3, True), ("source", 0.19, False), ("target", 0.3, False)]
)
def test_an_expression_that_is_forgotten_is_named_beside_the_recommendation(domain, fall, said):
    record, _, table, summary = read_made(FOUND)
    network = find_recommended(front_table(table))
    level = [replace(change, before=0.7, after=0.7) for change in summary.expressions[network["model"]]]
    changes = tuple(
        replace(change, after=0.7 - fall) if (change.domain, change.expression) == (domain, "fear") else change
        for change in level
    )
    fallen = replace(summary, expressions={**summary.expressions, network["model"]: changes})

    warning = build_recommendation(record, table, fallen).warning
    lines = describe_outcome(record, table, fallen)

    expected = "Beware: recall on FER2013 stand-in validation images falls: fear from 70.0 to 40.0 %."
    assert warning == (expected if said else "")
    assert (f"  {expected}" in lines) is said


def test_a_neighbour_that_lost_an_expression_is_named_with_it_where_there_is_no_other():
    record, _, table, summary = read_made(FOUND)
    front = front_table(table)
    front["role"] = front["role"].replace(LEARNS_MORE, "")
    recommended = find_recommended(front)
    following = front[front["target_val"] > recommended["target_val"]].sort_values("target_val").iloc[0]
    changes = tuple(
        replace(each, has_died=each.expression == "fear") for each in summary.expressions[following["model"]]
    )
    lost = replace(summary, expressions={**summary.expressions, following["model"]: changes})

    keeps_more, learns_more = expectations.describe_neighbours(record, front, lost)

    assert keeps_more.startswith("Keeps more of the source: trial")
    assert learns_more.startswith("Learns more of the target, but has lost fear: trial")
    assert following["model"] in learns_more
    assert len(expectations.describe_neighbours(record, front, summary)) == 1


@pytest.mark.parametrize(
    ("tested", "said"),
    [
        (0.7, "Keeps more of the source: trial"),
        (0.6, "Expected to keep more of the source, which test images do not show: trial"),
    ],
)
def test_a_neighbour_that_keeps_no_more_on_test_images_is_not_said_to(tested, said):
    record, _, table, _ = read_made(FOUND)
    front = front_table(table)
    points = []
    for role, accuracy in ((RECOMMENDED, 0.65), (KEEPS_MORE, tested)):
        (model,) = front.loc[front["role"] == role, "model"]
        names = [f"{domain}_{name}" for domain in DOMAINS for name in ("test", "lower", "upper")]
        points.append({"model": model, "front": True} | dict.fromkeys(names, accuracy))
    confirmed = replace(record, confirmation={"results": {"points": points}})

    assert expectations.describe_neighbours(confirmed, front)[0].startswith(said)


@pytest.mark.parametrize(
    ("obstacle", "said"),
    [
        (Obstacle.NO_GAIN, ("so use the baseline", "Images of more people", "--race", "--trials", "No lower --keep")),
        (Obstacle.FORGETS, ("No network keeps 80 %", "so use the baseline", "No lower --keep", "--trials")),
        (Obstacle.DIED, ("no longer recognises disgust", "So use the baseline", "more --trials")),
        (Obstacle.NOT_EVALUATED, ("Go on with the command",)),
    ],
)
def test_where_nothing_is_recommended_the_report_says_why_and_what_to_do(obstacle, said):
    record, _, table, summary = read_made(NOTHING)
    dead = tuple(replace(change, has_died=change.expression == "disgust") for change in summary.nearest.expressions)
    nearest = replace(summary.nearest, expressions=dead)

    words = build_recommendation(record, table, replace(summary, obstacle=obstacle, nearest=nearest)).certainty

    assert all(each in words for each in said), words


@pytest.mark.parametrize(
    ("race", "advice"), [(0.3, "a longer race (--race)"), (0.0, "a race, which this study does without (--race 0.3)")]
)
def test_a_longer_race_is_advised_only_where_there_was_one(race, advice):
    record, _, table, summary = read_made(NOTHING)
    record = replace(record, options=record.options | {"race": race})
    shown = build_recommendation(record, table, replace(summary, obstacle=Obstacle.NO_GAIN))
    assert shown is not None and advice in shown.certainty


def test_where_less_kept_would_do_the_report_says_how_much_and_which_network():
    info, trials = made_answered(*FOUND)
    strict = StudyRecord.from_json(info | {"options": info["options"] | {"keep": 1.0}})
    table, summary = read_search(strict, trials)
    assert summary.recommended is None and summary.sufficient_keep < 1

    words = build_recommendation(strict, table, summary).certainty

    # The network is the one that the report of that share recommends, and no larger share has one.
    assert f"With --keep {summary.sufficient_keep:g} recommended would be trial {summary.nearest.trial} (" in words
    assert f"with --keep {summary.sufficient_keep:g}: that searches no further" in words
    for share, is_found in ((summary.sufficient_keep, True), (summary.sufficient_keep + 0.01, False)):
        record = StudyRecord.from_json(info | {"options": info["options"] | {"keep": share}})
        found = read_search(record, trials)[1].recommended
        assert (found is not None) is is_found
        if found is not None:
            assert (found.trial, found.alpha, found.slope) == (
                summary.nearest.trial, summary.nearest.alpha, summary.nearest.slope,
            )  # fmt: skip

    # A share that the study forbids is none to advise.
    least = info["options"] | {"keep": 1.0, "min_retention": 0.995}
    assert read_search(StudyRecord.from_json(info | {"options": least}), trials)[1].sufficient_keep is None


def test_no_reader_of_a_front_needs_a_recommendation(tmp_path):
    record, trials, table, summary = read_made(NOTHING)
    info, _ = made_answered(*NOTHING)
    front = front_table(table)
    assert find_recommended(front) is None and not front.empty

    # The page and its figures.
    page = report_of(info, trials)
    assert page.stack == [] and "Nothing surely beats the baseline." in page.text
    assert "No trial has finished" not in page.text
    assert "Keeps more of the source" not in page.text
    figure = build_figure_data("pareto", record, table)
    assert figure.recommended is None
    assert "Recommended" not in {trace.name for trace in plotly_charts.draw_chart(figure).data}
    assert matplotlib_plots.draw_plot(record, figure) is not None

    # At first the baseline is compared with the network that came nearest, which the page names.
    details = collect_network_details(record, table, summary)
    nearest = model_file(summary.nearest.trial, summary.nearest.alpha, summary.nearest.slope)
    assert details["compared"] == ["baseline", nearest] and nearest in details["networks"]
    assert str(summary.nearest.trial) in collect_trial_details(record, table, trials)["trials"]

    # Markdown, terminal, MLflow.
    text = render_markdown(record, table, list_tables(record, table, None, summary), summary)
    assert f"## {OBSTACLE}" in text and "so use the baseline" in text
    assert list_findings(record, table, summary)[0].question == OBSTACLE
    assert "→" not in text_of_terminal(record, table)
    assert describe_outcome(record, table, summary)[0].startswith("No network is recommended. No network that surely")
    assert set(models.aliases(front)) == {"best-retention", "best-target"}
    tags = outcome.recommendation_tags(front, summary)
    assert tags["recommended_network"].startswith("none: no network that keeps enough")
    assert tags["recommended_trial"] == tags["recommended_file"] == "none"
    assert not outcome.recommended_metrics(table, front, record, summary, {})
    assert "**No network is recommended.** No network that surely" in describe_study(
        record, table, summary, tmp_path, None
    )


def test_after_a_confirmation_test_figures_are_told():
    info, trials = copy.deepcopy(made_answered())
    record = StudyRecord.from_json(info)
    front = front_table(read_search(record, trials)[0])
    wanted = front[front["role"] != ""]
    points: list[Row] = []
    for place, model in enumerate(["", *wanted["model"]]):
        point: Row = {"name": model or "BL", "strategy": "FU", "alpha": "1", "front": bool(model), "model": model}
        point["seeds"] = 5
        for domain in DOMAINS:
            test = 0.31 + place / 100
            point |= {f"{domain}_test": test, f"{domain}_lower": test - 0.02, f"{domain}_upper": test + 0.02}
            if model:
                point |= {f"{domain}_change": place / 100, f"{domain}_change_lower": 0.0,
                          f"{domain}_change_upper": 0.1, f"{domain}_p": 0.5, f"{domain}_p_alone": 0.04}  # fmt: skip
            point |= {f"{domain}_handed_over": test + 0.1, f"{domain}_handed_over_lower": test + 0.05,
                      f"{domain}_handed_over_upper": test + 0.15, f"{domain}_optimism": 0.034}  # fmt: skip
        points.append(point)
    info["confirmation"] = {"opened": "2026-01-01", "finished": "2026-01-01", "seeds": 5, "results": {"points": points}}

    text = report_of(info, trials).text

    top = text[text.index("Use this network") : text.index("No picture of the front")]
    recommended = find_recommended(front)
    tested = next(point for point in points if point["model"] == recommended["model"])
    assert f"{100 * tested['target_test']:.1f} [" in top and "Another training of it would give about" in top
    in_file = " and ".join(
        f"{100 * tested[f'{domain}_handed_over']:.1f} [{100 * tested[f'{domain}_handed_over_lower']:.1f}, "
        f"{100 * tested[f'{domain}_handed_over_upper']:.1f}] % on {name} stand-in"
        for domain, name in zip(DOMAINS, ("FER2013", "TFEID"), strict=True)
    )
    assert f"Tested on images that the search never saw, the file itself reaches {in_file}." in top
    assert top.index(in_file) < top.index("Another training of it")
    cards = top[: top.index("File, in the study's folder")]
    of_file, again = (f"{100 * tested[f'target_{name}']:.1f} [" for name in ("handed_over", "test"))
    assert cards.index(of_file) < cards.index("the file itself") < cards.index(again)
    assert "The search had expected 3.4 points more on TFEID stand-in." in top
    assert text.index("FER2013 stand-in %, file") < text.index("FER2013 stand-in %, again")
    assert text.count("What counts is p in this table") == 1 and "what the search expected minus the test mean" in text
    assert "not yet seen on test images" not in top and f"{100 * recommended['target_val']:.1f} [" not in top
    for model in wanted["model"]:
        point = next(point for point in points if point["model"] == model)
        assert f"{100 * point['target_handed_over']:.1f} [" in top


def test_certainty_of_an_older_study_is_as_it_was():
    table = trials_table(made_trials(30))
    words = describe_certainty(StudyRecord.from_json(made_info()), table, find_recommended(front_table(table)))
    assert words.startswith("Not sure: it is the best of 24 trainings")


# --- trials and budgets


def test_details_say_rung_fold_and_race_and_compare_with_the_baseline_on_the_fold():
    record, trials, table, _ = read_made(FOUND)
    plan = SearchPlan.of(record)

    details = collect_trial_details(record, table, trials)["trials"]

    for trial in counted_trials(trials):
        found = details[str(trial.number)]
        attributes = trial.user_attrs
        fold = attributes.get("fold", 0)
        assert found["place"].startswith(f"rung {attributes.get('rung', 1)}, fold {fold + 1} of 3")
        assert ("of the race" in found["place"]) == ("race" in attributes)
        assert found["baseline_target"] == pytest.approx(plan.baseline_of_folds[fold], abs=1e-5)


def test_the_csv_of_trials_says_which_the_race_asked_for():
    _, trials, table, _ = read_made(FOUND)
    assert table["race"].tolist() == ["race" in trial.user_attrs for trial in trials]


def test_a_race_makes_no_configurations_of_its_trials():
    info, trials = made_answered(*FOUND)
    assert f"{len(trials)} trials of 12 configurations" in report_of(info, trials).text


def test_strategies_are_drawn_with_equal_budgets():
    record, _, table, _ = read_made(FOUND)

    drawn = build_figure_data("strategies", record, table)

    networks = pd.concat([group for _, group in drawn.groups])
    assert len(networks) == 12 and set(networks["rung"]) == {1} and set(networks["search_alpha"]) == {1.0}
    expected = candidate_networks(table).set_index(["number", "search_alpha"])["target_val"]
    for network in networks.to_dict("records"):
        assert network["target_val"] == expected[network["number"], 1.0]
    assert "equal budgets" in drawn.note

    # One rung: nothing to say, and every finished trial is drawn.
    plain = trials_table(made_trials(30))
    assert build_figure_data("strategies", record, plain).note == ""
    assert first_rung_networks(plain)["number"].tolist() == plain.loc[plain["state"] == "finished", "number"].tolist()


def test_importance_counts_the_first_rung_alone():
    trials = made_trials(60)
    promoted = [copy.deepcopy(trial) for trial in made_trials(60, seed=1)]
    for number, trial in enumerate(promoted):
        trial.number = 60 + number
        trial.user_attrs |= {"rung": 2, "slot": number}
    pd.testing.assert_frame_equal(compute_importances(trials)[0], compute_importances(trials + promoted)[0])


def test_importance_is_freed_of_what_folds_add():
    info, _ = made_answered()
    plan = SearchPlan.of(StudyRecord.from_json(info))
    trials = []
    for number in range(60):
        lr = 10 ** (-4 + number / 20)
        fold = number % 3
        effect = plan.baseline_of_folds[fold]
        trials.append(made_trial(number, values=(0.5 + number / 1000, effect + number / 1000), fold=fold,
                                 config={"lr": lr}))  # fmt: skip

    ranking, _ = compute_importances(trials, plan)

    # Both objectives follow the learning rate, so their best tenths are the same trials.
    np.testing.assert_allclose(ranking["source"], ranking["target"])


def test_a_dominated_network_with_a_role_leaves_the_border_a_staircase():
    trials = [made_trial(number, values=pair) for number, pair in enumerate([(0.3, 0.8), (0.6, 0.5)])]
    front = front_table(trials_table(trials))
    dominated = front.iloc[[0]].assign(source_val=0.25, target_val=0.4)
    np.testing.assert_array_equal(front_border(pd.concat([dominated, front])), front_border(front))


def test_the_papers_table_compares_with_the_baseline_on_the_same_images():
    record, _, table, _ = read_made(FOUND)
    networks = candidate_networks(table)
    of_re = networks[(networks["strategy"] == "RE") & (networks["rung"] == 1) & (networks["search_alpha"] == 1)]

    shown = paper_table(table, "tfeid").set_index(["figures", "domain"])

    for domain in DOMAINS:
        found = shown.loc[(OURS, domain)]
        assert found["RE_100"] == pytest.approx(100 * of_re[f"observed_{domain}_val"].mean(), abs=1e-6)
        assert found["BL"] == pytest.approx(100 * getattr(record.baseline, f"{domain}_val"), abs=1e-6)


# --- figures


def test_the_front_rings_the_recommended_network_with_its_intervals():
    record, _, table, _ = read_made(FOUND)
    network = find_recommended(front_table(table))

    figure = build_figure_data("pareto", record, table)

    assert figure.recommended.point == pytest.approx(100 * network[["source_val", "target_val"]].to_numpy(float))
    (ring,) = [trace for trace in plotly_charts.draw_chart(figure).data if trace.name == "Recommended"]
    assert ring.x[0] + ring.error_x.array[0] == pytest.approx(100 * network["source_upper"])
    assert ring.y[0] - ring.error_y.arrayminus[0] == pytest.approx(100 * network["target_lower"])
    labels = matplotlib_plots.draw_plot(record, figure).axes[0].get_legend_handles_labels()[1]
    assert "recommended" in labels


def test_the_race_is_a_figure_of_its_own():
    record, _, _, summary = read_made(FOUND)
    data = build_race_figure(summary.race)

    axes = matplotlib_plots.draw_plot(record, data).axes[0]

    front, undecided, settled, _ = axes.get_lines()
    assert front.get_ydata().tolist() == data.front.tolist()
    assert undecided.get_ydata().tolist() == data.undecided.tolist()
    assert settled.get_ydata().tolist() == pytest.approx(data.front / 10)
    assert axes.get_ylabel() == "Networks, expected number"


@pytest.mark.slow
def test_an_export_writes_the_race(tmp_path):
    info, trials = made_answered(*FOUND)
    files = render_files(info, trials)
    assert {f"race.{kind}" for kind in ("png", "svg", "pdf")} <= set(files) and "race.html" not in files
    page = files["report.html"].decode()
    assert "The race" in page and 'alt="race of the study"' in page


def test_hovering_tells_in_five_short_lines_what_is_expected():
    record, _, table, _ = read_made(FOUND)
    networks = candidate_networks(table)
    baseline = record.baseline.source_val

    texts = hover_texts(networks, varied_hyperparameters(table), baseline)

    for text, network in zip(texts, networks.to_dict("records"), strict=True):
        name, source, target, kept, hyperparameters = text.split("<br>")
        assert f"Trial {network['number']} ({network['strategy']})" in name
        assert re.fullmatch(r"source [\d.]+ \[[\d.]+, [\d.]+\] %", source)
        assert f"{100 * network['target_val']:.1f} [" in target
        assert f"kept {100 * network['source_val'] / baseline:.1f} %" in kept and "on front" in kept
        assert hyperparameters.startswith("frozen ")
        assert all(len(re.sub("<[^>]+>", "", line)) <= LONGEST_LINE for line in text.split("<br>"))


# --- terminal


def test_the_terminal_holds_a_front_in_eighty_columns():
    record, _, table, summary = read_made(FOUND)
    network = find_recommended(front_table(table))

    lines = text_of_terminal(record, table).splitlines()

    (marked,) = [line for line in lines if "→" in line]
    assert row_name(network, short=True) in marked
    for domain in DOMAINS:
        mean, low, high = (f"{100 * network[f'{domain}_{name}']:.1f}" for name in ("val", "lower", "upper"))
        assert f"{mean} [{low}, {high}]" in marked
    assert all(len(line) <= 80 for line in lines)

    said = describe_outcome(record, table, summary)
    assert network["model"] in said[0] and "90 % intervals" in said[1] and "3 trainings on 3 folds" in said[2]
    assert [line.split(":")[0].strip() for line in said[3:]] == [
        "Keeps more of the source",
        "Learns more of the target",
    ]


# --- MLflow


def test_the_parent_has_the_recommended_networks_figures_and_each_trial_its_place(study_run, tmp_path):
    _, trials, table, summary = read_made(FOUND)
    info = made_answered(*FOUND)[0] | {"id": "shown", "name": "shown"}
    network = find_recommended(front_table(table))
    handed_over = made_trial(len(trials), handed_over=[[1.0, 0.0]], recipe_of=int(network["trial"]), fold=-1)
    assert all(study_run.finish(info, [*trials, handed_over], set(), tmp_path) for _ in range(2))

    # The study's run.
    (parent,) = parents(study_run, info)
    metrics = parent.data.metrics
    record = StudyRecord.from_json(info)
    gain = summary.recommended.gains["target"]
    expected = {
        "source": network["source_val"],
        "target": network["target_val"],
        "source_lower": network["source_lower"],
        "target_upper": network["target_upper"],
        "kept": network["source_val"] / record.baseline.source_val,
        "gain": gain.mean,
        "gain_lower": gain.lower,
        "gain_upper": gain.upper,
        "keeps_enough": summary.recommended.kept,
        "on_front": network["probability"],
    }
    for name, value in expected.items():
        assert metrics[f"recommended_{name}"] == pytest.approx(value)
    assert metrics["hypervolume"] == pytest.approx(summary.hypervolume)
    assert metrics["optimism"] == pytest.approx(summary.optimism)
    assert parent.data.tags["recommended_file"] == network["model"]
    assert parent.data.tags["recommended_trial"] == str(network["trial"])
    assert parent.data.tags["recommended_strategy"] == network["strategy"]
    history = study_run.client.get_metric_history(parent.info.run_id, "race/undecided")
    assert [point.value for point in history] == [state.undecided for state in summary.race.states]

    # Its trials; what was handed over judges nothing and has no run.
    runs = {int(run.data.tags["trial"]): run for run in children(study_run, info)}
    assert set(runs) == {trial.number for trial in trials}
    for trial in trials[1:]:
        tags = runs[trial.number].data.tags
        attributes = trial.user_attrs
        assert [tags[name] for name in ("rung", "fold", "repeat")] == [
            str(attributes[name]) for name in ("rung", "fold", "repeat")
        ]
        assert tags["configuration"] == str(attributes["slot"])
        assert tags["race"] == str("race" in attributes).lower()


def test_aliases_follow_the_rule_and_older_studies_keep_their_knee():
    _, _, table, _ = read_made(FOUND)
    front = front_table(table)
    found = models.aliases(front)
    assert set(found) == {"best-retention", "best-target", "recommended"}
    assert found["recommended"] == find_recommended(front)["model"]

    older = models.aliases(front_table(trials_table(made_trials(30))))
    assert set(older) == {"best-retention", "best-target", "recommended", "knee"}
    assert older["knee"] == older["recommended"] and models.aliases(front_table(trials_table([]))) == {}


@pytest.mark.parametrize(
    ("asked", "copy", "label"),
    [
        ("ck+48", "/data/ck+48", "CK+48"),
        ("ckplus", "/data/CK+48.tar.gz", "CK+48"),
        ("ck48", "/data/ckplus", "CK+"),
        ("ck+", "/data/CK+", "CK+"),
        ("ck+48", "", "CK+48"),
        ("ckplus", "", "CK+"),
        ("ckplus", 3, "CK+"),
    ],
)
def test_a_dataset_that_is_read_as_another_is_called_as_its_copy_is(asked, copy, label):
    target = {"name": "ckplus", "kind": "real", "report": {"copy": copy}}
    record = StudyRecord.from_json(made_info(target=target, options={"target": asked}))
    assert dataset_label(record, "target") == label
