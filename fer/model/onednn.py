"""Networks for evaluation and training in the layout of oneDNN."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fer.model.vgg import _PADDING, clone

_WILD = 1e4  # a weight beyond it, batch-norm folded in, may lead to answers that are no numbers


def fuse_batch_norm(layers: nn.Sequential, blocks: torch.dtype | None = None) -> nn.Sequential:
    """Returns a copy of some layers for evaluation, each batch-norm folded into the convolution before it.

    Args:
        layers: The network, or its end from some cut on.
        blocks: The type of images that lie as oneDNN wants them, from the first convolution to the last; None leaves
            them to torch. Inputs and outputs are ordinary tensors either way. Wild networks are left to torch as well,
            whose ReLU and pooling keep what is not a number; oneDNN's take it for 0.
    """
    found = clone(layers)
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


def to_onednn_layout(layers: nn.Sequential, dtype: torch.dtype) -> nn.Sequential:
    """Returns the same layers, sharing all they hold, for training with images as oneDNN wants them, of this type.

    Inputs and outputs are ordinary tensors. Batch-norms that have a gradient below them must take batch statistics.
    What is not a number becomes 0 in between: the network has to be asked whether it is `all_finite`.
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


def all_finite(network: nn.Module) -> bool:
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
