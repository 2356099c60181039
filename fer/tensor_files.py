"""Safetensors files, read without trust: damage is found before a tensor is used.

The format (huggingface.co/docs/safetensors): eight bytes hold the length of the header; the header is a JSON object
with the type, shape and place of each tensor, and texts under "__metadata__"; the bytes of all tensors follow, without
gaps. Files of this project hold under "checksum" a hash of all other metadata and of the tensors.

This module works without torch, so that a process without it can check a file; `fer.tensors` turns bytes into tensors.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from fer.errors import printable, shorten
from fer.files import checksum, open_regular, size_text

MOST_BYTES = 4 * 2**30
"""The largest file that is read. A checkpoint of the widest network with two moments for each weight has 3.4 GiB."""
MOST_HEADER_BYTES = 2**22
MOST_TENSORS = 10_000
"""DenseNet-201 has 1,207."""
MOST_DIMENSIONS = 8
CHECKSUM = "checksum"
BYTES_OF = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1}
"""The types that are read, and their bytes per number."""
_LENGTH_BYTES = 8


class DamagedTensorFile(ValueError):
    """A file that does not hold tensors as it should; the message is the reason, without the path."""


@dataclass(frozen=True)
class TensorPlace:
    """Where a tensor lies in a file, and how its bytes are read.

    Attributes:
        dtype: A name in `BYTES_OF`.
        shape: The tensor's shape.
        start: Its first byte, counted from the end of the header.
        stop: The byte after its last.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class TensorHeader:
    """The header of a file.

    Attributes:
        metadata: Texts by name, the checksum among them.
        places: The tensors by name, in the order in which they lie in the file.
    """

    metadata: Mapping[str, str]
    places: Mapping[str, TensorPlace]


@dataclass(frozen=True)
class TensorContent:
    """A tensor as bytes.

    Attributes:
        name: Its name in the file.
        dtype: A name in `BYTES_OF`.
        shape: Its shape.
        data: Its numbers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | bytearray | memoryview


Check = Callable[[TensorHeader], None]
"""Raises `DamagedTensorFile` for a header that its reader cannot use."""


def read_tensor_bytes(
    path: str | Path | BinaryIO, check: Check = lambda header: None, needs_checksum: bool = False
) -> tuple[TensorHeader, dict[str, bytearray]]:
    """Reads a file that is not trusted, and compares its content with its checksum.

    Args:
        path: A regular file of at most `MOST_BYTES`, with at most `MOST_TENSORS` tensors; or its content, which was
            read before.
        check: Called with the header before memory is allocated for any tensor.
        needs_checksum: Whether a file without checksum is refused. A user's own file may have none.

    Returns:
        The header, and the bytes of each tensor.

    Raises:
        DamagedTensorFile: The file is cut short, altered, or not a safetensors file.
        OSError: The file cannot be read, or is not regular.
    """
    opened = open_regular(path, MOST_BYTES) if isinstance(path, str | Path) else path
    with opened as file:
        header = _read_header(file)
        check(header)
        content = {name: _read_exactly(file, place.stop - place.start) for name, place in header.places.items()}

    written_checksum = header.metadata.get(CHECKSUM)
    if written_checksum is None:
        if needs_checksum:
            raise DamagedTensorFile("it holds no checksum")
        return header, content

    contents = [TensorContent(name, place.dtype, place.shape, content[name]) for name, place in header.places.items()]
    if written_checksum != tensor_checksum(header.metadata, contents):
        raise DamagedTensorFile("its content does not match its checksum")
    return header, content


def read_header(path: str | Path) -> TensorHeader:
    """Reads the header of a file, without its tensors.

    Raises:
        DamagedTensorFile: The header is not that of a safetensors file, or does not match the file's size.
        OSError: The file cannot be read, or is not regular.
    """
    with open_regular(path, MOST_BYTES) as file:
        return _read_header(file)


def damage_of(path: str | Path) -> str | None:
    """Returns why a file cannot be read or is damaged, or None if it is intact; a checksum is not required."""
    try:
        read_tensor_bytes(path)
    except DamagedTensorFile as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return None


def tensor_checksum(metadata: Mapping[str, str], tensors: Iterable[TensorContent]) -> str:
    """Returns a hash of metadata and tensors, 16 hex digits, independent of their order.

    Args:
        metadata: Texts by name; the checksum among them, if there is one, is left out.
        tensors: Name, type, shape and bytes of each.
    """
    texts = sorted((name, text) for name, text in metadata.items() if name != CHECKSUM)
    pieces: list[bytes | memoryview] = [json.dumps(texts).encode()]
    for tensor in sorted(tensors, key=lambda tensor: tensor.name):
        description = [tensor.name, tensor.dtype, tensor.shape]
        pieces.append(json.dumps(description).encode())
        pieces.append(memoryview(tensor.data))
    return checksum(*pieces)


def _read_header(file: BinaryIO) -> TensorHeader:
    """Reads and checks the header, and leaves the file at its first tensor."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if length > MOST_HEADER_BYTES:
        raise DamagedTensorFile(f"its header has more than {size_text(MOST_HEADER_BYTES)}, or it is no safetensors")
    if size < _LENGTH_BYTES + length:
        raise DamagedTensorFile("it ends within its header")

    entries = _parse_json(bytes(_read_exactly(file, length)))
    metadata = _parse_metadata(entries.pop("__metadata__", {}))
    if len(entries) > MOST_TENSORS:
        raise DamagedTensorFile(f"it holds {len(entries)} tensors, of at most {MOST_TENSORS}")
    places = [(name, _parse_place(name, entry)) for name, entry in entries.items()]

    # Each tensor begins where the previous one ends, and the last ends with the file.
    places.sort(key=lambda item: (item[1].start, item[1].stop))
    end = 0
    for name, place in places:
        if place.start != end:
            raise DamagedTensorFile(f"tensor {_shown(name)} does not begin where the one before ends")
        end = place.stop
    present = size - _LENGTH_BYTES - length
    if present != end:
        raise DamagedTensorFile(f"its header tells of {end} bytes; there are {present}")
    return TensorHeader(metadata, dict(places))


