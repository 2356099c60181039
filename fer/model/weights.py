"""Network files."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
import torch.multiprocessing
from torch import nn

from fer.errors import LONGEST_VALUE, InputError, printable, shorten
from fer.files import UnsuitableFile
from fer.model.vgg import blueprint
from fer.runtime import Runtime, digest_of
from fer.tensor_files import DamagedTensorFile, TensorHeader
from fer.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class Baseline:
    """A network trained on the source, and the width it was built with."""

    network: nn.Sequential
    width: float
    digest: str


MOST_WIDTH = 4


_FIRST = "conv1_1.conv.weight"


_FLOATS = ("F64", "F32", "F16", "BF16")


_FIX = "Give a safetensors file of fer.model.vgg.build(width).state_dict()."


def save_network(network: nn.Sequential, path: Path, header: dict[str, str]) -> None:
    """Writes a network as safetensors, atomically and with a checksum; the header needs its "width"."""
    save_tensors(path, network.state_dict(), header)


def load_network(path: Path, runtime: Runtime, needs_checksum: bool = False) -> Baseline:
    """Loads a network that `save_network` wrote, or a user's own of the same layers.

    Args:
        path: A safetensors file with the state of `fer.model.vgg.build`, of any width.
        runtime: Where it goes.
        needs_checksum: Whether a file without checksum is refused, as one with a wrong one always is.

    Raises:
        InputError: The file is not there, is damaged, or holds another network; or its weights are not finite numbers,
            or a variance is negative.
    """
    try:
        header, tensors = load_tensors(path, _check_layers, needs_checksum)
    except FileNotFoundError:
        raise InputError("a network file must exist", path, _FIX) from None
    except UnsuitableFile as error:
        raise InputError("a network file is a regular file", _located(path, str(error)), _FIX) from None
    except _OtherNetwork as error:
        raise InputError("a network file holds the layers of fer.model.vgg", _located(path, str(error)), _FIX) from None
    except (DamagedTensorFile, OSError, ValueError) as error:  # a path may hold what no path can
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError("a network file must be whole safetensors", _located(path, reason), _FIX) from None

    width = _width_of(header)
    network = blueprint(width)
    expected = network.state_dict()
    state = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    _check_values(state, path)
    network.load_state_dict(state, assign=True)
    network = network.to(runtime.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Baseline(network, width, digest_of(network.state_dict()))


class _OtherNetwork(DamagedTensorFile):
    """A sound file that holds other tensors than a network of its width."""


def _width_of(header: TensorHeader) -> float:
    """Returns the width that a file names, or that its first layer has.

    Raises:
        _OtherNetwork: It is none.
    """
    first = header.places.get(_FIRST)
    if first is None or not first.shape:
        raise _OtherNetwork(f"no layers conv1_1 … fc3, but {_few(header.places)}")
    text = header.metadata.get("width", str(first.shape[0] / 64))
    try:
        width = float(text)
    except ValueError:
        width = math.nan
    if not 0 < width <= MOST_WIDTH:  # before memory for it is asked for
        raise _OtherNetwork(f"width {shorten(printable(text), 20)}, of at most {MOST_WIDTH}")
    return width


def _check_layers(header: TensorHeader) -> None:
    """Compares the tensors of a file with those of the network of its width.

    Raises:
        _OtherNetwork: They differ; the message names the first few and counts the others.
    """
    expected = blueprint(_width_of(header)).state_dict()
    found = header.places
    shared = [name for name in found if name in expected]
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "of another shape": [name for name in shared if found[name].shape != tuple(expected[name].shape)],
        "of another type": [
            name for name in shared if (found[name].dtype in _FLOATS) != expected[name].is_floating_point()
        ],
    }
    told = [f"{problem}: {_few(names)}" for problem, names in problems.items() if names]
    if told:
        raise _OtherNetwork("; ".join(told))


def _check_values(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuses weights with which no network computes; others may still overflow, which only its answers tell."""
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    wild = [name for name, tensor in floats.items() if not bool(tensor.isfinite().all())]
    if wild:
        raise InputError("a network's weights are finite numbers", _located(path, _few(wild)), _FIX)
    negative = [name for name, tensor in floats.items() if name.endswith("running_var") and bool((tensor < 0).any())]
    if negative:
        raise InputError("a network's variances are not negative", _located(path, _few(negative)), _FIX)


def _few(names: Iterable[str], most: int = 2) -> str:
    """Returns the first of some names, and how many more there are."""
    every = list(names)
    told = ", ".join(shorten(printable(name), 40) for name in every[:most])
    return f"{told} and {len(every) - most} more" if len(every) > most else told


def _located(path: Path, reason: str) -> str:
    """Returns path and reason for an error, which has room for the reason and so much of the path."""
    reason = shorten(printable(reason), LONGEST_VALUE - 60)
    return f"{shorten(printable(path), LONGEST_VALUE - len(reason) - 3)} ({reason})"
