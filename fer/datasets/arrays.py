"""What a prepared dataset is: three splits of grey 48×48 faces, memory-mapped and shared by all workers."""

from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)  # positions in `SPLITS`
SIZE = 48


@dataclass(frozen=True)
class Split:
    """One split of a dataset, as read-only arrays.

    Attributes:
        images: uint8, shape (n, 48, 48).
        labels: int64, shape (n,), indices into the names of the dataset's `ExpressionSet`.
        subjects: int64, shape (n,), one number per person within the dataset; -1 where unknown.
    """

    images: np.ndarray
    labels: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)
