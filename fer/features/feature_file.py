"""Files of features: a slot of fixed size for every view of every image, and a checksum for each slot."""

import errno
import os
import weakref
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch

from fer.model.layout import is_image
from fer.runtime import Runtime

_OPENING_ATTEMPTS = 10
_CHECKSUM_BYTES = 4


class FeatureFile:
    """The features of one cut: a file of slots and a file of their checksums.

    An empty slot has checksum 0. Whoever deletes the files does not disturb those who have them open.

    Args:
        folder: Where the two files lie; they are made where they do not exist.
        cut: Number of leading blocks that were computed; names the files.
        shape: One sample's features.
        slots: Number of slots.
        runtime: Its precision is the type of the features, its device is where they are read to.

    Attributes:
        slot_bytes: Size of a slot.
        path: The file of slots.
    """

    def __init__(self, folder: Path, cut: int, shape: tuple[int, ...], slots: int, runtime: Runtime) -> None:
        self.runtime = runtime
        self.slots = slots
        # Numpy has no bf16; its bits are stored as integers.
        self.stored_type = np.uint16 if runtime.precision == "bf16" else np.float32
        # Images are stored channels last, as convolutions prefer them.
        self.has_channels_first = is_image(shape)
        self.stored_shape = (*shape[1:], shape[0]) if self.has_channels_first else shape
        self.slot_bytes = int(np.prod(shape)) * np.dtype(self.stored_type).itemsize

        self.path = folder / f"cut{cut:02d}.features"
        self.features_file = _open_with_size(self.path, slots * self.slot_bytes)
        self.checksums_file = _open_with_size(self.path.with_suffix(".checksums"), slots * _CHECKSUM_BYTES)
        for file in (self.features_file, self.checksums_file):
            weakref.finalize(self, file.close)

    @cached_property
    def features(self) -> np.ndarray:
        """All slots (slots, *stored_shape), mapped from the file; as an array, which is quicker to index than a map."""
        return np.asarray(np.memmap(self.features_file, self.stored_type, "r", shape=(self.slots, *self.stored_shape)))

    def is_valid(self, slots: np.ndarray) -> np.ndarray:
        """Returns for each slot (n,) whether it holds what was written to it."""
        checksums = np.memmap(self.checksums_file, np.uint32, "r", shape=(self.slots,))[slots].tolist()
        matches = (
            checksum != 0 and checksum == _checksum(content)
            for content, checksum in zip(self._contents(slots), checksums, strict=True)
        )
        return np.fromiter(matches, bool, len(slots))

    def _contents(self, slots: np.ndarray) -> Iterator[memoryview]:
        """Yields the bytes of each slot; slices of one memoryview cost a tenth of what rows of an array do."""
        file_content = self.features.reshape(-1).view(np.uint8).data
        for start in (slots * self.slot_bytes).tolist():
            yield file_content[start : start + self.slot_bytes]

    def read(self, slots: np.ndarray) -> torch.Tensor:
        """Returns the features (n, *shape) of slots (n,), in the runtime's type and on its device."""
        features = torch.from_numpy(self.features[slots])
        if self.runtime.precision == "bf16":
            features = features.view(torch.bfloat16)
        if self.has_channels_first:
            features = features.permute(0, 3, 1, 2)
        return features.to(self.runtime.device)

    def write(self, slots: np.ndarray, features: torch.Tensor) -> None:
        """Writes features (n, *shape) to slots (m,), m <= n; the features beyond m are padding.

        Raises:
            OSError: The disk is full.
        """
        rows = self._to_stored(features[: len(slots)])
        # By pwrite and not through the map: there, a full disk is a SIGBUS instead of an OSError.
        for slot, row in zip(slots.tolist(), rows, strict=True):
            content = row.tobytes()
            written = os.pwrite(self.features_file.fileno(), content, slot * self.slot_bytes)
            if written < len(content):
                raise OSError(errno.ENOSPC, "no space left for features", str(self.path))
            checksum = np.uint32(_checksum(content)).tobytes()
            os.pwrite(self.checksums_file.fileno(), checksum, slot * _CHECKSUM_BYTES)

    def _to_stored(self, features: torch.Tensor) -> np.ndarray:
        """Returns features (n, *shape) as the file stores them, (n, *stored_shape)."""
        if self.has_channels_first:
            features = features.permute(0, 2, 3, 1)
        features = features.cpu().contiguous()
        if features.dtype == torch.bfloat16:
            features = features.view(torch.uint16)
        return features.numpy().astype(self.stored_type, copy=False)


def _checksum(content: bytes | memoryview) -> int:
    """Returns a checksum that is never 0, which marks an empty slot."""
    return zlib.crc32(content) or 1


def _open_with_size(path: Path, size: int) -> IO[bytes]:
    """Opens a file of this size for reading and writing; a new one is a hole, which takes no disk.

    A file of another size is stale and emptied first. The open file stays usable when somebody deletes it.
    """
    descriptor = _open_or_create(path)
    file = os.fdopen(descriptor, "r+b", buffering=0)
    present = os.fstat(descriptor).st_size
    if present not in (0, size):
        file.truncate(0)
    file.truncate(size)
    return file


def _open_or_create(path: Path) -> int:
    """Returns the descriptor of a file, which is made with its folder where it does not exist."""
    for _ in range(_OPENING_ATTEMPTS - 1):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # Somebody deleted the folder between the two calls.
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
