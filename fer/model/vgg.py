"""The paper's simplified VGG as thirteen named layers in a row, so that any prefix can be frozen or cached.

The paper (arXiv 1905.12082) gives 19.2 M parameters, 48×48 grey input and dropout 0.5 after the first two fully
connected layers, but no layer table. Read here as: convolutions 64-64 | 128-128 | 256×3 | 512×3, batch-norm after
each, every group followed by a 2×2 max-pool, then fully connected 2048-1024-7: 19.18 M parameters at width 1.
"""

import copy
from collections import OrderedDict
from typing import TypeVar

import torch
from torch import nn

from fer.expressions import EXPRESSIONS
from fer.layers import CONVOLUTIONS, LAYERS

_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512)
_POOLED = {1, 3, 6, 9}
_PADDING = 1
_HIDDEN = (2048, 1024)
DROPOUT = 0.5
SIZE = 48
Module = TypeVar("Module", bound=nn.Module)


def build(width: float, seed: int = 0) -> nn.Sequential:
    """Builds the network; `network[:k]` and `network[k:]` are the two sides of cut k, with their names kept.

    Args:
        width: Factor on every layer's channels; 1.0 is the paper's size.
        seed: Of the initial weights (Kaiming normal for the convolutions, torch's own for the rest).

    Returns:
        Thirteen layers mapping float images (n, 1, 48, 48) to logits (n, 7).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 1
        for index, channels in enumerate(_CHANNELS):
            outputs = max(1, round(channels * width))
            layers[LAYERS[index]] = _convolution(inputs, outputs, pooled=index in _POOLED)
            inputs = outputs
        inputs *= 3 * 3
        for index, outputs in enumerate([*(max(1, round(hidden * width)) for hidden in _HIDDEN), len(EXPRESSIONS)]):
            layers[LAYERS[CONVOLUTIONS + index]] = _connected(inputs, outputs, index)
            inputs = outputs
        return nn.Sequential(layers)


def blueprint(width: float) -> nn.Sequential:
    """Builds the network without memory for its weights: names, shapes and types alone, for `load_state_dict`."""
    with torch.device("meta"):
        return build(width)


def _convolution(inputs: int, outputs: int, pooled: bool) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=_PADDING, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    # In place, because batch-norm's backward pass does not need its output: one activation less to write.
    relu = nn.ReLU(inplace=True)
    parts: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), relu=relu)
    if pooled:
        parts["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(parts)


def _connected(inputs: int, outputs: int, index: int) -> nn.Sequential:
    """Builds a fully connected layer; dropout comes first, so that the features of every cut are without its noise."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if index == 0:
        parts["flatten"] = nn.Flatten()
    else:
        parts["dropout"] = nn.Dropout(DROPOUT)
    parts["linear"] = nn.Linear(inputs, outputs)
    if index < len(_HIDDEN):
        parts["relu"] = nn.ReLU()
    return nn.Sequential(parts)


def cut_shapes(network: nn.Sequential) -> list[tuple[int, ...]]:
    """Returns the shape of one sample's features at every cut: before the first layer, …, after the last."""
    shapes: list[tuple[int, ...]] = [(1, SIZE, SIZE)]
    side = SIZE
    for layer in network:
        conv, linear = getattr(layer, "conv", None), getattr(layer, "linear", None)
        if isinstance(conv, nn.Conv2d):
            side //= 2 if hasattr(layer, "pool") else 1
            shapes.append((conv.out_channels, side, side))
        elif isinstance(linear, nn.Linear):
            shapes.append((linear.out_features,))
    return shapes


def clone(module: Module) -> Module:
    """Returns a copy with tensors of its own, as `copy.deepcopy` does in more than ten times the time.

    What takes it so long are a dozen dictionaries of hooks per module, which are shared here; these networks have none.
    """
    copy_of = copy.copy(module)
    copy_of._parameters = {
        name: None if p is None else nn.Parameter(p.detach().clone(), p.requires_grad)
        for name, p in module._parameters.items()
    }
    copy_of._buffers = {name: None if b is None else b.clone() for name, b in module._buffers.items()}
    copy_of._modules = {name: None if m is None else clone(m) for name, m in module._modules.items()}
    return copy_of


def to_tensor(images: torch.Tensor) -> torch.Tensor:
    """Turns uint8 images (n, 48, 48) into the network's float input (n, 1, 48, 48), about zero mean and unit range."""
    return images.unsqueeze(1).float().sub_(128.0).mul_(1 / 64)


def channels_last(inputs: torch.Tensor) -> torch.Tensor:
    """Lays images out channels last, which the convolutions of CPUs and GPUs prefer."""
    return inputs.to(memory_format=torch.channels_last) if inputs.dim() == 4 else inputs
