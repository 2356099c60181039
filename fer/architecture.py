"""What a study's record keeps of its network, so that a process without torch knows its blocks.

A network is an ordered list of blocks (`fer.model.blocks`). Strategies count them: a frozen prefix is a number of
blocks, and the head is the blocks that follow the last feature map.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from fer.errors import InputError, printable, shorten
from fer.image_format import PAPER_FORMAT, ImageFormat, default_levels, format_levels

PAPER = "vgg13"
"""The name of the paper's network, the default."""
_PAPER_IN_WORDS = "VGG-13"
"""How early records describe it: "VGG-13, 48×48 grey (arXiv 1905.12082)"."""
UNKNOWN = "unknown network"
"""The name of the network of a record whose name cannot be read."""
TIMM = "timm:"
"""How the name of a network of timm begins."""

_COLOURS = {1: "grey", 3: "in three channels"}


@dataclass(frozen=True)
class Depth:
    """How many blocks a network has, and what they are, as far as hyperparameters depend on it.

    Attributes:
        blocks: Number of blocks.
        head: Number of blocks before the head.
        normed: Number of blocks up to the last one with a batch-norm, 0 where none has one.
    """

    blocks: int = 13
    head: int = 10
    normed: int = 10

    @property
    def last(self) -> int:
        """The number of the last block, from 0; also the largest number of blocks that a training may freeze."""
        return self.blocks - 1

    def blocks_at(self, share: float) -> int:
        """Returns the number of blocks, 1 at least and not all, that are nearest to a share of the depth."""
        return min(max(1, round(share * self.blocks)), self.last)


@dataclass(frozen=True)
class Architecture:
    """A network without its weights.

    That of a damaged record has no blocks, see `is_known`.

    Attributes:
        name: As `fer.model.networks.build_network` takes it.
        channels: Of the images that it is given, 1 or 3.
        size: Height and width of the images.
        classes: Number of logits.
        blocks: The names of its blocks, in order.
        head: Number of blocks before the head.
        normed: The names of the blocks that have a batch-norm.
        mean: Of each channel of the images, see `fer.image_format.ImageFormat`.
        std: Of each channel of the images.
        width: Factor on the layers' channels, of vgg13 alone; 1 for every other network.
        structure: Hash of its modules and of the code that it is made of (`fer.model.plans.structure_digest`); empty
            for vgg13, which this program builds itself.
        former_structure: The hash of the same network as earlier versions computed it, over the bytes of source files;
            empty where it is the same.
    """

    name: str
    channels: int
    size: int
    classes: int
    blocks: tuple[str, ...]
    head: int
    normed: tuple[str, ...]
    mean: tuple[float, ...] = PAPER_FORMAT.mean
    std: tuple[float, ...] = PAPER_FORMAT.std
    width: float = 1.0
    structure: str = ""
    former_structure: str = field(default="", compare=False, repr=False)

    @property
    def depth(self) -> Depth:
        """What hyperparameters depend on."""
        positions = [number for number, name in enumerate(self.blocks, 1) if name in self.normed]
        return Depth(len(self.blocks), self.head, max(positions, default=0))

    @property
    def images(self) -> ImageFormat:
        """The images as the network takes them."""
        return ImageFormat(self.size, self.channels, self.mean, self.std)

    @property
    def is_paper(self) -> bool:
        """Whether it is the paper's network, of any width."""
        return self.name == PAPER

    @property
    def is_known(self) -> bool:
        """Whether its blocks are known; those of a network that a damaged record names are not."""
        return bool(self.blocks)

    def describe(self) -> str:
        """Returns a few words: name, and size and channels of its images."""
        if not self.is_known:
            return f"unknown: the record names {shorten(printable(self.name), 60)}, and other entries of it are damaged"
        name = _PAPER_IN_WORDS if self.is_paper else self.name
        source = " (arXiv 1905.12082)" if self.is_paper else ""
        return f"{name}, {self.size}×{self.size} {_COLOURS.get(self.channels, _COLOURS[3])}{source}"

    def shown_blocks(self, most: int = 5) -> tuple[str, ...]:
        """Returns the names of a few blocks, spread over the depth, for a table that has no room for all.

        The last block, which gives the logits, is left out.
        """
        if self.is_paper and most == len(_SHOWN_OF_PAPER):
            return _SHOWN_OF_PAPER
        candidates = self.blocks[:-1]
        if len(candidates) <= most:
            return candidates
        steps = most - 1
        return tuple(candidates[round(step * (len(candidates) - 1) / steps)] for step in range(most))

    def to_json(self) -> dict[str, Any]:
        """Returns the entries of a record."""
        entries = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        for optional in ("structure", "former_structure"):
            if not entries[optional]:
                del entries[optional]
        return entries

    def is_structure(self, recorded: str) -> bool:
        """Returns whether a recorded hash is that of this network's structure, as it is computed now or was once."""
        return recorded == self.structure or (recorded != "" and recorded == self.former_structure)

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """Returns the architecture of a record's entries.

        A record that names no network, or vgg13, is of a time that knew no other: what it lacks is vgg13's. Entries
        that name another network and do not fit together give one without blocks, for reports; who trains refuses it.
        """
        entries = stored if isinstance(stored, Mapping) else {}
        architecture = _read(cls, entries)
        if architecture is not None:
            return architecture
        if _names_another(entries):
            return cls(**vars(_without_blocks(entries)))
        return cls(**vars(replace(VGG13, width=_width(entries.get("width")))))


