"""Where and how numbers are computed: device, precision, and the environment that one-thread processes need."""

import hashlib
import time
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

    @property
    def onednn_dtype(self) -> torch.dtype | None:
        """The type in which images are quicker in the layout of oneDNN, which computes convolutions on CPUs, or None.

        In bf16 batch-norm, ReLU and pooling then take a third of the time, in fp32 nothing is gained.
        """
        return self.dtype if self.device == "cpu" and self.precision == "bf16" and _cpu_has_bf16() else None

    def autocast(self) -> AbstractContextManager:
        """Computes in bf16 inside, where that is the precision; nothing otherwise."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)


def make_runtime(device: str = "auto", precision: str = "auto", threads: int = 1) -> Runtime:
    """Resolves "auto": the GPU where there is one; bf16 where it is faster on this CPU, else fp32.

    Lets this process compute with so many threads.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("--device cuda needs a CUDA GPU that torch can use", device, "Use --device cpu.")
    torch.set_num_threads(threads)
    if precision == "auto":
        faster = _gpu_has_bf16() if device.startswith("cuda") else _bf16_is_faster()
        precision = "bf16" if faster else "fp32"
    return Runtime(device, "bf16" if precision == "bf16" else "fp32")


def _cpu_has_bf16() -> bool:
    """Whether oneDNN is there and the processor computes in bf16 itself; others only emulate it."""
    known = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return bool(known and torch.backends.mkldnn.is_available())


def _gpu_has_bf16() -> bool:
    """Whether the GPU computes in bf16 itself; those before Ampere only emulate it."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _bf16_is_faster(margin: float = 1.2, rounds: int = 5) -> bool:
    """Trains one convolution of the network's kind in both precisions, for a tenth of a second.

    What the processor says is not enough: with AVX-512's bf16 but without AMX it may lose to fp32.
    """
    if not _cpu_has_bf16():
        return False
    images = torch.ones(32, 64, 12, 12).to(memory_format=torch.channels_last).requires_grad_()
    weights = torch.ones(64, 64, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(1 + rounds):
        for precision, found in seconds.items():
            started = time.perf_counter()
            with Runtime("cpu", precision).autocast():
                torch.conv2d(images, weights, padding=1).sum().backward()
            found.append(time.perf_counter() - started)
    single, half = (min(found[1:]) for found in seconds.values())
    return single > margin * half


def digest_of(state: dict[str, torch.Tensor]) -> str:
    """Returns a hash of named tensors, 16 hex digits."""
    hashed = hashlib.blake2b(digest_size=8)
    for name in sorted(state):
        hashed.update(name.encode())
        hashed.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()
