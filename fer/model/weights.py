"""Network files: safetensors with the state of a network, which their header names, read without trust."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from fer.architecture import PAPER, VGG13, Architecture, is_own_code
from fer.errors import InputError, printable, shorten
from fer.expressions import EXPRESSIONS, FEWEST, MOST, ExpressionSet, are_names, usual_names
from fer.image_format import GREY, RGB, check_levels, format_levels
from fer.model.blocks import Chain
from fer.model.chains import NetworkRequest, architecture_of, open_chain, paper_chain, request
from fer.model.fitting import Shape, find_misfit, shapes_of
from fer.model.networks import check_network, construct_network, default_format, without_memory
from fer.model.states import save_chain, telling_of_file
from fer.model.values import check_values, copy_into, located, name_few
from fer.model.vgg import blueprint
from fer.runtime import Runtime, digest_of
from fer.seeding import seed_from
from fer.tensor_files import DamagedTensorFile, TensorHeader, read_header
from fer.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class Baseline:
    """A network trained on the source.

    Attributes:
        chain: Its blocks; in evaluation mode, without gradients.
        architecture: What it is without its weights.
        digest: Hash of its weights and, of a network that is not vgg13, of its structure and the scaling of images.
        expressions: What its logits stand for, as its file says; None where it does not.
        origin: Which file of the user's it comes from, as its file says, with a hash; empty for none.
    """

    chain: Chain
    architecture: Architecture
    digest: str
    expressions: tuple[str, ...] | None = None
    origin: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What its logits stand for; where its file does not say, in the usual order."""
        return self.expressions or usual_names(self.architecture.classes)

    @property
    def network(self) -> nn.Sequential:
        """The blocks of the chain, in order."""
        return self.chain.network

    @property
    def width(self) -> float:
        """The width it was built with, see `fer.model.vgg.build`."""
        return self.architecture.width

    def as_recorded(self, recorded: Architecture) -> "Baseline":
        """Returns the same network with the hash of its structure, and so the digest, that a study recorded of it.

        Args:
            recorded: The study's network. An earlier version may have computed its hash; the network of another one
                stays as it is.
        """
        found = self.architecture
        if recorded.structure == found.structure or not found.is_structure(recorded.structure):
            return self
        renamed = baseline_of(self.chain, replace(found, structure=recorded.structure))
        return replace(renamed, expressions=self.expressions, origin=self.origin)


def baseline_of(chain: Chain, architecture: Architecture) -> Baseline:
    """Returns a network as one that adaptations start from; its weights stay as they are from now on."""
    digest = digest_of(chain.network.state_dict())
    if not architecture.is_paper:
        digest = f"{seed_from(digest, architecture.structure, repr(architecture.images)):016x}"
    return Baseline(chain, architecture, digest)


MOST_WIDTH = 4
_MOST_DIGITS = 4
"""Of a number that a file's header states."""
_LAST_WEIGHT = "fc3.linear.weight"
FIRST_WEIGHT = "conv1_1.conv.weight"
_FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
_FIX = (
    "Give a network of a study, such as runs/STUDY/models/trial-0001.safetensors, or the state of "
    "fer.model.vgg.build(width) as safetensors."
)


ORIGIN = "origin"
"""The entry of a file's header that says from which file of the user's its network comes or began."""

FACES = "faces"
"""The entry of a file's header that says which faces its network learned from: "real", "synthetic" or both."""


def faces_entry(kinds: Iterable[str]) -> dict[str, str]:
    """Returns what a file's header says of the faces that its network learned from.

    Args:
        kinds: "real" or "synthetic", of each of its datasets.
    """
    return {FACES: " and ".join(sorted(set(kinds)))}


COLOUR = "colour"
"""The entry of a file's header that says that its network learned from images in colour; absent where all were grey."""


def colour_entry(colours: Iterable[str]) -> dict[str, str]:
    """Returns what a file's header says of its network's images, which are then read in the same way.

    Args:
        colours: "grey" or "rgb", of the images of each of its datasets.
    """
    return {COLOUR: RGB} if RGB in colours else {}


