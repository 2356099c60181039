"""A study and what its parent leads it with."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.execution.progress import Progress
from study.options import StudyOptions
from study.record import StudyRecord

if TYPE_CHECKING:
    import optuna

    from study.tracking.follower import Follower


@dataclass(frozen=True)
class RunningStudy:
    """A study at work.

    Attributes:
        study: Its trials and attributes, in its storage.
        record: Its record, which study.json holds.
        options: What the user asked for; nothing of it is "auto" once `study.pipeline.workers.settle_workers` is done.
        progress: Shows the user how far it is.
        follower: Copies its trials to MLflow.
        threads: Of each worker.
    """

    study: "optuna.Study"
    record: StudyRecord
    options: StudyOptions
    progress: Progress
    follower: "Follower"
    threads: int = 1

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record.name

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return Path(self.options.out) / self.name

    @property
    def report(self) -> Path:
        """The page with its results."""
        return self.folder / "report.html"
