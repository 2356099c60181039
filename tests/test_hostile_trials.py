"""Trials with odd attributes: every view of a study holds the others, and says which entries it left out.

A part of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.trial import FrozenTrial

from hostile import odd_cases
from made_study import made_confirmed, made_info, made_trials, sound_trials
from study import reading, reading_record, stored_values
from study.fronts import front_table, hypervolume_over_trials
from study.record import StudyRecord
from study.reporting.markdown_report import list_tables, render_markdown
from study.reporting.trial_details import collect_trial_details
from study.storage.slots import slot_owners
from study.tracking import outcome, payloads
from study.trials import objective_vectors, read_counted_trials, trials_table
from study.tuning.early_stopping import vectors_at_rung

ATTRIBUTES = ("strategy", "config", "measures", "curve", "seconds", "reason", "confusion", "rung:0.500", "rung:x",
              "rung on the way:0.500", "twin_of", "key", "worker", "seed", "copy_of", "slot", "unheard of",
              "lost\ud800")  # fmt: skip
INNER = (
    ("config", "lr"), ("config", "frozen_layers"), ("config", "strategy"), ("config", "alpha"), ("config", "trial"),
    ("config", "a\ud800"), ("config", ""), ("config", "number"), ("measures", "source_val"), ("measures", "retention"),
    ("measures", "source_val/0.50"), ("measures", "source_val/x"), ("measures", "target_val/0.00+y"),
    ("measures", "source_val/0.50+1.00"), ("measures", "source_val@0.500"), ("measures", "source_val@x"),
    ("measures", "source_floor"), ("measures", "lr"), ("measures", "\x1b[31m"), ("measures", "retention_happy"),
    ("curve", "epoch"), ("curve", "loss"), ("curve", "\ud800"),
)  # fmt: skip


def assert_others_are_reported(trials: list[Any]) -> None:
    """Asserts that every view of a study holds the trials besides number 2 as it does without that one."""
    table = trials_table(trials)
    without = trials_table([trial for trial in sound_trials() if trial.number != 2])
    others = table[table["number"] != 2]
    for name in ("number", "state", "source_val", "target_val", "reason", "seconds"):
        assert values_of(others[name]) == values_of(without[name])
    assert_all_is_written(table, read_counted_trials(trials).value)

    # These are read while the study goes on.
    assert {trial.number for trial in slot_owners(trials).values()} >= {0, 1}
    for vectors in vectors_at_rung(trials, 0.5, without=0):
        assert np.asarray(vectors, float).shape == (len(vectors), 2)


def values_of(column: pd.Series) -> list[Any]:
    """Returns a column's values, None where there is none."""
    return column.astype(object).where(column.notna(), None).tolist()


def assert_all_is_written(table: pd.DataFrame, kept: list[FrozenTrial]) -> None:
    """Asserts that what a study's end writes and tracks can be encoded, and holds numbers where numbers belong."""
    record = StudyRecord.from_json(made_info())
    assert table.to_csv(index=False).encode()
    assert front_table(table).to_csv(index=False).encode()
    assert json.dumps(collect_trial_details(record, table, kept), allow_nan=False).encode()
    assert render_markdown(record, table, list_tables(record, table, None)).encode()
    assert hypervolume_over_trials(table).max() <= 1
    assert outcome.search_metrics(table, record)
    for trial in kept:
        if trial.state.name == "COMPLETE":
            assert all(len(vector) == 2 for vector in objective_vectors(trial))
        tags = payloads.trial_tags(record, trial, "parent").values()
        params = payloads.trial_params(trial).values()
        assert "\n".join(map(str, [payloads.trial_name(trial), *tags, *params])).encode()
        for _, value, _, step in payloads.trial_metrics(trial):
            assert isinstance(value, float) and -(2**63) < step < 2**63


@pytest.mark.parametrize("name, value", odd_cases(*ATTRIBUTES, every=12))
def test_an_odd_attribute_of_a_trial_takes_nothing_from_the_others(name, value):
    trials = sound_trials()
    trials[2].user_attrs[name] = value
    assert_others_are_reported(trials)


@pytest.mark.parametrize("name", ATTRIBUTES[:10])
def test_a_trial_without_one_of_its_attributes_is_reported(name):
    trials = sound_trials()
    trials[2].user_attrs.pop(name, None)

    assert_others_are_reported(trials)
    assert read_counted_trials(trials).odd == []


@pytest.mark.parametrize("place, value", odd_cases(*INNER, every=17))
def test_an_odd_entry_within_an_attribute_takes_nothing_from_the_others(place, value):
    trials = sound_trials()
    outer, inner = place
    attribute = trials[2].user_attrs[outer]
    entries = attribute[1] if outer == "curve" else attribute
    entries[inner] = value

    assert_others_are_reported(trials)


@pytest.mark.parametrize(
    "values", [None, [0.5], [0.5] * 3, [math.nan, 0.5], [0.5, math.inf], [-0.1, 0.5], [1.5, 0.5], [1e308, 1e308],
               [10**400, 0.5], ["a", "b"], [True, 0.5], [None, None], [[0.5], [0.5]], [{}, {}]], ids=str,
)  # fmt: skip
def test_a_finished_trial_without_two_accuracies_counts_as_a_failed_one(values):
    trials = sound_trials()
    trials[2].values = values
    assert_others_are_reported(trials)

    row = trials_table(trials).set_index("number").loc[2]
    assert row["state"] == "failed" and row["reason"] == reading.UNREADABLE
    assert read_counted_trials(trials).odd == ["trial 2 (objectives)"]


def test_what_is_sound_is_read_as_it_is():
    trials = made_trials(30)
    kept = read_counted_trials(trials)
    assert all(one is other for one, other in zip(kept.value, trials, strict=True)) and kept.odd == []

    info, trials = made_confirmed()
    assert reading_record.readable_record(info).value == info and reading_record.readable_record(info).odd == []


def test_the_notice_names_what_was_left_out():
    trials = sound_trials()
    trials[2].user_attrs |= {"curve": 1, "seconds": "x"}
    trials[5].user_attrs["measures"]["retention"] = "\x1b[31m"
    said = stored_values.notice(read_counted_trials(trials).odd)
    assert "2 entries" in said and "trial 2 (curve, seconds)" in said and "trial 5 (measures.retention)" in said

    many = stored_values.notice([f"trial {number} (curve)" for number in range(100)])
    assert "100 entries" in many and "and 92 more" in many and len(many) < 300