def _parse_json(text: bytes) -> dict[str, Any]:
    """Returns the JSON object of a header.

    Raises:
        DamagedTensorFile: It is none, or holds a name twice.
    """
    try:
        parsed = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except DamagedTensorFile:
        raise
    except (ValueError, RecursionError):
        raise DamagedTensorFile("its header is not JSON") from None
    if not isinstance(parsed, dict):
        raise DamagedTensorFile("its header is not a JSON object")
    return parsed


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the pairs of a JSON object as a dict; refuses an object that holds a name twice."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise DamagedTensorFile("its header holds a name twice")
    return entries


def _parse_metadata(entry: object) -> dict[str, str]:
    """Returns the texts by name that a header holds under "__metadata__".

    Raises:
        DamagedTensorFile: They are something else.
    """
    if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
        raise DamagedTensorFile("its metadata are not texts by name")
    return entry


def _parse_place(name: str, entry: object) -> TensorPlace:
    """Returns the place that a header gives for a tensor.

    Raises:
        DamagedTensorFile: Type, shape or place are missing, unknown, or do not match each other.
    """
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise DamagedTensorFile(f"tensor {_shown(name)} is not described by dtype, shape and data_offsets")

    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in BYTES_OF:
        raise DamagedTensorFile(
            f"tensor {_shown(name)} is of type {_shown(dtype)}, which is none of {', '.join(BYTES_OF)}"
        )

    shape = entry["shape"]
    if not _are_counts(shape) or len(shape) > MOST_DIMENSIONS:
        raise DamagedTensorFile(f"tensor {_shown(name)} has no shape")

    offsets = entry["data_offsets"]
    if not _are_counts(offsets) or len(offsets) != 2:
        raise DamagedTensorFile(f"tensor {_shown(name)} has no place")
    start, stop = offsets
    if stop - start != math.prod(shape) * BYTES_OF[dtype]:
        raise DamagedTensorFile(f"tensor {_shown(name)} has other bytes than its shape needs")
    return TensorPlace(dtype, tuple(shape), start, stop)


def _are_counts(entry: object) -> TypeGuard[list[int]]:
    """Returns whether this is a list of integers from 0 on; True, which Python takes for 1, is not an integer."""
    return isinstance(entry, list) and all(type(count) is int and count >= 0 for count in entry)


def _read_exactly(file: BinaryIO, count: int) -> bytearray:
    """Returns the next `count` bytes of a file.

    Raises:
        DamagedTensorFile: The file ends before.
    """
    content = bytearray(count)
    if file.readinto(content) < count:  # type: ignore[attr-defined]
        raise DamagedTensorFile("it ends within a tensor")
    return content


def _shown(value: object) -> str:
    """Returns a value of the file as a message has it: short, and without what a terminal would obey."""
    return shorten(printable(value), 60)
