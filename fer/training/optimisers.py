"""Optimisers as the training loop uses them."""

from typing import Any

import torch
from torch import nn

from fer.config import AdaptationConfig
from fer.torch_private import without_compiler

_SGD = without_compiler(torch.optim.SGD)
_ADAMW = without_compiler(torch.optim.AdamW)


def make_optimiser(network: nn.Sequential, config: AdaptationConfig) -> torch.optim.Optimizer:
    """Returns the optimiser that the configuration names, over the parameters of the trained blocks.

    Each group of parameters has under "share" its factor on the learning rate.
    """
    groups = _parameter_groups(network, config)
    if config.optimiser == "adamw":
        return _ADAMW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    sgd = _SGD(
        groups,
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        weight_decay=config.weight_decay,
        fused=True,
    )
    if config.momentum:
        _start_momentum(sgd)
    return sgd


def parameters_of(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Returns the parameters that an optimiser trains, in its order."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _parameter_groups(network: nn.Sequential, config: AdaptationConfig) -> list[dict[str, Any]]:
    """Returns the trained parameters, in one group per block if the blocks have different rates, else in one group."""
    if config.layer_decay == 1:
        parameters: list[nn.Parameter] = []
        for block in config.trained:
            parameters += network[block].parameters()
        return [{"params": parameters, "share": 1.0}]

    # The last block has the full rate, and each block below it a rate smaller by the factor `layer_decay`.
    groups: list[dict[str, Any]] = []
    for block in config.trained:
        share = config.layer_decay ** (config.depth.last - block)
        groups.append({"params": list(network[block].parameters()), "share": share})
    return groups


def _start_momentum(sgd: torch.optim.Optimizer) -> None:
    """Gives every parameter a momentum of zero, as torch itself does at a parameter's first step.

    The fused kernel cannot do that for parameters that join after others have taken steps, as happens where the head is
    trained alone first.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
