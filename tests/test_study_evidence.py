"""What test answers are made to say: by simulation, and by consistency."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_study import made_info, make_point
from study.confirmation.points import ConfirmedPoint
from study.confirmation.statistics import judge_points, strategy_differences
from study.record import DOMAINS, StudyRecord
from study.reporting.significance import describe_change, describe_front_differences

ROOT = Path(__file__).parent.parent


def draw_points(
    rng: np.random.Generator, people: int = 6, levels: tuple[float, ...] = (0.0,) * 6, seeds: int = 3
) -> tuple[list[ConfirmedPoint], dict[str, np.ndarray]]:
    """Draws a baseline and networks that are better than it by `levels` deviations; frames come in sequences of four.

    The first four networks are the named strategies, all are on the front.
    """
    subjects = {"source": np.full(40, -1), "target": np.repeat(np.arange(people), 12)}

    # How easy an image is for every network: by person and by sequence in the target.
    common = {domain: rng.normal(size=len(numbers)) for domain, numbers in subjects.items()}
    of_person = rng.normal(0, 0.6, people)
    of_sequence = rng.normal(0, 0.8, 3 * people)
    common["target"] = of_person[subjects["target"]] + np.repeat(of_sequence, 4)

    names = ["BL", "FC", "FC+CL", "RE", "FU"]
    names += [f"trial {index}" for index in range(len(names), 1 + len(levels))]

    points = []
    for index, level in enumerate((0.0, *levels)):
        # Which images each training of the network has right.
        right = {}
        for domain, numbers in subjects.items():
            trainings = 1 if index == 0 else seeds
            noise = rng.normal(0, 0.6, (trainings, len(numbers)))  # of an image
            if domain == "target":
                noise += rng.normal(0, 0.3, (trainings, people))[:, numbers]  # of a person
            if index:
                noise += rng.normal(0, 0.15, (trainings, 1))  # of a training
            right[domain] = 0.2 + level + common[domain] + noise > 0
        model = f"m{index}" if index else ""
        points.append(make_point(names[index], right, model=model, front=index > 0))
    return points, subjects


# --- simulation


def test_equally_good_networks_are_seldom_called_different_by_any_corrected_test():
    rng = np.random.default_rng(11)
    repeats = 150
    errors = {"holm": 0, "pairs": 0, "differences": 0}

    def has_significant(rows: list[dict[str, Any]]) -> bool:
        return any(row[f"{domain}_p"] < 0.05 for row in rows for domain in DOMAINS)

    for _ in range(repeats):
        points, subjects = draw_points(rng, people=int(rng.choice([3, 6, 12])))

        # Each network against the baseline, and the networks against each other.
        judged = judge_points(points, subjects, 0.95).to_json()
        errors["holm"] += has_significant(judged["points"])
        errors["pairs"] += any(len(others) < len(points) - 2 for others in judged["alike"].values())

        # The named strategies against each other.
        differences = [difference.to_json() for difference in strategy_differences(points, subjects, 0.95)]
        errors["differences"] += has_significant(differences)

    assert all(count / repeats <= 0.06 for count in errors.values()), errors


def test_the_best_of_thirty_equal_configurations_does_not_differ_from_the_others():
    rng = np.random.default_rng(3)
    subjects = {"source": np.full(60, -1), "target": np.repeat(np.arange(5), [10, 10, 9, 9, 9])}  # 47 target images
    points = []
    for index in range(31):
        right = {domain: rng.random((3, len(people))) < 0.6 for domain, people in subjects.items()}
        validation = {"source": 0.6, "target": 0.75}
        points.append(make_point(f"trial {index}", right, model=f"m{index}", front=index > 0, validation=validation))

    results = judge_points(points, subjects, 0.95).to_json()

    assert all(len(others) == 29 for others in results["alike"].values())
    assert all(point["target_p"] > 0.05 for point in results["points"][1:])

    optimism = [point["target_optimism"] for point in results["points"]]
    assert np.mean(optimism) == pytest.approx(0.15, abs=0.03)

    sentence = describe_front_differences(StudyRecord.from_json({"confirmation": {"results": results}}))
    assert "No two of the front's 30 tested points differ significantly" in sentence
    assert "with 5 test people" in sentence


def test_a_clear_difference_is_significant():
    rng = np.random.default_rng(4)
    subjects = {"source": np.full(500, -1), "target": np.repeat(np.arange(20), 10)}
    points = []
    for name, level in (("BL", 0.4), ("bad", 0.45), ("good", 0.8)):
        right = {domain: rng.random((5, len(people))) < level for domain, people in subjects.items()}
        points.append(make_point(name, right, model=name, front=name != "BL"))

    results = judge_points(points, subjects, 0.95).to_json()

    good = results["points"][2]
    assert results["alike"] == {"bad": [], "good": []}
    assert good["target_p"] < 0.001

    record = StudyRecord.from_json(made_info(confirmation={"results": results}))
    assert "All 2 tested points of the front differ significantly" in describe_front_differences(record)
    assert "significantly better" in describe_change(record, good, "target")


# --- consistency


@pytest.mark.parametrize("people", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("seeds", [1, 5])
def test_intervals_and_the_p_values_beside_them_agree(people, seeds):
    rng = np.random.default_rng(people)
    for _ in range(5):
        points, subjects = draw_points(rng, people, tuple(rng.normal(0, 0.8, 6)), seeds)

        rows = judge_points(points, subjects, 0.95).to_json()["points"][1:]
        differences = [difference.to_json() for difference in strategy_differences(points, subjects, 0.95)]

        for domain in DOMAINS:
            for row in rows:
                low = row[f"{domain}_change_lower"]
                high = row[f"{domain}_change_upper"]
                assert (low > 0 or high < 0) == (row[f"{domain}_p_alone"] < 0.05)
                assert row[f"{domain}_p_alone"] <= row[f"{domain}_p"] <= 1
                assert low <= row[f"{domain}_change"] <= high
                assert 0 <= row[f"{domain}_lower"] <= row[f"{domain}_test"] <= row[f"{domain}_upper"] <= 1
            for row in differences:
                excludes_zero = row[f"{domain}_lower"] > 0 or row[f"{domain}_upper"] < 0
                assert excludes_zero == (row[f"{domain}_p"] < 0.05)


def assert_equal_numbers(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Asserts that two results have equal numbers at every point, but for rounding."""
    for first_point, second_point in zip(first["points"], second["points"], strict=True):
        names = [name for name, value in first_point.items() if isinstance(value, float)]
        first_numbers = [first_point[name] for name in names]
        second_numbers = [second_point[name] for name in names]
        assert second_numbers == pytest.approx(first_numbers)


