"""Where a study's trials are kept: a journal in its folder, or any other Optuna storage."""

import contextlib
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from fer.errors import InputError
from study.describe import hide_secrets

optuna.logging.set_verbosity(optuna.logging.ERROR)

JOURNAL = "journal.log"


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """Opens a study's storage.

    Args:
        url: Any Optuna storage URL; None is the journal in the study's folder.
        folder: The study's folder.

    Raises:
        InputError: The storage cannot be reached.
    """
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        path = (folder / JOURNAL).resolve()
        _drop_torn_line(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_KernelLock(path)))  # type: ignore[arg-type]
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # each database driver has its own errors
        reason = (hide_secrets(str(error)).strip() or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            "--storage must be an Optuna storage that answers",
            f"{hide_secrets(url)} ({reason})",
            "Check that the server runs and the URL is right, or leave --storage out for a journal on this machine.",
        ) from None


class _KernelLock:
    """A lock that the kernel releases when its holder dies; Optuna's own would then stop every other process."""

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def _drop_torn_line(path: Path) -> None:
    """Cuts a last line that a crash left half-written: what follows would be appended to it and lost with it."""
    if not path.exists():
        return
    with FileLock(f"{path}.lock"), path.open("r+b") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)


def load_study(name: str, out: Path, storage: str | None) -> optuna.Study:
    """Loads an existing study.

    Raises:
        InputError: There is none of this name.
    """
    folder = out / name
    mend = "Start it with python -m study.run, or name the storage and --out it was started with."
    if storage is None and not (folder / JOURNAL).exists():
        known = sorted(path.parent.name for path in out.glob(f"*/{JOURNAL}"))
        raise InputError("a study must exist", f"{name!r} in {out}/, which has {', '.join(known) or 'none'}", mend)
    try:
        return optuna.load_study(study_name=name, storage=open_storage(storage, folder))
    except KeyError:
        raise InputError("a study must exist", f"{name!r} in {hide_secrets(storage or str(folder))}", mend) from None


def storage_of(study: optuna.Study) -> tuple[BaseStorage, int]:
    """Returns a study's storage and its number there."""
    return study._storage, study._study_id


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """Returns all trials of a study, those of other processes included, without copying them."""
    storage, study_id = storage_of(study)
    return storage.get_all_trials(study_id, deepcopy=False)


def one_change_at_a_time(storage: BaseStorage) -> contextlib.AbstractContextManager:
    """Returns a lock for SQLite, which has no row locks, so that two workers there could change one state together."""
    url = str(getattr(getattr(storage, "_backend", storage), "url", ""))
    if url.startswith("sqlite:///"):
        return FileLock(url.removeprefix("sqlite:///").split("?")[0] + ".lock")
    return contextlib.nullcontext()
