"""The device and the precision of training and evaluation."""

import hashlib
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from fer.errors import InputError
from fer.torch_private import processor_has_bf16

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Runtime:
    """Device and precision of training and evaluation.

    Attributes:
        device: "cpu", "cuda" or one of several, "cuda:1".
        precision: Of activations; weights are fp32 always.
    """

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
        """The type of images in the layout of oneDNN, the library that computes convolutions on CPUs; None without it.

        In bf16 that layout takes two thirds off the time of batch-norm, ReLU and pooling; in fp32 it gains nothing.
        """
        gains = self.device == "cpu" and self.precision == "bf16" and _cpu_has_bf16()
        return self.dtype if gains else None

    def autocast(self) -> AbstractContextManager:
        """Computes in bf16 inside, where that is the precision; nothing otherwise."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)


def make_runtime(device: str = "auto", precision: str = "auto", threads: int = 1) -> Runtime:
    """Returns the runtime that options ask for, and sets the number of threads of this process.

    Args:
        device: "cpu", "cuda", "cuda:1", …, or "auto": the GPU where there is one.
        precision: "fp32", "bf16" or "auto": bf16 on a GPU that computes in it, and on a CPU where it is measured to be
            faster.
        threads: With how many this process computes on the CPU.

    Raises:
        InputError: A GPU is asked for, and torch can use none.
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
    """Returns whether torch has oneDNN and the processor computes in bf16; other processors only emulate it."""
    return processor_has_bf16() and torch.backends.mkldnn.is_available()


def _gpu_has_bf16() -> bool:
    """Returns whether the GPU computes in bf16; those before Ampere only emulate it."""
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _bf16_is_faster(margin: float = 1.2, rounds: int = 5) -> bool:
    """Trains a convolution of the network's size in both precisions, for a tenth of a second, and compares the times.

    It is measured because a processor with bf16 by AVX-512, without AMX, may be slower in it than in fp32.

    Args:
        margin: How many times as fast as fp32 it must be.
        rounds: How often each precision is timed; the shortest time counts.
    """
    if not _cpu_has_bf16():
        return False

    images = torch.ones(32, 64, 12, 12).to(memory_format=torch.channels_last).requires_grad_()
    weights = torch.ones(64, 64, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(1 + rounds):
        for precision, times in seconds.items():
            started = time.perf_counter()
            with Runtime("cpu", precision).autocast():
                torch.conv2d(images, weights, padding=1).sum().backward()
            times.append(time.perf_counter() - started)

    # The first round warms up: it chooses kernels and allocates memory.
    fp32 = min(seconds["fp32"][1:])
    bf16 = min(seconds["bf16"][1:])
    return fp32 > margin * bf16


def digest_of(state: dict[str, torch.Tensor]) -> str:
    """Returns a hash of named tensors, 16 hex digits, independent of their order, device and memory layout."""
    hashed = hashlib.blake2b(digest_size=8)
    for name in sorted(state):
        hashed.update(name.encode())
        hashed.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest()
