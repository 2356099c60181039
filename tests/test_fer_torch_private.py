"""The private parts of torch are where `fer.torch_private` looks for them, and do what it says."""

import re
from operator import attrgetter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fer import torch_private
from fer.torch_private import Members, convolution_gradients, copy_with_members, members_of, processor_has_bf16

ROOT = Path(__file__).parent.parent
PRIVATE = re.compile(r"\btorch(\.\w+)*\._[a-z]\w*|\btorch\.ops\b|\._(parameters|buffers|modules)\b")


@pytest.mark.parametrize("part", torch_private.PARTS)
def test_torch_still_has_each_private_part(part):
    try:
        attrgetter(part)(torch)
    except AttributeError:
        pytest.fail(f"torch {torch.__version__} has no torch.{part}; find its successor for fer/torch_private.py")


def test_whether_the_processor_has_bf16_is_yes_or_no():
    assert processor_has_bf16() in (True, False)


def test_the_members_of_a_module_are_all_that_it_registered_none_included():
    module = nn.Conv2d(2, 3, 1, bias=False)
    module.register_buffer("counter", torch.zeros(1))
    module.register_buffer("absent", None)
    module.add_module("child", nn.ReLU())
    module.add_module("no_child", None)

    members = members_of(module)

    assert members.parameters.keys() == {"weight", "bias"} and members.parameters["bias"] is None
    assert members.parameters["weight"] is module.weight
    assert members.buffers == {"counter": module.counter, "absent": None}
    assert members.children == {"child": module.child, "no_child": None}


def test_a_copy_with_members_computes_with_these_and_leaves_the_module_alone():
    module = nn.BatchNorm1d(2).eval()
    weight = nn.Parameter(torch.full((2,), 3.0))
    buffers = dict(members_of(module).buffers) | {"running_mean": torch.ones(2)}
    state_before = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    copied = copy_with_members(module, Members({"weight": weight, "bias": module.bias}, buffers, {}))

    inputs = torch.randn(5, 2)
    with torch.no_grad():
        torch.testing.assert_close(copied(inputs), module(inputs - 1) * 3)
    assert type(copied) is nn.BatchNorm1d and not copied.training
    assert [name for name, _ in copied.named_parameters()] == ["weight", "bias"]
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state_before[name])


@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True)])
def test_the_gradients_of_a_convolution_are_those_of_autograd(needed):
    images = torch.randn(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    outputs = F.conv2d(images, kernel, padding=1)
    gradient = torch.randn_like(outputs)
    wanted = torch.autograd.grad(outputs, (images, kernel), gradient)

    found = convolution_gradients(gradient, images.detach(), kernel.detach(), 1, needed)

    for of_input, expected, is_needed in zip(found, wanted, needed, strict=True):
        if is_needed:
            torch.testing.assert_close(of_input, expected)
        else:
            assert of_input is None


def test_no_other_module_uses_private_parts_of_torch():
    files = [path for package in ("fer", "study", "search_spaces") for path in (ROOT / package).rglob("*.py")]
    users = {path.relative_to(ROOT).as_posix() for path in files if PRIVATE.search(path.read_text())}
    assert users == {"fer/torch_private.py"}
