"""Network files that anybody may have written: refused with a line, never trusted."""

import math
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from conftest import TINY_WIDTH
from fer import tensor_files
from fer.errors import InputError
from fer.model import weights
from fer.model.fitting import shapes_of
from fer.model.networks import construct_network, without_memory
from fer.model.vgg import build
from fer.predict import UnusableNetwork, export_onnx, load_network, predict_images
from fer.runtime import Runtime, digest_of
from fer.tensor_files import DamagedTensorFile, damage_of
from fer.tensors import load_tensors, save_tensors
from hostile import flipped
from made_networks import FIRST_WEIGHT, Tensors, is_one_line
from study import predict

# Layers.


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: change(tensors[name])}


LAYERS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "one missing": (without("fc3.linear.bias"), r"missing: fc3\.linear\.bias\)"),
    "a layer missing": (without("fc3"), r"missing: fc3\.linear\.weight, fc3\.linear\.bias\)"),
    "many missing": (without("norm"), r"missing: conv1_1\.norm\.weight, conv1_1\.norm\.bias and 48 more"),
    "the first missing": (without(FIRST_WEIGHT), "no layers conv1_1"),
    "all missing": (lambda tensors: {}, "no layers conv1_1"),
    "one more": (lambda tensors: tensors | {"extra": torch.zeros(1)}, r"unexpected: extra\)"),
    "many more": (
        lambda tensors: tensors | {f"extra{n}": torch.zeros(1) for n in range(900)}, "unexpected: .* and 898 more"),
    "renamed": (
        lambda tensors: {name.replace("fc", "classifier"): tensor for name, tensor in tensors.items()},
        r"missing: fc1.*unexpected: classifier1"),
    "names of a megabyte": (lambda tensors: tensors | {"x" * 10**6: torch.zeros(1)}, "unexpected: xxx"),
    "name with escapes": (lambda tensors: tensors | {"\x1b[2J\r": torch.zeros(1)}, r"unexpected: \\x1b\[2J\\r"),
    "scalar weight": (changed("fc3.linear.weight", torch.Tensor.sum), "of another shape: fc3"),
    "scalar first layer": (changed(FIRST_WEIGHT, torch.Tensor.sum), "no layers conv1_1|of another shape"),
    "empty first layer": (changed(FIRST_WEIGHT, lambda tensor: tensor[:0]), "width 0.0"),
    "transposed": (changed("fc2.linear.weight", torch.Tensor.t), "of another shape: fc2"),
    "first layer of one dimension": (changed(FIRST_WEIGHT, lambda tensor: tensor[:, 0, 0, 0]), "of another shape"),
    "kernel of five": (changed(FIRST_WEIGHT, lambda tensor: torch.zeros(4, 1, 5, 5)), "of another shape"),
    "whole numbers as weights": (changed(FIRST_WEIGHT, torch.Tensor.long), "of another type: conv1_1"),
    "bytes as weights": (changed(FIRST_WEIGHT, torch.Tensor.byte), "of another type: conv1_1"),
    "fractions as counter": (changed("conv1_1.norm.num_batches_tracked", torch.Tensor.float), "of another type"),
    "width of another": (
        lambda tensors: build(1 / 8).state_dict() | {FIRST_WEIGHT: tensors[FIRST_WEIGHT]}, "and .* more"),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYERS)
def test_a_file_of_other_layers_is_refused_by_the_first_few_names_and_a_count(case, network, tmp_path):
    change, reason = LAYERS[case]
    path = tmp_path / "n.safetensors"
    tensors = {name: tensor.contiguous().clone() for name, tensor in change(network.state_dict()).items()}

    save_file(tensors, path)

    with pytest.raises(InputError, match=reason) as found:
        weights.load_network(path, Runtime())
    assert is_one_line(found.value) and "n.safetensors" in str(found.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_a_users_own_network_without_checksum_is_read_in_any_floating_type(dtype, network, tmp_path):
    path = tmp_path / "mine.safetensors"
    state = {name: t.to(dtype) if t.is_floating_point() else t for name, t in network.state_dict().items()}
    save_file(state, path)
    wanted = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}

    found = weights.load_network(path, Runtime())

    assert found.digest == digest_of(wanted) and found.width == TINY_WIDTH


# Networks that a header alone names.


def test_a_small_file_that_names_the_largest_network_costs_no_memory(tmp_path):
    path = tmp_path / "n.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"network": "vit_h_14", "size": "1022", "classes": "7"})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(InputError, match=r"missing: .* more; unexpected: a\)"):
        weights.load_module(path)

    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert kibibytes < 2**19  # the network itself takes 2.4 GiB


def never_runs(num_classes: int) -> torch.nn.Module:
    """A network that a test must not run."""
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3, num_classes))
    module.register_forward_pre_hook(lambda *_: pytest.fail("it was run"))
    return module


def test_a_network_of_other_tensors_is_not_run_on_images(tmp_path):
    path = tmp_path / "n.safetensors"
    own = f"{__name__}:never_runs"
    save_file({"1.weight": torch.zeros(7, 3), "1.bias": torch.zeros(8)}, path, {"network": own, "size": "1024"})

    with pytest.raises(InputError, match=r"of another shape: 1\.bias 8 for 7"):
        weights.load_module(path, own)


