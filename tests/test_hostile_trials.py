"""Trials with odd attributes: every view of a study holds the others, and says which entries it left out.

A part of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import json
import math
from typing import Any

import numpy as np
import pytest

from hostile import odd_cases
from made_study import made_confirmed, made_info, made_trials, sound_trials
from study import reading, reading_record, stored_values
from study.fronts import front_table, hypervolume_over_trials
from study.record import StudyRecord
from study.reporting.markdown_report import list_tables, render_markdown
from study.reporting.trial_details import collect_trial_details
from study.search.early_stopping import vectors_at_rung
from study.storage.slots import slot_owners
from study.tracking import payloads
from study.trials import objective_vectors, readable, trials_table

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
    without = trials_table([trial for trial in sound_trials() if trial.number != 2])
    kept = readable(trials).value
    table = trials_table(trials)
    others = table[table["number"] != 2]
    assert others["number"].tolist() == without["number"].tolist()
    for name in ("state", "source_val", "target_val", "reason", "seconds"):
        assert others[name].astype(object).where(others[name].notna(), None).tolist() == (
            without[name].astype(object).where(without[name].notna(), None).tolist()
        )

    # All of these are written at a study's end.
    info = made_info()
    assert table.to_csv(index=False).encode()
    assert front_table(table).to_csv(index=False).encode()
    assert json.dumps(collect_trial_details(info, table, kept), allow_nan=False).encode()
    assert render_markdown(info, table, list_tables(info, table, None)).encode()
    assert hypervolume_over_trials(table).max() <= 1
    assert all(
        len(vector) == 2 for trial in kept if trial.state.name == "COMPLETE" for vector in objective_vectors(trial)
    )
    for trial in kept:
        told = [
            *payloads.trial_tags(StudyRecord.from_json(info), trial, "parent").values(),
            *payloads.trial_params(trial).values(),
        ]
        assert "\n".join([payloads.trial_name(trial), *map(str, told)]).encode()
        assert all(isinstance(value, float) and -(2**63) < step < 2**63 for _, value, _, step in
                   payloads.trial_metrics(trial))  # fmt: skip
    assert payloads.search_metrics(table, StudyRecord.from_json(info))

    # And these are read while it goes on.
    assert {trial.number for trial in slot_owners(trials).values()} >= {0, 1}
    for vectors in vectors_at_rung(trials, 0.5, without=0):
        assert np.asarray(vectors, float).shape == (len(vectors), 2)


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
    assert readable(trials).odd == []


@pytest.mark.parametrize("place, value", odd_cases(*INNER, every=17))
def test_an_odd_entry_within_an_attribute_takes_nothing_from_the_others(place, value):
    trials = sound_trials()
    outer, inner = place
    held = trials[2].user_attrs[outer]
    (held[1] if outer == "curve" else held)[inner] = value

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
    assert readable(trials).odd == ["trial 2 (objectives)"]


def test_what_is_sound_is_read_as_it_is():
    trials = made_trials(30)
    kept = readable(trials)
    assert all(one is other for one, other in zip(kept.value, trials, strict=True)) and kept.odd == []

    info, trials = made_confirmed()
    assert reading_record.readable_record(info).value == info and reading_record.readable_record(info).odd == []


def test_the_notice_names_what_was_left_out():
    trials = sound_trials()
    trials[2].user_attrs |= {"curve": 1, "seconds": "x"}
    trials[5].user_attrs["measures"]["retention"] = "\x1b[31m"
    said = stored_values.notice(readable(trials).odd)
    assert "2 entries" in said and "trial 2 (curve, seconds)" in said and "trial 5 (measures.retention)" in said

    many = stored_values.notice([f"trial {number} (curve)" for number in range(100)])
    assert "100 entries" in many and "and 92 more" in many and len(many) < 300
