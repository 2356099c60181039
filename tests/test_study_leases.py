"""Leases: who is given up, and who is not, whatever clocks, storages and process numbers do."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fer.config import AdaptationConfig
from fer.errors import InputError
from study.execution import worker_loop
from study.execution.claim import claim_trial
from study.execution.worker_loop import run_trials, wait_for_others
from study.storage import leases
from study.storage.backend import open_storage, trials_of
from study.storage.leases import (
    LeaseMonitor,
    exclusive_parent,
    holding_lease,
    identity_of_process,
    is_gone,
    requeue_expired,
)
from study.storage.slots import fill_slots

ELSEWHERE = {"host": "another", "pid": 1, "since": 0.0}


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    fill_slots(study, 2, "card", AdaptationConfig())
    return study


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken_elsewhere(study: optuna.Study) -> optuna.Trial:
    trial = claim_trial(study, "random", 1)
    assert trial is not None
    trial.set_user_attr("worker", ELSEWHERE)
    return trial


def expired_after(
    monitor: LeaseMonitor, clock: Clock, study: optuna.Study, seconds: float, step: float = 5.0
) -> list[int]:
    """Lets time pass and asks the monitor every `step` seconds; returns the trials of its last answer, by number."""
    numbers: list[int] = []
    for _ in range(int(seconds / step)):
        clock.now += step
        expired = monitor.expired(trials_of(study))
        numbers = [trial.number for trial in expired]
    return numbers


def test_a_worker_elsewhere_is_given_up_when_its_lease_runs_out_and_not_before(study):
    taken_elsewhere(study)
    clock = Clock()

    monitor = LeaseMonitor(lease=60, clock=clock)

    assert expired_after(monitor, clock, study, 60) == []
    assert expired_after(monitor, clock, study, 5) == [0]


def test_a_beat_renews_the_lease_whatever_it_says(study):
    trial = taken_elsewhere(study)
    clock = Clock()
    monitor = LeaseMonitor(lease=60, clock=clock)

    # Only that the sign changes counts, so no clock has to be right.
    for sign in (5, 3, 4):
        expired_after(monitor, clock, study, 55)
        trial.set_user_attr("beat", sign)
        assert expired_after(monitor, clock, study, 5) == []

    assert expired_after(monitor, clock, study, 60) == [0]


def test_a_watcher_that_slept_or_had_no_storage_gives_nobody_up_for_it(study):
    taken_elsewhere(study)
    clock = Clock()
    monitor = LeaseMonitor(lease=60, clock=clock)
    expired_after(monitor, clock, study, 10)

    # An hour without a comparison.
    assert expired_after(monitor, clock, study, 3600, step=3600) == []

    # A clock that was set back.
    clock.now -= 7200
    assert expired_after(monitor, clock, study, 5) == []


def test_wall_clocks_play_no_part(study, monkeypatch):
    mine = claim_trial(study, "random", 1)
    taken_elsewhere(study)
    monitor = LeaseMonitor()
    monitor.expired(trials_of(study))

    for jump in (10 * 365 * 86400, -10 * 365 * 86400):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
        assert monitor.expired(trials_of(study)) == []

    assert mine is not None
    assert requeue_expired(study) == 0


def test_a_claim_that_was_never_signed_runs_out(study):
    storage = study._storage
    storage.set_trial_state_values(trials_of(study)[0]._trial_id, TrialState.RUNNING)
    clock = Clock()

    monitor = LeaseMonitor(lease=600, unsigned=15, clock=clock)

    assert expired_after(monitor, clock, study, 15) == []
    assert expired_after(monitor, clock, study, 5) == [0]


def test_a_process_is_told_from_its_successor_with_the_same_number():
    me = identity_of_process()
    predecessor = me | {"since": me["since"] - 100}
    process = subprocess.Popen([sys.executable, "-c", ""])
    birth = leases._birth(process.pid)
    process.wait()

    assert not is_gone(me)
    assert is_gone(predecessor)
    assert not is_gone(ELSEWHERE)
    assert is_gone(me | {"pid": process.pid, "since": birth})


def test_a_dead_process_that_nobody_waited_for_is_dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    identity = identity_of_process() | {"pid": process.pid, "since": leases._birth(process.pid)}

    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert is_gone(identity)

    process.wait()


def test_a_worker_keeps_its_lease_from_a_thread(study, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    trial = claim_trial(study, "random", 1)

    def beats() -> int:
        return trials_of(study)[0].user_attrs.get("beat", 0)

    with holding_lease(study, trial):
        deadline = time.monotonic() + 10
        while beats() < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    last_beat = beats()

    assert last_beat >= 3

    # The thread has ended with the block.
    time.sleep(0.1)
    assert beats() == last_beat


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "PARENT_HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(leases, "PARENT_LEASE_SECONDS", 0.6)


def test_a_second_parent_elsewhere_is_refused_while_the_first_lives(study, quick):
    messages: list[str] = []
    with exclusive_parent(study, messages.append, settle=0):
        first = study.user_attrs["parent"]

        # The same parent as another machine sees it: alive by its beats alone.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(leases, "is_gone", lambda process: False)
            with pytest.raises(InputError, match="one parent"), exclusive_parent(study, messages.append, settle=0):
                pass

        holder = study.user_attrs["parent"]
        assert (holder["host"], holder["pid"]) == (first["host"], first["pid"])

    assert study.user_attrs["parent"] is None
    assert "waiting" in messages[0]


def test_a_parent_that_fell_silent_is_followed_by_the_next(study, quick):
    study.set_user_attr("parent", ELSEWHERE | {"beat": 7})

    with exclusive_parent(study, lambda text: None, settle=0):
        assert study.user_attrs["parent"]["pid"] == os.getpid()


def test_of_two_parents_that_start_together_the_last_writer_stays(study, quick, monkeypatch):
    def write_as_another_parent(seconds: float) -> None:
        study.set_user_attr("parent", ELSEWHERE | {"beat": 0})

    # The other parent writes while this one waits for whoever writes last.
    monkeypatch.setattr(time, "sleep", write_as_another_parent)

    with pytest.raises(InputError, match="another"), exclusive_parent(study, lambda text: None):
        pass


# --- a worker that finds nothing to do while others are at work


@pytest.fixture
def looking_often(monkeypatch):
    monkeypatch.setattr(worker_loop, "LOOK_AGAIN", 0.02)


def end_one(study: optuna.Study) -> None:
    trial = claim_trial(study, "random", 1)
    assert trial is not None
    study.tell(trial, [0.5, 0.5])


def test_a_worker_waits_until_another_trial_ends(study, looking_often):
    end_one(study)
    trial = taken_elsewhere(study)
    began = time.monotonic()
    threading.Timer(0.3, lambda: trial.study.tell(trial, [0.5, 0.5])).start()
    assert wait_for_others(study, until=began + 30)
    assert 0.2 < time.monotonic() - began < 20


def test_a_worker_waits_for_nobody_where_no_trial_runs_and_no_longer_than_it_may(study, looking_often):
    end_one(study)
    taken_elsewhere(study).study.tell(1, [0.5, 0.5])
    assert not wait_for_others(study, until=time.monotonic() + 30)

    fill_slots(study, 3, "card", AdaptationConfig())
    taken_elsewhere(study)
    assert not wait_for_others(study, until=time.monotonic() + 0.1)


def test_what_another_workers_trial_makes_due_is_done_by_the_one_that_waits(study, looking_often):
    theirs = taken_elsewhere(study)

    def end_and_enqueue() -> None:
        study.enqueue_trial({}, user_attrs={"slot": 2})
        theirs.study.tell(theirs, [0.5, 0.5])

    mine = []

    def run(trial: optuna.Trial) -> None:
        mine.append(trial.number)
        trial.study.tell(trial, [0.5, 0.5])

    threading.Timer(0.5, end_and_enqueue).start()
    options = {"sampler": "random", "seed": 1}
    assert run_trials(study, options, run, until=time.monotonic() + 30) == 2 and mine == [1, 2]


def test_the_trial_of_a_worker_that_died_is_waited_for_no_longer_and_left_to_the_parent(study, looking_often):
    dead = claim_trial(study, "random", 1)
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead.set_user_attr("worker", identity_of_process() | {"pid": int(process.stdout)})

    options = {"sampler": "random", "seed": 1}
    finished = run_trials(study, options, lambda trial: trial.study.tell(trial, [0.5, 0.5]), time.monotonic() + 30)
    assert finished == 1
    assert sorted(trial.state.name for trial in trials_of(study)) == ["COMPLETE", "RUNNING"]
