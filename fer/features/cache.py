"""Features of a frozen prefix, computed once and shared by all trials and all workers of a machine.

A prefix that is frozen (parameters, batch-norm statistics, no dropout) gives the same features for the same view of
the same image in every trial. A bank keeps them on disk, a slot per (image, view), each slot with a checksum. Slots
are filled when a trial first needs them; a slot that is empty, torn or damaged fails its checksum and is computed
again, so a crash or two writers at once can cost time but never a wrong number. A bank that is deleted during a trial
costs time as well: the trial goes on with the files that it has open, and the next one makes new ones.
"""

import contextlib
import errno
import os
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn

from fer.features.sources import DeviceCache, ImageSource, Steps, keep_on_device
from fer.layers import LAYERS
from fer.model.vgg import channels_last, cut_shapes
from fer.runtime import Runtime

# Features of more bytes than this per image are not worth their disk: one starts from the next lower cut instead.
LARGEST_FEATURES = 40_000
_FILL_BATCH = 128
_OPENING_ATTEMPTS = 10


def small_cuts(network: nn.Sequential, runtime: Runtime) -> list[int]:
    """Returns the cuts, ascending, whose features are small enough to keep."""
    width = 2 if runtime.precision == "bf16" else 4
    sizes = [width * np.prod(shape) for shape in cut_shapes(network)]
    return [cut for cut in range(1, len(LAYERS) + 1) if sizes[cut] <= LARGEST_FEATURES]


def best_cut(network: nn.Sequential, frozen_layers: int, runtime: Runtime) -> int:
    """Returns the deepest cut up to `frozen_layers` whose features are small enough to keep; 0 is the pixels."""
    return max((cut for cut in small_cuts(network, runtime) if cut <= frozen_layers), default=0)


def frozen_features(
    network: nn.Sequential, start: int, stop: int, inputs: torch.Tensor, runtime: Runtime
) -> torch.Tensor:
    """Computes layers start…stop-1 as frozen: evaluation mode, no gradient."""
    if start == stop:
        return inputs
    part = network[start:stop].eval()
    with torch.no_grad(), runtime.autocast():
        return part(inputs)


VERSION = "2"
"""Changes when the same images and weights would give other features: part of every bank's key."""


class FeatureCache:
    """Features at one cut for the views of one split.

    What is computed on the way to the cut is kept at every cut worth keeping, and what an earlier trial kept at a
    lower cut is where a deeper one starts from: over all trials, each layer sees each view once.

    Args:
        folder: Where the bank's files lie, one pair per cut; its name carries the hash of all that they depend on.
        network: Whose leading `cut` layers are frozen.
        cut: Number of leading layers computed.
        pixels: What to compute from.
        slots_per_image: Number of views kept per image.
    """

    def __init__(
        self, folder: Path, network: nn.Sequential, cut: int, pixels: ImageSource, slots_per_image: int
    ) -> None:
        self.network, self.cut, self.pixels, self.views = network, cut, pixels, slots_per_image
        self.runtime = pixels.runtime
        self.folder, self.shapes = folder, cut_shapes(network)
        self.own = self._store(cut)
        with contextlib.suppress(FileNotFoundError):  # deleted in this moment
            os.utime(folder)  # the bank was used last now
        self.keeps = self.runtime.on_gpu
        self.resident: DeviceCache | None = None

    @cached_property
    def stores(self) -> "dict[int, _FeatureFile]":
        """All cuts worth keeping on the way, ascending, and the own one, which a bank that is full needs alone."""
        below = [cut for cut in small_cuts(self.network, self.runtime) if cut < self.cut]
        return {cut: self._store(cut) for cut in below} | {self.cut: self.own}

    def _store(self, cut: int) -> "_FeatureFile":
        return _FeatureFile(self.folder, cut, self.shapes[cut], len(self.pixels.split) * self.views, self.runtime)

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Makes sure that the slots of these images and views hold true features."""
        slots = np.unique(images * self.views + views)
        if self.keeps:
            size = len(slots) * self.own.slot_bytes
            self.resident = keep_on_device(self.own.path, slots, size, self.runtime, lambda: self._read(slots))
        if self.resident is None:
            self._complete(slots)

    def _read(self, slots: np.ndarray) -> torch.Tensor:
        self._complete(slots)
        return channels_last(self.own.read(slots))

    def _complete(self, slots: np.ndarray) -> None:
        missing = slots[~self.own.sound(slots)]
        starts = np.arange(0, len(missing), _FILL_BATCH)
        # Each process in an order of its own, so that those that start together share the work instead of waiting.
        for start in np.random.default_rng().permutation(starts):
            batch = missing[start : start + _FILL_BATCH]
            still = batch[~self.own.sound(batch)]
            if len(still):
                self._fill(still)

    def _fill(self, slots: np.ndarray) -> None:
        # Always a whole batch: kernels for other sizes differ in the last bits, and with them what is cached would
        # depend on what was cached before.
        padded = np.resize(slots, _FILL_BATCH)
        below = [cut for cut in self.stores if cut < self.cut]
        reached = next((cut for cut in reversed(below) if self.stores[cut].sound(slots).all()), 0)
        if reached:
            features = self.stores[reached].read(padded)
        else:
            features = channels_last(self.pixels.gather(padded // self.views, padded % self.views))
        for cut in [cut for cut in self.stores if cut > reached]:
            features = frozen_features(self.network, reached, cut, features, self.runtime).to(self.runtime.dtype)
            self.stores[cut].write(slots, features)
            reached = cut

    def planned(self, steps: Steps) -> Callable[[int], torch.Tensor]:
        """Returns what gives the features of each step, as `gather` does."""
        if self.resident is None:
            return lambda step: self.gather(*steps[step])
        return self.resident.planned([images * self.views + views for images, views in steps])

    def gather(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns prepared features (n, *shape) in the runtime's type, on its device."""
        if self.resident is not None:
            return self.planned([(images, views)])(0)
        return self.own.read(images * self.views + views)


