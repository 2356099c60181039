"""Adaptation over folds: every image judged once by a network that did not see its person, banks shared, rungs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from conftest import TINY
from fer.adaptation.cross_validation import cross_validate, divide_into_folds, merge_curves
from fer.adaptation.methods import named
from fer.adaptation.plan import EvaluationPlan, Prospect
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.config import ViewRecipe
from fer.errors import InputError
from fer.features.sources import ImageSource, Subset
from fer.runtime import Runtime

FOLDS = 3
PLAN = EvaluationPlan(interpolation_points=[(0.5, 0.0)])
CONFIG = replace(named("FC", TINY), epochs=2.0)


@pytest.fixture(scope="module")
def parts(setting_of_module):
    """The folds one by one, each by itself."""
    settings = divide_into_folds(setting_of_module, FOLDS, 0)
    return settings, [adapt(setting, CONFIG, 5, plan=PLAN) for setting in settings]


@pytest.fixture(scope="module")
def setting_of_module(baseline, source, target, tmp_path_factory):
    return AdaptationTask(baseline, source, target, Runtime(), tmp_path_factory.mktemp("cache"))


def test_objectives_are_of_all_folds_images_together(setting_of_module, parts):
    settings, alone = parts
    found = cross_validate(settings, CONFIG, 5, plan=PLAN)
    people = np.concatenate([setting.target.open("validation").subjects for setting in settings])
    labels = np.concatenate([setting.target.open("validation").labels for setting in settings])
    guesses = np.concatenate([part.logits["target"].argmax(1) for part in alone])
    assert len(guesses) == len(people) == 56
    assert found.measures["target_val"] == pytest.approx(np.mean(labels == guesses))
    assert found.measures["source_val"] == pytest.approx(np.mean([part.measures["source_val"] for part in alone]))
    assert np.sum(found.confusion["target"]) == 56

    halves = [part.interpolated[0].measures["source_val"] for part in alone]
    assert found.interpolated[0].measures["source_val"] == pytest.approx(np.mean(halves))
    assert found.curve == merge_curves(alone)
    assert found.curve[-1]["target_val"] == pytest.approx(found.measures["target_val"])


def test_folds_take_their_features_from_one_bank(setting_of_module, parts):
    settings, _ = parts
    banks = [path.name for path in (setting_of_module.cache / "features").glob("target-*")]
    assert sorted(name.rsplit("-", 1)[0] for name in banks) == [
        "target-pool-views1",
        f"target-pool-views{CONFIG.views.count}",
    ]

    uncached = replace(settings[1], cache=None)
    one, other = (adapt(where, CONFIG, 5) for where in (settings[1], uncached))
    np.testing.assert_allclose([r["loss"] for r in one.curve], [r["loss"] for r in other.curve], atol=1e-5)


def test_a_dominated_trial_stops_after_the_first_half_of_the_folds(parts):
    told, half_way = [], []

    def on_rung(share: float, row: dict[str, float], ways: Iterator[Prospect]) -> bool:
        told.append((share, row["source_val"], row["target_val"]))
        half_way.extend(prospect.score() for prospect in ways)
        return True

    settings, alone = parts
    found = cross_validate(settings, CONFIG, 5, on_rung, PLAN)
    assert found.stopped and found.interpolated == [] and np.sum(found.confusion["target"]) < 56
    assert told == [(2 / 3, found.measures["source_val"], pytest.approx(found.measures["target_val"]))]
    assert found.curve == merge_curves(alone[:2])

    labels = np.concatenate([setting.target.open("validation").labels for setting in settings[:2]])
    guesses = np.concatenate([part.interpolated[0].logits["target"].argmax(1) for part in alone[:2]])
    source = np.mean([part.interpolated[0].measures["source_val"] for part in alone[:2]])
    assert half_way == [[pytest.approx(source), pytest.approx(np.mean(labels == guesses))]]


def test_without_folds_it_is_one_adaptation(setting_of_module):
    assert divide_into_folds(setting_of_module, 0, 0) == [setting_of_module]
    plain = adapt(setting_of_module, CONFIG, 5)
    assert cross_validate([setting_of_module], CONFIG, 5).curve == plain.curve


def test_some_of_a_feed_has_numbers_of_its_own(setting_of_module):
    split = setting_of_module.target.open("train")
    whole = ImageSource(split, ViewRecipe(), 1, setting_of_module.runtime)
    rows, views = np.array([7, 3, 11]), np.array([0, 2])

    few = Subset(whole, rows)

    assert (few.batch(np.array([2, 0]), views) == whole.batch(np.array([11, 7]), views)).all() and few.cut == 0


def test_more_folds_than_subjects_are_refused_before_anything_is_trained(setting_of_module):
    with pytest.raises(InputError, match="no more than there are subjects"):
        divide_into_folds(setting_of_module, 100, 0)[0].target.open("validation")
