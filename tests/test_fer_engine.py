"""The engine: exact caching, frozen layers bit for bit, equal budgets, determinism; over all strategies."""

import errno
import gc
import multiprocessing
import subprocess
import sys
import time
from collections import OrderedDict
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import ROOT
from conftest import TINY
from fer.adaptation import evaluation, scoring
from fer.adaptation.methods import STRATEGIES, named
from fer.adaptation.plan import Adapted, EvaluationPlan
from fer.adaptation.procedure import adapt
from fer.adaptation.task import open_source
from fer.config import AdaptationConfig, ViewRecipe
from fer.features import cache, sources
from fer.features.schedule import choose_target_images, draw_schedule
from fer.features.sources import ImageSource
from fer.layers import LAYERS
from fer.model.vgg import build
from fer.runtime import Runtime, make_runtime
from fer.training.loop import Diverged
from fer.training.optimisers import make_optimiser

HALF_WAY = EvaluationPlan(interpolation_points=((0.5, 0.0),))
EVERY_CUT = range(len(LAYERS) + 1)


def losses(adapted: Adapted) -> list[float]:
    return [row["loss"] for row in adapted.curve if "loss" in row]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_changes_what_it_trains_and_nothing_else(setting, strategy):
    config = named(strategy, TINY)
    adapted = adapt(setting, config, seed=5)
    before, after = setting.baseline.network.state_dict(), adapted.network.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(LAYERS[config.frozen_layers :])
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


def test_a_rung_may_stop_a_trial(setting):
    rungs = []

    def on_rung(share, row, ways):
        rungs.append((share, row["source_val"], row["target_val"]))
        return True

    adapted = adapt(setting, TINY, seed=5, on_rung=on_rung)
    assert adapted.stopped and [share for share, *_ in rungs] == [0.5]
    assert len(losses(adapted)) == 2


def test_rungs_and_parts_of_a_budget_are_the_callers_and_change_no_training(setting):
    shares = []
    config, plan = replace(TINY, epochs=2), EvaluationPlan(rungs=(0.25, 0.5, 1.0), equal_epochs=4)
    finer = adapt(setting, config, 5, lambda share, row, ways: bool(shares.append(share)), plan)
    assert shares == [0.25, 0.5] and len(losses(finer)) == 4
    assert finer.measures == adapt(setting, config, 5).measures


@pytest.mark.parametrize("strategy", ["FC", "RE", "FU", "EWC"])
def test_networks_on_the_way_are_scored_at_a_rung_from_the_baseline_to_what_there_is(setting, strategy):
    ways, config, told = ((0.0, 0.0), (0.5, 0.0), (1.0, 0.0)), named(strategy, TINY), []

    def on_rung(share, row, ways):
        told.append([[row["source_val"], row["target_val"]], *(prospect.score() for prospect in ways)])
        return True

    stopped = adapt(setting, config, 5, on_rung, EvaluationPlan(interpolation_points=ways))
    start = adapt(setting, named("BL", TINY), 5).measures
    ((own, first, half, last),) = told
    assert first == [start["source_val"], start["target_val"]] and last == own
    assert all(0 <= accuracy <= 1 for accuracy in half)
    # What is told of the trial is its own end's, and no other network's.
    assert stopped.stopped and [stopped.measures["source_val"], stopped.measures["target_val"]] == own
    assert set(stopped.curve[-1]) == {"epoch", "loss", "source_val", "target_val"}


@pytest.mark.parametrize("strategy", ["RE", "FU"])
def test_scoring_networks_on_the_way_at_a_rung_changes_no_training(setting, strategy):
    config, plan = named(strategy, TINY), EvaluationPlan(interpolation_points=((0.5, 0.0), (0.0, 1.0)))
    plain = adapt(setting, config, 5, plan=plan)
    looked = adapt(setting, config, 5, lambda share, row, found: not [prospect.score() for prospect in found], plan)
    assert losses(looked) == losses(plain) and looked.measures == plain.measures
    assert [step.measures for step in looked.interpolated] == [step.measures for step in plain.interpolated]