def test_more_frames_of_the_same_people_tell_nothing_new():
    points, subjects = draw_points(np.random.default_rng(5), people=4)
    subjects = {"source": np.arange(len(subjects["source"])), "target": subjects["target"]}
    repeated_subjects = {domain: np.repeat(numbers, 10) for domain, numbers in subjects.items()}
    repeated_points = []
    for point in points:
        repeated_answers = {domain: np.repeat(right, 10, axis=1) for domain, right in point.right.items()}
        repeated_points.append(replace(point, right=repeated_answers))

    once = judge_points(points, subjects, 0.95).to_json()
    repeated = judge_points(repeated_points, repeated_subjects, 0.95).to_json()

    assert once["alike"] == repeated["alike"]
    assert_equal_numbers(once, repeated)


def test_images_of_unknown_people_are_each_their_own():
    points, subjects = draw_points(np.random.default_rng(6))
    nobody = {domain: np.full(len(numbers), -1) for domain, numbers in subjects.items()}
    one_per_image = {domain: np.arange(len(numbers)) for domain, numbers in subjects.items()}

    unknown = judge_points(points, nobody, 0.95).to_json()
    each = judge_points(points, one_per_image, 0.95).to_json()

    assert unknown["alike"] == each["alike"]
    assert_equal_numbers(unknown, each)
    assert unknown["tested"]["target"] == {"images": 72, "people": None}


def test_what_one_test_person_shows_is_not_about_others():
    points, subjects = draw_points(np.random.default_rng(7), people=1, levels=(3.0,) * 6)

    results = judge_points(points, subjects, 0.95).to_json()

    for row in results["points"]:
        assert (row["target_lower"], row["target_upper"], row["target_p"]) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("people", [2, 3, 10])
def test_an_interval_is_never_empty_where_every_person_is_alike(people, share):
    # Five images of each person, of which the same share is right.
    right_of_person = np.arange(5) < 5 * share
    right = {domain: np.tile(right_of_person, (3, people)) for domain in DOMAINS}
    subjects = {domain: np.repeat(np.arange(people), 5) for domain in DOMAINS}

    results = judge_points([make_point("BL", right)], subjects, 0.95).to_json()

    row = results["points"][0]
    assert row["target_lower"] <= share <= row["target_upper"]
    assert row["target_upper"] - row["target_lower"] > 0.1


def judge_drawn_points() -> None:
    """Prints what is made of drawn answers; run in processes of its own."""
    points, subjects = draw_points(np.random.default_rng(8), levels=(0.0, 0.1, 0.3, 0.5, 0.7, 0.9))
    results = judge_points(points, subjects, 0.95).to_json()
    differences = [difference.to_json() for difference in strategy_differences(points, subjects, 0.95)]
    print(json.dumps([results, differences]))


def test_two_processes_judge_the_same_answers_alike(capsys):
    code = "from test_study_evidence import judge_drawn_points; judge_drawn_points()"
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])

    # This process, and one in which sets and dicts have another order.
    judge_drawn_points()
    here = capsys.readouterr().out
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)

    results, _ = json.loads(here)
    assert here == process.stdout
    assert len(results["points"]) == 7
