"""Fused networks: which samples their training draws, how they are kept, and what starts from them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, TINY_NETWORK
from fer import baseline
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import AdaptationTask
from fer.baseline import FusedNetworks, Fusion, baseline_digest, course_of
from fer.baseline_job import BaselineConfig, BaselineJob, FusedImages, PassReport, Rank, part_of_schedule
from fer.config import NATURAL, AdaptationConfig, canonical, fingerprint, from_flat, to_flat
from fer.datasets import Dataset
from fer.errors import InputError
from fer.features.schedule import Schedule
from fer.runtime import Runtime, digest_of
from recorder import Recorder

RECIPE = BaselineConfig(network=TINY_NETWORK, epochs=1, processes=1, batch_size=20)
MOMENT = 1e-6
"""Minutes in which only the first pass begins."""

FUSED = AdaptationConfig(init="fused", lr=0.0)
PLAN = EvaluationPlan(interpolation_points=[(0.5, 0.0)])


# Which samples are drawn.


def draw(source: Dataset, target: Dataset, share: float | str, epochs: int = 3, batch: int = 14) -> list[Schedule]:
    """Returns the whole schedule of a fused training, then the parts of two processes."""
    config = replace(RECIPE, epochs=epochs, batch_size=batch)
    fused = FusedImages(target.open("train"), "target", share)
    job = BaselineJob(source.open("train"), source.open("validation"), "source", config, Runtime(), fused=fused)
    return [part_of_schedule(job, Rank(index, count), seed=7) for index, count in ((0, 1), (0, 2), (1, 2))]


def images_of(schedule: Schedule, domain: str) -> np.ndarray:
    """Returns the images that all steps draw; the source's images take the target's place, and the other way round."""
    place = {"source": "target", "target": "source"}[domain]
    return np.concatenate([images for images, _ in schedule.samples(place)])


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
def test_the_target_has_its_share_of_the_samples_at_every_step_and_the_source_is_passed_as_often_as_in_a_baseline(
    source, target, share
):
    whole, *_ = draw(source, target, share)

    for domain, wanted in (("target", share), ("source", 1 - share)):
        place = {"source": "target", "target": "source"}[domain]
        drawn = np.cumsum([len(images) for images, _ in whole.samples(place)])
        steps = np.arange(1, len(drawn) + 1)
        assert np.abs(drawn - 14 * wanted * steps).max() <= 1

    # Three passes of 140 images, to half a step.
    assert len(images_of(whole, "source")) == pytest.approx(3 * 140, abs=7 * (1 - share) + 1)
    assert len(whole.boundaries) == 3


def test_at_the_natural_ratio_a_pass_draws_every_image_of_both_training_sets_once(source, target):
    whole, *_ = draw(source, target, NATURAL)

    assert whole.boundaries == [13, 26, 39]  # 140 + 42 images in steps of 14
    for domain, size in (("source", 140), ("target", 42)):
        assert np.bincount(images_of(whole, domain), minlength=size).tolist() == [3] * size


@pytest.mark.parametrize("share", [NATURAL, 0.1, 0.5])
def test_the_source_is_drawn_in_the_order_of_the_baseline(source, target, share):
    job = BaselineJob(source.open("train"), source.open("validation"), "source", replace(RECIPE, epochs=4), Runtime())
    of_baseline = images_of(part_of_schedule(job, Rank(0, 1), seed=7), "source")

    drawn = images_of(draw(source, target, share)[0], "source")

    assert drawn.tolist() == of_baseline[: len(drawn)].tolist()


@pytest.mark.parametrize("share", [NATURAL, 0.1, 0.45])
def test_processes_share_every_step_evenly_and_leave_no_sample_out(source, target, share):
    whole, *parts = draw(source, target, share)

    for step in range(whole.boundaries[-1]):
        sizes = [sum(len(part.samples(place)[step][0]) for place in ("source", "target")) for part in parts]
        assert sizes == [7, 7]
        for place in ("source", "target"):
            drawn = np.concatenate([part.samples(place)[step][0] for part in parts])
            assert sorted(drawn) == sorted(whole.samples(place)[step][0])


def test_the_processes_take_the_samples_of_a_small_target_in_turn(source, target):
    whole, *parts = draw(source, target, 0.02, epochs=20)
    drawn = images_of(whole, "target")
    assert [images_of(part, "target").tolist() for part in parts] == [drawn[0::2].tolist(), drawn[1::2].tolist()]


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_an_amount_draws_from_that_share_of_the_targets_people(target, amount):
    images = Fusion(target, NATURAL, amount).images(seed=3)
    people = np.unique(target.open("train").subjects)

    chosen = np.unique(images.train.subjects)

    assert len(chosen) == round(amount * len(people)) and len(images.train) == 7 * len(chosen)
    assert set(chosen) <= set(people)


# How they are kept.


@pytest.fixture
def fused_task(setting: AdaptationTask, tmp_path: Path) -> AdaptationTask:
    """The setting, with a recipe for fused networks."""
    return replace(setting, find_fused=FusedNetworks(RECIPE, tmp_path / "baselines").find_or_train)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Notes each training of a baseline or a fused network."""
    recorder = Recorder(baseline.train_baseline)
    monkeypatch.setattr(baseline, "train_baseline", recorder)
    return recorder


