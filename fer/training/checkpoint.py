"""Trainings longer than a minute go on from their last epoch after a crash, to the same result bit for bit.

What an epoch leaves behind is the network, the optimiser's state, the random generators and what the caller noted; the
samples of all steps are drawn beforehand and need no keeping. Two checkpoints are kept, because processes that train
together may die with one of them an epoch ahead; each carries a hash of its content.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import nn

from fer.tensor_files import DamagedTensorFile
from fer.tensors import load_tensors, save_tensors

EVERY_SECONDS = 60.0


@dataclass
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: Where they lie.
        key: What the training depends on, as a file's name; another training has another.
        every: Seconds between two checkpoints at least; a shorter training leaves none.
        notes: Returns what the caller wants back, as JSON.
        restore: Is given it when the training goes on.
        agree: From the last epoch found here to the one that all processes of the training have.
    """

    folder: Path
    key: str
    every: float = EVERY_SECONDS
    notes: Callable[[], Any] = lambda: None
    restore: Callable[[Any], None] = lambda notes: None
    agree: Callable[[int], int] = lambda epoch: epoch
    last: float = field(default_factory=monotonic)

    def resume(
        self, network: nn.Sequential, optimiser: torch.optim.Optimizer, mixing: np.random.Generator | None
    ) -> tuple[int, int]:
        """Puts network, optimiser and generators into the state of the last checkpoint that is whole.

        Returns:
            The next step and the epochs done; both 0 when there is none.
        """
        found = {epoch: read for epoch in self._epochs() if (read := self._read(epoch)) is not None}
        epoch = self.agree(max(found, default=0))
        if epoch not in found:
            return 0, 0
        header, tensors = found[epoch]
        network.load_state_dict(
            {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
        )
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimiser":
                index, _, part = rest.partition(".")
                parameter = parameters[int(index)]
                # Laid out as its parameter is; a counter is a number of its own, which fused kernels want beside it.
                kept = torch.empty_like(parameter).copy_(tensor) if tensor.dim() else tensor.to(parameter.device)
                optimiser.state[parameter][part] = kept
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], parameters[0].device)
        if mixing is not None:
            mixing.bit_generator.state = header["mixing"]
        self.restore(header["notes"])
        return header["step"], epoch

    def offer(
        self,
        step: int,
        epoch: int,
        network: nn.Sequential,
        optimiser: torch.optim.Optimizer,
        mixing: np.random.Generator | None,
    ) -> None:
        """Keeps the state after an epoch, if the last one kept is long enough ago."""
        if monotonic() - self.last < self.every:
            return
        tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for index, parameter in enumerate(parameters):
            for part, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor):
                    tensors[f"optimiser.{index}.{part}"] = value
        tensors["random.cpu"] = torch.get_rng_state()
        if parameters[0].is_cuda:
            tensors["random.cuda"] = torch.cuda.get_rng_state(parameters[0].device)
        state = mixing.bit_generator.state if mixing is not None else None
        self._write(epoch, tensors, {"step": step, "mixing": state, "notes": self.notes()})
        self.last = monotonic()

    def clear(self) -> None:
        """Deletes them: the training is over."""
        for epoch in self._epochs():
            self._path(epoch).unlink(missing_ok=True)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"{self.key}-{epoch:06d}.safetensors"

    def _epochs(self) -> list[int]:
        names = (path.stem.rpartition("-")[2] for path in self.folder.glob(f"{self.key}-*.safetensors"))
        return sorted(int(name) for name in names if name.isdigit())

    def _write(self, epoch: int, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
        # A folder that is deleted in this very moment costs a checkpoint, not the training.
        with contextlib.suppress(FileNotFoundError):
            save_tensors(self._path(epoch), tensors, {"checkpoint": json.dumps(header)})
        for older in self._epochs()[:-2]:
            self._path(older).unlink(missing_ok=True)

    def _read(self, epoch: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """Returns a checkpoint's header and tensors; deletes one that is damaged, as if it had never been."""
        path = self._path(epoch)
        try:
            header, tensors = load_tensors(path, needs_checksum=True)
            return json.loads(header.metadata["checkpoint"]), tensors
        except (DamagedTensorFile, OSError):
            path.unlink(missing_ok=True)
            return None
