"""Weights of a network of somebody's own, and files of such that cannot be used."""

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from fer.architecture import Architecture
from fer.model.chains import build_module
from fer.model.equality import seeded

OWN = "own_network:small"
State = dict[str, torch.Tensor]


def state_of(architecture: Architecture, classes: int = 7, seed: int = 3) -> State:
    """Returns weights that differ from those of a new network, statistics included."""
    module = build_module(replace(architecture, classes=classes), seed)
    with seeded(seed):
        return {
            name: tensor if not tensor.is_floating_point() else tensor + torch.rand_like(tensor)
            for name, tensor in module.state_dict().items()
        }


def write_archive(path: Path, state: State) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.pt", as_bytes(state))


def as_bytes(state: object) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def edited(change: Callable[[State], object]) -> Callable[[Path, State], None]:
    """Returns what writes a changed state."""
    return lambda path, state: torch.save(change(state), path)


class Executed:
    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return (os.mkdir, ("executed",))


def link_to_nowhere(path: Path, state: State) -> None:
    path.symlink_to(path.with_name("gone.pt"))


WRONG: dict[str, tuple[Callable[[Path, State], object], str]] = {
    "missing": (lambda path, state: None, "must exist"),
    "dangling link": (link_to_nowhere, "must exist"),
    "folder": (lambda path, state: path.mkdir(), "a folder instead of a file"),
    "pipe": (lambda path, state: os.mkfifo(path), "a pipe, socket or device"),
    "empty": (lambda path, state: path.write_bytes(b""), "it is empty"),
    "text": (lambda path, state: path.write_text("epoch,accuracy\n1,0.5\n"), "it is text"),
    "truncated": (lambda path, state: path.write_bytes(as_bytes(state)[:-5000]), "ends before its end"),
    "zip of a file": (write_archive, "a ZIP archive that torch.save did not write"),
    "gzip": (lambda path, state: path.write_bytes(gzip.compress(as_bytes(state))), "a gzip archive"),
    "Keras": (lambda path, state: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "HDF5"),
    "code": (edited(lambda state: {"state_dict": state, "args": Executed()}), "is not executed"),
    "whole module": (edited(lambda state: nn.Linear(2, 2)), "Linear, and is not executed; save its state_dict"),
    "plain pickle": (lambda path, state: path.write_bytes(pickle.dumps([1, 2, 3])), "more than tensors|no tensors"),
    "a list": (edited(lambda state: list(state.values())), "it holds list and no tensors by name"),
    "NaN": (edited(lambda state: state | {"head.4.bias": torch.full((7,), float("nan"))}), "finite numbers"),
    "too large": (edited(lambda state: state | {"head.4.bias": torch.ones(7).double() * 1e300}), "finite numbers"),
    "negative variance": (edited(lambda state: state | {"head.1.running_var": -torch.ones(16)}), "not negative"),
    "another network": (edited(lambda state: nn.Linear(2, 2).state_dict()), "another network: missing: stem"),
    "wrapped otherwise": (
        edited(lambda state: {f"backbone.{name}": tensor for name, tensor in state.items()}),
        r"wrapped, each name begins with backbone\.",
    ),
    "eight classes": (
        edited(lambda state: state | {"head.4.weight": torch.ones(8, 16), "head.4.bias": torch.ones(8)}),
        r"another number of classes, 8 for 7: of another shape: head.4.weight 8×16 for 7×16.*--classes",
    ),
    "another width": (edited(lambda state: state | {"wider.weight": torch.ones(16, 9, 3, 3)}), "another width, size"),
    "a tensor more": (edited(lambda state: state | {"\x1b[2J": torch.ones(1)}), r"unexpected: \\x1b\[2J"),
    "whole numbers": (edited(lambda state: state | {"head.4.bias": torch.ones(7).long()}), "of another type"),
    "sparse": (edited(lambda state: state | {"head.4.bias": torch.ones(7).to_sparse()}), "sparse|is not executed"),
    "no tensor": (edited(lambda state: state | {"epoch": 3}), "its entry epoch is no tensor"),
}  # fmt: skip