def weights_of(task: AdaptationTask, config: AdaptationConfig, seed: int) -> str:
    """Returns the hash of a fused network's weights."""
    assert task.find_fused is not None
    return digest_of(task.find_fused(task, config, seed).state_dict())


def test_it_is_trained_once_and_then_found(fused_task, trainings):
    first = weights_of(fused_task, FUSED, seed=5)
    assert weights_of(fused_task, FUSED, seed=5) == first
    assert len(trainings.calls) == 1


def test_equal_seeds_give_equal_weights_and_every_choice_other_ones(fused_task, tmp_path):
    elsewhere = replace(fused_task, find_fused=FusedNetworks(RECIPE, tmp_path / "elsewhere").find_or_train)
    divided = replace(fused_task, target=fused_task.target.divided(1, 4, 0))
    first = weights_of(fused_task, FUSED, seed=5)
    others = [
        weights_of(fused_task, FUSED, seed=6),
        weights_of(fused_task, replace(FUSED, fused_share=0.3), seed=5),
        weights_of(fused_task, replace(FUSED, fused_share=NATURAL), seed=5),
        weights_of(fused_task, replace(FUSED, amount=0.5), seed=5),
        weights_of(divided, FUSED, seed=5),
    ]

    assert weights_of(elsewhere, FUSED, seed=5) == first
    assert len({first, *others}) == 1 + len(others)


def test_the_hash_is_the_baselines_without_a_target_and_depends_on_every_choice_with_one(source, target):
    plain = Fusion(target, 0.1)
    others = [
        plain, Fusion(target, 0.2), Fusion(target, NATURAL), Fusion(target, 0.1, 0.5), Fusion(source, 0.1),
        Fusion(target.divided(0, 3, 1), 0.1), Fusion(target.divided(1, 3, 1), 0.1), None,
    ]  # fmt: skip
    digests = [baseline_digest(source, RECIPE, Runtime(), fusion) for fusion in others]

    assert len(set(digests)) == len(others)
    assert digests[-1] == baseline_digest(source, RECIPE, Runtime())
    assert baseline_digest(source, replace(RECIPE, seed=9), Runtime(), plain) != digests[0]
    assert baseline_digest(source, replace(RECIPE, minutes=9), Runtime(), plain) == digests[0]


