"""The parts of torch that it does not promise to keep, each behind a function of this module.

`PARTS` lists them. `tests/test_fer_torch_private.py` looks each of them up and compares what it does with what torch
promises, so that a version of torch that moves one fails there and not in the middle of a training.
"""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

PARTS = (
    "cpu._is_amx_tile_supported",
    "cpu._is_avx512_bf16_supported",
    "ops.aten.convolution_backward",
)
"""Their names below `torch`. What a module holds, `_parameters`, `_buffers` and `_modules`, is private as well, and so
is what torch wraps the methods of its optimisers in."""

Module = TypeVar("Module", bound=nn.Module)
Optimiser = TypeVar("Optimiser", bound=torch.optim.Optimizer)


def processor_has_bf16() -> bool:
    """Returns whether the processor has instructions for bf16, by AMX or by AVX-512."""
    has_amx = torch.cpu._is_amx_tile_supported()
    has_avx512 = torch.cpu._is_avx512_bf16_supported()
    return bool(has_amx or has_avx512)


@dataclass(frozen=True)
class Members:
    """What a module itself holds, without its descendants.

    Attributes:
        parameters: By name; None where a layer is without one, such as a convolution without bias.
        buffers: By name; None likewise.
        children: By name; None likewise.
    """

    parameters: Mapping[str, nn.Parameter | None]
    buffers: Mapping[str, torch.Tensor | None]
    children: Mapping[str, nn.Module | None]


def members_of(module: nn.Module) -> Members:
    """Returns what a module itself holds."""
    return Members(module._parameters, module._buffers, module._modules)


def copy_with_members(module: Module, members: Members) -> Module:
    """Returns a shallow copy of a module that holds other members; the two share all else, hooks among it."""
    copied = copy.copy(module)
    copied._parameters = dict(members.parameters)
    copied._buffers = dict(members.buffers)
    copied._modules = dict(members.children)
    return copied


def without_compiler(optimiser: type[Optimiser]) -> type[Optimiser]:
    """Returns a class of optimisers without what torch wraps its methods in.

    The wrappers are there for torch.compile, which is not used here. They import it, which takes a second in every
    process that trains.

    Args:
        optimiser: A class of `torch.optim`.
    """
    methods = {name: inspect.unwrap(getattr(optimiser, name)) for name in ("add_param_group", "zero_grad", "step")}
    methods["step"] = torch.no_grad()(methods["step"])
    unwrapped: type[Optimiser] = type(optimiser.__name__, (optimiser,), methods)
    return unwrapped


def convolution_gradients(
    gradient: torch.Tensor, images: torch.Tensor, kernel: torch.Tensor, padding: int, needed: Sequence[bool]
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Returns the gradients of images and kernel of a convolution of stride 1 without bias.

    Args:
        gradient: Of the output, (n, outputs, height, width).
        images: (n, inputs, height, width), dense or in the layout of oneDNN.
        kernel: (outputs, inputs, rows, columns), dense.
        padding: Zeros at each border of an image.
        needed: Whether the gradient of the images is needed, and that of the kernel; the other one is None.
    """
    images_needed, kernel_needed = needed
    of_images, of_kernel, _ = torch.ops.aten.convolution_backward(
        gradient,
        images,
        kernel,
        bias_sizes=None,
        stride=[1, 1],
        padding=[padding, padding],
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=1,
        output_mask=[images_needed, kernel_needed, False],
    )
    return of_images, of_kernel
