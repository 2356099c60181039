"""The engine: exact caching, frozen layers bit for bit, equal budgets, determinism; over all strategies."""

import gc
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, losses
from fer.adaptation.methods import STRATEGIES, named
from fer.adaptation.plan import EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.architecture import VGG13
from fer.config import AdaptationConfig
from fer.features.schedule import choose_target_images, draw_schedule
from fer.runtime import Runtime, make_runtime
from fer.training.loop import Diverged

HALF_WAY = EvaluationPlan(interpolation_points=((0.5, 0.0),))
EVERY_CUT = range(len(VGG13.blocks) + 1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_changes_what_it_trains_and_nothing_else(setting, strategy):
    config = named(strategy, TINY)
    adapted = adapt(setting, config, seed=5)
    before, after = setting.baseline.network.state_dict(), adapted.network.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}

    assert changed == set(VGG13.blocks[config.frozen_layers :])
    assert set(adapted.measures) >= {"source_val", "target_val", "retention", "source_uar"}


@pytest.mark.parametrize("frozen_layers", EVERY_CUT)
@pytest.mark.parametrize("fusion_ratio", [0.0, 0.5])
def test_cached_training_equals_uncached_training(make_setting, frozen_layers, fusion_ratio):
    config = replace(TINY, frozen_layers=frozen_layers, fusion_ratio=fusion_ratio)
    cached, uncached = (adapt(make_setting(cached), config, seed=5) for cached in (True, False))

    np.testing.assert_allclose(losses(cached), losses(uncached), atol=1e-5)
    assert cached.measures == pytest.approx(uncached.measures, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("frozen_layers", EVERY_CUT)
@pytest.mark.parametrize("fusion_ratio", [0.0, 0.5])
def test_cached_training_follows_uncached_training_at_each_of_fifty_steps(make_setting, frozen_layers, fusion_ratio):
    settings = [make_setting(cached) for cached in (True, False)]
    whole = len(settings[0].target.open("train"))  # a step is then an epoch, whose loss is on the curve
    config = replace(TINY, frozen_layers=frozen_layers, fusion_ratio=fusion_ratio, batch_size=whole, epochs=50)
    cached, uncached = (losses(adapt(setting, config, seed=5)) for setting in settings)

    assert len(cached) == (50 if config.trains else 0)
    np.testing.assert_allclose(cached, uncached, rtol=0, atol=1e-5)


def test_equal_seeds_give_equal_results_and_other_seeds_do_not(setting):
    config = named("FU", TINY)
    first, again, other = (adapt(setting, config, seed) for seed in (5, 5, 6))

    assert first.curve == again.curve
    assert first.measures == again.measures
    assert losses(first) != losses(other)


def test_training_learns_the_target(setting):
    adapted = adapt(setting, replace(named("RE", TINY), epochs=60), seed=5)  # in half of them some seeds learn less
    assert adapted.measures["target_val"] > 0.9
    assert losses(adapted)[-1] < 0.5 * losses(adapted)[0]


def test_the_baseline_is_scored_without_training(setting):
    adapted = adapt(setting, named("BL", TINY), seed=5)

    assert adapted.measures["retention"] == 1.0
    assert adapted.measures["negative_flips"] == 0.0
    assert adapted.curve == [{"epoch": 0.0, **{k: adapted.measures[k] for k in ("source_val", "target_val")}}]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="asks the kernel, by Linux's files")
@pytest.mark.parametrize("strategy", ["FC", "LwF", "DER++", "soup", "WiSE-FT"])
def test_an_adaptation_leaves_no_features_mapped(setting, strategy):
    def mapped():
        return Path("/proc/self/maps").read_text().count(".features")

    gc.collect()
    gc.disable()  # hundreds of trials of a worker would otherwise hold thousands of files until it collects
    try:
        before = mapped()
        adapt(setting, named(strategy, replace(TINY, frozen_layers=10)), seed=5, plan=HALF_WAY)
        assert mapped() == before
    finally:
        gc.enable()


def test_divergence_is_an_error_with_the_rate_in_it(setting):
    with pytest.raises(Diverged, match=r"learning rate 1e\+06"):
        adapt(setting, replace(TINY, lr=1e6, epochs=20), seed=5)


def test_a_network_without_numbers_for_answers_has_diverged_though_its_losses_were_finite(setting):
    with pytest.raises(Diverged, match=r"no numbers any more at learning rate 1e\+30"):
        adapt(setting, replace(TINY, lr=1e30, epochs=0.01), seed=5)  # a single step, whose loss comes before it


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.95, "natural"])
@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_every_schedule_draws_the_same_budget(ratio, amount):
    config = AdaptationConfig(fusion_ratio=ratio, amount=amount, batch_size=10, epochs=6)
    target, source = choose_target_images(np.arange(50) % 7, amount, seed=1), np.arange(200)
    schedule = draw_schedule(config, target, source, 50, seed=3)
    drawn = {domain: sum(len(i) for i, _ in schedule.samples(domain)) for domain in ("target", "source")}
    assert drawn["target"] + drawn["source"] == 6 * 50
    assert all(len(t[0]) + len(s[0]) == 10 for t, s in zip(schedule.target, schedule.source, strict=True))

    share = 200 / (200 + len(target)) if ratio == "natural" else ratio
    assert abs(drawn["source"] - share * 300) <= 1

    if ratio == 0.0:
        assert drawn["source"] == 0
    images = np.concatenate([i for i, _ in schedule.target])
    assert set(images) <= set(target)

    counts = np.bincount(images, minlength=50)[target]
    assert counts.max() - counts.min() <= 1


def test_half_the_amount_keeps_every_expression():
    labels = np.repeat(np.arange(7), [20, 4, 8, 16, 10, 12, 30])
    kept = choose_target_images(labels, 0.5, seed=1)

    assert len(kept) == 50
    np.testing.assert_allclose(np.bincount(labels[kept]), np.bincount(labels) / 2, atol=1)
    assert np.array_equal(kept, choose_target_images(labels, 0.5, seed=1))


def test_bf16_agrees_with_fp32_closely(make_setting):
    config = replace(named("FC+CL", TINY), lr=0.005)
    single, half = (adapt(make_setting(precision=p), config, seed=5) for p in ("fp32", "bf16"))
    np.testing.assert_allclose(losses(half), losses(single), rtol=0.1)


@pytest.mark.parametrize("slow, taken", [("fp32", "bf16"), ("bf16", "fp32")])
def test_auto_takes_the_precision_that_is_faster_here(monkeypatch, slow, taken):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)

    def slowed(self):  # bf16 is not computed: where it is emulated it would be the slow one whatever is made slow here
        time.sleep(0.02 if self.precision == slow else 0)
        return nullcontext()

    monkeypatch.setattr(Runtime, "autocast", slowed)
    drawn = torch.get_rng_state()

    assert make_runtime("cpu").precision == taken
    assert (torch.get_rng_state() == drawn).all()


@pytest.mark.parametrize("has, taken", [(True, "bf16"), (False, "fp32")])
def test_auto_takes_bf16_on_gpus_that_have_it_and_not_where_it_is_emulated(monkeypatch, has, taken):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has)
    assert make_runtime("cuda") == Runtime("cuda", taken)
