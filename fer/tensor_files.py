"""Safetensors files, read without trust: whether a file is whole is known before its tensors are used.

The format (huggingface.co/docs/safetensors): eight bytes hold the length of the header; the header is a JSON object
with the type, shape and place of each tensor, and texts under "__metadata__"; the bytes of all tensors follow, without
gaps. What this project writes holds under "checksum" a hash of its other metadata and of its tensors.

Nothing here needs torch, so that a process without it can tell a damaged file; `fer.tensors` makes tensors of one.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fer.errors import printable, shorten
from fer.files import checksum, open_regular, size_text

MOST_BYTES = 4 * 2**30
"""A checkpoint of the widest network with two moments for each weight has 3.4 GiB."""
MOST_HEADER_BYTES = 2**22
MOST_TENSORS = 1000
MOST_DIMENSIONS = 8
CHECKSUM = "checksum"
BYTES_OF = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1}
"""Bytes per number of the types that are read."""
_LENGTH_BYTES = 8


class DamagedTensorFile(ValueError):
    """A file that does not hold tensors as it should; the message is the reason, without the path."""


@dataclass(frozen=True)
class TensorPlace:
    """One tensor in a file.

    Attributes:
        dtype: A name in `BYTES_OF`.
        shape: Its shape.
        start: First byte, counted from the end of the header.
        stop: The byte after its last.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class TensorHeader:
    """What a file says of itself.

    Attributes:
        metadata: Texts by name, the checksum among them.
        places: The tensors by name, in the order in which they lie in the file.
    """

    metadata: Mapping[str, str]
    places: Mapping[str, TensorPlace]


Check = Callable[[TensorHeader], None]


def read_tensor_bytes(
    path: str | Path, check: Check = lambda header: None, needs_checksum: bool = False
) -> tuple[TensorHeader, dict[str, bytearray]]:
    """Reads a file that is not trusted, and compares its content with its checksum.

    Args:
        path: A regular file of at most `MOST_BYTES`, with at most `MOST_TENSORS` tensors.
        check: Is given the header before memory for a tensor is asked for; raises `DamagedTensorFile`.
        needs_checksum: Whether a file without checksum is refused. A user's own may have none.

    Returns:
        The header, and the bytes of each tensor.

    Raises:
        DamagedTensorFile: It is cut short, altered, or no safetensors file.
        OSError: It cannot be read, or is no regular file.
    """
    with open_regular(path, MOST_BYTES) as file:
        header = _read_header(file)
        check(header)
        content = {name: _read_exactly(file, place.stop - place.start) for name, place in header.places.items()}

    known = header.metadata.get(CHECKSUM)
    if known is None and needs_checksum:
        raise DamagedTensorFile("it holds no checksum")
    if known is not None and known != tensor_checksum(header.metadata, _described(header, content)):
        raise DamagedTensorFile("its content does not match its checksum")
    return header, content


def read_header(path: str | Path) -> TensorHeader:
    """Reads what a file says of itself, without its tensors; raises as `read_tensor_bytes` does."""
    with open_regular(path, MOST_BYTES) as file:
        return _read_header(file)


def damage_of(path: str | Path) -> str | None:
    """Returns why a file is not whole, or None where it is; a file without checksum may be."""
    try:
        read_tensor_bytes(path)
    except DamagedTensorFile as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return None


def tensor_checksum(
    metadata: Mapping[str, str], tensors: Iterable[tuple[str, str, tuple[int, ...], bytes | bytearray | memoryview]]
) -> str:
    """Returns a hash, 16 hex digits, of metadata other than the checksum and of tensors, in whatever order.

    Args:
        metadata: Texts by name.
        tensors: Name, type, shape and bytes of each.
    """
    texts = sorted(item for item in metadata.items() if item[0] != CHECKSUM)
    parts: list[bytes | memoryview] = [json.dumps(texts).encode()]
    for name, dtype, shape, content in sorted(tensors, key=lambda tensor: tensor[0]):
        parts += [json.dumps([name, dtype, shape]).encode(), memoryview(content)]
    return checksum(*parts)


def _described(
    header: TensorHeader, content: Mapping[str, bytearray]
) -> Iterable[tuple[str, str, tuple[int, ...], bytearray]]:
    return [(name, place.dtype, place.shape, content[name]) for name, place in header.places.items()]


def _read_header(file: BinaryIO) -> TensorHeader:
    """Reads and checks the header; the file is then at the first tensor."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > MOST_HEADER_BYTES:
        raise DamagedTensorFile(f"its header has more than {size_text(MOST_HEADER_BYTES)}, or it is no safetensors")
    if size < _LENGTH_BYTES + length:
        raise DamagedTensorFile("it ends within its header")

    entries = _parse_json(bytes(_read_exactly(file, length)))
    metadata = _parse_metadata(entries.pop("__metadata__", {}))
    if len(entries) > MOST_TENSORS:
        raise DamagedTensorFile(f"it holds {len(entries)} tensors, of at most {MOST_TENSORS}")
    places = {name: _parse_place(name, entry) for name, entry in entries.items()}

    # Each tensor begins where the one before ends, and the last ends with the file.
    reached = 0
    ordered = sorted(places.items(), key=lambda item: (item[1].start, item[1].stop))
    for name, place in ordered:
        if place.start != reached:
            raise DamagedTensorFile(f"tensor {_shown(name)} does not begin where the one before ends")
        reached = place.stop
    if size != _LENGTH_BYTES + length + reached:
        raise DamagedTensorFile(f"its header tells of {reached} bytes; there are {size - _LENGTH_BYTES - length}")
    return TensorHeader(metadata, dict(ordered))


def _parse_json(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text.decode(), object_pairs_hook=_without_twins)
    except DamagedTensorFile:
        raise
    except (ValueError, RecursionError):
        raise DamagedTensorFile("its header is not JSON") from None
    if not isinstance(found, dict):
        raise DamagedTensorFile("its header is not a JSON object")
    return found


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise DamagedTensorFile("its header holds a name twice")
    return found


def _parse_metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise DamagedTensorFile("its metadata are not texts by name")
    return found


def _parse_place(name: str, entry: Any) -> TensorPlace:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise DamagedTensorFile(f"tensor {_shown(name)} is not described by dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES_OF:
        raise DamagedTensorFile(
            f"tensor {_shown(name)} is of type {_shown(dtype)}, which is none of {', '.join(BYTES_OF)}"
        )
    if not _are_counts(shape) or len(shape) > MOST_DIMENSIONS:
        raise DamagedTensorFile(f"tensor {_shown(name)} has no shape")
    if not _are_counts(offsets) or len(offsets) != 2:
        raise DamagedTensorFile(f"tensor {_shown(name)} has no place")
    start, stop = offsets
    if stop - start != math.prod(shape) * BYTES_OF[dtype]:
        raise DamagedTensorFile(f"tensor {_shown(name)} has other bytes than its shape needs")
    return TensorPlace(dtype, tuple(shape), start, stop)


def _are_counts(found: Any) -> bool:
    """Whether this is a list of whole numbers from 0; True is none."""
    return isinstance(found, list) and all(type(count) is int and count >= 0 for count in found)


def _read_exactly(file: BinaryIO, count: int) -> bytearray:
    content = bytearray(count)
    if file.readinto(content) < count:  # type: ignore[attr-defined]
        raise DamagedTensorFile("it ends within a tensor")
    return content


def _shown(value: object) -> str:
    return shorten(printable(value), 60)
