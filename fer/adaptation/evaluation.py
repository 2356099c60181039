"""Scores of networks on the validation images of both domains."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from fer.adaptation.task import DOMAINS, AdaptationTask, open_source
from fer.config import AdaptationConfig, ViewRecipe
from fer.datasets import Split
from fer.features.cache import best_cut, frozen_features
from fer.features.sources import FeatureSource
from fer.layers import LAYERS
from fer.model.onednn import fuse_batch_norm
from fer.model.vgg import build, channels_last
from fer.runtime import Runtime
from fer.seeding import seed_from

_EVALUATION_BATCH = {"fp32": 64, "bf16": 128}  # more images leave a CPU's caches


_EVALUATION_BATCH_ON_GPU = 512


def predict(network: nn.Sequential, cut: int, feed: FeatureSource, images: np.ndarray, runtime: Runtime) -> np.ndarray:
    """Returns the logits (n, 7), float32, of n images of a split whose features at `cut` the feed delivers."""
    first = np.zeros(len(images), int)
    feed.prepare(images, first)
    rest = fuse_batch_norm(network[cut:], runtime.onednn_dtype)
    size = _EVALUATION_BATCH_ON_GPU if runtime.on_gpu else _EVALUATION_BATCH[runtime.precision]
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    inputs_of = feed.batches_for([(numbers, first[: len(numbers)]) for numbers in batches])
    logits = [
        frozen_features(rest, 0, len(rest), channels_last(inputs_of(number)), runtime).float()
        for number in range(len(batches))
    ]
    return torch.cat(logits).cpu().numpy()


def logits_on_test(task: AdaptationTask, config: AdaptationConfig, network: nn.Sequential, domain: str) -> np.ndarray:
    """Returns an adapted network's logits (n, 7) on a dataset's test images; for confirmation alone."""
    cut = feature_cut(task, config)
    split = task.dataset(domain).open_test()
    feed = open_source(task, domain, split, "test", cut, ViewRecipe(), 1)
    return predict(network, cut, feed, np.arange(len(split)), task.runtime)


def feature_cut(task: AdaptationTask, config: AdaptationConfig) -> int:
    """Returns where the features of an adaptation can come from: the baseline's deepest cut worth keeping, or 0."""
    own_prefix = config.init == "baseline" and task.cache is not None
    return best_cut(task.baseline.network, config.leading, task.runtime) if own_prefix else 0


@dataclass
class Validation:
    """Both validation splits, seen from one cut."""

    task: AdaptationTask
    cut: int
    splits: dict[str, Split] = field(init=False)
    feeds: dict[str, FeatureSource] = field(init=False)

    def __post_init__(self) -> None:
        self.splits = {domain: self.task.dataset(domain).open("validation") for domain in DOMAINS}
        self.feeds = {
            domain: open_source(self.task, domain, split, "validation", self.cut, ViewRecipe(), 1)
            for domain, split in self.splits.items()
        }

    def images(self, most: int | None = None) -> dict[str, np.ndarray]:
        """Returns the numbers of each split's images, or of at most so many of them, evenly spread over the split."""
        images = {}
        for domain, split in self.splits.items():
            count = min(most or len(split), len(split))
            images[domain] = np.arange(count) * len(split) // max(count, 1)
        return images

    def logits(self, network: nn.Sequential, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns a network's logits (n, 7) on the given images of each split."""
        return {
            domain: predict(network, self.cut, feed, images[domain], self.task.runtime)
            for domain, feed in self.feeds.items()
        }


def baseline_logits(task: AdaptationTask) -> dict[str, np.ndarray]:
    """Returns the baseline's logits on both validation splits, computed once per baseline when there is a cache."""
    cut = len(LAYERS) if task.cache else 0
    validation = Validation(task, cut)
    return validation.logits(task.baseline.network, validation.images())


def validation_labels(task: AdaptationTask) -> dict[str, np.ndarray]:
    """Returns the labels (n,) of both validation splits."""
    return {domain: np.asarray(task.dataset(domain).open("validation").labels) for domain in DOMAINS}


def untrained_accuracy(task: AdaptationTask, networks: int = 5) -> float:
    """Returns the target accuracy of untrained networks, the mean over several, on the validation split."""
    split = task.target.open("validation")
    accuracies = []
    pixels = open_source(task, "target", split, "validation", 0, ViewRecipe(), 1)
    for seed in range(networks):
        network = build(task.baseline.width, seed_from("untrained", seed)).to(task.runtime.device)
        guess = predict(network, 0, pixels, np.arange(len(split)), task.runtime).argmax(1)
        accuracies.append(float(np.mean(guess == split.labels)))
    return float(np.mean(accuracies))
