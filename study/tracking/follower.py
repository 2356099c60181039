"""Keeps MLflow following a running study, from a thread of the parent: workers never wait for it."""

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.tracking import mlflow_run

if TYPE_CHECKING:
    import optuna

EVERY = 2.0
"""Seconds between two looks at the storage."""


class Follower:
    """A thread that connects to MLflow and copies each trial there soon after it ends.

    Args:
        uri: As `tracking.open_tracking` takes it.
        required: Whether a server that does not answer is an error; else it is a warning.
    """

    def __init__(self, uri: str | None, required: bool) -> None:
        self.uri, self.required = uri, required
        self.handle: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.done: set[int] = set()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._connect, daemon=True)
        self.thread.start()

    def _connect(self) -> None:
        try:
            self.handle = mlflow_run.open_tracking(self.uri, Path.cwd(), required=self.required)
        except Exception as error:
            self.error = error

    def check(self) -> None:
        """Waits until the connection is made or refused, and raises what refused it."""
        self.thread.join()
        if self.error is not None:
            raise self.error

    def wait(self) -> None:
        """Waits until no work on MLflow's side is under way."""
        self.stopping.set()
        self.thread.join()

    def follow(self, study: "optuna.Study", record: dict[str, Any]) -> None:
        """Starts copying trials."""
        self.thread = threading.Thread(target=self._follow, args=(study, record), daemon=True)
        self.thread.start()

    def _follow(self, study: "optuna.Study", record: dict[str, Any]) -> None:
        from study.storage.backend import trials_of

        while not self.stopping.wait(EVERY):
            with contextlib.suppress(ConnectionError):  # the storage is away: the parent meets it, or it comes back
                mlflow_run.sync(self.handle, record, trials_of(study), self.done)

    def catch_up(self, study: "optuna.Study", record: dict[str, Any]) -> bool:
        """Copies the trials that are left, unless MLflow was away just now; returns whether it has the study's run."""
        from study.storage.backend import trials_of

        mlflow_run.sync(self.handle, record, trials_of(study), self.done)
        return self.handle is not None and self.handle.get("parent") is not None

    def finish(self, study: "optuna.Study", record: dict[str, Any], folder: Path) -> bool:
        """Copies what is left, adds the exports and ends the parent run.

        Returns:
            False when MLflow lacks something that `study.sync` can add.
        """
        from study.storage.backend import trials_of

        return mlflow_run.finish(self.handle, record, trials_of(study), self.done, folder)
