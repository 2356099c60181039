"""Features of a frozen prefix, computed once and shared by all trials and all workers of a machine.

A prefix that is frozen (parameters, batch-norm statistics, no dropout) gives the same features for the same view of
the same image in every trial. A feature cache keeps them on disk, a slot per (image, view), each with a checksum. Slots
are filled when a trial first needs them; a slot that is empty, torn or damaged fails its checksum and is computed
again, so a crash or two writers at once can cost time but never give a wrong number. A cache that is deleted during a
trial costs time as well: the trial goes on with the files that it has open, and the next one makes new ones.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fer.features.feature_file import FeatureFile
from fer.features.schedule import Steps
from fer.features.sources import DeviceCache, ImageSource, keep_on_device
from fer.model.blocks import Chain
from fer.model.layout import channels_last
from fer.runtime import Runtime

VERSION = "2"
"""In the key of every feature cache; raised whenever the same images and weights would give other features."""

_FILL_BATCH = 128


def best_cut(cuts: Sequence[int], frozen_layers: int) -> int:
    """Returns the deepest cut whose features are frozen and kept.

    Args:
        cuts: Those whose features are kept, see `fer.features.cuts`.
        frozen_layers: Number of leading blocks that are frozen.

    Returns:
        The cut, from 1 to `frozen_layers`; 0, the images, if there is none.
    """
    return max((cut for cut in cuts if cut <= frozen_layers), default=0)


def kept_as(chain: Chain, runtime: Runtime) -> Runtime:
    """Returns the runtime whose precision is that of a chain's features as they are kept.

    Networks without batch-norm are mostly transformers. They add each block's output to what it was given, and that sum
    stays fp32 where they compute in bf16: rounding it at a cut moves the logits of a ViT of 12 blocks by up to 1.6 %
    from what they are without a cache, which is more than computing in bf16 does. So their features stay fp32.

    Args:
        chain: The network.
        runtime: Device and precision of computing.
    """
    return runtime if chain.has_batch_norm else replace(runtime, precision="fp32")


def frozen_features(
    network: nn.Sequential, start: int, stop: int, inputs: torch.Tensor, runtime: Runtime
) -> torch.Tensor:
    """Computes frozen blocks, in evaluation mode and without gradient.

    Args:
        network: All blocks, or the last of them.
        start: The first block that is computed.
        stop: The block after the last.
        inputs: (n, *shape), features at cut `start`.
        runtime: Device and precision.

    Returns:
        Features (n, *shape) at cut `stop`.
    """
    if start == stop:
        return inputs
    blocks = network[start:stop].eval()
    with torch.no_grad(), runtime.autocast():
        return blocks(inputs)


class FeatureCache:
    """Features at one cut for the views of one split; a `FeatureSource`.

    Features at lower cuts that are kept are written as well, as they are computed on the way, and a deeper cut
    starts from what an earlier trial kept at a lower one: over all trials, each block computes each view once.

    Args:
        folder: Where the cache's files lie, two per cut; its name carries the hash of all that they depend on.
        chain: The leading `cut` blocks of its network are the frozen prefix.
        cut: Number of leading blocks computed.
        images: The images of the split.
        views_per_image: Number of views kept per image.
        cuts: All cuts whose features are kept, see `fer.features.cuts`.
    """

    def __init__(
        self,
        folder: Path,
        chain: Chain,
        cut: int,
        images: ImageSource,
        views_per_image: int,
        cuts: Sequence[int],
    ) -> None:
        self.network = chain.network
        self.cut = cut
        self.image_source = images
        self.views_per_image = views_per_image
        self.runtime = images.runtime
        self.kept_as = kept_as(chain, images.runtime)
        self.folder = folder
        self.shapes = chain.cut_shapes
        self.cuts = cuts
        self.file = self._open(cut)
        # The folder's time is that of its last use. Somebody may have deleted it since the files were opened.
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder)
        self.keeps = self.runtime.on_gpu
        self.resident: DeviceCache | None = None

    @cached_property
    def files(self) -> dict[int, FeatureFile]:
        """The files of all cuts worth keeping, ascending, the last one this cache's; opened only to compute."""
        files = {cut: self._open(cut) for cut in self.cuts if cut < self.cut}
        files[self.cut] = self.file
        return files

    def _open(self, cut: int) -> FeatureFile:
        """Opens the file of a cut."""
        slots = len(self.image_source.split) * self.views_per_image
        return FeatureFile(self.folder, cut, self.shapes[cut], slots, self.kept_as)

    def _slots_of(self, images: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Returns the slots (n,) of images (n,) and views (n,)."""
        return images * self.views_per_image + views

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Computes the features of these images and views where the files or the device do not hold them."""
        slots = np.unique(self._slots_of(images, views))
        if self.keeps:
            size = len(slots) * self.file.slot_bytes
            self.resident = keep_on_device(self.file.path, slots, size, self.runtime, lambda: self._read(slots))
        if self.resident is None:
            self._complete(slots)

    def _read(self, slots: np.ndarray) -> torch.Tensor:
        """Returns the features (n, *shape) of slots (n,), computed where the file does not hold them."""
        self._complete(slots)
        return channels_last(self.file.read(slots))

    def _complete(self, slots: np.ndarray) -> None:
        """Computes and writes the features of all slots that are empty or damaged."""
        missing = slots[~self.file.is_valid(slots)]
        starts = np.arange(0, len(missing), _FILL_BATCH)
        # Each process in a random order, so that processes that start together share the work.
        for start in np.random.default_rng().permutation(starts):
            batch = missing[start : start + _FILL_BATCH]
            still_missing = batch[~self.file.is_valid(batch)]
            if len(still_missing):
                self._fill(still_missing)

    def _fill(self, slots: np.ndarray) -> None:
        """Computes and writes the features of at most one batch of slots, at this cut and lower ones."""
        # Always a full batch: kernels for other sizes differ in the last bits, and the cached features would depend on
        # which of them were cached before.
        padded = np.resize(slots, _FILL_BATCH)

        # Start from the deepest lower cut whose file holds all slots, or else from the images, at cut 0.
        first_cut = self._deepest_lower_cut(slots)
        if first_cut:
            features = self.files[first_cut].read(padded)
        else:
            images, views = np.divmod(padded, self.views_per_image)
            features = channels_last(self.image_source.batch(images, views))

        # Go up from cut to cut, and write what is computed at each.
        below = first_cut
        for cut, file in self.files.items():
            if cut <= first_cut:
                continue
            features = frozen_features(self.network, below, cut, features, self.runtime).to(self.kept_as.dtype)
            file.write(slots, features)
            below = cut

    def _deepest_lower_cut(self, slots: np.ndarray) -> int:
        """Returns the deepest cut below this one whose file holds all slots (n,); 0 where there is none."""
        for cut in reversed(self.files):
            if cut < self.cut and self.files[cut].is_valid(slots).all():
                return cut
        return 0

    def batches_for(self, steps: Steps) -> Callable[[int], torch.Tensor]:
        """Returns a function from a step to its features, see `FeatureSource`."""
        if self.resident is None:
            return lambda step: self.batch(*steps[step])
        return self.resident.batches_for([self._slots_of(images, views) for images, views in steps])

    def batch(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns the features (n, *shape) of prepared images (n,) and views (n,), see `FeatureSource`."""
        if self.resident is not None:
            return self.batches_for([(images, views)])(0)
        return self.file.read(self._slots_of(images, views))
