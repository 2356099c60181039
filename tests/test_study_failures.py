"""Want of memory, of the host and of a device: a trial's own affair, until too many follow each other."""

import mmap
import subprocess
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
from optuna.trial import TrialState

from commands import NAME, QUICK, ROOT, command, run
from conftest import TINY
from fer.config import AdaptationConfig
from fer.training.loop import Diverged
from made_study import FAILED, made_trial
from study.execution import trial as one
from study.execution.claim import claim_trial
from study.execution.endings import MOST_FAILURES_IN_A_ROW, GaveUp, give_up_if_hopeless
from study.execution.progress import Progress
from study.execution.supervisor import supervise
from study.execution.trial_context import TrialContext
from study.exit_code import ExitCode
from study.machine import is_out_of_memory
from study.options import StudyOptions
from study.storage.backend import open_storage, trials_of
from study.storage.leases import this_machine
from study.storage.slots import fill_slots, has_diverged

HUGE = 2**46  # bytes, more than any address space has to give


def ask_too_much() -> dict:
    return {
        "torch": lambda: torch.empty(HUGE, dtype=torch.uint8),
        "numpy": lambda: np.empty(HUGE, np.uint8),
        "python": lambda: bytearray(HUGE),
        "kernel": lambda: mmap.mmap(-1, HUGE),
        "device": lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")),
    }


@pytest.mark.parametrize("who", ask_too_much())
def test_want_of_memory_is_known_whoever_says_it(who):
    with pytest.raises((MemoryError, RuntimeError, OSError)) as caught:
        ask_too_much()[who]()
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), OSError(2, "No such file"), ValueError("memory")])
def test_other_errors_are_none(error):
    assert not is_out_of_memory(error)


def test_a_trial_without_memory_fails_with_that_reason_and_the_next_one_runs(setting, tmp_path, monkeypatch, capfd):
    found = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    fill_slots(found, 2, "card", AdaptationConfig())
    bench = TrialContext(setting, "card", TINY, 0, tmp_path)
    with monkeypatch.context() as starved:
        starved.setattr(one, "adapt_on_folds", lambda *_, **__: ask_too_much()["device"]())
        assert one.run_trial(claim_trial(found, "random", 0), bench) == TrialState.FAIL
    assert one.run_trial(claim_trial(found, "random", 0), bench) == TrialState.COMPLETE

    first, second = trials_of(found)
    assert first.user_attrs["reason"] == "out of memory" and first.state == TrialState.FAIL
    assert second.state == TrialState.COMPLETE and "Traceback" not in capfd.readouterr().err


STARVED = """
# Read by every Python that starts here: adaptations find no memory, as often as the environment says.
import os, sys, time

if "study.worker" in sys.orig_argv and "OMP_NUM_THREADS" in os.environ:
    import resource
    import torch
    import fer.adaptation.procedure

    adapt, left = fer.adaptation.procedure.adapt, [int(os.environ["STARVED_TRIALS"])]

    def starved(*arguments, **options):
        left[0] -= 1
        if left[0] < 0:
            return adapt(*arguments, **options)
        time.sleep(0.5)  # a training takes longer than its parent's next look
        if os.environ["STARVED"] == "device":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used, before[1]))
        try:
            return adapt(*arguments, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    fer.adaptation.procedure.adapt = starved
"""


def starve(folder: Path, where: str, trials: int, *arguments: str) -> tuple[int, str, pd.DataFrame]:
    """Runs a study whose workers find no memory for their first trials; returns its code, words and table."""

    (folder / "sitecustomize.py").write_text(STARVED)
    words = ["--target", "tfeid", *QUICK, "--tracking-uri", "none", "--workers", "1", *arguments]
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "STARVED": where, "STARVED_TRIALS": str(trials)}
    process = command("run", *words, folder=folder, **environment)
    out, err = process.communicate(timeout=1500)
    return process.returncode, out + err, pd.read_csv(folder / "runs" / NAME / "trials.csv")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["host", "device"])
def test_a_study_goes_on_after_trials_without_memory(where, prepared_folder):
    code, said, trials = starve(prepared_folder, where, 2, "--trials", "6", "--early-stop", "off")

    assert code == 0 and "Traceback" not in said, said
    assert list(trials["state"]) == ["failed"] * 2 + ["finished"] * 4, said
    assert set(trials["reason"][:2]) == {"out of memory"}


def test_many_failures_in_a_row_end_a_study_unless_their_rates_were_too_high():
    diverged = [made_trial(number, FAILED, reason="Diverged: the loss is nan") for number in range(30)]
    give_up_if_hopeless(0, diverged, 2)
    starved = made_trial(30, FAILED, reason="out of memory")

    with pytest.raises(GaveUp, match="the last 20 trials failed, at last because: out of memory"):
        give_up_if_hopeless(0, [*diverged, starved], 2)

    give_up_if_hopeless(0, [*diverged, starved, made_trial(31)], 2)


