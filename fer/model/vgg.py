"""The paper's simplified VGG as thirteen named layers in a row, so that any prefix can be frozen or cached.

The paper (arXiv 1905.12082) gives 19.2 M parameters, 48×48 grey input and dropout 0.5 after the first two fully
connected layers, but no layer table. Read here as: convolutions 64-64 | 128-128 | 256×3 | 512×3, batch-norm after
each, every group followed by a 2×2 max-pool, then fully connected 2048-1024-7: 19.18 M parameters at width 1.
"""

from collections import OrderedDict
from typing import TypeVar

import torch
from torch import nn

from fer.architecture import VGG13
from fer.torch_private import Members, copy_with_members, members_of

# Output channels of each convolution at width 1, and the convolutions that a max-pool follows.
_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512)
_POOLED = {1, 3, 6, 9}
PADDING = 1
_HIDDEN = (2048, 1024)
DROPOUT = 0.5
SIZE = VGG13.size
"""Height and width of an image."""
Module = TypeVar("Module", bound=nn.Module)


def build(width: float, seed: int = 0, classes: int = VGG13.classes) -> nn.Sequential:
    """Builds the network.

    `network[:k]` and `network[k:]` are the layers before and after cut k; both keep the names of their layers.

    Args:
        width: Factor on every layer's channels; 1.0 is the paper's size.
        seed: Of the initial weights: Kaiming normal for the convolutions, torch's default for the other layers.
        classes: Number of logits.

    Returns:
        Thirteen layers mapping float images (n, 1, 48, 48) to logits (n, classes).
    """
    channels = [max(1, round(count * width)) for count in _CHANNELS]
    units = [max(1, round(count * width)) for count in _HIDDEN]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: OrderedDict[str, nn.Module] = OrderedDict()

        # The convolutions; four pools between them take 48 × 48 to 3 × 3.
        inputs = 1
        for index, outputs in enumerate(channels):
            layers[VGG13.blocks[index]] = _convolution(inputs, outputs, pooled=index in _POOLED)
            inputs = outputs

        # The fully connected layers.
        inputs *= 3 * 3
        for index, outputs in enumerate([*units, classes]):
            layers[VGG13.blocks[VGG13.head + index]] = _connected(inputs, outputs, index)
            inputs = outputs
        return nn.Sequential(layers)


def blueprint(width: float, classes: int = VGG13.classes) -> nn.Sequential:
    """Builds the network on torch's meta device: names, shapes and types without memory for the weights."""
    with torch.device("meta"):
        return build(width, classes=classes)


def _convolution(inputs: int, outputs: int, pooled: bool) -> nn.Sequential:
    """Builds a convolution with batch-norm and ReLU, and with a 2×2 max-pool if it is pooled."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=PADDING, bias=False)
    # A blueprint has no weights to draw; for drawing them all the same, torch would import its compiler: a second.
    if not conv.weight.is_meta:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    # In place, because batch-norm's backward pass does not need its output: one activation less to write.
    relu = nn.ReLU(inplace=True)
    modules: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs), relu=relu)
    if pooled:
        modules["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(modules)


def _connected(inputs: int, outputs: int, index: int) -> nn.Sequential:
    """Builds a fully connected layer; dropout comes first, so that the features of every cut are without its noise."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    if index == 0:
        modules["flatten"] = nn.Flatten()
    else:
        modules["dropout"] = nn.Dropout(DROPOUT)
    modules["linear"] = nn.Linear(inputs, outputs)
    if index < len(_HIDDEN):
        modules["relu"] = nn.ReLU()
    return nn.Sequential(modules)


def cut_shapes(network: nn.Sequential) -> list[tuple[int, ...]]:
    """Returns the shape of one sample's features at each of the 14 cuts: before the first layer, …, after the last."""
    shapes: list[tuple[int, ...]] = [(1, SIZE, SIZE)]
    size = SIZE
    for layer in network:
        conv = getattr(layer, "conv", None)
        linear = getattr(layer, "linear", None)
        if isinstance(conv, nn.Conv2d):
            if hasattr(layer, "pool"):
                size //= 2
            shapes.append((conv.out_channels, size, size))
        elif isinstance(linear, nn.Linear):
            shapes.append((linear.out_features,))
    return shapes


def clone(module: Module) -> Module:
    """Returns a copy that shares no tensor with the module.

    `copy.deepcopy` takes more than ten times as long, because it copies a dozen dictionaries of hooks for each module.
    Here the copy shares the hooks; these networks have none.
    """
    # A module may have registered a parameter, a buffer or a child as None.
    members = members_of(module)
    parameters = {name: _clone_parameter(parameter) for name, parameter in members.parameters.items()}
    buffers = {name: None if buffer is None else buffer.clone() for name, buffer in members.buffers.items()}
    children = {name: None if child is None else clone(child) for name, child in members.children.items()}
    return copy_with_members(module, Members(parameters, buffers, children))


def _clone_parameter(parameter: nn.Parameter | None) -> nn.Parameter | None:
    """Returns a copy of a parameter, which needs a gradient if the parameter does."""
    if parameter is None:
        return None
    return nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
