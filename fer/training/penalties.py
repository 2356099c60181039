"""Penalties, added to a step's cross-entropy, that hold an adaptation near its baseline.

On weights, ½ Σ Ω (θ − θ0)², with Ω = 1 (L2-SP, arXiv 1802.01483, published with ½ α), the Fisher information (EWC,
arXiv 1612.00796, ½ λ) or the output's sensitivity (MAS, arXiv 1711.09601, whose λ has no ½: its λ is half of ours).
On outputs, against what the baseline gives for the same view of the same image.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import nn

from fer.tensor_files import DamagedTensorFile
from fer.tensors import load_tensors, save_tensors
from fer.told_progress import OnProgress

IMPORTANCE_SAMPLES = 512
LARGEST_IMPORTANCE = 100.0
"""Importances are scaled to a mean of 1 and capped: their tail is long, and lr × weight × Ω > 2 would diverge."""


def weight_penalty(
    parameters: Mapping[str, torch.Tensor],
    start: Mapping[str, torch.Tensor],
    importance: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Returns ½ Σ Ω (θ − θ0)² over the named parameters.

    Args:
        parameters: θ, by name.
        start: θ0, by name; it may hold further ones.
        importance: Ω, by name; None stands for 1 everywhere.
    """
    terms = []
    for name, parameter in parameters.items():
        squared = (parameter - start[name]).square()
        if importance is not None:
            squared = squared * importance[name]
        terms.append(squared.sum())
    return 0.5 * torch.stack(terms).sum()


def logit_distance(logits: torch.Tensor, reference: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns T² KL(p0 ‖ p), the mean over samples (n, classes), both softened by the temperature T.

    T² keeps the gradient's size independent of T (Hinton et al. 2015, arXiv 1503.02531); LwF (arXiv 1606.09282)
    uses T = 2.
    """
    log_p = F.log_softmax(logits / temperature, 1)
    log_p0 = F.log_softmax(reference / temperature, 1)
    return temperature**2 * F.kl_div(log_p, log_p0, reduction="batchmean", log_target=True)


def feature_distance(features: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Returns ½ ‖f − f0‖², the mean over samples (n, d) (less-forgetting learning, arXiv 1607.00122)."""
    return 0.5 * (features - reference).flatten(1).square().sum(1).mean()


def replay_distance(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Returns the mean squared difference of logits (n, classes) on replayed images (DER++, arXiv 2004.07211)."""
    return F.mse_loss(logits, reference)


def importance(
    network: nn.Sequential,
    kind: str,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    on_image: OnProgress = lambda done, total: None,
) -> dict[str, torch.Tensor]:
    """Returns each parameter's importance to the baseline, scaled to a mean of 1 and capped.

    Args:
        network: Neither its parameters nor its buffers change; it is in evaluation mode afterwards.
        kind: "fisher" is the mean over samples of the squared gradient of log p(label), the empirical Fisher
            information; "mas" is the mean over samples of the absolute gradient of ‖logits‖².
        inputs: The network's, (n, channels, size, size).
        labels: (n,).
        on_image: Called after each image with how many are done, and how many there are.

    Returns:
        By name, the importance of each parameter, of its shape.
    """
    is_fisher = kind == "fisher"
    parameters = {name: p.detach().clone().requires_grad_(True) for name, p in network.named_parameters()}
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    network.eval()

    # Sum over samples, one at a time: the square of a batch's gradient is not the sum of the squares.
    # On a processor that is quickest as well: side by side (torch.func.vmap) they took 1.2 to 2.3 times as long.
    for number, (image, label) in enumerate(zip(inputs.split(1), labels.split(1), strict=True), 1):
        logits = torch.func.functional_call(network, parameters, (image,)).float()
        output = F.cross_entropy(logits, label) if is_fisher else logits.square().sum()
        gradients = torch.autograd.grad(output, list(parameters.values()))
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += gradient.square() if is_fisher else gradient.abs()
        on_image(number, len(inputs))

    # Scale to a mean of 1 over all parameters, and cap.
    count = sum(total.numel() for total in sums.values())
    mean = max(sum(float(total.sum()) for total in sums.values()) / count, 1e-30)
    return {name: (total / mean).clamp(max=LARGEST_IMPORTANCE) for name, total in sums.items()}


def cached_importance(path: Path, compute: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Returns the importances that an earlier trial wrote to a file, or computes and writes them.

    Of several processes one computes, and the others wait for it.

    Args:
        path: A safetensors file, named after all that the importances depend on; a damaged one is written again.
        compute: Returns the importances by name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            try:
                return load_tensors(path, needs_checksum=True)[1]
            except (DamagedTensorFile, OSError):
                path.unlink()
        importances = compute()
        save_tensors(path, importances, {})
        return importances


def choose_balanced(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the numbers of some images, as evenly over the expressions as their numbers allow.

    Args:
        labels: int64 (n,).
        count: How many images are chosen; all of them if there are no more.
        rng: Of the choice.

    Returns:
        int64 (min(count, n),), ascending.
    """
    if count >= len(labels):
        return np.arange(len(labels))

    # Each image's place among those of its expression, in random order.
    rank = np.empty(len(labels), int)
    for expression in np.unique(labels):
        images = rng.permutation(np.flatnonzero(labels == expression))
        rank[images] = np.arange(len(images))

    # First those of rank 0, one per expression, then those of rank 1, …; within a rank by chance.
    order = np.lexsort((rng.random(len(labels)), rank))
    return np.sort(order[:count])
