"""Whether the tensors of a file are those of a network, and if they are not, what is probably the matter."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from fer.errors import InputError, printable, shorten
from fer.model.values import located, name_few

PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""What DataParallel, torch.compile and training frameworks put before each name."""
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Heads of GoogLeNet and Inception that are used in training alone, and that networks are built without."""
_MOST_STRAYS = 0.1
"""Tensors that are missing or unexpected, as a share of the network's, from which it is probably another network."""
_COUNTER = "num_batches_tracked"
"""Older files have no counters of batches; in evaluation they are never used."""
_RULE = "a network file holds the network's tensors"


@dataclass(frozen=True)
class FittedTensors:
    """The tensors of a file, as a network takes them.

    Attributes:
        tensors: By the names and of the types of the network's; counters of batches and what is new may be missing.
        dropped: The names of auxiliary tensors in the file that the network does without.
    """

    tensors: dict[str, torch.Tensor]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """What is compared of a tensor.

    Attributes:
        lengths: Of its dimensions.
        is_float: Whether its numbers are floating-point.
    """

    lengths: tuple[int, ...]
    is_float: bool


def fit_tensors(
    tensors: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    path: Path,
    new: Collection[str] = (),
    head: Collection[str] = (),
    wanted: str = "",
) -> FittedTensors:
    """Returns a file's tensors by the names of a network's.

    Args:
        tensors: Of the file.
        expected: The network's, by the names of its `state_dict`.
        path: The file, for errors.
        new: The names of the network's tensors that are not taken from the file, whatever it holds there.
        head: The names of the head's tensors, for errors.
        wanted: What the network is, for errors: "resnet18 of 7 classes".

    Raises:
        InputError: Tensors are missing, unexpected, or of another shape or type. The likeliest reason stands first.
    """
    named = without_prefixes(tensors, expected)
    dropped = tuple(name for name in named if name.startswith(_AUXILIARY) and name not in expected)
    given = {name: tensor for name, tensor in named.items() if name not in dropped and name not in new}

    counters = [name for name in expected if name.endswith(_COUNTER)]
    misfit = find_misfit(shapes_of(given), shapes_of(expected), {*new, *counters})
    if misfit:
        reason, fix = _likeliest_reason(misfit, named, expected, head)
        rule = f"{_RULE}, {wanted}" if wanted else _RULE
        raise InputError(rule, located(path, f"{reason}: {misfit.describe()}" if reason else misfit.describe()), fix)
    return FittedTensors({name: tensor.to(expected[name].dtype) for name, tensor in given.items()}, dropped)


def without_prefixes(tensors: Mapping[str, torch.Tensor], expected: Collection[str]) -> Mapping[str, torch.Tensor]:
    """Returns tensors without what wrappers put before all of their names, as far as that makes them the network's."""
    best = tensors
    current = tensors
    while current:
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in current)), None)
        if prefix is None:
            break
        current = {name.removeprefix(prefix): tensor for name, tensor in current.items()}
        if _count_common(current, expected) > _count_common(best, expected):
            best = current
    return best


def _count_common(names: Collection[str], expected: Collection[str]) -> int:
    """Returns how many names are a network's."""
    return sum(name in expected for name in names)


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, Shape]:
    """Returns what is compared of tensors, by their names."""
    return {name: Shape(tuple(tensor.shape), tensor.is_floating_point()) for name, tensor in tensors.items()}


# What does not fit.


@dataclass(frozen=True)
class Misfit:
    """How the tensors of a file differ from a network's; false where they do not.

    Attributes:
        missing: Names of tensors that the file lacks.
        unexpected: Names of tensors that the network lacks.
        shapes: Names of tensors of another shape, with the lengths in the file and in the network.
        types: Names of tensors that are whole numbers on one side alone.
    """

    missing: list[str]
    unexpected: list[str]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    types: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.shapes or self.types)

    def describe(self) -> str:
        """Returns a few names of each kind."""
        shapes = [
            f"{shorten(printable(name), 30)} {_product(given)} for {_product(wanted)}"
            for name, (given, wanted) in self.shapes.items()
        ]
        problems = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": shapes,
            "of another type": self.types,
        }
        return "; ".join(f"{problem}: {name_few(names)}" for problem, names in problems.items() if names)


