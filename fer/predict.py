"""Using a network that a study left behind.

>>> network = load_network("runs/<study>/models/trial-0012.safetensors")
>>> probabilities = predict_image(network, "face.jpg")
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from fer import baseline
from fer.expressions import EXPRESSIONS
from fer.network import to_tensor
from fer.runtime import Runtime

_BATCH = 256


def load_network(path: str | Path) -> nn.Sequential:
    """Loads a network that a study saved, in evaluation mode, on the CPU.

    Raises:
        InputError: The file is not there, is damaged, or holds another network.
    """
    return baseline.load(Path(path), Runtime()).network


def predict_images(network: nn.Sequential, images: np.ndarray) -> np.ndarray:
    """Returns the probabilities (n, 7), in the order of `EXPRESSIONS`, for grey uint8 faces (n, 48, 48)."""
    with torch.inference_mode():
        parts = [
            network(to_tensor(torch.from_numpy(np.ascontiguousarray(images[start : start + _BATCH])))).softmax(1)
            for start in range(0, len(images), _BATCH)
        ]
    return torch.cat(parts).numpy()


def predict_image(network: nn.Sequential, path: str | Path, equalise: bool = False) -> dict[str, float]:
    """Finds the face in an image file as the datasets' reader does and returns each expression's probability.

    Args:
        network: From `load_network`.
        path: An image of one face.
        equalise: Whether the study equalised histograms (`--equalise`).

    Raises:
        InputError: The file is no readable image.
    """
    from fer.datasets.reading import read_face

    probabilities = predict_images(network, read_face(Path(path), equalise=equalise)[None])[0]
    return dict(zip(EXPRESSIONS, probabilities.tolist(), strict=True))
