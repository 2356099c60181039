"""Where the inputs of a training come from: images drawn view by view, or what a device holds of them."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from fer.config import ViewRecipe
from fer.datasets import Split
from fer.features.views import render
from fer.model.vgg import SIZE, to_tensor
from fer.runtime import Runtime

# What a process keeps from one adaptation to the next: so many bytes in its own memory (drawn views alone, features are
# in files that are mapped) or on a GPU, and of a GPU this share at most.
LARGEST_RESIDENT, RESIDENT_SHARE = {"cpu": 2**26, "cuda": 8 * 2**30}, 1 / 8


_FEEDS = 4  # of an adaptation, for training and validation on source and target: each has its part of that


_DRAWN_AT_ONCE, _MOST_VIEWS = 1024, 1 << 20


Steps = Sequence[tuple[np.ndarray, np.ndarray]]
"""Images (n,) and views (n,) of every step."""


@dataclass(frozen=True)
class DeviceCache:
    """What a device holds of a feed, for the adaptation at work and later ones.

    Attributes:
        slots: int64 (n,), ascending, which views it holds.
        features: (n, *shape), one for each slot.
    """

    slots: np.ndarray
    features: torch.Tensor

    def planned(self, steps: Sequence[np.ndarray]) -> Callable[[int], torch.Tensor]:
        """Returns what gives the features of each step's slots; where they lie is moved to the device at once."""
        places = torch.from_numpy(np.searchsorted(self.slots, np.concatenate(steps))).to(self.features.device)
        of_step = places.split([len(slots) for slots in steps])
        return lambda step: self.features[of_step[step]]


_residents: OrderedDict[tuple[Hashable, bytes], DeviceCache] = OrderedDict()


def keep_on_device(
    of: Hashable, slots: np.ndarray, size: int, runtime: Runtime, read: Callable[[], torch.Tensor]
) -> DeviceCache | None:
    """Returns what the device holds of some slots; trials of one study draw the same, so an earlier one's often does.

    Where there is no room left, what was used longest ago goes.

    Args:
        of: What the features depend on besides their slots.
        slots: int64 (n,), ascending.
        size: Bytes of all their features.
        runtime: Whose device it is.
        read: Puts the features there; called if they are not.

    Returns:
        None where they are more than a feed's part of the device: they are to be read step by step.
    """
    most = LARGEST_RESIDENT["cuda" if runtime.device.startswith("cuda") else "cpu"]
    if runtime.device.startswith("cuda"):
        most = min(most, int(RESIDENT_SHARE * torch.cuda.get_device_properties(runtime.device).total_memory))
    if size > most // _FEEDS:
        return None
    key = of, slots.tobytes()
    if key not in _residents:
        while _residents and sum(one.features.nbytes for one in _residents.values()) + size > most:
            _residents.popitem(last=False)
        _residents[key] = DeviceCache(slots, read())
    _residents.move_to_end(key)
    return _residents[key]


class ImageSource:
    """The images of a split as the input of cut 0, drawn view by view; what a bank is filled from."""

    cut = 0

    def __init__(self, split: Split, recipe: ViewRecipe, seed: int, runtime: Runtime) -> None:
        self.split, self.recipe, self.seed, self.runtime = split, recipe, seed, runtime
        self.resident: DeviceCache | None = None

    @cached_property
    def moved(self) -> torch.Tensor | None:
        """All images on the GPU, if there is one, once views are drawn: features that are kept need none."""
        return torch.from_numpy(np.array(self.split.images)).to(self.runtime.device) if self.runtime.on_gpu else None

    def prepare(self, images: np.ndarray, views: np.ndarray) -> None:
        """Draws these views beforehand where there is room for them; where not, they are drawn when gathered."""
        self.resident = None
        if not (self.runtime.on_gpu or views.any()):
            return  # the images themselves, which are in a file that is mapped
        slots = np.unique(images * _MOST_VIEWS + views)
        of = self.seed, self.recipe, self.runtime
        self.resident = keep_on_device(of, slots, len(slots) * SIZE**2, self.runtime, lambda: self._draw_all(slots))

    def _draw_all(self, slots: np.ndarray) -> torch.Tensor:
        drawn = torch.empty((len(slots), SIZE, SIZE), dtype=torch.uint8, device=self.runtime.device)
        for start in range(0, len(slots), _DRAWN_AT_ONCE):  # into one block: parts and their sum would need it twice
            part = slots[start : start + _DRAWN_AT_ONCE]
            drawn[start : start + len(part)] = self._draw(part // _MOST_VIEWS, part % _MOST_VIEWS)
        return drawn

    def planned(self, steps: Steps) -> Callable[[int], torch.Tensor]:
        """Returns what gives the network's input of each step, as `gather` does."""
        if self.resident is None:
            return lambda step: self.gather(*steps[step])
        take = self.resident.planned([images * _MOST_VIEWS + views for images, views in steps])
        return lambda step: to_tensor(take(step))

    def gather(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        """Returns the network's input (n, 1, 48, 48) for these images and views."""
        return to_tensor(self._draw(images, views))

    def _draw(self, images: np.ndarray, views: np.ndarray) -> torch.Tensor:
        if self.moved is None:
            pixels = torch.from_numpy(np.asarray(self.split.images[images]))
        else:
            pixels = self.moved[torch.from_numpy(images).to(self.runtime.device)]
        return render(pixels, images, views, self.recipe, self.seed) if views.any() else pixels