def find_misfit(given: Mapping[str, Shape], expected: Mapping[str, Shape], optional: Collection[str] = ()) -> Misfit:
    """Compares the tensors of a file with those of a network.

    Args:
        given: Of the file.
        expected: Of the network.
        optional: Names of tensors that the file may lack.
    """
    common = [name for name in given if name in expected]
    return Misfit(
        missing=[name for name in expected if name not in given and name not in optional],
        unexpected=[name for name in given if name not in expected],
        shapes={
            name: (given[name].lengths, expected[name].lengths)
            for name in common
            if given[name].lengths != expected[name].lengths
        },
        types=[name for name in common if given[name].is_float != expected[name].is_float],
    )


def _product(lengths: tuple[int, ...]) -> str:
    """Returns a shape as text: "8×512"."""
    return shorten("×".join(str(length) for length in lengths), 20) or "one number"


# Why.


def _likeliest_reason(
    misfit: Misfit, given: Collection[str], expected: Mapping[str, torch.Tensor], head: Collection[str]
) -> tuple[str, str]:
    """Returns what is probably the matter, empty where nothing in particular is, and what to do about it.

    Args:
        misfit: How the tensors differ.
        given: The names of the file's tensors.
        expected: The network's tensors.
        head: The names of the head's tensors; empty where that is not taken from the file.
    """
    is_rest_fine = not misfit.unexpected and not misfit.types

    # Names that no wrapper puts there.
    if not _count_common(given, expected):
        wrapper = _foreign_prefix(given, expected)
        if wrapper:
            shown = shorten(printable(wrapper), 40)
            return f"wrapped, each name begins with {shown}", "Save it without that: wrapped.state_dict()."
        return "another network", "Name the file's network with --network, or give another file."

    # Rows of another number of classes: the first dimensions differ, all in the same way.
    pairs = {(lengths[:1], wanted[:1]) for lengths, wanted in misfit.shapes.values()}
    have_same_rest = all(lengths[1:] == wanted[1:] and lengths for lengths, wanted in misfit.shapes.values())
    if misfit.shapes and is_rest_fine and not misfit.missing and have_same_rest and len(pairs) == 1:
        (((found,), (wanted,)),) = pairs
        return (
            f"another number of classes, {found} for {wanted}",
            "Name the file's classes in their order with --classes a,b,c, or take its features alone with "
            "--pretrained FILE.",
        )

    # All but the head.
    lacks_head = bool(misfit.missing) and set(misfit.missing) <= set(head)
    if lacks_head and is_rest_fine and not misfit.shapes:
        return "features without the head", "Take them with --pretrained FILE in place of --baseline."

    # Most names fit, and shapes do not.
    if misfit.shapes and is_rest_fine and not misfit.missing:
        return (
            "another width, size or number of channels",
            "Give the --network, image size and colour that it was trained with; the width of vgg13 is that of "
            "--preset.",
        )
    if len(misfit.missing) + len(misfit.unexpected) > _MOST_STRAYS * len(expected):
        return "another network", "Name the file's network with --network, or give another file."
    return "", "Give the state_dict() of the same architecture and number of classes."


def _foreign_prefix(given: Collection[str], expected: Collection[str]) -> str:
    """Returns what stands before all names of a file, and without which some are the network's; empty for nothing."""
    first = next(iter(given), "")
    words = first.split(".")
    for count in range(1, len(words)):
        prefix = ".".join(words[:count]) + "."
        are_same = all(name.startswith(prefix) for name in given)
        if are_same and _count_common([name.removeprefix(prefix) for name in given], expected):
            return prefix
    return ""
