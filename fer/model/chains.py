"""Networks by name as chains of blocks, and what a record keeps of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from fer.architecture import VGG13, Architecture, check_unchanged, is_own_code
from fer.errors import LONGEST_VALUE, InputError, printable, shorten
from fer.image_format import default_levels, levels_of
from fer.model.blocks import Chain, find_blocks
from fer.model.equality import NORMS
from fer.model.networks import build_network, default_format
from fer.model.plans import structure_digest
from fer.model.source_code import hash_bytes
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


@dataclass(frozen=True)
class NetworkRequest:
    """What is asked for of a network whose blocks are not known yet.

    Attributes:
        name: As `fer.model.networks.build_network` takes it.
        size: Height and width of its images.
        classes: Number of logits.
        width: Factor on the layers' channels, of vgg13 alone.
        channels: Of its images; None where the network decides: 3, or 1 for a user's own that takes no other.
        mean: One number, or one of each channel, see `fer.image_format.ImageFormat`; none for the usual ones.
        std: One number, or one of each channel; none for the usual ones.
    """

    name: str
    size: int
    classes: int
    width: float = 1.0
    channels: int | None = None
    mean: Sequence[float] = ()
    std: Sequence[float] = ()


def request(asked: NetworkRequest) -> Architecture:
    """Returns an architecture whose blocks are not known yet.

    Raises:
        InputError: There are more means or standard deviations than the network has channels; or a user's own network
            takes neither colour nor grey images.
    """
    channels = asked.channels or _find_channels(asked)
    usual_mean, usual_std = default_levels(channels)
    return Architecture(
        asked.name,
        channels,
        asked.size,
        asked.classes,
        blocks=(),
        head=0,
        normed=(),
        mean=levels_of(asked.mean, channels, "--mean") if asked.mean else usual_mean,
        std=levels_of(asked.std, channels, "--std") if asked.std else usual_std,
        width=asked.width,
    )


def _find_channels(asked: NetworkRequest) -> int:
    """Returns how many channels the images of a network have; a user's own is tried with three, then with one.

    Raises:
        InputError: It takes neither.
    """
    usual = default_format(asked.name).channels
    if not is_own_code(asked.name):
        return usual
    in_colour = _refusal_of(asked, usual)
    if in_colour is None:
        return usual
    in_grey = _refusal_of(asked, 1)
    if in_grey is None:
        return 1

    # What has nothing to do with the channels is refused alike with both.
    if str(in_colour) == str(in_grey):
        raise in_colour
    shown = [shorten(printable(error.value), LONGEST_VALUE // 2 - 20) for error in (in_colour, in_grey)]
    raise InputError(
        "a network takes images of three channels, or of one",
        f"{shown[0]}; with one channel: {shown[1]}",
        in_grey.fix,
    )


def _refusal_of(asked: NetworkRequest, channels: int) -> InputError | None:
    """Returns why a network does not take images of so many channels; None where it does."""
    try:
        build_network(asked.name, asked.classes, asked.size, channels=channels)
    except InputError as error:
        return error
    return None


def build_module(architecture: Architecture, seed: int = 0) -> nn.Module:
    """Builds the network of an architecture, whose blocks are not read, with new weights."""
    return build_network(
        architecture.name,
        architecture.classes,
        architecture.size,
        seed,
        architecture.width,
        architecture.channels,
    )


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
    return find_blocks(module, architecture.images.shape, cache)


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
    opened = replace(unopened, blocks=chain.names, head=chain.head, normed=normed, structure="", former_structure="")
    if unopened.is_paper:
        return opened
    shape = unopened.images.shape
    structure = structure_digest(chain.module, shape, with_versions=False)
    former = structure_digest(chain.module, shape, with_versions=False, hash_source=hash_bytes)
    return replace(opened, structure=structure, former_structure="" if former == structure else former)