EXPRESSIONS_ENTRY = "expressions"
"""The entry of a file's header that names what its network's logits stand for, with commas; the seven have none."""


def expressions_entry(expressions: ExpressionSet) -> dict[str, str]:
    """Returns what a file's header says of the expressions that its network tells apart; nothing of the seven."""
    is_usual = expressions.names == EXPRESSIONS
    return {} if is_usual else {EXPRESSIONS_ENTRY: ",".join(expressions.names)}


def origin_of(path: Path) -> str:
    """Returns which file of the user's a network comes from, as its own file says, with a hash; empty for none.

    Raises:
        InputError: The file cannot be read.
    """
    return printable(read_header(path).metadata.get(ORIGIN, ""))


def learned_from_synthetic_faces(path: Path) -> bool:
    """Returns whether a network's file says that it learned from synthetic faces.

    Raises:
        InputError: The file cannot be read.
    """
    return "synthetic" in read_header(path).metadata.get(FACES, "")


def save_network(network: nn.Module, path: Path, header: Mapping[str, str]) -> None:
    """Writes a network of `fer.model.vgg.build` as safetensors, atomically and with a checksum.

    Args:
        network: The network.
        path: The file to write.
        header: Texts by name; "width" is the network's, FACES what it learned from, EXPRESSIONS_ENTRY what its logits
            stand for.
    """
    save_tensors(path, network.state_dict(), header)


def save_blocks(baseline: Baseline, network: nn.Module, path: Path, header: Mapping[str, str]) -> None:
    """Writes a network with the blocks of a baseline, by the names of its own `state_dict`, with what it is.

    Args:
        baseline: The network that it was adapted from.
        network: The blocks of the baseline with other weights.
        path: The file to write.
        header: Further texts by name.
    """
    about = architecture_header(baseline.architecture)
    if baseline.origin:
        about[ORIGIN] = baseline.origin
    save_chain(baseline.chain, network, path, about | dict(header))


def architecture_header(architecture: Architecture) -> dict[str, str]:
    """Returns what a file's header says of its network."""
    return {
        "network": architecture.name,
        "classes": str(architecture.classes),
        "channels": str(architecture.channels),
        "size": str(architecture.size),
        "mean": format_levels(architecture.mean),
        "std": format_levels(architecture.std),
        "width": str(architecture.width),
    }


