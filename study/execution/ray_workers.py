"""Workers as Ray tasks on a cluster, for `--ray ADDRESS`. The only place that knows ray.

The prepared arrays, the baseline's file and the code go once into Ray's object store, so a node needs neither the
datasets nor the checkpoint nor this project; every node unpacks them once for all its workers. A network on the front
comes home through an actor on this machine before its trial is told, so it is in the study's folder whatever becomes of
the node. Trials are claimed through the study's storage as everywhere: Ray only says where workers run. Ray is an
optional package, so it is imported where it is used.
"""

import argparse
import logging
import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from fer.datasets.dataset import SUMS, file_names
from fer.datasets.loading import folder_of
from fer.errors import InputError
from fer.files import write_atomically
from study.execution.worker_loop import run_worker
from study.exit_code import ExitCode
from study.machine import WORKER_ENVIRONMENT
from study.options import StudyOptions, baselines_folder, cache_folder
from study.record import DOMAINS, StudyRecord
from study.redaction import hide_secrets, one_line

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle
    from ray.remote_function import RemoteFunction

SHIPPED = ("train", "validation")
"""The splits that leave this machine."""


class RayWorkers:
    """A connection to a cluster, with what every worker of one study needs in its object store.

    Args:
        options: Where the cluster is, and the study's storage.
        record: The study's record.

    Raises:
        InputError: Ray is not installed, or the cluster does not answer.
    """

    def __init__(self, options: StudyOptions, record: StudyRecord) -> None:
        self.ray = _connect(options.ray or "auto")
        on_gpu = record.baseline.device.startswith("cuda")

        # What every worker needs.
        folder = Path(options.out) / record.name
        self.home = self._start_home(folder)
        files = _files_to_ship(Path(options.out), record)
        self.shipped = self.ray.put({name: path.read_bytes() for name, path in files.items()})
        self.study = {
            "name": record.name,
            "id": record.id,
            "storage": options.storage,
            "device": "cuda" if on_gpu else "cpu",
        }

        # As many workers as the cluster has processors, or as the user says.
        resources = self.ray.cluster_resources()
        asked = int(resources.get("CPU", 1)) if options.workers == "auto" else int(options.workers)
        self.workers = max(1, min(asked, options.wanted))
        gpus = resources.get("GPU", 0.0) if on_gpu else 0.0
        self.task = self._make_task(gpus)

    def _start_home(self, folder: Path) -> "ActorHandle":
        """Starts the actor on this machine that takes the workers' networks into the study's folder."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

        this_node = self.ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(this_node, soft=False)
        home = self.ray.remote(_Home).options(num_cpus=0, scheduling_strategy=here)
        return home.remote(str(folder.resolve()))

    def _make_task(self, gpus: float) -> "RemoteFunction":
        """Returns the task that each worker is, with a GPU of its own or a part of one in the steps of Ray.

        Args:
            gpus: GPUs of the whole cluster that the workers may use.
        """
        share = min(1.0, int(1e4 * gpus / self.workers) / 1e4)
        return self.ray.remote(_work).options(num_cpus=1, num_gpus=share, max_retries=0)

    def spawn(self, options: StudyOptions, name: str, until: float) -> "RayWorker":
        """Starts a worker, see `study.execution.worker_process.Spawn`."""
        # The worker's clock is another, so it is told the time that is left.
        left = until - time.monotonic()
        return RayWorker(self.ray, self.task.remote(self.shipped, self.home, self.study, left))

    def close(self) -> None:
        """Leaves the cluster."""
        self.ray.shutdown()


class RayWorker:
    """A worker on the cluster, to be asked as a process is (`study.execution.worker_process.Worker`).

    Args:
        ray: The package, connected to the cluster.
        reference: To the exit code that the worker's task returns.
    """

    def __init__(self, ray: ModuleType, reference: "ObjectRef[int]") -> None:
        self.ray = ray
        self.reference = reference
        self.code: int | None = None

    def poll(self) -> int | None:
        """Returns its exit code, None while it works; -1 when its process or its node died."""
        if self.code is None and self.ray.wait([self.reference], timeout=0)[0]:
            try:
                self.code = self.ray.get(self.reference)
            except (self.ray.exceptions.RayError, KeyboardInterrupt):
                self.code = -1
        return self.code

    def terminate(self) -> None:
        """Interrupts it; its trial goes back to the study."""
        if self.poll() is None:
            self.ray.cancel(self.reference)

    def kill(self) -> None:
        """Ends its process."""
        if self.poll() is None:
            self.ray.cancel(self.reference, force=True)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end.

        Raises:
            subprocess.TimeoutExpired: It takes longer.
        """
        self.ray.wait([self.reference], timeout=timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("a Ray task", timeout or 0)
        return code


def _connect(address: str) -> ModuleType:
    """Returns the package, connected to a cluster whose nodes have this project's code.

    Raises:
        InputError: Ray is not installed, or the cluster does not answer.
    """
    try:
        import ray  # noqa: PLC0415
    except ModuleNotFoundError:
        raise InputError(
            "--ray needs Ray", "no package ray", "pip install 'memory-integrity[ray]', on the cluster too."
        ) from None
    root = Path(__file__).parent.parent.parent
    packages = [str(root / name) for name in ("fer", "search_spaces", "study")]
    environment = {"py_modules": packages, "env_vars": WORKER_ENVIRONMENT}
    try:
        ray.init(address=address, runtime_env=environment, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            "--ray is the address of a Ray cluster that answers",
            f"{hide_secrets(address)} ({one_line(error, 200)})",
            "Start one with ray start --head, or give --ray local.",
        ) from None
    return ray


def _files_to_ship(out: Path, record: StudyRecord) -> dict[str, Path]:
    """Returns the files that a node needs, by their paths below its output folder; the test sets stay here."""
    baseline = Path(record.baseline.file)
    files = {f".cache/baselines/{baseline.name}": baseline}
    if record.weights.kind == "features":  # fused networks begin with them as well
        features = baselines_folder(out) / record.weights.file
        files[f".cache/baselines/{features.name}"] = features

    names = [SUMS]
    for split in SHIPPED:
        names += file_names(split)
    for domain in DOMAINS:
        dataset = record.dataset(domain)
        folder = folder_of(dataset.name, dataset.digest, cache_folder(out) / "datasets")
        for name in names:
            files[f".cache/datasets/{folder.name}/{name}"] = folder / name
    return files


class _Home:
    """Writes what workers send into the study's folder."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def keep(self, name: str, content: bytes) -> None:
        """Writes models/`name`, atomically."""
        place = self.folder / "models" / Path(name).name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, content)


def _work(shipped: dict[str, bytes], home: "ActorHandle", study: dict[str, Any], left: float) -> int:
    """Is a worker, in a Ray task.

    Args:
        shipped: The content of each file that it needs, by its path below the output folder.
        home: The actor that takes networks into the study's folder.
        study: The study's name and id, its storage, and the device to compute on.
        left: Seconds after which it begins no trial.

    Returns:
        Its exit code.
    """
    import ray  # noqa: PLC0415

    out = _unpack(shipped, study["id"])

    def upload(path: Path) -> None:
        ray.get(home.keep.remote(path.name, path.read_bytes()))
        path.unlink()

    args = argparse.Namespace(
        study=study["name"],
        storage=study["storage"],
        out=str(out),
        data=None,
        device=study["device"],
        parent=None,
        until=time.monotonic() + left,
    )
    try:
        run_worker(args, upload)
    except InputError as error:
        print(f"error: {error}")
        return ExitCode.WRONG_USE
    except OSError as error:
        print(f"error: {one_line(error)}")
        return ExitCode.STUCK
    return ExitCode.DONE


def _unpack(shipped: dict[str, bytes], study: str) -> Path:
    """Writes the shipped files where this node's workers find them, once; returns the output folder.

    Raises:
        OSError: Another user has taken the folder's name.
    """
    out = Path(tempfile.gettempdir()) / f"memory-integrity-{os.getuid()}" / study
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    if out.stat().st_uid != os.getuid():
        raise OSError(f"{out} is another user's")
    with FileLock(out / ".lock"):
        for name, content in shipped.items():
            place = out / name
            if place.exists() and place.read_bytes() == content:  # the size alone would not tell a damaged file
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, content)
    return out
