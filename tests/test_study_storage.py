"""Storages: servers that go and come, disks that fill, files that only their owner reads."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from fer.architecture import Architecture
from fer.config import AdaptationConfig
from fer.errors import InputError
from study.execution.worker_process import start_worker_process
from study.machine import is_stuck
from study.pipeline.resume import list_drift, write_record
from study.record import StudyRecord
from study.storage import backend
from study.storage.backend import open_storage, trials_of
from study.storage.journal import Journal
from study.storage.retry import RetryingStorage, StorageLost
from study.storage.slots import fill_slots

ROOT = Path(__file__).parent.parent


class OperationalError(Exception):
    """Named as SQLAlchemy's."""


class Flaky:
    """A storage that is away for some calls."""

    def __init__(self, away: int) -> None:
        self.away, self.calls = away, 0

    def get_all_studies(self) -> str:
        self.calls += 1
        if self.calls <= self.away:
            raise RuntimeError("wrapped") from OperationalError("server closed postgresql://me:s3cr3t@host/db")
        return "here"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes by sleeping alone."""
    now = [0.0]
    monkeypatch.setattr(backend.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(backend.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_a_storage_that_comes_back_is_waited_for(clock):
    flaky = Flaky(away=6)
    assert RetryingStorage(flaky, "u").get_all_studies() == "here"  # type: ignore[arg-type]
    assert flaky.calls == 7 and 3 < clock[0] < 30


def test_one_that_stays_away_is_given_up_in_bounded_time_and_then_at_once(clock):
    patient = RetryingStorage(Flaky(away=10**9), "postgresql://***@host/db", patience=60)  # type: ignore[arg-type]
    with pytest.raises(StorageLost, match="has not answered for") as caught:
        patient.get_all_studies()
    assert 60 <= clock[0] < 90 and "s3cr3t" not in str(caught.value) and is_stuck(caught.value)

    until = clock[0]
    with pytest.raises(StorageLost):
        patient.get_all_studies()
    assert clock[0] == until


class _InactiveRpcError(Exception):
    """Named as gRPC's, with its codes."""

    def __init__(self, name: str) -> None:
        self.code = lambda: SimpleNamespace(name=name)


def test_what_a_proxy_answers_is_told_from_a_proxy_that_is_away(clock):
    class Proxy:
        def __init__(self, code: str) -> None:
            self.code, self.calls = code, 0

        def get_all_studies(self) -> str:
            self.calls += 1
            if self.calls > 1:
                return "here"
            raise KeyError("wrapped") from _InactiveRpcError(self.code)

    for code in ("NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS", "INVALID_ARGUMENT"):
        with pytest.raises(KeyError):
            RetryingStorage(Proxy(code), "u").get_all_studies()  # type: ignore[arg-type]
    assert clock[0] == 0
    assert RetryingStorage(Proxy("UNAVAILABLE"), "u").get_all_studies() == "here"  # type: ignore[arg-type]


def test_who_knows_that_the_url_is_right_waits_for_the_server(clock, monkeypatch, tmp_path):
    calls = iter(range(100))

    def connect(url: str) -> optuna.storages.BaseStorage:
        if next(calls) < 3:
            raise OperationalError("connection refused")
        return optuna.storages.InMemoryStorage()

    monkeypatch.setattr(backend, "_connect", connect)
    with pytest.raises(InputError, match="that answers"):
        open_storage("postgresql://host/db", tmp_path)
    assert clock[0] == 0
    assert open_storage("postgresql://host/db", tmp_path, patience=60).get_all_studies() == []

    monkeypatch.setattr(backend, "_connect", lambda url: Flaky(away=10**9).get_all_studies())
    with pytest.raises(StorageLost, match="has not answered for"):
        open_storage("postgresql://me:s3cr3t@host/db", tmp_path, patience=60)


def test_an_error_that_no_waiting_mends_is_raised_at_once(clock):
    class Wrong:
        def get_all_studies(self) -> None:
            raise KeyError("no such study")

    with pytest.raises(KeyError):
        RetryingStorage(Wrong(), "u").get_all_studies()  # type: ignore[arg-type]
    assert clock[0] == 0


