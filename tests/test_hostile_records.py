"""Records that were edited: reported without what is odd; training needs a whole one.

A part of the cases runs by default, all of them with `-m "slow or not slow"`.
"""

import copy
import math
from typing import Any

import pandas as pd
import pytest

from fer.errors import InputError
from hostile import MISSING, ODD, changed, mark_slow_but_every, nested, odd_cases, paths_in
from made_study import made_confirmed, made_info, made_trials, rich_info, whole_record
from study import reading_record
from study.record import DOMAINS, StudyRecord
from study.tracking import outcome, payloads


def record_cases(every: int) -> list[Any]:
    """Returns each place of a confirmed study's record with one odd value or none, the values taken in turn."""
    info = rich_info()
    values = {"missing": MISSING, **ODD}
    names = list(values)
    cases = []
    for index, path in enumerate(paths_in(info)):
        name = names[(7 * index) % len(names)]
        where = ".".join(map(str, path))
        label = f"{where}-{name}".replace(" ", "_")
        cases.append(pytest.param(path, values[name], id=label, marks=mark_slow_but_every(every, index)))
    return cases


@pytest.mark.parametrize("path, value", record_cases(every=70))
def test_an_odd_record_is_reported_without_what_is_odd(path, value, export_to):
    info = changed(rich_info(), path, value)
    _, trials = made_confirmed()

    folder = export_to(info, trials[:8])
    assert len(pd.read_csv(folder / "trials.csv")) == 8
    assert "8 trials" in (folder / "report.md").read_text(encoding="utf-8")

    record = StudyRecord.from_json(reading_record.readable_record(info).value)
    told = [*payloads.study_tags(record).values(), *payloads.study_params(record).values()]
    assert "\n".join(told).encode()
    assert all(isinstance(value, float) for _, value, *_ in payloads.baseline_metrics(record))
    assert all(math.isfinite(value) for _, value, *_ in outcome.confirmed_metrics(record))
    assert all("\n".join(fields.values()).encode() for _, fields in payloads.datasets(record))


@pytest.mark.parametrize("value", [None, [{}], {"a": nested(400)}], ids=lambda value: str(value)[:20])
def test_a_record_that_is_none_at_all_is_reported(value, export_to):
    assert (export_to(value, made_trials(8)) / "report.html").stat().st_size


OPTIONS = ("reference", "folds", "min_retention", "space", "amount", "seed", "trials")


@pytest.mark.parametrize("name, value", odd_cases(*OPTIONS, every=50))
def test_an_odd_option_is_reported_without_it(name, value, export_to):
    folder = export_to(made_info(options={"space": "card", name: value}), made_trials(8))
    assert (folder / "report.html").stat().st_size


def test_half_of_a_confirmation_is_left_out_as_a_whole_and_said(export_to, capsys):
    info, trials = rich_info(), made_confirmed()[1][:8]
    del info["confirmation"]["results"]["points"][1]["target_test"]

    folder = export_to(info, trials)

    assert not (folder / "confirm.csv").exists() and "the study's confirmation" in capsys.readouterr().err
    assert "the study's confirmation" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_whole_record_is_taken():
    assert reading_record.required_record(whole_record(), "made") == whole_record()


@pytest.mark.parametrize("odd", ["missing", "a list"])
@pytest.mark.parametrize("path", reading_record._REQUIRED, ids=".".join)
def test_training_needs_a_whole_record(path, odd):
    info = changed(whole_record(), path, MISSING if odd == "missing" else ["x"])
    with pytest.raises(InputError, match="record") as refused:
        reading_record.required_record(info, "made")
    assert ".".join(path) in str(refused.value) and "\n" not in str(refused.value)


OTHER_NETWORK = {"name": "resnet18", "channels": 3, "size": 64, "classes": 7, "blocks": ["stem", "fc"], "head": "one"}


def test_a_damaged_record_of_another_network_is_reported_as_unknown_and_not_as_the_papers(export_to):
    folder = export_to(made_info(network=OTHER_NETWORK), made_trials(30))

    for name in ("report.md", "report.html"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "network is unknown: the record names resnet18" in text
        assert "VGG-13, 48" not in text


def test_training_is_refused_where_the_record_of_another_network_is_damaged():
    with pytest.raises(InputError, match="made with network resnet18 without entries that fit it"):
        reading_record.required_record(whole_record() | {"network": OTHER_NETWORK}, "made")


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_both_reports_name_the_network(name, export_to):
    network = OTHER_NETWORK | {"head": 1}

    folder = export_to(made_info(network=network), made_trials(8))

    assert "network is resnet18, 64×64 in three channels." in (folder / name).read_text(encoding="utf-8")


def test_a_confirmation_whose_front_alone_has_networks_that_were_handed_over_is_read_whole():
    info = copy.deepcopy(made_confirmed()[0])
    points = info["confirmation"]["results"]["points"]
    for point in points:
        if point["front"]:
            names = [f"{domain}_handed_over{end}" for domain in DOMAINS for end in ("", "_lower", "_upper")]
            point |= dict.fromkeys(names, 0.5)
    assert any(point["front"] for point in points) and not all(point["front"] for point in points)

    reading = reading_record.readable_record(info)

    assert reading.odd == [] and reading.value == info
