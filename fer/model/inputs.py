"""From images to a network's input: channels repeated and levels scaled as the network's format says."""

import torch

from fer.image_format import PAPER_FORMAT, ImageFormat

_LEVELS = 255
"""The highest level of an image; means and standard deviations are given for levels from 0 to 1."""


def to_tensor(images: torch.Tensor, image_format: ImageFormat = PAPER_FORMAT) -> torch.Tensor:
    """Turns images into a network's input.

    Args:
        images: uint8 (n, size, size), grey; or (n, 3, size, size), red, green and blue.
        image_format: Of the network; by default that of vgg13, from -2 to 2.

    Returns:
        float32 (n, channels, size, size); grey images repeat their channel.
    """
    if images.dim() == 3:
        images = images.unsqueeze(1)
    if image_format.channels == 1:
        return _scale(images, image_format.mean[0], image_format.std[0])

    # Numbers for each channel rather than one tensor of them, which would be moved to the device at every step.
    channels = images.expand(-1, image_format.channels, -1, -1).unbind(1)
    scaling = zip(channels, image_format.mean, image_format.std, strict=True)
    return torch.stack([_scale(channel, mean, std) for channel, mean, std in scaling], 1)


def _scale(levels: torch.Tensor, mean: float, std: float) -> torch.Tensor:
    """Returns levels from 0 to 255 as float32, less a mean and divided by a standard deviation, both from 0 to 1."""
    return levels.float().sub_(_LEVELS * mean).mul_(1 / (_LEVELS * std))
