"""Optimisers as the training loop uses them."""

import inspect
from typing import Any, TypeVar

import torch
from torch import nn

from fer.config import HEAD, AdaptationConfig

Optimiser = TypeVar("Optimiser", bound=torch.optim.Optimizer)


def _light(optimiser: type[Optimiser]) -> type[Optimiser]:
    """Returns the optimiser without what torch wraps its methods in.

    All of that is there for torch.compile, which is not used, and imports it: a second in every process that trains.
    """
    methods = {name: inspect.unwrap(getattr(optimiser, name)) for name in ("add_param_group", "zero_grad", "step")}
    methods["step"] = torch.no_grad()(methods["step"])
    light: type[Optimiser] = type(optimiser.__name__, (optimiser,), methods)
    return light


_SGD = _light(torch.optim.SGD)
_ADAMW = _light(torch.optim.AdamW)


def make_optimiser(network: nn.Sequential, config: AdaptationConfig) -> torch.optim.Optimizer:
    """Returns the optimiser that the configuration names, over the trained layers, each with its share of the rate."""
    if config.layer_decay == 1:
        parameters = [p for layer in config.trained for p in network[layer].parameters()]
        groups: list[dict[str, Any]] = [{"params": parameters, "share": 1.0}]
    else:
        groups = [
            {"params": list(network[layer].parameters()), "share": config.layer_decay ** (HEAD - layer)}
            for layer in config.trained
        ]
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
    # What torch would do at a parameter's first step; its fused kernel cannot where others have had theirs, as where
    # the head comes first.
    for parameter in (p for group in groups for p in group["params"] if config.momentum):
        sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd
