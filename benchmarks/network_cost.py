"""What a trial of another network costs: the engine against the hand-written script, on one core.

`python -m benchmarks.network_cost` adapts a torchvision network (`--network resnet18`, `--image-size 112`, in colour)
with random weights, once with its head alone trained and once with its last stage, on synthetic faces in the size of
FER2013's stand-in and TFEID. The engine's first trial computes the features of the frozen blocks, later ones find them;
the script (`benchmarks.idiomatic`) trains the very network on as many samples, draws views and computes frozen blocks
again in each trial, and scores both validation sets after every pass, as scripts do, in fp32. To tell what the gain is
made of, it runs once more in the engine's precision, scoring at the end alone.

Seconds are those of one process of one thread on its processor, so other work on the machine changes little. Rounds are
repeated, sides in turn; medians and ranges are over rounds. Writes benchmarks/results/network_cost.json. `--check`
compares with the targets, `--quick` measures a small part and writes nothing.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.checking import check_figures, code_in_use, recorded
from benchmarks.idiomatic import Faces, fit, score, transforms
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.config import AdaptationConfig, to_flat
from fer.model.chains import NetworkRequest, build_chain, find_architecture, request
from fer.model.vgg import clone
from fer.model.weights import baseline_of
from fer.runtime import make_runtime
from study.inputs import budget_epochs, prepare_dataset
from study.machine import hardware, versions
from study.options import StudyOptions
from study.record import DOMAINS

RESULTS = Path(__file__).parent / "results" / "network_cost.json"

TRIALS = 40
"""Over how many trials the computing of features is spread where it counts."""

TARGETS = {"head: speedup": ("at least", 40.0), "last stage: speedup": ("at least", 5.0)}

CLASSES = 7


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.network_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", default="resnet18", help="of torchvision or timm (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=112, help="pixels (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()

    if args.check:
        result = recorded(RESULTS)
        return check_figures(result, TARGETS) if result else 1
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    print(json.dumps(result["figures"], indent=1))
    if not args.quick:
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns all figures and what they were measured on."""
    if args.quick:
        args.network, args.image_size, args.rounds = "mobilenet_v3_small", 32, 1
    options = asdict(StudyOptions("tfeid", preset="tiny" if args.quick else "laptop", out=str(folder)))
    options |= {"network": args.network, "image_size": args.image_size, "colour": "rgb"}
    task = prepare_task(args, options, folder)
    depth = task.baseline.architecture.depth
    base = AdaptationConfig(epochs=budget_epochs(options, len(task.target.open("train"))), depth=depth)

    figures: dict[str, Any] = {}
    seconds: dict[str, Any] = {}
    for name, frozen in (("head", depth.head), ("last stage", first_of_last_stage(task))):
        config = replace(base, frozen_layers=frozen)
        measured = Comparison(task, config, folder / name.replace(" ", "-")).measure(args.rounds)
        seconds[name] = measured
        figures |= {f"{name}: {figure}": value for figure, value in compare(measured).items()}
    return {
        "figures": figures,
        "targets": TARGETS,
        "n": args.rounds,
        "network": task.baseline.architecture.to_json(),
        "images": {domain: task.dataset(domain).report["sizes"] for domain in DOMAINS},
        "precision": task.runtime.precision,
        "seconds": seconds,
        "hardware": hardware(),
        "versions": versions(),
        "measured_code": code_in_use(),
    }


def prepare_task(args: argparse.Namespace, options: dict[str, Any], folder: Path) -> AdaptationTask:
    """Returns an adaptation of a network with random weights, which costs what any weights cost."""
    asked = request(NetworkRequest(args.network, args.image_size, CLASSES))
    architecture = find_architecture(asked, folder / "blocks")
    chain = build_chain(architecture, 0, folder / "blocks")
    chain.network.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return AdaptationTask(
        baseline_of(chain, architecture),
        source=prepare_dataset("fer2013", options, "synthetic"),
        target=prepare_dataset("tfeid", options, "synthetic"),
        runtime=make_runtime("cpu"),
        cache=folder / "cache",
    )


def first_of_last_stage(task: AdaptationTask) -> int:
    """Returns the number of the first block whose features have the height of the last feature map before its mean."""
    chain = task.baseline.chain
    heights = [shape[-1] if len(shape) == 3 else 1 for shape in chain.cut_shapes]
    last = [height for height in heights[: chain.head + 1] if height > 1][-1]
    return heights.index(last) - 1


@dataclass(frozen=True)
class Comparison:
    """A configuration that both sides train.

    Attributes:
        task: Network and data.
        config: The configuration.
        cache: The engine's folder of features, empty at first.
    """

    task: AdaptationTask
    config: AdaptationConfig
    cache: Path

    def measure(self, rounds: int) -> dict[str, Any]:
        """Returns the seconds of the engine's first trial, and of each side's in every round."""
        first = timed(self.run_engine)
        sides: dict[str, Callable[[], None]] = {
            "engine": self.run_engine,
            "script": lambda: self.run_script("fp32", "epochs"),
            "script, once": lambda: self.run_script(self.task.runtime.precision, "once"),
        }
        measured = {name: [timed(run) for _ in range(rounds)] for name, run in sides.items()}
        return {"frozen_layers": self.config.frozen_layers, "first": first} | measured

    def run_engine(self) -> None:
        """Trains and evaluates as a study's trial does, without its interpolated networks."""
        adapt(replace(self.task, cache=self.cache), self.config, 1, plan=EvaluationPlan(rungs=()))

    def run_script(self, precision: str, evaluate: str) -> None:
        """Trains and evaluates as the hand-written script does."""
        settings = Namespace(
            device="cpu", precision=precision, evaluate=evaluate, loader_workers=0, evaluation_batch=64
        )
        config = to_flat(self.config)
        network = clone(self.task.baseline.network).requires_grad_(True)
        data = self.open_faces(config)
        model = fit(config, data, network, settings, lambda *_: None)
        score(model, data, settings)

    def open_faces(self, config: dict[str, Any]) -> dict[str, Faces]:
        """Returns the images of both domains, transformed as the script does."""
        training, plain = transforms(config, self.task.baseline.architecture.images)
        faces = {}
        for domain in DOMAINS:
            for split, transform in (("train", training), ("validation", plain)):
                images = self.task.dataset(domain).open(split)
                faces[f"{domain}_{split}"] = Faces(np.asarray(images.images), images.labels, transform)
        return faces


def timed(run: Callable[[], None]) -> float:
    """Returns the seconds that a call takes on its processor."""
    started = time.process_time()
    run()
    return round(time.process_time() - started, 3)


def compare(measured: dict[str, Any]) -> dict[str, Any]:
    """Returns how many times as fast the engine is, from the medians of each side's rounds."""
    middle = {name: statistics.median(measured[name]) for name in ("engine", "script", "script, once")}
    with_fill = middle["engine"] + (measured["first"] - middle["engine"]) / TRIALS
    return {
        "frozen layers": measured["frozen_layers"],
        "seconds": middle["engine"],
        "seconds of the first": measured["first"],
        "seconds of the script": middle["script"],
        "speedup": round(middle["script"] / middle["engine"], 1),
        "speedup, least": round(min(measured["script"]) / max(measured["engine"]), 1),
        f"speedup, features spread over {TRIALS}": round(middle["script"] / with_fill, 1),
        "speedup over the script that scores once": round(middle["script, once"] / middle["engine"], 1),
    }


if __name__ == "__main__":
    sys.exit(main())
