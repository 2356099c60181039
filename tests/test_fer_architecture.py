"""What a record keeps of a network: read as it was written, and without it the paper's."""

import dataclasses

import pytest

from fer.architecture import UNKNOWN, VGG13, Architecture, Depth, check_unchanged
from fer.errors import InputError

OTHER = Architecture(
    name="resnet18",
    channels=1,
    size=64,
    classes=8,
    blocks=("conv1", "layer1_0", "layer1_1", "layer2_0", "fc"),
    head=4,
    normed=("conv1", "layer1_0", "layer1_1", "layer2_0"),
    structure="ab",
)


@pytest.mark.parametrize("architecture", [VGG13, dataclasses.replace(VGG13, width=0.25), OTHER])
def test_an_architecture_is_read_as_it_was_written(architecture):
    assert Architecture.from_json(architecture.to_json()) == architecture


def test_depth_counts_blocks_up_to_the_last_batch_norm():
    assert VGG13.depth == Depth(13, 10, 10)
    assert dataclasses.replace(OTHER, normed=("layer1_0",)).depth == Depth(5, 4, 2)
    assert dataclasses.replace(OTHER, normed=()).depth == Depth(5, 4, 0)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {},
        [],
        {"name": "VGG-13, 48×48 grey (arXiv 1905.12082)", "parameters": 1_200_000},
        VGG13.to_json() | {"blocks": "conv1"},
        VGG13.to_json() | {"head": 13},
    ],
    ids=str,
)
def test_a_record_without_blocks_or_with_odd_ones_of_the_papers_network_is_of_that(stored):
    assert Architecture.from_json(stored) == VGG13


@pytest.mark.parametrize(
    "changes",
    [
        {"blocks": "conv1"},
        {"blocks": ["conv1", 2]},
        {"head": 5},
        {"head": True},
        {"size": 0},
        {"size": float("inf")},
        {"name": 3},
        {"name": "vgg13_bn", "head": None},
    ],
    ids=str,
)
def test_a_damaged_record_of_another_network_is_told_as_unknown(changes):
    stored = OTHER.to_json() | changes

    read = Architecture.from_json(stored)

    assert not read.is_known and not read.is_paper
    assert read.depth.blocks == 0 and read.shown_blocks() == ()
    assert "unknown" in read.describe() and "VGG" not in read.describe()
    assert read.name == (stored["name"] if isinstance(stored["name"], str) else UNKNOWN)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mean": (0.25,)}, "with mean 0.25 in place of 0.449"),
        ({"std": (0.125,)}, "with std 0.125 in place of"),
        ({"size": 96}, "with size 96 in place of 64"),
    ],
    ids=str,
)
def test_a_network_whose_images_alone_differ_is_told_as_that(changes, told):
    recorded = dataclasses.replace(OTHER, mean=(0.449,), std=(0.226,))
    check_unchanged(recorded, dataclasses.replace(recorded))

    with pytest.raises(InputError, match="takes the images") as found:
        check_unchanged(recorded, dataclasses.replace(recorded, **changes))

    assert told in str(found.value)


def test_a_network_is_the_recorded_one_by_todays_hash_or_by_that_of_earlier_versions():
    found = dataclasses.replace(OTHER, former_structure="earlier")
    assert Architecture.from_json(found.to_json()).former_structure == "earlier"

    for structure in ("ab", "earlier"):
        check_unchanged(dataclasses.replace(OTHER, structure=structure), found)
    for structure in ("", "another"):
        with pytest.raises(InputError, match="stays what it was"):
            check_unchanged(dataclasses.replace(OTHER, structure=structure), found)
    with pytest.raises(InputError, match="stays what it was"):
        check_unchanged(OTHER, dataclasses.replace(OTHER, structure="cd"))


def test_the_width_of_an_early_record_is_kept():
    assert Architecture.from_json({"name": "VGG-13", "width": 0.25}) == dataclasses.replace(VGG13, width=0.25)


@pytest.mark.parametrize("blocks", range(2, 60))
def test_a_share_of_the_depth_is_one_block_at_least_and_never_all(blocks):
    depth = Depth(blocks, blocks - 1, 0)
    counts = [depth.blocks_at(step / 100) for step in range(101)]

    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] == blocks - 1


@pytest.mark.parametrize("count", [2, 3, 6, 7, 13, 39])
def test_shown_blocks_are_few_and_spread_over_the_depth(count):
    names = tuple(f"block{number}" for number in range(count))
    architecture = dataclasses.replace(OTHER, blocks=names, head=1)

    shown = architecture.shown_blocks(5)

    assert len(shown) == len(set(shown)) == min(5, count - 1)
    assert shown[0] == names[0]
    assert shown[-1] == names[-2]
