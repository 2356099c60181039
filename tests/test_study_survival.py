"""Studies whose processes, servers and disks fail: nothing that finished is lost, nothing counts twice."""

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dummy
from dummy import assert_exact, done_so_far, load, start_parent, wait_for
from servers import Postgres
from study.storage.backend import trials_of
from study.trials import counted_trials

pytestmark = pytest.mark.slow
TRIALS, WORKERS, KILLS = dummy.TRIALS, dummy.WORKERS, 20


@pytest.fixture(params=["journal", "postgresql"])
def storage(request: pytest.FixtureRequest) -> str | None:
    return request.getfixturevalue("postgres").url if request.param == "postgresql" else None


def assert_mlflow_agrees(out: Path, storage: str | None, folder: Path) -> None:
    from mlflow import MlflowClient

    study = load(out, storage)
    study.set_user_attr("study", {"name": dummy.NAME, "id": "dummy-1", "options": {}, "created": "2025-01-01T12:00:00"})
    uri = f"sqlite:///{folder}/mlflow.db"
    command = [sys.executable, "-m", "study.sync", dummy.NAME, "--out", str(out), "--tracking-uri", uri]
    command += ["--storage", storage] if storage else []
    for _ in range(2):
        subprocess.run(command, check=True, cwd=Path(__file__).parent.parent, timeout=300)
    client = MlflowClient(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == "memory-integrity")
    runs = client.search_runs([experiment.experiment_id], "tags.role = 'trial'", max_results=1000)
    numbers = sorted(int(run.data.tags["trial"]) for run in runs)
    assert numbers == [trial.number for trial in counted_trials(trials_of(study))]


def test_twenty_workers_are_killed_and_no_trial_is_lost_or_done_twice(storage, tmp_path):
    rng = random.Random(1)
    parent = start_parent(tmp_path, storage)
    wait_for(lambda: done_so_far(tmp_path, storage) > 0)
    kills, study = 0, load(tmp_path, storage)
    while kills < KILLS and parent.poll() is None:
        # The kills are spread over the trials and not over the clock, so that none of them comes too late.
        due = kills * TRIALS // (KILLS + 2)
        wait_for(lambda due=due: done_so_far(tmp_path, storage) >= due)
        time.sleep(rng.uniform(0, 0.5))
        kills += dummy.kill_one(study, rng)
    said, _ = parent.communicate(timeout=300)
    assert parent.returncode == 0, said
    assert kills == KILLS

    everything = assert_exact(tmp_path, storage)
    lost = [trial for trial in everything if trial.user_attrs.get("lost")]
    assert len(lost) <= KILLS and all(trial.user_attrs["lost"] == "worker died" for trial in lost)

    copies = [trial for trial in everything if "copy_of" in trial.user_attrs]
    assert len(lost) == len(copies) and len(lost) >= KILLS // 2
    assert_mlflow_agrees(tmp_path, storage, tmp_path)


def test_the_parent_is_killed_and_started_again_ten_times(storage, tmp_path):
    rng = random.Random(2)
    for _ in range(10):
        before = done_so_far(tmp_path, storage)
        parent = start_parent(tmp_path, storage)
        wait_for(lambda before=before: done_so_far(tmp_path, storage) > before + 3)
        time.sleep(rng.uniform(0, 1))
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert done_so_far(tmp_path, storage) < TRIALS

    said, _ = start_parent(tmp_path, storage).communicate(timeout=300)
    everything = assert_exact(tmp_path, storage)
    assert any("copy_of" in trial.user_attrs for trial in everything), said


def test_postgresql_is_restarted_in_the_middle(postgres: Postgres, tmp_path):
    parent = start_parent(tmp_path, postgres.url, trials=80)
    for _ in range(2):
        before = done_so_far(tmp_path, postgres.url)
        wait_for(lambda before=before: done_so_far(tmp_path, postgres.url) > before + 5)
        postgres.stop()
        time.sleep(5)
        postgres.start()
    said, _ = parent.communicate(timeout=300)
    assert parent.returncode == 0 and "Traceback" not in said, said

    everything = assert_exact(tmp_path, postgres.url, 80)
    assert sum(bool(trial.user_attrs.get("lost")) for trial in everything) <= 2 * WORKERS
    assert postgres.url not in said and "s3cr3t" not in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def test_a_full_disk_is_told_in_a_line_and_the_study_goes_on_when_there_is_room(small_disk):
    filler = small_disk / "filler"
    parent = start_parent(small_disk, None, trials=60)
    wait_for(lambda: done_so_far(small_disk, None) > 5)
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    said, _ = parent.communicate(timeout=120)
    assert parent.returncode != 0 and "No space left" in said, said

    before = done_so_far(small_disk, None)
    assert 5 < before < 60

    filler.unlink()
    said, _ = start_parent(small_disk, None, trials=60).communicate(timeout=120)
    assert_exact(small_disk, None, 60)
