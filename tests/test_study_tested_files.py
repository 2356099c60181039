"""Test accuracies of files and of new trainings: each has names of its own, and a file that changed has none."""

import copy
import io
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from fer.config import AdaptationConfig, to_flat
from made_study import made_answered, made_confirmed, made_study, whole_record
from study.confirmation.jobs import Confirmation
from study.confirmation.plan import begin_confirmation
from study.confirmed_results import ConfirmedRow
from study.fronts import find_recommended, front_table
from study.record import DOMAINS, StudyRecord
from study.reporting.expectations import describe_accuracy
from study.reporting.exported_files import render_files
from study.reporting.front_file import table_of_confirmed, table_of_front
from study.reporting.recommendation import build_recommendation
from study.reporting.tables import DASH, build_confirmed_table
from study.reporting.wording import count_untested
from study.stored_results import Row
from study.tuning.summary import read_search

ENDS = ("", "_lower", "_upper")


def point_of(name: str, model: str, test: float, averaged: int | None) -> Row:
    """A confirmed point whose file is ten points better than new trainings of its configuration."""
    point: Row = {"name": name, "named": "", "strategy": "BL" if name == "BL" else "FU", "alpha": "1", "seeds": 5}
    point |= {"front": bool(model), "model": model}
    if averaged is not None:
        point["averaged"] = averaged
    for domain in DOMAINS:
        for end, change in zip(ENDS, (0.0, -0.02, 0.02), strict=True):
            point[f"{domain}_{end.strip('_') or 'test'}"] = test + change
            if model:
                point[f"{domain}_handed_over{end}"] = test + 0.1 + change
        changes = {"change": 0.01, "change_lower": 0.0, "change_upper": 0.1, "p": 0.5, "p_alone": 0.04}
        if model:
            point |= {f"{domain}_{figure}": value for figure, value in changes.items()}
    return point


def confirmed_study(further: int | None) -> tuple[StudyRecord, pd.DataFrame, pd.DataFrame]:
    """Record, table and front of a study whose front was tested.

    Args:
        further: Trainings that the recommended network's file averages beyond those of the file that was tested; None
            where the confirmation did not record how many these were.
    """
    info, trials = copy.deepcopy(made_answered())
    table = read_search(StudyRecord.from_json(info), trials)[0]
    front = front_table(table)
    points = [point_of("BL", "", 0.3, None)]
    for _, network in front[front["strategy"] != "BL"].iterrows():
        averaged = None if further is None else int(network["trainings"])
        if further and network["role"] == "recommended":
            averaged -= further
        points.append(point_of(f"trial {network['trial']}", network["model"], 0.4, averaged))
    info["confirmation"] = {"opened": "2026-01-01", "finished": "2026-01-01", "seeds": 5, "results": {"points": points}}
    return StudyRecord.from_json(info), table, front


def columns_of(figure: str) -> list[str]:
    return [f"{domain}_{figure}{end}" for domain in DOMAINS for end in ENDS]


@pytest.mark.parametrize("further", [0, None], ids=["as tested", "not recorded"])
def test_a_fronts_test_accuracies_are_those_of_the_files_and_those_of_new_trainings_have_their_own_names(further):
    record, _, front = confirmed_study(further)
    shown = table_of_front(front, record)
    adapted = shown[shown["strategy"] != "BL"]

    assert np.allclose(adapted[columns_of("test")], [0.5, 0.48, 0.52] * 2)
    assert np.allclose(adapted[columns_of("again")], [0.4, 0.38, 0.42] * 2)
    assert count_untested(record, front) == 0
    recommended = find_recommended(front)
    assert "50.0 [48.0, 52.0] %" in describe_accuracy(record, recommended, "target")


def test_a_file_that_averages_other_trainings_than_were_tested_has_no_test_accuracy_and_its_test_comes_next():
    record, table, front = confirmed_study(1)
    recommended = find_recommended(front)
    is_recommended = front["model"] == recommended["model"]

    # Files.
    shown = table_of_front(front, record)
    assert shown.loc[is_recommended, columns_of("test")].isna().all(axis=None)
    assert np.allclose(shown.loc[is_recommended, columns_of("again")], [0.4, 0.38, 0.42] * 2)
    assert shown.loc[~is_recommended & (shown["strategy"] != "BL"), columns_of("test")].notna().all(axis=None)

    # The report.
    assert "50.0" not in describe_accuracy(record, recommended, "target")
    rows = [*build_confirmed_table(record, table).rows, *build_confirmed_table(record, table).folded]
    dashed = [row[0] for row in rows if row[1:3] == [DASH, DASH]]
    assert len(dashed) == 1 and str(recommended["trial"]) in dashed[0]
    assert count_untested(record, front) == 1
    recommendation = build_recommendation(record, table)
    assert recommendation is not None and recommendation.snippets[-1].text.endswith("--again")


def test_the_table_of_a_confirmation_names_accuracies_as_the_front_does():
    info, trials = made_confirmed()
    stored = info["confirmation"]["results"]["points"]

    table = pd.read_csv(io.BytesIO(render_files(info, trials)["confirm.csv"]))

    is_baseline = table["strategy"] == "BL"
    means = np.array([[row[f"{domain}_test"] for domain in DOMAINS] for row in stored])
    assert np.allclose(table.loc[~is_baseline, ["source_again", "target_again"]], means[~is_baseline])
    assert np.allclose(table.loc[is_baseline, ["source_test", "target_test"]], means[is_baseline])
    assert table.loc[~is_baseline, columns_of("test")].isna().all(axis=None)  # these files were not tested
    assert list(table) == list(table_of_confirmed(StudyRecord.from_json(info)))
    assert not {"source_handed_over", "source_lower", "target_upper"} & set(table)


def test_a_confirmation_records_how_many_trainings_each_file_averages_when_it_is_tested():
    info, trials = copy.deepcopy(made_answered())
    whole = whole_record()
    info = whole | info | {"options": whole["options"] | info["options"]}
    for trial in trials[1:]:
        start = "scratch" if trial.number == 6 else "baseline"
        trial.user_attrs["config"] = to_flat(AdaptationConfig(lr=0.001 * trial.number, init=start))
    study = made_study(trials, optuna.storages.InMemoryStorage(), "made")
    study.set_user_attr("study", info)
    front = front_table(read_search(StudyRecord.from_json(info), trials)[0])
    trainings: dict[str, Any] = dict(zip(front["model"], front["trainings"], strict=True))

    confirmation = begin_confirmation(study, 2, again=False)
    stored = Confirmation.from_json(confirmation.to_json())

    points = [point for job in stored.jobs for point in job.interpolation_points]
    starts = {point.model: job.adaptation.init for job in stored.jobs for point in job.interpolation_points}
    assert any(point.averaged for point in points)
    for point in points:
        is_average = bool(point.model) and starts[point.model] == "baseline"
        assert point.averaged == (trainings[point.model] if is_average else None)


def test_a_row_keeps_how_many_trainings_its_file_averaged():
    for averaged in (None, 3):
        row = ConfirmedRow.from_json(point_of("trial 1", "models/trial-0001.safetensors", 0.4, averaged))
        assert row.averaged == averaged and row.to_json().get("averaged") == averaged