def test_a_network_that_its_time_ended_is_no_finished_one_and_goes_on_to_it(fused_task, tmp_path):
    long = replace(RECIPE, epochs=3)
    undisturbed = FusedNetworks(long, tmp_path / "whole").find_or_train(fused_task, FUSED, 5)

    torn = tmp_path / "torn"
    first = FusedNetworks(replace(long, minutes=MOMENT), torn).find_or_train(fused_task, FUSED, 5)
    finished = FusedNetworks(long, torn).find_or_train(fused_task, FUSED, 5)

    assert digest_of(finished.state_dict()) == digest_of(undisturbed.state_dict()) != digest_of(first.state_dict())
    assert not list((torn / "checkpoints").glob("*"))
    courses = {path.stem.endswith("min"): course_of(path) for path in torn.glob("*.safetensors")}
    assert (len(courses[True].accuracies), courses[True].ended_by) == (1, "time")
    assert (len(courses[False].accuracies), courses[False].ended_by) == (3, "passes")


class Killed(BaseException):
    """Ends a training as a signal does."""


def test_a_training_that_is_killed_goes_on_to_the_same_weights(fused_task, tmp_path, trainings):
    long = replace(RECIPE, epochs=3)
    undisturbed = FusedNetworks(long, tmp_path / "whole").find_or_train(fused_task, FUSED, 5)
    job, _ = trainings.calls[0]
    passes = []

    def kill_in_the_second(report: PassReport) -> None:
        passes.append(report.number)
        if report.number == 2:
            raise Killed

    torn = replace(job, checkpoints=tmp_path / "torn")
    with pytest.raises(Killed):
        baseline.train_baseline(torn, kill_in_the_second)
    network, _ = baseline.train_baseline(torn, lambda report: passes.append(report.number))

    assert passes == [1, 2, 2, 3]
    assert digest_of(network.state_dict()) == digest_of(undisturbed.state_dict())


def test_a_damaged_file_is_trained_again(fused_task, tmp_path):
    on_damage = Recorder()
    task = replace(fused_task, find_fused=FusedNetworks(RECIPE, tmp_path / "kept", on_damage).find_or_train)
    whole = weights_of(task, FUSED, seed=5)
    (path,) = (tmp_path / "kept").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:5000])

    assert weights_of(task, FUSED, seed=5) == whole
    ((warning,),) = on_damage.calls
    assert "cached fused network is damaged and is trained again" in warning


def test_it_makes_all_passes_though_the_sources_accuracy_does_not_grow(fused_task, tmp_path):
    recipe = replace(RECIPE, epochs=3, patience=1, lr=1e-12)
    FusedNetworks(recipe, tmp_path / "still").find_or_train(fused_task, FUSED, 5)

    (path,) = (tmp_path / "still").glob("*.safetensors")
    assert len(course_of(path).accuracies) == 3 and course_of(path).ended_by == "passes"


@pytest.mark.slow
def test_it_learns_both_datasets(fused_task, tmp_path):
    recipe = replace(RECIPE, epochs=12, lr=0.005)
    task = replace(fused_task, find_fused=FusedNetworks(recipe, tmp_path / "learned").find_or_train)

    measures = adapt(task, replace(FUSED, fused_share=0.3), seed=5).measures

    assert measures["source_val"] > 0.4 and measures["target_val"] > 0.4  # of seven expressions


# What starts from them.


def test_without_a_learning_rate_the_fused_network_is_the_result(fused_task, trainings):
    adapted = adapt(fused_task, FUSED, seed=5, plan=PLAN)

    assert digest_of(adapted.network.state_dict()) == weights_of(fused_task, FUSED, seed=5)
    assert len(trainings.calls) == 1 and adapted.interpolated == [] and not adapted.stopped
    assert {"source_val", "target_val", "retention"} <= adapted.measures.keys()
    assert len(adapted.logits["target"]) == 14


def test_an_adaptation_goes_on_from_the_fused_network(fused_task):
    start = weights_of(fused_task, FUSED, seed=5)
    config = replace(TINY, init="fused", frozen_layers=10)

    adapted = adapt(fused_task, config, seed=5, plan=PLAN)

    assert digest_of(adapted.network.state_dict()) != start and adapted.interpolated == []
    network = fused_task.find_fused(fused_task, config, 5)
    frozen = digest_of(adapted.network[:10].state_dict())
    assert frozen == digest_of(network[:10].state_dict())
    assert frozen != digest_of(fused_task.baseline.network[:10].state_dict())