@pytest.mark.slow
def test_too_many_in_a_row_stop_it_with_the_reason_and_with_memory_it_goes_on(prepared_folder):
    total = str(MOST_FAILURES_IN_A_ROW + 5)
    code, said, trials = starve(prepared_folder, "device", 1000, "--trials", total, "--early-stop", "off")
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert code == 1 and "Traceback" not in said, said
    assert f"the last {MOST_FAILURES_IN_A_ROW} trials failed, at last because: out of memory" in line
    assert set(trials["state"]) == {"failed"} and len(trials) < int(total)

    (prepared_folder / "sitecustomize.py").unlink()
    words = ["--target", "tfeid", *QUICK, "--tracking-uri", "none", "--workers", "1", "--early-stop", "off"]
    run("run", *words, "--trials", total, folder=prepared_folder, seconds=1500)
    assert len(pd.read_csv(prepared_folder / "runs" / NAME / "trials.csv")) == int(total)


CROWDED = """
# Read by every Python that starts here: a device whose memory is enough for one worker alone.
import os, sys

if "study.worker" in sys.orig_argv and "OMP_NUM_THREADS" in os.environ:
    import torch
    import fer.adaptation.procedure
    import fer.runtime

    fer.runtime.Runtime.on_gpu = property(lambda self: True)
    adapt = fer.adaptation.procedure.adapt

    def crowded(*arguments, **options):
        if "--beside" in sys.orig_argv:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return adapt(*arguments, **options)

    fer.adaptation.procedure.adapt = crowded
"""


@pytest.mark.slow
def test_workers_that_crowd_a_device_become_fewer_and_no_trial_is_lost(prepared_folder):
    (prepared_folder / "sitecustomize.py").write_text(CROWDED)
    words = ["--target", "tfeid", *QUICK, "--tracking-uri", "none", "--workers", "4", "--trials", "6"]
    words += ["--early-stop", "off"]
    process = command("run", *words, folder=prepared_folder, PYTHONPATH=f"{prepared_folder}:{ROOT}")
    out, err = process.communicate(timeout=1500)
    said, trials = out + err, pd.read_csv(prepared_folder / "runs" / NAME / "trials.csv")

    assert process.returncode == 0 and "Traceback" not in said, said
    assert "for 4 workers; it goes on with 2" in said and "for 2 workers; it goes on with 1" in said
    assert list(trials["state"]) == ["finished"] * 6


def test_a_configuration_is_trained_once_and_its_twin_answered_from_the_record(setting, tmp_path, monkeypatch):
    found = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    for _ in range(2):
        found.enqueue_trial({"strategy": "FC", "lr": 0.01})
    bench = TrialContext(setting, "card", TINY, 0, tmp_path)
    assert one.run_trial(claim_trial(found, "random", 0), bench) == TrialState.COMPLETE

    monkeypatch.setattr(one, "adapt_on_folds", lambda *_: pytest.fail("trained again"))
    assert one.run_trial(claim_trial(found, "random", 0), bench) == TrialState.COMPLETE

    first, second = trials_of(found)
    assert second.user_attrs["twin_of"] == first.number and second.values == first.values
    assert second.user_attrs["measures"] == first.user_attrs["measures"]


def test_what_diverged_diverges_again_without_training(setting, tmp_path, monkeypatch, capfd):
    found = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    for lr in (0.01, 0.01, 0.02):
        found.enqueue_trial({"strategy": "FC", "lr": lr})
    bench, trained = TrialContext(setting, "card", TINY, 0, tmp_path), []

    def diverges(settings, config, *_, **__):
        trained.append(config.lr)
        raise Diverged("the loss became nan")

    monkeypatch.setattr(one, "adapt_on_folds", diverges)

    assert [one.run_trial(claim_trial(found, "random", 0), bench) for _ in range(3)] == [TrialState.FAIL] * 3
    assert trained == [0.01, 0.02] and all(has_diverged(trial) for trial in trials_of(found))
    assert "as in trial 0" in trials_of(found)[1].user_attrs["reason"] and "Traceback" not in capfd.readouterr().err


def test_a_study_that_gives_up_takes_the_trials_of_its_ended_workers_back_and_blames_none(tmp_path):
    found = optuna.create_study(study_name="s", storage=open_storage(None, tmp_path), directions=["maximize"] * 2)
    fill_slots(found, 1, "card", AdaptationConfig())
    ended = subprocess.Popen(["true"])
    ended.wait()

    class Stuck:
        """A worker that ended at its trial for want of something that the next would lack as well."""

        def __init__(self) -> None:
            trial = claim_trial(found, "random", 0)
            trial.set_user_attr("worker", {"host": this_machine(), "pid": ended.pid, "since": 0.0})

        def poll(self) -> int:
            return ExitCode.STUCK

        def terminate(self) -> None: ...

        def kill(self) -> None: ...

        def wait(self, timeout: float | None = None) -> int:
            return ExitCode.STUCK

        def last_words(self) -> str:
            return "no space left on device"

    options = StudyOptions("tfeid", trials=1, workers="1")
    with pytest.raises(GaveUp, match="a worker cannot go on"):
        supervise(found, options, AdaptationConfig(), Progress(), lambda *_: Stuck())

    first, copy = trials_of(found)
    assert first.user_attrs["lost"] == "interrupted" and copy.state == TrialState.WAITING
