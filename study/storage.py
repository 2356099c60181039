"""Where a study's trials are kept: a journal in its folder, or any other Optuna storage."""

import contextlib
import errno
import json
import os
import sys
import time
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from fer.errors import InputError
from study.arguments import check_storage, check_study_name
from study.optuna_private import JOURNAL_OPERATION, database_url, storage_of
from study.patience import Patient, StorageLost, StorageRefused, first_line
from study.redaction import hide_secrets, one_line

optuna.logging.set_verbosity(optuna.logging.ERROR)

JOURNAL = "journal.log"
LONGEST_LINE = 2**24
CONNECT_SECONDS = 10


def open_storage(url: str | None, folder: Path, patience: float = 0.0) -> BaseStorage:
    """Opens a study's storage.

    Args:
        url: Any Optuna storage URL; None is the journal in the study's folder.
        folder: The study's folder.
        patience: Seconds for which a server is waited for that does not answer; for who knows that the URL is right.

    Raises:
        InputError: The storage cannot be reached.
        StorageLost: Nor in all that time.
    """
    check_storage(url)
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        path = (folder / JOURNAL).resolve()
        try:
            return JournalStorage(Journal(path))
        except OSError:
            raise
        except Exception as error:  # a line that is no JSON, or no entry of a journal: whatever reading it raises
            raise _damaged(path, error) from None
    try:
        # Connecting is repeated as any later call is.
        unconnected = _Unconnected(url)
        storage = (Patient(unconnected, hide_secrets(url), patience) if patience else unconnected).connect()
        return Patient(storage, hide_secrets(url))  # type: ignore[return-value]
    except (StorageLost, StorageRefused):
        raise
    except ModuleNotFoundError as error:
        extra = "grpc" if url.startswith("grpc") else "postgresql"
        raise InputError(
            "--storage needs the driver of its database",
            f"{hide_secrets(url)} without {error.name}",
            f"pip install 'memory-integrity[{extra}]', or the driver that the URL names.",
        ) from None
    except Exception as error:  # each database driver has its own errors
        reason = first_line(error)
        raise InputError(
            "--storage must be an Optuna storage that answers",
            f"{hide_secrets(url)} ({reason})",
            "Check that the server runs and the URL is right, or leave --storage out for a journal on this machine.",
        ) from None


def _connect(url: str) -> BaseStorage:
    if url.startswith("grpc://"):
        address = urlsplit(url)
        with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
            proxy = optuna.storages.GrpcStorageProxy(host=address.hostname or "localhost", port=address.port or 13000)
        proxy.wait_server_ready(timeout=CONNECT_SECONDS)
        return proxy
    if url.startswith(("postgresql:", "postgres:")):
        # The driver by its name: which one is meant without it differs between versions of SQLAlchemy. Few connections
        # each, since a server has a hundred for all workers; each is tried before it is used, as servers restart.
        return optuna.storages.get_storage(
            optuna.storages.RDBStorage(
                "postgresql+psycopg:" + url.partition(":")[2],
                engine_kwargs={
                    "pool_size": 1, "max_overflow": 4, "pool_pre_ping": True,
                    "connect_args": {"connect_timeout": CONNECT_SECONDS},
                },
            )
        )  # fmt: skip
    return optuna.storages.get_storage(url)


@dataclass(frozen=True)
class _Unconnected:
    """A storage's URL, to connect to by a call that `Patient` can repeat."""

    url: str

    def connect(self) -> BaseStorage:
        """Connects. Processes that make a database's tables at once fail, all but one, and then find them made."""
        for pause in (0.5, 1.0, 2.0):
            try:
                return _connect(self.url)
            except Exception as error:  # SQLAlchemy's, which need not be installed
                if type(error).__name__ not in ("IntegrityError", "ProgrammingError"):
                    raise
            time.sleep(pause)
        return _connect(self.url)


class _KernelLock:
    """A lock that the kernel releases when its holder dies; Optuna's own would then stop every other process."""

    def __init__(self, path: Path) -> None:
        self.lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        self.lock.acquire()
        return True

    def release(self) -> None:
        self.lock.release()


