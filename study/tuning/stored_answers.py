"""How a study stores on which validation images a network is right: a bit per image.

The images themselves, whose they are and what the baseline answers stand once in the study's record; each trial has the
answers of its networks on the fold that it validates on.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from study.tuning.answers import SourceImages, TargetImages


@dataclass(frozen=True)
class ValidationImages:
    """The images by which a study judges its networks.

    Attributes:
        target: The target's images, each in the fold in which it validates.
        source: The source's validation images.
    """

    target: TargetImages
    source: SourceImages

    @cached_property
    def folds(self) -> int:
        """The number of the target's folds."""
        return int(self.target.folds.max(initial=0)) + 1

    @cached_property
    def baseline_of_folds(self) -> tuple[float, ...]:
        """The baseline's accuracy on each fold of the target."""
        right = self.target.baseline_right
        return tuple(float(right[self.target.images_of(fold)].mean()) for fold in range(self.folds))

    def to_json(self) -> dict[str, Any]:
        """Returns the stored form."""
        return {
            "target": {
                "labels": self.target.labels.tolist(),
                "subjects": self.target.subjects.tolist(),
                "folds": self.target.folds.tolist(),
                "right": pack_answers(self.target.baseline_right),
            },
            "source": {
                "labels": self.source.labels.tolist(),
                "right": pack_answers(self.source.baseline_right),
            },
        }

    @classmethod
    def from_json(cls, stored: object) -> "ValidationImages | None":
        """Returns stored images, None where there are none or they are not what `to_json` returns."""
        try:
            target, source = stored["target"], stored["source"]  # type: ignore[index]  # what is no dict ends below
            labels, subjects, folds = (_integers(target[name]) for name in ("labels", "subjects", "folds"))
            source_labels = _integers(source["labels"])
            if not (len(labels) == len(subjects) == len(folds) and len(labels) and len(source_labels)):
                return None
            return cls(
                TargetImages(labels, subjects, folds, unpack_answers(target["right"], len(labels))),
                SourceImages(source_labels, unpack_answers(source["right"], len(source_labels))),
            )
        except (KeyError, TypeError, ValueError):
            return None


def _integers(values: Sequence[int]) -> np.ndarray:
    """Returns stored whole numbers as int64 (n,).

    Raises:
        TypeError: One is no whole number.
    """
    if not all(type(value) is int for value in values):
        raise TypeError("labels, subjects and folds are whole numbers")
    return np.array(values, np.int64)


def pack_answers(right: np.ndarray) -> str:
    """Returns answers, bool (n,), as text: eight to a byte, the bytes in base 64."""
    return base64.b64encode(np.packbits(np.asarray(right, bool)).tobytes()).decode()


def unpack_answers(text: str, count: int) -> np.ndarray:
    """Returns `count` answers, bool (count,), of `pack_answers`.

    Raises:
        ValueError: The text does not hold that many.
    """
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except (binascii.Error, TypeError) as error:
        raise ValueError("answers are text in base 64") from error
    if len(packed) != -(-count // 8):
        raise ValueError(f"answers on {count} images take {-(-count // 8)} bytes, not {len(packed)}")
    return np.unpackbits(packed, count=count).astype(bool)


def pack_network(logits: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Returns by domain on which images a network is right, packed.

    Args:
        logits: By domain, (n, classes).
        labels: By domain, (n,).
    """
    return {domain: pack_answers(values.argmax(1) == labels[domain]) for domain, values in logits.items()}
