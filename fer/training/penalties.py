"""What holds an adaptation near its baseline: penalties that are added to a step's cross-entropy.

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

IMPORTANCE_SAMPLES = 512
LARGEST_IMPORTANCE = 100.0
"""Importances are scaled to a mean of 1 and capped: their tail is long, and lr × weight × Ω > 2 would diverge."""


def weight_penalty(
    parameters: Mapping[str, torch.Tensor],
    start: Mapping[str, torch.Tensor],
    importance: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Returns ½ Σ Ω (θ − θ0)² over the named parameters; without importances Ω is 1 everywhere."""
    terms = []
    for name, parameter in parameters.items():
        squared = (parameter - start[name]).square()
        terms.append((squared if importance is None else squared * importance[name]).sum())
    return 0.5 * torch.stack(terms).sum()


def logit_distance(logits: torch.Tensor, reference: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns T² KL(p0 ‖ p), the mean over samples (n, 7), both softened by the temperature T.

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
    """Returns the mean squared difference of logits (n, 7) on replayed images (DER++, arXiv 2004.07211)."""
    return F.mse_loss(logits, reference)


def importance(
    network: nn.Sequential, kind: str, inputs: torch.Tensor, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Returns each parameter's importance to the baseline, scaled to a mean of 1 and capped.

    fisher: the mean over samples of the squared gradient of log p(label), the empirical Fisher information.
    mas: the mean over samples of the absolute gradient of ‖logits‖².

    Args:
        network: In evaluation mode; neither its parameters nor its buffers change.
        kind: "fisher" or "mas".
        inputs: (n, 1, 48, 48).
        labels: (n,).
    """
    parameters = {name: p.detach().clone().requires_grad_(True) for name, p in network.named_parameters()}
    sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
    network.eval()
    for image, label in zip(inputs.split(1), labels.split(1), strict=True):
        logits = torch.func.functional_call(network, parameters, (image,)).float()
        goal = F.cross_entropy(logits, label) if kind == "fisher" else logits.square().sum()
        gradients = torch.autograd.grad(goal, list(parameters.values()))
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += gradient.square() if kind == "fisher" else gradient.abs()
    mean = sum(float(total.sum()) for total in sums.values()) / sum(total.numel() for total in sums.values())
    return {name: (total / max(mean, 1e-30)).clamp(max=LARGEST_IMPORTANCE) for name, total in sums.items()}


def cached_importance(path: Path, compute: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Returns what an earlier trial computed and kept in a safetensors file, or computes and keeps it.

    A file that does not match its checksum is computed again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            try:
                return load_tensors(path, needs_checksum=True)[1]
            except (DamagedTensorFile, OSError):
                path.unlink()
        found = compute()
        save_tensors(path, found, {})
        return found


def choose_balanced(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the numbers of `count` images, as evenly over the expressions as their numbers allow."""
    if count >= len(labels):
        return np.arange(len(labels))
    rank = np.empty(len(labels), int)  # each image's place among those of its expression, in random order
    for expression in np.unique(labels):
        of_it = rng.permutation(np.flatnonzero(labels == expression))
        rank[of_it] = np.arange(len(of_it))
    order = np.lexsort((rng.random(len(labels)), rank))
    return np.sort(order[:count])