def load_network(
    path: Path, runtime: Runtime, needs_checksum: bool = False, blocks: Path | None = None, own: str = ""
) -> Baseline:
    """Loads a network that this program wrote, or a user's own with the layers of vgg13.

    Args:
        path: A safetensors file whose header names its network, or with the state of `fer.model.vgg.build`, of any
            width up to `MOST_WIDTH`.
        runtime: Its device is where the network goes.
        needs_checksum: Whether a file without checksum is refused. A file with a wrong checksum always is.
        blocks: A folder for what was found of blocks, see `fer.model.blocks.find_blocks`.
        own: The user's own function "package.module:function" that may be called; a file that names another one is
            refused, since whoever made the file would choose which code runs.

    Raises:
        InputError: The file does not exist, is damaged, or holds another network; or a weight is not finite, or a
            variance is negative.
    """
    read = _read_network(path, needs_checksum, own)
    chain = open_chain(read.module, read.unopened, blocks)
    chain.network.to(runtime.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    baseline = baseline_of(chain, architecture_of(chain, read.unopened))
    return replace(baseline, expressions=read.expressions, origin=read.origin)


@dataclass(frozen=True)
class UsableNetwork:
    """A network for use without its blocks, which need not be found then.

    Attributes:
        module: From images to logits, in evaluation mode, on the CPU.
        architecture: What it is, without blocks.
        colour: "grey" or "rgb": how image files are read for it.
        names: What its logits stand for.
    """

    module: nn.Module
    architecture: Architecture
    colour: str
    names: tuple[str, ...]


def load_module(path: Path, own: str = "") -> UsableNetwork:
    """Loads a network for use; arguments as of `load_network`."""
    read = _read_network(path, needs_checksum=False, own=own)
    module = read.module.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return UsableNetwork(module, read.unopened, read.colour, read.names)


def paper_baseline(network: nn.Sequential, width: float) -> Baseline:
    """Returns a network of `fer.model.vgg.build` as one that adaptations start from."""
    chain = paper_chain(network)
    (classes,) = chain.cut_shapes[-1]
    return baseline_of(chain, replace(VGG13, width=width, classes=classes))


# Reading.


@dataclass(frozen=True)
class _ReadNetwork:
    """A network of a file.

    Attributes:
        module: The network itself, with the file's weights.
        unopened: Its architecture without blocks.
        expressions: What its logits stand for; None where the file does not say.
        origin: Which file of the user's it comes from; empty for none.
        colour: "grey" or "rgb": the images that it learned from.
    """

    module: nn.Module
    unopened: Architecture
    expressions: tuple[str, ...] | None
    origin: str = ""
    colour: str = GREY

    @property
    def names(self) -> tuple[str, ...]:
        """What its logits stand for; where the file does not say, in the usual order."""
        return self.expressions or usual_names(self.unopened.classes)


def _read_network(path: Path, needs_checksum: bool, own: str) -> _ReadNetwork:
    """Reads a network's file; see `load_network`."""
    built: list[_ReadNetwork] = []

    def check(header: TensorHeader) -> None:
        # Before the file's tensors are read: they must be the network's.
        built.append(replace(_build_for(header, own), origin=header.metadata.get(ORIGIN, "")))

    with telling_of_file(path, "a network file must be whole safetensors", _FIX):
        try:
            _, tensors = load_tensors(path, check, needs_checksum)
        except _DifferentNetwork as error:
            rule = "a network file holds the layers of its network"
            raise InputError(rule, located(path, str(error)), _FIX) from None

    read = built[0]
    expected = read.module.state_dict()
    state = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    check_values(state, path, _FIX)
    if read.unopened.is_paper:
        read.module.load_state_dict(state, assign=True)
    else:
        copy_into(read.module, state)
    return read


def _build_for(header: TensorHeader, own: str) -> _ReadNetwork:
    """Builds the network that a file's header names, vgg13 where it names none.

    The tensors are compared with the file's before the network costs memory, or time on images: a header of a few
    bytes could name the largest network there is.

    Raises:
        _DifferentNetwork: The header's words are no network's, or the file's tensors are not that network's.
        InputError: There is no such network here, or it is the function of a user that nobody named.
    """
    name = header.metadata.get("network", PAPER)
    classes = _count_of(header, "classes", _rows_of_last_layer(header))
    if not FEWEST <= classes <= MOST:
        raise _DifferentNetwork(f"{classes} logits, of {FEWEST} to {MOST}")
    expressions = _expressions_of(header, classes)
    if name == PAPER:
        width = _width_of(header)
        unopened = replace(VGG13, width=width, classes=classes)
        layers = blueprint(width, classes)
        _check_tensors(header, layers.state_dict())
        return _ReadNetwork(layers, unopened, expressions)

    if is_own_code(name) and name != own:
        raise InputError(
            "a file that names a function of somebody's own is opened by who names the function as well",
            name,
            "If you trust that code, give its name: --network package.module:function.",
        )
    usual = default_format(name)
    unopened = request(
        NetworkRequest(
            name,
            _count_of(header, "size", usual.size),
            classes,
            channels=_channels_of(header, usual.channels),
            mean=_levels_of(header, "--mean"),
            std=_levels_of(header, "--std"),
        )
    )
    module = _build_if_fits(header, unopened)
    colour = RGB if header.metadata.get(COLOUR) == RGB and unopened.channels > 1 else GREY
    return _ReadNetwork(module, unopened, expressions, colour=colour)


def _build_if_fits(header: TensorHeader, unopened: Architecture) -> nn.Module:
    """Builds a network that is not vgg13, if a file holds its tensors.

    Raises:
        _DifferentNetwork: It holds others.
        InputError: There is no such network here.
    """
    name, classes, size = unopened.name, unopened.classes, unopened.size
    if not is_own_code(name):
        with without_memory():
            layers = construct_network(name, classes, size)
        _check_tensors(header, layers.state_dict())

    # A user's own function is trusted, and may read weights: it is called once, for real.
    module = construct_network(name, classes, size)
    _check_tensors(header, module.state_dict())
    return check_network(module, name, unopened.images.shape, classes)


def _count_of(header: TensorHeader, name: str, default: int) -> int:
    """Returns a number that a file's metadata states, or the default where it states none.

    Raises:
        _DifferentNetwork: It is no whole number above 0.
    """
    text = header.metadata.get(name, str(default))
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    if not is_number or int(text) == 0:
        raise _DifferentNetwork(f"{name} {shorten(printable(text), 20)}")
    return int(text)


def _channels_of(header: TensorHeader, default: int) -> int:
    """Returns the number of channels that a file's metadata states, or the default where it states none.

    Raises:
        _DifferentNetwork: It is neither 1 nor 3.
    """
    channels = _count_of(header, "channels", default)
    if channels not in (1, 3):
        raise _DifferentNetwork(f"channels {channels}")
    return channels


def _levels_of(header: TensorHeader, option: str) -> tuple[float, ...]:
    """Returns the mean or the standard deviation that a file's metadata states, none where it states none.

    Raises:
        _DifferentNetwork: They are no numbers that images can have.
    """
    name = option.removeprefix("--")
    text = header.metadata.get(name, "")
    if not text:
        return ()
    try:
        levels = tuple(float(level) for level in text.split(","))
        check_levels(levels, option)
    except ValueError:  # InputError is one
        raise _DifferentNetwork(f"{name} {shorten(printable(text), 20)}") from None
    return levels


class _DifferentNetwork(DamagedTensorFile):
    """An intact file that holds other tensors than a network of its width."""


def _width_of(header: TensorHeader) -> float:
    """Returns the width that a file's metadata name, or else the one that its first layer shows.

    Raises:
        _DifferentNetwork: There is no first layer, or the width is not a number up to `MOST_WIDTH`.
    """
    first = header.places.get(FIRST_WEIGHT)
    if first is None or not first.shape:
        raise _DifferentNetwork(f"no layers conv1_1 … fc3, but {name_few(header.places)}")

    width_of_first = first.shape[0] / 64
    text = header.metadata.get("width", str(width_of_first))
    try:
        width = float(text)
    except ValueError:
        width = math.nan
    if not 0 < width <= MOST_WIDTH:
        raise _DifferentNetwork(f"width {shorten(printable(text), 20)}, of at most {MOST_WIDTH}")
    return width


def _rows_of_last_layer(header: TensorHeader) -> int:
    """Returns the number of logits that the last layer of vgg13 shows; seven where there is no last layer."""
    last = header.places.get(_LAST_WEIGHT)
    return last.shape[0] if last is not None and last.shape else VGG13.classes


def _expressions_of(header: TensorHeader, classes: int) -> tuple[str, ...] | None:
    """Returns the expressions that a file's metadata name; None where they name none.

    Raises:
        _DifferentNetwork: They are not as many as there are logits.
    """
    text = header.metadata.get(EXPRESSIONS_ENTRY)
    if text is None:
        return None
    names = tuple(text.split(","))
    if len(names) != classes or not are_names(names):
        raise _DifferentNetwork(f"{classes} logits named {shorten(printable(text), 60)!r}")
    return names


def _check_tensors(header: TensorHeader, expected: Mapping[str, torch.Tensor]) -> None:
    """Compares the tensors of a file with those of its network.

    Args:
        header: Of the file.
        expected: The network's tensors by name.

    Raises:
        _DifferentNetwork: They differ; the message names a few of the tensors and counts the others.
    """
    given = {name: Shape(place.shape, place.dtype in _FLOAT_TYPES) for name, place in header.places.items()}
    misfit = find_misfit(given, shapes_of(expected))
    if misfit:
        raise _DifferentNetwork(misfit.describe())
