"""Features of a frozen prefix, computed once and shared by all trials and all workers of a machine.

A prefix that is frozen (parameters, batch-norm statistics, no dropout) gives the same features for the same view of
the same image in every trial. A bank keeps them on disk, a slot per (image, view), each slot with a checksum. Slots
are filled when a trial first needs them; a slot that is empty, torn or damaged fails its checksum and is computed
again, so a crash or two writers at once can cost time but never a wrong number.
"""

import os
import zlib
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from fer.adaptation import ViewRecipe
from fer.datasets import Split
from fer.network import cut_shape, to_tensor
from fer.runtime import Runtime
from fer.views import render

# Features of more bytes than this per image are not worth their disk: one starts from the next lower cut instead.
LARGEST_FEATURES = 40_000
_FILL_BATCH = 128


def best_cut(network: nn.Sequential, frozen_layers: int, runtime: Runtime) -> int:
    """Returns the deepest cut up to `frozen_layers` whose features are small enough to keep; 0 is the pixels."""
    width = 2 if runtime.precision == "bf16" else 4
    small = (cut for cut in range(frozen_layers, 0, -1) if width * np.prod(cut_shape(network, cut)) <= LARGEST_FEATURES)
    return next(small, 0)


def frozen_features(
    network: nn.Sequential, start: int, stop: int, inputs: torch.Tensor, runtime: Runtime
) -> torch.Tensor:
    """Computes layers start…stop-1 as frozen: evaluation mode, no gradient."""
    if start == stop:
        return inputs
    part = network[start:stop].eval()
    with torch.no_grad(), runtime.autocast():
        return part(inputs)


class Pixels:
    """The images of a split as the input of cut 0, drawn view by view; what a bank is filled from."""

    def __init__(self, split: Split, recipe: ViewRecipe, seed: int, runtime: Runtime) -> None:
        self.split, self.recipe, self.seed, self.runtime = split, recipe, seed, runtime

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Nothing to prepare: views are drawn when they are gathered."""

    def gather(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns the network's input (n, 1, 48, 48) for these images and views."""
        pixels = torch.from_numpy(np.asarray(self.split.images[images])).to(self.runtime.device)
        if views.any():
            pixels = render(pixels, images, views, self.recipe, self.seed)
        return to_tensor(pixels)


VERSION = "1"
"""Changes when the same images and weights would give other features: part of every bank's key."""


class Bank:
    """Features at one cut for the views of one split.

    Args:
        folder: Where the bank's files lie; its name carries the hash of all that the features depend on.
        network: Whose leading `cut` layers are frozen.
        cut: Number of leading layers computed.
        pixels: What to compute from.
        slots_per_image: Number of views kept per image.
    """

    def __init__(self, folder: Path, network: nn.Sequential, cut: int, pixels: Pixels, slots_per_image: int) -> None:
        self.network, self.cut, self.pixels, self.views = network, cut, pixels, slots_per_image
        self.runtime = pixels.runtime
        self.shape = cut_shape(network, cut)
        # Stored channels last, as the convolutions want them.
        self.stored = (*self.shape[1:], self.shape[0]) if len(self.shape) == 3 else self.shape
        self.slots = len(pixels.split) * slots_per_image
        self.values = np.uint16 if self.runtime.precision == "bf16" else np.float32
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"cut{cut:02d}-views{slots_per_image}.features"
        self.sums = self.path.with_suffix(".checksums")
        self.lock = FileLock(self.path.with_suffix(".lock"))
        for path, size in ((self.path, self.slots * self._slot_bytes), (self.sums, self.slots * 4)):
            _sized(path, size)

    @property
    def _slot_bytes(self) -> int:
        return int(np.prod(self.stored)) * np.dtype(self.values).itemsize

    def _map(self) -> np.ndarray:
        return np.memmap(self.path, self.values, "r", shape=(self.slots, *self.stored))

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Makes sure that the slots of these images and views hold true features."""
        slots = np.unique(images * self.views + views)
        if not len(self._unsound(slots)):
            return
        with self.lock:
            missing = self._unsound(slots)
            for start in range(0, len(missing), _FILL_BATCH):
                self._fill(missing[start : start + _FILL_BATCH])

    def _unsound(self, slots: np.ndarray) -> np.ndarray:
        sums = np.memmap(self.sums, np.uint32, "r", shape=(self.slots,))[slots]
        features = self._map()
        sound = [known != 0 and known == _checksum(features[slot]) for slot, known in zip(slots, sums, strict=True)]
        return slots[~np.array(sound, bool)]

    def _fill(self, slots: np.ndarray) -> None:
        # Always a whole batch: kernels for other sizes differ in the last bits, and with them what is cached would
        # depend on what was cached before.
        padded = np.resize(slots, _FILL_BATCH)
        inputs = self.pixels.gather(padded // self.views, padded % self.views)
        features = frozen_features(self.network, 0, self.cut, channels_last(inputs), self.runtime)
        block = _to_numpy(features.to(self.runtime.dtype), self.values)
        # Written with pwrite and not through the map: a full disk is then an OSError and not a SIGBUS.
        with self.path.open("r+b") as file, self.sums.open("r+b") as sums:
            for slot, row in zip(slots, block, strict=False):
                os.pwrite(file.fileno(), row.tobytes(), int(slot) * self._slot_bytes)
                os.pwrite(sums.fileno(), np.uint32(_checksum(row)).tobytes(), int(slot) * 4)

    def gather(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns prepared features (n, *shape) in the runtime's type, on its device."""
        block = torch.from_numpy(np.asarray(self._map()[images * self.views + views]))
        if self.runtime.precision == "bf16":
            block = block.view(torch.bfloat16)
        if len(self.shape) == 3:
            block = block.permute(0, 3, 1, 2)
        return block.to(self.runtime.device)


Feed = Pixels | Bank


def channels_last(inputs: torch.Tensor) -> torch.Tensor:
    """Lays images out channels last, which the convolutions of CPUs and GPUs prefer."""
    return inputs.to(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs


def _to_numpy(features: torch.Tensor, values: type) -> np.ndarray:
    if features.dim() == 4:
        features = features.permute(0, 2, 3, 1)
    features = features.cpu().contiguous()
    if features.dtype == torch.bfloat16:
        features = features.view(torch.uint16)
    return features.numpy().astype(values, copy=False)


def _checksum(row: np.ndarray) -> int:
    """Returns a checksum that is never 0, which marks an empty slot."""
    return zlib.crc32(np.ascontiguousarray(row).data.cast("B")) or 1


def _sized(path: Path, size: int) -> None:
    """Makes the file exist with this size, as a hole; one of another size is stale and emptied first."""
    with path.open("ab") as file:
        found = os.fstat(file.fileno()).st_size
        if found not in (0, size):
            file.truncate(0)
        file.truncate(size)