class _FeatureFile:
    """The two files of one cut: a slot of features per view, and a checksum per slot."""

    def __init__(self, folder: Path, cut: int, shape: tuple[int, ...], slots: int, runtime: Runtime) -> None:
        self.runtime, self.slots = runtime, slots
        self.values = np.uint16 if runtime.precision == "bf16" else np.float32
        # Stored channels last, as the convolutions want them.
        self.stored = (*shape[1:], shape[0]) if len(shape) == 3 else shape
        self.slot_bytes = int(np.prod(shape)) * np.dtype(self.values).itemsize
        self.path = folder / f"cut{cut:02d}.features"
        self.sums = self.path.with_suffix(".checksums")
        self.features_file = _opened(self.path, slots * self.slot_bytes)
        self.sums_file = _opened(self.sums, slots * 4)
        for file in (self.features_file, self.sums_file):
            weakref.finalize(self, file.close)

    @cached_property
    def features(self) -> np.ndarray:
        """All slots (slots, *stored), as they are on disk; plain arrays are quicker to index than memory maps."""
        return np.asarray(np.memmap(self.features_file, self.values, "r", shape=(self.slots, *self.stored)))

    def sound(self, slots: np.ndarray) -> np.ndarray:
        """Returns for each slot (n,) whether it holds what was written to it."""
        sums = np.memmap(self.sums_file, np.uint32, "r", shape=(self.slots,))[slots].tolist()
        whole = self.features.reshape(-1).view(np.uint8).data  # parts of it cost a tenth of what an array's rows do
        starts = (slots * self.slot_bytes).tolist()
        parts = (whole[start : start + self.slot_bytes] for start in starts)
        sound = (known and known == _checksum(part) for part, known in zip(parts, sums, strict=True))
        return np.fromiter(sound, bool, len(slots))

    def read(self, slots: np.ndarray) -> torch.Tensor:
        """Returns the features of slots (n,) as the network has them, (n, *shape), on the runtime's device."""
        block = torch.from_numpy(self.features[slots])
        if self.runtime.precision == "bf16":
            block = block.view(torch.bfloat16)
        if len(self.stored) == 3:
            block = block.permute(0, 3, 1, 2)
        return block.to(self.runtime.device)

    def write(self, slots: np.ndarray, features: torch.Tensor) -> None:
        """Keeps the leading rows of a padded batch of features, one for each slot."""
        block = _to_numpy(features[: len(slots)], self.values)
        # Written with pwrite and not through the map: a full disk is then an OSError and not a SIGBUS.
        for slot, row in zip(slots, block, strict=True):
            content = row.tobytes()
            if os.pwrite(self.features_file.fileno(), content, int(slot) * self.slot_bytes) < len(content):
                raise OSError(errno.ENOSPC, "no space left for features", str(self.path))
            os.pwrite(self.sums_file.fileno(), np.uint32(_checksum(content)).tobytes(), int(slot) * 4)


@dataclass(frozen=True)
class Subset:
    """Some images of another feed, under numbers of their own: the divisions of a dataset share one bank.

    Attributes:
        feed: Of all images.
        rows: int64 (n,), the number of each image in `feed`.
    """

    feed: ImageSource | FeatureCache
    rows: np.ndarray

    @property
    def cut(self) -> int:
        """Where the features begin."""
        return self.feed.cut

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Prepares these images and views."""
        self.feed.prepare(self.rows[images], views)

    def planned(self, steps: Steps) -> Callable[[int], torch.Tensor]:
        """Returns what gives the features of each step."""
        return self.feed.planned([(self.rows[images], views) for images, views in steps])

    def gather(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns their features."""
        return self.feed.gather(self.rows[images], views)


FeatureSource = ImageSource | FeatureCache | Subset


def _to_numpy(features: torch.Tensor, values: type) -> np.ndarray:
    if features.dim() == 4:
        features = features.permute(0, 2, 3, 1)
    features = features.cpu().contiguous()
    if features.dtype == torch.bfloat16:
        features = features.view(torch.uint16)
    return features.numpy().astype(values, copy=False)


def _checksum(features: bytes | memoryview) -> int:
    """Returns a checksum that is never 0, which marks an empty slot."""
    return zlib.crc32(features) or 1


def _opened(path: Path, size: int) -> IO[bytes]:
    """Opens a file of this size for reading and writing, and makes it, as a hole, where it is not there.

    One of another size is stale and emptied first. The open file stays usable when somebody deletes it.
    """
    for attempt in range(_OPENING_ATTEMPTS):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            break
        except FileNotFoundError:  # the folder was deleted between the two
            if attempt == _OPENING_ATTEMPTS - 1:
                raise
    file = os.fdopen(descriptor, "r+b", buffering=0)
    found = os.fstat(descriptor).st_size
    if found not in (0, size):
        file.truncate(0)
    file.truncate(size)
    return file
