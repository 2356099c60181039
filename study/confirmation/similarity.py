"""How similar an adapted network is to the baseline, and how well its features still fit the source."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fer.evaluation.similarity import layer_similarities, probe_accuracy
from fer.seeding import generator
from fer.training.penalties import choose_balanced
from study.confirmation.answers import Arrays

if TYPE_CHECKING:
    from torch import nn

    from fer.adaptation.task import AdaptationTask

SIMILARITY_IMAGES = 256
FEWEST_SIMILARITY_IMAGES = 32
MOST_OUTPUT_BYTES = 2**29
"""Of a block's outputs for these images, which are fewer where the network's images are large."""
PROBE_IMAGES = 2100


def measure_similarity(task: "AdaptationTask", network: "nn.Sequential") -> Arrays:
    """Returns the layers' similarity to the baseline's, and how well a fresh linear probe reads the source's features.

    Both are measured on source images, of training and validation; see `fer.evaluation.similarity`.

    Args:
        task: Of the adaptation, which has the source and the baseline.
        network: The adapted one.

    Returns:
        cka: The similarity of each layer (layers,), 0 to 1. probe: The probe's accuracy, a scalar.
    """
    train = task.source.open("train")
    validation = task.source.open("validation")

    # Similarity of the layers' outputs, on few validation images.
    order = generator("similarity").permutation(len(validation))
    rows = np.sort(order[: count_similarity_images(task.baseline.chain.cut_shapes)])
    image_format = task.baseline.architecture.images
    similarities = layer_similarities(task.baseline.network, network, validation.images[rows], image_format)

    # A probe fitted on balanced training images, and evaluated on the first validation images.
    train_rows = np.sort(choose_balanced(np.asarray(train.labels), PROBE_IMAGES, generator("probe")))
    validation_rows = np.arange(min(PROBE_IMAGES, len(validation)))
    fitted_on = (train.images[train_rows], np.asarray(train.labels[train_rows]))
    evaluated_on = (validation.images[validation_rows], np.asarray(validation.labels[validation_rows]))
    accuracy = probe_accuracy(network, fitted_on, evaluated_on, image_format)
    return {"cka": np.array(list(similarities.values())), "probe": np.array(accuracy)}


def count_similarity_images(cut_shapes: Sequence[tuple[int, ...]]) -> int:
    """Returns of how many images the blocks' outputs are compared; all of a block's are in memory at once.

    Args:
        cut_shapes: The shape of one image's features before the first block and after each.
    """
    largest = 4 * max(math.prod(shape) for shape in cut_shapes[1:])
    fitting = max(FEWEST_SIMILARITY_IMAGES, MOST_OUTPUT_BYTES // largest)
    return min(SIMILARITY_IMAGES, fitting)
