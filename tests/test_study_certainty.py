"""What a report says of its certainty, sentence by sentence: how many people, which differences, how sure."""

import re

import numpy as np
import pytest

from fer.architecture import VGG13, Architecture
from made_study import made_confirmed, made_info, made_trial, made_trials, make_point
from study.confirmation.statistics import judge_points, strategy_differences
from study.fronts import find_knee, front_table
from study.record import DOMAINS, StudyRecord
from study.reporting.certainty import describe_certainty, describe_stronger_strategies, validation_estimate
from study.reporting.findings import describe_differences, describe_freezing, list_findings
from study.reporting.html_report import render_html
from study.reporting.markdown_report import list_tables, render_markdown
from study.reporting.recommendation import build_recommendation
from study.reporting.result_tables import build_differences_table
from study.reporting.significance import (
    describe_change,
    describe_confirmed_changes,
    describe_front_differences,
    describe_intervals,
    describe_verdicts,
)
from study.reporting.wording import count_untested, p_value_text
from study.trials import TARGET_ERROR_MEASURE, model_file, trials_table


def confirmed_info(people: int, images: int, seeds: int = 5, level: float = 0.0, front: int = 2, **changes) -> dict:
    """Returns the record of a study confirmed on real data with some people in the target's test set."""
    rng = np.random.default_rng(people)
    subjects = {"source": np.full(200, -1), "target": np.arange(images) % people if people else np.full(images, -1)}
    points = []
    for index, name in enumerate(["BL", "FC", "RE", *(f"trial {n}" for n in range(front))]):
        several = 1 if index == 0 else seeds
        right = {side: rng.random((several, len(numbers))) < 0.5 + level * (index > 0)
                 for side, numbers in subjects.items()}  # fmt: skip
        model = model_file(index - 3) if index > 2 else ""
        about = {"model": model, "front": bool(model), "divisions": 4}
        about |= {"validation": {"source": 0.6, "target": 0.7}}
        points.append(make_point(name, right, **(about if model else {"divisions": 4})))
    results = judge_points(points, subjects, 0.95).to_json()
    results |= {
        "inside": [{}] * len(points),
        "differences": [row.to_json() for row in strategy_differences(points, subjects, 0.95)],
    }
    opening = {"opened": "2026-01-01", "finished": "2026-01-01", "seeds": seeds, "results": results}
    real = {"source": {"name": "fer2013", "kind": "real"}, "target": {"name": "jaffe", "kind": "real"}}
    return made_info(synthetic=False, confirmation=opening) | real | changes


@pytest.mark.parametrize(
    "people, images, said",
    [
        (1, 20, "one person in the test set, who says nothing about others"),
        (2, 40, "two people in the test set (40 images), so few"),
        (3, 67, "three people in the test set (67 images), so few"),
        (12, 60, "12 people in the test set (60 images)."),
        (0, 60, "60 test images of unknown people, each counted as a person"),
    ],
)
def test_a_reader_is_told_how_many_people_the_test_set_shows(people, images, said):
    assert f"JAFFE: {said}" in describe_intervals(StudyRecord.from_json(confirmed_info(people, images)))


@pytest.mark.parametrize("people, images, said", [
    (1, 20, "with 1 test person even the largest true difference would not be found four times in five"),
    (3, 67, "with 3 test people"),
    (12, 120, "with 12 test people a true difference would have to be about"),
    (0, 300, "with 300 test images a true difference would have to be about"),
])  # fmt: skip
def test_where_no_difference_is_significant_it_says_which_would_have_been_seen(people, images, said):
    info = confirmed_info(people, images)
    point = info["confirmation"]["results"]["points"][3]
    words = describe_change(StudyRecord.from_json(info), point, "target")
    assert "not significantly different" in words and said in words

    limit = re.search(r"would have to be about ([\d.]+) points", words)
    assert limit is None or float(limit[1]) == pytest.approx(100 * point["target_detectable"], rel=0.06)


@pytest.mark.parametrize("people, images, said", [
    (1, 20, "On JAFFE, with 1 test person, even the largest true difference would not be found"),
    (12, 120, "On JAFFE, with 12 test people, a true difference would have to be about"),
])  # fmt: skip
def test_how_much_tests_of_pairs_could_have_found_is_said_without_denying_what_they_found(people, images, said):
    words = describe_front_differences(StudyRecord.from_json(confirmed_info(people, images)))
    assert said in words and "no true difference" not in words


def test_one_family_of_p_values_decides_and_everything_else_refers_to_it():
    info = confirmed_info(12, 120)
    # As earlier versions stored it: a strategy's change from the baseline once more, with another correction.
    results = info["confirmation"]["results"]
    results["differences"].append(results["differences"][0] | {"one": "RE", "other": "BL"})
    record = StudyRecord.from_json(info)

    verdicts = describe_verdicts(record, trials_table([]))
    table = build_differences_table(record)
    assert table is not None

    comparisons = 2 * (len(record.results.points) - 1)
    assert f"corrected by Holm, all {comparisons} comparisons together" in verdicts and "decides nothing" in verdicts
    assert [row[0] for row in table.rows] == ["FC − RE"] and table.head == [
        "Difference", "FER2013, points", "JAFFE, points"
    ]  # fmt: skip
    assert "which p counts, is said where the confirmed networks are" in describe_differences(record)


