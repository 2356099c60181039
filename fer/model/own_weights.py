"""The user's own weights, checked and written as a file of this project, which studies then use like any other.

A file may be a trained network (`baseline`), whose logits are put into the order of the study's expressions, or
features that were learned elsewhere (`features`), whose head is new.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from fer.architecture import PAPER, Architecture
from fer.errors import InputError, printable, shorten
from fer.expressions import EXPRESSIONS, FEWEST, MOST, ExpressionSet
from fer.files import checksum
from fer.image_format import GREY
from fer.model.chains import architecture_of, build_module, open_chain
from fer.model.equality import seeded
from fer.model.fitting import FittedTensors, fit_tensors, without_prefixes
from fer.model.states import FIX, StateFile, read_state
from fer.model.values import check_values, copy_into, located
from fer.model.weights import (
    EXPRESSIONS_ENTRY,
    FACES,
    FIRST_WEIGHT,
    MOST_WIDTH,
    ORIGIN,
    architecture_header,
    colour_entry,
    expressions_entry,
)
from fer.tensor_files import damage_of
from fer.tensors import save_tensors

Kind = Literal["baseline", "features"]
CARRIED = ("baseline", FACES)
"""What a file of this project says of its training, which stays true of a copy."""
_TOLERANCE = 1e-3
"""By how much logits of a network with other rows may differ, as a share of the largest: sums have another order."""


@dataclass(frozen=True)
class OwnFile:
    """A file of weights that the user gives.

    Attributes:
        path: Safetensors, or a state dict that torch saved.
        kind: Whether it is a baseline, or features alone.
        classes: What its logits stand for, in their order; empty where the user does not say.
        colour: "grey" or "rgb": how image files are read for it.
    """

    path: Path
    kind: Kind
    classes: tuple[str, ...] = ()
    colour: str = GREY

    @property
    def option(self) -> str:
        """The option that names it."""
        return "--baseline" if self.kind == "baseline" else "--pretrained"


@dataclass(frozen=True)
class ImportedWeights:
    """The user's file as a file of this project.

    Attributes:
        path: The file of this project.
        checksum: Hash of the user's file.
        architecture: The network; of vgg13 with the width that a baseline has.
        notes: Sentences about what was done with it, which the user should read once.
    """

    path: Path
    checksum: str
    architecture: Architecture
    notes: tuple[str, ...]


def import_weights(
    own: OwnFile, wanted: Architecture, expressions: ExpressionSet, folder: Path, blocks: Path | None = None
) -> ImportedWeights:
    """Reads the user's own weights, checks that they are the network's, and writes them as a file of this project.

    The file's name contains a hash of its content, network and order of classes, so that it is found again, and an
    edited file is another one.

    Args:
        own: The file.
        wanted: The network that the study adapts.
        expressions: What its logits stand for.
        folder: Where files of this kind lie.
        blocks: A folder for what was found of blocks, see `fer.model.blocks.find_blocks`.

    Raises:
        InputError: The file cannot be read, or holds something else than the network's weights; or its classes are
            not those of the study.
    """
    state = read_state(own.path)
    architecture = wanted
    if own.kind == "baseline":
        architecture = _with_width_of(state, wanted)
        _check_header(own, state.metadata, architecture, expressions)
    classes = own.classes or _classes_of_header(state.metadata)

    # What it is called here, and whether it is there already.
    described = (own.kind, classes, own.colour, expressions.names, replace(architecture, blocks=(), head=0, normed=()))
    key = checksum(state.checksum.encode(), repr(described).encode())
    path = folder / f"own-{own.kind}-{key}.safetensors"

    # The tensors as the study's network has them.
    chain = open_chain(build_module(architecture), architecture, blocks)
    opened = architecture_of(chain, architecture)
    expected = chain.module.state_dict()
    notes = []
    if own.kind == "features":
        what = f"the features of {architecture.name}"
        fitted = fit_tensors(state.tensors, expected, own.path, new=chain.head_state_names, wanted=what)
        check_values(fitted.tensors, own.path, FIX)
        header = {}
    else:
        fitted = _fit_baseline(own, state, architecture, classes, expressions, chain.head_state_names)
        header = {name: state.metadata[name] for name in CARRIED if name in state.metadata}
        header |= expressions_entry(expressions) | colour_entry([own.colour])
        if not classes:
            notes.append(
                f"the logits of {own.path.name} are taken for {', '.join(expressions.names)}, in this order; "
                "--classes a,b,c names another"
            )
    if fitted.dropped:
        heads = sorted({name.partition(".")[0] for name in fitted.dropped})
        notes.append(f"the auxiliary heads in {own.path.name} are not used: {', '.join(heads)}")

    if damage_of(path) is not None:
        # Counters of batches that the file lacks are those of a new network.
        counters = {name: tensor for name, tensor in expected.items() if name not in fitted.tensors}
        kept = {name: tensor for name, tensor in counters.items() if own.kind == "baseline"}
        header |= architecture_header(architecture) | origin_entry(own.path.name, state.checksum)
        save_tensors(path, kept | fitted.tensors, header)
    return ImportedWeights(path, state.checksum, opened, tuple(map(printable, notes)))


def origin_entry(name: str, hashed: str) -> dict[str, str]:
    """Returns what a file's header says of the user's file that its network comes from: the name and the hash."""
    return {ORIGIN: f"{shorten(printable(name), 100)} ({hashed})"}


def load_features(module: nn.Module, path: Path) -> None:
    """Gives a new network the features of a file that `import_weights` wrote; the head stays new.

    Raises:
        InputError: The file is missing or damaged, or holds other tensors than the network.
    """
    tensors = read_state(path).tensors
    expected = module.state_dict()
    new = [name for name in expected if name not in tensors]
    copy_into(module, fit_tensors(tensors, expected, path, new=new).tensors)


# What the file says of itself.


def _with_width_of(state: StateFile, wanted: Architecture) -> Architecture:
    """Returns vgg13 with the width that the file's first layer shows; another network as it is."""
    if not wanted.is_paper:
        return wanted
    tensors = without_prefixes(state.tensors, [FIRST_WEIGHT])
    first = tensors.get(FIRST_WEIGHT)
    width = 0.0 if first is None or not first.ndim else first.shape[0] / 64
    return replace(wanted, width=width) if 0 < width <= MOST_WIDTH else wanted


