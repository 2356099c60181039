"""Which cuts' features are kept: vgg13's as ever, and for other networks those that pay most within the room."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from fer.cache_places import MOST_FEATURES_GIB
from fer.features.cuts import FEWEST_OPERATIONS, choose_cuts, count_operations, feature_sizes, paper_cuts
from fer.model.blocks import find_blocks
from fer.model.networks import build_network
from fer.model.vgg import build, cut_shapes
from fer.runtime import Runtime
from study.inputs import find_feature_room


@pytest.mark.parametrize(
    ("width", "precision", "cuts"),
    [
        (0.25, "fp32", (2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)),
        (0.25, "bf16", tuple(range(2, 14))),
        (1.0, "bf16", (4, 7, 8, 9, 10, 11, 12, 13)),
        (1.0, "fp32", (7, 10, 11, 12, 13)),
    ],
)
def test_vgg13_keeps_the_cuts_that_it_was_measured_with(width: float, precision: str, cuts: tuple[int, ...]) -> None:
    runtime = Runtime("cpu", precision)  # type: ignore[arg-type]
    assert paper_cuts(feature_sizes(cut_shapes(build(width)), runtime)) == cuts


SIZES = [100, 4000, 2000, 1000, 500, 28]
OPERATIONS = [0.0, 5e5, 1e6, 2e6, 3e6, 3.1e6]


def test_all_cuts_are_kept_where_there_is_room_but_none_that_pays_nothing() -> None:
    assert choose_cuts(SIZES, OPERATIONS, 4, 1e9) == (1, 2, 3, 4)
    cheap = [OPERATIONS[0], FEWEST_OPERATIONS * SIZES[1] - 1, *OPERATIONS[2:]]
    assert choose_cuts(SIZES, cheap, 4, 1e9) == (2, 3, 4)
    assert choose_cuts(SIZES, [0.0] * 6, 4, 1e9) == ()


@pytest.mark.parametrize("room", [0, 499, 500, 1600, 3700, 7500])
def test_kept_features_fit_and_the_head_comes_first(room: float) -> None:
    cuts = choose_cuts(SIZES, OPERATIONS, 4, room)
    assert sum(SIZES[cut] for cut in cuts) <= room
    assert (4 in cuts) == (room >= SIZES[4])


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_saves_at_least_half_of_what_the_best_choice_would(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [1, *rng.integers(100, 1000, 7).tolist()]
    operations = [0.0, *np.cumsum(rng.uniform(1e5, 1e6, 7)).tolist()]
    room = sum(sizes) / 3
    weights = [1.0] * 7
    weights[6] += 7
    weights[5] += 7

    def saved(cuts: tuple[int, ...]) -> float:
        starts = [max((cut for cut in cuts if cut <= depth), default=0) for depth in range(7)]
        return sum(weight * operations[start] for weight, start in zip(weights, starts, strict=True))

    subsets = [cuts for count in range(7) for cuts in combinations(range(1, 7), count)]
    best = max(saved(cuts) for cuts in subsets if sum(sizes[cut] for cut in cuts) <= room)
    assert saved(choose_cuts(sizes, operations, 6, room)) >= best / 2


def test_operations_are_counted_block_by_block() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(400, 5)))
    counted = count_operations(network.eval(), (3, 10, 10))
    assert counted == (0, 2 * 27 * 4 * 100, 2 * 27 * 4 * 100, 2 * 27 * 4 * 100 + 2 * 400 * 5)


def test_resnet18_keeps_the_last_features_in_the_smallest_room() -> None:
    torch.manual_seed(0)
    chain = find_blocks(build_network("resnet18", 7, 32), (3, 32, 32))
    operations = count_operations(chain.network.eval(), (3, 32, 32))
    sizes = feature_sizes(chain.cut_shapes, Runtime())

    assert list(operations) == sorted(operations) and sizes[chain.head] == 512 * 4
    # At 32 pixels those before the last block are as small as the head's, and serve FC+CL as well.
    assert choose_cuts(sizes, operations, chain.head, sizes[chain.head]) == (chain.head - 1,)
    assert {chain.head - 1, chain.head} < set(choose_cuts(sizes, operations, chain.head, 50_000))


def test_the_room_of_features_is_a_share_of_memory_and_disk(tmp_path, monkeypatch) -> None:
    assert 0 < find_feature_room(tmp_path / "not" / "there") <= MOST_FEATURES_GIB

    usage = type("Usage", (), {"free": 8 * 2**30})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert find_feature_room(tmp_path) == 2.0
