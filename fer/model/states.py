"""The weights of any network, in files of the names that its own `state_dict` has: read without trust, and written.

Safetensors, or a state dict that torch saved (`.pt`, `.pth`), which is loaded with `weights_only=True`: no file is ever
executed.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import nn

from fer.errors import InputError, printable, shorten
from fer.files import UnsuitableFile, open_regular
from fer.model.blocks import Chain
from fer.model.values import check_values, copy_into, located, name_few
from fer.tensor_files import MOST_BYTES, DamagedTensorFile
from fer.tensors import load_tensors, save_tensors

_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".tar")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIX = "module."
"""What torch's DataParallel puts before each name."""
_FIX = (
    "Give the network's state_dict() as safetensors, or saved by torch.save, of the same architecture and number of "
    "classes."
)


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
    state = _read(path)
    expected = module.state_dict()
    state = {name: tensor for name, tensor in state.items() if name not in new}
    reason = _misfit(expected, state, new)
    if reason:
        raise InputError("a network file holds the network's tensors", located(path, reason), _FIX)

    # Older files have no counters of batches; in evaluation they are never used.
    converted = {name: tensor.to(expected[name].dtype) for name, tensor in state.items()}
    check_values(converted, path, _FIX)
    copy_into(module, converted)


def _misfit(expected: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], new: Collection[str]) -> str:
    """Returns how tensors differ from those of a network, a few names of each kind; empty where they fit."""
    common = [name for name in state if name in expected]
    problems = {
        "missing": [
            name
            for name in expected
            if name not in state and name not in new and not name.endswith("num_batches_tracked")
        ],
        "unexpected": [name for name in state if name not in expected],
        "of another shape": [
            _shapes(name, expected, state) for name in common if state[name].shape != expected[name].shape
        ],
        "of another type": [
            name for name in common if state[name].is_floating_point() != expected[name].is_floating_point()
        ],
    }
    return "; ".join(f"{problem}: {name_few(names)}" for problem, names in problems.items() if names)


def _shapes(name: str, expected: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]) -> str:
    """Returns a tensor's name with its two shapes."""
    given, wanted = ("×".join(str(length) for length in tensors[name].shape) for tensors in (state, expected))
    return f"{shorten(name, 30)} {shorten(given, 20)} for {wanted}"


def _read(path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file by name, on the CPU.

    Raises:
        InputError: The file does not exist, is damaged or of another kind.
    """
    try:
        if path.suffix.lower() in _TORCH_SUFFIXES:
            return _read_torch(path)
        return load_tensors(path)[1]
    except FileNotFoundError:
        raise InputError("a network file must exist", path, _FIX) from None
    except UnsuitableFile as error:
        raise InputError("a network file is a regular file", located(path, str(error)), _FIX) from None
    except (DamagedTensorFile, OSError, ValueError) as error:  # a ValueError: the path holds a NUL
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise InputError(
            "a network file must be whole safetensors, or a state dict", located(path, reason), _FIX
        ) from None


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file that torch saved, without the name of what wraps them.

    Raises:
        DamagedTensorFile: It holds something else than tensors, or cannot be read.
        OSError: It cannot be opened, or is not regular.
    """
    with open_regular(path, MOST_BYTES) as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # of zip, pickle or torch, by what is damaged
            if type(error).__name__ == "UnpicklingError":
                raise DamagedTensorFile("it holds more than tensors, and is not executed") from None
            first_line = str(error).partition("\n")[0]
            raise DamagedTensorFile(f"torch cannot read it: {shorten(printable(first_line), 100)}") from None

    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not content:
        raise DamagedTensorFile(f"it holds {type(content).__name__} and no tensors by name")
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise DamagedTensorFile(f"its entry {shorten(printable(name), 40)} is no tensor")

    has_prefix = all(name.startswith(_PREFIX) for name in content)
    return {name.removeprefix(_PREFIX) if has_prefix else name: tensor for name, tensor in content.items()}
