"""What a machine gives to this process, and what its allocator can be told."""

import math

import pytest

from study import machine
from study.options import StudyOptions
from study.pipeline.running_study import RunningStudy
from study.pipeline.workers import settle_workers
from study.record import BaselineRecord, StudyRecord


@pytest.mark.parametrize(
    "files, found",
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000"}, math.inf),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0),
        ({"cpu.max": "nonsense"}, math.inf),
    ],
)
def test_a_containers_quota_is_read_in_both_versions_of_control_groups(tmp_path, files, found):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert machine._quota(tmp_path) == found


@pytest.mark.parametrize("quota, wanted", [(0.2, 1), (1.5, 2), (math.inf, 64)])
def test_a_process_uses_no_more_cores_than_its_quota_begins(monkeypatch, quota, wanted):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(machine, "_quota", lambda: quota)

    assert machine.cores() == wanted
    assert machine.usual_workers("cpu") == wanted and machine.usual_workers("cuda:1") == min(4, wanted)


def test_old_allocators_are_told_a_threshold_that_they_take():
    assert machine._largest_kept(("glibc", "2.34")) == machine._largest_kept(("glibc", "2.28")) == 32 * 2**20
    assert machine._largest_kept(("glibc", "2.35")) == machine._largest_kept(("", "")) == 2**30


@pytest.mark.parametrize("device, preset, wanted", [("cuda", "paper", 4), ("cuda", "tiny", 4), ("cpu", "tiny", 16)])
def test_where_nothing_is_measured_a_study_has_the_usual_workers_of_one_thread(monkeypatch, device, preset, wanted):
    monkeypatch.setattr(machine, "cores", lambda: 16)
    monkeypatch.setattr("study.pipeline.workers.cores", lambda: 16)
    record = StudyRecord(baseline=BaselineRecord(device=device))

    settled = settle_workers(RunningStudy(None, record, StudyOptions("tfeid", preset=preset), None, None))

    assert (settled.options.workers, settled.threads) == (str(wanted), 1)
