"""What test answers are made to say: by simulation, and by consistency."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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
    common = {side: rng.normal(size=len(numbers)) for side, numbers in subjects.items()}
    of_person = rng.normal(0, 0.6, people)
    of_sequence = rng.normal(0, 0.8, 3 * people)
    common["target"] = of_person[subjects["target"]] + np.repeat(of_sequence, 4)

    points = []
    for index, level in enumerate((0.0, *levels)):
        right = {}
        for side, numbers in subjects.items():
            trainings = 1 if index == 0 else seeds
            noise = rng.normal(0, 0.6, (trainings, len(numbers)))  # of an image
            if side == "target":
                noise += rng.normal(0, 0.3, (trainings, people))[:, numbers]  # of a person
            if index:
                noise += rng.normal(0, 0.15, (trainings, 1))  # of a training
            right[side] = 0.2 + level + common[side] + noise > 0
        name = ("BL", "FC", "FC+CL", "RE", "FU")[index] if index < 5 else f"trial {index}"
        points.append(make_point(name, right, model=f"m{index}" if index else "", front=index > 0))
    return points, subjects


# --- simulation


def test_equally_good_networks_are_seldom_called_different_by_any_corrected_test():
    rng = np.random.default_rng(11)
    repeats = 150
    found = {"holm": 0, "pairs": 0, "differences": 0}

    for _ in range(repeats):
        points, subjects = draw_points(rng, people=int(rng.choice([3, 6, 12])))
        judged = judge_points(points, subjects, 0.95).to_json()
        found["holm"] += any(row[f"{side}_p"] < 0.05 for row in judged["points"] for side in DOMAINS)
        found["pairs"] += any(len(others) < len(points) - 2 for others in judged["alike"].values())
        rows = [row.to_json() for row in strategy_differences(points, subjects, 0.95)]
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
    found = judge_points(points, subjects, 0.95).to_json()
    assert all(len(others) == 29 for others in found["alike"].values())
    assert all(point["target_p"] > 0.05 for point in found["points"][1:])

    optimism = [point["target_optimism"] for point in found["points"]]
    assert np.mean(optimism) == pytest.approx(0.15, abs=0.03)

    said = describe_front_differences(StudyRecord.from_json({"confirmation": {"results": found}}))
    assert "No two of the front's 30 points differ significantly" in said and "with 5 test people" in said


def test_a_clear_difference_is_significant():
    rng = np.random.default_rng(4)
    subjects = {"source": np.full(500, -1), "target": np.repeat(np.arange(20), 10)}
    points = [
        make_point(name, {side: rng.random((5, len(people))) < level for side, people in subjects.items()},
                   model=name, front=name != "BL")
        for name, level in (("BL", 0.4), ("bad", 0.45), ("good", 0.8))
    ]  # fmt: skip
    found = judge_points(points, subjects, 0.95).to_json()
    assert found["alike"] == {"bad": [], "good": []}
    assert found["points"][2]["target_p"] < 0.001

    info = made_info(confirmation={"results": found})
    assert "All 2 points of the front differ significantly" in describe_front_differences(StudyRecord.from_json(info))
    assert "significantly better" in describe_change(StudyRecord.from_json(info), found["points"][2], "target")


# --- consistency


@pytest.mark.parametrize("people", [1, 2, 3, 10, 30])
@pytest.mark.parametrize("seeds", [1, 5])
def test_intervals_and_the_p_values_beside_them_agree(people, seeds):
    rng = np.random.default_rng(people)
    for _ in range(5):
        points, subjects = draw_points(rng, people, tuple(rng.normal(0, 0.8, 6)), seeds)
        rows = judge_points(points, subjects, 0.95).to_json()["points"][1:]
        for side in DOMAINS:
            for row in rows:
                low, high = row[f"{side}_change_lower"], row[f"{side}_change_upper"]
                assert (low > 0 or high < 0) == (row[f"{side}_p_alone"] < 0.05)
                assert row[f"{side}_p_alone"] <= row[f"{side}_p"] <= 1
                assert low <= row[f"{side}_change"] <= high
                assert 0 <= row[f"{side}_lower"] <= row[f"{side}_test"] <= row[f"{side}_upper"] <= 1
            for row in (difference.to_json() for difference in strategy_differences(points, subjects, 0.95)):
                assert (row[f"{side}_lower"] > 0 or row[f"{side}_upper"] < 0) == (row[f"{side}_p"] < 0.05)


def test_more_frames_of_the_same_people_tell_nothing_new():
    points, subjects = draw_points(np.random.default_rng(5), people=4)
    many = []
    for point in points:
        repeated_answers = {side: np.repeat(right, 10, axis=1) for side, right in point.right.items()}
        many.append(replace(point, right=repeated_answers))
    known = {side: np.arange(len(numbers)) if side == "source" else numbers for side, numbers in subjects.items()}
    repeated = {side: np.repeat(numbers, 10) for side, numbers in known.items()}
    once, again = judge_points(points, known, 0.95).to_json(), judge_points(many, repeated, 0.95).to_json()

    assert once["alike"] == again["alike"]

    for before, after in zip(once["points"], again["points"], strict=True):
        numbers = [name for name, value in before.items() if isinstance(value, float)]
        assert [after[name] for name in numbers] == pytest.approx([before[name] for name in numbers])


def test_images_of_unknown_people_are_each_their_own():
    points, subjects = draw_points(np.random.default_rng(6))
    unknown = judge_points(
        points, {side: np.full(len(numbers), -1) for side, numbers in subjects.items()}, 0.95
    ).to_json()
    each = judge_points(points, {side: np.arange(len(numbers)) for side, numbers in subjects.items()}, 0.95).to_json()
    assert unknown["alike"] == each["alike"]

    for one, other in zip(unknown["points"], each["points"], strict=True):
        numbers = [name for name, value in one.items() if isinstance(value, float)]
        assert [one[name] for name in numbers] == pytest.approx([other[name] for name in numbers])
    assert unknown["tested"]["target"] == {"images": 72, "people": None}


def test_what_one_test_person_shows_is_not_about_others():
    points, subjects = draw_points(np.random.default_rng(7), people=1, levels=(3.0,) * 6)
    for row in judge_points(points, subjects, 0.95).to_json()["points"]:
        assert (row["target_lower"], row["target_upper"], row["target_p"]) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("people", [2, 3, 10])
def test_an_interval_is_never_empty_where_every_person_is_alike(people, share):
    alike = {side: np.tile(np.arange(5) < 5 * share, (3, people)) for side in DOMAINS}
    found = judge_points(
        [make_point("BL", alike)], {side: np.repeat(np.arange(people), 5) for side in DOMAINS}, 0.95
    ).to_json()
    row = found["points"][0]

    assert row["target_lower"] <= share <= row["target_upper"] and row["target_upper"] - row["target_lower"] > 0.1


def judge_drawn_points() -> None:
    """Prints what is made of drawn answers; run in processes of its own."""
    points, subjects = draw_points(np.random.default_rng(8), levels=(0.0, 0.1, 0.3, 0.5, 0.7, 0.9))
    print(
        json.dumps(
            [
                judge_points(points, subjects, 0.95).to_json(),
                [row.to_json() for row in strategy_differences(points, subjects, 0.95)],
            ]
        )
    )


def test_two_processes_judge_the_same_answers_alike():
    said = []
    for hash_seed in ("1", "2"):
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
        code = "from test_study_evidence import judge_drawn_points; judge_drawn_points()"
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        said.append(done.stdout)
    assert said[0] == said[1] and len(json.loads(said[0])[0]["points"]) == 7
