"""The weights of any network, in files of the names that its own `state_dict` has: read without trust, and written.

Safetensors, or a state dict that torch saved, which is loaded with `weights_only=True`: no file is ever executed.
"""

import io
import re
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fer.errors import InputError, printable, shorten
from fer.files import UnsuitableFile, checksum, read_unchanged, size_text
from fer.model.blocks import Chain
from fer.model.fitting import fit_tensors
from fer.model.values import check_values, copy_into, located
from fer.tensor_files import MOST_BYTES, DamagedTensorFile
from fer.tensors import load_tensors, save_tensors

_WRAPPERS = ("state_dict", "model", "model_state_dict", "net", "ema")
"""Under which entry training scripts save the state dict, beside epochs and optimisers; the first one counts."""
_MOST_WRAPPERS = 3
_AVERAGED = "n_averaged"
"""The counter of torch's AveragedModel beside the weights."""
FIX = (
    "Give the network's state_dict() as safetensors, or saved by torch.save, of the same architecture and number of "
    "classes."
)


# Writing.


def chain_state(chain: Chain, network: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the weights of a chain's network, or of a copy of it, by the names of the original's `state_dict`."""
    return {chain.state_names[name]: tensor for name, tensor in network.state_dict().items()}


def save_chain(chain: Chain, network: nn.Module, path: Path, header: Mapping[str, str]) -> None:
    """Writes the weights of a chain's network as safetensors, atomically and with a checksum.

    Args:
        chain: The chain.
        network: Its network, or a copy of that with other weights.
        path: The file to write.
        header: Texts by name.

    Raises:
        OSError: The file cannot be written.
    """
    state = {name: tensor.detach() for name, tensor in chain.module.state_dict().items()}
    save_tensors(path, state | chain_state(chain, network), header)


# Reading.


@dataclass(frozen=True)
class StateFile:
    """The content of a file of weights.

    Attributes:
        tensors: By the names that they have in the file, on the CPU; of any types and values.
        metadata: Texts by name, which safetensors may have.
        checksum: Hash of the file's bytes, of those that were read.
    """

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]
    checksum: str


def load_state(module: nn.Module, path: Path, new: Collection[str] = ()) -> None:
    """Gives a network the weights of a file.

    Args:
        module: The network, or `Chain.module`: its blocks have the weights as well.
        path: Safetensors, or a state dict that torch saved.
        new: The names of tensors that stay as they are, and which the file may lack or hold in another shape: of
            pretrained features with another head, `Chain.head_state_names`.

    Raises:
        InputError: The file does not exist, is damaged or of another kind, its tensors do not fit, or a weight is not
            finite.
    """
    expected = module.state_dict()
    fitted = fit_tensors(read_state(path).tensors, expected, path, new)
    check_values(fitted.tensors, path, FIX)
    copy_into(module, fitted.tensors)


def read_state(path: Path) -> StateFile:
    """Reads a file of weights; what kind of file it is, its content says.

    Raises:
        InputError: The file does not exist, is damaged or of another kind.
    """
    with telling_of_file(path, "a network file must be whole safetensors, or a state dict", FIX):
        data = read_unchanged(path, MOST_BYTES)
        # The length of a safetensors header may begin like torch's files, so the header itself decides.
        is_of_torch = data.startswith((b"PK", b"\x80")) and not _has_header(data)
        read = _read_torch if is_of_torch else _read_safetensors
        tensors, metadata = read(data)
        return StateFile(tensors, metadata, checksum(data))


@contextmanager
def telling_of_file(path: Path, rule: str, fix: str) -> Iterator[None]:
    """Turns the errors of reading a file of weights into one line.

    Args:
        path: The file.
        rule: What a file of this kind must be.
        fix: What the user can do about it.

    Raises:
        InputError: The block raised an error of the file.
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError("a network file must exist", path, fix) from None
    except UnsuitableFile as error:
        raise InputError("a network file is a regular file", located(path, str(error)), fix) from None
    except (DamagedTensorFile, OSError, ValueError) as error:  # a ValueError: the path holds a NUL
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError(rule, located(path, reason), fix) from None


def _read_safetensors(data: bytes) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    """Returns the tensors and the texts of safetensors.

    Raises:
        DamagedTensorFile: These bytes are no safetensors.
    """
    if not data:
        raise DamagedTensorFile("it is empty")
    if not _has_header(data):
        raise DamagedTensorFile(f"it is {_kind_of(data)}")
    header, tensors = load_tensors(io.BytesIO(data))
    if not tensors:
        raise DamagedTensorFile("it holds no tensors by name")
    return tensors, header.metadata


def _has_header(data: bytes) -> bool:
    """Returns whether a JSON object follows the eight bytes of a length, as in safetensors."""
    return data[8:9] == b"{"


def _kind_of(data: bytes) -> str:
    """Returns what kind of file these bytes are that are neither safetensors nor torch's."""
    beginnings = {
        b"\x1f\x8b": "a gzip archive, to be unpacked first",
        b"7z\xbc\xaf": "a 7z archive, to be unpacked first",
        b"BZh": "a bzip2 archive, to be unpacked first",
        b"\xfd7zXZ": "an xz archive, to be unpacked first",
        b"\x89HDF": "HDF5, as Keras writes it",
        b"version https://git-lfs": "a pointer of Git LFS, whose file was not fetched",
    }
    for beginning, kind in beginnings.items():
        if data.startswith(beginning):
            return kind
    if data[257:262] == b"ustar":
        return "a tar archive, to be unpacked first"
    if data[:1000].isascii() and b"\0" not in data[:1000]:
        return "text"
    return "neither safetensors nor a file of torch.save, or its beginning is lost"


def _read_torch(data: bytes) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    """Returns the tensors of a file that torch saved, without the name of what wraps them.

    Raises:
        DamagedTensorFile: It holds something else than tensors, or cannot be read.
    """
    if data.startswith(b"PK"):
        _check_archive(data)
    try:
        with warnings.catch_warnings(action="ignore"):  # of another protocol of pickle
            content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # of zip, pickle or torch, by what is damaged
        raise DamagedTensorFile(_reason_of_refusal(error)) from None

    for _ in range(_MOST_WRAPPERS):
        content = _unwrapped(content)
    if not isinstance(content, dict) or not content:
        raise DamagedTensorFile(f"it holds {type(content).__name__} and no tensors by name")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise DamagedTensorFile(f"its entry {shorten(printable(name), 40)} is no tensor")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise DamagedTensorFile(f"its tensor {shorten(printable(name), 40)} is sparse, quantised or without values")
    return {name: tensor.detach() for name, tensor in content.items() if name != _AVERAGED}, {}


def _check_archive(data: bytes) -> None:
    """Raises DamagedTensorFile for a ZIP archive that torch did not write, or that would fill the memory."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise DamagedTensorFile("it ends before its end, or is damaged") from None
    if not any(member.filename.endswith("/data.pkl") for member in members):
        raise DamagedTensorFile("it is a ZIP archive that torch.save did not write")
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise DamagedTensorFile("it is a program of TorchScript; save its state_dict() alone")
    if sum(member.file_size for member in members) > MOST_BYTES:
        raise DamagedTensorFile(f"it unpacks to more than {size_text(MOST_BYTES)}")


def _reason_of_refusal(error: Exception) -> str:
    """Returns why torch did not load a file."""
    text = str(error)
    if type(error).__name__ == "UnpicklingError":
        named = re.search(r"GLOBAL ([\w.]+)", text)
        if named is None:
            return "it holds more than tensors, and is not executed"
        return f"it holds more than tensors, {shorten(named[1], 60)}, and is not executed; save its state_dict() alone"
    first_line = text.partition("\n")[0]
    return f"torch cannot read it: {shorten(printable(first_line), 100)}"


def _unwrapped(content: Any) -> Any:  # noqa: ANN401  # of a file
    """Returns the entry of a checkpoint under which its weights are; anything else as it is."""
    if isinstance(content, dict):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), dict):
                return content[wrapper]
    return content
