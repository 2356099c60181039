"""What a search of nested cross-validation recommended, and how that answered on its part of the people, as stored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fer.architecture import VGG13
from study.inputs import OuterPart
from study.record import DOMAINS
from study.tuning.stored_answers import pack_answers, unpack_answers

if TYPE_CHECKING:
    import optuna

OUTER_ATTRIBUTE = "outer"
"""The study's attribute that holds the result of its part."""


@dataclass(frozen=True)
class RecommendedNetwork:
    """The network that a search recommends.

    Attributes:
        model: Its file, relative to the study's folder.
        trial: Number of the trial whose configuration it has.
        strategy: Of its configuration.
        rung: The highest on which it was trained, from 1 on.
        frozen_layers: How many leading blocks were not trained.
        alpha: The share of the adapted weights.
        expected: By domain the accuracy that the search expects, 0 to 1.
        layers: How many blocks the network has.
    """

    model: str
    trial: int
    strategy: str
    rung: int
    frozen_layers: int
    alpha: float
    expected: Mapping[str, float]
    layers: int

    @property
    def kind(self) -> str:
        """What counts as the same recommendation: strategy, rung, and the share of frozen blocks to a quarter."""
        quarters = round(4 * self.frozen_layers / self.layers)
        return f"{self.strategy}, rung {self.rung}, {25 * quarters} % frozen"


@dataclass(frozen=True)
class PartAnswers:
    """Which test images of one domain two networks classified correctly.

    Attributes:
        subjects: int64 (n,), whose image each is; -1 where unknown.
        baseline: bool (n,), the baseline's answers.
        network: bool (n,), those of the recommended network; the baseline's where none is recommended.
    """

    subjects: np.ndarray
    baseline: np.ndarray
    network: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form."""
        return {
            "subjects": self.subjects.tolist(),
            "baseline": pack_answers(self.baseline),
            "network": pack_answers(self.network),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "PartAnswers":
        """Returns stored answers.

        Raises:
            KeyError: An entry is missing.
            TypeError: An entry has another type.
            ValueError: There are no images, or answers to others.
        """
        subjects = np.array(stored["subjects"])
        if subjects.ndim != 1 or not np.issubdtype(subjects.dtype, np.integer):
            raise ValueError("subjects are a list of whole numbers, one at least")
        answers = {name: unpack_answers(stored[name], len(subjects)) for name in ("baseline", "network")}
        return cls(subjects.astype(np.int64), **answers)


@dataclass(frozen=True)
class PartResult:
    """What one search of nested cross-validation came to.

    Attributes:
        study: Its name.
        part: The people who are its test set.
        evaluated: When their images were evaluated, ISO 8601.
        recommended: The network that was tested; None where nothing was recommended, and the baseline was.
        answers: By domain.
    """

    study: str
    part: OuterPart
    evaluated: str
    recommended: RecommendedNetwork | None
    answers: Mapping[str, PartAnswers]

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form."""
        recommended = None if self.recommended is None else vars(self.recommended)
        return {
            "part": self.part.number,
            "parts": self.part.count,
            "evaluated": self.evaluated,
            "recommended": recommended,
            "answers": {domain: answers.to_json() for domain, answers in self.answers.items()},
        }

    @classmethod
    def from_json(cls, study: str, stored: Mapping[str, Any]) -> "PartResult":
        """Returns a stored result.

        Args:
            study: The study's name.
            stored: Of `to_json`.

        Raises:
            KeyError: An entry is missing.
            TypeError: An entry has another type.
            ValueError: An entry has a value that it cannot have.
        """
        recommended = stored["recommended"]
        if recommended is not None:
            recommended = {"layers": len(VGG13.blocks)} | recommended  # earlier versions knew no other network
        return cls(
            study=study,
            part=OuterPart(stored["part"], stored["parts"]),
            evaluated=str(stored["evaluated"]),
            recommended=None if recommended is None else RecommendedNetwork(**recommended),
            answers={domain: PartAnswers.from_json(stored["answers"][domain]) for domain in DOMAINS},
        )


def read_part(study: "optuna.Study") -> PartResult | None:
    """Returns the result of a study's part; None where it was not tested, or not to the end.

    Raises:
        RuntimeError: It was tested, and what the storage holds of it is damaged.
    """
    stored = study.user_attrs.get(OUTER_ATTRIBUTE)
    if stored is None:
        return None
    try:
        return PartResult.from_json(study.study_name, stored)
    except (KeyError, TypeError, ValueError):
        raise RuntimeError(
            f"{study.study_name} was tested, and what its storage holds of that is damaged; put back a copy of the "
            "storage, or start again with --study NAME"
        ) from None
