"""The record of a study as a type, and the stored dict that it is read from."""

import json
from typing import Any

import pytest

from made_study import made_confirmed, made_info
from study.record import BaselineRecord, DatasetRecord, Hardware, StudyRecord, baseline_point, is_synthetic


def full_record() -> dict[str, Any]:
    """A stored record with every entry that this program writes, and entries that no field holds."""
    report = {"sizes": {"train": 300, "validation": 47, "test": 66}, "notices": []}
    dataset = {"name": "tfeid", "kind": "real", "digest": "fedcba9876543210", "report": report, "path": "/data/tfeid"}
    baseline = {
        "file": "b.safetensors", "digest": "abc", "device": "cpu", "precision": "fp32", "source_val": 0.61,
        "target_val": 0.45, "measures": {"source_uar": 0.58}, "confusion": {"source": [[1]]}, "parameters": 9,
    }  # fmt: skip
    hardware = {"processor": "a", "cores": 2, "memory_gib": 15.6, "gpus": 0, "system": "Linux", "rack": 7}
    stored = made_info(source=dataset | {"name": "fer2013"}, target=dataset, baseline=baseline, hardware=hardware)
    later = {"ended": "no trial improved", "changes": ["trials 30 → 60"], "calibration": {"workers": 2}}
    return stored | later


@pytest.mark.parametrize(
    "stored", [full_record(), made_info(), made_confirmed()[0], {}], ids=["full", "made", "confirmed", "empty"]
)
def test_a_record_is_stored_as_it_was_read(stored):
    stored = json.loads(json.dumps(stored))

    record = StudyRecord.from_json(stored)

    assert record.to_json() == ({"synthetic": False} | stored)
    assert StudyRecord.from_json(record.to_json()) == record


def test_every_entry_of_a_record_has_its_field():
    record = StudyRecord.from_json(full_record())

    assert record.target.count_images("validation") == 47
    assert record.dataset("source").name == "fer2013" and record.dataset("target") is record.target
    assert record.baseline.accuracies == (0.61, 0.45) == baseline_point(full_record())
    assert record.hardware == Hardware("a", 2, 15.6, 0, "Linux", {"rack": 7})
    assert record.ended == "no trial improved" and record.more == {"calibration": {"workers": 2}}


@pytest.mark.parametrize("odd", [None, 3, "x", [], [1], {}, float("nan")], ids=str)
@pytest.mark.parametrize("name", [*full_record(), ""])
def test_what_is_missing_or_odd_is_forgiven_once(name, odd):
    stored = full_record() | {name: odd} if name else odd

    record = StudyRecord.from_json(stored)

    assert isinstance(record.name, str) and isinstance(record.created, str)
    assert isinstance(record.source, DatasetRecord) and isinstance(record.baseline, BaselineRecord)
    assert all(isinstance(part, dict) for part in (record.options, record.network, record.confirmation))
    assert record.target.count_images("train") in (0, 300)
    assert StudyRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("kind", ["real", "synthetic"])
@pytest.mark.parametrize("begun_synthetic", [True, False])
def test_a_record_and_its_stored_form_agree_on_synthetic_faces(kind, begun_synthetic):
    stored = full_record() | {"synthetic": begun_synthetic}
    stored["target"]["kind"] = kind

    assert StudyRecord.from_json(stored).is_synthetic == is_synthetic(stored) == (begun_synthetic or kind != "real")
