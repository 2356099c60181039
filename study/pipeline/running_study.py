"""A study and what its parent leads it with."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.execution.progress import Progress
from study.options import StudyOptions

if TYPE_CHECKING:
    import optuna

    from study.tracking.follower import Follower


@dataclass(frozen=True)
class RunningStudy:
    """A study at work.

    Attributes:
        study: Its trials and attributes, in its storage.
        record: Its record, which study.json holds.
        options: What the user asked for, with nothing left at "auto".
        progress: Shows the user how far it is.
        follower: Copies its trials to MLflow.
    """

    study: "optuna.Study"
    record: dict[str, Any]
    options: StudyOptions
    progress: Progress
    follower: "Follower"

    @property
    def name(self) -> str:
        """The study's name."""
        return self.record["name"]

    @property
    def folder(self) -> Path:
        """Where its results are."""
        return Path(self.options.out) / self.name

    def with_options(self, options: StudyOptions) -> "RunningStudy":
        """Returns the study at work with other options."""
        return replace(self, options=options)
