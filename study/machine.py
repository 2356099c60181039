"""What this machine is, and the environment its one-thread processes need. Imports nothing heavy."""

import ctypes
import errno
import importlib.metadata
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

from fer.errors import InputError

PACKAGES = ("torch", "torchvision", "optuna", "mlflow", "numpy", "pandas", "scikit-learn", "opencv-python-headless")


def _largest_kept(libc: tuple[str, str] = platform.libc_ver()) -> int:
    """Returns the largest block, in bytes, that the allocator can be told to keep.

    glibc before 2.35 takes no threshold above 32 MiB, and one that it does not take leaves it worse off than none.
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


def keep_private() -> None:
    """Lets nobody but the user read what this process writes: faces, and networks trained on them."""
    os.umask(os.umask(0o077) | 0o077)


def is_stuck(error: BaseException) -> bool:
    """Whether an error is of the machine and not of what it was doing: a full disk, or a storage that stays away."""
    read_only = isinstance(error, OSError) and error.errno == errno.EROFS
    return read_only or isinstance(error, ConnectionError) or is_disk_full(error)


def is_disk_full(error: BaseException) -> bool:
    """Whether there was no room for what was to be written; numpy and safetensors each say it in their way."""
    known = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    said = str(error).lower()
    return known or "no space left" in said or re.search(r"\d+ requested and \d+ written", said) is not None


OUT_OF_MEMORY = "out of memory"
"""The reason of trials that failed so."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the host or of a device did not suffice; torch, OpenCV and the kernel each say it so."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    said = (OUT_OF_MEMORY, "can't allocate memory", "cannot allocate memory", "insufficient memory")
    return named or any(text in str(error).lower() for text in said)


def exit_text(code: int) -> str:
    """Returns how a process ended, as its exit code tells; a negative one is the signal that ended it."""
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
    """The device's memory did not suffice beside other workers."""


def exit_with_parent(parent: int) -> None:
    """Watches, in a thread, for the end of the parent process and ends this one: nobody would read its results."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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


def required_device(device: str) -> str:
    """Returns the name of a device that this machine has, cpu, cuda or cuda:1; "auto" is settled.

    Raises:
        InputError: It is no device's name, or there is none of this number.
    """
    if device == "auto":
        return "cuda" if gpu_count() else "cpu"
    if re.fullmatch(r"cpu|cuda(:\d{1,4})?", device, re.ASCII) is None:
        raise InputError("--device is auto, cpu, cuda or cuda:N", device, "Give one of them.")
    if device != "cpu" and int(device.partition(":")[2] or 0) >= gpu_count():
        raise InputError(
            "--device cuda needs a GPU that its driver shows", f"{device} of {gpu_count()} GPUs", "Use --device cpu."
        )
    return device


MOST_ON_A_GPU = 4  # processes that share one


def cores() -> int:
    """Returns the number of cores that this process may use, as its affinity and its container's quota allow."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def usual_workers(device: str) -> int:
    """Returns how many processes compute on a device where nobody says and nothing was measured."""
    return cores() if device == "cpu" else min(MOST_ON_A_GPU, cores())


def _quota(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Returns how many cores' time this process's control group is given, infinity where it is not limited.

    A container of two cores on a machine of 64 sees all 64: its limit is a share of time (docs.kernel.org, cgroup-v2
    `cpu.max`; cpu.cfs_quota_us of version 1, where a quota of -1 is none).
    """
    files = [(root / "cpu.max",), (root / "cpu/cpu.cfs_quota_us", root / "cpu/cpu.cfs_period_us")]
    for paths in files:
        try:
            quota, period = map(float, " ".join(path.read_text(encoding="utf-8") for path in paths).split())
        except (OSError, ValueError):  # not this version, or "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return math.inf


def hardware() -> dict[str, Any]:
    """Returns what a result's reader wants to know about the machine."""
    import psutil

    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpus": gpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    except OSError:
        return platform.processor() or "unknown"