def _check_header(own: OwnFile, metadata: Mapping[str, str], wanted: Architecture, expressions: ExpressionSet) -> None:
    """Raises an error where what a file of this project says of itself contradicts the study's options.

    Raises:
        InputError: It does.
    """
    named = metadata.get("network", PAPER if "width" in metadata else "")
    if named and named != wanted.name:
        shown = shorten(printable(named), 60)
        raise InputError(
            "--baseline holds the network that --network names",
            located(own.path, f"it holds {shown}, and --network is {wanted.name}"),
            f"Give --network {shown}, or another file.",
        )

    stated = architecture_header(wanted)
    for entry, option in (("size", "--image-size"), ("channels", "--colour"), ("mean", "--mean"), ("std", "--std")):
        if entry in metadata and entry in stated and metadata[entry] != stated[entry]:
            shown = shorten(printable(metadata[entry]), 60)
            raise InputError(
                f"--baseline was trained with the {entry} of images that the study has",
                located(own.path, f"it says {entry} {shown}, and the study has {stated[entry]}"),
                f"Give the study the same, see {option}.",
            )

    classes = _classes_of_header(metadata)
    if own.classes and classes and _indices(own.classes, expressions) != _indices(classes, expressions):
        raise InputError(
            "--classes names the classes of the file as the file itself does",
            located(own.path, f"it says {', '.join(classes)}"),
            "Leave --classes out.",
        )