@pytest.mark.parametrize("name", ["resnet18", "regnet_x_400mf", "swin_t", "squeezenet1_1", "vit_b_16"])
def test_a_network_without_memory_has_the_tensors_of_the_network(name):
    with without_memory():
        layers = construct_network(name, 7, 64)

    assert all(parameter.is_meta for parameter in layers.parameters())
    assert shapes_of(layers.state_dict()) == shapes_of(construct_network(name, 7, 64).state_dict())
    assert not torch.nn.Linear(1, 1).weight.is_meta


# Values.

WORST = {"infinity": math.inf, "minus infinity": -math.inf, "not a number": math.nan, "1e300": 1e300, "-1e39": -1e39}


@pytest.mark.parametrize("name", [FIRST_WEIGHT, "conv3_1.norm.running_var", "fc3.linear.bias"])
@pytest.mark.parametrize("worst", WORST)
def test_weights_that_are_not_finite_in_fp32_are_refused_when_loaded(name, worst, network, tmp_path):
    path = tmp_path / "n.safetensors"
    bad = torch.full(network.state_dict()[name].shape, WORST[worst], dtype=torch.float64)

    save_file(network.state_dict() | {name: bad}, path)

    with pytest.raises(InputError, match=f"finite numbers; got .*{name}") as found:
        load_network(path)
    assert is_one_line(found.value)


@pytest.mark.parametrize("variance", [-1e-30, -1.0, -3e38])
def test_a_negative_variance_is_refused_when_loaded(variance, network, tmp_path):
    path = tmp_path / "n.safetensors"
    name = "conv1_1.norm.running_var"

    save_file(network.state_dict() | {name: torch.full((4,), variance)}, path)

    with pytest.raises(InputError, match=f"not negative; got .*{name}"):
        load_network(path)


@pytest.fixture(params=[1e30, 3e38])
def overflowing(request: pytest.FixtureRequest, network: torch.nn.Sequential, tmp_path: Path) -> Path:
    """A network of finite weights whose answers are none."""
    state = {
        name: torch.full_like(tensor, request.param) if name.endswith(("conv.weight", "linear.weight")) else tensor
        for name, tensor in network.state_dict().items()
    }
    path = tmp_path / "n.safetensors"
    save_tensors(path, state, {"width": str(TINY_WIDTH)})
    return path


def test_answers_that_are_no_numbers_are_an_error_that_names_the_file(overflowing):
    network, faces = load_network(overflowing), np.full((2, 48, 48), 200, np.uint8)
    with pytest.raises(InputError, match=r"answers are finite numbers; got .*n\.safetensors"):
        predict_images(network, faces, overflowing)
    with pytest.raises(UnusableNetwork, match="this network"):
        predict_images(network, faces)


def test_the_command_prints_no_answer_that_is_none(overflowing, tmp_path, capsys):
    image = tmp_path / "face.png"
    Image.fromarray(np.full((48, 48), 200, np.uint8)).save(image)
    assert predict.main([str(overflowing), str(image), str(image)]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and "finite numbers" in said.err and "n.safetensors" in said.err


def test_a_network_without_answers_is_not_exported(overflowing, tmp_path):
    with pytest.raises(InputError, match=r"finite numbers|needs the packages"):
        export_onnx(load_network(overflowing), tmp_path / "n.onnx", overflowing)
    assert not (tmp_path / "n.onnx").exists()


# One bit.


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_is_noticed_wherever_it_is(seed, network, network_bytes, tmp_path):
    rng = np.random.default_rng(seed)
    header = 8 + int.from_bytes(network_bytes[:8], "little")
    position = int(rng.integers(0, header) if seed % 4 == 0 else rng.integers(header, len(network_bytes)))
    path = tmp_path / "n.safetensors"
    path.write_bytes(flipped(network_bytes, position, int(rng.integers(8))))

    assert damage_of(path) is not None
    with pytest.raises(InputError):
        load_network(path)


@pytest.mark.parametrize("name", ["width", "strategy", "new"])
def test_the_checksum_is_of_the_texts_as_well(name, network, network_bytes, tmp_path):
    path = tmp_path / "n.safetensors"
    path.write_bytes(network_bytes)
    texts = dict(tensor_files.read_header(path).metadata) | {name: "0.0625 "}

    save_file(load_file(path), path, texts)

    with pytest.raises(InputError, match="does not match its checksum"):
        load_network(path)


def test_tensors_that_changed_places_do_not_match_the_checksum(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"a": torch.zeros(2), "b": torch.ones(2)}, {})
    metadata = dict(tensor_files.read_header(path).metadata)

    save_file({"a": torch.ones(2), "b": torch.zeros(2)}, path, metadata)

    with pytest.raises(DamagedTensorFile, match="checksum"):
        load_tensors(path)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(3), torch.zeros(0, 4), torch.arange(6, dtype=torch.uint8), torch.rand(2, 3).t(),
     torch.rand(4).bfloat16(), torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)],
    ids=["scalar", "empty", "bytes", "transposed", "bf16", "channels last"],
)  # fmt: skip
def test_what_is_written_is_read_again_and_by_safetensors_too(tensor, tmp_path):
    path = tmp_path / "folder" / "t.safetensors"
    save_tensors(path, {"a": tensor, "shared": tensor}, {"text": "ä\n"})

    header, found = load_tensors(path, needs_checksum=True)

    assert header.metadata["text"] == "ä\n"
    for read in (found, load_file(path)):
        assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name in ("a", "shared"))
