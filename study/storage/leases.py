"""Leases of workers on their trials and of a parent on its study, on every storage.

A worker holds a lease on its trial: it changes the trial's attribute "beat" at intervals, as a sign of life. A monitor
compares the sign with the one it saw before and adds up, by its own monotonic clock, how long the sign has stayed the
same. Clocks of two machines are never compared, so a clock that jumps ends no lease. Neither does a storage that was
away or a monitor that slept, because one comparison adds LONGEST_STEP at most. A worker on this machine whose process
is gone is known to be dead at once.
"""

import contextlib
import itertools
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from fer.errors import InputError
from study.storage.backend import trials_of
from study.storage.optuna_private import storage_number, storage_of
from study.storage.slots import give_trial_back
from study.trial_attributes import TrialAttributes

HEARTBEAT_SECONDS = 15.0
"""Seconds between two signs of life of a worker."""
LEASE_SECONDS = 150.0
"""Seconds without a sign of life after which a worker is given up."""
UNSIGNED_SECONDS = 15.0
"""Seconds after which a claimed trial is given up that has no worker's name yet."""
LONGEST_STEP = 15.0
"""Seconds that one comparison of signs adds at most."""
PARENT_HEARTBEAT_SECONDS = 5.0
"""Seconds between two signs of life of a study's parent."""
PARENT_LEASE_SECONDS = 30.0
"""Seconds without a sign of life after which a parent is given up."""


@cache
def this_machine() -> str:
    """Returns a name of this machine, in this boot, and of its container.

    Two containers may share a host's name, and each has a process 7.
    """
    names = [socket.gethostname()]
    with contextlib.suppress(OSError):
        names.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")[:8])
        names.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "-".join(names)


def identity_of_process() -> dict[str, Any]:
    """Returns what distinguishes this process from any other, on this machine and on others, also after its end."""
    return {"host": this_machine(), "pid": os.getpid(), "since": _birth(os.getpid())}


def _birth(pid: int) -> float:
    """Returns when a process started; where the kernel tells, in its own ticks, which no clock change moves.

    Raises:
        psutil.NoSuchProcess: There is none.
    """
    try:
        # After the command's name, which may hold anything: field 22 of the line (proc_pid_stat(5)).
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        _, _, after_name = line.rpartition(")")
        return float(after_name.split()[19])
    except (OSError, IndexError):
        return psutil.Process(pid).create_time()


def is_gone(process: dict[str, Any]) -> bool:
    """Returns whether a process of this machine has ended; False for one elsewhere, of which this cannot be known."""
    if process.get("host") != this_machine():
        return False
    try:
        ended = psutil.Process(process["pid"]).status() == psutil.STATUS_ZOMBIE
        return ended or abs(_birth(process["pid"]) - process["since"]) >= 1
    except psutil.NoSuchProcess:
        return True


