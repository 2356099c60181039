"""Networks as ordered lists of blocks: equal to the network bit for bit, or refused with a line."""

import importlib.util
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fer.architecture import VGG13
from fer.errors import InputError
from fer.model import blocks
from fer.model.blocks import Chain, find_blocks
from fer.model.equality import are_equal, evaluate, restoring_buffers, seeded, train_once
from fer.model.networks import build_network, default_format
from fer.model.plans import structure_digest
from fer.model.states import load_state, save_chain
from fer.model.vgg import build, clone, cut_shapes
from made_networks import is_one_line

CLASSES = 7
# Each family at a small size, with the least number of blocks that it comes apart into.
FAST = [("squeezenet1_1", 32, 10), ("shufflenet_v2_x0_5", 32, 18)]
FAMILIES = [
    ("resnet18", 32, 10),
    ("efficientnet_b0", 32, 18),
    ("mobilenet_v3_small", 32, 14),
    ("mobilenet_v2", 32, 20),
    ("convnext_tiny", 32, 20),
    ("swin_t", 32, 14),
    ("regnet_y_400mf", 32, 15),
    ("densenet121", 32, 9),
    ("small_families:vgg", 32, 11),
    ("alexnet", 64, 8),
    ("mnasnet0_5", 32, 19),
    ("googlenet", 32, 13),
    ("small_families:vit", 48, 8),
    ("timm:resnet18", 32, 10),
    ("timm:efficientnet_b0", 32, 18),
    ("timm:convnext_atto", 32, 14),
    ("timm:vit_tiny_patch16_224", 32, 14),
    ("timm:swin_tiny_patch4_window7_224", 224, 14),
    ("timm:repvgg_a0", 32, 20),
]


def images(size: int, count: int = 3, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(count))


def check_equality(chain: Chain, inputs: torch.Tensor) -> None:
    """Compares a chain with its network, here with the network's own initial weights."""
    wanted = evaluate(chain.module, inputs)
    trained = train_once(chain.module, chain.module, inputs)
    assert are_equal(evaluate(chain.network, inputs), wanted)
    assert train_once(chain.network, chain.module, inputs).equals(trained)

    features = inputs
    for cut, block in enumerate(chain.network):
        assert tuple(features.shape[1:]) == chain.cut_shapes[cut]
        assert are_equal(evaluate(chain.network[cut:], features), wanted)

        # A cached feature stays as it is, whatever is trained on it.
        before = features.clone()
        for mode in (True, False):
            with torch.no_grad(), restoring_buffers(block), seeded():
                block.train(mode)(features)
            assert are_equal(features, before)
        features = evaluate(block, features)
    assert tuple(features.shape[1:]) == chain.cut_shapes[-1]


def check_family(name: str, size: int, least: int, folder: Path) -> None:
    if name.startswith("timm:") and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    module = build_network(name, CLASSES, size)
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    random_state = torch.get_rng_state()

    chain = find_blocks(module, (3, size, size))

    assert torch.equal(random_state, torch.get_rng_state())
    assert all(are_equal(before[key], tensor) for key, tensor in module.state_dict().items())
    assert len(chain.names) >= least and 1 <= chain.head < len(chain.names)
    assert chain.cut_shapes[-1] == (CLASSES,)
    parameters = [id(tensor) for tensor in chain.network.parameters()]
    assert sorted(parameters) == sorted(id(tensor) for tensor in module.parameters())
    if size < 200:
        check_equality(chain, images(size))

    # The state of a copy that was changed goes out and comes in under the network's own names.
    copied = clone(chain.network)
    with torch.no_grad():
        for tensor in copied.parameters():
            tensor.add_(0.01)
    path = folder / "network.safetensors"
    save_chain(chain, copied, path, {})
    other = build_network(name, CLASSES, size, seed=1)
    load_state(other, path)
    assert other.state_dict().keys() == before.keys()
    assert are_equal(evaluate(other, images(size)), evaluate(copied, images(size)))


