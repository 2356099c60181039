"""Networks between the baseline and an adapted one, in weight space.

Linear interpolation (WiSE-FT, arXiv 2109.01903) with coefficients that may grow with depth (LiNeS, arXiv 2410.17146).
Batch-norm statistics do not mix linearly, so those of the trained layers are estimated again after mixing (REPAIR,
arXiv 2211.08403). With share 0 or 1 the network is that end, bit for bit.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from fer.layers import LAYERS
from fer.model.vgg import channels_last, clone
from fer.runtime import Runtime


def interpolation_shares(alpha: float, slope: float = 0.0) -> list[float]:
    """Returns each layer's share of the adapted network, 13 numbers.

    Args:
        alpha: The first layer's share.
        slope: By how much the last layer's share is larger; it grows linearly with depth.
    """
    last = len(LAYERS) - 1
    return [alpha + slope * layer / last for layer in range(len(LAYERS))]


def interpolate(start: nn.Sequential, end: nn.Sequential, shares: Sequence[float]) -> nn.Sequential:
    """Returns the network θ0 + c (θ1 − θ0), layer by layer, parameters and batch-norm statistics alike.

    Args:
        start: The network of θ0, on any device.
        end: The network of θ1; the result is on its device.
        shares: The c of each of the thirteen layers.
    """
    mixed = clone(end)
    with torch.no_grad():
        for layer, start_layer, share in zip(mixed, start, shares, strict=True):
            start_tensors = start_layer.state_dict()
            for name, tensor in layer.state_dict().items():
                if tensor.is_floating_point():
                    tensor.copy_(torch.lerp(start_tensors[name].to(tensor.device), tensor, share))
                elif share == 0:  # batch-norm's counter of batches, which is not interpolated
                    tensor.copy_(start_tensors[name])
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
    """Estimates the batch-norm statistics of some layers again, as the plain mean over batches.

    Args:
        network: Changed in place; in evaluation mode afterwards.
        cut: The cut at which the batches are features.
        layers: The layers whose statistics are estimated; all other layers stay as they are.
        batches: Features at the cut, (n, *shape) each.
        runtime: Device and precision.
    """
    # The batch-norms of these layers, and the highest layer that has one.
    norms: list[nn.BatchNorm2d] = []
    highest = 0
    for layer in layers:
        for module in network[layer].modules():
            if isinstance(module, nn.BatchNorm2d):
                norms.append(module)
                highest = max(highest, layer)
    if not norms:
        return

    # A momentum of None stands for the cumulative mean.
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()

    # Forward passes update the statistics; no layer above the highest is needed.
    with torch.no_grad(), runtime.autocast():
        for inputs in batches:
            network[cut : highest + 1](channels_last(inputs))

    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