def test_a_strategys_change_from_the_baseline_is_judged_once():
    differences = confirmed_info(12, 120)["confirmation"]["results"]["differences"]
    assert [(row["one"], row["other"]) for row in differences] == [("FC", "RE")]


def test_what_intervals_are_about_is_said_once_where_they_are_explained():
    info, trials = confirmed_info(3, 67), made_trials(3)
    table = trials_table(trials)
    html = render_html(StudyRecord.from_json(info), table, {}, {"pareto": "not drawn here"}, None)
    text = render_markdown(StudyRecord.from_json(info), table, list_tables(StudyRecord.from_json(info), table, None))
    for found in (html, text):
        assert found.count("about other people and other seeds, with this one baseline") == 1
        assert found.count("4 divisions of the target into training and validation images in turn") == 1

    single = describe_intervals(StudyRecord.from_json(confirmed_info(3, 67, seeds=1)))
    assert "other people, with this one training of each" in single and "Seeds differ" not in single

    same = confirmed_info(3, 67)
    for point in same["confirmation"]["results"]["points"]:
        point["divisions"] = 1
    assert "divisions" not in describe_intervals(StudyRecord.from_json(same))


CLAIMS = re.compile(r"told apart|told from|luck|tested best|did best|may be nothing|leads at every|McNemar|bootstrap")


@pytest.mark.parametrize("confirmed", [False, True])
@pytest.mark.parametrize("level", [0.0, 0.4])
@pytest.mark.parametrize("people", [3, 0])
def test_no_sentence_claims_more_than_was_tested(people, level, confirmed):
    info = confirmed_info(people, 60, level=level)
    trials = made_trials(3)
    if not confirmed:
        info = {name: value for name, value in info.items() if name != "confirmation"}
    table = trials_table(trials)
    html = render_html(StudyRecord.from_json(info), table, {}, {"pareto": "not drawn here"}, None)
    text = render_markdown(StudyRecord.from_json(info), table, list_tables(StudyRecord.from_json(info), table, None))
    for found in (html, text):
        assert not CLAIMS.findall(re.sub(r"<script.*?</script>", "", found, flags=re.DOTALL))

    points = info.get("confirmation", {}).get("results", {}).get("points", [])
    significant = any(point[f"{side}_p"] < 0.05 for point in points[3:] for side in DOMAINS)
    assert significant or not re.search(r", significantly (better|worse)", text + html)


def test_both_p_values_stand_beside_each_change():
    info = confirmed_info(3, 67)
    (table,) = (
        one
        for one in list_tables(StudyRecord.from_json(info), trials_table(made_trials(3)), None)
        if one.name == "confirmed"
    )

    assert table.head.count("p alone") == table.head.count("p") == 2
    assert table.rows[0][table.head.index("p alone")] == "–"
    for row, point in zip(table.rows[1:], info["confirmation"]["results"]["points"][1:], strict=True):
        first = table.head.index("p alone")
        assert row[first : first + 2] == [p_value_text(point["source_p_alone"]), p_value_text(point["source_p"])]
        assert row[first + 2].startswith(f"{100 * point['target_change']:+.1f} [")


def test_a_confirmed_recommendation_shows_its_change_on_test_images_with_an_interval():
    info, trials = made_confirmed()
    table = trials_table(trials)
    html = render_html(StudyRecord.from_json(info), table, {}, {"pareto": "not drawn here"}, None)
    knee = find_knee(front_table(table))
    point = next(p for p in info["confirmation"]["results"]["points"] if p["model"] == knee["model"])
    low, high = (100 * point[f"target_change_{end}"] for end in ("lower", "upper"))

    assert f"<b>{100 * point['target_change']:+.1f} [{low:+.1f}, {high:+.1f}] points</b>" in html
    assert f"p = {point['target_p']:.2g} corrected, {point['target_p_alone']:.2g} alone" in html
    assert (
        "points</b><span>" in html
        and "not yet seen on test images" not in html[: html.index('<section id="front-of-search">')]
    )


@pytest.mark.parametrize(
    "sizes, subjects, error, said",
    [
        (40, 0, None, "40 JAFFE validation images of unknown people (each counted as a person) is"),
        (40, 8, 0.05, "40 JAFFE validation images of 8 people is"),
        (20, 1, None, "20 JAFFE validation images show one person, who says nothing about others"),
        (40, 8, None, "40 JAFFE validation images show 8 people; how much they differ was not recorded"),
        (None, 0, None, "Not sure: it is the best of 3 trainings on the images it was chosen by. A confirmation"),
    ],
)
def test_an_unconfirmed_recommendation_says_how_sure_validation_makes_it(sizes, subjects, error, said):
    report = {"sizes": {"validation": sizes}, "subjects": {"validation": subjects}}
    info = made_info(target={"name": "jaffe", "kind": "real", "report": report})
    trials = made_trials(3)
    for trial in trials if error else ():
        trial.user_attrs["measures"][TARGET_ERROR_MEASURE] = error
    table = trials_table(trials)
    knee = find_knee(front_table(table))

    words = describe_certainty(StudyRecord.from_json(info), table, knee)

    assert said in words and list_findings(StudyRecord.from_json(info), table)[0].words == words

    if error:
        low, high = (float(end) for end in re.search(r"is ([\d.]+) to ([\d.]+) %", words).groups())
        # Eight people, seven degrees of freedom: 2.36 errors on each side, before Wilson's form.
        assert low < 100 * knee["target_val"] < high and high - low == pytest.approx(2 * 2.36 * 5, rel=0.1)