class LeaseMonitor:
    """Finds the running trials whose lease has run out.

    Args:
        lease: Seconds without a sign of life after which a worker is given up.
        unsigned: Seconds after which a trial is given up that was claimed and has no worker's name yet.
        clock: A clock, in seconds, that never goes back.
    """

    def __init__(
        self,
        lease: float = LEASE_SECONDS,
        unsigned: float = UNSIGNED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease = lease
        self.unsigned = unsigned
        self.clock = clock
        self.last_check = clock()
        self.signs: dict[int, tuple[Any, float]] = {}  # of each trial its last sign of life, and the seconds since

    def expired(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Returns the running trials that nobody works at any more.

        Args:
            trials: All trials of the study, as they are now.
        """
        # The time that is added to every silence since the last call.
        now = self.clock()
        passed = min(max(0.0, now - self.last_check), LONGEST_STEP)
        self.last_check = now

        before = self.signs
        self.signs = {}
        expired = []
        for trial in trials:
            if trial.state != TrialState.RUNNING:
                continue

            # How long the sign of life has stayed the same.
            attributes = TrialAttributes.of(trial)
            worker = attributes.worker
            sign = (worker, attributes.beat)
            last_sign, silent = before.get(trial.number, (None, 0.0))
            silent = silent + passed if sign == last_sign else 0.0
            self.signs[trial.number] = sign, silent

            # Its lease has run out, or its process on this machine has ended.
            longest = self.lease if worker else self.unsigned
            if silent >= longest or (worker and is_gone(worker)):
                expired.append(trial)
        return expired


def requeue_expired(study: optuna.Study, monitor: LeaseMonitor | None = None, blame: bool = True) -> int:
    """Replaces each running trial whose lease has run out by a clean copy (`study.storage.slots.give_trial_back`).

    Args:
        study: The study.
        monitor: What was seen before; None knows of ended processes on this machine alone.
        blame: Whether the death counts against the trial; not when its worker was ended on purpose.

    Returns:
        The number of trials that were replaced.
    """
    monitor = monitor or LeaseMonitor()
    expired = monitor.expired(trials_of(study))
    for trial in expired:
        give_trial_back(study, trial, blame)
    return len(expired)


@contextlib.contextmanager
def holding_lease(study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """Keeps a trial's lease, from a thread, while the block runs."""
    storage, _ = storage_of(study)

    def beat(count: int) -> None:
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_user_attr(storage_number(trial), "beat", count)

    with _heartbeat(beat, HEARTBEAT_SECONDS):
        yield


@contextlib.contextmanager
def _heartbeat(beat: Callable[[int], None], every: float) -> Iterator[None]:
    """Gives signs of life, from a thread, while the block runs.

    Args:
        beat: Gives a sign of life; its argument is the number of the sign, from 1.
        every: Seconds between two signs.
    """
    ended = threading.Event()

    def give_signs() -> None:
        for count in itertools.count(1):
            if ended.wait(every):
                return
            try:
                beat(count)
            except Exception as error:  # a storage that is away; whoever works with it will meet it, or not
                print(f"warning: no sign of life could be given ({type(error).__name__})", file=sys.stderr)

    thread = threading.Thread(target=give_signs, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(every)


@contextlib.contextmanager
def exclusive_parent(study: optuna.Study, say: Callable[[str], None], settle: float = 1.0) -> Iterator[None]:
    """Holds the study, through its storage, for this parent alone: two would write its exports and MLflow twice.

    Storages have no "set if unchanged" for a study, so two parents that start within `settle` seconds are
    distinguished by who wrote last. Should both go on nevertheless, totals stay exact (`study.storage.slots`).

    Args:
        study: The study.
        say: Tells the user that an earlier parent may still be there.
        settle: Seconds after which this parent checks whether another wrote after it.

    Raises:
        InputError: Another parent gives signs of life.
    """
    me = identity_of_process()
    name = study.study_name

    def write_sign(count: int | None) -> None:
        study.set_user_attr("parent", None if count is None else me | {"beat": count})

    def read_sign() -> dict[str, Any] | None:
        return study.user_attrs.get("parent")

    # An earlier parent must be gone.
    _wait_for_silence(read_sign, name, say)

    # Of several that start now, the last to write holds the study.
    write_sign(0)
    time.sleep(settle)
    holder = read_sign()
    if holder and {key: holder[key] for key in me} != me:
        raise _held_by(holder, name)

    with _heartbeat(write_sign, PARENT_HEARTBEAT_SECONDS):
        yield
    write_sign(None)


def _wait_for_silence(read_sign: Callable[[], dict[str, Any] | None], name: str, say: Callable[[str], None]) -> None:
    """Waits until the parent that wrote the last sign of life has left the study, or has been silent for its lease.

    Args:
        read_sign: Returns the last sign of life of a parent, None where none holds the study.
        name: The study's name.
        say: Tells the user what is waited for.

    Raises:
        InputError: The parent gives another sign of life.
    """
    first = read_sign()
    if not first or is_gone(first):
        return
    say(f"  a parent on {first['host']} held {name}; waiting {PARENT_LEASE_SECONDS:g} s for a sign of it")
    until = time.monotonic() + PARENT_LEASE_SECONDS
    while time.monotonic() < until:
        time.sleep(PARENT_HEARTBEAT_SECONDS / 2)
        latest = read_sign()
        if latest is None:
            return
        if latest != first:
            raise _held_by(latest, name)


def _held_by(holder: dict[str, Any], name: str) -> InputError:
    """Returns the error that names the parent that holds a study."""
    return InputError(
        "a study has one parent",
        f"{name}, which process {holder['pid']} on {holder['host']} runs",
        "Wait for it, or help it with python -m study.worker.",
    )
