"""What an adaptation did inside a network: how alike its layers are to the baseline's, what its features still know."""

import numpy as np
import torch
from torch import nn

from fer.layers import LAYERS
from fer.model.vgg import to_tensor

_BATCH = 128


def linear_cka(one: np.ndarray, other: np.ndarray) -> float:
    """Returns how alike two representations of the same images are, 0…1 (Kornblith et al. 2019, arXiv 1905.00414).

    ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F) of centred features, computed from their Gram matrices; it does not see rotations and
    scales. NaN where either is constant. Few images for many features raise it, so compare only what is measured on as
    many images.

    Args:
        one: Features (n, p).
        other: Features (n, q).
    """
    grams = []
    for features in (one, other):
        centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
        grams.append(centred @ centred.T)
    scale = np.linalg.norm(grams[0]) * np.linalg.norm(grams[1])
    return float(np.sum(grams[0] * grams[1]) / scale) if scale > 0 else float("nan")


def layer_similarities(before: nn.Sequential, after: nn.Sequential, images: np.ndarray) -> dict[str, float]:
    """Returns the linear CKA of each layer's outputs in two networks on images uint8 (n, 48, 48).

    A few hundred images serve: the first layer's outputs alone are 147 KiB an image at a quarter of the width.
    """
    device = next(before.parameters()).device
    first = last = to_tensor(torch.from_numpy(np.array(images))).to(device)
    found = {}
    with torch.inference_mode():
        for name, layer, changed in zip(LAYERS, before.eval(), after.eval(), strict=True):
            # ReLUs work in place on what the layer itself made, never on its input.
            first, last = layer(first), changed(last)
            found[name] = linear_cka(first.flatten(1).cpu().numpy(), last.flatten(1).cpu().numpy())
    return found


def penultimate(network: nn.Sequential, images: np.ndarray) -> np.ndarray:
    """Returns the features (n, d) that the last layer sees of images uint8 (n, 48, 48)."""
    device = next(network.parameters()).device
    body = network[:-1].eval()
    with torch.inference_mode():
        parts = [
            body(to_tensor(torch.from_numpy(np.array(images[start : start + _BATCH]))).to(device)).flatten(1).cpu()
            for start in range(0, len(images), _BATCH)
        ]
    return torch.cat(parts).float().numpy()


def probe_accuracy(
    network: nn.Sequential, train: tuple[np.ndarray, np.ndarray], held_out: tuple[np.ndarray, np.ndarray]
) -> float:
    """Returns the accuracy of a fresh linear classifier on a network's penultimate features.

    What adaptation lowers here is lost from the features; what it does not was only displaced, and a new last layer
    would find it again (Davari et al. 2022, arXiv 2203.13381, whose ΔLP is after − before).

    Args:
        network: Whose last layer is left out.
        train: Images and labels that the classifier learns from.
        held_out: Images and labels that it is judged by.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    probe.fit(penultimate(network, train[0]), train[1])
    return float(probe.score(penultimate(network, held_out[0]), held_out[1]))