def test_all_members_start_from_one_fused_network(fused_task, trainings):
    adapt(fused_task, replace(TINY, init="fused", members=2, epochs=2), seed=5)
    assert len(trainings.calls) == 1


def test_an_adaptation_leaves_the_kept_network_as_it_is(fused_task):
    network = fused_task.find_fused(fused_task, FUSED, 5)
    before = digest_of(network.state_dict())
    held = replace(fused_task, find_fused=lambda *_: network)

    adapt(held, replace(TINY, init="fused"), seed=5)

    assert digest_of(network.state_dict()) == before


def test_a_task_without_a_recipe_refuses_a_fused_start(setting):
    with pytest.raises(InputError, match="recipe"):
        adapt(setting, FUSED, seed=5)


# The configuration.


@pytest.mark.parametrize(
    "change",
    [
        {"fused_share": 0.0}, {"fused_share": 0.96}, {"fused_share": "half"}, {"fused_share": float("nan")},
        {"alpha": 0.5}, {"alpha_slope": -0.5}, {"anchor": "weights", "anchor_weight": 0.1},
    ],
)  # fmt: skip
def test_what_a_fused_start_excludes_is_named(change):
    with pytest.raises(InputError, match="|".join(change)):
        replace(FUSED, **change)


@pytest.mark.parametrize("share", [NATURAL, 0.1, 0.25])
def test_records_keep_the_share_of_a_fused_start_and_nothing_of_it_for_others(share):
    config = replace(FUSED, fused_share=share)
    assert from_flat(to_flat(config)) == config and to_flat(config)["fused_share"] == share
    assert "fused_share" not in to_flat(AdaptationConfig())


def without_adaptation(config: AdaptationConfig) -> bool:
    return fingerprint(config) == fingerprint(FUSED)


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"epochs": 64.0}, True), ({"batch_size": 8}, True), ({"fusion_ratio": 0.5}, True),
        ({"frozen_layers": 3}, True),
        ({"frozen_layers": 13, "lr": 0.1}, True), ({"lr": 0.01}, False), ({"fused_share": 0.2}, False),
        ({"amount": 0.5}, False), ({"bn": "recompute"}, False), ({"init": "scratch"}, False),
    ],
)  # fmt: skip
def test_a_fused_network_that_is_not_adapted_is_the_same_whatever_an_adaptation_would_be(change, is_same):
    config = replace(FUSED, **change)
    assert without_adaptation(config) == is_same
    assert canonical(canonical(config)) == canonical(config)


@pytest.mark.parametrize(
    ("config", "passes"),
    [
        (replace(FUSED, fused_share=NATURAL), 28),
        (replace(FUSED, fused_share=NATURAL, amount=0.5), 28),
        # 28 passes over 900 images of the source, and one target sample for nine of the source's.
        (replace(FUSED, fused_share=0.1), 28),
        (replace(FUSED, fused_share=0.1, amount=0.5), 56),
        (replace(FUSED, fused_share=0.5), 28 * 9),
        (replace(FUSED, fused_share=0.5, lr=0.1, epochs=4), 28 * 9 + 4),
        (AdaptationConfig(epochs=4), 4),
    ],
)
def test_how_often_a_fused_network_has_drawn_each_target_image(config, passes):
    assert config.target_passes(900, 100, fused_passes=28) == pytest.approx(passes)


def test_two_equal_starts_share_no_tensor(fused_task: AdaptationTask) -> None:
    find: Callable[..., torch.nn.Sequential] = fused_task.find_fused  # type: ignore[assignment]
    first, second = (find(fused_task, FUSED, 5) for _ in range(2))
    pointers = {parameter.data_ptr() for parameter in first.parameters()}
    assert pointers.isdisjoint(parameter.data_ptr() for parameter in second.parameters())
