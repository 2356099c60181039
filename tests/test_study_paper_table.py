"""The paper's table: its layout, published figures beside real data only, intervals of what was confirmed."""

import io

import pandas as pd
import pytest
from rich.console import Console

from made_study import made_info, made_trial, paper_trials
from pages import report_of
from study.fronts import front_table
from study.record import StudyRecord
from study.reporting import front_file, paper_table, terminal
from study.trials import trials_table


def test_a_paper_table_has_the_papers_layout():
    table = trials_table(paper_trials())
    found = paper_table.paper_table(table, "tfeid", published=True)
    columns = ["BL", "FC_50", "FC_100", "FC+CL_50", "FC+CL_100", "RE_50", "RE_100", "FU_50", "FU_100"]

    assert list(found.columns) == ["figures", "domain", "dataset", *columns]
    assert found.loc[0, columns].tolist() == [50, 51, 52, 53, 54, 55, 56, 57, 58]
    assert found["figures"].tolist() == [paper_table.OURS] * 2 + [paper_table.PUBLISHED] * 2
    assert found.loc[3, ["domain", "BL", "FU_100"]].tolist() == ["target", 31.03, 86.21]


def test_fusion_from_the_baseline_gets_rows_of_its_own_where_it_was_tried_and_nothing_published_beside_it():
    other = made_trial(9, values=(0.3, 0.4), strategy="FU", config={"lr": 0.1, "amount": 1.0})
    other.user_attrs["strategy"] = "FU-baseline"
    found = paper_table.paper_table(trials_table([*paper_trials(), other]), "tfeid", published=True)
    plain = paper_table.paper_table(trials_table(paper_trials()), "tfeid", published=True)

    pd.testing.assert_frame_equal(found[plain.columns], plain)
    assert found.columns[-2:].tolist() == ["FU-baseline_50", "FU-baseline_100"]
    assert found["FU-baseline_100"].tolist()[:2] == [30, 40] and found["FU-baseline_100"][2:].isna().all()
    assert found["FU-baseline_50"].isna().all()
    assert [row[0] for row in paper_table.as_table(found).rows][-2:] == ["FU-baseline 50 %", "FU-baseline 100 %"]


def test_a_paper_table_averages_repeats_and_shows_gaps():
    trials = [*paper_trials()[:2], made_trial(9, values=(0.7, 0.7), strategy="BL", config={"lr": 0.1, "amount": 1.0})]
    found = paper_table.paper_table(trials_table(trials), "mine", published=True)

    assert found.loc[0, "BL"] == 60 and pd.isna(found.loc[0, "FU_50"]) and len(found) == 2
    assert paper_table.paper_table(trials_table([]), "mine")["BL"].isna().all()


def test_a_promoted_point_of_the_grid_has_another_budget_and_stays_out_of_the_table():
    promoted = made_trial(9, values=(0.3, 0.9), strategy="FC", config={"lr": 0.1, "amount": 1.0}, rung=2)
    found = paper_table.paper_table(trials_table([*paper_trials(), promoted]), "tfeid")
    pd.testing.assert_frame_equal(found, paper_table.paper_table(trials_table(paper_trials()), "tfeid"))


def test_published_figures_stand_beside_real_data_only():
    table, real = trials_table(paper_trials()), {"kind": "real"}
    info = made_info(options={"space": "paper"})
    assert paper_table.OURS in set(paper_table.study_paper_table(StudyRecord.from_json(info), table)["figures"])
    assert paper_table.PUBLISHED not in set(
        paper_table.study_paper_table(StudyRecord.from_json(info), table)["figures"]
    )

    info |= {"synthetic": False, "source": real | {"name": "fer2013"}, "target": real | {"name": "tfeid"}}
    assert paper_table.PUBLISHED in set(paper_table.study_paper_table(StudyRecord.from_json(info), table)["figures"])

    page = report_of(info, paper_trials())
    assert "Published figures are on test sets (arXiv 1905.12082)" in page.text

    other = info | {"source": real | {"name": "affectnet"}}
    assert paper_table.PUBLISHED not in set(
        paper_table.study_paper_table(StudyRecord.from_json(other), table)["figures"]
    )
    assert paper_table.study_paper_table(StudyRecord.from_json(made_info()), table) is None


