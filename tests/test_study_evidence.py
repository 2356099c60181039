"""What test answers are made to say: by simulation, by consistency, and sentence by sentence."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_study import made_confirmed, made_info, made_trial, made_trials
from study.confirmation.points import ConfirmedPoint
from study.confirmation.statistics import judge_points, strategy_differences
from study.fronts import find_knee, front_table
from study.record import DOMAINS
from study.reporting.certainty import (
    about_intervals,
    change_words,
    describe_certainty,
    differing_points,
    validation_estimate,
)
from study.reporting.findings import list_findings
from study.reporting.html_report import render_html
from study.reporting.markdown_report import list_tables, render_markdown
from study.trials import ERROR, model_file, trials_table

ROOT = Path(__file__).parent.parent


def make_point(name: str, right: dict[str, np.ndarray], **about) -> ConfirmedPoint:
    return ConfirmedPoint(name, name, right, named=name, **about)


def draw_points(
    rng: np.random.Generator, people: int = 6, levels: tuple[float, ...] = (0.0,) * 6, seeds: int = 3
) -> tuple[list[ConfirmedPoint], dict[str, np.ndarray]]:
    """Draws a baseline and networks that are better than it by `levels` deviations; frames come in sequences of four.

    The first four networks are the named strategies, all are on the front.
    """
    subjects = {"source": np.full(40, -1), "target": np.repeat(np.arange(people), 12)}
    common = {side: rng.normal(size=len(numbers)) for side, numbers in subjects.items()}
    of_person = rng.normal(0, 0.6, people)
    common["target"] = of_person[subjects["target"]] + np.repeat(rng.normal(0, 0.8, 3 * people), 4)
    points = []
    for index, level in enumerate((0.0, *levels)):
        right = {}
        for side, numbers in subjects.items():
            several = 1 if index == 0 else seeds
            noise = rng.normal(0, 0.6, (several, len(numbers)))
            if side == "target":
                noise += rng.normal(0, 0.3, (several, people))[:, numbers]
            if index:
                noise += rng.normal(0, 0.15, (several, 1))
            right[side] = 0.2 + level + common[side] + noise > 0
        name = ("BL", "FC", "FC+CL", "RE", "FU")[index] if index < 5 else f"trial {index}"
        points.append(make_point(name, right, model=f"m{index}" if index else "", front=index > 0))
    return points, subjects


# --- simulation


def test_equally_good_networks_are_seldom_called_different_by_any_corrected_test():
    rng, repeats = np.random.default_rng(11), 150
    found = {"holm": 0, "pairs": 0, "differences": 0}
    for _ in range(repeats):
        points, subjects = draw_points(rng, people=int(rng.choice([3, 6, 12])))
        judged = judge_points(points, subjects, 0.95)
        found["holm"] += any(row[f"{side}_p"] < 0.05 for row in judged["points"] for side in DOMAINS)
        found["pairs"] += any(len(others) < len(points) - 2 for others in judged["alike"].values())
        rows = strategy_differences(points, subjects, 0.95)
        found["differences"] += any(row[f"{side}_p"] < 0.05 for row in rows for side in DOMAINS)

    assert all(count / repeats <= 0.06 for count in found.values()), found


def test_the_best_of_thirty_equal_configurations_does_not_differ_from_the_others():
    rng = np.random.default_rng(3)
    subjects = {"source": np.full(60, -1), "target": np.repeat(np.arange(5), [10, 10, 9, 9, 9])}  # 47 target images
    points = []
    for index in range(31):
        right = {side: rng.random((3, len(people))) < 0.6 for side, people in subjects.items()}
        about = {"model": f"m{index}", "front": index > 0, "validation": {"source": 0.6, "target": 0.75}}
        points.append(make_point(f"trial {index}", right, **about))
    found = judge_points(points, subjects, 0.95)
    assert all(len(others) == 29 for others in found["alike"].values())
    assert all(point["target_p"] > 0.05 for point in found["points"][1:])

    optimism = [point["target_optimism"] for point in found["points"]]
    assert np.mean(optimism) == pytest.approx(0.15, abs=0.03)

    said = differing_points({"confirmation": {"results": found}})
    assert "No two of the front's 30 points differ significantly" in said and "with 5 test people" in said


def test_a_clear_difference_is_significant():
    rng = np.random.default_rng(4)
    subjects = {"source": np.full(500, -1), "target": np.repeat(np.arange(20), 10)}
    points = [
        make_point(name, {side: rng.random((5, len(people))) < level for side, people in subjects.items()},
                   model=name, front=name != "BL")
        for name, level in (("BL", 0.4), ("bad", 0.45), ("good", 0.8))
    ]  # fmt: skip
    found = judge_points(points, subjects, 0.95)
    assert found["alike"] == {"bad": [], "good": []}
    assert found["points"][2]["target_p"] < 0.001

    info = made_info(confirmation={"results": found})
    assert "All 2 points of the front differ significantly" in differing_points(info)
    assert "significantly better" in change_words(info, found["points"][2], "target")


# --- consistency


@pytest.mark.parametrize("people", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("seeds", [1, 5])
def test_intervals_and_the_p_values_beside_them_agree(people, seeds):
    rng = np.random.default_rng(people)
    for _ in range(5):
        points, subjects = draw_points(rng, people, tuple(rng.normal(0, 0.8, 6)), seeds)
        rows = judge_points(points, subjects, 0.95)["points"][1:]
        for side in DOMAINS:
            for row in rows:
                low, high = row[f"{side}_change_lower"], row[f"{side}_change_upper"]
                assert (low > 0 or high < 0) == (row[f"{side}_p_alone"] < 0.05)
                assert row[f"{side}_p_alone"] <= row[f"{side}_p"] <= 1
                assert low <= row[f"{side}_change"] <= high
                assert 0 <= row[f"{side}_lower"] <= row[f"{side}_test"] <= row[f"{side}_upper"] <= 1
            for row in strategy_differences(points, subjects, 0.95):
                assert (row[f"{side}_lower"] > 0 or row[f"{side}_upper"] < 0) == (row[f"{side}_p"] < 0.05)


def test_more_frames_of_the_same_people_tell_nothing_new():
    points, subjects = draw_points(np.random.default_rng(5), people=4)
    many = []
    for point in points:
        repeated_answers = {side: np.repeat(right, 10, axis=1) for side, right in point.right.items()}
        many.append(replace(point, right=repeated_answers))
    known = {side: np.arange(len(numbers)) if side == "source" else numbers for side, numbers in subjects.items()}
    repeated = {side: np.repeat(numbers, 10) for side, numbers in known.items()}
    once, again = judge_points(points, known, 0.95), judge_points(many, repeated, 0.95)

    assert once["alike"] == again["alike"]

    for before, after in zip(once["points"], again["points"], strict=True):
        numbers = [name for name, value in before.items() if isinstance(value, float)]
        assert [after[name] for name in numbers] == pytest.approx([before[name] for name in numbers])


def test_images_of_unknown_people_are_each_their_own():
    points, subjects = draw_points(np.random.default_rng(6))
    unknown = judge_points(points, {side: np.full(len(numbers), -1) for side, numbers in subjects.items()}, 0.95)
    each = judge_points(points, {side: np.arange(len(numbers)) for side, numbers in subjects.items()}, 0.95)
    assert unknown["alike"] == each["alike"]

    for one, other in zip(unknown["points"], each["points"], strict=True):
        numbers = [name for name, value in one.items() if isinstance(value, float)]
        assert [one[name] for name in numbers] == pytest.approx([other[name] for name in numbers])
    assert unknown["tested"]["target"] == {"images": 72, "people": None}


def test_what_one_test_person_shows_is_not_about_others():
    points, subjects = draw_points(np.random.default_rng(7), people=1, levels=(3.0,) * 6)
    for row in judge_points(points, subjects, 0.95)["points"]:
        assert (row["target_lower"], row["target_upper"], row["target_p"]) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("people", [2, 3, 10])
def test_an_interval_is_never_empty_where_every_person_is_alike(people, share):
    alike = {side: np.tile(np.arange(5) < 5 * share, (3, people)) for side in DOMAINS}
    found = judge_points([make_point("BL", alike)], {side: np.repeat(np.arange(people), 5) for side in DOMAINS}, 0.95)
    row = found["points"][0]

    assert row["target_lower"] <= share <= row["target_upper"] and row["target_upper"] - row["target_lower"] > 0.1


def judge_drawn_points() -> None:
    """Prints what is made of drawn answers; run in processes of its own."""
    points, subjects = draw_points(np.random.default_rng(8), levels=(0.0, 0.1, 0.3, 0.5, 0.7, 0.9))
    print(json.dumps([judge_points(points, subjects, 0.95), strategy_differences(points, subjects, 0.95)]))


def test_two_processes_judge_the_same_answers_alike():
    said = []
    for hash_seed in ("1", "2"):
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
        code = "from test_study_evidence import judge_drawn_points; judge_drawn_points()"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        said.append(done.stdout)
    assert said[0] == said[1] and len(json.loads(said[0])[0]["points"]) == 7


# --- sentences


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
    results = judge_points(points, subjects, 0.95)
    results |= {"inside": [{}] * len(points), "differences": strategy_differences(points, subjects, 0.95)}
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
    assert f"JAFFE: {said}" in about_intervals(confirmed_info(people, images))


@pytest.mark.parametrize("people, images, said", [
    (1, 20, "with 1 test person no true difference, however large, would be found four times in five"),
    (3, 67, "with 3 test people"),
    (12, 120, "with 12 test people a true difference would have to be about"),
    (0, 300, "with 300 test images a true difference would have to be about"),
])  # fmt: skip
def test_where_no_difference_is_significant_it_says_which_would_have_been_seen(people, images, said):
    info = confirmed_info(people, images)
    point = info["confirmation"]["results"]["points"][3]
    words = change_words(info, point, "target")
    assert "not significantly different" in words and said in words
    assert said in differing_points(info)

    limit = re.search(r"would have to be about ([\d.]+) points", words)
    assert limit is None or float(limit[1]) == pytest.approx(100 * point["target_detectable"], rel=0.06)


def test_what_intervals_are_about_is_said_once_where_they_are_explained():
    info, trials = confirmed_info(3, 67), made_trials(3)
    table = trials_table(trials)
    html = render_html(info, table, {}, {"pareto": "not drawn here"}, None)
    text = render_markdown(info, table, list_tables(info, table, None))
    for found in (html, text):
        assert found.count("about other people and other seeds, with this one baseline") == 1
        assert found.count("4 divisions of the target into training and validation images in turn") == 1

    single = about_intervals(confirmed_info(3, 67, seeds=1))
    assert "other people, with this one training of each" in single and "Seeds differ" not in single

    same = confirmed_info(3, 67)
    for point in same["confirmation"]["results"]["points"]:
        point["divisions"] = 1
    assert "divisions" not in about_intervals(same)


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
    html = render_html(info, table, {}, {"pareto": "not drawn here"}, None)
    text = render_markdown(info, table, list_tables(info, table, None))
    for found in (html, text):
        assert not CLAIMS.findall(re.sub(r"<script.*?</script>", "", found, flags=re.DOTALL))

    points = info.get("confirmation", {}).get("results", {}).get("points", [])
    significant = any(point[f"{side}_p"] < 0.05 for point in points[3:] for side in DOMAINS)
    assert significant or not re.search(r", significantly (better|worse)", text + html)


def test_both_p_values_stand_beside_each_change():
    info = confirmed_info(3, 67)
    (table,) = (one for one in list_tables(info, trials_table(made_trials(3)), None) if one.name == "confirmed")

    assert table.head.count("p alone") == table.head.count("p") == 2
    assert table.rows[0][5] == "–"
    for row, point in zip(table.rows[1:], info["confirmation"]["results"]["points"][1:], strict=True):
        assert row[6:8] == [f"{point['source_p_alone']:.2g}", f"{point['source_p']:.2g}"]
        assert row[8].startswith(f"{100 * point['target_change']:+.1f} [")


def test_a_confirmed_recommendation_shows_its_change_on_test_images_with_an_interval():
    info, trials = made_confirmed()
    table = trials_table(trials)
    html = render_html(info, table, {}, {"pareto": "not drawn here"}, None)
    knee = find_knee(front_table(table))
    point = next(p for p in info["confirmation"]["results"]["points"] if p["model"] == knee["model"])
    low, high = (100 * point[f"target_change_{end}"] for end in ("lower", "upper"))

    assert f"<b>{100 * point['target_change']:+.1f} [{low:+.1f}, {high:+.1f}] points</b>" in html
    assert f"p = {point['target_p']:.2g} corrected, {point['target_p_alone']:.2g} alone" in html
    assert "points</b><span>" in html and "not tested" not in html[: html.index("Front</h2>")]


@pytest.mark.parametrize(
    "sizes, subjects, error, said",
    [
        (40, 0, None, "40 JAFFE validation images of unknown people (each counted as a person) is"),
        (40, 8, 0.05, "40 JAFFE validation images of 8 people is"),
        (20, 1, None, "20 JAFFE validation images show one person, who says nothing about others"),
        (40, 8, None, "40 JAFFE validation images show 8 people; how much they differ was not recorded"),
        (None, 0, None, "Not sure: it is the best of 3 trainings on the images it was chosen by. python"),
    ],
)
def test_an_unconfirmed_recommendation_says_how_sure_validation_makes_it(sizes, subjects, error, said):
    report = {"sizes": {"validation": sizes}, "subjects": {"validation": subjects}}
    info = made_info(target={"name": "jaffe", "kind": "real", "report": report})
    trials = made_trials(3)
    for trial in trials if error else ():
        trial.user_attrs["measures"][ERROR] = error
    table = trials_table(trials)
    knee = find_knee(front_table(table))

    words = describe_certainty(info, table, knee)

    assert said in words and list_findings(info, table)[0].words == words

    if error:
        low, high = (float(end) for end in re.search(r"is ([\d.]+) to ([\d.]+) %", words).groups())
        # Eight people, seven degrees of freedom: 2.36 errors on each side, before Wilson's form.
        assert low < 100 * knee["target_val"] < high and high - low == pytest.approx(2 * 2.36 * 5, rel=0.1)


def test_validation_errors_of_a_network_on_the_way_are_its_own():
    between = {"source_val": 0.5, "target_val": 0.5, "source_val/0.50": 0.9, "target_val/0.50": 0.9}
    errors = {ERROR: 0.1, f"{ERROR}/0.50": 0.02}
    table = trials_table([made_trial(0, measures=between | errors)])
    knee = find_knee(front_table(table))

    found = validation_estimate(table, knee, 40, 8)

    assert (found.mean, found.error, found.freedom) == (0.9, 0.02, 7)
