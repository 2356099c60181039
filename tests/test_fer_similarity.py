"""What is measured inside a network: similarity of layers, and what a linear probe still reads."""

import copy

import numpy as np
import pytest
import torch

from fer.architecture import VGG13
from fer.evaluation.similarity import layer_similarities, linear_cka, penultimate, probe_accuracy
from fer.model.vgg import build, cut_shapes
from study.confirmation.similarity import MOST_OUTPUT_BYTES, SIMILARITY_IMAGES, count_similarity_images


def test_linear_cka_follows_its_definition():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(40, 5)), rng.normal(size=(40, 9))
    x, y = one - one.mean(0), other - other.mean(0)
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))

    assert linear_cka(one, other) == pytest.approx(expected)


def test_linear_cka_sees_neither_rotation_nor_scale_but_sees_noise():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(200, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]

    assert linear_cka(features, 3 * features @ rotation + 5) == pytest.approx(1)
    assert linear_cka(features, rng.normal(size=(200, 6))) < 0.2
    assert np.isnan(linear_cka(features, np.ones((200, 2))))


def test_layers_up_to_the_changed_one_are_the_same(baseline, source):
    images = source.open("validation").images
    changed = copy.deepcopy(baseline.network)
    with torch.no_grad():
        changed[10].linear.weight.normal_()

    found = layer_similarities(baseline.network, changed, images)

    assert list(found) == list(VGG13.blocks)
    assert all(found[name] == pytest.approx(1) for name in VGG13.blocks[:10])
    assert all(found[name] < 0.9 for name in VGG13.blocks[10:])


def test_a_probe_reads_what_the_features_hold(baseline, source):
    split = source.open("train")
    seen = split.images, np.asarray(split.labels)
    before = probe_accuracy(baseline.network, seen, seen)
    displaced, blank = copy.deepcopy(baseline.network), copy.deepcopy(baseline.network)
    with torch.no_grad():
        displaced[12].linear.weight.zero_()  # the last layer forgot all of it, the features nothing
        blank[11].linear.weight.zero_()

    assert penultimate(baseline.network, seen[0]).shape == (140, 64)
    assert before > 0.5 and probe_accuracy(displaced, seen, seen) == before
    assert probe_accuracy(blank, seen, seen) == pytest.approx(1 / 7)


def test_fewer_large_images_are_compared_than_memory_would_be_filled_with():
    assert count_similarity_images(cut_shapes(build(1.0))) == SIMILARITY_IMAGES

    # The first outputs of a VGG-16 with images of 224 rows.
    shapes = [(3, 224, 224), (64, 224, 224), (64, 112, 112)]
    assert 32 <= count_similarity_images(shapes) <= MOST_OUTPUT_BYTES / (4 * 64 * 224 * 224)
