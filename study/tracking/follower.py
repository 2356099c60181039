"""Keeps MLflow following a running study, from a thread of the parent: workers never wait for it."""

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.storage.backend import trials_of
from study.tracking.mlflow_run import MlflowRun, open_tracking

if TYPE_CHECKING:
    import optuna

SECONDS_BETWEEN_SYNCS = 2.0


class Follower:
    """A thread that connects to MLflow and copies each trial there soon after it ends.

    Args:
        uri: As `mlflow_run.open_tracking` takes it.
        required: Whether a server that does not answer is an error; else it is a warning.

    Attributes:
        run: The study's run in MLflow; None before it is connected, and where nothing is tracked.
        error: What refused the connection.
        logged: Numbers of the trials that MLflow has.
    """

    def __init__(self, uri: str | None, required: bool) -> None:
        self.uri = uri
        self.required = required
        self.run: MlflowRun | None = None
        self.error: Exception | None = None
        self.logged: set[int] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._connect, daemon=True)
        self._thread.start()

    def _connect(self) -> None:
        try:
            self.run = open_tracking(self.uri, Path.cwd(), required=self.required)
        except Exception as error:
            self.error = error

    def check(self) -> None:
        """Waits until the connection is made or refused, and raises what refused it."""
        self._thread.join()
        if self.error is not None:
            raise self.error

    def wait(self) -> None:
        """Waits until no work on MLflow's side is under way."""
        self._stopping.set()
        self._thread.join()

    def find_experiment(self) -> str:
        """Returns the id of the experiment that holds all studies; "" where MLflow has not been reached.

        Waits until no work on MLflow's side is under way.
        """
        self.wait()
        return "" if self.run is None else self.run.experiment

    def follow(self, study: "optuna.Study", stored_record: dict[str, Any]) -> None:
        """Starts copying trials.

        Args:
            study: The study, whose trials are read again and again.
            stored_record: Its record as its storage holds it.
        """
        self._thread = threading.Thread(target=self._follow, args=(study, stored_record), daemon=True)
        self._thread.start()

    def _follow(self, study: "optuna.Study", stored_record: dict[str, Any]) -> None:
        if self.run is None:
            return
        while not self._stopping.wait(SECONDS_BETWEEN_SYNCS):
            with contextlib.suppress(ConnectionError):  # the storage is away: the parent meets it, or it comes back
                self.run.sync(stored_record, trials_of(study), self.logged)

    def catch_up(self, study: "optuna.Study", stored_record: dict[str, Any]) -> bool:
        """Copies the trials that are left, unless MLflow was away just now; returns whether it has the study's run."""
        if self.run is None:
            return False
        self.run.sync(stored_record, trials_of(study), self.logged)
        return self.run.parent is not None

    def finish(self, study: "optuna.Study", stored_record: dict[str, Any], folder: Path) -> bool:
        """Copies what is left, adds the exports and ends the study's run.

        Returns:
            False when MLflow lacks something that `study.sync` can add.
        """
        if self.run is None:
            return True
        return self.run.finish(stored_record, trials_of(study), self.logged, folder)
