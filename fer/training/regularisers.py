"""What a training changes in a step's samples, labels or gradients: mixup, label smoothing, sharpness-aware steps."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fer.model.equality import NORMS


def mix(
    inputs: torch.Tensor, labels: torch.Tensor, classes: int, alpha: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixes pairs of samples and of their labels (mixup, Zhang et al. 2018, arXiv 1710.09412).

    Args:
        inputs: (n, *shape), images or, above frozen blocks, features.
        labels: (n,).
        classes: Number of logits.
        alpha: Of the Beta distribution that the shares of a pair are drawn from.
        rng: Draws share and pairs.

    Returns:
        The mixed inputs, and the class shares (n, classes) that take the place of the labels.
    """
    # The share that each sample keeps of itself, and the partner that gives the rest.
    share = float(rng.beta(alpha, alpha))
    partners = torch.from_numpy(rng.permutation(len(labels))).to(labels.device)

    # Samples and labels are mixed alike.
    class_shares = _class_shares(labels, classes)
    mixed_inputs = torch.lerp(inputs[partners], inputs, share)
    mixed_shares = torch.lerp(class_shares[partners], class_shares, share)
    return mixed_inputs, mixed_shares


def smooth(target: torch.Tensor, classes: int, strength: float) -> torch.Tensor:
    """Returns the class shares (n, classes) that cross-entropy's label smoothing stands for.

    Args:
        target: Labels (n,) or class shares (n, classes).
        classes: Number of logits.
        strength: How much of each share is spread over all classes.
    """
    uniform = torch.full((), 1 / classes, device=target.device)
    return torch.lerp(_class_shares(target, classes), uniform, strength)


def _class_shares(target: torch.Tensor, classes: int) -> torch.Tensor:
    """Returns labels (n,) as class shares (n, classes); class shares as they are."""
    is_labels = target.dim() == 1
    return F.one_hot(target, classes).float() if is_labels else target


def sharpen(
    network: nn.Sequential, parameters: list[nn.Parameter], radius: float, backward: Callable[[], torch.Tensor]
) -> None:
    """Replaces each gradient by that at the worst point near by (SAM, Foret et al. 2021, arXiv 2010.01412).

    Batch-norm statistics count the step's batch once.

    Args:
        network: The network that trains.
        parameters: Its parameters; those with a gradient get another one.
        radius: How far the worst point is from the present one.
        backward: Runs a forward and backward pass of the step's batch.
    """
    gradients = {p: p.grad for p in parameters if p.grad is not None}
    length = torch.stack([gradient.norm() for gradient in gradients.values()]).norm().clamp(min=1e-12)
    before = {p: p.detach().clone() for p in gradients}

    # To the worst point within the radius.
    with torch.no_grad():
        for p, gradient in gradients.items():
            p.add_(gradient * (radius / length))
            p.grad = None

    # The gradient there, with the statistics of batch-norms left as they are.
    norms = [module for module in network.modules() if isinstance(module, NORMS) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    backward()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

    # Back to where the step started.
    with torch.no_grad():
        for p, value in before.items():
            p.copy_(value)
