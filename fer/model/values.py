"""The weights of a network as named tensors: checked, copied, and named in errors."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from fer.errors import LONGEST_VALUE, InputError, printable, shorten


def copy_into(module: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Writes weights where a module has them, past the conversions that some networks make of files of older versions.

    Args:
        module: Changed in place.
        state: Its weights by the names of its own `state_dict`; what is missing stays as it is.
    """
    own = module.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


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
