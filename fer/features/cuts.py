"""Which cuts' features are kept: those that save the most computation for the room that they take.

vgg13 keeps every cut whose features are small, as its results were measured. For any other network the cuts are chosen
so that the features of all views of a study fit into the room that it has.
"""

import math
import weakref
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fer.runtime import Runtime

LARGEST_OF_PAPER = 40_000
"""Bytes of one image's features in vgg13. Larger ones are not worth their disk: training starts from the next lower
cut."""

FEWEST_OPERATIONS = 100
"""Operations of the frozen prefix for each byte of its features, below which reading them is no quicker than computing
them: a core computes some 20 billion operations a second, and a disk reads some 200 million bytes."""

Shapes = Sequence[tuple[int, ...]]
"""The shape of one sample's features at each cut: before the first block, …, after the last."""


def feature_sizes(shapes: Shapes, runtime: Runtime) -> list[int]:
    """Returns the bytes of one sample's features at each cut, in the precision that they are kept in."""
    return [runtime.dtype.itemsize * math.prod(shape) for shape in shapes]


def paper_cuts(sizes: Sequence[int]) -> tuple[int, ...]:
    """Returns the cuts of vgg13 whose features are kept, ascending.

    Args:
        sizes: Bytes of one sample's features at each cut.
    """
    return tuple(cut for cut in range(1, len(sizes)) if sizes[cut] <= LARGEST_OF_PAPER)


def choose_cuts(sizes: Sequence[int], operations: Sequence[float], head: int, room: float) -> tuple[int, ...]:
    """Returns the cuts whose features are kept, ascending: taken by what they pay, while room lasts.

    What a cut saves is the computation between it and the next lower kept one, for every depth to which trainings
    freeze the network. All depths count alike, and those of FC and FC+CL as much as all others together.

    Args:
        sizes: Bytes of one sample's features at each cut.
        operations: Of the prefix before each cut.
        head: Number of blocks before the head, see `fer.architecture.Depth`.
        room: Bytes that one sample's features may take at all kept cuts together.
    """
    blocks = len(sizes) - 1
    weights = [1.0] * blocks
    for depth in (head, head - 1):
        if 0 < depth < blocks:
            weights[depth] += blocks

    def saved(cuts: set[int]) -> float:
        """Returns the operations that the kept cuts save, over all depths."""
        starts = (max((cut for cut in cuts if cut <= depth), default=0) for depth in range(blocks))
        return sum(weight * operations[start] for weight, start in zip(weights, starts, strict=True))

    worthwhile = {cut for cut in range(1, blocks) if operations[cut] >= FEWEST_OPERATIONS * sizes[cut]}
    chosen: set[int] = set()
    while True:
        fitting = [cut for cut in sorted(worthwhile - chosen) if sizes[cut] <= room]
        gains = {cut: (saved(chosen | {cut}) - saved(chosen)) / sizes[cut] for cut in fitting}
        best = max(gains, key=lambda cut: gains[cut], default=None)
        if best is None:
            return tuple(sorted(chosen))
        chosen.add(best)
        room -= sizes[best]


_counted: "weakref.WeakKeyDictionary[nn.Module, tuple[float, ...]]" = weakref.WeakKeyDictionary()


def count_operations(network: nn.Sequential, shape: tuple[int, ...]) -> tuple[float, ...]:
    """Returns the floating-point operations of the prefix before each cut, for one image.

    Args:
        network: The blocks, in evaluation mode. What it was counted of before is not counted again.
        shape: Of its input.
    """
    if network not in _counted:
        features = torch.zeros(1, *shape, device=next(network.parameters()).device)
        totals = [0.0]
        with torch.no_grad():
            for block in network:
                with FlopCounterMode(display=False) as counter:
                    features = block(features)
                totals.append(totals[-1] + counter.get_total_flops())
        _counted[network] = tuple(totals)
    return _counted[network]