@pytest.mark.parametrize("name, size, least", FAST)
def test_a_small_family_is_opened_into_blocks_that_equal_it(name, size, least, tmp_path):
    check_family(name, size, least, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name, size, least", FAMILIES)
def test_a_family_is_opened_into_blocks_that_equal_it(name, size, least, tmp_path):
    check_family(name, size, least, tmp_path)


def test_the_papers_network_comes_apart_into_its_own_thirteen_layers():
    network = build(1 / 16)

    chain = find_blocks(network, (1, 48, 48))

    assert chain.names == VGG13.blocks
    assert chain.head == VGG13.head
    assert list(chain.cut_shapes) == cut_shapes(network)
    assert all(block is layer for block, layer in zip(chain.network, network, strict=True))


# Small networks, and what they come apart into.


def conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Small(nn.Module):
    """Two convolutions and a head, and between them what a forward computes."""

    def __init__(self, num_classes: int = CLASSES) -> None:
        super().__init__()
        self.first = conv(3, 4)
        self.second = conv(4, 4)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.head = nn.Linear(4, num_classes)

    def pooled(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.mean([2, 3])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.pooled(self.second(self.first(inputs)))))


class InAnotherOrder(Small):
    def __init__(self) -> None:
        super().__init__()
        first = self.first
        del self.first
        self.first = first  # registered last, run first


class Twice(Small):
    def pooled(self, maps: torch.Tensor) -> torch.Tensor:
        return super().pooled(self.second(maps))


class Skip(Small):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        maps = self.first(inputs)
        return self.head(self.drop(self.pooled(maps + self.second(maps))))


class StochasticSkip(Skip):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        maps = self.first(inputs)
        keeps = torch.rand(len(maps), 1, 1, 1) < 0.5 if self.training else 1.0
        return self.head(self.drop(self.pooled(maps + keeps * self.second(maps))))


