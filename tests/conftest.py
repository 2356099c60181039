"""What all tests share: tiny faces, a tiny network, one thread."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from fer.adaptation.plan import Adapted
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.config import AdaptationConfig, ViewRecipe
from fer.datasets import Dataset
from fer.model.vgg import build
from fer.model.weights import Baseline, paper_baseline
from fer.runtime import Runtime

pytest_plugins = ["commands", "hostile", "made_data", "made_networks", "made_study", "servers", "slots", "tracked"]

os.environ.setdefault("OMP_NUM_THREADS", "1")

torch.set_num_threads(1)

# No test survives a failure of the power, so none waits for the disk: files lie in memory where there is enough of it.
MEMORY = Path("/dev/shm")
ENOUGH_MEMORY = 4 * 2**30


def _has_enough_memory() -> bool:
    """Returns whether the files of all tests have room in memory."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return False
    return min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) >= ENOUGH_MEMORY


if _has_enough_memory():
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
os.fsync = lambda file: None

TINY_WIDTH = 1 / 16
TINY_NETWORK = replace(VGG13, width=TINY_WIDTH)
LONGEST = ("test_study_run", "test_study_resume")


@pytest.fixture(autouse=True)
def working_directory() -> Iterator[None]:
    """Names the test that leaves another working directory behind: where that is deleted, tests after it fail."""
    before = Path.cwd()
    yield
    assert Path.cwd() == before, "a test has changed the working directory; use monkeypatch.chdir()"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts with the longest files, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_collection_finish() -> None:
    """Takes what all tests share, modules and the tests themselves, out of the collector's sight: it is never freed."""
    gc.collect()
    gc.freeze()


def write_dataset(folder: Path, name: str, sizes: tuple[int, int, int], seed: int) -> Dataset:
    """Writes a dataset whose seven classes are bright blobs at seven heights, under noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    ys, xs = np.mgrid[:48, :48]
    for split, size in zip(("train", "validation", "test"), sizes, strict=True):
        labels = np.arange(size) % 7
        blob = np.exp(-((ys - (6 + 6 * labels[:, None, None])) ** 2 + (xs - 24) ** 2) / 30)
        images = np.clip(80 + 120 * blob + rng.normal(0, 40, blob.shape), 0, 255).astype(np.uint8)
        np.save(folder / f"{split}.images.npy", images)
        np.save(folder / f"{split}.labels.npy", labels.astype(np.int64))
        np.save(folder / f"{split}.subjects.npy", (np.arange(size) // 7).astype(np.int64))
    return Dataset(name, "synthetic", f"{seed:016x}", folder, {})


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "source", "source", (140, 35, 35), seed=1)


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write_dataset(tmp_path_factory.mktemp("data") / "target", "target", (42, 14, 14), seed=2)


@pytest.fixture(scope="session")
def baseline() -> Baseline:
    network = build(TINY_WIDTH, seed=3)
    network.train()
    with torch.no_grad():  # gives the batch-norms statistics of their own
        for _ in range(3):
            network(torch.randn(32, 1, 48, 48))
    network.eval().requires_grad_(False)
    return paper_baseline(network, TINY_WIDTH)


@pytest.fixture
def make_setting(source: Dataset, target: Dataset, baseline: Baseline, tmp_path: Path) -> Callable[..., AdaptationTask]:
    def make(cached: bool = True, precision: str = "fp32") -> AdaptationTask:
        runtime = Runtime("cpu", "bf16" if precision == "bf16" else "fp32")
        return AdaptationTask(baseline, source, target, runtime, tmp_path / "cache" if cached else None)

    return make


@pytest.fixture
def setting(make_setting: Callable[..., AdaptationTask]) -> AdaptationTask:
    return make_setting()


TINY = AdaptationConfig(batch_size=14, epochs=4, lr=0.02, views=ViewRecipe(count=4))


def losses(adapted: Adapted) -> list[float]:
    """Returns the training losses on an adaptation's curve."""
    return [row["loss"] for row in adapted.curve if "loss" in row]
