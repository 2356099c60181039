"""Networks by name as chains of blocks, and what a record keeps of them."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from fer.architecture import VGG13, Architecture
from fer.errors import InputError
from fer.model.blocks import Chain, find_blocks
from fer.model.equality import NORMS
from fer.model.networks import build_network, default_format
from fer.model.parts import RepeatChannel
from fer.model.plans import structure_digest
from fer.model.vgg import build, cut_shapes


def find_architecture(unopened: Architecture, cache: Path | None = None) -> Architecture:
    """Returns the architecture of a network with its blocks.

    Args:
        unopened: Name, width, images and classes of the network; its blocks are not read. See `request`.
        cache: A folder for what was found of blocks, see `fer.model.blocks.find_blocks`.

    Raises:
        InputError: There is no such network, or it cannot be divided into blocks.
    """
    return architecture_of(open_chain(build_module(unopened), unopened, cache), unopened)


def request(name: str, channels: int, size: int, classes: int, width: float = 1.0) -> Architecture:
    """Returns an architecture whose blocks are not known yet."""
    return Architecture(name, channels, size, classes, blocks=(), head=0, normed=(), width=width)


def build_module(architecture: Architecture, seed: int = 0) -> nn.Module:
    """Builds the network of an architecture, whose blocks are not read, with new weights."""
    return build_network(architecture.name, architecture.classes, architecture.size, seed, architecture.width)


def build_chain(architecture: Architecture, seed: int, cache: Path | None = None) -> Chain:
    """Builds a network with new weights, as a chain of blocks.

    Args:
        architecture: Of the network.
        seed: Of the weights.
        cache: See `find_architecture`.

    Raises:
        InputError: The network has other blocks than the architecture says: its code has changed.
    """
    if architecture.is_paper:
        return paper_chain(build(architecture.width, seed, architecture.classes))
    module = build_module(architecture, seed)
    chain = open_chain(module, architecture, cache)
    check_unchanged(architecture, architecture_of(chain, architecture))
    return chain


def check_unchanged(recorded: Architecture, found: Architecture) -> None:
    """Raises an error if a network is not the one that was recorded.

    Raises:
        InputError: It has other modules, blocks or code.
    """
    if recorded != found:
        raise InputError(
            "a network stays what it was when its study or its file was made",
            f"{recorded.name}, whose code gives another network now",
            "Go back to the code, or to the versions of torch, torchvision and timm; or start a new study.",
        )


def open_chain(module: nn.Module, architecture: Architecture, cache: Path | None = None) -> Chain:
    """Returns the blocks of a network that was built.

    Args:
        module: The network.
        architecture: Its name and images; its blocks are not read.
        cache: See `find_architecture`.

    Raises:
        InputError: See `fer.model.blocks.find_blocks`.
    """
    if architecture.is_paper:
        assert isinstance(module, nn.Sequential)
        return paper_chain(module)
    return find_blocks(module, own_shape(architecture), _repeats_channel(architecture), cache)


def paper_chain(network: nn.Sequential) -> Chain:
    """Returns the chain of the paper's network, whose thirteen layers are its blocks; they need no proof."""
    names = {name: name for name in network.state_dict()}
    return Chain(network, network, VGG13.head, tuple(cut_shapes(network)), names, has_batch_norm=True)


def architecture_of(chain: Chain, unopened: Architecture) -> Architecture:
    """Returns the architecture of a chain.

    Args:
        chain: The network's.
        unopened: Its name, width, images and classes.
    """
    blocks = chain.network.named_children()
    normed = tuple(name for name, block in blocks if any(isinstance(part, NORMS) for part in block.modules()))
    structure = ""
    if not unopened.is_paper:
        structure = structure_digest(chain.module, own_shape(unopened), with_versions=False)
    return replace(unopened, blocks=chain.names, head=chain.head, normed=normed, structure=structure)


def with_repeated_channel(module: nn.Module, architecture: Architecture) -> nn.Module:
    """Returns a network that takes the images of its architecture, for use without blocks."""
    return nn.Sequential(RepeatChannel(), module) if _repeats_channel(architecture) else module


def own_shape(architecture: Architecture) -> tuple[int, int, int]:
    """Returns channels, height and width of the images that the network itself takes."""
    return (default_format(architecture.name).channels, architecture.size, architecture.size)


def _repeats_channel(architecture: Architecture) -> bool:
    """Returns whether grey images are repeated for a network of three channels."""
    return architecture.channels == 1 and default_format(architecture.name).channels == 3
