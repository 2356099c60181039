"""A network's logits on the validation and test images of both domains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from fer.adaptation.task import DOMAINS, AdaptationTask, DomainSplit, open_source
from fer.config import AdaptationConfig, ViewRecipe
from fer.features.cache import best_cut, frozen_features
from fer.features.sources import FeatureSource
from fer.model.layout import channels_last
from fer.model.onednn import fuse_batch_norm
from fer.runtime import Runtime
from fer.seeding import seed_from

_EVALUATION_BATCH = {"fp32": 64, "bf16": 128}  # more images leave a CPU's caches
_EVALUATION_BATCH_ON_GPU = 512


def predict(
    network: nn.Sequential, cut: int, source: FeatureSource, images: np.ndarray, runtime: Runtime
) -> np.ndarray:
    """Computes a network's logits on images of a split.

    Args:
        network: All blocks, on the runtime's device.
        cut: The cut at which the source delivers features.
        source: The features of the split's images.
        images: int (n,), the images' numbers in the split.
        runtime: Device and precision.

    Returns:
        float32 (n, classes).
    """
    views = np.zeros(len(images), int)  # the images themselves
    source.prepare(images, views)

    size = _EVALUATION_BATCH_ON_GPU if runtime.on_gpu else _EVALUATION_BATCH[runtime.precision]
    starts = range(0, len(images), size)
    batches = [(images[start : start + size], views[start : start + size]) for start in starts]
    inputs_of = source.batches_for(batches)

    blocks = fuse_batch_norm(network[cut:], runtime.onednn_dtype)
    logits = []
    for number in range(len(batches)):
        inputs = channels_last(inputs_of(number))
        logits.append(frozen_features(blocks, 0, len(blocks), inputs, runtime).float())
    return torch.cat(logits).cpu().numpy()


def logits_on_test(task: AdaptationTask, network: nn.Sequential, domain: str) -> np.ndarray:
    """Returns a network's logits (n, classes) on a dataset's test images; for confirmation alone.

    They are computed from the images, as a user of the network's file computes them. Cached features of the frozen
    layers are rounded otherwise, which turns single answers: one network would have two accuracies.
    """
    split = DomainSplit(domain, "test", task.dataset(domain).open_test())
    source = open_source(task, split, 0, ViewRecipe(), 1)
    return predict(network, 0, source, np.arange(len(split.images)), task.runtime)


def feature_cut(task: AdaptationTask, config: AdaptationConfig) -> int:
    """Returns the cut at which an adaptation takes the baseline's features from a cache; 0 where it takes images."""
    if config.init != "baseline" or task.cache is None:
        return 0
    return best_cut(task.cuts, config.leading)


@dataclass
class Validation:
    """The features of both validation splits at one cut.

    Attributes:
        task: Baseline, datasets, runtime, cache.
        cut: The cut of the features.
        sizes: Number of images by domain.
        sources: The features by domain.
    """

    task: AdaptationTask
    cut: int
    sizes: dict[str, int] = field(init=False)
    sources: dict[str, FeatureSource] = field(init=False)

    def __post_init__(self) -> None:
        splits = {domain: self.task.open_split(domain, "validation") for domain in DOMAINS}
        self.sizes = {domain: len(split.images) for domain, split in splits.items()}
        self.sources = {
            domain: open_source(self.task, split, self.cut, ViewRecipe(), 1) for domain, split in splits.items()
        }

    def images(self, most: int | None = None) -> dict[str, np.ndarray]:
        """Returns the numbers of each split's images, or of `most` of them, evenly spread over the split."""
        images = {}
        for domain, size in self.sizes.items():
            count = min(most or size, size)
            images[domain] = np.arange(count) * size // max(count, 1)
        return images

    def logits(self, network: nn.Sequential, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns a network's logits (n, classes) on the given images of each split."""
        return {domain: self.logits_of(network, domain, chosen) for domain, chosen in images.items()}

    def logits_of(self, network: nn.Sequential, domain: str, images: np.ndarray) -> np.ndarray:
        """Returns a network's logits (n, classes) on some images of one domain, given by their numbers in the split."""
        return predict(network, self.cut, self.sources[domain], images, self.task.runtime)


def baseline_logits(task: AdaptationTask) -> dict[str, np.ndarray]:
    """Computes the baseline's logits (n, classes) on both validation splits, once per baseline if there is a cache."""
    cut = task.baseline.architecture.depth.blocks if task.cache else 0
    validation = Validation(task, cut)
    return validation.logits(task.baseline.network, validation.images())


def validation_labels(task: AdaptationTask) -> dict[str, np.ndarray]:
    """Returns the labels (n,) of both validation splits."""
    return {domain: np.asarray(task.dataset(domain).open("validation").labels) for domain in DOMAINS}


UNTRAINED = 5
"""Networks of `untrained_accuracy`."""


def untrained_accuracy(task: AdaptationTask, on_network: Callable[[], None] = lambda: None) -> float:
    """Returns the mean accuracy of several untrained networks on the target's validation split.

    Args:
        task: Whose target and whose network's architecture.
        on_network: Called after each of the networks.
    """
    split = task.open_split("target", "validation")
    images = np.arange(len(split.images))
    source = open_source(task, split, 0, ViewRecipe(), 1)
    accuracies = []
    for seed in range(UNTRAINED):
        network = task.build_network(seed_from("untrained", seed)).to(task.runtime.device)
        predicted = predict(network, 0, source, images, task.runtime).argmax(1)
        accuracies.append(float(np.mean(predicted == split.images.labels)))
        on_network()
    return float(np.mean(accuracies))
