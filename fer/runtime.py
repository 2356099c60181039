"""Where and how numbers are computed: device, precision, and the environment that one-thread processes need."""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from fer.errors import InputError

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Runtime:
    """Device ("cpu", "cuda", "cuda:1") and precision of training and evaluation."""

    device: str = "cpu"
    precision: Precision = "fp32"

    @property
    def on_gpu(self) -> bool:
        """Whether the device has a memory of its own."""
        return self.device != "cpu"

    @property
    def dtype(self) -> torch.dtype:
        """The type of activations, and so of cached features."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> AbstractContextManager:
        """Computes in bf16 inside, where that is the precision; nothing otherwise."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)


def runtime(device: str = "auto", precision: str = "auto", threads: int = 1) -> Runtime:
    """Resolves "auto": the GPU where there is one; bf16 where the hardware multiplies it fast, else fp32.

    Lets this process compute with so many threads.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("--device cuda needs a CUDA GPU that torch can use", device, "Use --device cpu.")
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") or _cpu_has_fast_bf16() else "fp32"
    torch.set_num_threads(threads)
    return Runtime(device, "bf16" if precision == "bf16" else "fp32")


def _cpu_has_fast_bf16() -> bool:
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def digest_of(state: dict[str, torch.Tensor]) -> str:
    """Returns a hash of named tensors, 16 hex digits."""
    hashed = hashlib.blake2b(digest_size=8)
    for name in sorted(state):
        hashed.update(name.encode())
        hashed.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()