def test_a_disk_that_fills_inside_a_line_leaves_whole_lines(tmp_path):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    fill_slots(study, 2, "card", AdaptationConfig())
    journal = tmp_path / "journal.log"
    before = journal.read_bytes()
    code = (  # a limit on the size of files is met as a full disk is: in the middle of a write
        "import resource, signal, sys; from pathlib import Path; from study.storage.journal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); journal = Journal(Path(sys.argv[1]))\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 10},) * 2)\n"
        "try: journal.append_logs([{'op_code': 3, 'x': 'y' * 100}])\n"
        "except OSError as error: sys.exit(7)\n"
    )

    assert subprocess.run([sys.executable, "-c", code, str(journal)], cwd=ROOT).returncode == 7
    assert journal.read_bytes() == before
    assert fill_slots(
        optuna.load_study(study_name="s", storage=open_storage(None, tmp_path)), 3, "card", AdaptationConfig()
    )


def test_a_line_torn_by_another_process_does_not_swallow_the_next(tmp_path):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(b'{"op_code": 4, "worker_id": "x", "tri')
    fill_slots(study, 2, "card", AdaptationConfig())

    again = optuna.load_study(study_name="s", storage=open_storage(None, tmp_path))

    assert len(trials_of(again)) == 2


def test_damage_in_the_middle_is_refused_with_its_line(tmp_path):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    fill_slots(study, 3, "card", AdaptationConfig())
    journal = tmp_path / "journal.log"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], lines[2].replace(b'"', b"\0", 1), *lines[3:]]))

    with pytest.raises(InputError, match="damaged in line 3"):
        open_storage(None, tmp_path)


def test_a_long_torn_line_is_cut_to_the_last_whole_one(tmp_path):
    path = tmp_path / "journal.log"
    path.write_bytes(b'{"op_code":9}\n' + b"x" * 10_000)

    Journal(path)

    assert path.read_bytes() == b'{"op_code":9}\n'


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota"), StorageLost("away")])
def test_what_is_the_machines_fault_is_told_from_what_is_a_trials(error):
    assert is_stuck(error) and is_stuck(RuntimeError("I/O error: No space left on device"))
    assert not is_stuck(OSError(errno.ENOENT, "gone")) and not is_stuck(MemoryError())


def test_changes_around_a_study_are_told_one_by_one():
    known = {"source": {"digest": "a"}, "target": {"digest": "b"}, "versions": {"torch": "2.11", "mlflow": "3"}}
    now = {"source": {"digest": "a"}, "target": {"digest": "c"}, "versions": {"torch": "2.12", "mlflow": "4"}}
    earlier, new = StudyRecord.from_json(known), StudyRecord.from_json(now)

    assert list_drift(earlier, earlier) == []
    assert list_drift(earlier, new) == ["target b → c", "torch 2.11 → 2.12"]


@pytest.mark.parametrize(
    "network, drifted",
    [
        ("vgg13", []),
        ("resnet18", ["torchvision 0.29 → 0.30"]),
        ("timm:resnet18", ["timm 1.0 → 1.1"]),
        ("net:make", ["torchvision 0.29 → 0.30", "timm 1.0 → 1.1"]),
    ],
)
def test_a_network_depends_on_the_libraries_that_it_is_made_of(network, drifted):
    architecture = Architecture(network, 3, 48, 7, ("stem", "fc"), 1, ("stem",))
    before = {"torch": "2.11", "torchvision": "0.29", "timm": "1.0"}
    after = {"torch": "2.11", "torchvision": "0.30", "timm": "1.1"}
    earlier, now = (
        StudyRecord.from_json({"network": architecture.to_json(), "versions": versions}) for versions in (before, after)
    )
    assert list_drift(earlier, now) == drifted

    # An early record says nothing of timm.
    del earlier.versions["timm"]
    assert [change for change in list_drift(earlier, now) if "timm" in change] == []


def test_a_study_that_another_parent_began_meanwhile_keeps_its_record():
    study = optuna.create_study(study_name="s", directions=["maximize"] * 2)
    mine, other = {"name": "s", "id": "a", "created": "today"}, {"name": "s", "id": "b", "created": "now"}
    for _ in range(2):
        write_record(study, StudyRecord.from_json(mine))

    with pytest.raises(InputError, match="begins once"):
        write_record(study, StudyRecord.from_json(other))
    assert study.user_attrs["study"] == mine | {"synthetic": False}


def test_the_parent_of_processes_passes_the_url_where_nobody_reads_it(monkeypatch):
    code = (
        "import os, sys; sys.exit(os.environ['STUDY_STORAGE'] != 'postgresql://me:s3cr3t@host/db' or len(sys.argv) > 1)"
    )

    process = start_worker_process([sys.executable, "-c", code], "postgresql://me:s3cr3t@host/db")

    assert process.wait(30) == 0 and "STUDY_STORAGE" not in os.environ
