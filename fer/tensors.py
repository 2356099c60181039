"""Named tensors, written to a file with a checksum and read from one that is not trusted; see `fer.tensor_files`."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from fer.files import replacing
from fer.tensor_files import CHECKSUM, Check, TensorHeader, read_tensor_bytes, tensor_checksum

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
    """Writes tensors and texts to a safetensors file, atomically, with a checksum of both; makes its folder."""
    # A clone each: safetensors refuses tensors that share memory.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    described = [(name, _NAMES[tensor.dtype], tuple(tensor.shape), _bytes_of(tensor)) for name, tensor in own.items()]
    known = {CHECKSUM: tensor_checksum(metadata, described)}

    # The folder may have been deleted since the work began.
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        save_file(own, partial, dict(metadata) | known)


def load_tensors(
    path: Path, check: Check = lambda header: None, needs_checksum: bool = False
) -> tuple[TensorHeader, dict[str, torch.Tensor]]:
    """Reads a safetensors file; arguments and errors are those of `read_tensor_bytes`.

    Returns:
        The header, and the tensors by name, on the CPU.
    """
    header, content = read_tensor_bytes(path, check, needs_checksum)
    return header, {
        name: _tensor(content[name], DTYPES[place.dtype], place.shape) for name, place in header.places.items()
    }


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _tensor(content: bytearray, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    if not content:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(shape)
