"""The test images of a study: their labels, their people, and a digest by which they are recognised."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fer.expressions import EXPRESSIONS
from fer.files import checksum
from study.confirmation.answers import Arrays
from study.record import DOMAINS

if TYPE_CHECKING:
    from fer.datasets import Dataset


@dataclass(frozen=True)
class GroundTruth:
    """What the answers on test images are compared with.

    Attributes:
        labels: For each domain int64 (n,).
        subjects: For each domain int64 (n,), -1 where unknown.
        divisions: How many divisions of the target's training and validation images the seeds take in turn.
        expressions: What the labels are indices of.
    """

    labels: Arrays
    subjects: Arrays
    divisions: int
    expressions: tuple[str, ...] = EXPRESSIONS


def read_ground_truth(datasets: Mapping[str, "Dataset"], folds: int) -> GroundTruth:
    """Returns labels and subjects of both test sets, and how many divisions of the target there are.

    Args:
        datasets: By domain.
        folds: Of the study, 1 for none.
    """
    tests = {domain: datasets[domain].open_test() for domain in DOMAINS}
    return GroundTruth(
        labels={domain: np.asarray(split.labels) for domain, split in tests.items()},
        subjects={domain: np.asarray(split.subjects) for domain, split in tests.items()},
        divisions=count_divisions(datasets["target"], folds),
        expressions=datasets["source"].expressions.names,
    )


def count_test_images(dataset: "Dataset") -> int:
    """Returns how many test images a dataset has."""
    return len(dataset.open_test())


def count_divisions(target: "Dataset", folds: int) -> int:
    """Returns how many divisions seeds take in turn: the study's folds, or as many as the validation split fits in."""
    return folds if folds > 1 else target.divisions()


def describe_test_set(dataset: "Dataset") -> dict[str, Any]:
    """Returns what a confirmation records of a test set: name, number of images, and a digest of them.

    The digest depends on the images and on nothing else, not on their order: the same test people are recognised under
    another study, seed or division.
    """
    images = dataset.open_test().images
    hashes = sorted(checksum(image.tobytes()) for image in images)
    return {"dataset": dataset.name, "images": len(images), "digest": checksum("".join(hashes).encode())}