def _classes_of_header(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Returns what a file of this project says that its logits stand for; nothing of a file from elsewhere."""
    text = metadata.get(EXPRESSIONS_ENTRY)
    if text is not None:
        return tuple(text.split(","))
    is_of_seven = metadata.get("classes", str(len(EXPRESSIONS))) == str(len(EXPRESSIONS))
    is_own = "network" in metadata or "width" in metadata
    return EXPRESSIONS if is_own and is_of_seven else ()


# The order of the logits.


def _fit_baseline(
    own: OwnFile,
    state: StateFile,
    architecture: Architecture,
    classes: Sequence[str],
    expressions: ExpressionSet,
    head: frozenset[str],
) -> FittedTensors:
    """Returns the tensors of a trained network, with a logit for each of the study's expressions, in their order."""
    order = choose_rows(classes, expressions, own.path) if classes else list(range(len(expressions)))
    count = len(classes) or len(expressions)
    of_file = replace(architecture, classes=count)
    module = build_module(of_file)
    what = f"{architecture.name} of {count} classes"
    fitted = fit_tensors(state.tensors, module.state_dict(), own.path, head=head, wanted=what)
    check_values(fitted.tensors, own.path, FIX)
    if order == list(range(count)):
        return fitted

    copy_into(module, fitted.tensors)
    return replace(fitted, tensors=_reorder(module, of_file, order, architecture, own.path))


def choose_rows(classes: Sequence[str], expressions: ExpressionSet, path: Path) -> list[int]:
    """Returns which logit of a file each of a study's expressions is.

    Args:
        classes: What the file's logits stand for, as names or spellings of expressions.
        expressions: The study's.
        path: The file, for errors.

    Raises:
        InputError: An expression is named by none of the classes, or by two; or there are too few or too many classes.
    """
    rule = "the logits of a baseline stand for each of the study's expressions once, see --classes"
    shown = ", ".join(shorten(printable(name), 20) for name in classes)
    if not FEWEST <= len(classes) <= MOST:
        raise InputError(f"--classes names {FEWEST} to {MOST} classes", len(classes), "Name each of the file's.")

    indices = _indices(classes, expressions)
    lacking = [name for number, name in enumerate(expressions.names) if number not in indices]
    if lacking:
        raise InputError(
            rule,
            located(path, f"no {', '.join(lacking)} among {shown}"),
            "Name them all; a file without one of them is no baseline of this study: take --pretrained FILE, or "
            "--expressions that the file has.",
        )
    doubled = [name for number, name in enumerate(expressions.names) if indices.count(number) > 1]
    if doubled:
        raise InputError(rule, located(path, f"{doubled[0]} twice in {shown}"), "Name each class once.")
    return [indices.index(number) for number in range(len(expressions))]


def _indices(classes: Sequence[str], expressions: ExpressionSet) -> list[int | None]:
    """Returns which of a study's expressions each class is; None for one that the study does not have."""
    by_name = {name.lower(): index for index, name in enumerate(expressions.names)}
    return [by_name.get(name.strip().lower(), expressions.parse(name)) for name in classes]


def _reorder(
    module: nn.Module, of_file: Architecture, order: Sequence[int], wanted: Architecture, path: Path
) -> dict[str, torch.Tensor]:
    """Returns the weights of a network whose logits are some of another's, in another order.

    Which tensors have a row for each class is found by building the network with one more class. That the logits are
    those of the file is then tried on images.

    Args:
        module: The network with the file's weights.
        of_file: Its architecture.
        order: For each logit that is wanted, which of the file's it is.
        wanted: The architecture with as many classes.
        path: The file, for errors.

    Raises:
        InputError: The network has no rows that could be put into another order.
    """
    state = module.state_dict()
    more = build_module(replace(of_file, classes=of_file.classes + 1)).state_dict()
    reordered = build_module(wanted)
    rows = torch.tensor(order)
    tensors = {}
    for name, tensor in state.items():
        lengths = more[name].shape if name in more else tensor.shape
        for dimension, length in enumerate(lengths):
            if length == tensor.shape[dimension] + 1 == of_file.classes + 1:
                tensor = tensor.index_select(dimension, rows)
        tensors[name] = tensor

    refusal = InputError(
        "the last layer of a network with --classes has a row for each of them",
        located(path, f"{wanted.name} computes its logits otherwise"),
        "Put the rows into the study's order yourself, and leave --classes out.",
    )
    fits = {name: tensor.shape for name, tensor in reordered.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != fits:
        raise refusal
    copy_into(reordered, tensors)
    if not _have_equal_logits(module, reordered, rows, of_file):
        raise refusal
    return tensors


def _have_equal_logits(module: nn.Module, reordered: nn.Module, rows: torch.Tensor, architecture: Architecture) -> bool:
    """Returns whether a network's logits are the chosen ones of another's, on a few images of noise."""
    with seeded(0):
        images = torch.randn(4, *architecture.images.shape)
    with torch.no_grad():
        logits = module.eval()(images)[:, rows]
        found = reordered.eval()(images)
    scale = float(logits.abs().max())
    if not scale < float("inf"):
        return True  # answers that are not finite are refused when the baseline is evaluated
    return bool((found - logits).abs().max() <= _TOLERANCE * max(scale, 1e-6))
