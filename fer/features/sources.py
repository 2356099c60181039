"""Where the inputs of a training come from: images drawn view by view, and what a device holds of features."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch

from fer.config import ViewRecipe
from fer.datasets import Split
from fer.features.schedule import Steps
from fer.features.views import render
from fer.image_format import PAPER_FORMAT, ImageFormat
from fer.model.inputs import to_tensor
from fer.runtime import Runtime

LARGEST_RESIDENT = {"cpu": 2**26, "cuda": 8 * 2**30}
"""Bytes that a process keeps from one adaptation to the next, in its memory or on a GPU. In memory these are drawn
views alone, since features are mapped from files."""

RESIDENT_SHARE = 1 / 8
"""The largest share of a GPU's memory that a process keeps."""

# An adaptation has four sources: training and validation images of both domains. Each may fill its part.
_SOURCES_PER_ADAPTATION = 4

_DRAWN_AT_ONCE = 1024
_MOST_VIEWS = 1 << 20  # of an image: slot numbers are images times this, plus views


class FeatureSource(Protocol):
    """Where an adaptation takes the features of images and views from: `ImageSource`, `FeatureCache` or `Subset`."""

    @property
    def cut(self) -> int:
        """The number of blocks that the features have passed; 0 gives the network's input."""

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Computes and keeps what pays; called once with all images (n,) and views (n,) that an adaptation draws."""

    def batches_for(self, steps: Steps) -> Callable[[int], torch.Tensor]:
        """Returns a function from the number of a step to its features, on the device.

        It gives what `batch` gives for that step, without the device waiting for the processor at every step.
        """

    def batch(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns features (n, *shape) of prepared images (n,) and views (n,), on the device."""


@dataclass(frozen=True)
class DeviceCache:
    """What a device holds of a source, for the adaptation that runs and for later ones.

    Attributes:
        slots: int64 (n,), ascending, which views it holds.
        features: (n, *shape), one for each slot.
    """

    slots: np.ndarray
    features: torch.Tensor

    def batches_for(self, steps: Sequence[np.ndarray]) -> Callable[[int], torch.Tensor]:
        """Returns a function from the number of a step to the features (n, *shape) of its slots (n,).

        The positions of all steps' slots are moved to the device at once.
        """
        positions = torch.from_numpy(np.searchsorted(self.slots, np.concatenate(steps))).to(self.features.device)
        positions_of_step = positions.split([len(slots) for slots in steps])
        return lambda step: self.features[positions_of_step[step]]


_residents: OrderedDict[tuple[Hashable, bytes], DeviceCache] = OrderedDict()


def keep_on_device(
    key: Hashable, slots: np.ndarray, size: int, runtime: Runtime, read: Callable[[], torch.Tensor]
) -> DeviceCache | None:
    """Returns the features of some slots on the device, kept for later adaptations.

    Trials of one study draw the same views, so an earlier trial has often put them there. Where room is missing, what
    was used longest ago is dropped.

    Args:
        key: What the features depend on besides their slots.
        slots: int64 (n,), ascending.
        size: Bytes of all their features.
        runtime: Its device holds them.
        read: Returns the features (n, *shape) on the device; called if it does not hold them.

    Returns:
        None where they are larger than one source's part of the device: they are to be read step by step.
    """
    if not _fits_device(size, runtime):
        return None

    limit = _device_limit(runtime)
    full_key = key, slots.tobytes()
    if full_key not in _residents:
        while _residents and sum(resident.features.nbytes for resident in _residents.values()) + size > limit:
            _residents.popitem(last=False)
        _residents[full_key] = DeviceCache(slots, read())
    _residents.move_to_end(full_key)
    return _residents[full_key]


def _fits_device(size: int, runtime: Runtime) -> bool:
    """Returns whether so many bytes are no more than one source's part of the device."""
    return size <= _device_limit(runtime) // _SOURCES_PER_ADAPTATION


def _device_limit(runtime: Runtime) -> int:
    """Returns how many bytes a process keeps on a device."""
    if not runtime.device.startswith("cuda"):
        return LARGEST_RESIDENT["cpu"]
    memory = torch.cuda.get_device_properties(runtime.device).total_memory
    return min(LARGEST_RESIDENT["cuda"], int(RESIDENT_SHARE * memory))


