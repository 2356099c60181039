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


@dataclass(frozen=True)
class ImageFormat:
    """Images as they are read, and as a network takes them.

    Attributes:
        size: Height and width.
        colour: "grey" or "rgb": whether the colour of files that have it is kept.
        channels: Of the network's input, 1 or 3; grey images repeat their channel for a network of three.
        mean: Of each channel, levels from 0 to 1, subtracted before a network is given the images.
        std: Of each channel; what is left is divided by it.
    """

    size: int = SMALL
    colour: str = GREY
    channels: int = 1
    mean: tuple[float, ...] = _PAPER_MEAN
    std: tuple[float, ...] = _PAPER_STD

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the network's input."""
        return self.channels, self.size, self.size

    @property
    def is_paper(self) -> bool:
        """Whether it is the format of the paper's network, which no digest says."""
        return self == PAPER_FORMAT

    def digest_text(self) -> str:
        """Returns the format as it enters digests; empty for that of the paper's network."""
        return "" if self.is_paper else repr(self)

    def describe(self) -> str:
        """Returns size and colour in words."""
        return f"{self.size}×{self.size} {'colour' if self.colour == RGB else 'grey'}"


PAPER_FORMAT = ImageFormat()
"""Grey images of 48 rows and columns, from -2 to 2."""


def default_size(is_paper: bool) -> int:
    """Returns the size of a network's images unless the user says otherwise."""
    return SMALL if is_paper else LARGE


def default_colour(is_paper: bool) -> str:
    """Returns the colour of a network's images unless the user says otherwise."""
    return GREY if is_paper else RGB


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
    rule = f"{option} is one number, or three with commas, {'above 0 and up to' if is_std else 'from 0 to'} 1"
    example = IMAGENET_STD if is_std else IMAGENET_MEAN
    fix = f"Give what the network was trained with, such as {','.join(map(str, example))}."
    if len(levels) not in (1, 3):
        raise InputError(rule, f"{len(levels)} numbers", fix)
    for level in levels:
        if not 0 <= level <= 1 or (is_std and level == 0):
            raise InputError(rule, f"{level:g}", fix)


def of_channels(levels: Sequence[float], channels: int) -> tuple[float, ...]:
    """Returns a mean or a standard deviation for each channel; one number counts for all."""
    return tuple(levels) * channels if len(levels) == 1 else tuple(levels)
