"""What all contenders of `benchmarks.real` share: source, baseline, divisions of the target, and its test images.

A study's seed divides its target anew. It would also divide a source whose copy names no splits, and then test on
images that the one baseline was trained on. So such a source is written once with the division that the baseline was
trained on, as images whose names hold their split, and every contender reads that copy.
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fer import baseline as baselines
from fer.adaptation.evaluation import logits_on_test
from fer.adaptation.task import AdaptationTask
from fer.architecture import VGG13
from fer.baseline_training import PassReport
from fer.datasets import Dataset
from fer.expressions import EXPRESSIONS
from fer.files import checksum
from fer.model import weights
from fer.model.weights import Baseline
from fer.runtime import Runtime, make_runtime
from fer.tensor_files import read_header
from study.execution.study_baseline import baseline_config
from study.inputs import prepare_dataset
from study.options import StudyOptions, cache_folder
from study.record import DOMAINS

SOURCE = "fer2013"

BASELINE_DIVISION = 0
"""The seed by which a source without splits is divided for the baseline, and so for everything."""

SPLIT_NAMES = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
"""How the names of FER2013's images begin, by the split they are of."""


@dataclass(frozen=True)
class Places:
    """What contenders read and where they write.

    Attributes:
        data: One folder per dataset; None draws synthetic faces.
        out: Studies, caches and outcomes.
        preset: Of every study.
        baseline: The network that every contender adapts.
        baseline_digest: Of the baseline's weights.
        workers: Processes of a study, "auto" or a number.
    """

    data: Path | None
    out: Path
    preset: str
    baseline: Path
    baseline_digest: str = ""
    workers: str = "auto"

    @property
    def kind(self) -> str:
        """Of the faces: "real" or "synthetic"."""
        return "synthetic" if self.data is None else "real"

    def options(self, target: str, division: int) -> dict[str, Any]:
        """Returns the options of a study of one division, as preparing its data needs them."""
        data = None if self.data is None else str(self.data)
        return asdict(StudyOptions(target, data=data, seed=division, preset=self.preset, out=str(self.out)))


# The command line.


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that the benchmarks on real faces share: what is measured, from which network, and where."""
    parser.add_argument("--data", type=Path, help="one folder per dataset")
    parser.add_argument("--targets", nargs="+", default=["jaffe", "ck+48"], help="(default: %(default)s)")
    parser.add_argument("--divisions", nargs="+", type=int, default=[1, 2, 3], help="seeds (default: %(default)s)")
    parser.add_argument("--baseline", type=Path, help="a source-trained network; without it, one is trained first")
    parser.add_argument("--out", type=Path, default=Path("runs-real"), help="keeps everything (default: %(default)s)")
    parser.add_argument("--preset", default="laptop", help="of networks and studies (default: %(default)s)")


# Source and baseline.


def prepare_places(places: Places, baseline: Path | None) -> Places:
    """Divides the source once for all studies, and finds or trains the baseline.

    Args:
        places: With the data as the user has it; its baseline is not heeded.
        baseline: A source-trained network; None trains one, or finds it by its hash.

    Returns:
        The same with the data and the baseline that contenders use.
    """
    options = places.options(SOURCE, BASELINE_DIVISION)
    source = prepare_dataset(SOURCE, options, places.kind)
    if baseline is None:
        runtime = make_runtime()
        config = baseline_config(options, source, runtime, VGG13)
        folder = cache_folder(options["out"]) / "baselines"
        baseline = baselines.find_or_train(source, config, runtime, folder, on_pass=print_pass)
    refuse_other_source(baseline, source)

    if places.data is not None and is_seeded(source):
        folder = places.out / "data"
        write_divided(source, folder / SOURCE)
        link_others(places.data, Path(source.report["copy"]).name, folder)
        places = replace(places, data=folder)
    digest = weights.load_network(baseline, Runtime()).digest
    return replace(places, baseline=baseline, baseline_digest=digest)


def print_pass(report: PassReport) -> None:
    """Tells that a pass of the baseline's training has ended."""
    accuracy = f"{100 * report.accuracy:.1f} %"
    print(f"baseline: pass {report.number} of at most {report.most}, validation {accuracy}", flush=True)


def refuse_other_source(baseline: Path, source: Dataset) -> None:
    """Ends the command where a baseline says that it was trained on other images, or on another division of them."""
    header = json.loads(read_header(baseline).metadata.get("baseline", "{}"))
    trained_on = header.get("source", source.digest)
    if trained_on != source.digest:
        raise SystemExit(f"{baseline} was trained on {SOURCE} with hash {trained_on}, and the data is {source.digest}")


def is_seeded(dataset: Dataset) -> bool:
    """Returns whether a seed divides a dataset; otherwise its copy says which image is of which split."""
    return str(dataset.report["rule"]).startswith("seeded")


def write_divided(source: Dataset, folder: Path) -> None:
    """Writes the images of a source (n, 48, 48) as files whose names hold their split; once, and as a whole."""
    if folder.exists():
        return
    partial = folder.with_name(f".{folder.name}.part")
    for name in EXPRESSIONS:
        (partial / name).mkdir(parents=True, exist_ok=True)
    for split, prefix in SPLIT_NAMES.items():
        images = source.open_test() if split == "test" else source.open(split)
        for number, (pixels, label) in enumerate(zip(images.images, images.labels, strict=True)):
            file = partial / EXPRESSIONS[label] / f"{prefix}_{number:08d}.png"
            Image.fromarray(np.asarray(pixels)).save(file)
    partial.rename(folder)


def link_others(data: Path, source_name: str, folder: Path) -> None:
    """Links every dataset but the source into a folder."""
    for entry in data.resolve().iterdir():
        link = folder / entry.name
        if entry.name != source_name and not link.exists():
            link.symlink_to(entry)


# Divisions and test images.


def open_task(places: Places, target: str, division: int) -> AdaptationTask:
    """Opens baseline and data of one division of a target, as a study with this seed has them."""
    options = places.options(target, division)
    runtime = make_runtime()
    source = prepare_dataset(SOURCE, options, places.kind)
    prepared = prepare_dataset(target, options, places.kind)
    network = weights.load_network(places.baseline, runtime)
    return AdaptationTask(network, source, prepared, runtime, cache_folder(options["out"]))


def setting_of(places: Places, task: AdaptationTask) -> dict[str, str]:
    """Returns what outcomes must share to be compared: baseline, preset, and the test images of both domains."""
    setting = {"preset": places.preset, "baseline": task.baseline.digest}
    for domain in DOMAINS:
        setting[f"{domain} test"] = digest_of_test(task.dataset(domain).folder)
    return setting


def digest_of_test(folder: Path) -> str:
    """Returns a hash of the test images and labels of a prepared dataset."""
    return checksum(*((folder / f"test.{name}.npy").read_bytes() for name in ("images", "labels")))


def accuracies_on_test(task: AdaptationTask, network: Baseline) -> list[float]:
    """Returns a network's source and target accuracy on test images."""
    accuracies = []
    for domain in DOMAINS:
        labels = task.dataset(domain).open_test().labels
        predicted = logits_on_test(task, network.network, domain).argmax(1)
        accuracies.append(round(float(np.mean(predicted == labels)), 4))
    return accuracies


def count_test_people(task: AdaptationTask) -> int:
    """Returns how many people the target's test images show, 0 where they are not known."""
    subjects = task.target.open_test().subjects
    return len(np.unique(subjects[subjects >= 0]))
