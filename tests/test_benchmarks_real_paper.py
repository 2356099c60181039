"""The benchmark of the paper's table: figures and verdict of made answers, and what it keeps."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import real_paper
from benchmarks.real_paper import COLUMNS, Answers, markdown_table, shortfalls, summarise, write_record
from study.tuning.stored_answers import pack_answers

PEOPLE, IMAGES, SOURCE_IMAGES = 4, 15, 400
PAPERS = {"BL": (0.66, 0.45), "FC": (0.45, 0.6), "FC+CL": (0.4, 0.65), "RE": (0.35, 0.6), "FU": (0.66, 0.68)}
"""Source and target accuracy in the paper's order."""


def made(division: int, name: str, accuracies: tuple[float, float], baseline: str = "b") -> Answers:
    """Returns answers of which these shares are right, each division with people of its own."""
    rng = np.random.default_rng([division, COLUMNS.index(name)])
    sizes = {"source": SOURCE_IMAGES, "target": PEOPLE * IMAGES}
    right = {}
    for (domain, size), accuracy in zip(sizes.items(), accuracies, strict=True):
        right[domain] = pack_answers(rng.permutation(size) < round(accuracy * size))
    return Answers(
        target="jaffe",
        division=division,
        column=name,
        setting={"baseline": baseline, "preset": "laptop", "target test": f"people of {division}"},
        right=right,
        subjects=np.repeat(np.arange(PEOPLE) + PEOPLE * division, IMAGES).tolist(),
        source_images=SOURCE_IMAGES,
        code="c",
        commit="d",
        hardware={},
        versions={},
    )


def made_grid(accuracies: dict[str, tuple[float, float]], divisions: int = 3, baseline: str = "b") -> list[Answers]:
    return [
        made(division, name, accuracies[name.partition("_")[0]], baseline)
        for division in range(divisions)
        for name in COLUMNS
    ]


def test_the_papers_order_holds_where_it_was_planted():
    assert shortfalls(made_grid(PAPERS)) == []


@pytest.mark.parametrize(
    ("strategy", "accuracies", "refuted"),
    [
        ("FU", (0.5, 0.68), "FU_100 less BL: source"),
        ("FC", (0.66, 0.6), "FU_50 less FC_50: source"),
        ("RE", (0.35, 0.95), "FU_100 less RE_100: target"),
    ],
)
def test_each_point_of_the_order_is_refuted_where_the_opposite_was_planted(strategy, accuracies, refuted):
    lines = shortfalls(made_grid(PAPERS | {strategy: accuracies}))
    assert any(line.startswith(f"jaffe, {refuted} is") for line in lines)
    assert all(strategy in line for line in lines)


def test_what_was_not_measured_is_said():
    lines = shortfalls([each for each in made_grid(PAPERS, divisions=2) if each.column != "FU_100"])
    assert "jaffe: 2 divisions, 3 wanted" in lines
    assert sum(line.endswith("not measured") for line in lines) == 7


def test_accuracies_are_means_over_divisions_and_intervals_are_about_people():
    figures = summarise(made_grid(PAPERS))
    mean, lower, upper = figures["jaffe, FC_50: target"]
    assert mean == pytest.approx(60.0) and lower < mean < upper

    # With one person nothing is known of others.
    alone = [each for each in made_grid(PAPERS, divisions=1) if each.column == "FC_50"]
    one_person = Answers(**(asdict(alone[0]) | {"subjects": [0] * (PEOPLE * IMAGES)}))
    assert summarise([one_person])["jaffe, FC_50: target"][1:] == [0.0, 100.0]


def test_the_table_has_a_row_for_each_network_and_the_published_figures():
    table = markdown_table(made_grid(PAPERS))
    assert table.startswith("| jaffe, 3 divisions |")
    assert len(table.splitlines()) == 2 + len(COLUMNS)
    assert "| FU 100 % |" in table and "| 68.7 |" in table


def test_the_record_keeps_answers_of_its_baseline_and_takes_new_ones_in_their_place(tmp_path, monkeypatch):
    monkeypatch.setattr(real_paper, "RESULTS", tmp_path / "real_paper.json")
    write_record(made_grid(PAPERS, divisions=2, baseline="old"))
    write_record(made_grid(PAPERS, divisions=1))
    write_record([made(0, "RE_50", (0.1, 0.1)), made(1, "BL", PAPERS["BL"])])

    stored = json.loads((tmp_path / "real_paper.json").read_text())
    answers = [Answers(**each) for each in stored["answers"]]
    assert [(each.division, each.column) for each in answers] == [*((0, name) for name in COLUMNS), (1, "BL")]
    replaced = next(each for each in answers if each.column == "RE_50")
    assert replaced.unpack("target").mean() == pytest.approx(0.1)
