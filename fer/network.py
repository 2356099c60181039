"""The paper's simplified VGG as thirteen named layers in a row, so that any prefix can be frozen or cached.

The paper (arXiv 1905.12082) gives 19.2 M parameters, 48×48 grey input and dropout 0.5 after the first two fully
connected layers, but no layer table. Read here as: convolutions 64-64 | 128-128 | 256×3 | 512×3, batch-norm after
each, every group followed by a 2×2 max-pool, then fully connected 2048-1024-7: 19.18 M parameters at width 1.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fer.expressions import EXPRESSIONS
from fer.layers import CONVOLUTIONS, LAYERS

_CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512)
_POOLED = {1, 3, 6, 9}
_PADDING = 1
_HIDDEN = (2048, 1024)
DROPOUT = 0.5
_WILD = 1e4  # a weight beyond it, batch-norm folded in, may lead to answers that are no numbers
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


def copied(module: Module) -> Module:
    """Returns a copy with tensors of its own, as `copy.deepcopy` does in more than ten times the time.

    What takes it so long are a dozen dictionaries of hooks per module, which are shared here; these networks have none.
    """
    copy_of = copy.copy(module)
    copy_of._parameters = {
        name: None if p is None else nn.Parameter(p.detach().clone(), p.requires_grad)
        for name, p in module._parameters.items()
    }
    copy_of._buffers = {name: None if b is None else b.clone() for name, b in module._buffers.items()}
    copy_of._modules = {name: None if m is None else copied(m) for name, m in module._modules.items()}
    return copy_of


def folded(layers: nn.Sequential, blocks: torch.dtype | None = None) -> nn.Sequential:
    """Returns a copy of some layers for evaluation, each batch-norm folded into the convolution before it.

    Args:
        layers: The network, or its end from some cut on.
        blocks: The type of images that lie as oneDNN wants them, from the first convolution to the last; None leaves
            them to torch. Inputs and outputs are ordinary tensors either way. Wild networks are left to torch as well,
            whose ReLU and pooling keep what is not a number; oneDNN's take it for 0.
    """
    found = copied(layers)
    for layer in found:
        conv, norm = getattr(layer, "conv", None), getattr(layer, "norm", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            layer.norm = nn.Identity()
    if blocks is not None and all(bool(p.abs().max() < _WILD) for p in found.parameters()):
        found = _in_blocks(found, _Folded, blocks)
    return found.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def blocked(layers: nn.Sequential, dtype: torch.dtype) -> nn.Sequential:
    """Returns the same layers, sharing all they hold, for training with images as oneDNN wants them, of this type.

    Inputs and outputs are ordinary tensors. Batch-norms that have a gradient below them must take batch statistics.
    What is not a number becomes 0 in between: the network has to be asked whether it is `finite`.
    """
    return _in_blocks(layers, _Blocked, dtype)


def _in_blocks(
    layers: nn.Sequential, kind: Callable[[nn.Conv2d, torch.dtype], nn.Module], dtype: torch.dtype
) -> nn.Sequential:
    found = nn.Sequential()
    for name, layer in layers.named_children():
        parts = OrderedDict(layer.named_children())
        if isinstance(conv := parts.get("conv"), nn.Conv2d):
            parts["conv"] = kind(conv, dtype)
        if "flatten" in parts:
            parts["flatten"] = _Flat()
        found.add_module(name, nn.Sequential(parts))
    return found


def finite(network: nn.Module) -> bool:
    """Whether all parameters and statistics are numbers."""
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


class _Blocked(nn.Module):
    """A convolution in training whose images lie as oneDNN wants them, in blocks of channels."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv, self.dtype = conv, dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images if images.is_mkldnn else images.to_mkldnn(self.dtype)
        found: torch.Tensor = _Convolution.apply(images, self.conv.weight)
        return found


class _Convolution(torch.autograd.Function):
    """Convolution of such images; torch has a gradient for it where weights are fp32 alone."""

    @staticmethod
    def forward(ctx: Any, images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        kernel = weight.to(images.dtype)
        ctx.save_for_backward(images, kernel)
        return F.conv2d(images, kernel.to_mkldnn(), padding=_PADDING)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, kernel = ctx.saved_tensors
        of_images, of_kernel, _ = torch.ops.aten.convolution_backward(
            gradients[0], images, kernel, None, [1, 1], [_PADDING] * 2, [1, 1], False, [0, 0], 1,
            [*ctx.needs_input_grad, False],
        )  # fmt: skip
        return of_images, of_kernel


class _Folded(nn.Module):
    """A convolution in evaluation whose images lie so, with the batch-norm that was folded into it."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        assert conv.bias is not None
        self.dtype = dtype
        self.kernel, self.offsets = (p.detach().to(dtype).to_mkldnn() for p in (conv.weight, conv.bias))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images if images.is_mkldnn else images.to_mkldnn(self.dtype)
        return F.conv2d(images, self.kernel, self.offsets, padding=_PADDING)


class _Flat(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.to_dense() if images.is_mkldnn else images).flatten(1)


def to_tensor(images: torch.Tensor) -> torch.Tensor:
    """Turns uint8 images (n, 48, 48) into the network's float input (n, 1, 48, 48), about zero mean and unit range."""
    return images.unsqueeze(1).float().sub_(128.0).mul_(1 / 64)
