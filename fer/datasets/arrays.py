"""What a prepared dataset is: three splits of faces of one size, memory-mapped and shared by all workers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer.image_format import SMALL

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)  # positions in `SPLITS`
SIZE = SMALL
"""Height and width of an image, unless the options of a study say otherwise."""
BLOCK_BYTES = 2**24
"""Of the images that are worked on at once, where all of them may not fit into memory."""
MOST_IN_MEMORY = 2**28
"""Bytes of images up to which a selection of them is copied; of more, it is read from their files when it is used."""


Change = Callable[[np.ndarray], np.ndarray]


class ImageRows:
    """Images that stay where they are, in one or several arrays, and are read when they are indexed.

    Args:
        parts: uint8 arrays (n, …) of one shape, memory-mapped as a rule, one after the other.
        rows: int64 (n,), which of their images these are; None for all.
        change: What is done to images (k, …) after they were read; None leaves them as they are.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, parts: Sequence[np.ndarray], rows: np.ndarray | None = None, change: Change | None = None
    ) -> None:
        self._parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in parts])
        self._rows = np.arange(self._ends[-1]) if rows is None else rows
        self._change = change

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return len(self._rows), *self._parts[0].shape[1:]

    @property
    def nbytes(self) -> int:
        """As an array's."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: Any) -> np.ndarray:  # noqa: ANN401  as arrays are indexed
        """Returns a copy of the chosen images: a number, a slice, or an array of numbers or of truth values."""
        rows = self._rows[chosen]
        if np.ndim(rows) == 0:
            return self[np.array([chosen])][0]

        images = np.empty((len(rows), *self.shape[1:]), self.dtype)
        part_of_row = np.searchsorted(self._ends, rows, side="right")
        for part, array in enumerate(self._parts):
            here = part_of_row == part
            images[here] = array[rows[here] - self._start(part)]
        return images if self._change is None else self._change(images)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the images, which are read some at a time."""
        for _, block in blocks_of(self):
            yield from block

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: ANN401  as numpy calls it
        """Returns a copy of all images."""
        images = self[:]
        return images if dtype is None else images.astype(dtype)

    def _start(self, part: int) -> int:
        """Returns the row at which a part begins."""
        return int(self._ends[part - 1]) if part else 0

    def select(self, chosen: np.ndarray) -> "ImageRows":
        """Returns the images for which bool (n,) is true, or of these numbers; none is read."""
        return ImageRows(self._parts, self._rows[chosen], self._change)

    def changed(self, change: Change) -> "ImageRows":
        """Returns the images as a function of images (k, …) makes them, whenever they are read."""
        return ImageRows(self._parts, self._rows, change)


Images = np.ndarray | ImageRows
"""uint8 (n, size, size), grey; or (n, 3, size, size): red, green and blue."""


def select_images(images: Images, chosen: np.ndarray) -> Images:
    """Returns the images for which bool (n,) is true, or of these numbers: copied, or where they are many, in place."""
    if isinstance(images, ImageRows):
        return images.select(chosen)
    if images.nbytes <= MOST_IN_MEMORY:
        return images[chosen]
    return ImageRows([images]).select(chosen)


def change_images(images: Images, change: Change) -> Images:
    """Returns what a function makes of images (n, …): now, or of many whenever they are read."""
    return images.changed(change) if isinstance(images, ImageRows) else change(images)


def join_images(parts: Sequence[np.ndarray]) -> Images:
    """Returns arrays of images one after the other: copied, or where they are many, in place."""
    if sum(part.nbytes for part in parts) <= MOST_IN_MEMORY:
        return np.concatenate(parts)
    return ImageRows(parts)


def blocks_of(images: Images) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields all images in turn, so many at a time as memory has room for, each time with their place."""
    bytes_per_image = max(1, int(np.prod(images.shape[1:], dtype=np.int64)))
    step = max(1, BLOCK_BYTES // bytes_per_image)
    for start in range(0, len(images), step):
        place = slice(start, start + step)
        yield place, images[place]


@dataclass(frozen=True)
class Split:
    """One split of a dataset, as read-only arrays.

    Attributes:
        images: uint8, shape (n, size, size) where all images of the dataset are grey, else (n, 3, size, size).
        labels: int64, shape (n,), indices into the names of the dataset's `ExpressionSet`.
        subjects: int64, shape (n,), one number per person within the dataset; -1 where unknown.
    """

    images: Images
    labels: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)
