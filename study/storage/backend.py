"""The storage of a study's trials: a journal in the study's folder, or any other Optuna storage."""

import contextlib
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.trial import FrozenTrial

from fer.errors import InputError, did_you_mean
from study.arguments import check_storage, check_study_name
from study.redaction import hide_secrets
from study.storage.journal import JOURNAL, Journal, damaged_journal
from study.storage.optuna_private import database_url, storage_of
from study.storage.retry import RetryingStorage, StorageLost, StorageRefused, first_line

optuna.logging.set_verbosity(optuna.logging.ERROR)

CONNECT_SECONDS = 10
"""Seconds for which one attempt to connect to a server may take."""


def open_storage(url: str | None, folder: Path, patience: float = 0.0) -> BaseStorage:
    """Opens a study's storage.

    Args:
        url: Any Optuna storage URL; None is the journal in the study's folder.
        folder: The study's folder.
        patience: Seconds for which to wait for a server that does not answer; only where the URL is known to be right.

    Raises:
        InputError: The storage cannot be reached.
        StorageLost: The storage did not answer for `patience` seconds.
    """
    check_storage(url)
    if url is None:
        return _open_journal(folder)
    try:
        return _open_server(url, patience)
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


def _open_journal(folder: Path) -> JournalStorage:
    """Opens the journal in a study's folder, which is made if need be.

    Raises:
        InputError: A line of it is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / JOURNAL).resolve()
    try:
        return JournalStorage(Journal(path))
    except OSError:
        raise
    except Exception as error:  # a line that is no JSON, or no entry of a journal: whatever reading it raises
        raise damaged_journal(path, error) from None


def _open_server(url: str, patience: float) -> BaseStorage:
    """Connects to a storage, for at most `patience` seconds; calls of what it returns are repeated."""
    shown = hide_secrets(url)
    unconnected = _Unconnected(url)
    # Connecting is repeated as any later call is.
    connection = RetryingStorage(unconnected, shown, patience) if patience else unconnected
    return RetryingStorage(connection.connect(), shown)  # type: ignore[return-value]


def _connect(url: str) -> BaseStorage:
    """Connects to a gRPC proxy, PostgreSQL or any other storage that Optuna knows by its URL."""
    if url.startswith("grpc://"):
        address = urlsplit(url)
        host = address.hostname or "localhost"
        port = address.port or 13000
        with warnings.catch_warnings(category=optuna.exceptions.ExperimentalWarning, action="ignore"):
            proxy = optuna.storages.GrpcStorageProxy(host=host, port=port)
        proxy.wait_server_ready(timeout=CONNECT_SECONDS)
        return proxy

    if url.startswith(("postgresql:", "postgres:")):
        # The driver by its name: which one is meant without it differs between versions of SQLAlchemy.
        url_with_driver = "postgresql+psycopg:" + url.partition(":")[2]
        # Few connections each, since a server has a hundred for all workers; each is tried before it is used, as
        # servers restart.
        engine = {
            "pool_size": 1,
            "max_overflow": 4,
            "pool_pre_ping": True,
            "connect_args": {"connect_timeout": CONNECT_SECONDS},
        }
        return optuna.storages.get_storage(optuna.storages.RDBStorage(url_with_driver, engine_kwargs=engine))

    return optuna.storages.get_storage(url)


@dataclass(frozen=True)
class _Unconnected:
    """A storage's URL, to connect to by a call that `RetryingStorage` can repeat."""

    url: str

    def connect(self) -> BaseStorage:
        """Connects, if need be again after a pause.

        When several processes make the tables of a new database at once, one of them succeeds and the others fail; a
        second attempt then finds the tables.
        """
        for pause in (0.5, 1.0, 2.0):
            try:
                return _connect(self.url)
            except Exception as error:  # SQLAlchemy's, which need not be installed
                if type(error).__name__ not in ("IntegrityError", "ProgrammingError"):
                    raise
            time.sleep(pause)
        return _connect(self.url)


def load_study(name: str, out: Path, storage: str | None, patience: float = 0.0) -> optuna.Study:
    """Loads an existing study.

    Args:
        name: The study's name.
        out: The folder that holds the study's folder.
        storage: As for `open_storage`.
        patience: As for `open_storage`.

    Raises:
        InputError: There is none of this name.
    """
    check_study_name(name)
    folder = out / name
    if storage is None and not (folder / JOURNAL).exists():
        names = sorted(path.parent.name for path in out.glob(f"*/{JOURNAL}"))
        raise _missing_study(name, f"{out}/", names)
    opened = open_storage(storage, folder, patience)
    try:
        return optuna.load_study(study_name=name, storage=opened)
    except KeyError:
        names = sorted(study.study_name for study in opened.get_all_studies())
        raise _missing_study(name, hide_secrets(storage or str(folder)), names) from None


def _missing_study(name: str, place: str, names: list[str]) -> InputError:
    """Returns the error of a study that is not in a place, given the names of those that are there."""
    fix = "Start it with python -m study.run, or name the storage and --out it was started with."
    value = f"{name!r} in {place}, which has {', '.join(names) or 'none'}"
    return InputError("a study must exist", value, f"{did_you_mean(name, names)}{fix}")


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
