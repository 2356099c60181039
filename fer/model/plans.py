"""What was found of a network's blocks, as a file that another process builds them from without proving them again.

The file is named by a hash of the network's structure: types, settings, names and shapes of its modules, the code of
classes that no library holds, and versions of the libraries.
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from torch import nn

from fer.files import UnsuitableFile, read_regular, write_atomically
from fer.model.parts import Part
from fer.model.source_code import hash_code

VERSION = 1
"""Raised whenever the division into blocks changes."""
_LIBRARIES = ("torch", "torchvision", "timm")
_MOST_BYTES = 2**20


@dataclass(frozen=True)
class BlockPlan:
    """A block as text.

    Attributes:
        name: The block's name.
        parts: Its parts, in order.
    """

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class ChainPlan:
    """The blocks of a network as text.

    Attributes:
        blocks: In order.
        head: The number of blocks before the head.
        cut_shapes: The shape of one sample's features at each cut.
    """

    blocks: tuple[BlockPlan, ...]
    head: int
    cut_shapes: tuple[tuple[int, ...], ...]


def structure_digest(
    module: nn.Module,
    shape: tuple[int, ...],
    with_versions: bool = True,
    hash_source: Callable[[bytes], str] = hash_code,
) -> str:
    """Returns a hash of what a network's blocks depend on, 32 hex digits; its weights are not among it.

    Args:
        module: The network.
        shape: Channels, height and width of its images.
        with_versions: Whether versions of the division and of libraries are part of it; without them it tells
            networks apart, and not what was found of them.
        hash_source: Returns a hash of the content of a source file.
    """
    hashed = hashlib.blake2b(digest_size=16)

    def add(*texts: object) -> None:
        hashed.update(json.dumps([str(text) for text in texts]).encode() + b"\n")

    add("shape", tuple(shape))
    if with_versions:
        add("plan", VERSION, sys.version_info[:2])
        for library in _LIBRARIES:
            add(library, _version_of(library))
    source_files: set[str] = set()
    for name, part in module.named_modules(remove_duplicate=False):
        add("module", name, type(part).__module__, type(part).__qualname__, part.extra_repr())
        add(*_settings(part))
        source_files |= _source_files(type(part))
    for kind, tensors in (("parameter", module.named_parameters()), ("buffer", module.named_buffers())):
        for name, tensor in tensors:
            add(kind, name, tuple(tensor.shape), tensor.dtype)
    for file in sorted(source_files):
        add("source", hash_source(Path(file).read_bytes()))
    return hashed.hexdigest()


def _version_of(library: str) -> str:
    """Returns an installed library's version, empty where it is not installed."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _settings(module: nn.Module) -> list[str]:
    """Returns the attributes of a module that are numbers, texts or tuples of these, its mode of training left out."""
    simple = (bool, int, float, str, type(None))
    settings = []
    for name, value in sorted(vars(module).items()):
        items = value if isinstance(value, tuple | list) else (value,)
        if name != "training" and all(isinstance(item, simple) for item in items):
            settings.append(f"{name}={value!r}")
    return settings


def _source_files(kind: type) -> set[str]:
    """Returns the source files of a class and its bases, those of libraries left out, whose versions are known."""
    files = set()
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        if package in (*_LIBRARIES, "builtins", "fer"):
            continue
        try:
            files.add(inspect.getfile(base))
        except (TypeError, OSError):  # made at run time
            continue
    return {file for file in files if Path(file).is_file()}


def write_plan(path: Path, plan: ChainPlan) -> None:
    """Writes a plan, making its folder where need be.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(plan)).encode())


def read_plan(path: Path) -> ChainPlan | None:
    """Returns the plan of a file, None where there is none or it cannot be read."""
    try:
        entry = json.loads(read_regular(path, _MOST_BYTES))
        blocks = [
            BlockPlan(
                str(block["name"]),
                tuple(Part(part["kind"], part["path"], tuple(part["without"])) for part in block["parts"]),
            )
            for block in entry["blocks"]
        ]
        cut_shapes = tuple(tuple(int(size) for size in shape) for shape in entry["cut_shapes"])
        return ChainPlan(tuple(blocks), int(entry["head"]), cut_shapes)
    except (FileNotFoundError, UnsuitableFile):
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
