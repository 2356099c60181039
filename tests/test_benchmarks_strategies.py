"""The table of methods: no ranking by the faces of one person."""

import json

import numpy as np
import pytest

from benchmarks.strategies import PEOPLE, RESULTS, count_people


@pytest.mark.parametrize(
    ("subjects", "people"),
    [([3] * 20, 1), ([3, 3, 7, 7], 2), ([0, 1, 2], 3), ([-1, -1, -1, -1], 4), ([-1, 5, 5], 1), ([], 0)],
)
def test_people_are_counted_once_and_unknown_ones_image_by_image(subjects, people):
    assert count_people(np.array(subjects, int)) == people


def test_no_committed_table_ranks_methods_by_the_faces_of_one_person():
    tables = sorted(path.name for path in RESULTS.glob("strategies-*.json"))
    assert tables == ["strategies-tfeid.json"] and PEOPLE > 2

    found = json.loads((RESULTS / tables[0]).read_text())
    assert found["data"]["target"] == "synthetic"
