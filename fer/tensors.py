"""Named tensors in safetensors files: written with a checksum, read without trust; see `fer.tensor_files`."""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import save_file

from fer.files import replacing
from fer.tensor_files import CHECKSUM, Check, TensorContent, TensorHeader, read_tensor_bytes, tensor_checksum

# The types of `fer.tensor_files.BYTES_OF` as torch has them.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "U8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors and texts to a safetensors file, atomically and with a checksum of both.

    Args:
        path: The file to write; its folder is made where it does not exist.
        tensors: By name, on any device.
        metadata: Texts by name.

    Raises:
        OSError: The file cannot be written.
    """
    # Cloned, because safetensors refuses tensors that share memory.
    on_cpu = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    contents = [
        TensorContent(name, _NAMES[tensor.dtype], tuple(tensor.shape), _bytes_of(tensor))
        for name, tensor in on_cpu.items()
    ]
    checksum = tensor_checksum(metadata, contents)

    # The folder may have been deleted since the work began.
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        save_file(on_cpu, partial, dict(metadata) | {CHECKSUM: checksum})


def load_tensors(
    path: Path | BinaryIO, check: Check = lambda header: None, needs_checksum: bool = False
) -> tuple[TensorHeader, dict[str, torch.Tensor]]:
    """Reads a safetensors file; arguments and errors are those of `read_tensor_bytes`.

    Returns:
        The header, and the tensors by name, on the CPU.
    """
    header, content = read_tensor_bytes(path, check, needs_checksum)
    tensors = {}
    for name, place in header.places.items():
        tensors[name] = _to_tensor(content[name], DTYPES[place.dtype], place.shape)
    return header, tensors


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    """Returns the numbers of a contiguous tensor on the CPU as bytes."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _to_tensor(content: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    """Returns the tensor whose numbers these bytes are."""
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(shape)
