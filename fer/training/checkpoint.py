"""Checkpoints: a training of more than a minute goes on after a crash, to the same result bit for bit.

A checkpoint is written after an epoch. It holds the network, the optimiser's state, the random generators and the
caller's notes; the samples of all steps are drawn before the training, so they need not be stored. The last two are
kept, because processes that train together may die with one of them an epoch ahead. Each carries a hash of its content.
"""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import nn

from fer.tensor_files import DamagedTensorFile
from fer.tensors import load_tensors, save_tensors
from fer.training.optimisers import parameters_of

EVERY_SECONDS = 60.0
"""Time between two checkpoints, at least; a shorter training writes none."""

_NETWORK = "network."
_COMPANION = "companion."
_OPTIMISER = "optimiser."
_CPU_RANDOM = "random.cpu"
_GPU_RANDOM = "random.cuda"


@dataclass
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: Where they lie.
        key: Name of the training in the folder: a hash of all that it depends on.
        every: Seconds between two checkpoints, at least.
        notes: Returns what the caller wants to have stored, as JSON values.
        restore: Called with these notes when the training goes on.
        companion: A module that changes with the network, such as an average of its weights; stored and restored, too.
        agree: From the last epoch that this process has a checkpoint of to the last that all processes of the training
            have.
        last: When the last checkpoint was written, or else when this was made, by the monotonic clock.
    """

    folder: Path
    key: str
    every: float = EVERY_SECONDS
    notes: Callable[[], Any] = lambda: None
    restore: Callable[[Any], None] = lambda notes: None
    companion: nn.Module | None = None
    agree: Callable[[int], int] = lambda epoch: epoch
    last: float = field(default_factory=monotonic)

    def resume(
        self, network: nn.Sequential, optimiser: torch.optim.Optimizer, mixup_rng: np.random.Generator | None
    ) -> tuple[int, int]:
        """Puts network, optimiser and generators into the state of the last intact checkpoint.

        Args:
            network: Changed in place.
            optimiser: Of the network, new; changed in place.
            mixup_rng: The generator of mixup, if it is used; changed in place.

        Returns:
            The next step and the number of finished epochs; both 0 without a checkpoint.
        """
        # Choose the checkpoint.
        checkpoints = {}
        for epoch in self._epochs():
            checkpoint = self._read(epoch)
            if checkpoint is not None:
                checkpoints[epoch] = checkpoint
        epoch = self.agree(max(checkpoints, default=0))
        if epoch not in checkpoints:
            return 0, 0
        header, tensors = checkpoints[epoch]

        # Restore network and optimiser.
        network.load_state_dict(_named_below(_NETWORK, tensors))
        if self.companion is not None:
            self.companion.load_state_dict(_named_below(_COMPANION, tensors))
        parameters = parameters_of(optimiser)
        for name, tensor in _named_below(_OPTIMISER, tensors).items():
            index, _, state_name = name.partition(".")
            parameter = parameters[int(index)]
            optimiser.state[parameter][state_name] = _laid_out_like(parameter, tensor)

        # Restore generators and notes.
        torch.set_rng_state(tensors[_CPU_RANDOM])
        if _GPU_RANDOM in tensors:
            torch.cuda.set_rng_state(tensors[_GPU_RANDOM], parameters[0].device)
        if mixup_rng is not None:
            mixup_rng.bit_generator.state = header["mixing"]
        self.restore(header["notes"])
        return header["step"], epoch

    def offer(
        self,
        step: int,
        epoch: int,
        network: nn.Sequential,
        optimiser: torch.optim.Optimizer,
        mixup_rng: np.random.Generator | None,
    ) -> None:
        """Writes a checkpoint after an epoch, unless the last one is more recent than `every` seconds.

        Args:
            step: The step that comes next.
            epoch: Number of finished epochs.
            network: The network that trains.
            optimiser: Of the network.
            mixup_rng: The generator of mixup, if it is used.

        Raises:
            OSError: The disk is full.
        """
        if monotonic() - self.last < self.every:
            return

        # Network and optimiser.
        tensors = {f"{_NETWORK}{name}": tensor for name, tensor in network.state_dict().items()}
        if self.companion is not None:
            tensors |= {f"{_COMPANION}{name}": tensor for name, tensor in self.companion.state_dict().items()}
        parameters = parameters_of(optimiser)
        for index, parameter in enumerate(parameters):
            for state_name, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors[f"{_OPTIMISER}{index}.{state_name}"] = value

        # Generators and notes.
        tensors[_CPU_RANDOM] = torch.get_rng_state()
        if parameters[0].is_cuda:
            tensors[_GPU_RANDOM] = torch.cuda.get_rng_state(parameters[0].device)
        mixup_state = mixup_rng.bit_generator.state if mixup_rng is not None else None

        self._write(epoch, tensors, {"step": step, "mixing": mixup_state, "notes": self.notes()})
        self.last = monotonic()

    def clear(self) -> None:
        """Deletes the checkpoints of this training, which is over."""
        for epoch in self._epochs():
            self._path(epoch).unlink(missing_ok=True)

    def _path(self, epoch: int) -> Path:
        """Returns the file of the checkpoint after an epoch."""
        return self.folder / f"{self.key}-{epoch:06d}.safetensors"

    def _epochs(self) -> list[int]:
        """Returns the epochs after which there is a checkpoint, ascending."""
        names = (path.stem.rpartition("-")[2] for path in self.folder.glob(f"{self.key}-*.safetensors"))
        return sorted(int(name) for name in names if name.isdigit())

    def _write(self, epoch: int, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        """Writes a checkpoint, and deletes all but the last two."""
        # If somebody deletes the folder at this moment, the training goes on without this checkpoint.
        with contextlib.suppress(FileNotFoundError):
            save_tensors(self._path(epoch), tensors, {"checkpoint": json.dumps(header)})
        for older in self._epochs()[:-2]:
            self._path(older).unlink(missing_ok=True)

    def _read(self, epoch: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """Returns a checkpoint's header and tensors, or None if it is damaged; then it is deleted."""
        path = self._path(epoch)
        try:
            header, tensors = load_tensors(path, needs_checksum=True)
            return json.loads(header.metadata["checkpoint"]), tensors
        except (DamagedTensorFile, OSError):
            path.unlink(missing_ok=True)
            return None


def _named_below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the tensors whose names begin with a prefix, under names without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _laid_out_like(parameter: nn.Parameter, tensor: torch.Tensor) -> torch.Tensor:
    """Returns a tensor of the optimiser's state on the device of its parameter, and in its memory layout.

    A counter of steps has no dimension, and so no layout.
    """
    if tensor.dim() == 0:
        return tensor.to(parameter.device)
    return torch.empty_like(parameter).copy_(tensor)