class ImageSource:
    """The images of a split as the network's input, drawn view by view; a `FeatureSource` at cut 0.

    Args:
        split: Labelled images.
        recipe: How views are drawn.
        seed: Of the views, from the dataset's digest and the split.
        runtime: Device and precision.
        image_format: Of the network that takes the images; by default that of vgg13.
    """

    cut = 0

    def __init__(
        self,
        split: Split,
        recipe: ViewRecipe,
        seed: int,
        runtime: Runtime,
        image_format: ImageFormat = PAPER_FORMAT,
    ) -> None:
        self.split = split
        self.recipe = recipe
        self.seed = seed
        self.runtime = runtime
        self.image_format = image_format
        self.resident: DeviceCache | None = None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of an image as it is stored: (size, size) where it is grey, else (3, size, size)."""
        return self.split.images.shape[1:]

    @cached_property
    def images_on_gpu(self) -> torch.Tensor | None:
        """All images, uint8 (n, *image_shape), moved to the GPU when views are first drawn.

        None on a CPU, and where they are larger than one source's part of the device: each step's are moved then.
        """
        if not self.runtime.on_gpu or not _fits_device(self.split.images.nbytes, self.runtime):
            return None
        return torch.from_numpy(np.array(self.split.images)).to(self.runtime.device)

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Draws the views and keeps them on the device; where they have no room there, `batch` draws them later."""
        self.resident = None
        # On a CPU the images themselves need no copy: they are mapped from a file.
        if not self.runtime.on_gpu and not views.any():
            return

        slots = np.unique(images * _MOST_VIEWS + views)
        key = self.seed, self.recipe, self.runtime
        size = len(slots) * math.prod(self.image_shape)
        self.resident = keep_on_device(key, slots, size, self.runtime, lambda: self._draw_all(slots))

    def _draw_all(self, slots: np.ndarray) -> torch.Tensor:
        """Draws the views (n, *image_shape) of slots (n,), on the device."""
        # Into one tensor, some at a time: to concatenate tensors would need the memory twice.
        pixels = torch.empty((len(slots), *self.image_shape), dtype=torch.uint8, device=self.runtime.device)
        for start in range(0, len(slots), _DRAWN_AT_ONCE):
            images, views = np.divmod(slots[start : start + _DRAWN_AT_ONCE], _MOST_VIEWS)
            pixels[start : start + len(images)] = self._draw(images, views)
        return pixels

    def batches_for(self, steps: Steps) -> Callable[[int], torch.Tensor]:
        """Returns a function from a step to the network's input, see `FeatureSource`."""
        if self.resident is None:
            return lambda step: self.batch(*steps[step])
        pixels_of = self.resident.batches_for([images * _MOST_VIEWS + views for images, views in steps])
        return lambda step: to_tensor(pixels_of(step), self.image_format)

    def batch(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns the network's input (n, *image_format.shape) for images (n,) and views (n,), see `FeatureSource`."""
        return to_tensor(self._draw(images, views), self.image_format)

    def _draw(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Draws views (n,) of images (n,), uint8 (n, *image_shape), on the device."""
        if self.images_on_gpu is None:
            pixels = torch.from_numpy(np.asarray(self.split.images[images])).to(self.runtime.device)
        else:
            pixels = self.images_on_gpu[torch.from_numpy(images).to(self.runtime.device)]
        if not views.any():
            return pixels
        return render(pixels, images, views, self.recipe, self.seed)


@dataclass(frozen=True)
class Subset:
    """Some images of a source, numbered from 0; so the divisions of a dataset share one feature cache.

    Attributes:
        source: Of all images.
        rows: int64 (n,), the number of each image in `source`.
    """

    source: FeatureSource
    rows: np.ndarray

    @property
    def cut(self) -> int:
        """The cut of the source."""
        return self.source.cut

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Prepares these images and views in the source, see `FeatureSource`."""
        self.source.prepare(self.rows[images], views)

    def batches_for(self, steps: Steps) -> Callable[[int], torch.Tensor]:
        """Returns a function from a step to its features, see `FeatureSource`."""
        return self.source.batches_for([(self.rows[images], views) for images, views in steps])

    def batch(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns the features (n, *shape) of images (n,) and views (n,), see `FeatureSource`."""
        return self.source.batch(self.rows[images], views)
