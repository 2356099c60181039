"""The feature cache: damage is mended, processes share it, and what is cached is computed and drawn once."""

import errno
import multiprocessing
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import TINY, losses
from fer.adaptation.methods import named
from fer.adaptation.procedure import adapt
from fer.adaptation.task import open_source
from fer.config import ViewRecipe
from fer.features import cache, sources
from fer.features.sources import ImageSource
from fer.runtime import Runtime
from recorder import Recorder


def damage(path: Path) -> None:
    """Overwrites the second half of a file."""
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + b"\x5a" * (len(content) - half))


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
    config = named("FU", replace(TINY, frozen_layers=4))
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()

    processes = [
        context.Process(target=_adapt_with_others, args=(make_setting(), config, barrier, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()

    assert found[0] == found[1] == found[2] == losses(adapt(make_setting(), config, seed=5))
    np.testing.assert_allclose(found[0], losses(adapt(make_setting(cached=False), config, seed=5)), rtol=1e-5)


def test_a_process_computes_nothing_that_another_has_filled_meanwhile(setting, monkeypatch):
    monkeypatch.setattr(cache, "_FILL_BATCH", 4)
    split = setting.open_split("target", "train")
    mine, other = (open_source(setting, split, 10, ViewRecipe(), 1) for _ in range(2))
    images, views = np.arange(12), np.zeros(12, int)
    filled = []
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


def test_a_second_trial_draws_no_view_again_where_there_is_room(setting, monkeypatch):
    config = named("FU", replace(TINY, epochs=1))
    monkeypatch.setattr(sources, "_residents", OrderedDict())
    render = Recorder(sources.render)
    monkeypatch.setattr(sources, "render", render)

    first = adapt(setting, config, seed=5)
    drawn = render.count
    assert drawn > 0
    assert losses(adapt(setting, config, seed=5)) == losses(first) and render.count == drawn

    monkeypatch.setattr(sources, "LARGEST_RESIDENT", {"cpu": 0})
    assert losses(adapt(setting, config, seed=5)) == losses(first) and render.count > 2 * drawn  # step by step


def test_images_that_are_larger_than_their_part_of_a_gpu_stay_off_it(setting, monkeypatch):
    monkeypatch.setattr(Runtime, "on_gpu", property(lambda runtime: True))
    split = setting.target.open("train")
    images, views = np.array([5, 3, 5]), np.array([1, 0, 2])
    on_device, off_device = (ImageSource(split, ViewRecipe(), 1, setting.runtime) for _ in range(2))
    drawn = on_device.batch(images, views)
    assert on_device.images_on_gpu is not None

    monkeypatch.setattr(sources, "LARGEST_RESIDENT", {"cpu": split.images.nbytes})
    assert torch.equal(off_device.batch(images, views), drawn)
    assert off_device.images_on_gpu is None


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
