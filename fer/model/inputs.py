"""From images to a network's input: channels repeated and levels scaled as the network's format says."""

import functools

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
    is_grey = images.dim() == 3
    if is_grey:
        images = images.unsqueeze(1)
    if image_format.channels == 1:
        mean = _LEVELS * image_format.mean[0]
        return images.float().sub_(mean).mul_(1 / (_LEVELS * image_format.std[0]))

    mean_of_channel, factor_of_channel = _scaling(image_format, images.device)
    if is_grey:
        return (images.float() - mean_of_channel).mul_(factor_of_channel)  # (3, 1, 1) makes three channels of one
    return images.float().sub_(mean_of_channel).mul_(factor_of_channel)


@functools.lru_cache(maxsize=8)
def _scaling(image_format: ImageFormat, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns what is subtracted from each channel and what it is multiplied by then, float32 (channels, 1, 1)."""
    means = [_LEVELS * mean for mean in image_format.mean]
    factors = [1 / (_LEVELS * std) for std in image_format.std]
    shape = (image_format.channels, 1, 1)
    return torch.tensor(means, device=device).view(shape), torch.tensor(factors, device=device).view(shape)
