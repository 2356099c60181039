"""What an adaptation did inside a network: how similar its blocks are to the baseline's, what its features hold."""

import numpy as np
import torch
from torch import nn

from fer.image_format import PAPER_FORMAT, ImageFormat
from fer.model.inputs import to_tensor

_BATCH = 128


def linear_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Computes the similarity of two representations of the same images (Kornblith et al. 2019, arXiv 1905.00414).

    Linear centred kernel alignment is ‖YᵀX‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F) of centred features X and Y, computed here from
    their Gram matrices. Rotating or scaling the features does not change it. Few images for many features raise it, so
    only similarities that were measured on equally many images can be compared.

    Args:
        first: Features (n, p).
        second: Features (n, q).

    Returns:
        0 to 1; NaN where either representation is constant.
    """
    first_gram = _centred_gram(first)
    second_gram = _centred_gram(second)
    scale = np.linalg.norm(first_gram) * np.linalg.norm(second_gram)
    if scale == 0:
        return float("nan")
    return float(np.sum(first_gram * second_gram) / scale)


def _centred_gram(features: np.ndarray) -> np.ndarray:
    """Returns the inner products of all pairs of centred rows of features (n, p), float64 (n, n)."""
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    return centred @ centred.T


def layer_similarities(
    before: nn.Sequential, after: nn.Sequential, images: np.ndarray, image_format: ImageFormat = PAPER_FORMAT
) -> dict[str, float]:
    """Computes the linear CKA of each block's outputs in two networks.

    Args:
        before: The baseline; in evaluation mode afterwards.
        after: The adapted network, on the same device; in evaluation mode afterwards.
        images: uint8 (n, size, size) or (n, 3, size, size). A few hundred suffice: the first outputs of vgg13 alone
            are 147 KiB an image at a quarter of the width.
        image_format: Of both networks.

    Returns:
        The similarity by the block's name, in the order of the blocks.
    """
    before_outputs = _as_inputs(before, images, image_format)
    after_outputs = before_outputs
    similarities = {}
    with torch.inference_mode():
        for (name, before_layer), after_layer in zip(before.eval().named_children(), after.eval(), strict=True):
            # ReLUs work in place on what the layer itself made, never on its input.
            before_outputs = before_layer(before_outputs)
            after_outputs = after_layer(after_outputs)
            similarities[name] = linear_cka(
                before_outputs.flatten(1).cpu().numpy(), after_outputs.flatten(1).cpu().numpy()
            )
    return similarities


def penultimate(network: nn.Sequential, images: np.ndarray, image_format: ImageFormat = PAPER_FORMAT) -> np.ndarray:
    """Computes the features that the last block sees.

    Args:
        network: The network; all but its last block is in evaluation mode afterwards.
        images: uint8 (n, size, size) or (n, 3, size, size).
        image_format: Of the network.

    Returns:
        float32 (n, d).
    """
    body = network[:-1].eval()
    batches = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            inputs = _as_inputs(network, images[start : start + _BATCH], image_format)
            batches.append(body(inputs).flatten(1).cpu())
    return torch.cat(batches).float().numpy()


def _as_inputs(network: nn.Sequential, images: np.ndarray, image_format: ImageFormat) -> torch.Tensor:
    """Returns images uint8 (n, …) as a network's inputs (n, *image_format.shape), on its device."""
    device = next(network.parameters()).device
    # A copy, because torch warns of arrays that it may not write to.
    return to_tensor(torch.from_numpy(np.array(images)), image_format).to(device)


def probe_accuracy(
    network: nn.Sequential,
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    image_format: ImageFormat = PAPER_FORMAT,
) -> float:
    """Returns the accuracy of a new linear classifier on a network's penultimate features.

    If an adaptation lowers it, the features lost something. If only the network's own accuracy falls, nothing is lost
    from the features, and a new last layer would recover it (Davari et al. 2022, arXiv 2203.13381, whose ΔLP is after −
    before).

    Args:
        network: Its last block is left out.
        train: Images uint8 (n, …) and labels (n,) that the classifier is fitted to.
        held_out: Images uint8 (m, …) and labels (m,) that it is evaluated on.
        image_format: Of the network.
    """
    # It takes seconds to import, and only this function needs it.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    train_images, train_labels = train
    held_out_images, held_out_labels = held_out
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    probe.fit(penultimate(network, train_images, image_format), train_labels)
    return float(probe.score(penultimate(network, held_out_images, image_format), held_out_labels))
