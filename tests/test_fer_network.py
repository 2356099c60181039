"""The network's size, cuts and copies, and the views of images."""

import numpy as np
import pytest
import torch

from fer.architecture import VGG13
from fer.config import ViewRecipe
from fer.features.views import render
from fer.model.inputs import to_tensor
from fer.model.vgg import build, clone, cut_shapes
from fer.predict import predict_images

RECIPE = ViewRecipe()


def test_the_paper_preset_has_the_papers_number_of_parameters():
    count = sum(parameter.numel() for parameter in build(1.0).parameters())
    assert count == 19_181_383 and round(count / 1e6, 1) == 19.2


def test_both_sides_of_every_cut_make_the_whole():
    network = build(1 / 16, seed=1).eval()
    images = torch.randn(3, 1, 48, 48)

    with torch.inference_mode():
        logits = network(images)
        for cut in range(len(VGG13.blocks) + 1):
            features = network[:cut](images)
            assert tuple(features.shape[1:]) == cut_shapes(network)[cut]
            assert torch.equal(network[cut:](features), logits)

    assert [name for name, _ in network[9:].named_children()] == list(VGG13.blocks[9:])


def test_the_cuts_of_the_paper_preset_have_the_sizes_that_were_planned_with():
    network = build(1.0)
    sizes = {cut: int(np.prod(cut_shapes(network)[cut])) for cut in (0, 4, 7, 9, 10, 11)}
    assert sizes == {0: 48 * 48, 4: 18_432, 7: 9_216, 9: 18_432, 10: 4_608, 11: 2_048}


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = build(1 / 16, seed=5).state_dict()
    torch.manual_seed(2)
    second = build(1 / 16, seed=5).state_dict()
    third = build(1 / 16, seed=6).state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(third["fc3.linear.weight"], first["fc3.linear.weight"])


def test_probabilities_sum_to_one_over_more_than_one_batch():
    images = np.random.default_rng(1).integers(0, 256, (300, 48, 48), dtype=np.uint8)

    probabilities = predict_images(build(1 / 16).eval(), images)

    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert to_tensor(torch.from_numpy(images)).abs().max() <= 2


@pytest.fixture
def pixels():
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (6, 48, 48), dtype=np.uint8))


def test_a_view_is_a_function_of_image_and_number_alone(pixels):
    numbers = np.arange(6)
    views = np.array([0, 1, 2, 3, 1, 0])

    together = render(pixels, numbers, views, RECIPE, seed=7)

    for index in range(6):
        alone = render(pixels[[index]], numbers[[index]], views[[index]], RECIPE, seed=7)
        assert torch.equal(alone[0], together[index])


def test_view_zero_is_the_image_and_others_are_not(pixels):
    numbers = np.arange(6)

    view_0, view_1, view_2 = (render(pixels, numbers, np.full(6, view), RECIPE, seed=7) for view in range(3))
    of_another_seed = render(pixels, numbers, np.full(6, 1), RECIPE, seed=8)

    assert torch.equal(view_0, pixels)
    assert not torch.equal(view_1, pixels) and not torch.equal(view_1, view_2)
    assert not torch.equal(view_1, of_another_seed)


def test_a_recipe_of_nothing_changes_nothing(pixels):
    still = ViewRecipe(flip=0, shift=0, rotation=0, scale=0, erase=0)

    rendered = render(pixels, np.arange(6), np.full(6, 3), still, seed=7)

    assert (rendered.int() - pixels.int()).abs().max() <= 1


def test_a_flip_alone_mirrors(pixels):
    mirror = ViewRecipe(flip=1, shift=0, rotation=0, scale=0, erase=0)

    rendered = render(pixels, np.arange(6), np.full(6, 3), mirror, seed=7)

    assert (rendered.int() - pixels.flip(2).int()).abs().max() <= 1


def test_a_copy_is_equal_and_shares_no_tensor():
    network = build(1 / 16, seed=1).to(memory_format=torch.channels_last)
    network[3].eval().requires_grad_(False)

    copied = clone(network)

    tensors = network.state_dict(keep_vars=True)
    copied_tensors = copied.state_dict(keep_vars=True)
    assert list(tensors) == list(copied_tensors)
    for name, tensor in tensors.items():
        copied_tensor = copied_tensors[name]
        assert torch.equal(tensor, copied_tensor) and tensor.stride() == copied_tensor.stride()
        assert tensor.requires_grad == copied_tensor.requires_grad
        assert tensor.data_ptr() != copied_tensor.data_ptr()
    assert [module.training for module in network.modules()] == [module.training for module in copied.modules()]
    assert not set(map(id, network.modules())) & set(map(id, copied.modules()))


def test_a_copy_learns_without_the_network():
    network = build(1 / 16, seed=1)
    copied = clone(network)

    copied(torch.randn(4, 1, 48, 48)).sum().backward()

    assert all(parameter.grad is None for parameter in network.parameters())
    assert int(network[0].norm.num_batches_tracked) == 0 and int(copied[0].norm.num_batches_tracked) == 1