@pytest.mark.parametrize(
    "network, said",
    [
        (VGG13, "Freezing all ten convolutions (FC)"),
        (Architecture("vit", 3, 32, 7, ("tokens", "block", "head"), 2, ()), "Freezing all blocks before the head (FC)"),
    ],
)
def test_what_fc_freezes_is_said_of_the_studys_network(network, said):
    info = confirmed_info(8, 80) | {"network": network.to_json()}
    assert said in describe_freezing(StudyRecord.from_json(info))


def test_validation_errors_of_a_network_on_the_way_are_its_own():
    between = {"source_val": 0.5, "target_val": 0.5, "source_val/0.50": 0.9, "target_val/0.50": 0.9}
    errors = {TARGET_ERROR_MEASURE: 0.1, f"{TARGET_ERROR_MEASURE}/0.50": 0.02}
    table = trials_table([made_trial(0, measures=between | errors)])
    knee = find_knee(front_table(table))

    found = validation_estimate(table, knee, 40, 8)

    assert (found.mean, found.error, found.variances[0].freedom) == (0.9, 0.02, 7)


def test_networks_found_after_a_confirmation_are_counted_as_untested_and_their_test_is_the_next_step():
    info = confirmed_info(12, 120, front=2)
    table = trials_table(made_trials())
    front = front_table(table)
    points = info["confirmation"]["results"]["points"]
    before = StudyRecord.from_json(made_info())
    record = StudyRecord.from_json(info)

    tested = {point["model"] for point in points}
    expected = sum(model not in tested for model in front["model"][front["strategy"] != "BL"])
    words = describe_verdicts(record, table)

    assert expected > 1 and count_untested(record, front) == expected and count_untested(before, front) == 0
    assert f"{expected} networks of the front are new or trained further, and untested in the present form" in words
    assert "networks of this table were chosen before a test image was read" in words
    recommendation = build_recommendation(record, table)
    assert recommendation is not None
    assert recommendation.snippets[-1].text.endswith("--again")


@pytest.mark.parametrize(
    ("people", "images", "level", "said"),
    [
        (1, 20, 0.0, "on test images of JAFFE (which says nothing: 1 test person would not show even the largest"),
        (40, 400, 0.0, "No network differs significantly from the baseline on test images of JAFFE"),
        (40, 400, 0.45, "On test images of JAFFE, FC, RE, "),
    ],
)
def test_the_verdict_of_a_confirmation_is_told_in_a_sentence(people, images, level, said):
    verdict = describe_confirmed_changes(StudyRecord.from_json(confirmed_info(people, images, level=level)))

    assert said in verdict and ("significantly better than the baseline" in verdict) == (level > 0)
    assert describe_confirmed_changes(StudyRecord.from_json(made_info())) == ""


@pytest.mark.parametrize("above", [True, False])
def test_a_named_strategy_that_was_better_on_both_test_sets_is_told_with_its_budget(above):
    info = confirmed_info(1, 20)
    baseline, fc, *others, trial, last = info["confirmation"]["results"]["points"]
    for domain in DOMAINS:
        for other in (*others, last):
            other[f"{domain}_test"] = 0.1
        baseline[f"{domain}_test"], trial[f"{domain}_test"] = 0.3, 0.4
        fc[f"{domain}_test"] = 0.9 if above or domain == "source" else 0.2
    jobs = [{"name": "FC", "config": {"epochs": 256.0}}, {"name": "trial 0", "config": {"epochs": 16.0}}, 3]
    info["confirmation"]["jobs"] = jobs
    record = StudyRecord.from_json(info)
    network = front_table(trials_table([made_trial(0)])).iloc[0]

    of_trial = describe_stronger_strategies(record, network)
    of_baseline = describe_stronger_strategies(record, None)

    figures = "FC (90.0 and 90.0 %, trained for 256 passes over the target against 16) did better"
    assert (figures in of_trial and "1 test person" in of_trial) == above
    assert ("FC (90.0 and 90.0 %)" in of_baseline) == above and "the baseline (30.0 and 30.0 %)" in of_baseline
    assert describe_stronger_strategies(StudyRecord.from_json(made_info()), network) == ""


def test_a_second_evaluation_does_not_say_that_the_networks_were_chosen_before_a_test_image_was_read():
    info = confirmed_info(12, 120)
    info["confirmation"]["earlier"] = ["2025-12-01"]

    words = describe_verdicts(StudyRecord.from_json(info), trials_table([]))

    assert "before a test image was read" not in words and "test images had been read before" in words
