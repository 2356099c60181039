"""How features lie in memory: images channels last, everything else as it is."""

import torch


def is_image(shape: tuple[int, ...]) -> bool:
    """Returns whether a sample's features are an image, (channels, height, width).

    Images are square here. So features whose last two lengths differ are none: Swin has (height, width, channels),
    which lie channels last already, and ViT tokens.
    """
    return len(shape) == 3 and shape[1] == shape[2]


def channels_last(inputs: torch.Tensor) -> torch.Tensor:
    """Lays images (n, channels, height, width) out channels last, which is quicker; returns others as they are."""
    if not is_image(tuple(inputs.shape[1:])):
        return inputs
    return inputs.to(memory_format=torch.channels_last)
