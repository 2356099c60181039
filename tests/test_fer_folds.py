"""Folds of a target: each image validates once, unseen by its network; features are shared; folds are averaged.

An adaptation on every fold is judged by the answers of all its networks together.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TINY
from fer.adaptation.cross_validation import adapt_on_folds, labels_of_folds
from fer.adaptation.evaluation import predict, validation_labels
from fer.adaptation.methods import named
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt, average_adapted
from fer.adaptation.task import AdaptationTask
from fer.config import ViewRecipe
from fer.errors import InputError
from fer.features.sources import ImageSource, Subset
from fer.model.interpolation import average
from fer.runtime import Runtime

FOLDS = 3
PLAN = EvaluationPlan(interpolation_points=[(0.5, 0.0)])
CONFIG = replace(named("FC", TINY), epochs=2.0)


@pytest.fixture(scope="module")
def setting_of_module(baseline, source, target, tmp_path_factory):
    return AdaptationTask(baseline, source, target, Runtime(), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def parts(setting_of_module):
    """The tasks of the folds, and an adaptation on each."""
    target = setting_of_module.target
    tasks = [replace(setting_of_module, target=target.divided(fold, FOLDS, 0)) for fold in range(FOLDS)]
    return tasks, [adapt(task, CONFIG, 5, plan=PLAN) for task in tasks]


def test_each_image_validates_in_one_fold_and_its_person_trains_in_none_of_it(setting_of_module, parts):
    tasks, _ = parts
    pool = setting_of_module.target.pool()
    fold_of_image = setting_of_module.target.fold_of_images(FOLDS, 0)
    assert len(fold_of_image) == len(pool) == 56
    for fold, task in enumerate(tasks):
        validation = task.target.open("validation")
        assert np.array_equal(validation.subjects, pool.subjects[fold_of_image == fold])
        assert not set(validation.subjects) & set(task.target.open("train").subjects)


def test_a_united_target_trains_on_all_images_and_leaves_validation_and_test_as_they_are(target):
    united = target.united()
    assert len(united.open("train")) == len(target.open("train")) + len(target.open("validation"))
    assert np.array_equal(united.open("validation").images, target.open("validation").images)
    assert np.array_equal(united.open_test().images, target.open_test().images)
    assert united.digest != target.digest and united.stored_digest == target.digest


def test_the_average_of_folds_has_their_mean_weights_and_is_scored_as_a_network_of_its_own(setting_of_module, parts):
    _, adapted = parts
    united = replace(setting_of_module, target=setting_of_module.target.united())

    made = average_adapted(united, CONFIG, 5, [each.network for each in adapted], [(0.5, 0.0)])

    states = [each.network.state_dict() for each in adapted]
    for name, tensor in made.network.state_dict().items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, torch.stack([state[name] for state in states]).mean(0))
    assert [(step.alpha, step.slope) for step in made.interpolated] == [(0.5, 0.0)]
    networks = (setting_of_module.baseline.network, made.network, made.interpolated[0].network)
    baseline, end, half_way = (next(iter(network[-1].parameters())) for network in networks)
    assert torch.allclose(half_way, (baseline + end) / 2, atol=1e-6)


def test_the_average_of_one_network_is_that_network(parts, setting_of_module):
    _, adapted = parts
    alone = average_adapted(setting_of_module, CONFIG, 5, [adapted[0].network])
    assert alone.network is adapted[0].network
    one = average([adapted[0].network])
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), adapted[0].network.parameters(), strict=True))


def test_on_every_fold_each_image_is_answered_by_the_network_that_did_not_see_it_and_the_source_by_the_average(parts):
    tasks, adapted = parts
    together = adapt_on_folds(tasks, CONFIG, 5, PLAN)

    # The networks are those of adaptations on single folds, and so are their answers on the target.
    states = [each.network.state_dict() for each in adapted]
    for name, tensor in together.network.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.stack([state[name] for state in states]).mean(0))
    of_folds = np.concatenate([each.logits["target"] for each in adapted])
    assert np.array_equal(together.logits["target"], of_folds)
    half_way = np.concatenate([each.interpolated[0].logits["target"] for each in adapted])
    assert np.array_equal(together.interpolated[0].logits["target"], half_way)

    # On the source the average answers.
    source = tasks[0].source.open("validation")
    images = ImageSource(source, ViewRecipe(), 1, tasks[0].runtime)
    of_average = predict(together.network, 0, images, np.arange(len(source)), tasks[0].runtime)
    np.testing.assert_allclose(together.logits["source"], of_average, atol=1e-4)


def test_measures_on_every_fold_are_those_of_all_images_together(parts):
    tasks, adapted = parts
    together = adapt_on_folds(tasks, CONFIG, 5, PLAN)
    labels = labels_of_folds(tasks)
    assert np.array_equal(labels["target"], np.concatenate([validation_labels(task)["target"] for task in tasks]))

    for domain in ("source", "target"):
        right = together.logits[domain].argmax(1) == labels[domain]
        assert together.measures[f"{domain}_val"] == pytest.approx(right.mean())
        assert np.sum(together.confusion[domain]) == len(labels[domain])
    sizes = np.array([len(each.logits["target"]) for each in adapted])
    accuracies = np.array([each.measures["target_val"] for each in adapted])
    assert together.measures["target_val"] == pytest.approx((sizes * accuracies).sum() / sizes.sum())

    # The curve has the mean loss of each epoch, and at its end what all networks reach together.
    for row, *rows in zip(together.curve, *(each.curve for each in adapted), strict=True):
        assert row["loss"] == pytest.approx(np.mean([of_fold["loss"] for of_fold in rows]))
    assert together.curve[-1]["target_val"] == together.measures["target_val"]


def test_networks_that_have_no_start_in_common_are_not_averaged(parts):
    with pytest.raises(AssertionError, match="no average"):
        adapt_on_folds(parts[0], replace(CONFIG, init="scratch", frozen_layers=0), 5)


def test_what_trains_nothing_is_the_baseline_on_every_fold(parts):
    tasks, _ = parts
    together = adapt_on_folds(tasks, replace(CONFIG, lr=0.0), 5, PLAN)
    assert together.interpolated == [] and together.measures["retention"] == 1
    assert together.measures["target_gain"] == 0 and together.measures["target_drift"] == pytest.approx(0)


def test_folds_take_their_features_from_one_bank(setting_of_module, parts):
    tasks, _ = parts
    banks = [path.name for path in (setting_of_module.cache / "features").glob("target-*")]
    of_folds = {name.rsplit("-", 1)[0] for name in banks if "validation" not in name}
    assert of_folds == {"target-pool-views1", f"target-pool-views{CONFIG.views.count}"}

    uncached = replace(tasks[1], cache=None)
    one, other = (adapt(where, CONFIG, 5) for where in (tasks[1], uncached))
    np.testing.assert_allclose([r["loss"] for r in one.curve], [r["loss"] for r in other.curve], atol=1e-5)


def test_some_of_a_feed_has_numbers_of_its_own(setting_of_module):
    split = setting_of_module.target.open("train")
    whole = ImageSource(split, ViewRecipe(), 1, setting_of_module.runtime)
    rows, views = np.array([7, 3, 11]), np.array([0, 2])

    few = Subset(whole, rows)

    assert (few.batch(np.array([2, 0]), views) == whole.batch(np.array([11, 7]), views)).all() and few.cut == 0


def test_more_folds_than_subjects_are_refused_before_anything_is_trained(setting_of_module):
    with pytest.raises(InputError, match="no more than there are subjects"):
        setting_of_module.target.divided(0, 100, 0).open("validation")
