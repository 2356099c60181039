"""Networks whose images lie in the layout of oneDNN, the library that computes torch's convolutions on CPUs.

Torch converts images to the layout of oneDNN, blocks of channels, before each convolution and back after it. The
modules here leave them in that layout from the first convolution to the last.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fer.model.vgg import PADDING, clone
from fer.torch_private import convolution_gradients

# With a larger weight, batch-norm fused in, a network's activations may overflow.
_LARGEST_SAFE_WEIGHT = 1e4


def fuse_batch_norm(layers: nn.Sequential, onednn_dtype: torch.dtype | None = None) -> nn.Sequential:
    """Returns a copy of some layers for evaluation, each batch-norm fused into the convolution before it.

    Blocks of another network than vgg13 are copied as they are, see `is_known`.

    Args:
        layers: The network, or its end from some cut on.
        onednn_dtype: The type of images in the layout of oneDNN, from the first convolution to the last; None leaves
            the layout to torch. Inputs and outputs are ordinary tensors either way. A network with weights so large
            that it may overflow is left to torch as well: torch's ReLU and pooling keep NaN, oneDNN's turn it into 0.
    """
    fused = clone(layers)
    if not is_known(fused):
        return fused.eval().requires_grad_(False)

    for layer in fused:
        conv = getattr(layer, "conv", None)
        norm = getattr(layer, "norm", None)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            layer.norm = nn.Identity()

    if onednn_dtype is not None and _is_safe_from_overflow(fused):
        fused = _replace_convolutions(fused, _FusedConvolution, onednn_dtype)
    return fused.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def is_known(layers: nn.Sequential) -> bool:
    """Returns whether all layers are such as `fer.model.vgg.build` makes; any other may compute something else."""
    return all(_is_convolution(layer) or _is_connected(layer) for layer in layers)


def _is_convolution(layer: nn.Module) -> bool:
    """Returns whether a layer is a 3×3 convolution with batch-norm and ReLU, and perhaps a pool."""
    modules = dict(layer.named_children()) if type(layer) is nn.Sequential else {}
    if list(modules) not in (["conv", "norm", "relu"], ["conv", "norm", "relu", "pool"]):
        return False
    kinds = {"conv": nn.Conv2d, "norm": nn.BatchNorm2d, "relu": nn.ReLU, "pool": nn.MaxPool2d}
    if any(type(module) is not kinds[name] for name, module in modules.items()):
        return False
    conv = modules["conv"]
    assert isinstance(conv, nn.Conv2d)
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.padding_mode)
    return shape == ((3, 3), (1, 1), (PADDING, PADDING), (1, 1), 1, "zeros") and conv.bias is None


def _is_connected(layer: nn.Module) -> bool:
    """Returns whether a layer is a fully connected one, with what comes before and after it."""
    modules = dict(layer.named_children()) if type(layer) is nn.Sequential else {}
    kinds = {"flatten": nn.Flatten, "dropout": nn.Dropout, "linear": nn.Linear, "relu": nn.ReLU}
    return "linear" in modules and all(type(module) is kinds.get(name) for name, module in modules.items())


def _is_safe_from_overflow(layers: nn.Sequential) -> bool:
    """Returns whether all weights are so small that activations cannot overflow."""
    # NaN compares as false, so a network that holds NaN is not safe either.
    return all(bool(parameter.abs().max() < _LARGEST_SAFE_WEIGHT) for parameter in layers.parameters())


def to_onednn_layout(layers: nn.Sequential, dtype: torch.dtype) -> nn.Sequential:
    """Returns the layers, with the same parameters and buffers, for training with images in the layout of oneDNN.

    Inputs and outputs are ordinary tensors. Batch-norms with a gradient below them must take batch statistics. NaN
    becomes 0 between the layers, so the loss does not show it: ask `all_finite`.

    Args:
        layers: The network, or its end from some cut on.
        dtype: The type of the images.
    """
    return _replace_convolutions(layers, _TrainedConvolution, dtype)


def _replace_convolutions(
    layers: nn.Sequential, kind: Callable[[nn.Conv2d, torch.dtype], nn.Module], dtype: torch.dtype
) -> nn.Sequential:
    """Returns layers in which each convolution is one of this kind, and flattening ends oneDNN's layout."""
    replaced = nn.Sequential()
    for name, layer in layers.named_children():
        modules = OrderedDict(layer.named_children())
        conv = modules.get("conv")
        if isinstance(conv, nn.Conv2d):
            modules["conv"] = kind(conv, dtype)
        if "flatten" in modules:
            modules["flatten"] = _FlattenToDense()
        replaced.add_module(name, nn.Sequential(modules))
    return replaced


def all_finite(network: nn.Module) -> bool:
    """Returns whether all parameters and batch-norm statistics are finite."""
    return all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())


class _TrainedConvolution(nn.Module):
    """A convolution for training, with images in the layout of oneDNN."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv = conv
        self.dtype = dtype

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        laid_out = _in_onednn_layout(images, self.dtype)
        outputs: torch.Tensor = _DifferentiableConvolution.apply(laid_out, self.conv.weight)
        return outputs


class _Context(Protocol):
    """What torch passes to a function for its gradient; torch's own types do not declare all of it."""

    saved_tensors: tuple[torch.Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: torch.Tensor) -> None: ...


class _DifferentiableConvolution(torch.autograd.Function):
    """A convolution in the layout of oneDNN with a gradient; torch has one for fp32 weights only."""

    @staticmethod
    def forward(ctx: _Context, images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        kernel = weight.to(images.dtype)
        ctx.save_for_backward(images, kernel)
        return F.conv2d(images, kernel.to_mkldnn(), padding=PADDING)

    @staticmethod
    def backward(ctx: _Context, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        images, kernel = ctx.saved_tensors
        return convolution_gradients(gradients[0], images, kernel, PADDING, ctx.needs_input_grad)


class _FusedConvolution(nn.Module):
    """A convolution for evaluation, with images in the layout of oneDNN and the batch-norm that was fused into it."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        assert conv.bias is not None
        self.dtype = dtype
        self.kernel = conv.weight.detach().to(dtype).to_mkldnn()
        self.bias = conv.bias.detach().to(dtype).to_mkldnn()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        laid_out = _in_onednn_layout(images, self.dtype)
        return F.conv2d(laid_out, self.kernel, self.bias, padding=PADDING)


def _in_onednn_layout(images: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Returns images in the layout of oneDNN; images that have it already as they are."""
    return images if images.is_mkldnn else images.to_mkldnn(dtype)


class _FlattenToDense(nn.Module):
    """Flattens images (n, channels, height, width) to dense features (n, d), from any layout."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        dense = images.to_dense() if images.is_mkldnn else images
        return dense.flatten(1)