def confirmed_info(space: str, **changes) -> dict:
    """Returns the record of a study on real data, confirmed with accuracies and intervals that differ by 0.1."""
    accuracies = {"BL": 0.6, "FC": 0.5}
    if space == "paper":
        accuracies = {"BL": 0.6, "FC 100 %": 0.5, "RE 50 %": 0.4}
    real = {
        "synthetic": False,
        "source": {"name": "fer2013", "kind": "real"},
        "target": {"name": "jaffe", "kind": "real"},
    }
    results = {"points": [confirmed_row(name, accuracy) for name, accuracy in accuracies.items()], "alike": {}}
    opening = {"seeds": 5, "opened": "now", "finished": "now", "results": results}
    return made_info(options={"space": space, "amount": 1.0}, confirmation=opening, **(real | changes))


def confirmed_row(name: str, accuracy: float) -> dict:
    row = {
        "name": name, "named": name, "strategy": name.split()[0], "alpha": "1", "model": "", "front": False, "seeds": 5,
    }  # fmt: skip
    for domain in ("source", "target"):
        row[f"{domain}_test"] = accuracy
        row[f"{domain}_lower"] = accuracy - 0.1
        row[f"{domain}_upper"] = accuracy + 0.1
        row[f"{domain}_p"] = 1.0
    return row


def test_a_confirmed_paper_table_shows_intervals_and_differences_from_the_published():
    paper = paper_table.study_paper_table(StudyRecord.from_json(confirmed_info("paper")), trials_table(paper_trials()))

    found = paper.set_index(["figures", "domain"])
    assert found.loc[(paper_table.TESTED, "target"), ["BL", "FC_100", "RE_50"]].tolist() == [60, 50, 40]
    assert found.loc[(paper_table.LOWER, "source"), "FC_100"] == 40
    assert found.loc[(paper_table.UPPER, "source"), "FC_100"] == 60
    assert found.loc[(paper_table.DIFFERENCE, "target"), "FC_100"] == pytest.approx(50 - 55.22)
    assert found.loc[(paper_table.DIFFERENCE, "source"), "BL"] == pytest.approx(60 - 68.35)

    (row,) = (row for row in paper_table.as_table(paper).rows if row[0] == "FC 100 %")
    assert "50.0 [40.0, 60.0]" in row and "-5.22" in row


def test_a_front_of_which_no_point_was_confirmed_keeps_its_rows():
    front = front_table(trials_table(paper_trials()))

    confirmed = front_file.add_test_accuracies(front, StudyRecord.from_json(confirmed_info("paper")))

    assert confirmed["model"].tolist() == front["model"].tolist()
    assert confirmed["target_test"].isna().all()


def test_another_space_shows_what_was_confirmed_of_the_papers_strategies():
    found = paper_table.study_paper_table(StudyRecord.from_json(confirmed_info("card")), trials_table(paper_trials()))
    assert paper_table.OURS not in set(found["figures"])
    assert [row[0] for row in paper_table.as_table(found).rows] == ["BL", "FC 100 %"]

    made_up = confirmed_info("card", synthetic=True, target={"name": "jaffe", "kind": "synthetic"})
    found = paper_table.study_paper_table(StudyRecord.from_json(made_up), trials_table([]))
    assert set(found["figures"]) == {paper_table.TESTED, paper_table.LOWER, paper_table.UPPER}


def test_a_paper_table_is_printed_with_gaps_and_odd_titles():
    console = Console(width=160, record=True, file=io.StringIO())
    table = paper_table.paper_table(trials_table(paper_trials()[:3]), "tfeid")

    console.print(terminal.paper_rich_table(table, "[odd] title"))

    text = console.export_text()

    assert "[odd] title" in text and "50.00" in text and "–" in text
