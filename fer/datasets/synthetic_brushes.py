"""How shapes are laid over the pictures of synthetic faces: soft masks, and painting and shading through them.

Pictures and masks are float32 (n, height, width) with tones from 0 to 1; all functions work on n pictures at once.
"""

import numpy as np

Tone = np.ndarray | float


def soft_mask(distance: np.ndarray, edge: float = 0.05) -> np.ndarray:
    """Returns the mask of a shape: 1 inside, 0 outside, with a soft edge.

    Args:
        distance: Signed distance from the shape's outline, negative inside, in half image widths.
        edge: Width of the edge; the default is about a pixel.
    """
    mask = distance * np.float32(-1 / edge)
    mask += np.float32(0.5)
    return np.clip(mask, 0, 1, out=mask)


def bump(distance: np.ndarray, width: float) -> np.ndarray:
    """Returns a mask along a line: (1 - d²/w²)² of the distance d, 1 on the line; cheaper than a Gaussian.

    Args:
        distance: Distance from the line, of either sign, in half image widths.
        width: w, where the mask reaches 0.
    """
    mask = distance * np.float32(1 / width)
    mask *= mask
    np.subtract(1, mask, out=mask)
    np.maximum(mask, 0, out=mask)
    mask *= mask
    return mask


def paint(image: np.ndarray, mask: np.ndarray, tone: Tone) -> None:
    """Lays a tone over the image where the mask is; changes the image."""
    image += mask * (tone - image)


def shade(image: np.ndarray, mask: np.ndarray, amount: Tone) -> None:
    """Darkens the image by a share where the mask is; changes the image."""
    image *= 1 - mask * amount
