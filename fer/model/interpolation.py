"""Networks between the baseline and an adapted one, in weight space.

Linear interpolation (WiSE-FT, arXiv 2109.01903) with coefficients that may grow with depth (LiNeS, arXiv 2410.17146).
Batch-norm statistics do not mix linearly, so those of the trained layers are estimated anew after mixing (REPAIR,
arXiv 2211.08403); at both ends nothing changes, bit for bit.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from fer.layers import LAYERS
from fer.model.vgg import channels_last, clone
from fer.runtime import Runtime


def interpolation_shares(alpha: float, slope: float = 0.0) -> list[float]:
    """Returns each layer's share of the adapted network; the last layer's has `slope` more than the first's."""
    return [alpha + slope * layer / (len(LAYERS) - 1) for layer in range(len(LAYERS))]


def interpolate(start: nn.Sequential, end: nn.Sequential, shares: Sequence[float]) -> nn.Sequential:
    """Returns θ0 + c (θ1 − θ0), layer by layer, parameters and batch-norm statistics alike."""
    mixed = clone(end)
    with torch.no_grad():
        for layer, first, share in zip(mixed, start, shares, strict=True):
            ours, theirs = layer.state_dict(), first.state_dict()
            for name, tensor in ours.items():
                if tensor.is_floating_point():
                    tensor.copy_(torch.lerp(theirs[name].to(tensor.device), tensor, share))
                elif share == 0:  # the counter of batches
                    tensor.copy_(theirs[name])
    return mixed.eval().requires_grad_(False)


def average(networks: Sequence[nn.Sequential]) -> nn.Sequential:
    """Returns the network whose weights are the mean of those given (model soup, arXiv 2203.05482)."""
    mixed = clone(networks[0])
    states = [network.state_dict() for network in networks]
    with torch.no_grad():
        for name, tensor in mixed.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.stack([state[name] for state in states]).mean(0))
    return mixed.eval().requires_grad_(False)


def estimate_batch_norm(
    network: nn.Sequential, cut: int, layers: Sequence[int], batches: Iterable[torch.Tensor], runtime: Runtime
) -> None:
    """Estimates the batch-norm statistics of some layers anew, as the plain mean over batches.

    Args:
        network: Changed in place, in evaluation mode afterwards.
        cut: Where the batches start.
        layers: Whose statistics; all other layers stay as they are.
        batches: Features at the cut, (n, …) each.
        runtime: Device and precision.
    """
    norms = [m for layer in layers for m in network[layer].modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative mean
        norm.train()
    last = max(layer for layer in layers if any(isinstance(m, nn.BatchNorm2d) for m in network[layer].modules()))
    with torch.no_grad(), runtime.autocast():
        for inputs in batches:
            network[cut : last + 1](channels_last(inputs))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
