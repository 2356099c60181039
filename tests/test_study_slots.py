"""Slots, claims, retries: totals stay exact whatever happens to the workers, on every storage."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fer.errors import InputError
from slots import BASE, finish_all, states
from study.execution.claim import claim_trial
from study.storage.backend import load_study, open_storage, trials_of
from study.storage.leases import identity_of_process, requeue_expired
from study.storage.optuna_private import storage_of
from study.storage.slots import RETRIES, discard_trial, fill_slots
from study.trials import counted_trials


def test_a_study_of_n_trials_has_n_slots_and_no_more(study):
    assert fill_slots(study, 7, "card", BASE) == 7
    assert finish_all(study) == 7
    assert claim_trial(study, "random", 1) is None
    assert fill_slots(study, 7, "card", BASE) == 0
    assert fill_slots(study, 9, "card", BASE) == 2
    assert finish_all(study) == 2
    assert len(counted_trials(trials_of(study))) == 9


def test_a_lower_total_withdraws_what_was_not_begun(study):
    fill_slots(study, 9, "card", BASE)
    first = claim_trial(study, "random", 1)

    first.study.tell(first, [0.5, 0.5])

    assert fill_slots(study, 4, "card", BASE) == 3
    assert finish_all(study) == 3
    assert [trial.number for trial in counted_trials(trials_of(study))] == [0, 1, 2, 3]


def test_many_workers_claim_each_slot_once(study):
    fill_slots(study, 40, "card", BASE)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: finish_all(study), range(8))) == 40
    assert states(study) == ["COMPLETE"] * 40


def test_two_parents_that_fill_the_same_slots_change_no_total(study):
    storage, _ = storage_of(study)
    parents = [optuna.load_study(study_name="s", storage=storage) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda parent: fill_slots(parent, 12, "card", BASE), parents))
        assert sum(pool.map(lambda _: finish_all(study), range(4))) == 12

    done = counted_trials(trials_of(study))

    assert sorted(trial.user_attrs["slot"] for trial in done) == list(range(12))


def test_a_slot_filled_twice_counts_once_even_when_the_first_is_done_last(study):
    fill_slots(study, 2, "card", BASE)
    late = claim_trial(study, "random", 1)
    study.enqueue_trial({}, user_attrs={"slot": 0})  # as a parent would that had not seen it
    assert finish_all(study) == 1

    late.study.tell(late, [0.5, 0.5])
    assert [trial.number for trial in counted_trials(trials_of(study))] == [0, 1]
    assert trials_of(study)[2].user_attrs["lost"] == "one too many"


def test_a_parent_that_died_between_losing_a_trial_and_copying_it_loses_nothing(study):
    fill_slots(study, 3, "card", BASE)
    claim_trial(study, "random", 1)
    lost = die_with_a_trial(study)  # the second, FC
    discard_trial(study, lost, "worker died", TrialState.RUNNING)
    assert fill_slots(study, 3, "card", BASE) == 3

    copy = trials_of(study)[-1]
    assert copy.user_attrs == {"keep": True, "slot": 1, "copy_of": 1}
    assert copy.system_attrs["fixed_params"]["strategy"] == "FC"


def test_a_failed_trial_counts(study):
    fill_slots(study, 3, "card", BASE)
    trial = claim_trial(study, "random", 1)

    trial.study.tell(trial, state=TrialState.FAIL)

    assert fill_slots(study, 3, "card", BASE) == 2


def test_the_first_five_are_the_papers_strategies(study):
    fill_slots(study, 6, "card", BASE)
    fixed = [trial.system_attrs.get("fixed_params", {}).get("strategy") for trial in trials_of(study)]

    assert fixed == [None, "FC", "FC+CL", "RE", "FU", None]
    assert trials_of(study)[0].user_attrs == {"named": "BL", "keep": True, "slot": 0}


def die_with_a_trial(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """Claims a trial as a process that is dead by the time this returns."""
    trial = claim_trial(study, "random", 1)
    trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    trial.set_user_attr("curve", [1])
    trial.set_user_attr("worker", identity_of_process() | {"pid": dead_process()})
    return trials_of(study)[trial.number]


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_dead_workers_trial_is_done_again_and_counted_once(study):
    fill_slots(study, 3, "card", BASE)
    lost = die_with_a_trial(study)
    assert requeue_expired(study) == 1 and requeue_expired(study) == 0

    copy = trials_of(study)[-1]
    assert copy.system_attrs["fixed_params"] == lost.params
    assert copy.user_attrs == {"named": "BL", "keep": True, "slot": 0, "copy_of": 0}
    assert fill_slots(study, 3, "card", BASE) == 3
    assert finish_all(study) == 3
    assert [trial.number for trial in counted_trials(trials_of(study))] == [1, 2, 3]


def test_a_trial_that_kills_every_worker_fails(study):
    fill_slots(study, 1, "card", BASE)
    for _ in range(RETRIES):
        die_with_a_trial(study)
        requeue_expired(study)

    (last,) = counted_trials(trials_of(study))

    assert last.state == TrialState.FAIL and "died 3 times" in last.user_attrs["reason"]
    assert finish_all(study) == 0


def test_a_living_workers_trial_is_left_alone(study):
    fill_slots(study, 2, "card", BASE)
    claim_trial(study, "random", 1)
    assert requeue_expired(study) == 0

    elsewhere = claim_trial(study, "random", 1)
    elsewhere.set_user_attr("worker", {"host": "another", "pid": 1, "since": time.time()})
    assert requeue_expired(study) == 0


def test_a_copy_keeps_the_knobs_that_were_fixed_before_any_was_suggested(study):
    fill_slots(study, 2, "card", BASE)
    claim_trial(study, "random", 1)
    fc = claim_trial(study, "random", 1)
    fc.set_user_attr("worker", identity_of_process() | {"pid": dead_process()})
    assert requeue_expired(study, blame=False) == 1

    copy = trials_of(study)[-1]
    assert copy.system_attrs["fixed_params"] == {"strategy": "FC", "lr": 0.01}
    assert copy.user_attrs == {"keep": True, "slot": 1, "copy_of": 1}


def test_a_torn_journal_loses_its_last_line_alone(tmp_path):
    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    fill_slots(study, 3, "card", BASE)
    journal = tmp_path / "journal.log"
    journal.write_bytes(journal.read_bytes()[:-20])
    for _ in range(2):
        again = optuna.load_study(study_name="s", storage=open_storage(None, tmp_path))
        fill_slots(again, 3, "card", BASE)
        assert len(again.trials) == 3


def test_a_worker_killed_inside_a_write_stops_nobody(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from study.storage.backend import open_storage\n"
        "storage = open_storage(None, Path(sys.argv[1])); storage._backend._kernel_lock.acquire()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parent.parent, check=False)

    study = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)

    assert fill_slots(study, 2, "card", BASE) == 2


def test_discarding_a_finished_trial_does_nothing(study):
    fill_slots(study, 1, "card", BASE)
    finish_all(study)

    assert not discard_trial(study, trials_of(study)[0], "withdrawn")
    assert states(study) == ["COMPLETE"]


def test_a_missing_study_names_those_that_exist(tmp_path):
    optuna.create_study(study_name="mine", storage=open_storage(None, tmp_path / "mine"))
    with pytest.raises(InputError, match=r"'yours' in .* which has mine"):
        load_study("yours", tmp_path, None)
    with pytest.raises(InputError, match="a study must exist"):
        load_study("yours", tmp_path, f"sqlite:///{tmp_path}/x.db")


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path):
    with pytest.raises(InputError) as caught:
        open_storage("postgresql://me:secret@127.0.0.1:9/x", tmp_path)
    assert "secret" not in str(caught.value) and "--storage" in str(caught.value)
