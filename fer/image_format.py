"""The images of a study: their size, their colour, and how a network's input is made of them. Light to import."""

from collections.abc import Sequence
from dataclasses import dataclass

from fer.errors import InputError

GREY, RGB = "grey", "rgb"
COLOURS = (GREY, RGB)
SMALL = 48
"""Height and width of the images of FER2013, CK+48 and the paper's network."""
LARGE = 112
"""Height and width of the images of every other network, unless the user says otherwise."""
SMALLEST, LARGEST = 16, 1024

# The paper's network: levels from 0 to 255 become numbers from -2 to 2.
_PAPER_MEAN = (128 / 255,)
_PAPER_STD = (64 / 255,)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Of red, green and blue, 0 to 1, as torchvision's and most of timm's pretrained networks were given them."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviations of red, green and blue, 0 to 1."""
_GREY_MEAN = (0.449,)
_GREY_STD = (0.226,)
"""The means of these, for a network of the user's own that takes one channel."""
_SMALLEST_STD = 1e-6


@dataclass(frozen=True)
class ImageFormat:
    """Images as a network takes them.

    Attributes:
        size: Height and width.
        channels: 1 or 3; grey images repeat their channel for a network of three.
        mean: Of each channel, for levels from 0 to 1; it is subtracted from the images.
        std: Of each channel; what is left is divided by it.
    """

    size: int = SMALL
    channels: int = 1
    mean: tuple[float, ...] = _PAPER_MEAN
    std: tuple[float, ...] = _PAPER_STD

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a network's input."""
        return self.channels, self.size, self.size


PAPER_FORMAT = ImageFormat()
"""That of the paper's network: grey images of 48 rows and columns, from -2 to 2."""


def default_size(is_paper: bool) -> int:
    """Returns the size of a network's images unless the user says otherwise."""
    return SMALL if is_paper else LARGE


def default_colour(is_paper: bool) -> str:
    """Returns the colour in which images are read for a network unless the user says otherwise."""
    return GREY if is_paper else RGB


def default_levels(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation of each channel, as other networks than the paper's are given images."""
    return (IMAGENET_MEAN, IMAGENET_STD) if channels == len(IMAGENET_MEAN) else (_GREY_MEAN, _GREY_STD)


def levels_of(levels: Sequence[float], channels: int, option: str) -> tuple[float, ...]:
    """Returns a mean or a standard deviation for each channel of a network; one number counts for all.

    Raises:
        InputError: There are three numbers for a network of one channel.
    """
    if len(levels) == 1:
        return tuple(levels) * channels
    if len(levels) != channels:
        raise InputError(
            f"{option} has a number for each channel of the network",
            f"{len(levels)} for {channels}",
            "Give one number.",
        )
    return tuple(levels)


def check_size(size: int, option: str = "--image-size") -> None:
    """Raises InputError for a size that no images can have."""
    if not SMALLEST <= size <= LARGEST:
        raise InputError(
            f"{option} is the images' rows and columns, {SMALLEST} to {LARGEST}", size, "Give a size such as 112."
        )


def check_levels(levels: Sequence[float], option: str) -> None:
    """Raises InputError for a mean or a standard deviation that no images can have.

    Args:
        levels: Of one channel, or of red, green and blue.
        option: "--mean" or "--std".
    """
    is_std = option == "--std"
    rule = f"{option} is one number, or three with commas, {'above 0, up to' if is_std else 'from 0 to'} 1"
    example = IMAGENET_STD if is_std else IMAGENET_MEAN
    fix = f"Give what the network was trained with, such as {format_levels(example)}."
    if len(levels) not in (1, 3):
        raise InputError(rule, f"{len(levels)} numbers", fix)
    lowest = _SMALLEST_STD if is_std else 0.0
    for level in levels:
        if not lowest <= level <= 1:  # nor is NaN
            raise InputError(rule, f"{level:g}", fix)


def format_levels(levels: Sequence[float]) -> str:
    """Returns a mean or a standard deviation as an option is written."""
    return ",".join(repr(level) for level in levels)
