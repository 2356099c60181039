"""Network files: safetensors with the state of a network of `fer.model.vgg`, read without trust."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fer.errors import LONGEST_VALUE, InputError, printable, shorten
from fer.expressions import EXPRESSIONS, FEWEST, MOST, ExpressionSet, are_names, usual_names
from fer.files import UnsuitableFile
from fer.model.vgg import blueprint, count_classes
from fer.runtime import Runtime, digest_of
from fer.tensor_files import DamagedTensorFile, TensorHeader, read_header
from fer.tensors import load_tensors, save_tensors


@dataclass(frozen=True)
class Baseline:
    """A network trained on the source.

    Attributes:
        network: In evaluation mode, without gradients.
        width: The width it was built with, see `fer.model.vgg.build`.
        digest: Hash of its weights.
        expressions: What its logits stand for, as its file says; None where it does not.
    """

    network: nn.Sequential
    width: float
    digest: str
    expressions: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What its logits stand for; where its file does not say, in the usual order."""
        return self.expressions or usual_names(count_classes(self.network))


MOST_WIDTH = 4
_LAST_WEIGHT = "fc3.linear.weight"
_FIRST_WEIGHT = "conv1_1.conv.weight"
_FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
_FIX = (
    "Give a network of a study, such as runs/STUDY/models/trial-0001.safetensors, or the state of "
    "fer.model.vgg.build(width) as safetensors."
)


FACES = "faces"
"""The entry of a file's header that says which faces its network learned from: "real", "synthetic" or both."""


def faces_entry(kinds: Iterable[str]) -> dict[str, str]:
    """Returns what a file's header says of the faces that its network learned from.

    Args:
        kinds: "real" or "synthetic", of each of its datasets.
    """
    return {FACES: " and ".join(sorted(set(kinds)))}


EXPRESSIONS_ENTRY = "expressions"
"""The entry of a file's header that names what its network's logits stand for, with commas; the seven have none."""


def expressions_entry(expressions: ExpressionSet) -> dict[str, str]:
    """Returns what a file's header says of the expressions that its network tells apart; nothing of the seven."""
    is_usual = expressions.names == EXPRESSIONS
    return {} if is_usual else {EXPRESSIONS_ENTRY: ",".join(expressions.names)}


def learned_from_synthetic_faces(path: Path) -> bool:
    """Returns whether a network's file says that it learned from synthetic faces.

    Raises:
        InputError: The file cannot be read.
    """
    return "synthetic" in read_header(path).metadata.get(FACES, "")


def save_network(network: nn.Sequential, path: Path, header: dict[str, str]) -> None:
    """Writes a network as safetensors, atomically and with a checksum.

    Args:
        network: Of `fer.model.vgg.build`.
        path: The file to write.
        header: Texts by name; "width" is the network's, FACES what it learned from, EXPRESSIONS_ENTRY what its logits
            stand for.
    """
    save_tensors(path, network.state_dict(), header)