@pytest.mark.parametrize("wanted", [0, 1, 3])
def test_at_a_rung_as_many_networks_on_the_way_are_made_as_are_asked_for(setting, monkeypatch, wanted):
    made, mixed = [], scoring.Scorer.interpolate
    monkeypatch.setattr(
        scoring.Scorer, "interpolate", lambda self, *args: (made.append(args[1:]), mixed(self, *args))[1]
    )
    ways = ((0.5, 0.0), (0.75, 0.0), (0.0, 1.0))

    def on_rung(share, row, prospects):
        for prospect in list(prospects)[:wanted]:
            prospect.score()
        return True

    adapt(setting, TINY, 5, on_rung, EvaluationPlan(interpolation_points=ways))
    assert made == list(ways[:wanted])


@pytest.mark.parametrize("images", [None, 5])
def test_what_may_be_hoped_of_a_network_on_the_way_lies_above_the_line_from_the_baseline(setting, images):
    ways, hoped = ((0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (1.0, 0.0)), []

    def on_rung(share, row, prospects):
        hoped.append([row["source_val"], row["target_val"]])
        hoped.extend(prospect.optimistic_estimate for prospect in prospects)
        return True

    adapt(replace(setting, rung_images=images), TINY, 5, on_rung, EvaluationPlan(interpolation_points=ways))
    start = adapt(setting, named("BL", TINY), 5).measures
    own, first, half, sloped, last = map(np.array, hoped)
    bonus = first - [start["source_val"], start["target_val"]]
    assert (bonus > 0).all() and last == pytest.approx(own + bonus)
    assert half == pytest.approx((first + last) / 2) and sloped == pytest.approx(half)
    if images:  # on fewer images luck is wider
        assert bonus == pytest.approx([2 * np.sqrt(0.1 / 5)] * 2)


def test_a_network_from_scratch_is_on_no_way_from_the_baseline(setting):
    told = []
    config = replace(TINY, init="scratch", fusion_ratio="natural")
    adapted = adapt(setting, config, 5, lambda share, row, ways: bool(told.extend(ways)), HALF_WAY)
    assert told == [] and adapted.interpolated == []


def test_a_rung_may_look_at_fewer_images_and_compares_them_with_the_baseline_on_the_same(setting, monkeypatch):
    looked, predict = [], evaluation.predict
    monkeypatch.setattr(evaluation, "predict", lambda *args: (looked.append(len(args[3])), predict(*args))[1])

    def rung_and_end(images, strategy="RE", lr=TINY.lr):
        rows = []
        config = replace(named(strategy, TINY), lr=lr)
        adapted = adapt(
            replace(setting, rung_images=images), config, 5, lambda share, row, ways: bool(rows.append(row))
        )
        return rows[0], adapted.measures

    every, end = rung_and_end(None)
    looked.clear()
    few, same_end = rung_and_end(5)
    assert same_end == end
    assert looked.count(5) == 2 and min(looked) == 5 < max(looked)  # both splits at the rung, all of them else
    assert rung_and_end(10_000)[0] == every
    start = adapt(setting, named("BL", TINY), 5).measures
    for domain in ("source_val", "target_val"):
        # The baseline's on all, and a whole number of these five; never less than none or more than all.
        steps = (few[domain] - start[domain]) * 5
        assert steps == pytest.approx(round(steps)) or few[domain] in (0.0, 1.0)
    still, _ = rung_and_end(3, "FC", lr=1e-12)  # what does not move is where the baseline is, whatever the few are
    assert [still[name] - start[name] for name in ("source_val", "target_val")] == pytest.approx([0, 0])


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


def test_a_budget_of_less_than_two_passes_has_a_half_as_well(setting):
    shares = []
    adapted = adapt(setting, replace(TINY, epochs=0.5), 5, lambda share, row, ways: bool(shares.append(share)))
    assert shares == [0.5]
    assert [row["epoch"] for row in adapted.curve] == [0.25, 0.5]


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


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b"\x5a" * (len(data) - len(data) // 2)
    path.write_bytes(data)


def test_a_damaged_or_truncated_bank_is_mended(setting):
    config = named("FC", TINY)
    first = adapt(setting, config, seed=5)
    banks = list((setting.cache / "features").rglob("*.features"))
    assert banks
    for bank in banks:
        damage(bank)
    assert adapt(setting, config, seed=5).curve == first.curve
    for bank in banks:
        bank.write_bytes(bank.read_bytes()[:100])
    assert adapt(setting, config, seed=5).curve == first.curve


def _adapt_with_others(setting, config, barrier, results):
    torch.set_num_threads(1)
    barrier.wait(60)
    results.put(losses(adapt(setting, config, seed=5)))


def test_processes_that_fill_a_bank_at_once_all_have_true_features(make_setting, monkeypatch):
    monkeypatch.setattr(cache, "_FILL_BATCH", 16)  # many to share
    config, context = named("FU", replace(TINY, frozen_layers=4)), multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    parts = [
        context.Process(target=_adapt_with_others, args=(make_setting(), config, barrier, results)) for _ in range(3)
    ]
    for part in parts:
        part.start()
    found = [results.get(timeout=120) for _ in parts]
    for part in parts:
        part.join()
    assert found[0] == found[1] == found[2] == losses(adapt(make_setting(), config, seed=5))
    np.testing.assert_allclose(found[0], losses(adapt(make_setting(cached=False), config, seed=5)), rtol=1e-5)


def test_a_process_computes_nothing_that_another_has_filled_meanwhile(setting, monkeypatch):
    monkeypatch.setattr(cache, "_FILL_BATCH", 4)
    split = setting.open_split("target", "train")
    mine, other = (open_source(setting, split, 10, ViewRecipe(), 1) for _ in range(2))
    images, views, filled = np.arange(12), np.zeros(12, int), []
    fill = cache.FeatureCache._fill

    def counted(bank, slots):
        filled.extend(slots)
        fill(bank, slots)
        if bank is mine:
            other.prepare(images, views)

    monkeypatch.setattr(cache.FeatureCache, "_fill", counted)
    mine.prepare(images, views)
    assert sorted(filled) == list(range(12))


def test_features_that_the_disk_takes_in_part_are_an_error_of_the_machine(setting, monkeypatch):
    monkeypatch.setattr(cache.os, "pwrite", lambda file, content, at: len(content) // 2)
    with pytest.raises(OSError, match="no space left") as found:
        adapt(setting, named("FC", TINY), seed=5)
    assert found.value.errno == errno.ENOSPC


def test_a_second_trial_computes_no_feature_again(setting, monkeypatch):
    config = named("FC", TINY)
    adapt(setting, config, seed=5)
    monkeypatch.setattr(cache.FeatureCache, "_fill", lambda *_: pytest.fail("filled again"))
    adapt(setting, replace(config, lr=0.001), seed=5)


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


def test_a_second_trial_draws_no_view_again_where_there_is_room(setting, monkeypatch):
    config = named("FU", replace(TINY, epochs=1))
    monkeypatch.setattr(sources, "_residents", OrderedDict())
    monkeypatch.setattr(sources, "render", called := count_calls(sources.render))
    first = adapt(setting, config, seed=5)
    drawn = called.count
    assert drawn > 0
    assert losses(adapt(setting, config, seed=5)) == losses(first) and called.count == drawn
    monkeypatch.setattr(sources, "LARGEST_RESIDENT", {"cpu": 0})
    assert losses(adapt(setting, config, seed=5)) == losses(first) and called.count > 2 * drawn  # step by step


OPTIMISERS = """
import sys, torch
from fer.config import AdaptationConfig
from fer.model.vgg import build
from fer.training.optimisers import make_optimiser

for name, plain in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
    network = build(1 / 16)
    optimiser = make_optimiser(network, AdaptationConfig(optimiser=name))
    network(torch.randn(8, 1, 48, 48)).sum().backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    assert isinstance(optimiser, plain) and all(p.requires_grad for p in network.parameters())
print("torch._dynamo" in sys.modules)
"""


def test_optimisers_import_no_compiler():
    done = subprocess.run([sys.executable, "-c", OPTIMISERS], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("name, plain", [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimisers_are_torchs(name, plain):
    config = AdaptationConfig(optimiser=name, weight_decay=0.01)
    networks = [build(1 / 16, seed=1) for _ in range(2)]
    settings = {"momentum": config.momentum, "nesterov": True} if name == "sgd" else {}
    wanted = plain(networks[1].parameters(), lr=config.lr, weight_decay=0.01, fused=True, **settings)
    found = make_optimiser(networks[0], config)
    for step in range(3):
        for network, optimiser in zip(networks, (found, wanted), strict=True):
            torch.manual_seed(step)
            optimiser.zero_grad(set_to_none=True)
            network(torch.randn(8, 1, 48, 48)).square().sum().backward()
            optimiser.step()
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["FC", "RE", "FU"])
def test_what_a_gpu_holds_gives_the_same_training(setting, monkeypatch, name):
    config = named(name, TINY)
    wanted = adapt(setting, config, 5)
    monkeypatch.setattr(sources, "_residents", OrderedDict())  # what the CPU drew is not what is tried
    monkeypatch.setattr(Runtime, "on_gpu", True)
    monkeypatch.setenv("FER_CUDA_GRAPHS", "0")
    with monkeypatch.context() as patch:
        patch.setattr(ImageSource, "_draw", called := count_calls(ImageSource._draw))
        found = adapt(setting, config, 5)
    assert [row["loss"] for row in found.curve] == [row["loss"] for row in wanted.curve]
    np.testing.assert_array_equal(found.logits["source"], wanted.logits["source"])
    assert called.count <= 6  # training of both domains, both validation splits: never once per step


def count_calls(function):
    """Returns the function with a count of its calls."""

    def counted(*args):
        counted.count += 1
        return function(*args)

    counted.count = 0
    return counted


def test_a_bank_that_keeps_features_on_its_device_gives_the_same(setting):
    split = setting.open_split("target", "train")
    banks = [open_source(setting, split, 10, ViewRecipe(), 4) for _ in range(2)]
    banks[1].keeps = True  # as on a GPU
    images, views = np.array([5, 3, 5, 0]), np.array([1, 0, 2, 3])
    for bank in banks:
        bank.prepare(images, views)
    assert banks[0].resident is None and len(banks[1].resident.slots) == 4
    order = np.array([2, 0, 3, 3])
    assert (banks[0].batch(images[order], views[order]) == banks[1].batch(images[order], views[order])).all()


def test_what_a_device_holds_serves_the_next_adaptations_until_room_is_wanted(setting, monkeypatch):
    split = setting.open_split("target", "train")
    monkeypatch.setattr(sources, "_residents", OrderedDict())

    def prepare(*images):
        bank = open_source(setting, split, 10, ViewRecipe(), 4)
        bank.keeps = True  # as on a GPU
        bank.prepare(np.array(images), np.array(images) % 4)
        return bank.resident

    first, second = prepare(0, 1, 2), prepare(3, 4)
    assert prepare(2, 1, 0) is first  # the same slots, in any order; and so used last
    most = 4 * first.features.nbytes
    monkeypatch.setattr(sources, "LARGEST_RESIDENT", {"cpu": most})
    rest = [prepare(number, number + 1) for number in (5, 7, 9, 11)]
    assert sum(one.features.nbytes for one in sources._residents.values()) <= most
    assert prepare(0, 1, 2) is first and prepare(11, 12) is rest[-1]
    assert prepare(3, 4) is not second  # used longest ago
    assert prepare(0, 1, 2, 3) is None  # more than one feed's part
