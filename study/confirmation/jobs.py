"""What a confirmation consists of: its jobs, the networks that each gives, and the record of it in the storage."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fer.config import AdaptationConfig, from_flat
from study.record import DOMAINS
from study.stored_values import is_number

CONFIRMATION_ATTRIBUTE = "confirmation"
"""The study's attribute that holds the record of its confirmation."""
END = (1.0, 0.0)
"""Alpha and slope of the adapted network itself, at the end of the interpolation from the baseline."""

Training = tuple[int, int]
"""The number of a job, and a seed."""


@dataclass(frozen=True)
class InterpolationPoint:
    """A network between the baseline and an adapted one that is confirmed.

    Attributes:
        alpha: The share of the adapted weights in the first block, 0 to 1; 1 is the adapted network itself.
        slope: By how much the last block's share is larger.
        model: The file of the search's network, relative to the study's folder; "" for a named strategy.
        front: Whether it is on the study's front.
        validation: The search's validation accuracy by domain, 0 to 1; empty for a named strategy.
        averaged: How many trainings the file averages; None for a named strategy, and where the file is no average.
    """

    alpha: float
    slope: float
    model: str = ""
    front: bool = False
    validation: Mapping[str, float] | None = None
    averaged: int | None = None

    @property
    def is_end(self) -> bool:
        """Whether it is the adapted network itself."""
        return (self.alpha, self.slope) == END

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "InterpolationPoint":
        """Returns a stored point.

        Raises:
            KeyError: An entry is missing.
            TypeError: An entry has another type.
        """
        if not (is_number(stored["alpha"]) and is_number(stored["slope"])):
            raise TypeError("alpha and slope of an interpolation are numbers")
        _require(stored["model"], str)
        _require(stored["front"], bool)
        validation = {domain: stored[f"{domain}_val"] for domain in DOMAINS if f"{domain}_val" in stored}
        averaged = stored.get("averaged")
        if averaged is not None:
            _require(averaged, int)
        return cls(stored["alpha"], stored["slope"], stored["model"], stored["front"], validation or None, averaged)

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form."""
        stored = {"alpha": self.alpha, "slope": self.slope, "model": self.model, "front": self.front}
        if self.averaged is not None:
            stored["averaged"] = self.averaged
        for domain, accuracy in (self.validation or {}).items():
            stored[f"{domain}_val"] = accuracy
        return stored


@dataclass(frozen=True)
class ConfirmationJob:
    """A configuration that is trained again, with several seeds.

    Attributes:
        name: That the report shows: "trial 12", or a named strategy.
        named: The named strategy that the configuration is; "" where it is none.
        strategy: Of the configuration.
        config: Its hyperparameters, flat, as `fer.config.to_flat` returns them.
        interpolation_points: The networks of each training that are evaluated.
        target_passes: How often a fusion draws each target image; None where that is not recorded.
    """

    name: str
    named: str
    strategy: str
    config: Mapping[str, Any]
    interpolation_points: tuple[InterpolationPoint, ...]
    target_passes: float | None = None

    @property
    def adaptation(self) -> AdaptationConfig:
        """The configuration as the training takes it."""
        return from_flat(self.config)

    @property
    def is_on_front(self) -> bool:
        """Whether any of its networks is on the study's front."""
        return any(point.front for point in self.interpolation_points)

    def add_front_point(self, point: InterpolationPoint, trial: int) -> "ConfirmationJob":
        """Returns the job with one more network of the front.

        Args:
            point: The network.
            trial: Number of the trial that trained it. The job is named after the first such trial.
        """
        name = self.name if self.name.startswith("trial") else f"trial {trial}"

        # A named strategy's job has a point of the adapted network; the front's point of that network replaces it.
        earlier_points = self.interpolation_points
        if point.alpha == 1:
            earlier_points = tuple(earlier for earlier in earlier_points if earlier.front or not earlier.is_end)
        return replace(self, name=name, interpolation_points=(*earlier_points, point))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "ConfirmationJob":
        """Returns a stored job that can be trained.

        Raises:
            KeyError: An entry is missing, or a hyperparameter is.
            TypeError: An entry has another type.
            ValueError: It has no network to evaluate, or a hyperparameter is out of its range.
        """
        for name in ("name", "named", "strategy"):
            _require(stored[name], str)
        points = tuple(InterpolationPoint.from_json(point) for point in stored["ways"])
        if not points:
            raise ValueError("a job has a network to evaluate")
        job = cls(
            name=stored["name"],
            named=stored["named"],
            strategy=stored["strategy"],
            config=stored["config"],
            interpolation_points=points,
            target_passes=stored.get("target_passes"),
        )
        _ = job.adaptation  # raises where its hyperparameters cannot be read
        return job

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form."""
        stored: dict[str, Any] = {
            "name": self.name,
            "named": self.named,
            "strategy": self.strategy,
            "config": dict(self.config),
            "ways": [point.to_json() for point in self.interpolation_points],
        }
        if self.target_passes is not None:
            stored["target_passes"] = self.target_passes
        return stored


@dataclass(frozen=True)
class Confirmation:
    """A confirmation of a study, from its plan to its results.

    Attributes:
        seeds: Trainings per job.
        jobs: What is trained; the baseline first.
        earlier: When the test images were evaluated for the study before, ISO 8601.
        evaluated: When their evaluation for this confirmation was recorded, ISO 8601; None before that.
        test_sets: For each domain the dataset, the number of its test images, their digest, and who evaluated them
            before; None before the evaluation was recorded.
        finished: When it ended, ISO 8601; None before that.
        results: The stored form of `study.confirmed_results.ConfirmationResults`; None before that.
    """

    seeds: int
    jobs: tuple[ConfirmationJob, ...]
    earlier: tuple[str, ...] = ()
    evaluated: str | None = None
    test_sets: Mapping[str, Any] | None = None
    finished: str | None = None
    results: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, stored: object) -> "Confirmation":
        """Returns a stored confirmation whose jobs can be trained.

        Raises:
            KeyError: An entry is missing.
            TypeError: An entry has another type.
            ValueError: An entry has a value that it cannot have.
        """
        if not isinstance(stored, Mapping):
            raise TypeError(f"{stored!r:.60} is no confirmation")
        _require(stored["jobs"], list)
        if not stored["jobs"]:
            raise ValueError("a confirmation has a job")
        earlier = stored.get("earlier")
        evaluated = stored.get("opened")
        return cls(
            seeds=stored["seeds"],
            jobs=tuple(ConfirmationJob.from_json(job) for job in stored["jobs"]),
            earlier=tuple(map(str, earlier)) if isinstance(earlier, list) else (),
            evaluated=None if evaluated is None else str(evaluated),
            test_sets=stored.get("test_sets"),
            finished=stored.get("finished"),
            results=stored.get("results"),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form; what is not there yet is left out."""
        stored: dict[str, Any] = {
            "seeds": self.seeds,
            "jobs": [job.to_json() for job in self.jobs],
            "earlier": list(self.earlier),
        }
        later = {
            "opened": self.evaluated,
            "test_sets": self.test_sets,
            "finished": self.finished,
            "results": self.results,
        }
        return stored | {name: value for name, value in later.items() if value is not None}


def _require(value: object, kind: type) -> None:
    """Raises TypeError where a stored value has another type; a truth value is no number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r:.60} is not {kind}")