def load_network(path: Path, runtime: Runtime, needs_checksum: bool = False) -> Baseline:
    """Loads a network that `save_network` wrote, or a user's own of the same layers.

    Args:
        path: A safetensors file with the state of `fer.model.vgg.build`, of any width up to `MOST_WIDTH`.
        runtime: Its device is where the network goes.
        needs_checksum: Whether a file without checksum is refused. A file with a wrong checksum always is.

    Raises:
        InputError: The file does not exist, is damaged, or holds another network; or a weight is not finite, or a
            variance is negative.
    """
    try:
        header, tensors = load_tensors(path, _check_layers, needs_checksum)
    except FileNotFoundError:
        raise InputError("a network file must exist", path, _FIX) from None
    except UnsuitableFile as error:
        raise InputError("a network file is a regular file", located(path, str(error)), _FIX) from None
    except _DifferentNetwork as error:
        raise InputError("a network file holds the layers of fer.model.vgg", located(path, str(error)), _FIX) from None
    except (DamagedTensorFile, OSError, ValueError) as error:  # a ValueError: the path holds a NUL
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError("a network file must be whole safetensors", located(path, reason), _FIX) from None

    width = _width_of(header)
    network = blueprint(width, _classes_of(header))
    expected = network.state_dict()
    state = {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}
    check_values(state, path, _FIX)
    network.load_state_dict(state, assign=True)
    network = network.to(runtime.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Baseline(network, width, digest_of(network.state_dict()), _expressions_of(header))


class _DifferentNetwork(DamagedTensorFile):
    """An intact file that holds other tensors than a network of its width."""


def _width_of(header: TensorHeader) -> float:
    """Returns the width that a file's metadata name, or else the one that its first layer shows.

    Raises:
        _DifferentNetwork: There is no first layer, or the width is not a number up to `MOST_WIDTH`.
    """
    first = header.places.get(_FIRST_WEIGHT)
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


def _classes_of(header: TensorHeader) -> int:
    """Returns the number of logits that a file's last layer shows; seven where there is no last layer.

    Raises:
        _DifferentNetwork: No study has so many expressions, or so few.
    """
    last = header.places.get(_LAST_WEIGHT)
    classes = last.shape[0] if last is not None and last.shape else len(EXPRESSIONS)
    if not FEWEST <= classes <= MOST:
        raise _DifferentNetwork(f"{classes} logits, of {FEWEST} to {MOST}")
    return classes


def _expressions_of(header: TensorHeader) -> tuple[str, ...] | None:
    """Returns the expressions that a file's metadata name; None where they name none.

    Raises:
        _DifferentNetwork: They are not as many as the file's last layer has rows.
    """
    text = header.metadata.get(EXPRESSIONS_ENTRY)
    if text is None:
        return None
    names = tuple(text.split(","))
    classes = _classes_of(header)
    if len(names) != classes or not are_names(names):
        raise _DifferentNetwork(f"{classes} logits named {shorten(printable(text), 60)!r}")
    return names


def _check_layers(header: TensorHeader) -> None:
    """Compares the tensors of a file with those of the network of its width.

    Raises:
        _DifferentNetwork: They differ; the message names a few of the tensors and counts the others.
    """
    expected = blueprint(_width_of(header), _classes_of(header)).state_dict()
    _expressions_of(header)
    places = header.places
    problems: dict[str, list[str]] = {
        "missing": [name for name in expected if name not in places],
        "unexpected": [name for name in places if name not in expected],
        "of another shape": [],
        "of another type": [],
    }
    for name, place in places.items():
        if name not in expected:
            continue
        if place.shape != tuple(expected[name].shape):
            problems["of another shape"].append(name)
        is_float = place.dtype in _FLOAT_TYPES
        if is_float != expected[name].is_floating_point():
            problems["of another type"].append(name)

    messages = [f"{problem}: {name_few(names)}" for problem, names in problems.items() if names]
    if messages:
        raise _DifferentNetwork("; ".join(messages))


def check_values(state: Mapping[str, torch.Tensor], path: Path, fix: str) -> None:
    """Refuses weights with which every answer would be NaN.

    Finite weights may still overflow; only the network's answers show that.

    Args:
        state: Tensors by name.
        path: The file that they are from.
        fix: What the user can do about it.

    Raises:
        InputError: A weight is not finite, or a variance is negative.
    """
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}

    # Weights that are NaN or infinite.
    not_finite = [name for name, tensor in floats.items() if not bool(tensor.isfinite().all())]
    if not_finite:
        raise InputError("a network's weights are finite numbers", located(path, name_few(not_finite)), fix)

    # Variances of batch-norm whose roots are NaN.
    variances = {name: tensor for name, tensor in floats.items() if name.endswith("running_var")}
    negative = [name for name, tensor in variances.items() if bool((tensor < 0).any())]
    if negative:
        raise InputError("a network's variances are not negative", located(path, name_few(negative)), fix)


def name_few(names: Iterable[str], most: int = 2) -> str:
    """Returns the first of some names, and how many more there are."""
    all_names = list(names)
    shown = ", ".join(shorten(printable(name), 40) for name in all_names[:most])
    if len(all_names) <= most:
        return shown
    return f"{shown} and {len(all_names) - most} more"


def located(path: Path, reason: str) -> str:
    """Returns path and reason as an error's value; of a long path only what fits beside the reason."""
    reason = shorten(printable(reason), LONGEST_VALUE - 60)
    return f"{shorten(printable(path), LONGEST_VALUE - len(reason) - 3)} ({reason})"
