"""Networks between the baseline and an adapted one, in weight space.

Linear interpolation (WiSE-FT, arXiv 2109.01903) with coefficients that may grow with depth (LiNeS, arXiv 2410.17146).
Batch-norm statistics do not mix linearly, so those of the trained blocks are estimated again after mixing (REPAIR,
arXiv 2211.08403). With share 0 or 1 the network is that end, bit for bit.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from fer.model.equality import NORMS, Norm
from fer.model.layout import channels_last
from fer.model.vgg import clone
from fer.runtime import Runtime


def interpolation_shares(blocks: int, alpha: float, slope: float = 0.0) -> list[float]:
    """Returns each block's share of the adapted network.

    Args:
        blocks: Their number.
        alpha: The first block's share.
        slope: By how much the last block's share is larger; it grows linearly with depth.
    """
    last = blocks - 1
    return [alpha + slope * block / last for block in range(blocks)]


def interpolate(start: nn.Sequential, end: nn.Sequential, shares: Sequence[float]) -> nn.Sequential:
    """Returns the network θ0 + c (θ1 − θ0), block by block, parameters and batch-norm statistics alike.

    Args:
        start: The network of θ0, on any device.
        end: The network of θ1; the result is on its device.
        shares: The c of each block.
    """
    mixed = clone(end)
    with torch.no_grad():
        for block, start_block, share in zip(mixed, start, shares, strict=True):
            start_tensors = start_block.state_dict()
            for name, tensor in block.state_dict().items():
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
    network: nn.Sequential, cut: int, blocks: Sequence[int], batches: Iterable[torch.Tensor], runtime: Runtime
) -> None:
    """Estimates the batch-norm statistics of some blocks again, as the plain mean over batches.

    Args:
        network: Changed in place; in evaluation mode afterwards.
        cut: The cut at which the batches are features.
        blocks: The blocks whose statistics are estimated; all others stay as they are.
        batches: Features at the cut, (n, *shape) each.
        runtime: Device and precision.
    """
    # The batch-norms of these blocks, and the highest block that has one.
    norms: list[Norm] = []
    highest = 0
    for block in blocks:
        for module in network[block].modules():
            if isinstance(module, NORMS):
                norms.append(module)
                highest = max(highest, block)
    if not norms:
        return

    # A momentum of None stands for the cumulative mean.
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()

    # Forward passes update the statistics; no block above the highest is needed.
    with torch.no_grad(), runtime.autocast():
        for inputs in batches:
            network[cut : highest + 1](channels_last(inputs))

    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
