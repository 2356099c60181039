"""What this machine is and has, how processes end on it, and the environment of workers. Imports nothing heavy."""

import ctypes
import errno
import math
import os
import platform
import re
import signal
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from fer.errors import InputError, shorten

LONGEST_DEVICE_SHOWN = 60
"""Characters of a wrong device that an error shows."""

MOST_ON_A_GPU = 4
"""Processes that share one GPU."""

OUT_OF_MEMORY = "out of memory"
"""The reason of trials that failed for want of memory."""

PACKAGES = (
    "torch", "torchvision", "timm", "optuna", "mlflow", "numpy", "pandas", "scikit-learn", "opencv-python-headless",
)  # fmt: skip
"""Packages that results depend on."""


def _largest_kept(libc: tuple[str, str] = platform.libc_ver()) -> int:
    """Returns the largest block, in bytes, that the allocator can be told to keep.

    glibc before 2.35 ignores a threshold above 32 MiB, and then does worse than without any.

    Args:
        libc: Name and version of the C library.
    """
    version = tuple(int(part) for part in libc[1].split(".")[:2] if part.isdigit())
    return 32 * 2**20 if libc[0] == "glibc" and version < (2, 35) else 2**30


# One thread per process: two OpenMP threads in one process were 2 to 15 times slower than one. The allocator keeps
# freed memory instead of returning and clearing megabytes at every step; other C libraries ignore these names.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(_largest_kept()),
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
}


def worker_environment() -> dict[str, str]:
    """Returns this process's environment with what workers need; what the user set stays."""
    return WORKER_ENVIRONMENT | os.environ | {"PYTHONUNBUFFERED": "1"}


def is_stuck(error: BaseException) -> bool:
    """Whether an error comes from the machine, as a full disk or a storage that is away, and would meet every trial."""
    read_only = isinstance(error, OSError) and error.errno == errno.EROFS
    return read_only or isinstance(error, ConnectionError) or is_disk_full(error)


def is_disk_full(error: BaseException) -> bool:
    """Whether the disk had no room for what was to be written."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    message = str(error).lower()
    from_safetensors = "no space left" in message
    from_numpy = re.search(r"\d+ requested and \d+ written", message) is not None
    return from_safetensors or from_numpy


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the host or of a device did not suffice."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # As torch, OpenCV and the kernel word it.
    wordings = (OUT_OF_MEMORY, "can't allocate memory", "cannot allocate memory", "insufficient memory")
    message = str(error).lower()
    return any(wording in message for wording in wordings)


def exit_text(code: int) -> str:
    """Returns in words how a process ended; a negative exit code is the number of the signal that ended it."""
    causes = {"SIGKILL": "perhaps for want of memory", "SIGBUS": "perhaps because the disk is full"}
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    cause = f", {causes[name]}" if name in causes else ""
    return f"was ended by {name}{cause}"


class DeviceCrowded(RuntimeError):
    """The device's memory did not suffice for this worker and the others on it."""


def exit_with_parent(parent: int) -> None:
    """Ends this process, from a thread, when its parent has ended: nobody would read its results.

    Args:
        parent: Process id of the parent.
    """

    def wait_for_end() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


@cache
def gpu_count() -> int:
    """Returns the number of CUDA devices, asking the driver and not torch, which takes seconds to import."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def check_device(device: str | None, gpus: int | None = None) -> None:
    """Raises InputError for a name that is no device's, or for a device that this machine lacks.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:1"; None leaves the choice to the study.
        gpus: Number of GPUs of this machine; None where they have not been counted yet.
    """
    if device is None:
        return
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", device):
        raise InputError(
            "--device is auto, cpu, cuda or cuda:N", repr(shorten(device, LONGEST_DEVICE_SHOWN)), "Give one of them."
        )
    index = int(device.partition(":")[2] or 0)
    if gpus is not None and device.startswith("cuda") and index >= gpus:
        raise InputError(
            "--device cuda needs a GPU that its driver shows", f"{device} of {gpus} GPUs", "Use --device cpu."
        )


def required_device(device: str) -> str:
    """Returns the name of a device that this machine has: "auto" becomes cuda or cpu, all others stay.

    Raises:
        InputError: It is no device's name, or this machine has no such device.
    """
    gpus = gpu_count()
    if device == "auto":
        return "cuda" if gpus else "cpu"
    check_device(device, gpus)
    return device


# Cores and workers.


def cores() -> int:
    """Returns the number of cores that this process may use, by its affinity and its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def usual_workers(device: str) -> int:
    """Returns how many processes compute on a device where the user does not say and nothing was measured."""
    return cores() if device == "cpu" else min(MOST_ON_A_GPU, cores())


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Returns how many cores' time this process's control group is given, infinity where it is not limited.

    A container of two cores on a machine of 64 sees all 64: its limit is a share of time (docs.kernel.org, cgroup-v2
    `cpu.max`; cpu.cfs_quota_us of version 1, where a quota of -1 is none).
    """
    version_2 = (root / "cpu.max",)
    version_1 = (root / "cpu/cpu.cfs_quota_us", root / "cpu/cpu.cfs_period_us")
    for paths in (version_2, version_1):
        try:
            text = " ".join(path.read_text(encoding="utf-8") for path in paths)
            quota, period = map(float, text.split())
        except (OSError, ValueError):  # another version, or "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return math.inf


def hardware() -> dict[str, Any]:
    """Returns what a result's reader wants to know about the machine."""
    import psutil  # noqa: PLC0415  not for --help, which imports this module

    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    import importlib.metadata  # noqa: PLC0415  takes as long as the rest of this module, which --help imports

    by_name = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            by_name[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return by_name


def _processor() -> str:
    """Returns the processor's name."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:  # not Linux
        return platform.processor() or "unknown"
    return "unknown"