def _read(kind: type["Architecture"], entries: Mapping[Any, Any]) -> Any:  # noqa: ANN401  of a subclass as well
    """Returns the architecture that entries describe; None where one is missing or odd."""
    name = entries.get("name")
    blocks = _texts(entries.get("blocks"))
    channels, size, classes, head = (_count(entries.get(key)) for key in ("channels", "size", "classes", "head"))
    if not isinstance(name, str) or not channels or not size or not classes or not 0 < head < len(blocks):
        return None
    structure, former = (entries.get(key) for key in ("structure", "former_structure"))
    usual = (PAPER_FORMAT.mean, PAPER_FORMAT.std) if name == PAPER else default_levels(channels)
    return kind(
        name=name,
        channels=channels,
        size=size,
        classes=classes,
        blocks=blocks,
        head=head,
        normed=_texts(entries.get("normed")),
        mean=_levels(entries.get("mean")) or usual[0],
        std=_levels(entries.get("std")) or usual[1],
        width=_width(entries.get("width")),
        structure=structure if isinstance(structure, str) else "",
        former_structure=former if isinstance(former, str) else "",
    )


def _names_another(entries: Mapping[Any, Any]) -> bool:
    """Returns whether entries name a network that is not vgg13, which early records describe in words."""
    name = entries.get("name", PAPER)
    return not isinstance(name, str) or not (name == PAPER or name.startswith(_PAPER_IN_WORDS))


def _without_blocks(entries: Mapping[Any, Any]) -> "Architecture":
    """Returns what can be read of damaged entries."""
    name = entries.get("name")
    images = {key: _count(entries.get(key)) or getattr(VGG13, key) for key in ("size", "classes")}
    channels = 1 if entries.get("channels") == 1 else 3
    mean, std = default_levels(channels)
    is_readable = isinstance(name, str)
    return Architecture(
        name=str(name) if is_readable else UNKNOWN,
        channels=channels,
        size=images["size"],
        classes=images["classes"],
        blocks=(),
        head=0,
        normed=(),
        mean=mean,
        std=std,
    )


def _count(stored: object) -> int:
    """Returns a stored whole number above 0, and 0 in place of anything else."""
    if not isinstance(stored, int) or isinstance(stored, bool):
        return 0
    return max(stored, 0)


def _texts(stored: object) -> tuple[str, ...]:
    """Returns a stored list of texts, an empty one in place of anything else."""
    if not isinstance(stored, list | tuple) or not all(isinstance(text, str) for text in stored):
        return ()
    return tuple(stored)


def _levels(stored: object) -> tuple[float, ...]:
    """Returns a stored list of numbers, an empty one in place of anything else."""
    if not isinstance(stored, list | tuple) or not all(isinstance(level, int | float) for level in stored):
        return ()
    return tuple(float(level) for level in stored)


def _width(stored: object) -> float:
    """Returns a stored width, 1 in place of anything else."""
    if not isinstance(stored, int | float) or isinstance(stored, bool):
        return 1.0
    return float(stored) if stored > 0 else 1.0


def check_unchanged(recorded: Architecture, found: Architecture) -> None:
    """Raises an error if a network is another one, or takes other images, than was recorded.

    Args:
        recorded: As a study or a file has it.
        found: As the network was found now; what its code decides is compared, and its images.

    Raises:
        InputError: It has other modules, blocks or code, or takes other images.
    """
    of_code = ("blocks", "head", "normed")
    has_other_blocks = any(getattr(recorded, name) != getattr(found, name) for name in of_code)
    if has_other_blocks or not found.is_structure(recorded.structure):
        raise InputError(
            "a network stays what it was when its study or its file was made",
            f"{recorded.name}, whose code gives another network now",
            "Go back to the code, or to the versions of torch, torchvision and timm; or start a new study.",
        )

    # The same code with images that are scaled otherwise gives other answers.
    before = vars(recorded.images)
    now = vars(found.images)
    changes = [
        f"{name} {_shown(now[name])} in place of {_shown(before[name])}" for name in now if now[name] != before[name]
    ]
    if changes:
        raise InputError(
            "a network takes the images that it took when its study or its file was made",
            f"{recorded.name} with {'; '.join(changes)}",
            "Give the --image-size, --colour, --mean and --std of then, or start a new study.",
        )


def _shown(value: object) -> str:
    """Returns an entry of an image format as text, levels with commas."""
    return format_levels(value) if isinstance(value, tuple) else str(value)


def is_own_code(name: str) -> bool:
    """Returns whether a network's name is that of a user's own function, "package.module:function", which is run."""
    return ":" in name and not name.startswith(TIMM)


_CONVOLUTIONS = (
    "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3", "conv4_1", "conv4_2", "conv4_3",
)  # fmt: skip
_SHOWN_OF_PAPER = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "fc2")

VGG13 = Architecture(
    name=PAPER,
    channels=PAPER_FORMAT.channels,
    size=PAPER_FORMAT.size,
    classes=7,
    blocks=(*_CONVOLUTIONS, "fc1", "fc2", "fc3"),
    head=len(_CONVOLUTIONS),
    normed=_CONVOLUTIONS,
)
"""The paper's network, with grey images of 48 rows and columns and the seven expressions of FER2013."""
