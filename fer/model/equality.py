"""Whether two ways to compute a network agree bit for bit: in evaluation, and with equal random numbers in training.

Everything here runs on a copy of the network, whose weights are random: with initial weights a residual branch may
give zero, and a norm may change nothing, so that wrong chains would seem right.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from fer.model.vgg import clone

SEED = 20
_NOISE = 0.05
"""Size of the noise on weights, in their standard deviations."""
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
Norm: TypeAlias = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


@contextmanager
def seeded(seed: int = SEED) -> Iterator[None]:
    """Gives the block random numbers from a seed, and restores the random state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def restoring_buffers(module: nn.Module) -> Iterator[None]:
    """Restores the buffers of a module, such as statistics of batch-norm, and its modes, when the block ends."""
    modes = {part: part.training for part in module.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def randomised_copy(module: nn.Module, inputs: torch.Tensor) -> nn.Module:
    """Returns a copy of a network on the CPU, with noise on all weights and batch-norm statistics that fit them.

    Args:
        module: The network; it stays as it is.
        inputs: A batch of images on the CPU.
    """
    copied = clone(module).cpu().requires_grad_(False)
    with seeded():
        for tensor in copied.parameters():
            if tensor.is_floating_point() and tensor.numel():
                spread = float(tensor.std(correction=0)) or 1.0
                tensor.add_(torch.randn_like(tensor), alpha=_NOISE * spread)

        norms = [part for part in copied.modules() if isinstance(part, NORMS)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            copied.train()(inputs.clone())
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    for tensor in copied.parameters():
        tensor.requires_grad_(tensor.is_floating_point())
    return copied.eval()


@dataclass(frozen=True)
class TrainingResults:
    """What a forward and backward pass in training mode give.

    Attributes:
        tensors: The outputs, the gradients of the inputs and of the parameters, None where there is none, and the
            buffers afterwards.
        random_state: The state of torch's random numbers afterwards.
    """

    tensors: list[torch.Tensor | None]
    random_state: torch.Tensor

    def equals(self, other: "TrainingResults") -> bool:
        """Returns whether both are equal bit for bit."""
        if not torch.equal(self.random_state, other.random_state):
            return False
        if len(self.tensors) != len(other.tensors):
            return False

        # A gradient that is missing must be missing in both.
        for first, second in zip(self.tensors, other.tensors, strict=True):
            are_both_missing = first is None and second is None
            if not are_both_missing and not are_equal(first, second):
                return False
        return True


def are_equal(first: object, second: object) -> bool:
    """Returns whether both are tensors of equal shape, type and numbers; NaN equals nothing."""
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return False
    return first.dtype == second.dtype and first.shape == second.shape and torch.equal(first, second)


def evaluate(computation: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Returns the outputs in evaluation mode; the inputs stay as they are."""
    with torch.no_grad(), seeded():
        return computation.eval()(inputs.clone())


def train_once(computation: nn.Module, owner: nn.Module, inputs: torch.Tensor) -> TrainingResults:
    """Runs forward and backward in training mode, and restores the buffers.

    Args:
        computation: A way to compute `owner`, or owner itself.
        owner: The module whose parameters and buffers are compared.
        inputs: They stay as they are.
    """
    parameters = [tensor for tensor in owner.parameters() if tensor.requires_grad]
    with restoring_buffers(owner), seeded():
        leaf = inputs.clone().requires_grad_()
        computation.train()
        outputs = computation(leaf.clone())  # a copy, because what needs a gradient must not be changed in place
        random_state = torch.get_rng_state()

        weights = torch.randn_like(outputs)
        gradients = torch.autograd.grad((outputs * weights).sum(), [leaf, *parameters], allow_unused=True)
        buffers = [buffer.clone() for buffer in owner.buffers()]
    return TrainingResults([outputs.detach(), *gradients, *buffers], random_state)


def compute_the_same(module: nn.Module, chain: nn.Module, inputs: torch.Tensor) -> bool:
    """Returns whether a chain of a module's parts gives what the module gives, in evaluation and in training.

    Args:
        module: Of a randomised copy; its modes and statistics are restored.
        chain: Made of the module's parts.
        inputs: The module's inputs.
    """
    # What goes wrong only in the chain shows that it is none, whatever the error is.
    try:
        with restoring_buffers(module):
            if not are_equal(evaluate(module, inputs), evaluate(chain, inputs)):
                return False
            return train_once(module, module, inputs).equals(train_once(chain, module, inputs))
    except Exception:
        return False


def is_independent(copied: nn.Module, original: nn.Module, inputs: torch.Tensor) -> bool:
    """Returns whether a copy computes without parameters and buffers of the original.

    A module may hold another one elsewhere than among its children; a copy of it would share that one.

    Args:
        copied: Of `clone`; some of its parameters need gradients. Its statistics change.
        original: What it is a copy of; it stays as it is.
        inputs: A batch of images.
    """
    parameters = [tensor for tensor in original.parameters() if tensor.is_floating_point()]
    need_gradients = [tensor.requires_grad for tensor in parameters]
    before = [buffer.clone() for buffer in original.buffers()]
    try:
        with restoring_buffers(original), seeded():
            for tensor in parameters:
                tensor.requires_grad_()
            outputs = copied.train()(inputs.clone())
            gradients = torch.autograd.grad(outputs.sum(), parameters, allow_unused=True)
            buffers_stay = all(are_equal(*pair) for pair in zip(before, original.buffers(), strict=True))
    finally:
        for tensor, needs_gradient in zip(parameters, need_gradients, strict=True):
            tensor.requires_grad_(needs_gradient)
    return buffers_stay and all(gradient is None for gradient in gradients)