class Journal(JournalFileBackend):
    """Optuna's journal file, which stays readable when a writer dies or the disk fills inside a line."""

    def __init__(self, path: Path) -> None:
        self._path, self._kernel_lock = path, _KernelLock(path)
        super().__init__(str(path), lock_obj=self._kernel_lock)  # type: ignore[arg-type]
        with self._kernel_lock.lock, path.open("r+b") as file:
            _drop_torn_line(file)
            _drop_garbled_end(file, path)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Reads the entries from a number on.

        Raises:
            StorageLost: The file has gone since it was opened, its folder moved or deleted.
        """
        self._require()
        yield from super().read_logs(log_number_from)

    def _require(self) -> None:
        # Before the lock, which would make a folder in the place of one that was moved away.
        if not self._path.exists():
            raise StorageLost(f"{self._path} is gone: it, or its folder, was moved or deleted")

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends entries, all or none of them.

        Raises:
            StorageLost: The file has gone since it was opened.
            OSError: The disk is full.
        """
        self._require()
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._kernel_lock.lock, self._path.open("r+b", buffering=0) as file:
            end = _drop_torn_line(file)
            try:
                if file.write(lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


def _drop_torn_line(file: BinaryIO) -> int:
    """Cuts a last line that a crash left half-written, with which the next would be lost; goes to the end."""
    end = file.seek(0, os.SEEK_END)
    whole = end
    while whole:
        start = max(0, whole - 4096)
        file.seek(start)
        newline = file.read(whole - start).rfind(b"\n")
        if newline >= 0:
            whole = start + newline + 1
            break
        whole = start
    if whole < end:
        file.truncate(whole)
    return file.seek(whole)


def _drop_garbled_end(file: BinaryIO, path: Path) -> None:
    """Cuts a last line that is whole and no JSON: Optuna passes over it, and stumbles when another follows."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - LONGEST_LINE))
    *_, last = [b"", *file.read().splitlines(keepends=True)]
    try:
        json.loads(last or b"{}")
    except ValueError:
        file.truncate(end - len(last))
        print(f"warning: the last entry of {path} was damaged and is lost; the rest is read", file=sys.stderr)


def _damaged(path: Path, error: Exception) -> InputError:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                json.loads(line)[JOURNAL_OPERATION]
            except (ValueError, KeyError, TypeError):
                return InputError(
                    "a journal's lines are whole", f"{path}, damaged in line {number}",
                    "Put back a copy of the file, or delete that line: what it recorded is lost, the rest is read.",
                )  # fmt: skip
    return InputError(
        "a journal's entries follow from each other", f"{path} ({type(error).__name__}: {one_line(error)})",
        "Put back a copy of the file, or start anew with --study NAME.",
    )  # fmt: skip


def load_study(name: str, out: Path, storage: str | None, patience: float = 0.0) -> optuna.Study:
    """Loads an existing study; `patience` as for `open_storage`.

    Raises:
        InputError: There is none of this name.
    """
    check_study_name(name)
    folder = out / name
    mend = "Start it with python -m study.run, or name the storage and --out it was started with."
    if storage is None and not (folder / JOURNAL).exists():
        known = sorted(path.parent.name for path in out.glob(f"*/{JOURNAL}"))
        raise InputError("a study must exist", f"{name!r} in {out}/, which has {', '.join(known) or 'none'}", mend)
    try:
        return optuna.load_study(study_name=name, storage=open_storage(storage, folder, patience))
    except KeyError:
        raise InputError("a study must exist", f"{name!r} in {hide_secrets(storage or str(folder))}", mend) from None


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """Returns all trials of a study, those of other processes included, without copying them."""
    storage, study_id = storage_of(study)
    return storage.get_all_trials(study_id, deepcopy=False)


def one_change_at_a_time(storage: BaseStorage) -> contextlib.AbstractContextManager:
    """Returns a lock for SQLite, which has no row locks, so that two workers there could change one state together."""
    url = database_url(storage)
    if url.startswith("sqlite:///"):
        return FileLock(url.removeprefix("sqlite:///").split("?")[0] + ".lock")
    return contextlib.nullcontext()