class ZeroProduct(Small):
    """With its initial weights a chain, and its gradients those of one: the factors of its skip connection are zero."""

    def __init__(self) -> None:
        super().__init__()
        self.factors = nn.Parameter(torch.zeros(2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        maps = self.first(inputs)
        return self.head(self.drop(self.pooled(self.second(maps) + self.factors.prod() * maps)))


class NoiseBeforeActivation(Small):
    def __init__(self) -> None:
        super().__init__()
        self.activation = nn.Hardswish(inplace=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.activation(self.drop(self.pooled(self.second(self.first(inputs))))))


class OtherInTraining(Small):
    def pooled(self, maps: torch.Tensor) -> torch.Tensor:
        return super().pooled(maps * 0.5 if self.training else maps)


class WithoutLinear(Small):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(4, CLASSES, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(inputs))).mean([2, 3])


class OwnPooling(Small):
    def pooled(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.amax([2, 3]) + maps.mean([2, 3])


OPENED: dict[type[nn.Module], tuple[str, ...]] = {
    Small: ("first", "second", "head"),
    InAnotherOrder: ("first", "second", "head"),
    WithoutLinear: ("first", "second", "head"),
    OwnPooling: ("first", "second", "head"),
    OtherInTraining: ("first", "second", "head"),
    NoiseBeforeActivation: ("first", "second", "head"),
    Twice: ("first", "trunk", "head"),
    Skip: ("first", "trunk", "head"),
    StochasticSkip: ("first", "trunk", "head"),
    ZeroProduct: ("first", "trunk", "head"),
}


@pytest.mark.parametrize("kind", OPENED)
def test_a_network_comes_apart_as_far_as_it_is_a_chain(kind):
    torch.manual_seed(1)

    chain = find_blocks(kind(), (3, 8, 8))

    assert chain.names == OPENED[kind]
    assert chain.head == len(chain.names) - 1
    assert chain.has_batch_norm
    check_equality(chain, images(8))
    check_equality(chain, images(8, count=4))


@pytest.mark.parametrize("kind", [Small, NoiseBeforeActivation])
def test_features_are_cut_where_they_are_few_and_free_of_noise(kind):
    chain = find_blocks(kind(), (3, 8, 8))

    assert chain.cut_shapes == ((3, 8, 8), (4, 8, 8), (4, 1, 1), (CLASSES,))
    assert any(isinstance(part, nn.Dropout) for part in chain.network[2].modules())
    assert chain.head_state_names == {"head.weight", "head.bias"}


def test_a_frozen_prefix_in_evaluation_stays_as_it_is():
    chain = find_blocks(Small(), (3, 8, 8))
    prefix, rest = chain.network[:1].eval(), chain.network[1:].train()
    before = {name: tensor.clone() for name, tensor in chain.module.named_buffers()}

    rest(prefix(images(8))).sum().backward()

    changed = {name for name, tensor in chain.module.named_buffers() if not are_equal(tensor, before[name])}
    assert changed and all(name.startswith("second.") for name in changed)


def test_a_copy_of_the_blocks_shares_nothing_with_the_network():
    chain = find_blocks(Small(), (3, 8, 8))
    before = evaluate(chain.network, images(8))
    copied = clone(chain.network)

    with torch.no_grad():
        for tensor in chain.module.parameters():
            tensor.zero_()

    assert are_equal(evaluate(copied, images(8)), before)


# Networks that are refused.


def tied() -> nn.Module:
    network = Small()
    network.second[0].weight = nn.Parameter(torch.ones(4, 4, 3, 3))
    network.extra = nn.Conv2d(4, 4, 3)
    network.extra.weight = network.second[0].weight
    return network


class Hidden(Small):
    """Holds its layers in a list as well, which a copy shares."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [self.first, self.second]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            inputs = layer(inputs)
        return self.head(self.pooled(inputs))


class OwnRandomness(Small):
    calls = 0

    def pooled(self, maps: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return super().pooled(maps) * self.calls


class NeverTrained(Small):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            raise RuntimeError("for inference\nalone")
        return super().forward(inputs)


class NoHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, 3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.mean([2, 3]) @ self.weight.T


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "tied weights": (tied, r"share weights; got second\.0\.weight and extra\.weight"),
    "layers held elsewhere": (Hidden, "modules are its children; got Hidden"),
    "randomness of its own": (OwnRandomness, "equal and finite outputs"),
    "not to be trained": (NeverTrained, r"RuntimeError: for inference\\nalone"),
    "no head": (NoHead, "at least into features and a head; got NoHead"),
    "one layer": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES)), "at least into features and a head"),
    "NaN": (
        lambda: nn.Sequential(conv(3, 4), nn.Threshold(0, float("nan")), nn.Flatten(), nn.Linear(256, 7)),
        "finite",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_divided_is_refused_in_one_line(case):
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as caught:
        find_blocks(make(), (3, 8, 8))
    assert is_one_line(caught.value)


# Networks by name.

OWN = """
from torch import nn
class Gives(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.layers, self.change = nn.Sequential(nn.Flatten(), nn.LazyLinear(7)), change
    def forward(self, images):
        return self.change(self.layers(images))
def good(num_classes): return Gives(lambda logits: logits[:, :num_classes])
def fails(num_classes): raise KeyError("no\\nweights")
def no_argument(): return None
def number(num_classes): return 3
def gives_dict(num_classes): return Gives(lambda logits: {"logits": logits})
def gives_tuple(num_classes): return Gives(lambda logits: (logits, logits))
def gives_maps(num_classes): return Gives(lambda logits: logits[:, :, None, None])
def gives_classes(num_classes): return Gives(lambda logits: logits.argmax(1))
def wrong_classes(num_classes): return nn.Sequential(nn.Flatten(), nn.LazyLinear(1000))
def one_channel(num_classes): return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.LazyLinear(num_classes))
constant = 3
"""
WRONG_NAMES = {
    "resnet19": "Did you mean resnet1",
    "own:god": r"Did you mean own:good|Did you mean good",
    "own:constant": "names a function",
    "own:fails": r"KeyError: 'no\\+nweights'",
    "own:no_argument": "TypeError",
    "own:number": "which gives int",
    "own:gives_dict": "which returns dict",
    "own:gives_tuple": "which returns tuple",
    "own:gives_maps": r"returns \(2, 7, 1, 1\)",
    "own:gives_classes": r"returns \(2,\) of int64",
    "own:wrong_classes": r"\(images, 7\) of logits; got own:wrong_classes, which returns \(2, 1000\)",
    "own:one_channel": "takes images of 3 × 16 × 16",
    "no.such.module:function": "can be imported",
    ":": "can be imported",
    "own:": "names a function",
    "": "a network is vgg13",
    "\x1b[31m": r"\\x1b",
    "fasterrcnn_resnet50_fpn": "a network is vgg13",
    "timm:no_such_network": "timm",
    "vit_b_32": "ValueError|AssertionError|RuntimeError",
}


@pytest.fixture
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)


@pytest.mark.parametrize("name", WRONG_NAMES)
def test_a_name_that_gives_no_classifier_is_refused_in_one_line(name, own_networks):
    with pytest.raises(InputError, match=WRONG_NAMES[name]) as caught:
        build_network(name, CLASSES, size=16)
    assert is_one_line(caught.value)


def test_a_function_of_the_users_own_gives_a_network(own_networks):
    module = build_network("own:good", 5, size=16)
    assert evaluate(module, images(16)).shape == (3, 5)


def test_networks_have_the_classes_and_weights_that_are_asked_for():
    first, again = (build_network("squeezenet1_1", 8, 32, seed=4) for _ in range(2))

    assert evaluate(first, images(32)).shape == (3, 8)
    assert all(are_equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert build_network("vgg13", 8, width=1 / 16)[-1].linear.out_features == 8
    assert default_format("vgg13").channels == 1


@pytest.mark.parametrize("classes, size", [(1, 32), (0, 32), (7, 0), (7, 10**9)])
def test_numbers_of_classes_and_pixels_are_bounded(classes, size):
    with pytest.raises(InputError):
        build_network("squeezenet1_1", classes, size)


# The proof, kept.


def proofs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the proofs from here on."""
    counted: list[int] = []
    prove = blocks._prove
    monkeypatch.setattr(blocks, "_prove", lambda *arguments: (counted.append(1), prove(*arguments))[1])
    return counted


def test_a_network_is_proved_once_whatever_its_weights(tmp_path, monkeypatch):
    counted = proofs(monkeypatch)

    first = find_blocks(Small(), (3, 8, 8), cache=tmp_path)
    second = find_blocks(Small(), (3, 8, 8), cache=tmp_path)

    assert len(counted) == 1
    assert (first.names, first.head, first.cut_shapes) == (second.names, second.head, second.cut_shapes)
    check_equality(second, images(8))


def break_path(plan: dict) -> None:
    plan["blocks"][0]["parts"][0]["path"] = "no.such"


def swap_blocks(plan: dict) -> None:
    plan["blocks"][0], plan["blocks"][1] = plan["blocks"][1], plan["blocks"][0]


def lose_block(plan: dict) -> None:
    del plan["blocks"][1]


def change_shape(plan: dict) -> None:
    plan["cut_shapes"][1] = [1]


def move_head(plan: dict) -> None:
    plan["head"] = 99


@pytest.mark.parametrize("change", [break_path, swap_blocks, lose_block, change_shape, move_head])
def test_a_kept_proof_that_does_not_fit_is_made_again(change, tmp_path, monkeypatch):
    wanted = find_blocks(Small(), (3, 8, 8), cache=tmp_path)
    (path,) = tmp_path.iterdir()
    plan = json.loads(path.read_text())
    change(plan)
    path.write_text(json.dumps(plan))
    counted = proofs(monkeypatch)

    again = find_blocks(Small(), (3, 8, 8), cache=tmp_path)

    assert len(counted) == 1 and again.names == wanted.names and again.cut_shapes == wanted.cut_shapes


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x05", b'{"blocks": 3}', b"[" * 10**5])
def test_a_damaged_proof_is_made_again(content, tmp_path):
    find_blocks(Small(), (3, 8, 8), cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)

    assert find_blocks(Small(), (3, 8, 8), cache=tmp_path).head == 2
    assert json.loads(path.read_text())["head"] == 2


def test_the_hash_of_a_structure_tells_settings_and_shapes_apart_and_not_weights():
    digests = [
        structure_digest(Small(), (3, 8, 8)),
        structure_digest(Small(8), (3, 8, 8)),
        structure_digest(Skip(), (3, 8, 8)),
        structure_digest(Small(), (3, 16, 16)),
    ]
    changed = Small()
    changed.drop.p = 0.2
    digests.append(structure_digest(changed, (3, 8, 8)))

    assert len(set(digests)) == len(digests)
    assert structure_digest(Small().eval(), (3, 8, 8)) == digests[0]


# Weights.


def small_state() -> dict[str, torch.Tensor]:
    with seeded(5):
        return Small().state_dict()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": {f"module.{name}": tensor for name, tensor in s.items()}},
    ],
    ids=["plain", "wrapped", "parallel"],
)
def test_a_state_dict_that_torch_saved_is_loaded(wrap, tmp_path):
    torch.save(wrap(small_state()), tmp_path / "n.pth")
    module = Small()

    load_state(module, tmp_path / "n.pth")

    assert all(are_equal(small_state()[name], tensor) for name, tensor in module.state_dict().items())


def test_pretrained_features_leave_the_head_new(tmp_path):
    torch.save(Small(num_classes=1000).state_dict(), tmp_path / "n.pt")
    chain = find_blocks(Small(), (3, 8, 8))
    head = chain.module.head.weight.clone()

    load_state(chain.module, tmp_path / "n.pt", new=chain.head_state_names)

    assert are_equal(chain.module.head.weight, head)
    assert are_equal(chain.module.first[0].weight, torch.load(tmp_path / "n.pt")["first.0.weight"])


class Executed:
    def __reduce__(self):
        return (print, ("executed",))


WRONG_STATES = {
    "missing": (lambda s: s.pop("head.bias"), r"missing: head\.bias\)"),
    "unexpected": (lambda s: s.update(extra=torch.ones(1)), r"unexpected: extra\)"),
    "many": (lambda s: s.update({f"x{n}": torch.ones(1) for n in range(99)}), "unexpected: x0, x1 and 97 more"),
    "other shape": (
        lambda s: s.update({"head.weight": torch.ones(8, 4)}),
        r"of another shape: head\.weight 8×4 for 7×4",
    ),
    "whole numbers": (lambda s: s.update({"head.bias": torch.ones(7).long()}), "of another type"),
    "NaN": (lambda s: s["head.bias"].fill_(float("nan")), "finite"),
    "variance": (lambda s: s["first.1.running_var"].fill_(-1), "not negative"),
    "a pickle": (lambda s: s.update(extra=Executed()), "is not executed"),
    "no tensor": (lambda s: s.update(extra=3), "entry extra is no tensor"),
    "odd name": (lambda s: s.update({"\x1b[2J" * 99: torch.ones(1)}), r"unexpected: \\x1b"),
    "empty": (lambda s: s.clear(), "no tensors by name"),
}


@pytest.mark.parametrize("case", WRONG_STATES)
def test_a_file_that_does_not_fit_is_refused_tensor_by_tensor(case, tmp_path, capsys):
    change, message = WRONG_STATES[case]
    state = dict(small_state())
    change(state)
    torch.save(state, tmp_path / "n.pt")
    module = Small()
    before = module.head.bias.clone()

    with pytest.raises(InputError, match=message) as caught:
        load_state(module, tmp_path / "n.pt")

    assert is_one_line(caught.value)
    assert are_equal(module.head.bias, before)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no tensors", pickle.dumps([1, 2]), bytes(99)])
def test_a_file_without_tensors_is_refused(suffix, content, tmp_path):
    path = tmp_path / f"n.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_state(Small(), path)
    assert is_one_line(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path, message in ((tmp_path / "none.pt", "must exist"), (tmp_path, "regular file|folder|directory")):
        with pytest.raises(InputError, match=message):
            load_state(Small(), path)
