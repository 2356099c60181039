"""Augmentation: a finite number V of seeded views per image.

View v of image i is a pure function of (recipe, dataset digest, split, i, v): flip, shift, small rotation and zoom, and
a square that is erased. Cached and uncached training therefore see the very same pixels, and a cache of
frozen features is exact. View 0 is the image itself.
"""

import numpy as np
import torch
import torch.nn.functional as F

from fer.config import ViewRecipe
from fer.image_format import SMALL


def _uniform(seed: int, images: np.ndarray, views: np.ndarray, columns: int) -> np.ndarray:
    """Returns uniform numbers in [0, 1), (n, columns), each row a function of (seed, image, view) alone.

    The numbers are hashes by the mixing function of splitmix64 (Steele, Lea and Flood 2014), so a view needs no random
    state, and all views of a batch are computed at once.
    """
    with np.errstate(over="ignore"):
        # A key for each number.
        key = images.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        key += views.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03) + np.uint64(seed)
        key = key[:, None] + np.arange(1, columns + 1, dtype=np.uint64) * np.uint64(0x8CB92BA72F3D8DD7)

        # The key's hash.
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
        key ^= key >> np.uint64(31)

    # The upper 53 bits are as many as a double holds.
    return (key >> np.uint64(11)).astype(np.float64) * 2.0**-53


def render(pixels: torch.Tensor, images: np.ndarray, views: np.ndarray, recipe: ViewRecipe, seed: int) -> torch.Tensor:
    """Draws one view of each image.

    Args:
        pixels: uint8 (n, size, size) or (n, 3, size, size), the images themselves, on any device.
        images: int (n,), their numbers in their split.
        views: int (n,), which view of each; 0 returns the image unchanged. Any view number is defined, also beyond
            `recipe.count`: the baseline's training uses a new view at every epoch.
        recipe: The augmentation.
        seed: From the dataset's digest and split.

    Returns:
        uint8 of the same shape, on the same device.
    """
    n = len(pixels)
    size = pixels.shape[-1]
    is_grey = pixels.dim() == 3

    # Nine uniform numbers for each view: one each for rotation, zoom and flip, two for the shift, four for erasing.
    uniform = torch.from_numpy(_uniform(seed, images, views, 9).astype(np.float32)).to(pixels.device)
    for_rotation = uniform[:, 0]
    for_zoom = uniform[:, 1]
    for_flip = uniform[:, 2]
    for_shift = uniform[:, 3:5]
    for_erasing = uniform[:, 5:9]

    # What each view does to its image; a width is 2 in the affine map's units, and 48 in those of the recipe.
    angle = (2 * for_rotation - 1) * np.deg2rad(recipe.rotation)
    zoom = 1 + (2 * for_zoom - 1) * recipe.scale
    mirror = torch.where(for_flip < recipe.flip, -1.0, 1.0)
    shift = (2 * for_shift - 1) * (2 * recipe.shift / SMALL)

    # Rotation, zoom, flip and shift as one affine map of each image, (n, 2, 3), for all of its channels.
    cos = torch.cos(angle) * zoom
    sin = torch.sin(angle) * zoom
    theta = torch.stack([cos * mirror, -sin, shift[:, 0], sin * mirror, cos, shift[:, 1]], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, [n, 1, size, size], align_corners=False)
    originals = pixels.unsqueeze(1) if is_grey else pixels  # (n, channels, size, size)
    transformed = F.grid_sample(originals.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)

    # Erasing comes last, in floating point.
    erased = _erase(transformed, for_erasing, recipe.erase)
    rendered = erased.round_().clamp_(0, 255).to(torch.uint8)

    # View 0 is the image itself.
    is_original = torch.from_numpy(views == 0).to(pixels.device).view(n, 1, 1, 1)
    result = torch.where(is_original, originals, rendered)
    return result.squeeze(1) if is_grey else result


def _erase(images: torch.Tensor, uniform: torch.Tensor, chance: float) -> torch.Tensor:
    """Replaces a square by each channel's mean in the image, with a given probability.

    Args:
        images: float32 (n, channels, size, size).
        uniform: Uniform numbers (n, 4): whether to erase, the square's length, and its centre's row and column.
        chance: The probability.

    Returns:
        float32 (n, channels, size, size).
    """
    # The square, in pixels: an edge of 25 to 40 % of the image's, and a centre anywhere.
    size = images.shape[-1]
    edge = size * (0.25 + 0.15 * uniform[:, 1])
    centre = uniform[:, 2:4] * size

    # Which rows and columns it covers, (n, size) each.
    pixel_centres = torch.arange(size, device=images.device) + 0.5
    in_rows = (pixel_centres[None, :] - centre[:, :1]).abs() < edge[:, None] / 2
    in_columns = (pixel_centres[None, :] - centre[:, 1:]).abs() < edge[:, None] / 2

    is_chosen = uniform[:, :1, None] < chance
    is_erased = in_rows[:, :, None] & in_columns[:, None, :] & is_chosen
    return torch.where(is_erased[:, None], images.mean((2, 3), keepdim=True), images)
